"""Table of the epochs of a run: losses, metrics, learning rate and time."""

from ddpkit.runs.screen.text_table import TextTable, format_duration, format_value
from ddpkit.training.callbacks import Row
from ddpkit.training.progress import rate_columns
from ddpkit.training.step_losses import RunLosses
from ddpkit.training.trainer import Trainer

BEST = "*"
"""Mark after a value that is the best so far."""
EPOCH, TIME, LEFT = "epoch", "time", "time left"
VALUE_WIDTH, TIME_WIDTH = 8, 7


class EpochTable:
    """Logs one row per epoch. The values that select the best weights are marked if they are the best so far."""

    def __init__(self, trainer: Trainer) -> None:
        self._models = trainer.evaluator.models
        self._epochs = trainer.options.epochs
        monitors = [each.best.column for each in self._models]
        self._headers = {key: header(key, is_monitor=key in monitors) for key in value_columns(trainer)}
        self._rates = {key: rate_header(key) for key in rate_columns(trainer.lr_schedule.rate())}
        rates = list(self._rates.values())
        widths = {name: VALUE_WIDTH + (key in monitors) for key, name in self._headers.items()}
        first = [*monitors, "train/loss", "valid/loss", *(f"valid/{key}" for key in trainer.evaluator.metrics)]
        values = [self._headers[key] for key in first if key in self._headers]
        self._table = TextTable(
            {
                EPOCH: len(f"{self._epochs}/{self._epochs}"),
                **widths,
                **dict.fromkeys(rates, VALUE_WIDTH),
                TIME: TIME_WIDTH,
                LEFT: 0,
            },
            importance=list(dict.fromkeys([EPOCH, *values, *rates, TIME, LEFT, *self._headers.values()])),
        )

    def log_epoch(self, row: Row, seconds_left: float) -> None:
        """Log the row of an epoch, given its row of history."""
        is_best = {each.best.column: each.best.epoch == row["epoch"] for each in self._models}
        marks = {key: BEST if best else " " for key, best in is_best.items()}
        cells = {name: format_value(row[key]) + marks.get(key, "") for key, name in self._headers.items()}
        number = f"{row['epoch']:{len(str(self._epochs))}}/{self._epochs}"
        rates = {name: f"{row[key]:.3g}" for key, name in self._rates.items()}
        times = {TIME: format_duration(row["seconds"]), LEFT: format_duration(seconds_left)}
        self._table.log_row({EPOCH: number, **cells, **rates, **times})


def value_columns(trainer: Trainer) -> list[str]:
    """Return the history columns of losses and metrics that the table shows."""
    evaluator = trainer.evaluator
    shown = [*loss_columns(evaluator.losses), *evaluator.shown_metrics]
    splits = {"train": loss_columns(trainer.losses)}
    if evaluator.valid:
        splits |= {each.name: shown for each in evaluator.models}
    columns = [f"{split}/{key}" for split, keys in splits.items() for key in keys]
    return list(dict.fromkeys([*columns, *(each.best.column for each in evaluator.models)]))


def loss_columns(losses: RunLosses) -> list[str]:
    """Return the columns of the losses; a single term is left out, because it is the loss, apart from its weight."""
    return losses.columns if len(losses.keys) > 1 else losses.columns[:1]


def rate_header(column: str) -> str:
    """Return the header of the learning rate; with several optimizers, that of one of them."""
    name = column.partition("/")[2]
    return f"lr {name}" if name else "learning rate"


def header(key: str, *, is_monitor: bool) -> str:
    """Return the header of a history column; the mark of the best value is below the space at its end."""
    return key.replace("/", " ") + " " * is_monitor
