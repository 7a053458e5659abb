"""Options of a run."""

import argparse

import attrs
import pytest

from ddpkit.cli import run
from ddpkit.config.loading import named_overrides, parse_overrides
from ddpkit.tasks.plan import RunOptions

EVERY = RunOptions(
    overrides=parse_overrides(["train.epoch=3", "classes=['a b', 'c=d']", "model.config.name=x"]),
    task="predict",
    weights="weights/epoch 1.safetensors",
    nproc=3,
    limit_batches=2,
    dry_run=True,
    no_plugins=True,
    block=("acme", "other"),
    locked=True,
    resume="runs/a/b",
    allow_drift=("dataset", "train.epoch"),
    max_restarts=4,
)


def parsed(argv):
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    return run.parse_options(parser.parse_args(["x.toml", *argv]))


def test_every_option_has_another_value_than_its_default_here():
    assert [field.name for field in attrs.fields(RunOptions) if getattr(EVERY, field.name) == field.default] == []


@pytest.mark.parametrize("options", [RunOptions(), EVERY, RunOptions(resume="")], ids=["none", "every", "newest"])
def test_options_come_back_from_their_command_line(options):
    assert parsed(options.to_argv()) == options


def test_overrides_of_a_script_come_back_with_the_same_values():
    values = {"train.epoch": 3, "dataset.config": {"a": [1.5, True]}, "task": "it's"}

    overrides = parsed(RunOptions(overrides=named_overrides(values)).to_argv()).overrides

    assert [(each.path, each.value) for each in overrides] == [(each.path, each.value) for each in named_overrides(values)]
