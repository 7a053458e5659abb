"""A run keeps the samples and the outputs that it recorded, although its components give others today."""

import json
import sys
from pathlib import Path

import pytest

from ddpkit.cli.main import main
from tests.helpers.configs import BLOBS

PLUGIN = """\
from torch import nn
from ddpkit import Component, hookimpl

@hookimpl
def ddpkit_splits():
    yield Component("halves", "halves:halves")

@hookimpl
def ddpkit_models():
    yield Component("wide", "halves:Wide")

def halves(n_samples, targets=None):
    order = list(range(n_samples))
    return {"train": order[:20], "valid": order[20:30]}

class Wide(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 6))
"""
NEWER = (
    PLUGIN.replace("order = list(range(n_samples))", "order = list(reversed(range(n_samples)))")
    .replace("order[20:30]}", 'order[20:30], "test": order[30:]}')
    .replace("def __init__(self):", "def __init__(self, n_classes: int = 6):")
    .replace("nn.Linear(64, 6)", "nn.Linear(64, n_classes)")
)
"""The plugin after an update: another split, and a model whose outputs are inferred for new runs."""


def run(*arguments, run_id="mine"):
    sys.modules.pop("halves", None)  # each command reads the plugin's file, as a new process does
    return main(["run", "x.toml", "--set", f"run_id={run_id}", *arguments])


@pytest.fixture
def trained(acme, tmp_path, monkeypatch):
    """A run that was made before the update of its plugin."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # the folder of the plugin is added to it
    monkeypatch.chdir(tmp_path)
    Path("halves.py").write_text(PLUGIN)
    text = BLOBS.replace('"tinynet"', '"wide"').replace("train = 0.8\nvalid = 0.2", 'type = "halves"').replace(", n_test = 7", "")
    text = text.replace('classes = ["left", "right"]', 'classes = ["a", "b", "c", "d", "e", "f"]')
    Path("x.toml").write_text(text + '[plugins]\nfiles = ["halves.py"]\n')
    assert run() == 0
    Path("halves.py").write_text(NEWER)
    return Path("runs/blobs/mine")


def test_a_run_made_before_an_update_resumes_with_its_samples(trained, capsys):
    before = (trained / "split.json").read_text()
    assert [len(names) for names in json.loads(before).values()] == [20, 10, 0]

    for epochs in (3, 4):
        assert run("--resume", "--set", f"train.epoch={epochs}") == 0, capsys.readouterr().err
        assert (trained / "split.json").read_text() == before
        assert "data    blobs: train 20, valid 10, not used 10" in capsys.readouterr().err
    assert len((trained / "history.jsonl").read_text().splitlines()) == 4


def test_a_new_run_after_the_update_uses_the_new_split(trained, capsys):
    assert run("--set", "classes=[]", run_id="other") == 0
    assert json.loads(Path("runs/blobs/other/split.json").read_text())["test"] == list(range(9, -1, -1))


def test_a_changed_config_uses_the_split_component(trained, capsys):
    assert run("--resume", "--set", "train.epoch=3", "--set", "dataset.config.noise=0.1") == 2
    assert "dataset.config.noise: is 0.1, but was not set in the resumed run" in capsys.readouterr().err

    assert run("--resume", "--set", "train.epoch=3", "--set", "dataset.config.noise=0.1", "--allow-drift", "dataset.config") == 2
    assert "the samples differ from those of the resumed run" in capsys.readouterr().err


def test_a_test_uses_the_recorded_samples(trained, capsys):
    assert run("--task", "test") == 2
    assert "leaves no samples for the test split" in capsys.readouterr().err

    record = json.loads((trained / "split.json").read_text())
    (trained / "split.json").write_text(json.dumps(record | {"test": [30, 31, 32]}))
    assert run("--task", "test") == 0
    assert "best.safetensors: 3 samples" in capsys.readouterr().err
