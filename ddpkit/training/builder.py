"""Build a trainer from a validated config: the loaders, the model, and the objects that train and evaluate the model."""

import functools
import logging
from collections.abc import Collection, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ddpkit.config import schema
from ddpkit.config.error_hints import translate_first_errors
from ddpkit.config.loading import Config
from ddpkit.data.builder import DataBuilder
from ddpkit.data.classes import ClassInference
from ddpkit.data.loader import SplitLoader
from ddpkit.data.recorded_split import RecordedSplit
from ddpkit.distributed.all_reduce import observe_all_reduce
from ddpkit.distributed.sync_batchnorm import convert_to_sync_batchnorm
from ddpkit.distributed.world import World
from ddpkit.errors import ConfigError, component_errors
from ddpkit.plugins.registry import Registry
from ddpkit.plugins.signatures import accepts_inputs
from ddpkit.training.ema import EMA
from ddpkit.training.freezing import FreezeSchedule
from ddpkit.training.losses import Losses
from ddpkit.training.model_builder import ModelBuilder
from ddpkit.training.param_groups import check_unused_parameters, freeze
from ddpkit.training.precision import Precision
from ddpkit.training.sanity_check import SanityCheck
from ddpkit.training.step_losses import RunLosses
from ddpkit.training.trainer import Trainer, TrainOptions

LOGGER = logging.getLogger(__name__)


def build_trainer(config: Config, registry: Registry, world: World, limit_batches: int | None = None) -> Trainer:
    """Build the trainer of a new run, see `build_run`. Every rank must call it."""
    return build_run(config, registry, world, limit_batches)[1]


def build_run(
    config: Config, registry: Registry, world: World, limit_batches: int | None = None, recorded: RecordedSplit | None = None
) -> tuple[Config, Trainer]:
    """Build the components of a validated config and try them with a few samples. Every rank must call it.

    Args:
        config: Validated config.
        registry: Components of the plugins.
        world: Ranks of the run.
        limit_batches: Maximum number of micro-batches per epoch of each split; None: no limit.
        recorded: Split of the run that is resumed or tested; None for a new run, whose config is completed with the classes of
            its data.

    Returns:
        The config with the classes, and the trainer.

    Raises:
        ConfigError: A component does not accept its parameters, or the data does not fit the batch size or the model.
    """
    LOGGER.info("reading the data and building the model ...")
    loaders = build_loaders(config, registry, world, limit_batches, recorded)
    inference = None if recorded else ClassInference.of(config, registry, loaders)
    builder = ModelBuilder(inference.with_classes() if inference else config, registry, world)
    precision = attrs.evolve(builder.precision(), optimizer_name=builder.name_only("optimizer"))
    model = build_model(builder, precision, loaders["train"])
    if inference and (n_outputs := count_outputs(builder, model, precision, loaders["train"])):
        builder = attrs.evolve(builder, config=inference.with_outputs(n_outputs))
    return builder.config, assemble_trainer(builder, model, precision, loaders)


def assemble_trainer(
    builder: ModelBuilder, model: nn.Module, precision: Precision, loaders: Mapping[str, SplitLoader]
) -> Trainer:
    """Build everything that trains and evaluates the model, and try it with the first samples."""
    run, world = builder.run, builder.world
    freezing = freeze(model, builder.config)
    options = train_options(run, builder.draws_of("model", "criterion", "step"))
    # The optimizers get all parameters that are trained in any epoch.
    optimizations = builder.optimizations(model, options.steps_per_epoch(loaders["train"]), has_valid="valid" in loaders)
    metrics = builder.metrics()
    ema = EMA.of(model, run.train.ema_decay) if run.train.ema_decay else None
    if run.train.compile:
        compile_model(model, n_losses=len(optimizations))
    criteria, context = builder.losses(), builder.step_context(model, precision, loaders["train"])
    evaluator = builder.evaluator(model, ema, criteria, metrics, context, loaders)
    shared: dict[str, Any] = {"model": model, "loader": loaders["train"], "evaluator": evaluator, "freezing": freezing}
    check = SanityCheck(
        **shared,
        context=attrs.evolve(context, criteria=criteria),
        criteria=criteria,
        check_criteria=functools.partial(builder.check_criteria, model),
        optimizations=optimizations,
        # With this option, DDP would allow a step to call the model only once, and to use parameters only in this call.
        may_use_ddp=not (builder.has_own_step and run.ddp.find_unused_parameters),
    )
    losses, criteria = try_first_samples(builder, check)
    return Trainer(
        **shared,
        world=world,
        # Called after the sanity check: otherwise DDP would count the backward of the check as a part of the first step.
        wrap=functools.partial(wrap_for_phase, builder, freezing, uses_ddp=losses.uses_ddp),
        step=evaluator.step,
        context=attrs.evolve(context, criteria=criteria),
        losses=losses,
        optimizations=optimizations,
        precision=precision,
        options=options,
        ema=ema,
    )


def compile_model(model: nn.Module, n_losses: int) -> None:
    """Compile the model in place. The backward of several losses needs its buffers more than once, so it must not reuse them."""
    torch._functorch.config.donated_buffer = n_losses == 1  # noqa: SLF001
    model.compile()


def wrap_for_phase(builder: ModelBuilder, freezing: FreezeSchedule, model: nn.Module, *, uses_ddp: bool) -> nn.Module:
    """Wrap the model for the current phase of the schedule, see `World.wrap`. Every rank must call it.

    Returns the model itself if the step does not use DDP.
    """
    if builder.run.train.compile and freezing.groups:
        torch.compiler.reset()  # torch recompiles for each phase, but only a limited number of times
    if not uses_ddp:
        with torch.no_grad():
            builder.world.broadcast([*model.parameters(), *model.buffers()])  # as DDP does
        return model
    return builder.world.wrap(model, find_unused_parameters=builder.run.ddp.find_unused_parameters)


def try_first_samples(builder: ModelBuilder, check: SanityCheck) -> tuple[RunLosses, Losses]:
    """Run the sanity check; return the losses and criteria in training, and set the losses of the evaluator."""
    evaluator = check.evaluator
    refuse = functools.partial(check_all_reduce, builder.config, in_turn=len(check.loader.sampler.shards) > 1)
    with translate_first_errors(builder.config), observe_all_reduce(refuse):
        found = check.run()
    evaluator.losses = found.evaluated
    if found.trained.uses_ddp:
        check_unused_parameters(builder.config, found.unused, builder.world.size)
    builder.check_monitors(evaluator, found.trained)
    return found.trained, found.criteria


def check_all_reduce(config: Config, *, in_turn: bool) -> None:
    """Raise ConfigError for a sum over ranks if a rank computes several shards one after the other (`in_turn`)."""
    if in_turn:
        message = "must not be larger than the number of ranks, because a criterion or the model sums over all shards at once"
        raise ConfigError([config.problem(("ddp", "virtual_shards"), f"{message} (ddpkit.all_reduce_sum); remove it")])


def build_loaders(
    config: Config, registry: Registry, world: World, limit_batches: int | None, recorded: RecordedSplit | None
) -> Mapping[str, SplitLoader]:
    """Build the loader of each split that has samples, and read the first training samples."""
    data = DataBuilder(config, registry, world)
    loaders = data.loaders(limit_batches, recorded)
    data.try_reading(loaders["train"])
    return loaders


def build_model(builder: ModelBuilder, precision: Precision, loader: SplitLoader) -> nn.Module:
    """Build the model on the device, with synchronised BatchNorm if the config asks for it."""
    run, world = builder.run, builder.world
    with translate_first_errors(builder.config):
        model = builder.model(precision, loader)
    if run.ddp.sync_batchnorm and world.size > 1:
        model = convert_to_sync_batchnorm(model, world.device)
    return model


@torch.no_grad()
def count_outputs(builder: ModelBuilder, model: nn.Module, precision: Precision, loader: SplitLoader) -> int | None:
    """Return how many classes a model that does not get `n_classes` distinguishes; None for other models.

    It is the size of the second dimension of the predictions, if the postprocess declares that they are classes.
    """
    gets_classes = "n_classes" in builder.parameters_of(builder.refs_of("model")[0]).from_run
    takes_images = accepts_inputs(model, 1)  # a step of its own may call the model with other inputs
    if builder.gives not in ("class", "labels", "mask") or gets_classes or not takes_images:
        return None
    with translate_first_errors(builder.config):
        try:
            outputs = precision(model.eval(), loader.sample(1)[0])
        except NotImplementedError:  # without forward(), for a step that calls parts of the model
            return None
        if isinstance(outputs, Mapping):  # each head has its own number of outputs
            return None
        with component_errors(builder.postprocess_name):
            predictions = builder.postprocess()(outputs)
    return predictions.shape[1] if isinstance(predictions, Tensor) and predictions.ndim > 1 else None


def train_options(run: schema.Run, draws: Collection[str]) -> TrainOptions:
    return TrainOptions(
        epochs=run.train.epoch,
        grad_accumulation_steps=max(run.train.grad_accumulation_steps, 1),
        seed=run.seed,
        draws=draws,
        skip_nonfinite=run.train.on_nonfinite == "skip",
    )
