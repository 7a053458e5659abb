"""Test task: evaluation of the weights of a run, or of a file, on the test split."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ddpkit.config.classes import class_names
from ddpkit.errors import ConfigError
from ddpkit.runs import folder as run_folder
from ddpkit.runs.environment import device_environment
from ddpkit.runs.files import read_json, reading
from ddpkit.runs.folder import SPLIT, RunFolder
from ddpkit.runs.log import LOGGER
from ddpkit.tasks.plan import RunPlan
from ddpkit.tasks.recorded_split import recorded_split
from ddpkit.training import builder
from ddpkit.training.evaluator import EvaluatedModel
from ddpkit.training.pretrained import load_weights

if TYPE_CHECKING:
    from ddpkit.distributed.world import World


def test(plan: RunPlan, world: "World", weights: Path) -> None:
    """Evaluate the weights, and the EMA weights in the same folder if they exist; rank 0 writes the results to the run folder.

    Every rank must call it. Raise ConfigError if the weights do not fit the model, or if there is no test split.
    """
    config, trainer = builder.build_run(
        plan.config, plan.plugins.registry, world, plan.options.limit_batches, recorded_split(plan)
    )
    loader = trainer.evaluator.test
    if loader is None:
        message = "leaves no samples for the test split; set 'dataset.split.test', or use a dataset with a test split"
        raise ConfigError([config.problem(("dataset", "split"), message)])
    path = run_folder.run_path(config.run)
    LOGGER.info("test    %s: %d samples", weights, len(loader.sampler.indices))
    warn_about_seen_samples(path, loader.samples.info.identify(loader.sampler.indices))
    tested = trainer.evaluator.test_models(functools.partial(load_if_present, weights))
    if world.is_main:
        environment = device_environment(world, plan.options.limit_batches)
        folder = RunFolder(path) if path.exists() else RunFolder.create(config, plan.plugins, environment)
        folder.write_test_metrics(tested, class_names(config.run), weights)


def load_if_present(weights: Path, each: EvaluatedModel) -> bool:
    """Load the weights of a model, or those of its EMA in the same folder; return whether the file exists."""
    file = weights.with_name(each.prefix.replace("/", "-") + weights.name)
    if file.is_file():
        load_weights(each.model, file)
    return file.is_file()


def warn_about_seen_samples(folder: Path, tested: Sequence[str | int]) -> None:
    """Warn about test samples that the run used for training or validation: they make the test results too good."""
    file = folder / SPLIT
    with reading(file):
        splits = read_json(file)
        seen = {sample for split in ("train", "valid") for sample in splits.get(split, [])}.intersection(tested)
    if seen:
        LOGGER.warning(
            "%d test samples are in the train or validation split of this run, so the results are too good; use the run's split",
            len(seen),
        )
