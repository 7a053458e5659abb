"""History for TensorBoard and Weights & Biases."""

import json
import math
import sys

import pytest

from ddpkit import run
from ddpkit.cli.main import main
from ddpkit_plugins.loggers import TensorBoard


def shown(folder):
    """By tag, the (step, value) that TensorBoard draws."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def rows(*epochs, loss):
    return [{"epoch": epoch, "step": 10 * epoch, "valid/loss": loss, "valid/auc": math.nan} for epoch in epochs]


def test_tensorboard_shows_history_by_epoch(blobs):
    folder = run(blobs.name, {"private.loggers": ["tensorboard"]}).folder
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]

    drawn = shown(folder)
    assert set(drawn) == set(history[0]) - {"epoch"}
    for tag, points in drawn.items():
        assert points == [(row["epoch"], pytest.approx(row[tag], rel=1e-6)) for row in history]


def test_a_run_that_goes_on_shows_each_epoch_once(tmp_path):
    """Epochs that the first process wrote after its last checkpoint are those of the second."""
    for seen in (rows(1, 2, 3, loss=1.0), rows(3, 4, loss=2.0)):
        logger = TensorBoard(tmp_path)
        for row in seen:
            logger.epoch_ended(row)
        logger.close()

    assert shown(tmp_path) == {
        "step": [(1, 10), (2, 20), (3, 30), (4, 40)],
        "valid/loss": [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)],
    }


def test_a_run_that_ends_before_its_first_epoch_leaves_no_file(tmp_path):
    TensorBoard(tmp_path).close()

    assert not list(tmp_path.iterdir())


def test_without_the_package_wandb_is_a_warning(blobs, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)

    assert main(["run", blobs.name, "--set", "private.wandb=true"]) == 0

    message = "logger wandb is left out from here on: ModuleNotFoundError: import of wandb halted; None in sys.modules; pip install 'ddpkit[wandb]'"
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
def noted(blobs, monkeypatch):
    """What a stand-in for the package, which needs no network, was told."""
    blobs.with_name("wandb.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(blobs.parent))
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "300")
    yield lambda: [json.loads(line) for line in blobs.with_name("wandb.jsonl").read_text().splitlines()]
    sys.modules.pop("wandb", None)


def test_wandb_gets_history_under_the_runs_names(blobs, noted):
    result = run(blobs.name, {"private.wandb": True, "entity": "lab", "run_id": "first"})

    begin, *logged, end = noted()
    assert (begin["project"], begin["entity"], begin["name"], begin["epochs"]) == ("blobs", "lab", "first", 2)
    assert begin["settings"] == {"console": "off", "quiet": True, "finish_timeout": 60}  # the environment has the other
    assert [(each["step"], each["loss"]) for each in logged] == [(row["epoch"], row["valid/loss"]) for row in result.history]
    assert end == {"what": "finish"}


def test_a_run_that_goes_on_is_the_same_one_at_wandb(blobs, noted):
    run(blobs.name, {"private.wandb": True, "run_id": "first"})
    assert (
        main(["run", blobs.name, "--resume", "--set", "private.wandb=true", "--set", "run_id=first", "--set", "train.epoch=3"])
        == 0
    )
    run(blobs.name, {"private.wandb": True, "run_id": "other"})

    first, again, other = [each for each in noted() if each["what"] == "init"]
    assert first["id"] == again["id"] != other["id"]
    assert [each["step"] for each in noted() if each["what"] == "log"] == [1, 2, 3, 1, 2]


def test_what_wandb_refuses_is_a_warning(blobs, noted, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "wrong")

    assert main(["run", blobs.name, "--set", "private.wandb=true"]) == 0

    assert "logger wandb is left out from here on: RuntimeError: no such mode\n" in capsys.readouterr().err


def test_a_parameter_that_a_logger_has_not_is_a_mistake(blobs, capsys):
    assert main(["run", blobs.name, "--set", "private.loggers=[{type='tensorboard', config={folder_name='x'}}]"]) == 2

    assert "logger 'tensorboard' has no such key" in capsys.readouterr().err
