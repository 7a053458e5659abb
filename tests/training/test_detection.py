"""A model that computes its own losses trains, validates, tests and resumes like any other."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from ddpkit.checkpoint import trainer_state
from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.distributed.world import World
from ddpkit.errors import ConfigError
from ddpkit.plugins import manager
from ddpkit.runs import metric_tables
from ddpkit.tasks.runner import run
from ddpkit.testing import ddp_causes
from ddpkit.training import builder
from ddpkit.training.losses import ModelComputedLosses
from tests.helpers.configs import BLOBS, SHAPES
from tests.helpers.ranks import NoWeights, RowRecorder, StateRecorder, fit

SYNC = {"model.config.norm": True, "ddp.sync_batchnorm": True}
ONE = {
    "train.epoch": 1,
    "dataset.split": {"train": 9 / 20, "valid": 1 / 20, "test": 3 / 20},
}  # the last micro-batch and the validation split have one
CASES = {
    "two in the last batch, clipping": {"train.grad_clip_norm": 0.5},
    "one, BatchNorm over ranks, ema, accumulation": SYNC | ONE | {"train.ema_decay": 0.9, "train.grad_accumulation_steps": 2},
    "one, adamw, workers": ONE | {"train.optimizer": {"type": "adamw", "learning_rate": 0.001}, "dataloader.num_workers": 1},
}
OWN_LOSSES = {"model.name": "sovereign", "criterion": []}


def run_cases(world, folder):
    double = {"train.scaler.compute_type": "float64"}
    results = {name: fit(Path(folder, "shapes.toml"), world, **double, **case) for name, case in CASES.items()}
    infinite = {"dataset.split": {"train": 31 / 40, "valid": 9 / 40}, "train.batch_size": 6}
    return results | {
        "a repeated sample without a finite loss": fit(Path(folder, "blobs.toml"), world, **double, **OWN_LOSSES, **infinite)
    }


@pytest.fixture(scope="module")
def results(in_world, tmp_path_factory):
    """The results of each case on one rank and on two."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "shapes.toml").write_text(SHAPES)
    (folder / "blobs.toml").write_text(BLOBS)
    return run_cases(World(), str(folder)), in_world(2, folder, run_cases, str(folder))


@pytest.mark.parametrize("case", [*CASES, "a repeated sample without a finite loss"])
def test_two_ranks_match_one_rank(results, case):
    alone, (first, second) = results[0][case], [rank[case] for rank in results[1]]

    for name, tensor in alone["weights"].items():
        torch.testing.assert_close(first["weights"][name], tensor, rtol=1e-9, atol=1e-12)
        assert torch.equal(first["weights"][name], second["weights"][name])
    for mine, theirs in zip([*alone["rows"], alone["tested"]], [*first["rows"], first["tested"]], strict=True):
        assert theirs == pytest.approx(mine, rel=1e-9)
        assert all(map(math.isfinite, theirs.values()))
    assert first["tested"] == second["tested"]


@pytest.fixture
def shapes(acme, tmp_path, monkeypatch):
    """The config of a detection as a file in the current folder, a temporary one."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "shapes.toml"
    file.write_text(SHAPES)
    return file


def build_trainer(file, **overrides):
    return builder.build_trainer(loading.load(file, loading.named_overrides(overrides)), manager.load().registry, World())


def test_history_has_each_loss_under_the_name_the_model_gives(shapes):
    result = run(shapes, {"train.epoch": 3})

    assert [*result.history[0]][5:] == ["train/loss", "train/classification", "train/bbox_regression", "valid/map"]
    for row in result.history:
        assert row["train/loss"] == pytest.approx(row["train/classification"] + row["train/bbox_regression"])
    assert [*result.test_metrics] == ["map"]
    assert (result.folder / "test_metrics_per_class.csv").read_text().split()[1:][0].startswith("circle,")


def test_model_computed_losses_match_the_same_criterion(blobs):
    fixed = {"train.epoch": 1, "train.optimizer.learning_rate": 0.0}
    own, criterion = fit(blobs, World(), **OWN_LOSSES, **fixed), fit(blobs, World(), **fixed)

    assert own["rows"][0]["train/classes"] == criterion["rows"][0]["train/cross_entropy"]
    assert own["rows"][0]["train/loss"] == own["rows"][0]["train/classes"] + own["rows"][0]["train/decay"]
    assert own["tested"] == {"accuracy": criterion["tested"]["accuracy"]}


class Oracle(nn.Module):
    """Predicts the target boxes of each image, except those of some labels."""

    def __init__(self, batches, without=()):
        super().__init__()
        self.batches, self.without = batches, without

    def forward(self, images):
        known = [self.batches.samples[0, index] for index in self.batches.sampler.indices]
        return [next(self.seen(target) for image, target in known if (each * 255 - image).abs().max() < 0.5) for each in images]

    def seen(self, target):
        chosen = [label not in self.without for label in target["labels"].tolist()]
        return {"boxes": target["boxes"][chosen], "labels": target["labels"][chosen], "scores": torch.ones(sum(chosen))}


def test_an_oracle_has_a_perfect_map_for_each_known_class(shapes):
    trainer = build_trainer(shapes)
    perfect = trainer.evaluator.evaluate(Oracle(trainer.evaluator.test), trainer.evaluator.test).values
    partial = trainer.evaluator.evaluate(Oracle(trainer.evaluator.test, without={2}), trainer.evaluator.test)

    assert perfect == {"map": 1.0}
    table = metric_tables.build_tables(partial.metrics, ["circle", "square", "triangle"])["test_metrics_per_class.csv"]
    assert table == [["class", "map"], ["circle", 1.0], ["square", 0.0], ["triangle", 1.0]]


def end_of(trainer):
    trainer.fit(NoWeights(), [rows := RowRecorder()])
    return [*trainer.model.state_dict().values()], repr(rows.seen[-1:])


def test_a_resumed_detection_is_bit_identical(shapes):
    options = {"model.config.norm": True, "train.optimizer": {"type": "adamw", "learning_rate": 0.01}, "train.ema_decay": 0.9}
    trainer = build_trainer(shapes, **options)
    trainer.checkpointer = kept = StateRecorder()
    weights, row = end_of(trainer)

    for state in kept.states[1:-1:4]:  # in the first epoch, and in the second
        again = build_trainer(shapes, **options)
        trainer_state.restore_state(again, state)
        others, other = end_of(again)
        assert other == row
        assert all(torch.equal(*pair) for pair in zip(weights, others, strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {"train.scaler.compute_type": "bfloat16", "train.channels_last": True, "train.ema_decay": 0.5},
        {"train.scaler.compute_type": "float16", "train.grad_clip_norm": 1.0, "train.grad_accumulation_steps": 2},
        {"ddp.virtual_shards": 2, "train.on_nonfinite": "skip"},
        {"transform": {"PIL_TO_TENSOR": [], "CONVERT_IMAGE_DTYPE": ["float32"], "NORMALIZE": [[0.5] * 3, [0.5] * 3]}},
    ],
    ids=", ".join,
)
def test_a_detector_trains_with_options(shapes, options):
    rows = fit(shapes, World(), **options)["rows"]

    assert len(rows) == 2
    assert all(math.isfinite(value) for row in rows for value in row.values())


CRITERION = {"criterion": [{"type": "cross_entropy"}]}
MISTAKES = {
    "a criterion with a detector": (SHAPES, CRITERION, "criterion: is not allowed, because the model computes its losses itself"),
    "a criterion with a model that requires targets": (BLOBS, {"model.name": "mute"}, "criterion: is not allowed, because the model computes its losses itself from the targets"),
    "no criterion": (BLOBS, {"criterion": []}, "criterion: is required: this model's forward() takes only images"),
    "no losses": (BLOBS, {"criterion": [], "model.name": "mute"}, "criterion: is required, because the model does not return its losses in training (the model must return a mapping of scalar losses in training; got Tensor)"),
    "a criterion of masks": (BLOBS, {"criterion": [{"type": "dice"}]}, "criterion: a criterion cannot be computed from the outputs of the model and the targets (criterion 'dice' does not accept these values: overlap losses require logits per pixel [B, C, H, W]; got outputs ["),
    "a postprocess of classes": (SHAPES, {"postprocess": "classification"}, "postprocess: cannot convert the outputs of the model (postprocess 'classification' does not accept these values: expected logits [B, C] (for logits per pixel, use 'segmentation'); got list)"),
    "a metric of classes": (SHAPES, {"metrics": ["accuracy"]}, "metrics: a metric cannot be computed from the predictions and the targets (metric 'accuracy' does not accept these values: this metric requires class probabilities"),
    "a metric of boxes": (BLOBS, {"metrics": ["map"]}, "(metric 'map' does not accept these values: map requires boxes; use a dataset with boxes, and set 'postprocess"),
    "no metric with a validation split": (SHAPES, {"metrics": []}, "metrics: a model that computes its losses itself has no loss in evaluation; use a metric"),
    "loss as output.monitor": (SHAPES, {"output.monitor": "loss"}, "output.monitor: a model that computes its losses itself has no loss"),
    "loss as early_stopping.monitor": (SHAPES, {"train.early_stopping": {"patience": 1, "monitor": "loss"}}, "train.early_stopping.monitor: a model that computes"),
    "a plateau": (SHAPES, {"train.lr_scheduler.type": "plateau"}, "train.lr_scheduler.type: uses the validation loss"),
    "images that are not tensors": (SHAPES, {"transform": {"HFLIP": [0.5]}}, "transform: samples are not tensors; add 'PIL_TO_TENSOR = []' to [transform]"),
    "no collate": (SHAPES, {"dataset": {"name": "loose", "config": {"n": 9}}, "transform": {}}, "dataset.name: the samples cannot be collated (the targets of one micro-batch differ: {labels: int64 ["),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_reported_at_its_key_before_training(shapes, name):
    text, changes, message = MISTAKES[name]
    shapes.write_text(text)

    with pytest.raises(ConfigError) as caught:
        build_trainer(shapes, **changes)

    assert message in str(caught.value)


def test_without_a_valid_split_the_training_loss_decides(shapes):
    trainer = build_trainer(shapes, **{"dataset.split": {"train": 1.0, "valid": 0.0}, "train.lr_scheduler.type": "plateau"})

    assert [each.best.column for each in trainer.evaluator.models] == ["train/loss"]


def test_losses_that_change_during_training_are_named():
    found = ModelComputedLosses().found_in({"boxes": torch.tensor(1.0)})

    with pytest.raises(
        ValueError, match=r"must return the losses \['boxes'\] in every step, as in its first forward; got \['boxes', 'masks'\]"
    ):
        found({"boxes": torch.tensor(1.0), "masks": torch.tensor(1.0)}, None)


@pytest.mark.parametrize("lopsided", [False, True])
def test_a_model_loss_that_is_not_a_mean_is_named_as_a_cause(blobs, lopsided):
    loaded = loading.load(blobs, loading.named_overrides(OWN_LOSSES | {"model.config.lopsided": lopsided}))

    found = [cause.partition(":")[0].partition(";")[0] for cause in ddp_causes.find_causes(loaded, manager.load())]

    assert found == ["model-computed loss 'decay' is not a mean over samples" if lopsided else "unknown"]


def test_a_dry_run_works_with_a_detector(shapes):
    assert main(["run", str(shapes), "--dry-run"]) == 0
