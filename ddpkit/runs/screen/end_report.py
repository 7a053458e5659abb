"""Result of a run, logged at its end: the best epoch, the test, the run folder and the next commands."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.cells import cell_len

from ddpkit.config import schema
from ddpkit.config.component_refs import history_columns
from ddpkit.runs.log import LOGGER
from ddpkit.runs.metric_tables import PER_CLASS, per_class_table
from ddpkit.runs.saved_weights import SavedWeights
from ddpkit.runs.screen.text_table import TextTable, format_value
from ddpkit.terminal import escape
from ddpkit.training.early_stopping import BestTracker
from ddpkit.training.evaluator import Evaluator
from ddpkit.training.metric_result import EvaluationResult
from ddpkit.training.trainer import Trainer

MANY_CLASSES = 20
"""Largest number of classes whose test metrics are logged."""
CLASS, ALL, VALUE_WIDTH = "class", "overall", 8


def log_training(trainer: Trainer) -> None:
    """Log the reason of an early stop, and the best epoch of each model with the reason why it is the best."""
    n_epochs, stopping = trainer.progress.epoch, trainer.evaluator.early_stopping
    if trainer.progress.is_over:
        is_early = stopping and n_epochs - stopping.best.epoch >= stopping.patience
        reason = describe_stop(stopping.best) if stopping and is_early else "a run hook asked for it by run.stop()"
        LOGGER.info("stopped early after epoch %d of %d: %s", n_epochs, trainer.options.epochs, reason)
    for each in trainer.evaluator.models:
        LOGGER.info("best    epoch %d of %d: %s", each.best.epoch, n_epochs, describe_best(each.best))


def describe_best(best: BestTracker) -> str:
    """Return `valid accuracy 0.9800, the highest`."""
    if math.isnan(best.value):
        return f"the last one, because {words(best.column)} never had a value"
    return f"{words(best.column)} {format_value(best.value)}, the {'lowest' if best.lower else 'highest'}"


def describe_stop(best: BestTracker) -> str:
    """Return why early stopping ended the run."""
    gain = f"improved by more than {best.min_delta:g}" if best.min_delta else "improved"
    return f"{words(best.column)} has not {gain} since epoch {best.epoch} ({format_value(best.value)})"


def log_test(
    evaluator: Evaluator, result: EvaluationResult, classes: Sequence[str], tested: Sequence[SavedWeights], folder: Path
) -> None:
    """Log which weights were tested, and a table of the results: over all classes, and per class if there are not too many."""
    for each in tested:
        epoch = "an unknown epoch" if each.epoch is None else f"epoch {each.epoch}"
        why = f", the best {words(each.monitor)}" if each.monitor else ""
        LOGGER.info("test    weights of %s%s: %s", epoch, why, each.path_in(folder))
    shown = {each.prefix + key for each in evaluator.models for key in ("loss", *evaluator.shown_metrics)}
    values = {words(key): format_value(value) for key, value in result.values.items() if key in shown}
    columns = {words(key): metric.per_class for key, metric in result.metrics.items() if metric.per_class}
    rows = per_class_table(columns, classes)[1:]
    listed = rows if len(rows) <= MANY_CLASSES else []
    width = max(cell_len(escape(name)) for name in (ALL, *(name for name, *_ in listed)))
    table = TextTable({CLASS: width, **dict.fromkeys(values, VALUE_WIDTH)}, importance=[CLASS, *values])
    table.log_row({CLASS: ALL, **values})
    for name, *numbers in listed:
        cells = ["-" if number == "" else format_value(number) for number in numbers]
        table.log_row({CLASS: name, **dict(zip(columns, cells, strict=True))})
    if rows and not listed:
        LOGGER.info("the results of the %d classes are in %s", len(rows), folder / PER_CLASS)


def log_next_steps(run: schema.Run, folder: Path, *, has_test: bool) -> None:
    """Log the run folder, and commands that use its weights."""
    LOGGER.info("run     %s", folder)
    if not (run.output.save_best or run.output.save_last):
        return
    quoted, weights = shlex.quote(str(folder)), "" if run.output.save_best else " --weights last"
    has_heads = any(each.on for each in history_columns(run))  # a model that returns a mapping can be neither used nor exported
    has_images = run.postprocess or run.train.step == schema.Step()  # otherwise the model may need other inputs than images
    commands = [] if has_heads or not has_images else [f"ddpkit predict {quoted} images/ --save-images{weights}"]
    commands += [f"ddpkit test {quoted}{weights}"] if has_test else []
    if run.criterion and not has_heads:  # nor can a model that computes its losses itself, such as a detector
        commands.append(f"ddpkit export {quoted} --format torchscript{weights}")
    for command in commands:
        LOGGER.info("next    %s", command)


def words(column: str) -> str:
    """Return the name of a history column as text: `valid/accuracy` -> `valid accuracy`."""
    return column.replace("/", " ")
