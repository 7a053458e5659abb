"""Criteria and metrics select entries of outputs and targets: several heads, keypoints."""

import json

import pytest
import torch

from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.config.check import validate
from ddpkit.data.nested import count_samples
from ddpkit.distributed.world import World
from ddpkit.errors import ConfigError
from ddpkit.inference.predictor import load
from ddpkit.plugins import manager
from ddpkit.testing.ddp_causes import criterion_causes, select_samples
from ddpkit.training import builder
from ddpkit.training.heads import HeadPostprocess
from tests.helpers.ranks import fit

HEADS = """\
output_dir = "runs"
task = "heads"
device = "cpu"
postprocess = "classification"
metrics = [
    { type = "accuracy", name = "side", on = "side" },
    { type = "confidence", on = "tone" },
    { type = "offset", on = "points" },
]

[ddp]
nproc = 1

[model]
name = "heads"

[[criterion]]
type = "cross_entropy"
name = "side_loss"
on = "side"

[[criterion]]
type = "cross_entropy"
name = "tone"
on = "tone"
weight = 0.5

[[criterion]]
type = "distance"
on = "points"

[transform]
PIL_TO_TENSOR = []

[dataset]
name = "marks"

[dataset.split]
train = 0.76
valid = 0.12
test = 0.12

[train]
batch_size = 6
epoch = 3
optimizer = { type = "adamw", learning_rate = 0.01 }
scaler = { compute_type = "float64" }
"""
"""31 train samples, 1 of them in the last micro-batch; 5 valid and 5 test samples."""


@pytest.fixture
def heads(acme, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "heads.toml"
    file.write_text(HEADS)
    return file


def build(file, **overrides):
    config = loading.load(file, loading.named_overrides(overrides))
    return builder.build_trainer(config, manager.load().registry, World())


def fitted(world, file):
    return fit(file, world)


@pytest.mark.parametrize("n_ranks", [2, 3])
def test_heads_train_equally_on_any_number_of_ranks(heads, in_world, n_ranks):
    alone, (first, *_) = fit(str(heads), World()), in_world(n_ranks, heads.parent, fitted, str(heads))

    columns = {"loss", "side_loss", "tone", "distance", "side", "confidence", "offset"}
    assert {key.removeprefix("valid/") for key in alone["rows"][0] if key.startswith("valid/")} == columns
    for name, tensor in alone["weights"].items():
        torch.testing.assert_close(first["weights"][name], tensor, rtol=1e-9, atol=1e-12)
    for mine, theirs in zip([*alone["rows"], alone["tested"]], [*first["rows"], first["tested"]], strict=True):
        assert theirs == pytest.approx(mine, rel=1e-9)


def test_no_postprocess_is_called_without_metrics(heads):
    assert build(heads, metrics=[]).evaluator.postprocess({"side": torch.zeros(1, 2)}) == {}


def test_a_head_gets_its_own_loss_and_metric(heads):
    trainer = build(heads)
    images, targets = trainer.loader.sample(6)
    outputs = trainer.precision(trainer.model, images)
    side, tone, points = trainer.losses(outputs, targets)

    assert side == torch.nn.functional.cross_entropy(outputs["side"], targets["side"])
    assert tone == torch.nn.functional.cross_entropy(outputs["tone"], targets["tone"])
    assert points == (outputs["points"] - targets["points"]).square().mean()
    metric = trainer.evaluator.metrics["side"]
    metric.update(outputs, trainer.evaluator.postprocess(outputs), targets)
    assert metric.compute().value == pytest.approx(float((outputs["side"].argmax(1) == targets["side"]).double().mean()))


def test_the_postprocess_converts_each_used_head_once(heads):
    trainer = build(heads, metrics=[{"type": kind, "on": "side"} for kind in ("accuracy", "f1")])
    calls = []
    postprocess = HeadPostprocess(calls.append, trainer.evaluator.postprocess.heads)

    assert postprocess({"side": 1, "tone": 2}) == {"side": None}
    assert calls == [1]


WRONG = {
    "criterion": (
        {"criterion": [{"type": "cross_entropy", "on": "sied"}]},
        "criterion[0].on: the outputs of the model have no entry 'sied', did you mean 'side'?",
    ),
    "metric": (
        {"metrics": [{"type": "accuracy", "on": "colour"}]},
        "metrics[0].on: the outputs of the model have no entry 'colour', choose from: points, side, tone",
    ),
    "no mapping": (
        {"model.name": "tinynet", "dataset.name": "blobs", "metrics": []},
        "criterion[0].on: neither the outputs of the model nor the targets are a mapping, so there is no entry to select; remove",
    ),
    "no key": (
        {"criterion": ["cross_entropy"]},
        "it got a mapping with the entries side, tone, points; select one of them for each criterion and metric, such as on =",
    ),
    "predictions": (
        {"metrics": ["accuracy"], "postprocess": "multilabel"},
        "(postprocess 'multilabel' does not accept these values: it got a mapping with the entries side, tone, points; select one of",
    ),
    "one name": (
        {"metrics": [{"type": "accuracy", "on": "side"}, {"type": "accuracy", "on": "tone"}]},
        "metrics[1].type: the history already has a column 'accuracy'; set another 'name' for this entry, such as name = \"tone_",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_head_is_reported_at_its_key(heads, capsys, case):
    values, message = WRONG[case]
    options = [f"--set={each.text()}" for each in loading.named_overrides(values)]

    assert main(["run", str(heads), "--dry-run", *options]) == 2
    assert message in capsys.readouterr().err


def test_one_output_can_have_several_targets(heads):
    values = {"model.name": "tinynet", "metrics": [{"type": "accuracy", "on": "tone"}]}
    trainer = build(heads, criterion=[{"type": "cross_entropy", "on": "side"}], **values)
    images, targets = trainer.loader.sample(6)
    outputs = trainer.precision(trainer.model, images)

    assert trainer.losses(outputs, targets) == [torch.nn.functional.cross_entropy(outputs, targets["side"])]


def test_metrics_of_outputs_require_no_postprocess(heads):
    config = loading.load(heads, loading.named_overrides({"metrics": [{"type": "offset", "on": "points"}], "postprocess": ""}))

    assert validate(config, manager.load(), 1).problems == ()
    trainer = builder.build_trainer(config, manager.load().registry, World())
    assert trainer.evaluator.postprocess({"points": 1}) == {}


def test_a_batch_of_several_images_has_parts():
    images = {"left": torch.arange(5), "right": torch.arange(5, 10)}

    assert count_samples(images) == 5
    assert select_samples(images, slice(2, 3)) == {"left": torch.tensor([2]), "right": torch.tensor([7])}


def test_verify_ddp_accepts_criteria_of_heads(heads):
    assert not list(criterion_causes(build(heads)))


def test_a_run_with_heads_is_tested_but_not_predicted(heads, capsys):
    assert main(["run", str(heads), "--set", "run_id=one", "--set", "train.epoch=1"]) == 0
    shown = capsys.readouterr().err
    assert "next    ddpkit test" in shown
    assert "ddpkit predict" not in shown
    assert "ddpkit export" not in shown
    metrics = json.loads((heads.parent / "runs/heads/one/test_metrics.json").read_text())
    assert metrics.keys() == {"loss", "side", "confidence", "offset"}

    predictor = load("runs/heads/one")
    with pytest.raises(
        ConfigError, match=r"model: the model returns a mapping with the entries side, tone, points, which cannot"
    ):
        predictor.values(torch.zeros(1, 1, 8, 8))
    assert main(["export", "runs/heads/one", "--format", "torchscript", "--size", "1x8x8"]) == 2
    assert "this model returns a dict" in capsys.readouterr().err
