"""Train task: build, restore the checkpoint of a resumed run, fit, test the best weights."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from ddpkit.checkpoint.checkpointer import attach_checkpointer
from ddpkit.checkpoint.resume import ResumePoint
from ddpkit.checkpoint.run_metadata import RunMetadata
from ddpkit.checkpoint.weights import BEST_FILE, WeightsFolder
from ddpkit.config import schema
from ddpkit.config.classes import class_names
from ddpkit.config.loading import Config
from ddpkit.inference.test_sample_collector import TestSampleCollector
from ddpkit.plugins.registry import Registry
from ddpkit.runs import folder as run_folder
from ddpkit.runs import lock, model_summary, plugin_manifest, run_hooks
from ddpkit.runs.environment import device_environment
from ddpkit.runs.epoch_recorder import EpochRecorder
from ddpkit.runs.events import record_failure
from ddpkit.runs.folder import RunFolder
from ddpkit.runs.log import LOGGER
from ddpkit.runs.loggers import check_loggers, create_loggers
from ddpkit.runs.report.writer import write_matrices, write_report_of_run
from ddpkit.runs.saved_weights import SavedWeights
from ddpkit.runs.screen import console, end_report, start_report
from ddpkit.runs.test_samples import ShownSample
from ddpkit.tasks.plan import RunPlan
from ddpkit.tasks.recorded_split import recorded_split
from ddpkit.training import builder
from ddpkit.training.callbacks import Callback
from ddpkit.training.evaluator import AfterBatch, EvaluatedModel
from ddpkit.training.metric_result import EvaluationResult
from ddpkit.training.trainer import Trainer

if TYPE_CHECKING:
    from ddpkit.distributed.world import World


def train(plan: RunPlan, world: "World") -> RunPlan:
    """Train from the first step, or from the resume point, to the end; then test. Every rank must call it.

    Return the plan with the classes of its data.
    """
    plugins, resume_point = plan.plugins, plan.resume_point
    if world.is_main:  # only rank 0 uses loggers
        check_loggers(plan.config, plugins.registry)
    initial, recorded = without_pretrained(plan.config, resume_point), recorded_split(plan)
    completed, trainer = builder.build_run(initial, plugins.registry, world, plan.options.limit_batches, recorded)
    if recorded and recorded.names:
        LOGGER.info("split   as recorded by the run, because the code of the split was changed; new samples are not used")
    if plan.options.dry_run:
        trainer.set_train_mode()
        trainer.train_step(next(trainer.steps()))
        return plan

    plan = attrs.evolve(plan, config=with_classes_of(completed.run, plan.config))
    config = plan.config
    metadata = RunMetadata.of(config, plugins, trainer, resume_point, keeps_split=bool(recorded and recorded.names))
    weights = create_weights_folder(config.run)
    with open_run_folder(plan, device_environment(world, plan.options.limit_batches), is_main=world.is_main) as folder:
        world.barrier()  # rank 0 has created the run folder
        describe_start(plan, trainer, folder)
        with create_callbacks(plan, trainer, folder) as callbacks, record_skipped_samples(trainer, folder):
            with attach_checkpointer(trainer, metadata, plugins, weights, folder, resume_point):
                trainer.fit(weights, callbacks)
            best = best_weights(trainer, weights)
            tested = test_best(plan, trainer, weights, callbacks, folder) if "test" in plan.tasks else None
        if folder:
            folder.finish({"epoch": trainer.progress.epoch, "step": trainer.progress.step, "is_over": trainer.progress.is_over})
            log_end(config.run, trainer, tested, best)
            if config.run.private.report:
                write_report_of_run(folder.path)
    return plan


def test_best(
    plan: RunPlan, trainer: Trainer, weights: WeightsFolder, callbacks: Sequence[Callback], folder: RunFolder | None
) -> EvaluationResult | None:
    """Test the best weights; rank 0 writes the results to the run folder, and passes them to its callbacks.

    Every rank must call it. Return None without a test split.
    """
    if trainer.evaluator.test is None:
        return None
    load, after_batch = (
        functools.partial(load_best, weights, trainer.world),
        functools.partial(trainer.after_eval_batch, callbacks),
    )
    result, samples = test_with_samples(plan.config, plan.plugins.registry, trainer, load, after_batch)
    if folder:
        folder.write_test(result, class_names(plan.config.run), best_weights(trainer, weights), samples)
        write_matrices(folder.path)
        shown = folder.test_result(trainer.progress.epoch, result, class_names(plan.config.run))
        for callback in callbacks:
            callback.on_test_end(shown)
    return result


def test_with_samples(
    config: Config, registry: Registry, trainer: Trainer, load: Callable[[EvaluatedModel], bool], after_batch: AfterBatch
) -> tuple[EvaluationResult, Sequence[ShownSample]]:
    """Evaluate the models on the test split; return the results, and the samples to show. Every rank must call it."""
    collector = TestSampleCollector.of(config, registry, trainer.evaluator.test)
    result = trainer.evaluator.test_models(load, after_batch, collector.observe if collector else None)
    return result, collector.collect(trainer.world) if collector else []


def best_weights(trainer: Trainer, weights: WeightsFolder) -> list[SavedWeights]:
    """Return the files of the best weights of all models, with their epochs."""
    return [
        SavedWeights(weights.file(each.prefix, BEST_FILE), each.best.epoch, each.best.column) for each in trainer.evaluator.models
    ]


def log_end(run: schema.Run, trainer: Trainer, tested: EvaluationResult | None, best: Sequence[SavedWeights]) -> None:
    """Log the results of the run and the next commands."""
    folder = run_folder.run_path(run)
    end_report.log_training(trainer)
    if tested:
        end_report.log_test(trainer.evaluator, tested, class_names(run), best, folder)
    end_report.log_next_steps(run, folder, has_test=trainer.evaluator.test is not None)


def load_best(weights: WeightsFolder, world: "World", each: EvaluatedModel) -> bool:
    """Load the best weights on rank 0 and broadcast them. Every rank must call it."""
    if world.is_main:
        weights.load_best(each.model, each.prefix)
    world.broadcast([*each.model.parameters(), *each.model.buffers()])
    return True


def with_classes_of(completed: schema.Run, config: Config) -> Config:
    """Return the config with the class names and the number of outputs that its data completed."""
    model = attrs.evolve(completed.model, pretrained=config.run.model.pretrained)
    return config.with_run(model=model, classes=completed.classes)


def without_pretrained(config: Config, resume_point: ResumePoint | None) -> Config:
    """Return the config without `model.pretrained` if a checkpoint contains the weights: the file is not needed."""
    if resume_point is None or resume_point.checkpoint is None:
        return config
    return config.with_run(model=attrs.evolve(config.run.model, pretrained=""))


@contextlib.contextmanager
def open_run_folder(plan: RunPlan, environment: Mapping[str, Any], *, is_main: bool) -> Iterator[RunFolder | None]:
    """Yield the locked run folder on rank 0, None on other ranks. A resumed run reopens it in the state of its checkpoint."""
    if not is_main:
        yield None
    elif plan.resume_point is None:
        folder = RunFolder.create(plan.config, plan.plugins, environment)
        with lock.hold_lock(folder.path), record_failure(folder.path):
            yield folder
    else:
        point = plan.resume_point
        with lock.hold_lock(point.folder), record_failure(point.folder):
            yield RunFolder.reopen(plan.config, plan.plugins, environment, point.metadata.get("history", []), point.progress)


def describe_start(plan: RunPlan, trainer: Trainer, folder: RunFolder | None) -> None:
    """Log the start of the run; write its splits, the counts of its classes and the summary of its model to the run folder."""
    used, loaders = plugin_manifest.list_used_plugins(plan.config, plan.plugins), trainer.split_loaders
    counts = start_report.count_split_classes(loaders, class_names(plan.config.run)) if folder else {}
    start_report.log_start(plan.config, used, trainer, run_folder.run_path(plan.config.run), counts)
    if folder:
        folder.write_split(loaders)
        folder.write_class_counts({split: n for split, each in loaders.items() if (n := len(each.sampler.indices))}, counts)
    model_summary.write_summary(trainer, plan.config.run.model, folder)


@contextlib.contextmanager
def record_skipped_samples(trainer: Trainer, folder: RunFolder | None) -> Iterator[None]:
    """Write the unreadable samples that were skipped in this context and before to the run folder, even after an error."""
    try:
        yield
    finally:
        if folder:
            folder.write_skipped_samples(trainer.loader)


def create_weights_folder(run: schema.Run) -> WeightsFolder:
    output = run.output
    return WeightsFolder(run_folder.run_path(run) / "weights", output.save_best, output.save_last, output.save_interval)


@contextlib.contextmanager
def create_callbacks(plan: RunPlan, trainer: Trainer, folder: RunFolder | None) -> Iterator[Sequence[Callback]]:
    """Yield the callbacks of this rank: run folder, console and loggers only on rank 0, run hooks on every rank."""
    path = run_folder.run_path(plan.config.run)
    info = run_hooks.RunInfo.of(plan.config, trainer, path)
    progress = console.console_progress(trainer, plan.tasks, plan.config.run.private.log.every_seconds)
    with run_hooks.open_run_hooks(plan.plugins, info) as hooks, progress as line:
        loggers = create_loggers(plan.config, plan.plugins.registry, path) if trainer.world.is_main else []
        try:
            mine: list[Callback] = [EpochRecorder.start(folder, trainer, plan.config.run), line] if folder else []
            yield [*mine, *loggers, *hooks]
        finally:
            for logger in loggers:
                logger.close()
