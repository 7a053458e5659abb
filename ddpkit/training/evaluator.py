"""Evaluate a run: losses and metrics of a split with each sample counted once, and the choice of the best epoch."""

import contextlib
import functools
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ddpkit.data import seeding
from ddpkit.data.loader import Batch, Images, SplitLoader
from ddpkit.data.sampler import Shard
from ddpkit.distributed.all_reduce import valid_samples
from ddpkit.distributed.world import World
from ddpkit.errors import ComponentName, named_errors
from ddpkit.training.callbacks import Row
from ddpkit.training.early_stopping import BestTracker, EarlyStopping
from ddpkit.training.loss_sums import LossSums
from ddpkit.training.metric_result import EvaluationResult, MetricResult
from ddpkit.training.metrics import MetricAdapter
from ddpkit.training.step import NamedStep, StepContext
from ddpkit.training.step_losses import RunLosses

LOGGER = logging.getLogger(__name__)
AfterBatch = Callable[[str, int, int], None]
"""Function with the parameters of `Callback.on_eval_batch_end`."""
Observe = Callable[[Any, Any, Shard], None]
"""Function that gets the predictions and targets of a micro-batch of this rank, and its shard, which has a valid sample."""


@attrs.frozen
class EvaluatedModel:
    """Model that is evaluated in each epoch and whose best weights are saved: the trained model, or its EMA."""

    name: str
    """Prefix of its columns in history: `valid` or `ema`."""
    model: nn.Module
    best: BestTracker
    prefix: str = ""
    """Prefix of its weights files and of its test metrics: empty or `ema/`."""


@attrs.define(kw_only=True)
class Evaluator:
    """Evaluates models on the validation and the test split."""

    world: World
    models: Sequence[EvaluatedModel]
    step: NamedStep
    """Computation of the outputs and losses of a micro-batch."""
    context: StepContext
    """Argument of the step in an evaluation of the first model."""
    losses: RunLosses
    """Names of the losses and values that the step returns in evaluation, and their means; none if the model computes its losses
    itself, because such a model has no loss in evaluation."""
    metrics: Mapping[str, MetricAdapter]
    postprocess: Callable[[Any], Any]
    postprocess_name: ComponentName | None = None
    """Name of the postprocess, for messages."""
    seed: int
    draws: Collection[str] = seeding.GENERATORS
    """Random generators that an evaluation draws from; they are seeded in each micro-batch."""
    epochs: int
    valid: SplitLoader | None = None
    test: SplitLoader | None = None
    early_stopping: EarlyStopping | None = None
    valid_every: int = 1
    """Number of epochs from one validation to the next; the last epoch is always validated."""
    warned: set[str] = attrs.field(factory=set)
    """Columns about whose missing value the run has warned."""

    def is_due(self, epoch: int) -> bool:
        """Return whether best weights and early stopping are decided after this epoch (1-based)."""
        return self.valid is None or epoch % self.valid_every == 0 or epoch == self.epochs

    def evaluate_epoch(self, epoch: int, *, is_due: bool, after_batch: AfterBatch) -> dict[str, float]:
        """Evaluate each model on the validation split. Every rank must call it.

        Args:
            epoch: The epoch that has been trained (1-based).
            is_due: Whether the epoch is validated.
            after_batch: Called after each micro-batch.

        Returns:
            History columns of all models: NaN in an epoch that is not validated, {} without a validation split.
        """
        if self.valid is None:
            return {}
        values: dict[str, float] = {}
        for each in self.models:
            after = functools.partial(after_batch, each.name)
            found = self.evaluate(each.model, self.valid, after, epoch=epoch).values if is_due else {}
            values |= prefix_keys(each.name, {**dict.fromkeys(self.columns, math.nan), **found})
        return values

    @torch.no_grad()
    def evaluate(
        self,
        model: nn.Module,
        loader: SplitLoader,
        after_batch: Callable[[int, int], None] | None = None,
        observe: Observe | None = None,
        *,
        epoch: int | None = None,
    ) -> EvaluationResult:
        """Return losses, if evaluation has them, and metrics over a split. Every rank must call it.

        All ranks make the same number of forwards, so a model may use collective operations.

        Args:
            model: Model to evaluate. It is put into evaluation mode, and its buffers are replaced by those of rank 0.
            loader: Loader of the split.
            after_batch: Called after each micro-batch with its number (1-based) and the number of micro-batches.
            observe: Called with the predictions of each micro-batch, if the step returns outputs.
            epoch: Epoch for the step (1-based); None: the last of the run.

        Raises:
            SampleError: Too many samples are unreadable; all ranks raise it.
        """
        self.world.broadcast(model.buffers())  # statistics of BatchNorm, which differ between ranks
        model.eval()
        context = attrs.evolve(self.context, module=model, network=model, epoch=epoch or self.epochs)
        sums = LossSums.zeros(self.losses, len(loader.sampler.shards), self.world.device)
        n_forwards, n_batches = loader.sampler.n_forwards(), loader.sampler.n_batches()
        with loader.guard_workers():
            for number, batch in enumerate(loader.epoch(0), start=1):
                # A rank with several shards has each number several times; the size of a stream may not be known.
                context.micro_batch = number if n_batches == n_forwards else (number - 1) % n_batches + 1
                self.evaluate_batch(context, batch, sums, observe)
                if after_batch:
                    after_batch(number, max(n_forwards, number))
        n_left_out = loader.count_left_out(self.world)
        losses = self.losses.name_means(sums.total(self.world), loader.sampler.n_samples() - n_left_out)
        results = {key: metric.compute() for key, metric in self.metrics.items()}
        return EvaluationResult(losses | {key: result.value for key, result in results.items()}, results, n_left_out)

    def evaluate_batch(self, context: StepContext, batch: Batch, sums: LossSums, observe: Observe | None) -> None:
        """Add a micro-batch of this rank to the sums of the losses and to the metrics."""
        images, targets, shard = batch
        outputs, predictions, terms = self.predict(context, images, targets, shard)
        if not shard.n_valid:  # a padding sample only makes the number of forwards equal on all ranks
            return
        sums.add(terms, self.losses.weight(targets, shard.n_valid, self.world.device), shard.number // self.world.size)
        for metric in self.metrics.values():
            metric.update(outputs, predictions, targets)
        if observe and predictions is not None:
            observe(predictions, targets, shard)

    def predict(self, context: StepContext, images: Images, targets: Any, shard: Shard) -> tuple[Any, Any, list[Tensor]]:
        """Return the outputs, the predictions and the loss terms of a micro-batch; None for predictions without outputs."""
        if self.draws:
            key = ("evaluate", self.seed, shard.indices[0])
            seeding.seed_generators(*key, device=self.world.device, draws=self.draws)
        context.shard = shard
        with contextlib.nullcontext() if shard.n_valid else valid_samples(0):
            found = self.step(context, images, targets)
            terms = self.losses.terms_of(found)
            with named_errors(self.postprocess_name):
                return found.outputs, None if found.outputs is None else self.postprocess(found.outputs), terms

    def test_models(
        self, load_weights: Callable[[EvaluatedModel], bool], after_batch: AfterBatch, observe: Observe | None = None
    ) -> EvaluationResult:
        """Return `loss`, if evaluation has it, values of the step, and metrics on the test split, with each model's prefix.

        Every rank must call it.

        Args:
            load_weights: Function that loads the weights to test into a model, on every rank; returns False if there are none.
            after_batch: Called after each micro-batch.
            observe: Called with the predictions of the first model, not with those of its EMA.

        Raises:
            ValueError: The run has no test split.
        """
        if self.test is None:
            raise ValueError("the run has no test split")
        values: dict[str, float] = {}
        results: dict[str, MetricResult] = {}
        n_left_out = 0
        for each in self.models:
            if load_weights(each):
                after = functools.partial(after_batch, f"{each.prefix}test")
                tested = self.evaluate(each.model, self.test, after, None if each.prefix else observe)
                n_left_out = tested.n_left_out
                values |= {each.prefix + key: tested.values[key] for key in (*self.losses.tested, *self.metrics)}
                results |= {each.prefix + key: result for key, result in tested.metrics.items()}
        return EvaluationResult(values, results, n_left_out)

    def warn_without_value(self, values: Row, epoch: int) -> None:
        """Warn once about each column that selects the best weights or stops early but has no value in this epoch (1-based)."""
        trackers = [each.best for each in self.models] + ([self.early_stopping.best] if self.early_stopping else [])
        missing = dict.fromkeys(each.column for each in trackers if math.isnan(values[each.column]))
        for column in [each for each in missing if each not in self.warned]:
            self.warned.add(column)
            message = "%s has no value (NaN) in epoch %d; such an epoch is neither an improvement nor a reason to stop early"
            LOGGER.warning(message, column, epoch)

    def warn_without_best(self) -> None:
        """Warn about best weights that no value selected, at the end of the training."""
        for column in dict.fromkeys(each.best.column for each in self.models if math.isnan(each.best.value)):
            message = "%s never had a value, so the best weights are those of the last validation; set another 'output.monitor'"
            LOGGER.warning(message, column)

    def should_stop(self, values: Row, epoch: int) -> bool:
        """Return whether early stopping ends the run after this epoch (1-based). Call it only if `is_due` is true."""
        return self.early_stopping is not None and self.early_stopping.should_stop(values, epoch)

    @property
    def shown_metrics(self) -> list[str]:
        """Names of the metrics that the terminal shows."""
        return [key for key, metric in self.metrics.items() if metric.is_shown]

    @property
    def columns(self) -> list[str]:
        """History columns of a model, without its name."""
        return [*self.losses.columns, *self.metrics]


def prefix_keys(split: str, values: Mapping[str, float]) -> dict[str, float]:
    """Prefix each key: `loss` -> `valid/loss`."""
    return {f"{split}/{key}": value for key, value in values.items()}
