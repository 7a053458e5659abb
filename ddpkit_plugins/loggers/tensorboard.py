"""Logger for TensorBoard."""

import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ddpkit import TestResult
from ddpkit_plugins.loggers.hyperparameters import flatten_config
from ddpkit_plugins.loggers.result_images import ResultImage, create_result_images
from ddpkit_plugins.loggers.scalars import finite_numbers, result_numbers

CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
"""Number of channels of an image by the mode of Pillow, as TensorBoard records it."""
LONGEST_WAIT = 5.0
"""Seconds that a resumed run waits at most if the clock of this machine is behind the names of the event files."""


class TensorBoard:
    """Logger that writes the history, the hyperparameters and the test to the folder `tensorboard` of the run.

    Every process of a run writes its own event file. TensorBoard ignores the values of earlier files from the first epoch of the
    new file, so a resumed run shows each epoch once.

    Args:
        folder: The run folder; passed by the run.
        config: The resolved config; passed by the run.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        from torch.utils import tensorboard  # noqa: PLC0415 - slow import that only runs need

        self._make = tensorboard.SummaryWriter
        self._run_folder, self._folder = folder, folder / "tensorboard"
        self._config = config
        self._writer: Any = None

    def on_epoch_end(self, row: Mapping[str, float]) -> None:
        """Write one row of the history. Values that are NaN or infinite are skipped."""
        epoch = int(row["epoch"])
        if self._writer is None:
            wait_for_new_name(self._folder)
            self._writer = self._make(self._folder, purge_step=epoch)
            self._write_hyperparameters(epoch)
        self._write_numbers(finite_numbers(row), epoch)

    def on_test_end(self, result: TestResult) -> None:
        """Write metrics, confusion matrices and samples of the test; the step is the last epoch.

        If a resumed run only had to test, its event file begins with the last row of the history. So the file replaces the last
        epoch in the earlier files, and with it a test that was interrupted.
        """
        if self._writer is None:
            self.on_epoch_end(last_row(self._run_folder))
        self._write_numbers(result_numbers(result), result.epoch)
        for image in create_result_images(result):
            self._writer.file_writer.add_summary(to_summary(image), result.epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file at the end of the run."""
        if self._writer:
            self._writer.close()

    def _write_numbers(self, values: Mapping[str, float], epoch: int) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, epoch)
        self._writer.flush()

    def _write_hyperparameters(self, epoch: int) -> None:
        """Write only the values of this run: TensorBoard takes the lists of keys and metrics from all runs that it shows."""
        from torch.utils.tensorboard import summary  # noqa: PLC0415

        _, start, _ = summary.hparams(flatten_config(self._config), {})  # type: ignore[no-untyped-call]
        self._writer.file_writer.add_summary(start, epoch)


def to_summary(image: ResultImage) -> Any:
    """Return a TensorBoard summary with the PNG file of an image.

    The caption is a part of the tag, because TensorBoard keeps only the first description of a tag.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415

    with Image.open(io.BytesIO(image.png)) as opened:
        width, height, channels = *opened.size, CHANNELS.get(opened.mode, 3)
    picture = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=image.png)
    return Summary(value=[Summary.Value(tag=f"{image.name} {image.caption}".rstrip(), image=picture)])


def wait_for_new_name(folder: Path) -> None:
    """Wait until the name of a new event file sorts after those in `folder`, because TensorBoard reads them in this order.

    A name contains the second in which the file was created: `events.out.tfevents.1795949555.host.4711.0`.
    """
    seconds = [int(file.name.split(".")[3]) for file in folder.glob("events.out.tfevents.*")]
    time.sleep(min(max(max(seconds, default=0) + 1 - time.time(), 0), LONGEST_WAIT))


def last_row(folder: Path) -> dict[str, float]:
    """Return the last row of the history of a run, without values that are not finite."""
    row = json.loads((folder / "history.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return {key: value for key, value in row.items() if value is not None}
