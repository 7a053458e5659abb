"""The TensorBoard and Weights & Biases loggers."""

import json
import math
import sys

import pytest

from ddpkit import run
from ddpkit.cli.main import main
from ddpkit_plugins.loggers import TensorBoard


def read_tensorboard(folder):
    """The (step, value) pairs of each tag, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def rows(*epochs, loss):
    return [{"epoch": epoch, "step": 10 * epoch, "valid/loss": loss, "valid/auc": math.nan} for epoch in epochs]


def test_tensorboard_shows_history_by_epoch(blobs):
    folder = run(blobs.name, {"private.loggers": ["tensorboard"]}).folder
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]

    drawn = read_tensorboard(folder)
    assert set(drawn) == set(history[0]) - {"epoch"}
    for tag, points in drawn.items():
        assert points == [(row["epoch"], pytest.approx(row[tag], rel=1e-6)) for row in history]


def test_a_resumed_run_shows_each_epoch_once(tmp_path):
    """Epochs that were logged after the resumed checkpoint are replaced."""
    for seen in (rows(1, 2, 3, loss=1.0), rows(3, 4, loss=2.0)):
        logger = TensorBoard(tmp_path)
        for row in seen:
            logger.on_epoch_end(row)
        logger.close()

    assert read_tensorboard(tmp_path) == {
        "step": [(1, 10), (2, 20), (3, 30), (4, 40)],
        "valid/loss": [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)],
    }


def test_a_run_without_an_epoch_leaves_no_file(tmp_path):
    TensorBoard(tmp_path).close()

    assert not list(tmp_path.iterdir())


def test_a_missing_wandb_package_is_a_warning(blobs, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)

    assert main(["run", blobs.name, "--set", "private.wandb=true"]) == 0

    message = "logger wandb failed and is disabled for the rest of the run: ModuleNotFoundError: import of wandb halted; None in sys.modules; install it with: pip install 'ddpkit[wandb]'"
    assert capsys.readouterr().err.count(message) == 1


STAND_IN = """\
import json, os

def init(**given):
    if os.environ.get("WANDB_MODE") == "wrong":
        raise ValueError("no such mode")
    note("init", **{key: value for key, value in given.items() if key not in ("config", "dir")}, epochs=given["config"]["train"]["epoch"])
    return Run()

def note(what, **more):
    with open("wandb.jsonl", "a") as file:
        file.write(json.dumps({"what": what, **more}) + "\\n")

class Run:
    def log(self, row, step):
        note("log", step=step, loss=row["valid/loss"])

    def finish(self):
        note("finish")

Settings = dict
"""


@pytest.fixture
def wandb_calls(blobs, monkeypatch):
    """The calls that a fake wandb package recorded."""
    blobs.with_name("wandb.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(blobs.parent))
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "300")
    yield lambda: [json.loads(line) for line in blobs.with_name("wandb.jsonl").read_text().splitlines()]
    sys.modules.pop("wandb", None)


def test_wandb_gets_history_and_the_run_name(blobs, wandb_calls):
    result = run(blobs.name, {"private.wandb": True, "entity": "lab", "run_id": "first"})

    begin, *logged, end = wandb_calls()
    assert (begin["project"], begin["entity"], begin["name"], begin["epochs"]) == ("blobs", "lab", "first", 2)
    assert begin["settings"] == {"console": "off", "quiet": True, "finish_timeout": 60}  # the environment has the other
    assert [(each["step"], each["loss"]) for each in logged] == [(row["epoch"], row["valid/loss"]) for row in result.history]
    assert end == {"what": "finish"}


def test_a_resumed_run_keeps_its_wandb_id(blobs, wandb_calls):
    run(blobs.name, {"private.wandb": True, "run_id": "first"})
    assert (
        main(["run", blobs.name, "--resume", "--set", "private.wandb=true", "--set", "run_id=first", "--set", "train.epoch=3"])
        == 0
    )
    run(blobs.name, {"private.wandb": True, "run_id": "other"})

    first, again, other = [each for each in wandb_calls() if each["what"] == "init"]
    assert first["id"] == again["id"] != other["id"]
    assert [each["step"] for each in wandb_calls() if each["what"] == "log"] == [1, 2, 3, 1, 2]


def test_a_wandb_error_is_a_warning(blobs, wandb_calls, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "wrong")

    assert main(["run", blobs.name, "--set", "private.wandb=true"]) == 0

    assert "logger wandb failed and is disabled for the rest of the run: RuntimeError: no such mode\n" in capsys.readouterr().err


def test_an_unknown_logger_parameter_is_rejected(blobs, capsys):
    assert main(["run", blobs.name, "--set", "private.loggers=[{type='tensorboard', config={folder_name='x'}}]"]) == 2

    assert "logger 'tensorboard' has no such key" in capsys.readouterr().err
