"""`tested.json` names the epoch of the tested weights, and the value that selected it."""

import json
import shutil
from pathlib import Path

import pytest

from ddpkit.cli.main import main


@pytest.fixture
def mine(blobs):
    """A run with EMA whose best epoch is not the last one."""
    text = blobs.read_text().replace("epoch = 2", "epoch = 4\nema_decay = 0.5")
    blobs.write_text(text + '[output]\nsave_interval = 3\nmonitor = "accuracy"\n')
    assert main(["run", blobs.name, "--set", "run_id='mine'"]) == 0
    return Path("runs/blobs/mine")


def record(run):
    return json.loads((run / "tested.json").read_text())


def test_the_epoch_of_tested_weights_is_recorded(mine, blobs):
    history = [json.loads(line) for line in (mine / "history.jsonl").read_text().splitlines()]
    epochs = {key: max(history, key=lambda row: row[f"{key}/accuracy"])["epoch"] for key in ("valid", "ema")}
    expected = {"weights": "weights/best.safetensors", "epoch": epochs["valid"], "monitor": "valid/accuracy", "n_skipped": 0}
    expected["ema"] = {"weights": "weights/ema-best.safetensors", "epoch": epochs["ema"], "monitor": "ema/accuracy"}
    assert record(mine) == expected

    (mine / "finished.json").unlink()  # as in a run that was killed
    assert main(["test", str(mine)]) == 0
    assert record(mine) == expected

    assert main(["test", str(mine), "--weights", "ema-best"]) == 0
    assert record(mine) == expected["ema"] | {"n_skipped": 0}
    for name, epoch in (("last", 4), ("epoch-0003", 3)):
        assert main(["test", str(mine), "--weights", name]) == 0
        assert (record(mine)["epoch"], record(mine)["monitor"], record(mine)["ema"]["epoch"]) == (epoch, None, epoch)
    shutil.copy(mine / "weights/best.safetensors", "other.safetensors")
    assert main(["test", str(mine), "--weights", "other.safetensors"]) == 0
    assert record(mine) == {"weights": str(Path("other.safetensors").absolute()), "epoch": None, "monitor": None, "n_skipped": 0}

    other = ["--set", "run_id='mine'", "--set", "output.monitor='loss'"]
    assert main(["run", blobs.name, "--task", "test", *other]) == 0
    assert (record(mine)["epoch"], record(mine)["monitor"]) == (None, None)  # the run selected it by another value
