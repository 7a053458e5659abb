"""Measure `ddpkit runs` in seconds, with 1,000 runs of 100 epochs and 3 checkpoints, and without any run."""

import json
import tempfile
from pathlib import Path

from bench_startup import measure
from results import parser_of, publish

N, N_TASKS, EPOCHS, STEPS = 1000, 10, 100, (600, 800, 1000)
CHECKPOINT = ("state.json", "model.safetensors", "optimizer.safetensors", "tally.safetensors", "manifest.json")


def create_run(folder: Path, config: str) -> None:
    """Create the files of a finished run, as far as the command opens or counts them."""
    for step in STEPS:
        (checkpoint := folder / f"checkpoints/step-{step:012d}").mkdir(parents=True)
        for name in CHECKPOINT:
            (checkpoint / name).write_text(name)
    (folder / "config.toml").write_text(config)
    for name in ("plugins.json", "environment.json", "model.json", "test_metrics.json", "finished.json", "run.lock"):
        (folder / name).write_text("{}")
    rows = [{"epoch": epoch, "valid/loss": 1 / epoch, "valid/accuracy": 0.9} for epoch in range(1, EPOCHS + 1)]
    (folder / "history.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    best = {"valid": {"column": "valid/loss", "lower": True, "value": 1 / EPOCHS, "epoch": EPOCHS}}
    state = {"started": "2026-03-01T10:15:00+00:00", "epoch": EPOCHS, "epochs": EPOCHS, "best": best}
    (folder / "summary.json").write_text(json.dumps(state))


def main() -> None:
    """Run the benchmark and print a table."""
    options = parser_of(__doc__, rounds=5).parse_args()
    config = Path(__file__).parent.parent.joinpath("configs/ddp_quick_test.toml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as temporary:
        full, empty = Path(temporary, "full"), Path(temporary, "empty")
        empty.mkdir()
        for number in range(N):
            create_run(full / f"task{number % N_TASKS}" / f"run{number}", config)
        folders = {f"{N:,} runs": full, "no runs": empty}
        rounds = [{name: measure(["runs", str(each)]) for name, each in folders.items()} for _ in range(options.rounds)]
    publish(
        {
            name: {kind: [each[name][place] for each in rounds] for place, kind in enumerate(("wall s", "CPU s"))}
            for name in folders
        },
        options,
    )


if __name__ == "__main__":
    main()
