"""Small run folders that are written directly: only the files that lists and comparisons of runs read."""

import json

import tomli_w

STARTED = "2026-03-01T10:15:00+00:00"


def write_small_run(folder, config=None, losses=(0.5, 0.25, 0.75), started=STARTED, **files):
    """Write the folder of a run that stopped without a checkpoint; return it.

    `losses`: validation loss of each epoch. The training loss is twice as large; the accuracy is one minus the loss. `files`:
    content of other JSON files, by their names without the suffix.
    """
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(tomli_w.dumps({"train": {"epoch": 3}, **(config or {})}))
    rows = [
        {"epoch": n, "seconds": 2.0, "train/loss": 2 * loss, "valid/loss": loss, "valid/accuracy": 1 - loss}
        for n, loss in enumerate(losses, 1)
    ]
    (folder / "history.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    best = {"column": "valid/loss", "lower": True, "value": min(losses, default=None), "epoch": best_epoch(losses)}
    lower = {"loss": True, "accuracy": False}
    summary = {"started": started, "epoch": len(rows), "epochs": 3, "lower": lower, "best": {"valid": best}}
    for name, content in {"plugins": {}, "summary": summary, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def best_epoch(losses):
    return losses.index(min(losses)) + 1 if losses else 0
