"""Logger for Weights & Biases."""

import io
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ddpkit import TestResult
from ddpkit_plugins.loggers.result_images import ResultImage, create_result_images
from ddpkit_plugins.loggers.scalars import finite_numbers, result_numbers
from ddpkit_plugins.loggers.services import import_service

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
        wandb = import_service("wandb")
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

    def on_test_end(self, result: TestResult) -> None:
        """Write the test to the summary of the W&B run, which is replaced by another test; W&B would reject its step."""
        images = {image.name: to_wandb(image) for image in create_result_images(result)}
        self._run.summary.update({**result_numbers(result), **images})

    def close(self) -> None:
        """Finish the W&B run."""
        self._run.finish()


def to_wandb(image: ResultImage) -> Any:
    """Return an image of W&B."""
    import wandb  # noqa: PLC0415

    return wandb.Image(Image.open(io.BytesIO(image.png)), caption=image.caption)


def stored_run_id(folder: Path) -> str:
    """Return the W&B run id that is stored in `folder`; if there is none, create one and store it."""
    file = folder / "id"
    if not file.exists():
        folder.mkdir(exist_ok=True)
        file.write_text(secrets.token_hex(8), encoding="utf-8")
    return file.read_text(encoding="utf-8")
