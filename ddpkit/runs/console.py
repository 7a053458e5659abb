"""What a person sees of a run: a moving line on a terminal, one calm line an epoch everywhere."""

import contextlib
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ddpkit.config.component_refs import class_names
from ddpkit.config.loading import Config
from ddpkit.data.labels import counted
from ddpkit.data.loader import Batches
from ddpkit.runs.log import CONSOLE, LOGGER
from ddpkit.training.callbacks import Row
from ddpkit.training.trainer import Engine

FEW_CLASSES = 10
"""So many are counted on the first screen."""
REFRESH_SECONDS = 0.5
"""How often the moving line reads the loss: that waits for the device."""


@contextlib.contextmanager
def watching(engine: Engine) -> Iterator["Terminal"]:
    """A watcher whose moving line lasts as long as the context; on rank 0's terminal alone."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeRemainingColumn(),
        console=CONSOLE,
        transient=True,
        auto_refresh=False,  # no thread of its own, which forking loader workers would not like
        disable=not (CONSOLE.is_terminal and engine.world.is_main),
    )
    with bar:
        yield Terminal(bar, engine.epochs, ["loss", *engine.metrics])


class Terminal:
    """A watcher that shows a run."""

    def __init__(self, bar: Progress, epochs: int, shown: Container[str]) -> None:
        """`shown`: which of a part's values are worth a place on an epoch's line, as in `loss`, `accuracy`."""
        self._bar = bar
        self._epochs = epochs
        self._shown = shown
        self._task: TaskID = bar.add_task("", total=None, loss="-", visible=False)
        self._read_at = 0.0

    def train_step_ended(self, epoch: int, step: int, steps: int, loss: Callable[[], float]) -> None:
        """Move the line, at most every so often."""
        now = time.monotonic()
        if self._bar.disable or now - self._read_at < REFRESH_SECONDS:
            return
        self._read_at = now
        self._bar.update(self._task, completed=step, total=steps, visible=True, loss=f"{loss():.4f}")
        self._bar.update(self._task, description=f"epoch {epoch}/{self._epochs}", refresh=True)

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


def announce(config: Config, plugins: Sequence[Mapping[str, str]], engine: Engine, folder: Path) -> None:
    """The first screen: where, with what, on what. What other ranks say is not heard.

    Args:
        config: As it is run.
        plugins: `name` and `version` of those that it uses.
        engine: Built.
        folder: Of the run.
    """
    run, world = config.run, engine.world
    parts = {"train": engine.train, "valid": engine.valid, "test": engine.test}
    sizes = ", ".join(f"{part} {len(batches.sampler.indices)}" for part, batches in parts.items() if batches)
    n_parameters = sum(parameter.numel() for parameter in engine.model.parameters())
    share = f"{run.train.batch_size // world.size} of {run.train.batch_size} samples a micro-step"
    trained = sum(parameter.numel() for parameter in engine.model.parameters() if parameter.requires_grad)
    frozen = f", {trained} of them trained" * (trained < n_parameters)
    LOGGER.info("config  %s", config.file.name)
    LOGGER.info("run     %s", folder)
    used = dict.fromkeys(f"{each['name'].partition('.')[0]} {each['version']}" for each in plugins)  # families are of one plugin
    LOGGER.info("plugins %s", ", ".join(used))
    LOGGER.info("model   %s, %d parameters%s, %s", run.model.name, n_parameters, frozen, run.train.scaler.compute_type)
    LOGGER.info("data    %s: %s", run.dataset.name, sizes)
    if counts := class_counts({part: batches for part, batches in parts.items() if batches}, class_names(run)):
        LOGGER.info("classes %s", counts)
    LOGGER.info("ranks   %d on %s, %d threads each; %s; seed %d", world.size, world.device.type, world.threads, share, run.seed)
    if engine.valid is None:
        LOGGER.warning("no valid part: the training loss chooses the best weights")
    if engine.test is None:
        LOGGER.warning("no test part: the weights are not tested")


def class_counts(parts: Mapping[str, Batches], names: Sequence[str]) -> str:
    """`train cat 40, dog 38 · valid cat 5, dog 5`; empty where the dataset does not tell, or classes are many."""
    shown = []
    for part, batches in parts.items():
        dataset = batches.samples.dataset
        counts = counted(dataset, batches.sampler.indices, names or getattr(dataset, "classes", []))
        if counts is None or len(counts) > FEW_CLASSES:
            return ""
        shown.append(f"{part} {', '.join(f'{name} {count}' for name, count in counts.items())}")
    return " · ".join(shown)


def line(values: Mapping[str, float]) -> str:
    """`train loss 0.1234  valid accuracy 0.9800`."""
    return "  ".join(f"{key.replace('/', ' ')} {value:.4f}" for key, value in values.items())
