"""Builder of the model, and of the objects that train and evaluate it, from the config."""

import contextlib
import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ddpkit.config import schema
from ddpkit.config.classes import class_names, configured_outputs, n_classes
from ddpkit.config.component_refs import (
    ComponentRef,
    find_entry,
    helper_references,
    open_reference,
    optimizer_tables,
    scheduler_path,
    scheduler_tables,
)
from ddpkit.config.instantiate import ComponentFactory
from ddpkit.data import seeding
from ddpkit.data.loader import SplitLoader
from ddpkit.distributed.world import World
from ddpkit.errors import ComponentName, ConfigError, KeyPath
from ddpkit.plugins.registry import BUILTIN
from ddpkit.plugins.signatures import accepts_inputs
from ddpkit.training.early_stopping import BestTracker, EarlyStopping
from ddpkit.training.ema import EMA
from ddpkit.training.evaluator import EvaluatedModel, Evaluator
from ddpkit.training.gradients import Clipping
from ddpkit.training.heads import Head, HeadCriterion, HeadPostprocess, HeadWeight
from ddpkit.training.helpers import FrozenModel, Helpers
from ddpkit.training.losses import Losses, LossTerm, ModelComputedLosses, WeightedLosses, weight_method
from ddpkit.training.lr_schedule import LRSchedule
from ddpkit.training.metrics import HeadMetric, MetricAdapter
from ddpkit.training.optimization import Optimization
from ddpkit.training.param_groups import check_parameters, divide_parameters, fused_option, parameter_groups
from ddpkit.training.precision import Precision
from ddpkit.training.pretrained import load_exact, load_pretrained, read_weights
from ddpkit.training.scheduler_step import find_counting_step
from ddpkit.training.step import NamedStep, StepContext
from ddpkit.training.step_losses import RunLosses

LOGGER = logging.getLogger(__name__)


@attrs.frozen
class ModelBuilder(ComponentFactory):
    """Builds the model and the objects that train and evaluate it."""

    world: World

    def on_device(self, made: Any) -> Any:
        """Move a module to the device; return anything else unchanged."""
        return made.to(self.world.device) if isinstance(made, nn.Module) else made

    def precision(self) -> Precision:
        """Return the number format of the run, for its model."""
        run = self.run.train
        return Precision.of(
            run.scaler.compute_type, self.world.device, channels_last=run.channels_last, model_name=self.name_only("model")
        )

    def model(self, precision: Precision, train: SplitLoader) -> nn.Module:
        """Build the model on the device, with the same initial weights on every rank; load `model.pretrained`."""
        seeding.seed_generators("weights", self.run.seed, device=self.world.device)
        model = self.initial_model(self.refs_of("model")[0], precision, train)
        if self.run.model.pretrained:
            load_pretrained(model, self.config)
        self.try_inputs(model, precision)
        return model

    def initial_model(self, reference: ComponentRef, precision: Precision, train: SplitLoader, **runtime: Any) -> nn.Module:
        """Create a model on the device. Lazy layers get their shapes from one training sample.

        Raises ConfigError if a layer does not get one, because `forward(images)` does not call it.
        """
        model: nn.Module = self.create(reference, classes=class_names(self.run), **runtime)
        model = precision.prepare(model.to(self.world.device))
        if is_lazy(model):
            with torch.no_grad(), contextlib.suppress(NotImplementedError):  # without forward(), for a step that calls parts
                precision(model.eval(), train.sample(1)[0])
            if is_lazy(model):
                message = (
                    "has lazy layers that forward(images) does not call; set their numbers of inputs in the code of the model"
                )
                raise ConfigError([self.config.problem(reference.path, message)])
        return model

    def helpers(self, precision: Precision, train: SplitLoader) -> Helpers:
        """Build the models of `[train.helpers]`, by name, with the same weights on every rank. Every rank must call it."""
        references = helper_references(self.run.train)
        return Helpers({name: self.helper(name, reference, precision, train) for name, reference in references.items()})

    def helper(self, name: str, reference: ComponentRef, precision: Precision, train: SplitLoader) -> FrozenModel:
        """Build a model of `[train.helpers]`. Raises ConfigError if its weights file does not fit exactly."""
        seeding.seed_generators("helper weights", self.run.seed, name, device=self.world.device)
        precision = attrs.evolve(precision, model_name=self.name_of(reference))
        n_outputs = configured_outputs(self.run) or n_classes(self.run)
        model = self.initial_model(reference, precision, train, n_classes=n_outputs)
        if file := self.run.train.helpers[name].pretrained:
            try:
                load_exact(model, read_weights(Path(file)))
            except ValueError as error:
                raise ConfigError([self.config.problem((*reference.path[:-1], "pretrained"), f"{file} {error}")]) from error
        model.requires_grad_(requires_grad=False).eval()
        self.world.broadcast([*model.parameters(), *model.buffers()])
        return FrozenModel(model, precision)

    @torch.no_grad()
    def try_inputs(self, model: nn.Module, precision: Precision) -> None:
        """Raise ConfigError if the model does not accept a shape in `model.config.input_sizes`."""
        wanted = self.run.model.config
        dtypes = wanted.dtypes or ["float32"] * len(wanted.input_sizes)
        for number, (size, dtype) in enumerate(zip(wanted.input_sizes, dtypes, strict=True)):
            images = torch.zeros(size, dtype=getattr(torch, dtype), device=self.world.device)
            try:
                precision(model.eval(), images)
            except (RuntimeError, ValueError) as error:
                LOGGER.debug("the model does not accept an input", exc_info=True)
                message = f"the model does not accept images of this shape: {error}"
                raise ConfigError([self.config.problem(("model", "config", "input_sizes", number), message)]) from error

    def optimizations(self, model: nn.Module, steps_per_epoch: int, *, has_valid: bool) -> list[Optimization]:
        """Build each optimizer, with the schedule and the limit of the gradient norm that its table or `[train]` sets."""
        made, tables = [], optimizer_tables(self.run.train)
        for (path, table), parameters in zip(tables.items(), divide_parameters(model, self.config), strict=True):
            reference, scheduler = open_reference("optimizer", table, path), scheduler_path(self.run.train, path)
            optimizer, trained = self.optimizer(reference, table, model, parameters), list(parameters.values())
            each = Optimization(
                name=getattr(table, "name", ""),
                optimizer=optimizer,
                parameters=trained,
                lr_schedule=self.lr_schedule(optimizer, scheduler, steps_per_epoch, has_valid=has_valid),
                clipping=self.clipping(table, trained),
                component=self.name_of(reference),
            )
            made.append(each)
        return made

    def optimizer(
        self, reference: ComponentRef, table: schema.Optimizer, model: nn.Module, parameters: Mapping[str, nn.Parameter]
    ) -> Optimizer:
        """Build an optimizer. Raises ConfigError if it has other parameters than those of its table."""
        groups = parameter_groups(parameters, table, reference.params_path, self.config)
        rate = {} if table.learning_rate is None else {"lr": table.learning_rate}
        made: Optimizer = self.create(reference, params=groups, model=model, **rate, **fused_option(table))
        check_parameters(self.config, reference.path, model, parameters, made)
        return made

    def clipping(self, table: schema.Optimizer, parameters: Sequence[nn.Parameter]) -> Clipping | None:
        """Return the limit of the gradient norm; None if no limit is set, and the norm is not needed for another reason."""
        own = getattr(table, "grad_clip_norm", None)
        max_norm = self.run.train.grad_clip_norm if own is None else own
        is_needed = max_norm or self.run.train.on_nonfinite == "skip"
        return Clipping(parameters, max_norm or math.inf) if is_needed else None

    def evaluator(
        self,
        model: nn.Module,
        ema: EMA | None,
        criteria: Losses,
        metrics: Mapping[str, MetricAdapter],
        context: StepContext,
        loaders: Mapping[str, SplitLoader],
    ) -> Evaluator:
        """Build the evaluator of the model and its EMA, with the trackers for the best weights and for early stopping."""
        has_valid = "valid" in loaders
        return Evaluator(
            world=self.world,
            models=self.evaluated_models(model, ema, metrics, has_valid=has_valid),
            step=self.step(),
            context=attrs.evolve(context, criteria=criteria.in_evaluation, is_training=False, step=0),
            losses=criteria.in_evaluation,
            metrics=metrics,
            postprocess=self.head_postprocess(metrics),
            postprocess_name=self.postprocess_name,
            seed=self.run.seed,
            draws=self.draws_of("model", "criterion", "step", "postprocess", "metric"),
            epochs=self.run.train.epoch,
            valid=loaders.get("valid"),
            test=loaders.get("test"),
            early_stopping=self.early_stopping(metrics, has_valid=has_valid),
            valid_every=self.run.valid.every,
        )

    def evaluated_models(
        self, model: nn.Module, ema: EMA | None, metrics: Mapping[str, MetricAdapter], *, has_valid: bool
    ) -> list[EvaluatedModel]:
        best = self.best_tracker(self.run.output.monitor, ("output", "monitor"), metrics, has_valid=has_valid)
        trained = EvaluatedModel("valid", model, best)
        if ema is None:
            return [trained]
        best_of_ema = attrs.evolve(best, column=best.column.replace("valid/", "ema/", 1))
        return [trained, EvaluatedModel("ema", ema.model, best_of_ema, prefix="ema/")]

    def best_tracker(self, monitor: str, path: KeyPath, metrics: Mapping[str, MetricAdapter], *, has_valid: bool) -> BestTracker:
        """Return a tracker for the history column of `monitor`, or of the default metric if `monitor` is empty.

        The default is the loss, or the first metric if the model computes its losses itself. Raises ConfigError at `path` for a
        metric that is not computed, or whose `higher_is_better` is not known.
        """
        has_loss = self.has_loss(has_valid=has_valid)
        key = monitor or ("loss" if has_loss else next(iter(metrics), "loss"))
        if key not in metrics and has_loss:
            return BestTracker(f"{'valid' if has_valid else 'train'}/{key}")
        if key not in metrics:
            message = "a model that computes its losses itself has no loss in evaluation; use a metric, such as metrics = ['map']"
            raise ConfigError([self.config.problem(path if monitor else ("metrics",), message)])
        higher = metrics[key].higher_is_better
        if not has_valid or higher is None:
            lack = "is not computed without a validation split" if not has_valid else "does not define 'higher_is_better'"
            other = "'loss'" if has_loss else "another metric"
            raise ConfigError([self.config.problem(path, f"the metric {key!r} {lack}; use {other}")])
        return BestTracker(f"valid/{key}", lower=not higher)

    def has_loss(self, *, has_valid: bool) -> bool:
        """Return whether an epoch has a loss to decide on: a model that computes its losses itself has none in evaluation.

        A step of its own is expected to return one; `check_monitors` compares this with what it returns.
        """
        return bool(self.run.criterion) or not has_valid or self.has_own_step

    def early_stopping(self, metrics: Mapping[str, MetricAdapter], *, has_valid: bool) -> EarlyStopping | None:
        table = self.run.train.early_stopping
        if table is None:
            return None
        best = self.best_tracker(table.monitor, ("train", "early_stopping", "monitor"), metrics, has_valid=has_valid)
        return EarlyStopping(attrs.evolve(best, min_delta=table.min_delta), table.patience)

    @property
    def has_own_step(self) -> bool:
        """Whether the step is that of a plugin. The built-in one only calls other components."""
        return find_entry(self.refs_of("step")[0], self.registry).namespace != BUILTIN

    def step(self) -> NamedStep:
        """Build the step of the run. A built-in one is not named in messages."""
        name = self.name_only("step") if self.has_own_step else None
        return NamedStep(self.create_only("step", **self.class_values()), name)

    def step_context(self, model: nn.Module, precision: Precision, train: SplitLoader) -> StepContext:
        """Return what the step gets in addition to the samples, without criteria."""
        return StepContext(
            module=model,
            network=model,
            precision=precision,
            helpers=self.helpers(precision, train),
            seed=self.run.seed,
            rank=self.world.rank,
            n_ranks=self.world.size,
            device=self.world.device,
        )

    def losses(self) -> Losses:
        """Build the losses: the weighted sum of `[[criterion]]`, or the losses that the model computes itself."""
        if not self.run.criterion:
            return ModelComputedLosses()
        tables = zip(self.refs_of("criterion"), self.run.criterion, strict=True)
        terms = [self.loss_term(reference, table.weight) for reference, table in tables]
        return WeightedLosses(terms) if any(term.weigh for term in terms) else Losses(terms)

    def check_criteria(self, model: nn.Module) -> None:
        """Raise ConfigError if the model's forward() has other inputs than the losses need.

        With criteria, a step of its own may call the model with any inputs.
        """
        if self.run.criterion and self.has_own_step:
            return
        if self.run.criterion:
            message = "is not allowed, because the model computes its losses itself from the targets; remove [[criterion]]"
            self.check_inputs(model, 1, message)
        else:
            message = "is required: this model's forward() takes only images and therefore returns no loss; add [[criterion]]"
            self.check_inputs(model, 2, message)

    def check_monitors(self, evaluator: Evaluator, trained: RunLosses) -> None:
        """Raise ConfigError if the history will have no column for a `monitor`, because the step returns no such loss."""
        trackers: dict[KeyPath, BestTracker] = {("output", "monitor"): evaluator.models[0].best}
        if evaluator.early_stopping:
            trackers[("train", "early_stopping", "monitor")] = evaluator.early_stopping.best
        known = {f"valid/{name}" for name in evaluator.columns} | {f"train/{name}" for name in trained.columns}
        where = "the training; return it, or use 'loss'" if evaluator.valid is None else "evaluation; return it, or use a metric"
        for path, each in trackers.items():
            if each.column not in known:
                message = f"the step returns no {each.column.partition('/')[2]!r} in {where}"
                raise ConfigError([self.config.problem(path, message)])

    def loss_term(self, reference: ComponentRef, weight: float) -> LossTerm:
        """Build a `[[criterion]]`; with the key `on`, it gets one head."""
        criterion = self.on_device(self.create(reference, **self.class_values()))
        weigh, head, name = weight_method(criterion), self.head_of(reference), self.name_of(reference)
        if head is None:
            return LossTerm(reference.key, weight, criterion, name, weigh)
        return LossTerm(reference.key, weight, HeadCriterion(head, criterion), name, weigh and HeadWeight(head, weigh))

    def head_of(self, reference: ComponentRef) -> Head | None:
        """Return the head that a criterion or a metric selects; None without the key `on`."""
        path = (*reference.path[:-1], "on")
        return Head(reference.on, functools.partial(self.config.problem, path)) if reference.on else None

    def check_inputs(self, model: nn.Module, n: int, message: str) -> None:
        """Raise ConfigError with `message` at `criterion` if the model's forward() does not accept `n` inputs."""
        if not accepts_inputs(model, n):
            raise ConfigError([self.config.problem(("criterion",), message)])

    def metrics(self) -> dict[str, MetricAdapter]:
        """Build the metrics, keyed by their names in history. If one selects a head, all of them are `HeadMetric`s."""
        references = self.refs_of("metric")
        has_heads = any(reference.on for reference in references)
        return {reference.key: self.metric(reference, has_heads=has_heads) for reference in references}

    def metric(self, reference: ComponentRef, *, has_heads: bool) -> MetricAdapter:
        """Build a metric; what its component declares wins over the attributes of its class."""
        made, component = self.on_device(self.create(reference, **self.class_values())), self.component_of(reference)
        higher, declared = getattr(made, "higher_is_better", None), component.higher_is_better
        fields = (made, component.takes, self.name_of(reference), higher if declared is None else declared)
        return HeadMetric(*fields, self.head_of(reference)) if has_heads else MetricAdapter(*fields)

    def head_postprocess(self, metrics: Mapping[str, MetricAdapter]) -> Callable[[Any], Any]:
        """Build the postprocess; if metrics select heads, it converts each of these heads. Without metrics, it converts none."""
        found = [each for each in metrics.values() if isinstance(each, HeadMetric)]
        heads = {each.head.name if each.head else "": each.head for each in found if each.takes != "logits"}
        has_heads = found or (not metrics and any(reference.on for reference in self.refs_of("criterion")))
        return HeadPostprocess(self.postprocess(), heads) if has_heads else self.postprocess()

    def postprocess(self) -> Callable[[Any], Any]:
        """Build the function that converts outputs to predictions; the identity if the config names none."""
        if self.run.postprocess is None:
            return lambda outputs: outputs
        made: Callable[[Any], Any] = self.create_only("postprocess", **self.class_values())
        return made

    @property
    def postprocess_name(self) -> ComponentName | None:
        """Name of the postprocess, for messages; None if the config names none."""
        return self.name_only("postprocess") if self.run.postprocess else None

    def lr_schedule(self, optimizer: Optimizer, path: KeyPath | None, steps_per_epoch: int, *, has_valid: bool) -> LRSchedule:
        """Build the warm-up and the scheduler of the table at `path`; their updates are optimizer steps or epochs."""
        if path is None:
            return LRSchedule(optimizer, None)
        table = scheduler_tables(self.run.train)[path]
        reference = open_reference("lr_scheduler", table, path)
        by_step = table.update_policy == "step"
        updates_per_epoch = steps_per_epoch if by_step else 1
        warmup = round(table.warmup * updates_per_epoch)
        scheduler = self.create(
            reference,
            optimizer=optimizer,
            total_steps=max(self.run.train.epoch * updates_per_epoch - warmup, 1),
            epochs=self.run.train.epoch,
            steps_per_epoch=steps_per_epoch,
        )
        if isinstance(scheduler, ReduceLROnPlateau):
            self.check_plateau(path, by_step=by_step, has_loss=self.has_loss(has_valid=has_valid))
        name = self.name_of(reference)
        try:
            counting_step = find_counting_step(scheduler, by_step=by_step)
        except ValueError as error:
            raise ConfigError([self.config.problem(name.path, f"{name}: {error}")]) from error
        warmup_lr = table.warmup_lr
        return LRSchedule(optimizer, scheduler, counting_step, warmup=warmup, warmup_lr=warmup_lr, by_step=by_step, name=name)

    def check_plateau(self, path: KeyPath, *, by_step: bool, has_loss: bool) -> None:
        """Raise ConfigError if a scheduler that uses the validation loss would have no loss at its updates."""
        if by_step:
            message = "a scheduler that uses the validation loss is updated once per epoch; set update_policy = 'epoch'"
            raise ConfigError([self.config.problem((*path, "update_policy"), message)])
        if not has_loss:
            message = "uses the validation loss, but a model that computes its losses itself has none; use another scheduler"
            raise ConfigError([self.config.problem((*path, "type"), message)])


def is_lazy(model: nn.Module) -> bool:
    """Return whether a layer of the model has not got its shape yet."""
    return any(isinstance(parameter, UninitializedParameter) for parameter in model.parameters())
