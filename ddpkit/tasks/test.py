"""Test: weights of a run, or of a file, on the test part."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ddpkit.config.component_refs import class_names
from ddpkit.errors import ConfigError
from ddpkit.runs import folder as run_folder
from ddpkit.runs.environment import environment_of
from ddpkit.runs.folder import SPLIT, RunFolder
from ddpkit.runs.log import LOGGER
from ddpkit.tasks.plan import Job
from ddpkit.training import builder
from ddpkit.training.pretrained import fill
from ddpkit.training.trainer import Engine

if TYPE_CHECKING:
    from ddpkit.distributed.world import World


def test(job: Job, world: "World", weights: Path) -> None:
    """Measure the weights, and their average where it lies beside them; rank 0 writes what training's own test writes.

    Every rank must call it. Raises ConfigError when the weights are not the model's, or there is no test part.
    """
    config = job.config
    engine = builder.engine(config, job.plugins.registry, world, job.options.limit_batches)
    if engine.test is None:
        raise ConfigError([config.problem(("dataset", "split"), "leaves no sample to test with; give the dataset a test part")])
    path = run_folder.path_of(config.run)
    LOGGER.info("test    %s: %d samples", weights, len(engine.test.sampler.indices))
    warn_of_trained(path, engine.test.samples.listed(engine.test.sampler.indices))
    tested = measured(engine, weights)
    if world.is_main:
        environment = environment_of(world, job.options.limit_batches)
        folder = RunFolder(path) if path.exists() else RunFolder.create(config, job.plugins, environment)
        folder.write_test_metrics(tested, class_names(config.run), weights)


def measured(engine: Engine, weights: Path) -> dict[str, float]:
    """`loss` and each metric, as `Engine.test_best` names them."""
    tested: dict[str, float] = {}
    for candidate in engine.candidates:
        file = weights.with_name(candidate.prefix.replace("/", "-") + weights.name)
        if file.is_file() and engine.test is not None:
            fill(candidate.model, file)
            values = engine.evaluate(candidate.model, engine.test)
            tested |= {candidate.prefix + key: values[key] for key in ("loss", *engine.metrics)}
    return tested


def warn_of_trained(folder: Path, tested: Sequence[str | int]) -> None:
    """Samples that the run trained with, or chose its weights by, say little in a test."""
    file = folder / SPLIT
    parts = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    seen = {sample for part in ("train", "valid") for sample in parts.get(part, [])}.intersection(tested)
    if seen:
        LOGGER.warning("%d of the test samples are of the run's own train and valid parts: is the split another one?", len(seen))
