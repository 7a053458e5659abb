"""A model that makes its losses itself trains, validates, tests and goes on like any other."""

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
from ddpkit.training.losses import OwnLosses
from tests.helpers.configs import BLOBS, SHAPES
from tests.helpers.ranks import Kept, Nowhere, Rows, fit

SYNC = {"model.config.norm": True, "ddp.sync_batchnorm": True}
ONE = {
    "train.epoch": 1,
    "dataset.split": {"train": 9 / 20, "valid": 1 / 20, "test": 3 / 20},
}  # the last micro-batch and the valid part have one
CASES = {
    "two in the last batch, clipping": {"train.grad_clip_norm": 0.5},
    "one, BatchNorm over ranks, ema, accumulation": SYNC | ONE | {"train.ema_decay": 0.9, "train.grad_accumulation_steps": 2},
    "one, adamw, workers": ONE | {"train.optimizer": {"type": "adamw", "learning_rate": 0.001}, "dataloader.num_workers": 1},
}
SOVEREIGN = {"model.name": "sovereign", "criterion": []}


def run_cases(world, folder):
    double = {"train.scaler.compute_type": "float64"}
    results = {name: fit(Path(folder, "shapes.toml"), world, **double, **case) for name, case in CASES.items()}
    infinite = {"dataset.split": {"train": 31 / 40, "valid": 9 / 40}, "train.batch_size": 6}
    return results | {
        "a repeated sample without a finite loss": fit(Path(folder, "blobs.toml"), world, **double, **SOVEREIGN, **infinite)
    }


@pytest.fixture(scope="module")
def results(in_world, tmp_path_factory):
    """Each case on one rank, and on two."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "shapes.toml").write_text(SHAPES)
    (folder / "blobs.toml").write_text(BLOBS)
    return run_cases(World(), str(folder)), in_world(2, folder, run_cases, str(folder))


@pytest.mark.parametrize("case", [*CASES, "a repeated sample without a finite loss"])
def test_two_ranks_give_what_one_gives(results, case):
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
    """The config of a detection as a file, in a folder of its own that is the current one."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "shapes.toml"
    file.write_text(SHAPES)
    return file


def built(file, **overrides):
    return builder.engine(loading.load(file, loading.named_overrides(overrides)), manager.load().registry, World())


def test_each_loss_is_in_history_under_the_name_that_the_model_gives_it_and_the_best_is_of_the_first_metric(shapes):
    result = run(shapes, {"train.epoch": 3})

    assert [*result.history[0]][5:] == ["train/loss", "train/classification", "train/bbox_regression", "valid/map"]
    for row in result.history:
        assert row["train/loss"] == pytest.approx(row["train/classification"] + row["train/bbox_regression"])
    assert [*result.test_metrics] == ["map"]
    assert (result.folder / "test_metrics_per_class.csv").read_text().split()[1:][0].startswith("circle,")


def test_own_losses_are_what_the_same_losses_are_as_a_criterion(blobs):
    fixed = {"train.epoch": 1, "train.optimizer.learning_rate": 0.0}
    own, criterion = fit(blobs, World(), **SOVEREIGN, **fixed), fit(blobs, World(), **fixed)

    assert own["rows"][0]["train/classes"] == criterion["rows"][0]["train/cross_entropy"]
    assert own["rows"][0]["train/loss"] == own["rows"][0]["train/classes"] + own["rows"][0]["train/decay"]
    assert own["tested"] == {"accuracy": criterion["tested"]["accuracy"]}


class Oracle(nn.Module):
    """Knows the boxes of each image, but those of some labels."""

    def __init__(self, batches, without=()):
        super().__init__()
        self.batches, self.without = batches, without

    def forward(self, images):
        known = [self.batches.samples[0, index] for index in self.batches.sampler.indices]
        return [next(self.seen(target) for image, target in known if (each * 255 - image).abs().max() < 0.5) for each in images]

    def seen(self, target):
        chosen = [label not in self.without for label in target["labels"].tolist()]
        return {"boxes": target["boxes"][chosen], "labels": target["labels"][chosen], "scores": torch.ones(sum(chosen))}


def test_who_knows_all_boxes_has_a_map_of_one_and_who_knows_no_squares_none_of_them_under_their_name(shapes):
    engine = built(shapes)
    perfect = engine.evaluate(Oracle(engine.test), engine.test)
    partial = engine.evaluate(Oracle(engine.test, without={2}), engine.test)

    assert perfect == {"map": 1.0}
    table = metric_tables.tables(partial, ["circle", "square", "triangle"])["test_metrics_per_class.csv"]
    assert table == [["class", "map"], ["circle", 1.0], ["square", 0.0], ["triangle", 1.0]]


def end_of(engine):
    engine.fit(Nowhere(), [rows := Rows()])
    return [*engine.model.state_dict().values()], repr(rows.seen[-1:])


def test_a_detection_goes_on_to_the_bit(shapes):
    options = {"model.config.norm": True, "train.optimizer": {"type": "adamw", "learning_rate": 0.01}, "train.ema_decay": 0.9}
    engine = built(shapes, **options)
    engine.recovery = kept = Kept()
    weights, row = end_of(engine)

    for state in kept.states[1:-1:4]:  # in the first epoch, and in the second
        again = built(shapes, **options)
        trainer_state.put_back(again, state)
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
def test_a_detector_trains_with(shapes, options):
    rows = fit(shapes, World(), **options)["rows"]

    assert len(rows) == 2
    assert all(math.isfinite(value) for row in rows for value in row.values())


CRITERION = {"criterion": [{"type": "cross_entropy"}]}
MISTAKES = {
    "a criterion beside a detector": (SHAPES, CRITERION, "criterion: is too much: the model makes its losses itself"),
    "a criterion beside a model that wants targets": (BLOBS, {"model.name": "mute"}, "criterion: is too much: the model takes targets"),
    "no criterion": (BLOBS, {"criterion": []}, "criterion: is missing: the model takes images alone"),
    "no losses": (BLOBS, {"criterion": [], "model.name": "mute"}, "criterion: is missing, or the model is to make its losses itself (the model gave no losses in training, but Tensor)"),
    "a criterion of masks": (BLOBS, {"criterion": [{"type": "dice"}]}, "criterion: one of them does not fit the model's outputs, or the targets (criterion 'dice' refuses this: an overlap is of masks; got outputs ["),
    "a postprocess of classes": (SHAPES, {"postprocess": "classification"}, "postprocess: does not fit the model's outputs (the postprocess refuses this: it takes logits [B, C]; pixels want 'segmentation'; got list)"),
    "a metric of classes": (SHAPES, {"metrics": ["accuracy"]}, "metrics: one of them does not fit the predictions, or the targets (metric 'accuracy' refuses this: metrics of classes want"),
    "a metric of boxes": (BLOBS, {"metrics": ["map"]}, "(metric 'map' refuses this: map is for boxes, of a dataset and 'postprocess"),
    "nothing to judge by": (SHAPES, {"metrics": []}, "metrics: a model that makes its losses itself has none in evaluation; name a metric"),
    "judged by the loss": (SHAPES, {"output.monitor": "loss"}, "output.monitor: a model that makes its losses itself has none"),
    "stopped by the loss": (SHAPES, {"train.early_stopping": {"patience": 1, "monitor": "loss"}}, "train.early_stopping.monitor: a model that makes"),
    "a plateau": (SHAPES, {"train.lr_scheduler.type": "plateau"}, "train.lr_scheduler.type: looks at the validation loss"),
    "images that are no tensors": (SHAPES, {"transform": {"HFLIP": [0.5]}}, "transform: the samples are no tensors; does 'PIL_TO_TENSOR = []' lack?"),
    "no collate": (SHAPES, {"dataset": {"name": "loose", "config": {"n": 9}}, "transform": {}}, "dataset: the first sample cannot be used: its target is a mapping, and the dataset has no 'collate"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_shown_at_its_key_before_training(shapes, name):
    text, changes, message = MISTAKES[name]
    shapes.write_text(text)

    with pytest.raises(ConfigError) as caught:
        built(shapes, **changes)

    assert message in str(caught.value)


def test_without_a_valid_part_the_training_loss_decides(shapes):
    engine = built(shapes, **{"dataset.split": {"train": 1.0, "valid": 0.0}, "train.lr_scheduler.type": "plateau"})

    assert [each.best.column for each in engine.candidates] == ["train/loss"]


def test_losses_that_come_or_go_in_training_are_named():
    found = OwnLosses().found_in({"boxes": torch.tensor(1.0)})

    with pytest.raises(ValueError, match=r"gave the losses \['boxes', 'masks'\], and \['boxes'\] when it was tried"):
        found({"boxes": torch.tensor(1.0), "masks": torch.tensor(1.0)}, None)


@pytest.mark.parametrize("lopsided", [False, True])
def test_a_loss_of_the_models_own_that_is_no_mean_is_named_as_a_cause(blobs, lopsided):
    loaded = loading.load(blobs, loading.named_overrides(SOVEREIGN | {"model.config.lopsided": lopsided}))

    found = [cause.partition(":")[0] for cause in ddp_causes.found(loaded, manager.load())]

    assert found == ["own loss 'decay' is no mean over samples" if lopsided else "none that is known"]


def test_a_dry_run_takes_a_detector(shapes):
    assert main(["run", str(shapes), "--dry-run"]) == 0
