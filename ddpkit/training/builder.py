"""A checked config -> a live engine: the data (data.py), and the model with what trains it, of components (components.py)."""

import inspect
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ddpkit.config.component_refs import class_names
from ddpkit.config.error_hints import first_samples
from ddpkit.config.instantiate import Maker
from ddpkit.config.loading import Config
from ddpkit.data import seeding
from ddpkit.data.builder import Data
from ddpkit.data.loader import Batches
from ddpkit.distributed.sync_batchnorm import Counted, synchronise
from ddpkit.distributed.world import World
from ddpkit.errors import ConfigError, KeyPath
from ddpkit.plugins.registry import Registry
from ddpkit.training.early_stopping import Best, EarlyStopping
from ddpkit.training.ema import MovingAverage
from ddpkit.training.losses import Criteria, OwnLosses, Term
from ddpkit.training.lr_schedule import Schedule
from ddpkit.training.metrics import Measure
from ddpkit.training.param_groups import freeze, frozen_norms, fused_kernels, parameter_groups, refuse_unreached
from ddpkit.training.precision import Precision
from ddpkit.training.pretrained import begin_with
from ddpkit.training.trainer import Candidate, Engine

LOGGER = logging.getLogger(__name__)


def engine(config: Config, registry: Registry, world: World, limit_batches: int | None = None) -> Engine:
    """Everything that the config names, put together and tried on a few samples. Every rank must call it.

    Raises ConfigError when a component refuses its parameters, or the data does not fit the batch or the model.
    """
    run, data, parts = config.run, Data(config, registry, world), Parts(config, registry, world)
    batches = data.batches(limit_batches)
    data.try_reading(batches["train"])
    precision = Precision.of(run.train.scaler.compute_type, world.device, channels_last=run.train.channels_last)
    with first_samples(config):
        model = parts.model(precision, batches["train"])
    counted = Counted()
    model = synchronise(model, counted, world.device) if run.ddp.sync_batchnorm and world.size > 1 else model
    freeze(model, config)
    optimizer = parts.optimizer(model)
    metrics = parts.metrics()
    average = MovingAverage.of(model, run.train.ema_decay) if run.train.ema_decay else None
    if run.train.compile:
        model.compile()
    accumulation = max(run.train.grad_accumulation_steps, 1)
    made = Engine(
        world=world,
        model=model,
        network=model,
        criteria=parts.criteria(model),
        optimizer=optimizer,
        schedule=parts.schedule(
            optimizer, math.ceil(batches["train"].sampler.n_batches() / accumulation), has_valid="valid" in batches
        ),
        precision=precision,
        train=batches["train"],
        valid=batches.get("valid"),
        test=batches.get("test"),
        metrics=metrics,
        postprocess=parts.postprocess(),
        epochs=run.train.epoch,
        accumulation=accumulation,
        seed=run.seed,
        candidates=parts.candidates(model, average, metrics, has_valid="valid" in batches),
        average=average,
        counted=counted,
        stopping=parts.stopping(metrics, has_valid="valid" in batches),
        valid_every=run.valid.every,
        clip_norm=run.train.grad_clip_norm,
        skip_nonfinite=run.train.on_nonfinite == "skip",
        frozen=frozen_norms(model),
    )
    with first_samples(config):
        unreached = made.rehearse()
    refuse_unreached(config, unreached, world.size)
    # after the trial, whose backward would count as a use of each parameter in the first step
    made.network = world.wrap(model, find_unused_parameters=run.ddp.find_unused_parameters)
    return made


@attrs.frozen
class Parts(Maker):
    """Makes the model and what trains it."""

    world: World

    def on_device(self, made: Any) -> Any:
        """A module on the device; anything else as it is."""
        return made.to(self.world.device) if isinstance(made, nn.Module) else made

    def model(self, precision: Precision, train: Batches) -> nn.Module:
        """The model on the device, with the same initial weights on every rank; lazy layers learn their shapes from a sample."""
        seeding.seed_generators("weights", self.run.seed, device=self.world.device)
        model: nn.Module = self.make_one("model", classes=class_names(self.run))
        model = precision.prepare(model.to(self.world.device))
        if any(isinstance(parameter, UninitializedParameter) for parameter in model.parameters()):
            with torch.no_grad():
                precision(model.eval(), train.sample(1)[0])
        if self.run.model.pretrained:
            begin_with(model, self.config)
        self.try_inputs(model, precision)
        return model

    @torch.no_grad()
    def try_inputs(self, model: nn.Module, precision: Precision) -> None:
        """The model takes the shapes that `model.config.input_sizes` names."""
        wanted = self.run.model.config
        dtypes = wanted.dtypes or ["float32"] * len(wanted.input_sizes)
        for number, (size, dtype) in enumerate(zip(wanted.input_sizes, dtypes, strict=True)):
            images = torch.zeros(size, dtype=getattr(torch, dtype), device=self.world.device)
            try:
                precision(model.eval(), images)
            except (RuntimeError, ValueError) as error:
                LOGGER.debug("the model refuses an input", exc_info=True)
                message = f"the model refuses images of this shape: {error}"
                raise ConfigError([self.config.problem(("model", "config", "input_sizes", number), message)]) from error

    def optimizer(self, model: nn.Module) -> Optimizer:
        """Of what is trained."""
        table = self.run.train.optimizer
        rate = {} if table.learning_rate is None else {"lr": table.learning_rate}
        made: Optimizer = self.make_one("optimizer", params=parameter_groups(model, self.config), **rate, **fused_kernels(table))
        return made

    def candidates(
        self, model: nn.Module, average: MovingAverage | None, metrics: Mapping[str, Measure], *, has_valid: bool
    ) -> list[Candidate]:
        """The model, and its average where there is one."""
        best = self.best(self.run.output.monitor, ("output", "monitor"), metrics, has_valid=has_valid)
        mine = Candidate("valid", model, best)
        if average is None:
            return [mine]
        of_average = attrs.evolve(best, column=best.column.replace("valid/", "ema/", 1))
        return [mine, Candidate("ema", average.model, of_average, prefix="ema/")]

    def best(self, monitor: str, path: KeyPath, metrics: Mapping[str, Measure], *, has_valid: bool) -> Best:
        """How a column of history is judged. Raises ConfigError for a metric that nobody measures, or has no direction."""
        has_loss = bool(self.run.criterion) or not has_valid
        key = monitor or ("loss" if has_loss else next(iter(metrics), "loss"))
        if key not in metrics and has_loss:
            return Best(f"{'valid' if has_valid else 'train'}/{key}")
        if key not in metrics:
            message = "a model that makes its losses itself has none in evaluation; name a metric, as in metrics = ['map']"
            raise ConfigError([self.config.problem(path if monitor else ("metrics",), message)])
        higher = metrics[key].metric.higher_is_better
        if not has_valid or higher is None:
            lack = "is not measured without a valid part" if not has_valid else "does not say whether more is better"
            other = "'loss'" if has_loss else "another one"
            raise ConfigError([self.config.problem(path, f"the metric {key!r} {lack}; take {other}")])
        return Best(f"valid/{key}", lower=not higher)

    def stopping(self, metrics: Mapping[str, Measure], *, has_valid: bool) -> EarlyStopping | None:
        """When to end early."""
        table = self.run.train.early_stopping
        if table is None:
            return None
        best = self.best(table.monitor, ("train", "early_stopping", "monitor"), metrics, has_valid=has_valid)
        return EarlyStopping(attrs.evolve(best, min_delta=table.min_delta), table.patience)

    def criteria(self, model: nn.Module) -> Criteria:
        """The weighted sum of `[[criterion]]`, or what the model makes itself. Raises ConfigError where it has other inputs."""
        if not self.run.criterion:
            self.refuse_inputs(model, 2, "is missing: the model takes images alone, so it makes no losses itself")
            return OwnLosses()
        self.refuse_inputs(model, 1, "is too much: the model takes targets and makes its losses itself; leave it out")
        made = [(reference, self.make(reference, **self.classes())) for reference in self.named("criterion")]
        weights = [term.weight for term in self.run.criterion]
        return Criteria(
            [Term(ref.key, weight, self.on_device(made_one)) for (ref, made_one), weight in zip(made, weights, strict=True)]
        )

    def refuse_inputs(self, model: nn.Module, n: int, message: str) -> None:
        """Raise ConfigError at the criteria where the model cannot be called with `n` inputs."""
        try:
            inspect.signature(model.forward).bind(*range(n))
        except ValueError:  # compiled code has no signature
            return
        except TypeError as error:
            raise ConfigError([self.config.problem(("criterion",), message)]) from error

    def metrics(self) -> dict[str, Measure]:
        """Under their names in history."""
        named = self.named("metric")
        made = [self.on_device(self.make(reference, **self.classes())) for reference in named]
        return {ref.key: Measure(metric, self.component(ref).takes) for ref, metric in zip(named, made, strict=True)}

    def postprocess(self) -> Callable[[Any], Any]:
        """Outputs to predictions; outputs as they are when the config names none."""
        if self.run.postprocess is None:
            return lambda outputs: outputs
        made: Callable[[Any], Any] = self.make_one("postprocess", **self.classes())
        return made

    def schedule(self, optimizer: Optimizer, steps_per_epoch: int, *, has_valid: bool) -> Schedule:
        """Warm-up and scheduler, in optimizer steps or in epochs."""
        table = self.run.train.lr_scheduler
        if table is None:
            return Schedule(optimizer, None)
        by_step = table.update_policy == "step"
        updates_per_epoch = steps_per_epoch if by_step else 1
        warmup = round(table.warmup * updates_per_epoch)
        scheduler = self.make_one(
            "lr_scheduler",
            optimizer=optimizer,
            total_steps=max(self.run.train.epoch * updates_per_epoch - warmup, 1),
            epochs=self.run.train.epoch,
            steps_per_epoch=steps_per_epoch,
        )
        if isinstance(scheduler, ReduceLROnPlateau):
            self.refuse_plateau(by_step=by_step, has_loss=bool(self.run.criterion) or not has_valid)
        return Schedule(optimizer, scheduler, warmup=warmup, warmup_lr=table.warmup_lr, by_step=by_step)

    def refuse_plateau(self, *, by_step: bool, has_loss: bool) -> None:
        """Raise ConfigError where there is no validation loss to look at when the schedule moves."""
        if by_step:
            message = "a schedule that looks at the validation loss moves by epoch"
            raise ConfigError([self.config.problem(("train", "lr_scheduler", "update_policy"), message)])
        if not has_loss:
            message = "looks at the validation loss, and a model that makes its losses itself has none; take another schedule"
            raise ConfigError([self.config.problem(("train", "lr_scheduler", "type"), message)])
