"""Interfaces of the objects that the trainer calls."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn

    from ddpkit.plugins.protocols import TestResult

Row = Mapping[str, float]
"""One epoch of history as a flat mapping: `epoch`, `train/loss`, `valid/accuracy`, ..."""


class CheckpointCallback:
    """Callback at the points where a run can be saved and later resumed. This base class does nothing.

    Every rank has one, and all ranks call it at the same steps. It may raise an exception to end the run.
    """

    def on_step_begin(self) -> None:
        """Act before the weights change, when the gradients of the step are already computed."""

    def on_step_end(self, trainer: Any) -> None:
        """Act after an optimizer step."""

    def on_eval_batch_end(self, trainer: Any) -> None:
        """Act after an evaluated micro-batch.

        The training steps of the epoch are finished.
        """

    def on_epoch_end(self, trainer: Any) -> None:
        """Act after an epoch was trained, evaluated and recorded in history."""


class WeightsWriter(Protocol):
    """Writes the weights files of a run; called on global rank 0 only."""

    def save_epoch(self, model: "nn.Module", epoch: int, *, is_best: bool, prefix: str = "") -> None:
        """Write the weights files that are due after `epoch` (1-based).

        Args:
            model: The model whose weights are written.
            epoch: Number of finished epochs.
            is_best: Whether these are the best weights so far.
            prefix: Prefix of the file names, such as `ema/`.
        """

    def load_best(self, model: "nn.Module", prefix: str = "") -> None:
        """Load the best weights so far into the model; `prefix` as in `save_epoch`."""


class Callback:
    """Observer of a run. It must not call collectives. Each rank has its own list of callbacks. This base class does nothing."""

    def on_train_step_end(self, epoch: int, step: int, steps: int, loss: Callable[[], float]) -> None:
        """Act after optimizer step `step` of `steps` in epoch `epoch` (both 1-based).

        `loss()` returns this rank's mean loss over the step; NaN if the rank had no sample of its own. It waits for the device.
        """

    def on_eval_batch_end(self, split: str, batch: int, batches: int) -> None:
        """Act after micro-batch `batch` of `batches` (both 1-based) of an evaluation.

        `split`: `valid` or `test`; `ema` or `ema/test` for the EMA. In the first evaluation of a stream, whose size is not known,
        `batches` is `batch`.
        """

    def extend_row(self, row: Row) -> Row:  # noqa: ARG002 - for subclasses
        """Return further columns for the row of an epoch; called before any `on_epoch_end`."""
        return {}

    def on_epoch_end(self, row: Row) -> None:
        """Act after an epoch was trained and evaluated; `row` is its row of history."""

    def on_test_end(self, result: "TestResult") -> None:
        """Act after the test at the end of the run. Called on global rank 0 only."""
