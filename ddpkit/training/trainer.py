"""Training loop. It uses objects that are already built; it does not depend on the config or on the plugins.

With a global batch of N samples over W ranks, the gradient of an optimizer step is the mean over the N samples. DDP
averages over ranks. Therefore each rank scales the mean loss of its n samples by n * W / N, so that each sample has the same
weight even if shards are uneven. If a criterion has a weight of its own, such as that of the classes, n and N are the sums of
this weight.
"""

import contextlib
import functools
import itertools
import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import attrs
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ddpkit.data import seeding
from ddpkit.data.loader import Batch, SplitLoader
from ddpkit.data.sampler import Shard
from ddpkit.distributed.all_reduce import valid_samples
from ddpkit.distributed.world import World
from ddpkit.errors import NonFiniteError, named_errors
from ddpkit.training.backward import Backward
from ddpkit.training.callbacks import Callback, CheckpointCallback, WeightsWriter
from ddpkit.training.ema import EMA
from ddpkit.training.evaluator import Evaluator, prefix_keys
from ddpkit.training.freezing import FreezeSchedule
from ddpkit.training.gradients import (
    Clipping,
    GradientMean,
    average_gradients,
    clear_gradients,
)
from ddpkit.training.loss_sums import LossSums, ShardLosses, StepResult
from ddpkit.training.lr_schedule import LRSchedule
from ddpkit.training.optimization import JoinedOptimizer, JoinedSchedule, Optimization, join_optimizers, join_schedules
from ddpkit.training.precision import Precision
from ddpkit.training.progress import Progress, rate_columns
from ddpkit.training.step import NamedStep, StepContext
from ddpkit.training.step_losses import NO_LOSS, NOT_CALLED, RunLosses
from ddpkit.training.step_output import StepOutput

T = TypeVar("T")
LOGGER = logging.getLogger(__name__)
NO_CONTEXT = contextlib.nullcontext()
CHECK_INTERVAL = 100
"""Number of steps between two checks of the losses and of the unreadable samples; a check waits for the device and for the other
ranks."""


@attrs.frozen(kw_only=True)
class TrainOptions:
    """Options of the training loop."""

    epochs: int
    grad_accumulation_steps: int
    """Number of micro-batches per optimizer step."""
    seed: int
    draws: Collection[str] = seeding.GENERATORS
    """Random generators that the model and the losses draw from; they are seeded in each micro-batch."""
    skip_nonfinite: bool = False
    """Whether a step with a non-finite gradient is skipped. Otherwise a non-finite loss ends the run."""

    def steps_per_epoch(self, loader: SplitLoader) -> int:
        """Return the number of optimizer steps per epoch; the last step may have fewer micro-batches."""
        return math.ceil(loader.sampler.n_batches() / self.grad_accumulation_steps)


@attrs.define(kw_only=True)
class Trainer:
    """Trains a model. Every rank has one, with its own samples."""

    world: World
    model: nn.Module
    wrap: Callable[[nn.Module], nn.Module]
    """Function that wraps the model in DDP if there is more than one rank; it sees which parameters are frozen."""
    freezing: FreezeSchedule
    """Frozen parameters in each epoch; it has already set those of the first epoch."""
    step: NamedStep
    """Computation of the losses of a micro-batch."""
    context: StepContext
    """Argument of the step in training; its `network` is the model that is trained, wrapped."""
    losses: RunLosses
    """Names of the losses and values that the step returns, and their means."""
    optimizations: Sequence[Optimization]
    """Optimizers, each with its learning-rate schedule and its limit of the gradient norm."""
    precision: Precision
    loader: SplitLoader
    """Loader of the training split."""
    options: TrainOptions
    evaluator: Evaluator
    ema: EMA | None = None
    checkpointer: CheckpointCallback = attrs.field(factory=CheckpointCallback)
    progress: Progress = attrs.field(factory=Progress)
    optimizer: Optimizer | JoinedOptimizer = attrs.field(init=False)
    lr_schedule: LRSchedule | JoinedSchedule = attrs.field(init=False)
    clippings: Sequence[Clipping] = attrs.field(init=False)
    gradients: Backward = attrs.field(init=False)
    n_shards: int = attrs.field(init=False)
    """Number of shards that this rank processes in turn; 1 unless `ddp.virtual_shards` is larger than the number of ranks."""
    n_shards_in_all: int = attrs.field(init=False)
    """Number of shards over all ranks."""
    loss_sums: LossSums = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.context.network = self.wrap(self.model)
        self.n_shards, self.n_shards_in_all = len(self.loader.sampler.shards), self.loader.sampler.n_shards
        self.optimizer = join_optimizers(self.optimizations)
        self.lr_schedule = join_schedules(self.optimizations)
        parameters = {each.name: each.parameters for each in self.optimizations}
        self.gradients = Backward(self.model, self.losses, self.precision, parameters)
        self.clippings = [each.clipping for each in self.optimizations if each.clipping]
        self.loss_sums = self.zero_loss_sums()

    def fit(self, weights: WeightsWriter, callbacks: Sequence[Callback]) -> None:
        """Train until the last epoch or until early stopping. Every rank must call it, with its own `callbacks`."""
        while self.progress.epoch < self.options.epochs and not self.progress.is_over:
            started, n_before = time.perf_counter(), self.loss_sums.n_samples
            values = prefix_keys("train", self.train_epoch(callbacks))
            trained, n_trained = time.perf_counter(), self.loss_sums.n_samples - n_before

            is_due = self.evaluator.is_due(self.progress.epoch + 1)
            after_batch = functools.partial(self.after_eval_batch, callbacks)
            values |= self.evaluator.evaluate_epoch(self.progress.epoch + 1, is_due=is_due, after_batch=after_batch)
            self.end_epoch(values)
            self.progress.is_over = is_due and self.evaluator.should_stop(values, self.progress.epoch)
            self.save_weights(weights, values, is_due=is_due)
            if is_due:
                self.evaluator.warn_without_value(values, self.progress.epoch)

            row = {
                "epoch": self.progress.epoch,
                "step": self.progress.step,
                **rate_columns(self.progress.learning_rate),
                "seconds": time.perf_counter() - started,
                "samples_per_second": n_trained / (trained - started),
                **values,
            }
            for callback in callbacks:
                row |= callback.extend_row(row)
            for callback in callbacks:
                callback.on_epoch_end(row)
            self.checkpointer.on_epoch_end(self)
        self.evaluator.warn_without_best()

    def end_after_epoch(self) -> None:
        """Ask for the end of the run after the current epoch. One rank is enough; the checkpointer informs the others."""
        self.progress.is_ending = True

    def train_epoch(self, callbacks: Sequence[Callback]) -> dict[str, float]:
        """Train the rest of an epoch; return `loss` and each loss term over the whole epoch. Every rank must call it."""
        self.set_train_mode()
        epoch, n_steps = self.progress.epoch + 1, self.steps_per_epoch
        with self.loader.guard_workers():
            for micro_batches in self.steps():
                step = self.train_step(micro_batches)
                self.loss_sums.add_step(step)
                for callback in callbacks:
                    callback.on_train_step_end(
                        epoch, self.progress.step_in_epoch, n_steps, functools.partial(self.step_loss, step)
                    )
                if self.progress.step_in_epoch % CHECK_INTERVAL == 0:
                    self.check_losses_and_data()
                self.checkpointer.on_step_end(self)
        losses = self.check_losses_and_data()
        if self.loss_sums.n_skipped:
            message = "epoch %d: %d steps were skipped because their gradients were not finite"
            LOGGER.warning(message, epoch, self.loss_sums.n_skipped)
        return losses

    def train_step(self, micro_batches: Sequence[Batch]) -> StepResult:
        """Make one optimizer step. Every rank must call it.

        The losses of a skipped step count if they are finite: only the gradients overflowed, as when a scaler starts too high.
        """
        clear_gradients(self.optimizer)
        n_shards = self.n_shards
        n_total = sum([shard.n_total for _, _, shard in micro_batches]) // n_shards
        weighing = self.step_weights(micro_batches) if self.losses.is_weighted else ((), n_total)
        losses = [self.backward(micro_batches, *weighing)] if n_shards == 1 else self.backward_in_turn(micro_batches, *weighing)
        if not self.losses.uses_ddp and self.world.size > 1:
            average_gradients(self.model.parameters(), self.world)
        self.checkpointer.on_step_begin()
        counts = self.precision.step(self.optimizer, self.clippings, skip_nonfinite=self.options.skip_nonfinite)
        self.progress.end_step(self.lr_schedule.rate())
        self.lr_schedule.end_step()
        if not counts:
            is_finite = self.are_finite(losses)
            return StepResult(losses, n_total, is_skipped=True) if is_finite else StepResult([], 0, is_skipped=True)
        if self.ema:
            self.ema.update(self.model)
        return StepResult(losses, n_total)

    def are_finite(self, losses: Sequence[ShardLosses]) -> bool:
        """Return whether all losses of a step are finite on all ranks. Every rank must call it."""
        terms = [term.isfinite() for shard in losses for terms, _ in shard for term in terms]
        n_infinite = len(terms) - torch.stack(terms).sum() if terms else torch.tensor(0, device=self.world.device)
        return not self.world.sum(n_infinite)

    def step_weights(self, micro_batches: Sequence[Batch]) -> tuple[list[Tensor], Tensor]:
        """Return the weight of each term [T] for each micro-batch, and for the step over all ranks. Every rank must call it."""
        weigh, device, n_shards = self.losses.weight, self.world.device, self.n_shards
        weights = [torch.as_tensor(weigh(targets, shard.n_valid, device)) for _, targets, shard in micro_batches]
        # The sum of each shard first, as on separate ranks, for bit-identical results.
        total = torch.stack([torch.stack(weights[place::n_shards]).sum(0) for place in range(n_shards)]).sum(0)
        total = self.world.sum(total)
        return weights, total.where(total != 0, 1)  # the loss of a step without weight is 0, whatever it is divided by

    def backward(self, micro_batches: Sequence[Batch], weights: Sequence[Tensor], total: int | Tensor) -> ShardLosses:
        """Add one shard's share of the gradient of a step.

        Args:
            micro_batches: Micro-batches of the shard.
            weights: Weight of each term [T] for each micro-batch; empty: each term has the number of samples as its weight.
            total: Sum of these weights over all micro-batches and shards of the step.
        """
        losses, context, n_shards, n_batches = [], self.context, self.n_shards_in_all, len(micro_batches)
        context.step = self.progress.step + 1
        for number, (images, targets, shard) in enumerate(micro_batches, start=1):
            if self.options.draws:
                key = ("forward", self.options.seed, self.progress.step, number, shard.number)
                seeding.seed_generators(*key, device=self.world.device, draws=self.options.draws)
            context.micro_batch, context.shard = number, shard
            with self.micro_batch_context(shard, n_shards, is_last=number == n_batches):
                found = self.step(context, images, targets)
                terms = found.losses if self.step.name is None else self.terms_of_step(found)
                weight = weights[number - 1] if weights else shard.n_valid
                if shard.n_valid:
                    losses.append(([term.detach() for term in terms], weight))
                    self.gradients.add(terms, weight * n_shards / total)
                else:
                    self.gradients.add_zeros(found.outputs, terms, weight * n_shards / total)
        return losses

    def terms_of_step(self, found: StepOutput) -> list[Tensor]:
        """Return the terms that a step of its own computed.

        Raises ValueError if it returned something else than in its first micro-batch, or if DDP would not reduce the gradients,
        because the step has called only parts of the model.
        """
        is_called, self.context.is_model_called = self.context.is_model_called, False
        with named_errors(self.step.name):
            if self.losses.uses_ddp and not is_called:
                raise ValueError(NOT_CALLED)
            terms = self.losses.terms_of(found)
            if not (self.losses.optimizers or any(term.requires_grad for term in terms)):
                raise ValueError(NO_LOSS)
            return terms

    def backward_in_turn(
        self, micro_batches: Sequence[Batch], weights: Sequence[Tensor], total: int | Tensor
    ) -> list[ShardLosses]:
        """Call `backward` for each of this rank's shards in turn, and set the gradients to their mean."""
        mean, losses = GradientMean(self.n_shards), []
        for place in range(self.n_shards):
            own = slice(place, None, self.n_shards)
            losses.append(self.backward(micro_batches[own], weights[own], total))
            mean.accumulate(self.model.parameters())
        mean.apply()
        return losses

    def end_epoch(self, values: Mapping[str, float]) -> None:
        """Count the epoch; the schedule gets the validation loss, or the training loss if there is no validation split."""
        self.loss_sums = self.zero_loss_sums()
        self.progress.end_epoch()
        self.lr_schedule.end_epoch(values.get("valid/loss", values["train/loss"]))

    def save_weights(self, weights: WeightsWriter, values: Mapping[str, float], *, is_due: bool) -> None:
        """Write the weights files that are due after the epoch, and the best weights if they improved."""
        for each in self.evaluator.models:
            is_best = is_due and each.best.update(values, self.progress.epoch)
            if self.world.is_main:
                weights.save_epoch(each.model, self.progress.epoch, is_best=is_best, prefix=each.prefix)

    def check_losses_and_data(self) -> dict[str, float]:
        """Return `train_losses`; raise SampleError, on all ranks, if too many samples are unreadable. Every rank must call it."""
        self.loader.unreadable.check(self.world)
        return self.train_losses()

    def train_losses(self) -> dict[str, float]:
        """Return the mean losses of the epoch so far; NaN if all its steps were skipped, or for a term without any weight.

        Every rank must call it.

        Raises NonFiniteError, on all ranks, if the loss is not finite.
        """
        sums = self.loss_sums.total(self.world)
        losses = self.losses.name_means(sums, self.loss_sums.n_samples)
        if not self.losses.are_finite(sums):  # without a sample or a weight, the sums are 0 and the mean is NaN
            where = f"epoch {self.progress.epoch + 1} is {losses['loss']} at step {self.progress.step}"
            raise NonFiniteError(f"the loss of {where}; try a lower learning rate or a longer warm-up")
        return losses

    def step_loss(self, step: StepResult) -> float:
        """Return this rank's mean loss over a step; NaN if the step was skipped, or if the rank had no sample or no weight.

        Waits for the device.
        """
        n_samples, sums = sum(n for losses in step.losses for _, n in losses), self.zero_loss_sums()
        sums.add_step(step)
        return self.losses.name_means(sums.read().sum(0), n_samples)["loss"]

    def set_train_mode(self) -> None:
        """Freeze the parameters that are frozen in the current epoch; set every layer to training mode, except frozen norms.

        Every rank must call it. DDP reduces only the gradients of the parameters that require one when it wraps the model, so it
        wraps the model again if this changes.
        """
        epoch = self.context.epoch = self.progress.epoch + 1
        if self.freezing.apply(epoch):
            self.context.network = self.model  # removes the hooks of the old wrapper before those of the new one are added
            self.context.network = self.wrap(self.model)
            self.log_unfrozen(epoch)
        set_train_mode(self.context.network, self.freezing.frozen_norms)

    def log_unfrozen(self, epoch: int) -> None:
        """Log which parameters are trained from the start of an epoch on; nothing if a run is resumed later."""
        for group in self.freezing.groups:
            if group.until + 1 == epoch and not self.progress.step_in_epoch:
                LOGGER.info("epoch %d: %s are trained from here on", epoch, group)

    def steps(self) -> Iterator[list[Batch]]:
        """Yield the micro-batches of each remaining optimizer step of this epoch; the last step may have fewer."""
        size = self.options.grad_accumulation_steps * self.n_shards
        return group_items(self.loader.epoch(self.progress.epoch, start=self.progress.step_in_epoch * size), size)

    def after_eval_batch(self, callbacks: Sequence[Callback], split: str, batch: int, batches: int) -> None:
        """Let the callbacks and the checkpointer act between two micro-batches of an evaluation."""
        for callback in callbacks:
            callback.on_eval_batch_end(split, batch, batches)
        self.checkpointer.on_eval_batch_end(self)

    def micro_batch_context(
        self, shard: Shard, n_shards: int, *, is_last: bool
    ) -> contextlib.AbstractContextManager[contextlib.ExitStack | None]:
        """Return the context of a forward and its backward; the usual one costs nothing."""
        if is_last and shard.n_total >= n_shards:
            return NO_CONTEXT
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.gradients_reduced(now=is_last))
            stack.enter_context(without_padding(shard, n_shards))
            return stack.pop_all()

    def gradients_reduced(self, *, now: bool) -> contextlib.AbstractContextManager[None]:
        """Reduce gradients over ranks if `now`, in the last backward of a step; before that, they accumulate on each rank."""
        return (
            NO_CONTEXT if now or not isinstance(self.context.network, DistributedDataParallel) else self.context.network.no_sync()
        )

    def zero_loss_sums(self) -> LossSums:
        return LossSums.zeros(self.losses, self.n_shards, self.world.device)

    @property
    def split_loaders(self) -> dict[str, SplitLoader]:
        """Loader of each split that has samples, by the name of the split."""
        loaders = {"train": self.loader, "valid": self.evaluator.valid, "test": self.evaluator.test}
        return {split: loader for split, loader in loaders.items() if loader}

    @property
    def steps_per_epoch(self) -> int:
        """Number of optimizer steps per epoch."""
        return self.options.steps_per_epoch(self.loader)


def set_train_mode(model: nn.Module, frozen_norms: Iterable[nn.Module]) -> None:
    """Set the model to training mode; `frozen_norms` keep their statistics."""
    model.train()
    for layer in frozen_norms:
        layer.eval()


def without_padding(shard: Shard, n_shards: int) -> contextlib.AbstractContextManager[None]:
    """Exclude padding samples from BatchNorm statistics in a forward; no effect if every shard has a sample of its own."""
    return valid_samples(shard.n_valid) if shard.n_total < n_shards else NO_CONTEXT


def group_items(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items in order; the last one may be shorter."""
    rest = iter(items)
    while group := list(itertools.islice(rest, size)):
        yield group
