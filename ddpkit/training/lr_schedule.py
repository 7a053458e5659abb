"""Learning-rate schedule: a linear warm-up, then the scheduler of the config."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ddpkit.errors import ComponentName, add_component_note


class LRSchedule:
    """Increases the learning rates linearly from `warmup_lr` to their own values in `warmup` updates, then steps the scheduler.

    An update is an optimizer step if `by_step` is true, else an epoch. The trainer reports steps and epochs; those that are not
    updates are ignored.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        scheduler: Any,
        counting_step: Callable[[int], Any] | None = None,
        *,
        warmup: int = 0,
        warmup_lr: float = 0.0,
        by_step: bool = True,
        name: ComponentName | None = None,
    ) -> None:
        """Set the first learning rates.

        Args:
            optimizer: Optimizer whose learning rates are set.
            scheduler: Scheduler with the methods of torch's; None: constant learning rates after the warm-up.
            counting_step: Method of the scheduler that is called in place of `step()`, with the number of updates after the
                warm-up (1-based).
            warmup: Number of updates of the warm-up.
            warmup_lr: Learning rate at the start of the warm-up.
            by_step: Whether an update is an optimizer step.
            name: Name of the scheduler, for messages.
        """
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._warmup = warmup
        self._warmup_lr = warmup_lr
        self._by_step = by_step
        self._name = name
        self._counting_step = counting_step
        self._updates = 0
        self._rates = [group["lr"] for group in optimizer.param_groups]  # the scheduler has already set its first rates
        self._warm_up()

    def end_step(self) -> None:
        """Make an update after an optimizer step, if updates are steps."""
        if self._by_step:
            self._update()

    def end_epoch(self, loss: float) -> None:
        """Make an update after an epoch, if updates are epochs.

        `loss`: validation loss, or training loss if there is none, for a scheduler that uses it; NaN: epoch without validation.
        """
        if not self._by_step:
            self._update(loss)

    def rate(self) -> float:
        """Return the learning rate of the first parameter group in the next optimizer step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates and the scheduler's state. The optimizer's state contains the learning rates."""
        return {"updates": self._updates, "scheduler": self._scheduler.state_dict() if self._scheduler else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state. The optimizer's state must be restored as well."""
        self._updates = state["updates"]
        if self._scheduler:
            self._scheduler.load_state_dict(state["scheduler"])

    def replay(self, updates: int, losses: Sequence[float]) -> None:
        """Repeat `updates` updates on a newly built optimizer, as if the run had used this schedule from the start.

        `losses`: one per finished epoch, for a scheduler that uses them.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step\\(\\)` before")
            for number in range(updates):
                self._update(losses[number] if number < len(losses) else math.nan)

    def _update(self, loss: float = math.nan) -> None:
        self._updates += 1
        try:
            if self._updates <= self._warmup:
                self._warm_up()
            elif self._counting_step:
                self._counting_step(self._updates - self._warmup)
            elif isinstance(self._scheduler, ReduceLROnPlateau):
                if not math.isnan(loss):  # NaN: the epoch was not evaluated
                    self._scheduler.step(loss)
            elif self._scheduler is not None:
                with warnings.catch_warnings():  # the scaler may have skipped the first step, which is an update all the same
                    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step\\(\\)` before")
                    self._scheduler.step()
        except Exception as error:
            add_component_note(error, self._name)
            raise

    def _warm_up(self) -> None:
        if not self._warmup:
            return
        done = self._updates / self._warmup
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = self._warmup_lr + (rate - self._warmup_lr) * done
