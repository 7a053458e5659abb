"""Measure `ddpkit runs` in seconds, with 1,000 runs of 100 epochs and 3 checkpoints, and without any run."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import parser_of, publish

N, N_TASKS, EPOCHS, STEPS = 1000, 10, 100, (600, 800, 1000)
CHECKPOINT = ("state.json", "model.safetensors", "optimizer.safetensors", "tally.safetensors", "manifest.json")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}


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


def measure(folder: Path) -> float:
    """Return the wall-clock seconds of one command, including the start of Python."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ddpkit", "runs", folder], env=ENVIRONMENT, capture_output=True, check=True)
    return time.perf_counter() - started


def main() -> None:
    """Run the benchmark and print a table."""
    options = parser_of(__doc__, rounds=5).parse_args()
    config = Path(__file__).parent.parent.joinpath("configs/ddp_quick_test.toml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as temporary:
        full, empty = Path(temporary, "full"), Path(temporary, "empty")
        empty.mkdir()
        for number in range(N):
            create_run(full / f"task{number % N_TASKS}" / f"run{number}", config)
        pairs = [(measure(full), measure(empty)) for _ in range(options.rounds)]
    with_runs, without = zip(*pairs, strict=True)
    publish({f"{N} runs": {"wall s": with_runs}, "no runs": {"wall s": without}}, options)


if __name__ == "__main__":
    main()
