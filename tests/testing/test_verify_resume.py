"""verify-resume kills a run, and names what a run that goes on does not have."""

import json
from pathlib import Path

import pytest

from ddpkit.cli.main import main
from ddpkit.cli.verify_resume import verdict
from ddpkit.config import loading
from ddpkit.plugins import manager
from ddpkit.testing import resume_causes
from ddpkit.testing.resume_causes import UNKNOWN
from ddpkit.testing.verify_resume import Report
from tests.helpers.configs import BLOBS

CASES = {
    UNKNOWN: {"model.config.dropout": 0.5, "dataset.config.noise": 0.1, "train.grad_accumulation_steps": 2},
    "differs each time it is read: the dataset or a transform draws": {
        "dataset": {"name": "restless", "split": {"train": 0.8, "valid": 0.2}}
    },
    "the model has other initial weights each time it is built (1.weight)": {"model.name": "willful"},
    "the model gives other outputs for the same images under one seed": {"model.name": "tired"},
    "(first in 1.weight): model, criterion or optimizer keeps something that is in no state_dict": {
        "criterion": [{"type": "moody"}]
    },
}


@pytest.mark.parametrize("cause", CASES)
def test_each_cause_is_named_and_nothing_else(blobs, cause):
    (named,) = resume_causes.found(loading.load(blobs, loading.named_overrides(CASES[cause])), manager.load())

    assert cause in named


def test_a_model_that_makes_its_losses_itself_is_tried_with_targets(blobs):
    own = loading.load(blobs, loading.named_overrides({"model.name": "sovereign", "criterion": []}))

    assert resume_causes.found(own, manager.load()) == [UNKNOWN]


def test_a_run_that_was_over_before_a_kill_shows_nothing():
    report = Report(n_ranks=1, kills=[], n_steps=2, first=None, causes=[])

    assert not report.is_equal
    assert verdict(report) == [
        "nothing is shown: the run was over before a kill; give it more steps by --batches or 'train.epoch'"
    ]


def test_a_sound_config_is_equal_and_leaves_no_trace(blobs, capsys):
    options = [
        "--kills",
        "1",
        "--batches",
        "16",
        "--set",
        "train.batch_size=2",
        "--set",
        "model.config={n_pixels=64,dropout=0.5}",
        "--json",
    ]

    assert main(["verify-resume", blobs.name, *options]) == 0

    report = json.loads(capsys.readouterr().out)
    assert (report["equal"], report["n_ranks"], report["first"], report["causes"]) == (True, 1, None, [])
    assert report["kills"]  # fewer than asked for where the run was faster
    assert report["n_steps"] >= 2
    assert [file.name for file in Path().iterdir()] == [blobs.name]


def test_the_first_tensor_that_differs_is_named_with_its_cause(blobs, capsys):
    blobs.write_text(BLOBS.replace('"cross_entropy"', '"moody"'))

    assert main(["verify-resume", blobs.name, "--kills", "1", "--batches", "3"]) == 1

    different, cause = capsys.readouterr().out.splitlines()
    assert different.startswith("different: killed after the steps ")
    assert " is another: model 1." in different
    assert cause.startswith("cause: the step after a snapshot is another")


def test_a_mistake_of_the_config_is_one(blobs, capsys):
    assert main(["verify-resume", blobs.name, "--set", "model.name=nonsense"]) == 2
    assert "no model is called 'nonsense'" in capsys.readouterr().err
