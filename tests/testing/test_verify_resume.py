"""verify-resume kills and resumes a run, and names the cause of a difference."""

import json
from pathlib import Path

import pytest

from ddpkit.cli.main import main
from ddpkit.cli.verify_resume import format_verdict
from ddpkit.config import loading
from ddpkit.plugins import manager
from ddpkit.tasks.plan import RunOptions
from ddpkit.testing import resume_causes
from ddpkit.testing.resume_causes import UNKNOWN
from ddpkit.testing.verify_resume import ResumeReport, run_command
from tests.helpers.configs import BLOBS

CASES = {
    UNKNOWN: {"model.config.dropout": 0.5, "dataset.config.noise": 0.1, "train.grad_accumulation_steps": 2},
    "differs each time it is read: the dataset or a transform uses its own random generator": {
        "dataset": {"name": "restless", "split": {"train": 0.8, "valid": 0.2}}
    },
    "the model has different initial weights each time it is built (1.weight)": {"model.name": "willful"},
    "the model returns different outputs for the same images and the same seed": {"model.name": "tired"},
    "(first in 1.weight): the model, a criterion or the optimizer has state that is not in its state_dict": {
        "criterion": [{"type": "moody"}]
    },
}


@pytest.mark.parametrize("cause", CASES)
def test_exactly_the_right_cause_is_named(blobs, cause):
    (named,) = resume_causes.find_causes(loading.load(blobs, loading.named_overrides(CASES[cause])), manager.load())

    assert cause in named


def test_a_model_computing_its_losses_is_tried_with_targets(blobs):
    own = loading.load(blobs, loading.named_overrides({"model.name": "sovereign", "criterion": []}))

    assert resume_causes.find_causes(own, manager.load()) == [UNKNOWN]


def test_parameters_are_unfrozen_within_the_short_run(blobs):
    config = loading.load(blobs, loading.named_overrides({"model.freeze": ["4.bias", {"match": "1.*", "until": 30}]}))

    command = run_command(blobs, RunOptions(), config, n_ranks=1, n_batches=2, folder=Path("runs"))

    assert 'model.freeze=[{ match = "4.bias" }, { match = "1.*", until = 1 }]' in command


def test_a_run_finished_before_a_kill_is_inconclusive():
    report = ResumeReport(n_ranks=1, kills=[], n_steps=2, first=None, causes=[])

    assert not report.is_equal
    assert format_verdict(report) == [
        "no result: the run ended before the first kill; increase '--batches' or 'train.epoch' to get more steps"
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
        "--set",
        "model.freeze=[{match='1.*', until=1}]",
        "--json",
    ]

    assert main(["verify-resume", blobs.name, *options]) == 0

    report = json.loads(capsys.readouterr().out)
    assert (report["equal"], report["n_ranks"], report["first"], report["causes"]) == (True, 1, None, [])
    assert report["kills"]  # fewer than requested if the run was faster
    assert report["n_steps"] >= 2
    assert [file.name for file in Path().iterdir()] == [blobs.name]


def test_the_first_differing_tensor_is_named_with_its_cause(blobs, capsys):
    blobs.write_text(BLOBS.replace('"cross_entropy"', '"moody"'))

    assert main(["verify-resume", blobs.name, "--kills", "1", "--batches", "3"]) == 1

    different, cause = capsys.readouterr().out.splitlines()
    assert different.startswith("different: killed after step")
    assert "; first difference at step " in different
    assert ": model 1." in different
    assert cause.startswith("cause: the first step after a resume differs")


def test_a_config_mistake_is_reported(blobs, capsys):
    assert main(["verify-resume", blobs.name, "--set", "model.name=nonsense"]) == 2
    assert "no model is called 'nonsense'" in capsys.readouterr().err
