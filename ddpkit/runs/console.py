"""Console output of a run: a progress bar on a terminal, and one log line per epoch everywhere."""

import contextlib
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ddpkit.config.classes import class_names
from ddpkit.config.loading import Config
from ddpkit.data.labels import count_classes
from ddpkit.data.loader import SplitLoader
from ddpkit.runs.log import CONSOLE, LOGGER
from ddpkit.training.callbacks import Row
from ddpkit.training.trainer import Trainer

FEW_CLASSES = 10
"""Largest number of classes whose sample counts are logged at the start."""
REFRESH_SECONDS = 0.5
"""Shortest time between two updates of the progress bar: each one reads the loss, which makes the host wait for the device."""


@contextlib.contextmanager
def console_progress(trainer: Trainer) -> Iterator["ConsoleCallback"]:
    """Yield a callback whose progress bar is shown inside the context. Only rank 0 shows it, and only on a terminal."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeRemainingColumn(),
        console=CONSOLE,
        transient=True,
        auto_refresh=False,  # no refresh thread: loader workers are forked, which is not safe while other threads run
        disable=not (CONSOLE.is_terminal and trainer.world.is_main),
    )
    with bar:
        yield ConsoleCallback(bar, trainer.options.epochs, ["loss", *trainer.evaluator.metrics])


class ConsoleCallback:
    """Callback that shows the progress of a run."""

    def __init__(self, bar: Progress, epochs: int, shown: Container[str]) -> None:
        """Add a task to the progress bar.

        `shown`: names of a split's values that the line of an epoch contains, e.g. `loss`, `accuracy`.
        """
        self._bar = bar
        self._epochs = epochs
        self._shown = shown
        self._task: TaskID = bar.add_task("", total=None, loss="-", visible=False)
        self._read_at = 0.0

    def on_train_step_end(self, epoch: int, step: int, steps: int, loss: Callable[[], float]) -> None:
        """Update the progress bar, at most once in REFRESH_SECONDS."""
        now = time.monotonic()
        if self._bar.disable or now - self._read_at < REFRESH_SECONDS:
            return
        self._read_at = now
        self._bar.update(self._task, completed=step, total=steps, visible=True, loss=f"{loss():.4f}")
        self._bar.update(self._task, description=f"epoch {epoch}/{self._epochs}", refresh=True)

    def on_epoch_end(self, row: Row) -> None:
        """Log one line: losses, metrics, learning rate and duration."""
        self._bar.update(self._task, visible=False)
        values = {key: value for key, value in row.items() if key.partition("/")[2] in self._shown}
        LOGGER.info(
            "epoch %d/%d  %s  learning rate %.3g  %.1f s",
            row["epoch"],
            self._epochs,
            format_values(values),
            row["learning_rate"],
            row["seconds"],
        )


def print_start(config: Config, plugins: Sequence[Mapping[str, str]], trainer: Trainer, folder: Path) -> None:
    """Log the start of a run: config, run folder, plugins, model, data and ranks. Messages of other ranks are not shown.

    Args:
        config: Resolved config of the run.
        plugins: `name` and `version` of the plugins that the run uses.
        trainer: Trainer that was built for the run.
        folder: Path of the run folder.
    """
    run, world = config.run, trainer.world
    loaders = trainer.split_loaders
    n_of = {split: len(loader.sampler.indices) for split, loader in loaders.items()}
    indices = {index for loader in loaders.values() for index in loader.sampler.indices}
    n_unused = len(trainer.loader.samples.info) - len(indices)
    sizes = ", ".join([f"{split} {n}" for split, n in n_of.items()] + [f"not used {n_unused}"] * bool(n_unused))
    n_parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    batch = f"micro-batches of {run.train.batch_size} samples, {run.train.batch_size // world.size} per rank"
    trained = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    frozen = f", {trained} of them trainable" * (trained < n_parameters)
    LOGGER.info("config  %s", config.file.name)
    LOGGER.info("run     %s", folder)
    # the parts of one plugin (`builtin.models`, `builtin.metrics`) are listed once
    used = dict.fromkeys(f"{each['name'].partition('.')[0]} {each['version']}" for each in plugins)
    LOGGER.info("plugins %s", ", ".join(used))
    LOGGER.info("model   %s, %d parameters%s, %s", run.model.name, n_parameters, frozen, run.train.scaler.compute_type)
    LOGGER.info("data    %s: %s", run.dataset.name, sizes)
    if counts := format_class_counts(loaders, class_names(run)):
        LOGGER.info("classes %s", counts)
    LOGGER.info("ranks   %d on %s, %d threads each; %s; seed %d", world.size, world.device.type, world.threads, batch, run.seed)
    if "valid" not in loaders:
        LOGGER.warning("no validation split: the best weights are selected by the training loss")
    if "test" not in loaders:
        LOGGER.warning("no test split: the best weights are not tested")


def format_class_counts(loaders: Mapping[str, SplitLoader], names: Sequence[str]) -> str:
    """Return `train cat 40, dog 38 · valid cat 5, dog 5`; "" if the dataset has no labels or more than FEW_CLASSES classes."""
    shown = []
    for split, loader in loaders.items():
        samples = loader.samples
        counts = count_classes(samples.dataset, loader.sampler.indices, names)
        if counts is None or len(counts) > FEW_CLASSES:
            return ""
        shown.append(f"{split} {', '.join(f'{name} {count}' for name, count in counts.items())}")
    return " · ".join(shown)


def format_values(values: Mapping[str, float]) -> str:
    """Return text such as `train loss 0.1234  valid accuracy 0.9800`."""
    return "  ".join(f"{key.replace('/', ' ')} {value:.4f}" for key, value in values.items())
