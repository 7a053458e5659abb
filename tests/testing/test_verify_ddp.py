"""verify-ddp distinguishes rounding from a real difference, and names the cause of one."""

import json
import math
from pathlib import Path

import pytest
import torch

from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.config.plugin_policy import combine_policy
from ddpkit.distributed.world import World
from ddpkit.plugins import manager
from ddpkit.testing import ddp_causes
from ddpkit.testing.ddp_comparison import compare
from ddpkit.testing.ddp_recording import record_in_world
from tests.helpers.configs import BLOBS

UNEVEN = {"train.batch_size": 6, "dataset.config.n": 40, "dataset.split.stratify": False}  # 32 train: the last micro-batch has 2
STEP = """
import torch
from ddpkit import Component, StepOutput, hookimpl
from torch.nn.functional import cross_entropy


@hookimpl
def ddpkit_steps():
    yield Component("turns", f"{__name__}:Turns")
    yield Component("noisy", f"{__name__}:noisy")
    yield Component("summed", f"{__name__}:summed")


def noisy():
    def step(context, images, targets):
        outputs = context.model(images + torch.randn_like(images))
        return StepOutput(cross_entropy(outputs, targets), outputs)

    return step


def summed():
    def step(context, images, targets):
        outputs = context.model(images)
        return StepOutput(cross_entropy(outputs, targets, reduction="sum"), outputs)

    return step


class Turns:
    def __call__(self, context, images, targets):
        outputs = context.model(images)
        name = "hidden" if context.step % 2 else "head"
        right = (outputs.argmax(1) == targets).float().mean()
        return StepOutput({name: cross_entropy(outputs, targets)}, outputs, values={"right": right})
"""
"""Steps: one trains two layers in turn, and computes a value in float32; the others give other results on several ranks."""
CASES = {
    "sound": {},
    "sound, accumulation, clipping, adamw": {
        **UNEVEN,
        "model.freeze": [{"match": "1.*", "until": 1}],
        "train.grad_accumulation_steps": 2,
        "train.grad_clip_norm": 0.1,
        "train.optimizer": {"type": "adamw", "learning_rate": 0.01},
    },
    "sound, several optimizers": {
        **UNEVEN,
        "train.grad_clip_norm": 0.1,
        "train.optimizer": [
            {"name": "hidden", "match": "1.*", "type": "sgd", "learning_rate": 0.1},
            {"name": "head", "type": "adamw", "learning_rate": 0.01},
        ],
    },
    "sound, losses in turn and a value in float32": {
        **UNEVEN,
        "criterion": [],
        "train.step": "turns",
        "train.optimizer": [
            {"name": "hidden", "match": "1.*", "type": "sgd", "learning_rate": 0.1},
            {"name": "head", "type": "sgd", "learning_rate": 0.1},
        ],
    },
    "sound, BatchNorm over ranks": {**UNEVEN, "model.name": "convnet", "ddp.sync_batchnorm": True},
    "uses random numbers other than those of context.draw": {"criterion": [], "train.step": "noisy"},
    "result of the step 'loss' is not a mean over samples": {"criterion": [], "train.step": "summed"},
    "1 BatchNorm layers (1) use only the statistics of each rank's own samples; set 'ddp.sync_batchnorm = true'": {
        "model.name": "convnet"
    },
    "criterion 'lopsided' is not a mean over samples": {"criterion": [{"type": "acme/lopsided"}]},
    "the model uses random numbers in its forward (3)": {"model.config.dropout": 0.5},
    "differs each time it is read: the dataset or a transform uses its own random generator": {
        "dataset": {"name": "restless", "split": {"train": 0.8, "valid": 0.2}}
    },
}


def loaded(file, name):
    config = loading.load(Path(file), loading.named_overrides(CASES[name]))
    return config, manager.load(combine_policy(config.run.plugins))


def record_cases(world, file):
    return {name: record_in_world(world, *loaded(file, name), 4) for name in CASES}


@pytest.fixture(scope="module")
def recorded(in_world, tmp_path_factory):
    """The config file, and the records of each case on one rank and on two."""
    folder = tmp_path_factory.mktemp("verified")
    file = folder / "blobs.toml"
    file.write_text(f'{BLOBS}[plugins]\nfiles = ["turns.py"]\n')
    (folder / "turns.py").write_text(STEP)
    return str(file), record_cases(World(), str(file)), in_world(2, folder, record_cases, str(file))[0]


@pytest.mark.parametrize(
    ("float64", "float32", "is_equal"),
    [
        (1e-9, 0.0, True),
        (3e-9, 2.0, True),
        (3e-9, 1e-3, False),
        (2e-8, 2.0, False),
        (2e-3, 2e-3, False),
        (math.inf, math.inf, False),
    ],
)
def test_a_difference_that_shrinks_with_precision_is_rounding(float64, float32, is_equal):
    one = {dtype: {"end|weights|bias": torch.ones(2, dtype=torch.float64)} for dtype in ("float64", "float32")}
    other = {
        dtype: {"end|weights|bias": torch.tensor([1, 1 + gap], dtype=torch.float64)}
        for dtype, gap in (("float64", float64 * 0.999), ("float32", float32))
    }

    (row,) = compare(one, other).rows
    assert row.is_equal == is_equal


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("sound")])
def test_a_sound_config_is_equal(recorded, name):
    _, alone, ranks = recorded
    rows = compare(alone[name], ranks[name]).rows

    assert [row for row in rows if not row.is_equal] == []
    assert {(row.when, row.kind) for row in rows} >= {
        ("step 1", "loss"),
        ("step 2", "gradient"),
        ("end", "weights"),
        ("end", "valid"),
    }
    assert 1e-10 < max(row.float32 for row in rows) < 1e-4


def test_the_steps_of_each_phase_are_compared(recorded):
    gradients = [name for name in recorded[1]["sound, accumulation, clipping, adamw"]["float64"] if "1.weight" in name]

    assert [name.partition("|")[0] for name in gradients] == ["epoch 2 step 1", "epoch 2 step 2", "epoch 2 step 3", "end"]


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("sound")])
def test_a_difference_names_its_cause(recorded, name):
    file, alone, ranks = recorded
    first = compare(alone[name], ranks[name]).first

    assert (first.when, first.kind) == ("step 1", "loss")
    (cause,) = ddp_causes.find_causes(*loaded(file, name))
    assert name in cause


def test_all_of_several_causes_are_named(recorded, monkeypatch):
    both = {"model.config.dropout": 0.5, "criterion": [{"type": "acme/lopsided"}]}
    monkeypatch.setitem(CASES, "both", both)

    assert len(ddp_causes.find_causes(*loaded(recorded[0], "both"))) == 2


def test_the_last_step_of_an_epoch_is_compared(recorded):
    _, alone, _ = recorded

    assert [key for key in alone["sound, BatchNorm over ranks"]["float64"] if "|loss|" in key] == [
        f"step {number}|loss|cross_entropy" for number in (1, 2, 3, 6)
    ]


def test_only_what_a_step_trained_is_compared(recorded):
    recording = recorded[1]["sound, losses in turn and a value in float32"]["float64"]

    assert [key for key in recording if key.startswith("step 2")] == [
        "step 2|loss|head",
        "step 2|value|right",
        "step 2|gradient|4.weight",
        "step 2|gradient|4.bias",
    ]


def test_nan_and_missing_values_are_different():
    """Also if both have a NaN, or one has no value."""
    fine, broken = {"step 1|loss|a": torch.ones(1)}, {"step 1|loss|a": torch.full((1,), float("nan"))}

    def first(one, other):
        return compare({"float32": one, "float64": one}, {"float32": other, "float64": other}).first

    assert first(fine, fine) is None
    assert first(broken, broken).float64 == first(fine, broken).float64 == float("inf")
    assert first(fine, {}).worst == "a"
    assert first({}, fine).worst == "a"


def test_verify_ddp_names_unused_parameters(blobs, capsys):
    blobs.write_text(BLOBS.replace("tinynet", "forgetful"))

    assert main(["verify-ddp", blobs.name]) == 1

    said = capsys.readouterr().out
    assert "different: the results of 2 ranks and of one rank differ before the first step\n" in said
    assert "cause: 2 trained parameters get no gradient (spare.weight, spare.bias); freeze them with 'model.freeze'" in said
    assert [file.name for file in Path().iterdir()] == [blobs.name]


def test_verify_ddp_prints_json(blobs, capsys):
    assert main(["verify-ddp", blobs.name, "--json", "--steps", "2", "--set", "seed=-1"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["equal"], said["ranks"], said["first"], said["causes"]) == (True, 2, None, [])
    assert [row["when"] for row in said["rows"]] == ["step 1", "step 1", "step 4", "step 4", "end", "end"]


def test_a_config_mistake_is_reported(blobs, capsys):
    assert main(["verify-ddp", blobs.name, "--set", "train.batch_size=7"]) == 2
    assert "7 samples cannot be divided equally among 2 ranks" in capsys.readouterr().err
