"""Class weights, ignored targets and batch-wise overlap: N ranks and accumulation train like one rank with one batch."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

import ddpkit
from ddpkit.config import loading
from ddpkit.distributed.all_reduce import valid_samples
from ddpkit.distributed.world import World
from ddpkit.errors import ComponentName, ConfigError
from ddpkit.plugins import manager
from ddpkit.testing import ddp_causes
from ddpkit.training import builder
from ddpkit.training.losses import Losses, LossTerm, WeightedLosses, weight_method
from tests.helpers.ranks import fit

MASKS = """\
device = "cpu"
model = { name = "pixelnet" }
criterion = "cross_entropy"
[dataset]
name = "masks"
config = { n = 88 }
split = { train = 0.83, valid = 0.17, shuffle = false }
[dataloader]
shuffle = false
[train]
batch_size = 36
epoch = 3
optimizer = { type = "sgd", learning_rate = 0.5, momentum = 0.9 }
scaler = { compute_type = "float64" }
[valid]
batch_size = 6
"""
"""73 train samples, so that a step has 36, 36 or 1, and 15 valid samples: 6, 6 and 3."""
WEIGHTS = {"weight": [1.0, 0.3, 5.1]}
IGNORED = [*range(12, 36), 60, 61, 62, 63, 64, 65, 72, 76, 77, 78, 85, 86, 87]
"""Whole samples without a target: of the last rank, of a micro-batch of 12, of the last step, and of a valid micro-batch."""
IGNORING = {"dataset.config.ignored": IGNORED}
CASES = {
    "class weights": {"criterion": [{"type": "cross_entropy", "config": WEIGHTS}]},
    "ignored targets": {"criterion": [{"type": "cross_entropy", "config": {"ignore_index": 255}}], **IGNORING},
    "ignored targets and class weights, and another": {
        "criterion": [
            {"type": "cross_entropy", "weight": 0.4, "config": {**WEIGHTS, "ignore_index": 255, "label_smoothing": 0.1}},
            {"type": "cross_entropy", "name": "other", "config": {"ignore_index": 255}},
        ],
        **IGNORING,
    },
    "class weights and means over samples": {
        "criterion": [{"type": "cross_entropy", "weight": 0.4, "config": WEIGHTS}, {"type": "tversky", "weight": 2.0}]
    },
}
PADDED = {"dataset.config.n": 86, "dataset.split": {"train": 73 / 86, "valid": 13 / 86, "shuffle": False}, "valid.batch_size": 12}
"""13 valid samples: one in the last micro-batch, as in the last micro-batch of training."""
OVERLAP = {
    name: {"criterion": [{"type": name, "config": {"batch": True, "include_background": name == "dice"}}], **PADDED}
    for name in ("dice", "tversky", "jaccard")
}
OVERLAP["dice"]["criterion"] += [{"type": "cross_entropy", "config": WEIGHTS}]
ACCUMULATED = {"train.batch_size": 12, "train.grad_accumulation_steps": 3}
RESULTS = {
    **CASES,
    **{f"{name}, accumulated": case | ACCUMULATED for name, case in CASES.items()},
    **OVERLAP,
}


def fit_all(world, file):
    return {name: fit(file, world, **case) for name, case in RESULTS.items()} | {"sums": sums_over_ranks(world)}


def sums_over_ranks(world):
    """Sums of a tensor [2] of each rank, its gradient, and both if the last rank has only a padding sample with NaN."""
    found = []
    for n_last in (None, 0):
        is_padding = n_last == 0 and world.rank == world.size - 1
        values = torch.full((2,), math.nan if is_padding else world.rank + 1.0, requires_grad=True)
        with valid_samples(0 if is_padding else 1):
            total = ddpkit.all_reduce_sum(values)
        ((world.rank + 1) * total**2).sum().backward()
        found += [total.detach(), values.grad]
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("masks") / "masks.toml"
    path.write_text(MASKS)
    return path


@pytest.fixture(scope="module")
def results(in_world, tmp_path_factory, file):
    """The results of each case on one rank, two and three."""
    worlds = [in_world(size, tmp_path_factory.mktemp("world"), fit_all, str(file)) for size in (2, 3)]
    return {1: [fit_all(World(), str(file))], 2: worlds[0], 3: worlds[1]}


def assert_same(result, wanted):
    """Equal weights, train and valid losses up to the rounding of float64."""
    assert result["steps"] == wanted["steps"] == 9
    for name, tensor in wanted["weights"].items():
        torch.testing.assert_close(result["weights"][name], tensor, rtol=1e-9, atol=1e-12)
    for mine, theirs in zip(result["rows"], wanted["rows"], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("n_ranks", [2, 3])
@pytest.mark.parametrize("name", RESULTS)
def test_n_ranks_train_like_one_rank(results, name, n_ranks):
    assert_same(results[n_ranks][0][name], results[1][0][name])


@pytest.mark.parametrize("n_ranks", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_accumulation_trains_like_one_batch(results, name, n_ranks):
    assert_same(results[n_ranks][0][f"{name}, accumulated"], results[1][0][name])


def test_ranks_evaluate_like_one_rank(results, file):
    """The valid losses are means over all targets that count: 15 samples in micro-batches of 6, 6 and 3."""
    row = results[3][0]["ignored targets"]["rows"][-1]
    trainer = load_trainer(file, **CASES["ignored targets"])
    trainer.model.load_state_dict(results[3][0]["ignored targets"]["weights"])
    images, masks = trainer.evaluator.valid.sample(15)
    with torch.no_grad():
        wanted = nn.functional.cross_entropy(trainer.model(images.double()), masks, ignore_index=255)

    assert (masks[3:6] == 255).all()
    assert (masks[12:] == 255).all()
    assert row["valid/loss"] == row["valid/cross_entropy"] == pytest.approx(wanted.item(), rel=1e-9)


def load_trainer(file, **overrides):
    loaded = loading.load(Path(file), loading.named_overrides(overrides))
    return builder.build_trainer(loaded, manager.load().registry, World())


@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_all_reduce_sum_adds_values_and_gradients(results, n_ranks):
    """The loss of rank r is r times the square of the sum; the last rank has a padding sample in the second call."""
    ranks = range(1, n_ranks + 1)
    for rank, found in zip(ranks, (each["sums"] for each in results[n_ranks]), strict=True):
        total, gradient, total_without, gradient_without = found
        assert total.tolist() == [sum(ranks)] * 2
        assert gradient.tolist() == [2 * sum(ranks) * sum(ranks)] * 2
        assert total_without.tolist() == [sum(ranks[:-1])] * 2
        assert gradient_without.tolist() == [0 if rank == n_ranks else 2 * sum(ranks[:-1]) * sum(ranks)] * 2


def test_ignored_targets_do_not_change_the_loss(file):
    """Three steps: the gradient of a step without any target is 0, so the momentum alone moves the weights."""
    trainer = load_trainer(file, **CASES["ignored targets"])
    before = [each.detach().clone() for each in trainer.model.parameters()]
    steps = list(trainer.steps())

    empty = trainer.train_step(steps[2])

    assert math.isnan(trainer.step_loss(empty))
    assert all(map(torch.equal, trainer.model.parameters(), before))
    assert trainer.step_loss(trainer.train_step(steps[0])) > 0


def test_an_epoch_without_targets_has_no_loss(file):
    nothing = {"dataset.config": {"n": 125, "ignored": list(range(125))}, "train.batch_size": 1, "train.epoch": 2}
    result = fit(file, World(), criterion=[{"type": "cross_entropy", "config": {"ignore_index": 255}}], **nothing)

    assert [math.isnan(row["train/loss"]) and math.isnan(row["valid/loss"]) for row in result["rows"]] == [True, True]
    assert result["steps"] > 200  # the losses are checked every 100 steps


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_step_with_an_infinite_image_is_skipped(file, precision):
    skipping = {"train.on_nonfinite": "skip", "train.scaler.compute_type": precision, **ACCUMULATED}
    trainer = load_trainer(file, **CASES["class weights"] | skipping)
    trainer.loader.samples.dataset.images[40] = math.inf

    losses = trainer.train_epoch([])

    assert trainer.loss_sums.n_samples == 37
    assert math.isfinite(losses["loss"])
    assert all(each.isfinite().all() for each in trainer.model.parameters())


class Weighted(nn.Module):
    """Mean over the positive targets; `weight` returns what is given."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def forward(self, outputs, targets):
        return (outputs * targets).sum() / targets.sum().clamp(min=1)

    def weight(self, targets):
        return targets.sum() if self.found is None else self.found


@pytest.mark.parametrize("found", [torch.ones(2), torch.tensor(-1.0), torch.tensor(math.nan), 3.0])
def test_a_weight_that_is_not_a_number_is_rejected(found):
    losses = WeightedLosses(
        [LossTerm("mine", 1.0, Weighted(found), ComponentName("criterion 'mine'"), weight_method(Weighted(found)))]
    )

    with pytest.raises(ValueError, match=r"criterion 'mine' .* 'weight\(targets\)' must return one number as a tensor"):
        losses.sanity_check(torch.ones(2), torch.ones(2))


@pytest.mark.parametrize("found", [torch.ones(2), 3.0])
def test_a_later_weight_that_is_no_scalar_names_the_criterion(found):
    losses = WeightedLosses([LossTerm("mine", 1.0, Weighted(found), ComponentName("criterion 'mine'"), Weighted(found).weight)])

    with pytest.raises(ValueError, match=r"'weight\(targets\)' must return one number") as caught:
        losses.weight(torch.ones(2), 2, torch.device("cpu"))
    assert caught.value.__notes__[0].startswith("criterion 'mine' failed")


def test_an_attribute_that_is_no_method_is_not_a_weight():
    assert weight_method(Weighted(None))(torch.ones(3)) == 3
    for other in (nn.CrossEntropyLoss(torch.ones(3)), nn.CrossEntropyLoss(), nn.Linear(2, 2), nn.functional.cross_entropy):
        assert weight_method(other) is None
    layer = nn.Module()
    layer.weight = nn.Linear(2, 2)
    assert weight_method(layer) is None


@pytest.mark.parametrize(("config", "has_weight"), [({}, False), (WEIGHTS, True), ({"ignore_index": 255}, True)])
def test_only_losses_with_a_weight_add_it_up(file, config, has_weight):
    trainer = load_trainer(file, criterion=[{"type": "cross_entropy", "config": config}])

    assert type(trainer.losses) is (WeightedLosses if has_weight else Losses)


def test_sums_over_ranks_are_refused_for_shards_in_turn(file):
    with pytest.raises(ConfigError, match=r"ddp.virtual_shards: must not be larger than the number of ranks, because"):
        load_trainer(file, **OVERLAP["dice"], **{"ddp.virtual_shards": 2})


def test_class_weights_of_torch_are_a_cause_of_a_difference(file):
    trainer = load_trainer(file)
    criterion = nn.CrossEntropyLoss(torch.tensor(WEIGHTS["weight"], dtype=torch.float64))
    trainer.losses = trainer.context.criteria = Losses([LossTerm("torch", 1.0, criterion, weigh=weight_method(criterion))])

    (cause,) = ddp_causes.criterion_causes(trainer)
    assert "criterion 'torch' is not a mean over samples" in cause
    assert "class weights or 'ignore_index' of a criterion without a method 'weight(targets)'" in cause


@pytest.mark.parametrize("name", RESULTS)
def test_weights_are_no_cause_of_a_difference(file, name):
    trainer = load_trainer(file, **RESULTS[name])

    assert list(ddp_causes.criterion_causes(trainer)) == []
