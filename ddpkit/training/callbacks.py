"""What the engine calls: the shapes of the objects that it is handed."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn

Row = Mapping[str, float]
"""One epoch of history, flat: `epoch`, `train/loss`, `valid/accuracy`, ..."""


class Recovery:
    """Sees where a run could go on, should it end there. This one does nothing.

    Every rank has one, and each is asked at the same steps. It may raise to leave the run.
    """

    def step_begins(self) -> None:
        """A gradient is there, and the weights are about to change."""

    def step_ended(self, engine: Any) -> None:
        """An optimizer step is done."""

    def batch_evaluated(self, engine: Any) -> None:
        """The epoch is trained, and a micro-batch evaluated of which every rank has a part."""

    def epoch_ended(self, engine: Any) -> None:
        """An epoch is trained, evaluated and recorded."""


class WeightsWriter(Protocol):
    """Keeps the weights that a run asks for; on global rank 0 only."""

    def epoch_ended(self, model: "nn.Module", epoch: int, *, is_best: bool, prefix: str = "") -> None:
        """Write what is wanted of the weights after `epoch` (1-based); `prefix` is that of their files."""

    def load_best(self, model: "nn.Module", prefix: str = "") -> None:
        """Load the best weights so far into the model."""


class Watcher(Protocol):
    """Sees a run go by; must not call collectives. The engine has a list of them, on each rank its own."""

    def train_step_ended(self, epoch: int, step: int, steps: int, loss: Callable[[], float]) -> None:
        """Optimizer step `step` of `steps` (1-based) in this epoch is done.

        `loss()` is this rank's mean over the step, not a number if it had no sample that counts; it waits for the device.
        """

    def epoch_ended(self, row: Row) -> None:
        """An epoch was trained and evaluated."""
