"""Test task: evaluation of the weights of a run, or of a file, on the test split."""

import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ddpkit.config import diff
from ddpkit.config.classes import class_names
from ddpkit.errors import ConfigError
from ddpkit.runs import folder as run_folder
from ddpkit.runs import history, lookup
from ddpkit.runs.environment import device_environment
from ddpkit.runs.files import read_json, reading
from ddpkit.runs.folder import SPLIT, RunFolder
from ddpkit.runs.log import LOGGER
from ddpkit.runs.report.writer import write_report_of_run
from ddpkit.runs.saved_weights import SavedWeights
from ddpkit.runs.screen import end_report
from ddpkit.runs.screen.console import console_progress
from ddpkit.tasks.plan import RunPlan
from ddpkit.tasks.recorded_split import recorded_split
from ddpkit.tasks.train import test_with_samples
from ddpkit.training import builder
from ddpkit.training.early_stopping import BestTracker
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
        message = "leaves no samples for the test split; use a split or a dataset that has one, such as 'train_valid_test_split'"
        raise ConfigError([config.problem(("dataset", "split"), message)])
    path = run_folder.run_path(config.run)
    LOGGER.info("test    %s: %d %ss", weights, len(loader.names()), loader.unit)
    warn_about_seen_samples(path, loader.names(), loader.unit)
    with console_progress(trainer, plan.tasks, config.run.private.log.every_seconds) as line:
        load = functools.partial(load_if_present, weights)
        result, samples = test_with_samples(config, plan.plugins.registry, trainer, load, line.on_eval_batch_end)
    if world.is_main:
        environment = device_environment(world, plan.options.limit_batches)
        folder = RunFolder(path) if path.exists() else RunFolder.create(config, plan.plugins, environment)
        tested = find_tested_weights(plan, trainer.evaluator.models, weights)
        folder.write_test(result, class_names(config.run), tested, samples)
        end_report.log_test(trainer.evaluator, result, class_names(config.run), tested, path)
        end_report.log_next_steps(config.run, path, has_test=True)
        if config.run.private.report:
            write_report_of_run(path)


def load_if_present(weights: Path, each: EvaluatedModel) -> bool:
    """Load the weights of a model, or those of its EMA in the same folder; return whether the file exists."""
    file = weights_of(each, weights)
    if file.is_file():
        load_weights(each.model, file)
    return file.is_file()


def weights_of(each: EvaluatedModel, weights: Path) -> Path:
    """Return the file for a model: `weights`, or the file for its EMA in the same folder."""
    return weights.with_name(each.prefix.replace("/", "-") + weights.name)


def find_tested_weights(plan: RunPlan, models: Sequence[EvaluatedModel], weights: Path) -> list[SavedWeights]:
    """Return the weights files that exist, with their epochs as far as they are known."""
    trackers = {weights_of(each, lookup.best_weights_path(plan.config.run)).name: each.best for each in models}
    files = dict.fromkeys(weights_of(each, weights) for each in models)
    return [find_epoch(plan, file, trackers.get(file.name)) for file in files if file.is_file()]


def find_epoch(plan: RunPlan, file: Path, best: BestTracker | None) -> SavedWeights:
    """Return a weights file with its epoch, which its name or the history of its run tells.

    `best`: tracker that selects the best weights, if these are the best; it is updated with the history.
    """
    folder, name = file.parent.parent, file.stem.removeprefix("ema-")
    if file.parent.name != lookup.WEIGHTS:
        return SavedWeights(file)
    rows = history.read_rows(folder)
    if best and rows and selects_as_before(plan, folder):
        for row in rows:
            value = row.get(best.column)  # None in place of NaN
            best.update({best.column: math.nan if value is None else value}, int(row["epoch"]))
        return SavedWeights(file, best.epoch, best.column)
    if name == lookup.LAST and rows:
        return SavedWeights(file, int(rows[-1]["epoch"]))
    number = re.fullmatch(r"epoch-(\d+)", name)
    return SavedWeights(file, int(number[1]) if number else None)


def selects_as_before(plan: RunPlan, folder: Path) -> bool:
    """Return whether the config selects the best weights by the same value as the run did."""
    changed = {change.path[0] for change in diff.find_changes(lookup.read_run_config(folder), plan.config)}
    return not changed & ({"output", "criterion"} if plan.config.run.criterion else {"output", "criterion", "metrics"})


def warn_about_seen_samples(folder: Path, tested: Sequence[str] | Sequence[int], unit: str) -> None:
    """Warn about test samples that the run used for training or validation: they make the test results too good."""
    file = folder / SPLIT
    with reading(file):
        splits = read_json(file)
        seen = {sample for split in ("train", "valid") for sample in splits.get(split, [])}.intersection(tested)
    if seen:
        LOGGER.warning(
            "%d test %ss are in the train or validation split of this run, so the results are too good; use the run's split",
            len(seen),
            unit,
        )
