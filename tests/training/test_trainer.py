"""The training loop in one process; it is bit-reproducible."""

import math

import pytest
import torch
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc, multiclass_f1_score

from ddpkit.checkpoint.weights import WeightsFolder, load_saved_weights
from ddpkit.config import loading as config
from ddpkit.distributed.world import World
from ddpkit.errors import ConfigError, NonFiniteError
from ddpkit.plugins import manager
from ddpkit.training import builder
from ddpkit.training.metrics import MetricAdapter
from ddpkit.training.precision import select_kernels
from ddpkit.training.sanity_check import SanityCheck
from tests.helpers.configs import BLOBS
from tests.helpers.ranks import NoWeights, RowRecorder, evaluate_best, fit


def same(first, second):
    return all(torch.equal(tensor, second["weights"][name]) for name, tensor in first["weights"].items())


@pytest.mark.parametrize("loading", [{"num_workers": 2}, {"num_workers": 2, "persistent_workers": False}, {"num_workers": 1}])
def test_the_number_of_workers_does_not_matter(digits, loading):
    alone = fit(digits, World())

    with_workers = fit(digits, World(), dataloader=loading)

    assert same(alone, with_workers)
    assert alone["rows"] == with_workers["rows"]
    assert alone["tested"] == with_workers["tested"]


def test_a_run_is_reproducible_by_its_seed(digits):
    first = fit(digits, World())
    torch.rand(7)  # what was drawn before does not matter

    assert same(first, fit(digits, World()))
    assert not same(first, fit(digits, World(), seed=4))


def test_each_step_has_its_own_random_draws(digits):
    trainer = build_trainer(digits, **{"train.optimizer.learning_rate": 0.0})
    micro_batches = next(trainer.steps())
    trainer.set_train_mode()

    assert len({trainer.step_loss(trainer.train_step(micro_batches)) for _ in range(3)}) == 3


def test_augmentation_varies_by_epoch_and_skips_evaluation(digits):
    loaded = config.load(digits)
    trainer = builder.build_trainer(loaded, manager.load().registry, World())
    index = trainer.loader.sampler.indices[0]

    first, second = trainer.loader.samples[0, index][0], trainer.loader.samples[1, index][0]
    plain = trainer.evaluator.valid.samples[0, index][0]

    assert not torch.equal(first, second)
    assert plain.sum() != first.sum()
    assert torch.equal(plain, trainer.evaluator.valid.samples[1, index][0])


def test_batchable_transforms_run_on_batches(digits):
    trainer = builder.build_trainer(config.load(digits), manager.load().registry, World())

    image, _ = trainer.loader.samples[0, 0]
    images, _ = trainer.loader.sample(3)

    assert image.dtype == torch.uint8
    assert images.dtype == torch.float32
    assert images.min().item() == pytest.approx(-0.13 / 0.31)


def test_accumulated_micro_batches_match_one_batch(blobs):
    double = {"train.scaler.compute_type": "float64", "dataset.config.n": 125}  # 100 train: steps of 48, 48 and 4
    whole = fit(blobs, World(), **double, **{"train.batch_size": 48})
    in_parts = fit(blobs, World(), **double, **{"train.batch_size": 12, "train.grad_accumulation_steps": 4})

    assert in_parts["steps"] == whole["steps"] == 6
    for mine, theirs in zip(in_parts["rows"], whole["rows"], strict=True):
        assert mine["train/loss"] == pytest.approx(theirs["train/loss"], rel=1e-9)
    for name, tensor in whole["weights"].items():
        torch.testing.assert_close(in_parts["weights"][name], tensor, rtol=1e-9, atol=1e-12)


def test_a_step_has_the_gradient_of_only_its_own_samples(blobs):
    trainer = build_trainer(blobs, **{"train.optimizer": {"type": "sgd", "learning_rate": 0.0}})
    first, second = list(trainer.steps())[:2]

    gradients = []
    for micro_batches in (second, first, second):
        trainer.train_step(micro_batches)
        gradients.append([parameter.grad.clone() for parameter in trainer.model.parameters()])

    assert all(map(torch.equal, gradients[0], gradients[2]))
    assert not any(map(torch.equal, gradients[0], gradients[1]))


def test_the_loss_is_the_weighted_sum_of_its_logged_terms(blobs):
    plain = fit(blobs, World(), **{"train.epoch": 1, "train.optimizer.learning_rate": 0.0})["rows"][0]
    terms = [{"type": "cross_entropy", "weight": 0.5}, {"type": "cross_entropy", "name": "again", "weight": 2.0}]
    row = fit(blobs, World(), **{"train.epoch": 1, "train.optimizer.learning_rate": 0.0, "criterion": terms})["rows"][0]

    assert row["train/cross_entropy"] == row["train/again"] == plain["train/loss"]
    assert row["train/loss"] == pytest.approx(2.5 * plain["train/loss"])
    assert row["valid/loss"] == pytest.approx(2.5 * plain["valid/loss"])


def test_a_metric_may_be_a_table(blobs):
    macro = {"type": "accuracy", "name": "balanced", "config": {"average": "macro"}}
    row = fit(blobs, World(), metrics=["accuracy", macro, "acme/confidence"])["rows"][-1]

    assert {"valid/accuracy", "valid/balanced", "valid/confidence"} <= set(row)
    assert 0.5 <= row["valid/confidence"] <= 1.0


def test_the_sanity_check_leaves_no_trace(blobs):
    blobs.write_text(BLOBS.replace("tinynet", "normnet"))
    trainer = builder.build_trainer(config.load(blobs), manager.load().registry, World())
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}

    shared = ("model", "context", "loader", "evaluator", "freezing", "optimizations")
    parts = {name: getattr(trainer, name) for name in shared}
    SanityCheck(criteria=trainer.losses, check_criteria=lambda: None, **parts).run()

    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.model.state_dict().items())


def test_lazy_layers_are_materialised_before_the_optimizer(blobs):
    done = fit(blobs, World(), **{"model.name": "lazynet"})

    assert done["weights"]["1.weight"].shape == (8, 64)
    assert done["weights"]["2.num_batches_tracked"] == done["steps"] == 8


def test_a_non_finite_loss_ends_the_run(blobs):
    with pytest.raises(NonFiniteError, match=r"the loss of epoch 1 is (inf|nan) at step \d; try a lower learning rate"):
        fit(blobs, World(), **{"train.optimizer.learning_rate": 1e38})


def test_history_has_the_learning_rate_of_each_epoch(blobs):
    rows = fit(blobs, World(), **{"train.epoch": 4, "train.lr_scheduler.type": "cosine"})["rows"]

    assert [row["learning_rate"] for row in rows] == pytest.approx(
        [0.05 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    )


def test_a_configured_warm_up_raises_the_rate(blobs):
    rising = {"type": "constant", "warmup": 2, "warmup_lr": 0.01}
    rows = fit(blobs, World(), **{"train.epoch": 3, "train.lr_scheduler": rising})["rows"]

    rates = [row["learning_rate"] for row in rows]
    assert 0.01 <= rates[0] < rates[1] <= rates[2] == 0.1


def test_evaluation_uses_training_precision_and_keeps_weights(blobs):
    trainer = build_trainer(blobs, **{"train.scaler.compute_type": "bfloat16", "model.name": "convnet"})
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    seen = []
    trainer.model.register_forward_hook(lambda model, given, outputs: seen.append((outputs.dtype, model.training)))

    trainer.set_train_mode()
    trainer.evaluator.evaluate(trainer.model, trainer.evaluator.valid)

    assert set(seen) == {(torch.bfloat16, False)}
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.model.state_dict().items())


def test_the_loss_of_a_split_is_the_mean_over_its_samples(blobs):
    trainer = build_trainer(blobs, **{"valid.batch_size": 4, "dataset.split": {"train": 34 / 40, "valid": 6 / 40}})
    images, targets = trainer.evaluator.valid.sample(6)
    with torch.no_grad():
        each = torch.nn.functional.cross_entropy(trainer.model.eval()(images).double(), targets, reduction="none")

    assert trainer.evaluator.evaluate(trainer.model, trainer.evaluator.valid).values["loss"] == pytest.approx(
        each.mean().item(), rel=1e-5
    )
    assert abs((each[:4].mean() + each[4:].mean()).item() / 2 - each.mean().item()) > 1e-4  # else this test shows nothing


def test_a_metric_is_computed_over_the_whole_split(blobs):
    split = {"valid.batch_size": 4, "dataset.split": {"train": 0.5, "valid": 0.5}, "dataset.config.n": 60}
    trainer = build_trainer(blobs, metrics=[{"type": "f1", "config": {"average": "macro"}}, "auc"], **split)
    images, targets = trainer.evaluator.valid.sample(30)
    with torch.no_grad():
        right = trainer.model.eval()(images).softmax(dim=1)[:, 1]

    found = trainer.evaluator.evaluate(trainer.model, trainer.evaluator.valid)

    assert found.values["f1"] == pytest.approx(multiclass_f1_score(right > 0.5, targets, 2, "macro").item(), abs=1e-6)
    of_each = multiclass_f1_score(right > 0.5, targets, 2, "none").tolist()
    assert found.metrics["f1"].per_class == pytest.approx(of_each, abs=1e-6)
    assert found.values["auc"] == pytest.approx(binary_auroc(right, targets).item(), abs=1e-6)
    means = [
        multiclass_f1_score(mine > 0.5, theirs, 2, "macro") for mine, theirs in zip(right.split(4), targets.split(4), strict=True)
    ]
    assert abs(torch.stack(means).mean().item() - found.values["f1"]) > 1e-3  # else this test shows nothing
    assert abs(binary_auroc((right > 0.5).float(), targets).item() - found.values["auc"]) > 1e-3  # the AUC of hard labels differs


def test_the_test_split_never_selects_the_weights(blobs):
    trainer = build_trainer(blobs, **{"dataset.split": {"train": 1.0, "valid": 0.0}})

    assert (trainer.evaluator.valid, len(trainer.evaluator.test.sampler.indices)) == (None, 7)
    assert [each.best.column for each in trainer.evaluator.models] == ["train/loss"]


def test_the_best_weights_are_tested(blobs):
    wild = {"train.optimizer.learning_rate": 3.0, "train.epoch": 3, "dataset.split.stratify": False}
    trainer = builder.build_trainer(config.load(blobs, config.named_overrides(wild)), manager.load().registry, World())
    weights = WeightsFolder(blobs.parent)
    trainer.fit(weights, [rows := RowRecorder()])
    losses = [row["valid/loss"] for row in rows.seen]
    assert min(losses) < losses[-1]  # else this test shows nothing

    of_last = trainer.evaluator.evaluate(trainer.model, trainer.evaluator.test).values
    tested = evaluate_best(trainer, weights)
    load_saved_weights(trainer.model, blobs.parent / "best.safetensors")

    assert tested == {
        key: trainer.evaluator.evaluate(trainer.model, trainer.evaluator.test).values[key] for key in ("loss", "accuracy")
    }
    assert tested["loss"] != of_last["loss"]
    assert trainer.evaluator.evaluate(trainer.model, trainer.evaluator.valid).values["loss"] == min(losses)


def test_ema_weights_are_evaluated_saved_and_tested(blobs):
    trainer = build_trainer(blobs, **{"train.ema_decay": 0.75, "train.epoch": 3, "train.optimizer.learning_rate": 1.0})
    trainer.fit(WeightsFolder(blobs.parent, save_interval=3), [rows := RowRecorder()])
    tested = evaluate_best(trainer, WeightsFolder(blobs.parent))

    of_average = [row["ema/loss"] for row in rows.seen]
    assert of_average != [row["valid/loss"] for row in rows.seen]
    assert set(tested) == {"loss", "accuracy", "ema/loss", "ema/accuracy"}
    assert trainer.evaluator.evaluate(trainer.ema.model, trainer.evaluator.valid).values["loss"] == min(
        of_average
    )  # the test loaded the best weights
    assert {file.name for file in blobs.parent.glob("ema-*")} == {
        "ema-best.safetensors", "ema-last.safetensors", "ema-epoch-0003.safetensors"
    }  # fmt: skip


def test_ema_follows_its_formula(blobs):
    trainer = build_trainer(blobs, **{"train.ema_decay": 0.25})
    weight, averaged = (next(model.parameters()) for model in (trainer.model, trainer.ema.model))
    expected = weight.detach().clone()
    for decay, micro_batches in zip([2 / 11, 0.25, 0.25, 0.25], trainer.steps(), strict=True):  # 3/12 in the second step
        trainer.train_step(micro_batches)
        expected = decay * expected + (1 - decay) * weight.detach()

    torch.testing.assert_close(averaged.detach(), expected)
    assert not torch.equal(averaged, weight)


@pytest.mark.slow
def test_a_compiled_model_gives_the_same_result(blobs):
    plain, compiled = (fit(blobs, World(), **{"train.epoch": 1, "train.compile": on}) for on in (False, True))

    assert compiled["rows"][0] == pytest.approx(plain["rows"][0], rel=1e-5)
    assert set(compiled["weights"]) == set(plain["weights"])


def test_optimizers_are_fused_unless_configured(blobs):
    plain = {"train.optimizer.momentum": 0.0}
    of_torch = build_trainer(blobs, **plain).optimizer.defaults
    chosen = build_trainer(blobs, **plain, **{"train.optimizer.foreach": True}).optimizer.defaults

    assert (of_torch["fused"], of_torch["foreach"]) == (True, None)
    assert (chosen["fused"], chosen["foreach"]) == (None, True)


def test_a_late_first_gradient_works_with_momentum(blobs):
    for seed in range(4):
        assert fit(blobs, World(), **{"model.name": "forgetful", "model.config.remembers": True, "seed": seed})["steps"] == 8


def test_a_non_finite_loss_ends_a_long_epoch_early(blobs):
    trainer = build_trainer(blobs, **{"dataset.config.n": 1000, "train.batch_size": 2})
    trainer.loader.samples.dataset.images[trainer.loader.sampler.batches(0)[1][0]] = math.nan

    with pytest.raises(NonFiniteError, match="at step 100;"):
        trainer.train_epoch([])


def test_skipped_steps_are_logged(blobs, caplog):
    trainer = build_trainer(blobs, **{"train.on_nonfinite": "skip"})
    trainer.loader.samples.dataset.images[trainer.loader.sampler.batches(0)[1][0]] = math.nan

    losses = trainer.train_epoch([])

    assert math.isfinite(losses["loss"])
    assert caplog.messages == ["epoch 1: 1 steps were skipped because their gradients were not finite"]


class ScriptedMetric(Metric):
    """Metric that returns given values, one per evaluation."""

    def __init__(self, values):
        super().__init__()
        self.values = iter(values)

    def update(self, predictions, targets):
        pass

    def compute(self):
        return torch.tensor(next(self.values))


class BestEpochs:
    """Weights folder that records the epochs whose weights were the best so far."""

    def __init__(self):
        self.epochs = []

    def save_epoch(self, _model, epoch, *, is_best, prefix=""):  # noqa: ARG002 - the signature of a weights folder
        self.epochs += [epoch] * is_best


def test_finite_losses_of_skipped_steps_count(blobs):
    float16 = {"train.scaler": {"compute_type": "float16"}, "criterion": [{"type": "cross_entropy", "weight": 1e4}]}
    trainer = build_trainer(blobs, **float16, **{"train.on_nonfinite": "skip"})

    losses = trainer.train_epoch([])

    assert trainer.loss_sums.n_skipped > 0
    assert trainer.loss_sums.n_samples == len(trainer.loader.sampler.indices)
    assert math.isfinite(losses["loss"])


def test_an_epoch_of_skipped_steps_has_no_loss_and_does_not_end_the_run(blobs):
    trainer = build_trainer(blobs, **{"train.on_nonfinite": "skip", "train.epoch": 2})
    trainer.loader.samples.dataset.images[list(trainer.loader.sampler.indices)] = math.nan
    rows = RowRecorder()

    trainer.fit(NoWeights(), [rows])

    assert [math.isnan(row["train/loss"]) for row in rows.seen] == [True, True]
    assert all(math.isfinite(row["valid/loss"]) for row in rows.seen)


@pytest.mark.parametrize(
    ("values", "best", "warned"),
    [
        ([math.nan, 0.5, 0.4], 2, ["valid/accuracy has no value (NaN) in epoch 1"]),
        ([math.nan] * 3, 3, ["valid/accuracy has no value (NaN) in epoch 1", "valid/accuracy never had a value"]),
        ([0.5, math.nan, 0.5], 1, ["valid/accuracy has no value (NaN) in epoch 2"]),
    ],
)
def test_a_monitor_without_value_is_reported_once(blobs, caplog, values, best, warned):
    trainer = build_trainer(blobs, **{"output.monitor": "accuracy", "train.epoch": 3})
    trainer.evaluator.metrics = {"accuracy": MetricAdapter(ScriptedMetric(values))}
    weights = BestEpochs()

    trainer.fit(weights, [])

    assert weights.epochs[-1] == best
    assert [message.partition(";")[0].partition(", so")[0] for message in caplog.messages] == warned


def test_unused_parameters_are_logged(blobs, caplog):
    build_trainer(blobs, **{"model.name": "forgetful"})

    (message,) = caplog.messages
    assert message.startswith("2 trained parameters get no gradient (spare.weight, spare.bias); with several ranks,")


def test_a_loss_without_trained_parameters_is_rejected(blobs):
    with pytest.raises(ConfigError, match="criterion: the loss does not depend on any trained parameter"):
        build_trainer(blobs, criterion=[{"type": "acme/deaf"}])


def test_balanced_sampling_uses_the_labels_of_the_train_split(blobs):
    sampler = build_trainer(blobs, **{"dataloader.sampler": "balanced"}).loader.sampler

    assert sampler.labels == [index % 2 for index in sampler.indices]
    assert len(sampler.order(0)) == 32


def test_balanced_sampling_requires_class_labels(blobs):
    with pytest.raises(
        ConfigError, match=r"dataloader.sampler: 'balanced' requires a dataset whose 'targets' contain one class index per sample"
    ):
        build_trainer(blobs, **{"dataloader.sampler": "balanced", "dataset.config": {"n": 40, "labelled": False}})


def build_trainer(file, **overrides):
    return builder.build_trainer(config.load(file, config.named_overrides(overrides)), manager.load().registry, World())


def test_gradient_clipping_limits_a_step(blobs):
    trainer = build_trainer(blobs, **{"train.grad_clip_norm": 0.01, "train.optimizer": {"type": "sgd", "learning_rate": 1.0}})
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]

    trainer.train_step(next(trainer.steps()))

    moved = torch.cat([(new - old).flatten() for new, old in zip(trainer.model.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-4)


def test_frozen_layers_keep_weights_and_statistics(blobs):
    blobs.write_text(BLOBS.replace("tinynet", "normnet"))
    trainer = build_trainer(blobs, **{"model.freeze": ["2.*", "1.weight"]})
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}

    trainer.train_epoch([])

    moved = {name for name, tensor in trainer.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"1.bias", "4.weight", "4.bias"}


def test_the_first_matching_group_sets_the_options(blobs):
    groups = [{"match": "4.weight", "learning_rate": 0.5}, {"match": "4.*", "momentum": 0.1}]
    trainer = build_trainer(blobs, **{"train.optimizer.groups": groups})
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}

    seen = [
        (sorted(names[id(each)] for each in group["params"]), group["lr"], group["momentum"])
        for group in trainer.optimizer.param_groups
    ]

    assert seen == [(["1.bias", "1.weight"], 0.1, 0.9), (["4.weight"], 0.5, 0.9), (["4.bias"], 0.1, 0.1)]


def test_norms_and_biases_can_skip_weight_decay(blobs):
    blobs.write_text(BLOBS.replace("tinynet", "normnet"))
    trainer = build_trainer(blobs, **{"train.optimizer.weight_decay": 0.1, "train.optimizer.decay_norm_and_bias": False})

    assert [(len(group["params"]), group["weight_decay"]) for group in trainer.optimizer.param_groups] == [(2, 0.1), (4, 0.0)]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "nadam", "radam", "rmsprop", "adagrad", "adadelta"])
def test_each_optimizer_learns(blobs, name):
    rates = {"adadelta": 5.0, "sgd": 0.1}
    optimizer = {"type": name, "learning_rate": rates.get(name, 0.01)}
    rows = fit(blobs, World(), **{"train.optimizer": optimizer, "train.epoch": 4, "dataset.split.stratify": False})["rows"]

    assert rows[-1]["train/loss"] < rows[0]["train/loss"]


def test_evaluation_can_be_rarer_but_covers_the_last_epoch(blobs):
    rows = fit(blobs, World(), **{"valid.every": 2, "train.epoch": 5})["rows"]

    assert [not math.isnan(row["valid/loss"]) for row in rows] == [False, True, False, True, True]
    assert len({tuple(row) for row in rows}) == 1


def test_early_stopping_ends_a_run_without_improvement(blobs):
    still = {"train.optimizer": {"type": "sgd", "learning_rate": 0.0}, "train.epoch": 9}
    rows = fit(blobs, World(), **still, **{"train.early_stopping": {"patience": 3}})["rows"]

    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert len(fit(blobs, World(), **still)["rows"]) == 9

    slow = {"train.optimizer": {"type": "sgd", "learning_rate": 1e-6}, "train.epoch": 9}
    assert len(fit(blobs, World(), **slow, **{"train.early_stopping": {"patience": 3}})["rows"]) == 9
    rows = fit(blobs, World(), **slow, **{"train.early_stopping": {"patience": 3, "min_delta": 0.01}})["rows"]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]


@pytest.mark.parametrize(("monitor", "lower"), [("accuracy", False), ("loss", True), ("cross_entropy", True)])
def test_best_follows_the_monitor(blobs, monitor, lower):
    wild = {"train.optimizer.learning_rate": 3.0, "train.epoch": 4, "output.monitor": monitor}
    trainer = build_trainer(blobs, **wild)
    trainer.fit(WeightsFolder(blobs.parent), [rows := RowRecorder()])

    values = [row[f"valid/{monitor}"] for row in rows.seen]
    assert trainer.evaluator.models[0].best.value == (min if lower else max)(values)
    assert trainer.evaluator.models[0].best.epoch == values.index(trainer.evaluator.models[0].best.value) + 1


@pytest.mark.parametrize("compute_type", ["bfloat16", "float16"])
def test_mixed_precision_matches_float32_training(blobs, compute_type):
    options = {"train.epoch": 4, "train.grad_clip_norm": 1.0, "train.lr_scheduler.type": "cosine"}
    whole = fit(blobs, World(), **options)["rows"][-1]
    mixed = fit(blobs, World(), **options, **{"train.scaler.compute_type": compute_type})["rows"][-1]

    assert mixed["valid/loss"] == pytest.approx(whole["valid/loss"], abs=0.03)
    assert mixed["valid/loss"] != whole["valid/loss"]


def test_channels_last_does_not_change_the_result(digits):
    model = {"model.name": "unet", "model.config": {"n_channels": 1, "n_classes": 10, "depth": 1, "width": 2}}
    as_masks = {**model, "criterion": [{"type": "acme/first_pixel"}], "metrics": [], "postprocess": "segmentation"}
    as_masks |= {"train.scaler.compute_type": "float64"}
    plain = build_trainer(digits, **as_masks)
    last = build_trainer(digits, **as_masks, **{"train.channels_last": True})

    kernels_of = [parameter for parameter in last.model.parameters() if parameter.ndim == 4 and parameter.shape[2] > 1]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels_of)
    assert last.train_epoch([])["loss"] == pytest.approx(plain.train_epoch([])["loss"], rel=1e-9)


def test_kernel_settings_are_restored(blobs):
    before = (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled())

    with select_kernels("high", deterministic=True):
        assert (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()) == ("high", True)

    assert (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()) == before


def test_history_counts_epochs_and_steps(blobs):
    rows = fit(blobs, World())["rows"]

    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 4), (2, 8)]
    assert set(rows[0]) == {
        "epoch", "step", "learning_rate",
        "train/loss", "train/cross_entropy", "valid/loss", "valid/cross_entropy", "valid/accuracy",
    }  # fmt: skip
