"""Progress of a run: a bar on a terminal, lines in a file or pipe, and a table with one row per epoch in both."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, track

from ddpkit.runs.log import CONSOLE, LOGGER
from ddpkit.runs.screen.epoch_table import EpochTable
from ddpkit.runs.screen.text_table import format_duration
from ddpkit.runs.screen.time_left import TimeLeft
from ddpkit.training.callbacks import Callback, Row
from ddpkit.training.trainer import Trainer

T = TypeVar("T")
REFRESH_SECONDS = 0.5
"""Shortest time between two updates of the progress bar: each one reads the loss, which makes the host wait for the device."""
BAR_WIDTH = 20


@contextlib.contextmanager
def console_progress(trainer: Trainer, tasks: Collection[str], every_seconds: float) -> Iterator["ConsoleCallback"]:
    """Yield a callback that shows progress inside the context. Only rank 0 shows it.

    Args:
        trainer: Trainer of the run.
        tasks: Tasks of the command.
        every_seconds: Time between two progress lines off a terminal.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(BAR_WIDTH),
        MofNCompleteColumn(),
        TextColumn("{task.fields[details]}"),
        console=CONSOLE,
        transient=True,
        auto_refresh=False,  # no refresh thread: loader workers are forked, which is not safe while other threads run
        disable=not (CONSOLE.is_terminal and trainer.world.is_main),
    )
    with bar:
        yield ConsoleCallback(trainer, bar, TimeLeft(trainer, tasks), REFRESH_SECONDS if not bar.disable else every_seconds)


def show_progress(items: Iterable[T], name: str, total: int, every_seconds: float, *, is_main: bool = True) -> Iterator[T]:
    """Yield the items, and show how many are done: a bar on a terminal, a line every `every_seconds` elsewhere.

    Loader workers that read the items must be running already: the bar has a thread. Only rank 0 (`is_main`) shows progress.
    """
    if is_main and CONSOLE.is_terminal:
        yield from track(items, name, total, console=CONSOLE, transient=True)
        return
    due_at = time.monotonic() + every_seconds
    for done, item in enumerate(items, start=1):
        yield item
        if is_main and time.monotonic() >= due_at:
            LOGGER.info("%s %d/%d", name, done, total)
            due_at = time.monotonic() + every_seconds


class ConsoleCallback(Callback):
    """Callback that shows the progress of a run."""

    def __init__(self, trainer: Trainer, bar: Progress, time_left: TimeLeft, interval: float) -> None:
        """Add a task to the progress bar. `interval`: shortest time between two updates, in seconds."""
        self._trainer = trainer
        self._bar = bar
        self._time_left = time_left
        self._interval = interval
        self._table = EpochTable(trainer)
        self._task: TaskID = bar.add_task("", total=None, details="", visible=False)
        self._due_at = 0.0
        """Time of the next update; 0 before the first one."""

    def on_train_step_end(self, epoch: int, step: int, steps: int, loss: Callable[[], float]) -> None:
        """Show the step if an update is due."""
        if time.monotonic() >= self._due_at:
            self._time_left.measure_steps()
            self._show(f"{self._name(epoch)}  step", step, steps, f"loss {loss():.4f}  ")

    def on_eval_batch_end(self, split: str, batch: int, batches: int) -> None:
        """Show the micro-batch if an update is due."""
        self._time_left.measure_eval_batch(batch)
        if time.monotonic() >= self._due_at:
            is_test = split.endswith("test")
            self._show(split if is_test else f"{self._name(self._trainer.progress.epoch + 1)}  {split}", batch, batches)

    def on_epoch_end(self, row: Row) -> None:
        """Log the row of the epoch."""
        self._time_left.end_epoch()
        self._bar.update(self._task, visible=False)
        self._table.log_epoch(row, self._time_left.seconds())
        self._due_at = time.monotonic() + self._interval

    def _name(self, epoch: int) -> str:
        return f"epoch {epoch}/{self._trainer.options.epochs}"

    def _show(self, name: str, done: int, total: int, details: str = "") -> None:
        """Update the bar, or log a line off a terminal. The first update off a terminal only starts the clock."""
        details += f"{format_duration(self._time_left.seconds())} left"
        if not self._bar.disable:
            self._bar.update(
                self._task, completed=done, total=total, description=name, details=details, visible=True, refresh=True
            )
        elif self._due_at:
            LOGGER.info("%s %d/%d  %s", name, done, total, details)
        self._due_at = time.monotonic() + self._interval
