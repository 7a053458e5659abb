"""Loggers: they receive the history of a run, one row per epoch, and pass it to other programs."""

import math
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_loggers() -> Iterator[Component]:
    """Yield the built-in loggers.

    `wandb` declares no requirement: without it, the run logs a warning and continues.
    """
    here = "ddpkit_plugins.loggers"
    yield Component("tensorboard", f"{here}:TensorBoard", doc="event files for TensorBoard", requires=("tensorboard>=2.15",))
    yield Component("wandb", f"{here}:WeightsAndBiases", doc="runs at Weights & Biases, online or offline; never fatal")


class TensorBoard:
    """Logger that writes the scalars of each epoch to the folder `tensorboard` of the run.

    Every process of a run writes its own event file. TensorBoard ignores the values of earlier files from the first epoch of the
    new file, so a resumed run shows each epoch once.

    Args:
        folder: The run folder; passed by the run.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils import tensorboard  # noqa: PLC0415 - slow import that only runs need

        self._make = tensorboard.SummaryWriter
        self._folder = folder / "tensorboard"
        self._writer: Any = None

    def on_epoch_end(self, row: Mapping[str, float]) -> None:
        """Write one row of the history. Values that are NaN or infinite are skipped."""
        epoch = int(row["epoch"])
        self._writer = self._writer or self._make(self._folder, purge_step=epoch)
        for key, value in finite_numbers(row).items():
            self._writer.add_scalar(key, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file at the end of the run."""
        if self._writer:
            self._writer.close()


SETTINGS = {"console": "off", "quiet": True, "init_timeout": 30, "finish_timeout": 60}
"""Settings of wandb, each used only if the environment does not set it (`WANDB_QUIET`).

ddpkit owns the terminal. The timeouts, in seconds, limit how long wandb can block a run.
"""


class WeightsAndBiases:
    """Logger that writes a run at W&B: project `task` of `entity`, named by the run id.

    The local files of W&B are in the folder `wandb` of the run. A resumed run continues its W&B run: epochs are W&B's steps, and
    W&B accepts no step twice. `WANDB_MODE` and the other variables of W&B work as usual.

    Args:
        folder: The run folder; passed by the run.
        config: The resolved config; passed by the run.

    Raises:
        ModuleNotFoundError: wandb is not installed.
        RuntimeError: wandb rejects the run.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        try:
            import wandb  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{error}; install it with: pip install 'ddpkit[wandb]'") from error
        settings = {name: value for name, value in SETTINGS.items() if f"WANDB_{name.upper()}" not in os.environ}
        try:
            self._run = wandb.init(
                project=config["task"],
                entity=config["entity"] or None,
                name=config["run_id"],
                id=stored_run_id(folder / "wandb"),
                resume="allow",
                dir=folder,
                config=dict(config),
                settings=wandb.Settings(**settings),
            )
        except ValueError as error:  # a ValueError would be reported as a mistake in the config
            raise RuntimeError(str(error)) from error

    def on_epoch_end(self, row: Mapping[str, float]) -> None:
        """Log one row of the history; the step is the epoch. Values that are NaN or infinite are skipped."""
        self._run.log(finite_numbers(row), step=int(row["epoch"]))

    def close(self) -> None:
        """Finish the W&B run."""
        self._run.finish()


def finite_numbers(row: Mapping[str, float]) -> dict[str, float]:
    """Return the finite values of a row, without the epoch."""
    return {key: value for key, value in row.items() if key != "epoch" and math.isfinite(value)}


def stored_run_id(folder: Path) -> str:
    """Return the W&B run id that is stored in `folder`; if there is none, create one and store it."""
    file = folder / "id"
    if not file.exists():
        folder.mkdir(exist_ok=True)
        file.write_text(secrets.token_hex(8), encoding="utf-8")
    return file.read_text(encoding="utf-8")
