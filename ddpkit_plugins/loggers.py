"""Loggers: the rows of history, an epoch each, for programs that draw them."""

import math
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_loggers() -> Iterator[Component]:
    """The loggers. What wandb lacks is a warning, so it requires nothing."""
    here = "ddpkit_plugins.loggers"
    yield Component("tensorboard", f"{here}:TensorBoard", doc="event files for TensorBoard", requires=("tensorboard>=2.15",))
    yield Component("wandb", f"{here}:WeightsAndBiases", doc="a run at Weights & Biases, or offline; never fatal")


class TensorBoard:
    """Scalars by epoch in the run's folder `tensorboard`.

    Each process of a run has a file of its own, which hides what an earlier one wrote of its first epoch and later ones: of
    a run that goes on from a checkpoint, each epoch is shown once.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils import tensorboard  # noqa: PLC0415 - heavy, and wanted by runs alone

        self._make = tensorboard.SummaryWriter
        self._folder = folder / "tensorboard"
        self._writer: Any = None

    def epoch_ended(self, row: Mapping[str, float]) -> None:
        """A row of history."""
        epoch = int(row["epoch"])
        self._writer = self._writer or self._make(self._folder, purge_step=epoch)
        for key, value in numbers(row).items():
            self._writer.add_scalar(key, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """The run is over."""
        if self._writer:
            self._writer.close()


SETTINGS = {"console": "off", "quiet": True, "init_timeout": 30, "finish_timeout": 60}
"""Of wandb, where the environment has no others (`WANDB_QUIET`): the terminal is ddpkit's, and seconds end what would wait."""


class WeightsAndBiases:
    """A run at W&B: project `task` of `entity`, named by the run's id; its own files are in the run's folder `wandb`.

    A run that goes on goes on there too: W&B has its epochs as steps, and takes no step twice. `WANDB_MODE` and W&B's other
    variables do as they always do.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        try:
            import wandb  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{error}; pip install 'ddpkit[wandb]'") from error
        settings = {name: value for name, value in SETTINGS.items() if f"WANDB_{name.upper()}" not in os.environ}
        try:
            self._run = wandb.init(
                project=config["task"],
                entity=config["entity"] or None,
                name=config["run_id"],
                id=kept_id(folder / "wandb"),
                resume="allow",
                dir=folder,
                config=dict(config),
                settings=wandb.Settings(**settings),
            )
        except ValueError as error:  # it would be taken for a mistake in the config
            raise RuntimeError(str(error)) from error

    def epoch_ended(self, row: Mapping[str, float]) -> None:
        """A row of history."""
        self._run.log(numbers(row), step=int(row["epoch"]))

    def close(self) -> None:
        """The run is over."""
        self._run.finish()


def numbers(row: Mapping[str, float]) -> dict[str, float]:
    """What can be drawn over the epochs."""
    return {key: value for key, value in row.items() if key != "epoch" and math.isfinite(value)}


def kept_id(folder: Path) -> str:
    """W&B's id of the run whose files are in `folder`, which keeps it."""
    file = folder / "id"
    if not file.exists():
        folder.mkdir(exist_ok=True)
        file.write_text(secrets.token_hex(8), encoding="utf-8")
    return file.read_text(encoding="utf-8")
