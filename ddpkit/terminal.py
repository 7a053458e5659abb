"""What a person sees of a run: a moving line on a terminal, one calm line an epoch everywhere."""

import time
from collections.abc import Container, Mapping
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ddpkit.log import CONSOLE, LOGGER
from ddpkit.protocols import Row

REFRESH_SECONDS = 0.5
"""How often the moving line reads the loss: that waits for the device."""


class Terminal:
    """A watcher; a context manager that keeps the moving line."""

    def __init__(self, epochs: int, shown: Container[str]) -> None:
        """`shown`: which of a split's values are worth a place on the line, as in `loss`, `accuracy`."""
        self._epochs = epochs
        self._shown = shown
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeRemainingColumn(),
            console=CONSOLE,
            transient=True,
            disable=not CONSOLE.is_terminal,
        )
        self._task: TaskID = self._bar.add_task("", total=None, loss="-", visible=False)
        self._read_at = 0.0

    def __enter__(self) -> "Terminal":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def train_step_ended(self, epoch: int, step: int, steps: int, loss: Any) -> None:
        """Move the line, at most every so often."""
        now = time.monotonic()
        if self._bar.disable or now - self._read_at < REFRESH_SECONDS:
            return
        self._read_at = now
        description = f"epoch {epoch}/{self._epochs}"
        self._bar.update(
            self._task, description=description, completed=step, total=steps, loss=f"{float(loss):.4f}", visible=True
        )

    def epoch_ended(self, row: Row) -> None:
        """One line: the losses and metrics, the rate, the time."""
        self._bar.update(self._task, visible=False)
        values = {key: value for key, value in row.items() if key.partition("/")[2] in self._shown}
        LOGGER.info(
            "epoch %d/%d  %s  learning rate %.3g  %.1f s",
            row["epoch"],
            self._epochs,
            line(values),
            row["learning_rate"],
            row["seconds"],
        )


def line(values: Mapping[str, float]) -> str:
    """`train loss 0.1234  valid accuracy 0.9800`."""
    return "  ".join(f"{key.replace('/', ' ')} {value:.4f}" for key, value in values.items())
