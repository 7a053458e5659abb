"""The training loop. It gets objects that are built, and knows neither their names nor the config.

With a global batch of N samples over W ranks, the gradient of an optimizer step is the mean over the N samples. DDP
averages over ranks, so each rank scales the mean loss of its n samples by n * W / N: uneven shares weigh what they hold.
"""

import contextlib
import functools
import itertools
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import torch
from torch import Tensor, nn
from torch.autograd import backward
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ddpkit.data import seeding
from ddpkit.data.loader import N_SANITY_SAMPLES, Batch, Batches
from ddpkit.distributed.sync_batchnorm import Counted
from ddpkit.distributed.world import World
from ddpkit.errors import NonFiniteError, refusals
from ddpkit.training.callbacks import Recovery, Row, Watcher, WeightsWriter
from ddpkit.training.early_stopping import Best, EarlyStopping
from ddpkit.training.ema import MovingAverage
from ddpkit.training.gradients import GradientMean, backward_nought, scaled
from ddpkit.training.loss_sums import Losses, Step, Sums, Tally, add, added_up
from ddpkit.training.losses import Criteria
from ddpkit.training.lr_schedule import Schedule
from ddpkit.training.metrics import Measure
from ddpkit.training.precision import Precision
from ddpkit.training.progress import Progress

T = TypeVar("T")
LOGGER = logging.getLogger(__name__)
AS_USUAL = contextlib.nullcontext()


@attrs.frozen
class Candidate:
    """Weights that are evaluated each epoch, and of which the best are kept: the model's, and their moving average."""

    name: str
    """Of its columns in history."""
    model: nn.Module
    best: Best
    """Which epoch's are the best."""
    prefix: str = ""
    """Of its files, and of its values in the test."""


LOOK_EVERY = 100
"""Steps after which training looks at its losses: that waits for the device, and for the other ranks."""


@attrs.define(kw_only=True)
class Engine:
    """A run in motion: the same object on every rank, each with its own samples."""

    world: World
    model: nn.Module
    network: nn.Module
    """The model as it is called in training: wrapped for gradient reduction when there is more than one rank."""
    criteria: Criteria
    """A model's own losses have their names from `rehearse` on."""
    optimizer: Optimizer
    schedule: Schedule
    precision: Precision
    train: Batches
    valid: Batches | None
    test: Batches | None
    metrics: Mapping[str, Measure]
    postprocess: Callable[[Any], Any]
    epochs: int
    accumulation: int
    """Micro-batches of an optimizer step."""
    seed: int
    candidates: Sequence[Candidate]
    """The model, and what else is evaluated beside it."""
    average: MovingAverage | None = None
    """Follows the weights, step by step."""
    counted: Counted = attrs.field(factory=Counted)
    """What the BatchNorm layers that work over all ranks look at."""
    stopping: EarlyStopping | None = None
    valid_every: int = 1
    """Epochs; the last one is evaluated in any case."""
    skip_nonfinite: bool = False
    """Leave out a step whose gradient is not finite, and its losses; else a loss that is not finite ends the run."""
    clip_norm: float = 0.0
    """Largest norm of the whole gradient of a step; 0 = as it is."""
    frozen: Sequence[nn.Module] = ()
    """Layers that keep their statistics in training."""
    progress: Progress = attrs.field(factory=Progress)
    tally: Tally = attrs.field(init=False)
    """From `rehearse` on."""
    recovery: Recovery = attrs.field(factory=Recovery)
    """Asked after each step, evaluated micro-batch and epoch."""

    def fit(self, weights: WeightsWriter, watchers: Sequence[Watcher]) -> None:
        """Train to the last epoch, or until nothing improves. Every rank must call it, each with its own `watchers`."""
        while self.progress.epoch < self.epochs and not self.progress.is_over:
            started, n_before = time.perf_counter(), self.tally.n_samples
            losses = prefixed("train", self.train_epoch(watchers))
            trained, n_trained = time.perf_counter(), self.tally.n_samples - n_before
            is_judged = self.valid is None or self.is_validated(self.progress.epoch + 1)
            for candidate in self.candidates:
                losses |= prefixed(candidate.name, self.validate(candidate.model, is_due=is_judged))
            self.tally = Tally(self.zeros(self.criteria))
            self.progress.epoch_ended()
            self.schedule.epoch_ended(losses.get("valid/loss", losses["train/loss"]))
            self.progress.is_over = is_judged and self.stopping is not None and self.stopping.is_over(losses, self.progress.epoch)
            for candidate in self.candidates:
                is_best = is_judged and candidate.best.improved(losses, self.progress.epoch)
                if self.world.is_main:
                    weights.epoch_ended(candidate.model, self.progress.epoch, is_best=is_best, prefix=candidate.prefix)
            row = {
                "epoch": self.progress.epoch,
                "step": self.progress.step,
                "learning_rate": self.progress.learning_rate,
                "seconds": time.perf_counter() - started,
                "samples_per_second": n_trained / (trained - started),
                **losses,
            }
            for watcher in watchers:
                watcher.epoch_ended(row)
            self.recovery.epoch_ended(self)

    def is_validated(self, epoch: int) -> bool:
        """Whether this epoch (from 1) is evaluated."""
        return epoch % self.valid_every == 0 or epoch == self.epochs

    def validate(self, model: nn.Module, *, is_due: bool) -> dict[str, float]:
        """The valid part's values; no numbers where it is not due, and nothing without such a part. Every rank must call it."""
        if self.valid is None:
            return {}
        columns = [*self.criteria.in_evaluation.columns, *self.metrics]
        return self.evaluate(model, self.valid) if is_due else dict.fromkeys(columns, math.nan)

    def train_epoch(self, watchers: Sequence[Watcher]) -> dict[str, float]:
        """The rest of a pass over the training split; returns `loss` and each criterion of it all. Every rank must call it."""
        self.set_training()
        epoch, n_steps = self.progress.epoch + 1, math.ceil(self.train.sampler.n_batches() / self.accumulation)
        with self.train.guarded():
            for micro_batches in self.steps():
                step = self.train_step(micro_batches)
                self.tally.add(step)
                for watcher in watchers:
                    watcher.train_step_ended(epoch, self.progress.step_in_epoch, n_steps, functools.partial(self.step_loss, step))
                if self.progress.step_in_epoch % LOOK_EVERY == 0:
                    self.train_losses()
                self.recovery.step_ended(self)
        losses = self.train_losses()
        if self.tally.n_skipped:
            LOGGER.warning("epoch %d: %d steps were left out, their gradients were not finite", epoch, self.tally.n_skipped)
        return losses

    def train_losses(self) -> dict[str, float]:
        """The epoch's so far. Raises NonFiniteError, on every rank alike; every rank must call it."""
        losses = self.mean_losses(self.criteria, self.tally.sums, self.tally.n_samples)
        if not math.isfinite(losses["loss"]):
            where = f"epoch {self.progress.epoch + 1} is {losses['loss']} at step {self.progress.step}"
            raise NonFiniteError(f"the loss of {where}; try a lower learning rate, or a warm-up")
        return losses

    def step_loss(self, step: Step) -> float:
        """This rank's mean over a step; not a number for one that was left out. Waits for the device."""
        n_samples, tally = sum(n for losses in step.losses for _, n in losses), Tally(self.zeros(self.criteria))
        tally.add(step)
        return self.criteria.loss((added_up(tally.sums) / n_samples).tolist()) if n_samples else math.nan

    def set_training(self) -> None:
        """The mode of every layer."""
        self.network.train()
        for layer in self.frozen:
            layer.eval()

    def train_step(self, micro_batches: Sequence[Batch]) -> Step:
        """One optimizer step. Every rank must call it; one that is skipped counts no samples."""
        self.optimizer.zero_grad()
        n_global = sum(share.n_global for _, _, share in micro_batches) // self.n_own
        losses = [self.backward(micro_batches, n_global)] if self.n_own == 1 else self.backward_in_turn(micro_batches, n_global)
        parameters, skips = self.model.parameters(), self.skip_nonfinite
        self.recovery.step_begins()
        counts = self.precision.step(self.optimizer, parameters, self.clip_norm, skip_nonfinite=skips)
        self.progress.step_ended(self.schedule.rate())
        self.schedule.step_ended()
        if not counts:
            return Step([], 0)
        if self.average:
            self.average.update(self.model)
        return Step(losses, n_global)

    def backward(self, micro_batches: Sequence[Batch], n_global: int) -> Losses:
        """The gradient of one shard's part of a step of `n_global` samples over all shards; it is reduced once."""
        losses: list[tuple[list[Tensor], int]] = []
        n_shards = self.train.sampler.n_shards
        for number, (images, targets, share) in enumerate(micro_batches, start=1):
            seeding.seed_generators("forward", self.seed, self.progress.step, number, share.shard, device=self.world.device)
            self.counted.n_real, self.counted.everywhere = share.n_real, share.n_global >= n_shards
            with self.gradients_reduced(now=number == len(micro_batches)):
                outputs = self.precision(self.network, *self.criteria.inputs(images, targets))
                if share.n_real:
                    terms = self.criteria(outputs, targets)
                    losses.append(([term.detach() for term in terms], share.n_real))
                    self.precision.backward(scaled(self.criteria.loss(terms), share.n_real * n_shards / n_global))
                else:  # a repeated sample, to meet the others: its gradient is nought, whatever became of it
                    backward_nought(self.model, outputs)
        return losses

    def backward_in_turn(self, micro_batches: Sequence[Batch], n_global: int) -> list[Losses]:
        """The same of several shards, which take turns in each micro-batch."""
        mean, losses = GradientMean(self.n_own), []
        for place in range(self.n_own):
            losses.append(self.backward(micro_batches[place :: self.n_own], n_global))
            mean.take(self.model.parameters())
        mean.give()
        return losses

    def steps(self) -> Iterator[list[Batch]]:
        """The micro-batches of each optimizer step that is left of this epoch; the last step may have fewer."""
        size = self.accumulation * self.n_own
        return grouped(self.train.epoch(self.progress.epoch, start=self.progress.step_in_epoch * size), size)

    @torch.no_grad()
    def evaluate(self, model: nn.Module, batches: Batches) -> dict[str, float]:
        """`loss` and criteria, where evaluation has them, and metrics over a split, each sample once. Every rank must call it."""
        self.world.broadcast(model.buffers())  # BatchNorm's, which each rank gathered from its own samples
        model.eval()
        criteria = self.criteria.in_evaluation
        sums = self.zeros(criteria)
        with batches.guarded():
            for number, (images, targets, share) in enumerate(batches.epoch(0), start=1):
                seeding.seed_generators("evaluate", self.seed, share.indices[0], device=self.world.device)
                outputs = self.precision(model, images)
                add(sums[share.shard // self.world.size], criteria(outputs, targets), share.n_real)
                predictions = self.postprocess(outputs)
                for metric in self.metrics.values():
                    metric.update(outputs, predictions, targets)
                if number <= batches.sampler.n_common():
                    self.recovery.batch_evaluated(self)
        losses = self.mean_losses(criteria, sums, batches.sampler.n_samples())
        return losses | {key: metric.value() for key, metric in self.metrics.items()}

    def test_best(self, weights: WeightsWriter) -> dict[str, float]:
        """`loss`, if evaluation has it, and metrics of the best weights on the test split, which must be. All ranks call it."""
        if self.test is None:
            raise ValueError("there is no test split")
        tested: dict[str, float] = {}
        for candidate in self.candidates:
            if self.world.is_main:
                weights.load_best(candidate.model, candidate.prefix)
            self.world.broadcast([*candidate.model.parameters(), *candidate.model.buffers()])
            values = self.evaluate(candidate.model, self.test)
            tested |= {candidate.prefix + key: values[key] for key in ("loss", *self.metrics) if key in values}
        return tested

    def rehearse(self) -> list[str]:
        """Try model, criteria, postprocess and metrics on a few samples, and leave no trace. Every rank must call it.

        Raises what they raise, before anything is written.

        Returns:
            Names of the trained parameters that no gradient reaches.
        """
        before = [buffer.clone() for buffer in self.model.buffers()]
        self.rehearse_training()
        unreached = [name for name, each in self.model.named_parameters() if each.requires_grad and each.grad is None]
        self.optimizer.zero_grad()
        with torch.no_grad():
            for buffer, old in zip(self.model.buffers(), before, strict=True):
                buffer.copy_(old)
            self.rehearse_evaluation()
        return unreached

    def rehearse_training(self) -> None:
        """Forward and backward with as few samples as the smallest micro-batch gives: BatchNorm refuses a single value."""
        last = self.train.sampler.last_share()
        n_shards = self.train.sampler.n_shards
        images, targets = self.train.sample(min(max(last.n_global // n_shards, 1), 2))
        self.counted.n_real, self.counted.everywhere = min(last.n_real, len(images)), last.n_global >= n_shards
        self.set_training()
        outputs = self.precision(self.model, *self.criteria.inputs(images, targets))
        self.criteria = self.criteria.found_in(outputs)
        self.tally = Tally(self.zeros(self.criteria))
        backward(self.criteria.loss(self.criteria.rehearse(outputs, targets)))

    def rehearse_evaluation(self) -> None:
        """A forward and the metrics."""
        images, targets = self.train.sample(N_SANITY_SAMPLES)
        self.model.eval()
        outputs = self.precision(self.model, images)
        with refusals("the postprocess"):
            predictions = self.postprocess(outputs)
        with warnings.catch_warnings(action="ignore"):  # a class that these few lack is worth no word
            for name, metric in self.metrics.items():
                metric.rehearse(name, outputs, predictions, targets)
                metric.value()

    def gradients_reduced(self, *, now: bool) -> contextlib.AbstractContextManager[None]:
        """Reduce over ranks in the last backward of a step only; the ones before add up on their rank."""
        return AS_USUAL if now or not isinstance(self.network, DistributedDataParallel) else self.network.no_sync()

    def mean_losses(self, criteria: Criteria, sums: Sequence[Sums], n_samples: int) -> dict[str, float]:
        """Sums of each of this rank's shards -> means over all `n_samples`. Every rank must call it."""
        return criteria.named((self.world.sum(added_up(sums)) / n_samples).tolist()) if criteria.terms else {}

    def zeros(self, criteria: Criteria) -> list[Sums]:
        """Room for sums of the terms of a loss of each of this rank's shards."""
        room = torch.zeros(self.n_own, len(criteria.terms), dtype=torch.float64, device=self.world.device)
        return [each.unbind() for each in room]

    @property
    def n_own(self) -> int:
        """Shards that this rank takes in turn; 1 but for `ddp.virtual_shards` on fewer ranks."""
        return len(self.train.sampler.shards)


def grouped(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` in order; the last may be shorter."""
    rest = iter(items)
    while group := list(itertools.islice(rest, size)):
        yield group


def prefixed(split: str, values: Row) -> dict[str, float]:
    """The columns of one split."""
    return {f"{split}/{key}": value for key, value in values.items()}
