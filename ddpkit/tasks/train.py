"""Train: build, go on from where the run was, fit, test the best weights."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from ddpkit.checkpoint.checkpointer import recovering
from ddpkit.checkpoint.resume import Origin
from ddpkit.checkpoint.run_metadata import Record
from ddpkit.checkpoint.weights import BEST, WeightsFolder
from ddpkit.config import schema
from ddpkit.config.component_refs import class_names, fits
from ddpkit.config.loading import Config
from ddpkit.runs import console, lock, model_summary, plugin_manifest, run_hooks
from ddpkit.runs import folder as run_folder
from ddpkit.runs.environment import environment_of
from ddpkit.runs.folder import RunFolder
from ddpkit.runs.loggers import create_loggers
from ddpkit.tasks.plan import Job
from ddpkit.training import builder
from ddpkit.training.callbacks import Watcher
from ddpkit.training.trainer import Engine

if TYPE_CHECKING:
    from ddpkit.distributed.world import World


def train(job: Job, world: "World") -> Job:
    """From the first step, or where the run was, to the end. Every rank must call it. Returns the job with its data's names."""
    found, origin = job.plugins, job.origin
    engine = builder.engine(from_checkpoint(job.config, origin), found.registry, world, job.options.limit_batches)
    if job.options.dry_run:
        engine.set_training()
        engine.train_step(next(engine.steps()))
        return job

    job = attrs.evolve(job, config=with_names(job.config, engine))
    config = job.config
    record, weights = Record.of(config, found, engine, origin), weights_of(config.run)
    with opened(job, environment_of(world, job.options.limit_batches), is_main=world.is_main) as folder:
        world.barrier()  # from here on the folder is there for all
        introduce(job, engine, folder)
        with watchers_of(job, engine, folder) as watchers:
            with recovering(engine, record, found, weights, folder, origin):
                engine.fit(weights, watchers)
            if engine.test is not None and "test" in job.tasks:
                test_metrics = engine.test_best(weights)
                if folder:
                    folder.write_test_metrics(test_metrics, class_names(config.run), weights.file("", BEST))
        if folder:
            folder.finish({"epoch": engine.progress.epoch, "step": engine.progress.step, "is_over": engine.progress.is_over})
    return job


def with_names(config: Config, engine: Engine) -> Config:
    """The config with the names of classes that the dataset tells, where it has none and they are as many as the outputs."""
    names = [str(name) for name in getattr(engine.train.samples.dataset, "classes", [])]
    if config.run.classes or not fits(len(names), config.run.model.config.params.get("n_classes")):
        return config
    with attrs.validators.disabled():
        return attrs.evolve(config, run=attrs.evolve(config.run, classes=names))


def from_checkpoint(config: Config, origin: Origin | None) -> Config:
    """The config as it is built from: where a checkpoint has the weights, the file of `model.pretrained` is not read again."""
    if origin is None or origin.checkpoint is None:
        return config
    model = attrs.evolve(config.run.model, pretrained="")
    return attrs.evolve(config, run=attrs.evolve(config.run, model=model))


@contextlib.contextmanager
def opened(job: Job, environment: Mapping[str, Any], *, is_main: bool) -> Iterator[RunFolder | None]:
    """The run's folder, new or as it was at its checkpoint, held against other processes; rank 0's alone."""
    if not is_main:
        yield None
    elif job.origin is None:
        folder = RunFolder.create(job.config, job.plugins, environment)
        with lock.held(folder.path):
            yield folder
    else:
        with lock.held(job.origin.folder):
            rows = job.origin.checkpoint.plain["run"]["history"] if job.origin.checkpoint else []
            yield RunFolder.reopen(job.config, job.plugins, environment, rows)


def introduce(job: Job, engine: Engine, folder: RunFolder | None) -> None:
    """The first screen, and what the run's folder tells of data and model."""
    used = plugin_manifest.plugins_of(job.config, job.plugins)
    console.announce(job.config, used, engine, run_folder.path_of(job.config.run))
    if folder:
        folder.write_split({"train": engine.train, "valid": engine.valid, "test": engine.test})
    model_summary.write(engine, job.config.run.model, folder)


def weights_of(run: schema.Run) -> WeightsFolder:
    """What keeps the weights that the config asks for."""
    kept = run.output
    return WeightsFolder(run_folder.path_of(run) / "weights", kept.save_best, kept.save_last, kept.save_interval)


@contextlib.contextmanager
def watchers_of(job: Job, engine: Engine, folder: RunFolder | None) -> Iterator[Sequence[Watcher]]:
    """What watches a run on this rank: files, terminal and loggers on the first, run hooks on every one."""
    path = run_folder.path_of(job.config.run)
    info = run_hooks.RunInfo.of(job.config, engine, path)
    with run_hooks.called(job.plugins, info) as hooks, console.watching(engine) as line:
        loggers = create_loggers(job.config, job.plugins.registry, path) if engine.world.is_main else []
        try:
            mine: list[Watcher] = [folder, line] if folder else []
            yield [*mine, *loggers, *hooks]
        finally:
            for logger in loggers:
                logger.close()
