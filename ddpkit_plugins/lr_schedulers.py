"""Learning rate schedules; the core does the warm-up."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler


@hookimpl
def ddpkit_lr_schedulers() -> Iterator[Component]:
    """The schedules."""
    yield Component("cosine", "ddpkit_plugins.lr_schedulers:cosine", doc="half a cosine from the rate to min_lr")


def cosine(optimizer: Any, total_steps: int, min_lr: float = 0.0) -> "LRScheduler":
    """Half a cosine over the run (Loshchilov and Hutter 2017, "SGDR", without restarts).

    Args:
        optimizer: Given by the run.
        total_steps: Updates from the end of the warm-up to the end of the run; given by the run.
        min_lr: The rate at the end.
    """
    from torch.optim.lr_scheduler import CosineAnnealingLR  # noqa: PLC0415 - heavy, and wanted by runs alone

    return CosineAnnealingLR(optimizer, T_max=total_steps, eta_min=min_lr)
