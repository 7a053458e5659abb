"""When the learning rate moves: a warm-up, then the scheduler that the TOML names."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau


class Schedule:
    """Raises the rates in a line from `warmup_lr` to their own over `warmup` updates, then steps the scheduler.

    An update is an optimizer step or an epoch, as `by_step` says; the engine reports both and the other is passed over.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        scheduler: LRScheduler | None,
        *,
        warmup: int = 0,
        warmup_lr: float = 0.0,
        by_step: bool = True,
    ) -> None:
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._warmup = warmup
        self._warmup_lr = warmup_lr
        self._by_step = by_step
        self._updates = 0
        self._rates = [group["lr"] for group in optimizer.param_groups]  # after the scheduler set its first ones
        self._warm_up()

    def step_ended(self) -> None:
        """An optimizer step is done."""
        if self._by_step:
            self._update()

    def epoch_ended(self, loss: float) -> None:
        """An epoch is done; `loss` is the validation loss, for a scheduler that looks at it."""
        if not self._by_step:
            self._update(loss)

    def rate(self) -> float:
        """The learning rate of the next optimizer step (of the first group)."""
        return float(self._optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """Where it is. The rates themselves are the optimizer's."""
        return {"updates": self._updates, "scheduler": self._scheduler.state_dict() if self._scheduler else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there, with an optimizer that was put back too."""
        self._updates = state["updates"]
        if self._scheduler:
            self._scheduler.load_state_dict(state["scheduler"])

    def replay(self, updates: int, losses: Sequence[float]) -> None:
        """Make as many updates again, on an optimizer that was just built: as if this schedule had been the one all along.

        `losses`: of the epochs so far, for a scheduler that looks at them.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step\\(\\)` before")
            for number in range(updates):
                self._update(losses[number] if number < len(losses) else math.nan)

    def _update(self, loss: float = math.nan) -> None:
        self._updates += 1
        if self._updates <= self._warmup:
            self._warm_up()
        elif isinstance(self._scheduler, ReduceLROnPlateau):
            if not math.isnan(loss):  # an epoch that was not evaluated
                self._scheduler.step(loss)
        elif self._scheduler is not None:
            with warnings.catch_warnings():  # a first step that the scaler skipped counts as one
                warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step\\(\\)` before")
                self._scheduler.step()

    def _warm_up(self) -> None:
        if not self._warmup:
            return
        done = self._updates / self._warmup
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = self._warmup_lr + (rate - self._warmup_lr) * done
