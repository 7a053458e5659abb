"""Learning rate schedules; the core does the warm-up.

An update is an epoch or an optimizer step, as `update_policy` says; what counts updates here counts from the end of the
warm-up. `t` is the number of updates done, `T` that of the whole run (`total_steps`), given by the run as `optimizer` is.
"""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler


@hookimpl
def ddpkit_lr_schedulers() -> Iterator[Component]:
    """The schedules."""
    here = "ddpkit_plugins.lr_schedulers"
    yield Component("cosine", f"{here}:cosine", doc="half a cosine from the rate to min_lr")
    yield Component("linear", f"{here}:linear", doc="a line from the rate to min_lr")
    yield Component("step", f"{here}:step", doc="times gamma every so many updates")
    yield Component("multistep", f"{here}:multistep", doc="times gamma at each milestone")
    yield Component("exponential", f"{here}:exponential", doc="times gamma at each update")
    yield Component("constant", f"{here}:constant", doc="the rate stays")
    yield Component("plateau", f"{here}:plateau", doc="times factor when the validation loss no longer falls")
    yield Component("one_cycle", f"{here}:one_cycle", doc="up to the rate and down to nearly nothing, in one run")


def cosine(optimizer: Any, total_steps: int, min_lr: float = 0.0) -> "LRScheduler":
    """`min_lr + (rate - min_lr) (1 + cos(pi t / T)) / 2` (Loshchilov and Hutter 2017, "SGDR", without restarts)."""
    from torch.optim.lr_scheduler import CosineAnnealingLR  # noqa: PLC0415 - heavy, and wanted by runs alone

    return CosineAnnealingLR(optimizer, T_max=total_steps, eta_min=min_lr)


def linear(optimizer: Any, total_steps: int, min_lr: float = 0.0) -> "LRScheduler":
    """`rate + (min_lr - rate) t / T`."""
    from torch.optim.lr_scheduler import LambdaLR  # noqa: PLC0415

    rates = [group["lr"] for group in optimizer.param_groups]
    return LambdaLR(optimizer, [partial(line, total_steps, min_lr / rate if rate else 1.0) for rate in rates])


def line(total_steps: int, end: float, t: int) -> float:
    """From 1 to `end`."""
    return 1 + (end - 1) * min(t / total_steps, 1)


def step(optimizer: Any, total_steps: int, step_size: int | None = None, gamma: float = 0.1) -> "LRScheduler":
    """`rate gamma^floor(t / step_size)`.

    Args:
        optimizer: Given by the run.
        total_steps: Given by the run.
        step_size: Updates, at least 1; absent = a third of the run.
        gamma: Above 0.
    """
    from torch.optim.lr_scheduler import StepLR  # noqa: PLC0415

    if (step_size is not None and step_size < 1) or gamma <= 0:
        raise ValueError(f"step_size is at least 1 and gamma above 0, got {step_size} and {gamma}")
    return StepLR(optimizer, step_size or max(total_steps // 3, 1), gamma)


def multistep(optimizer: Any, milestones: list[int], gamma: float = 0.1) -> "LRScheduler":
    """`rate gamma^n` after `n` milestones.

    Args:
        optimizer: Given by the run.
        milestones: Updates, each larger than the one before.
        gamma: Above 0.
    """
    from torch.optim.lr_scheduler import MultiStepLR  # noqa: PLC0415

    if not milestones or sorted(set(milestones)) != milestones or milestones[0] < 1 or gamma <= 0:
        raise ValueError(f"milestones rise from 1 or more and gamma is above 0, got {milestones} and {gamma}")
    return MultiStepLR(optimizer, milestones, gamma)


def exponential(optimizer: Any, gamma: float = 0.95) -> "LRScheduler":
    """`rate gamma^t`; gamma above 0."""
    from torch.optim.lr_scheduler import ExponentialLR  # noqa: PLC0415

    if gamma <= 0:
        raise ValueError(f"gamma is above 0, got {gamma}")
    return ExponentialLR(optimizer, gamma)


def constant(optimizer: Any) -> "LRScheduler":
    """The rate as it is; for a warm-up alone."""
    from torch.optim.lr_scheduler import LambdaLR  # noqa: PLC0415

    return LambdaLR(optimizer, stay)


def stay(_t: int) -> float:
    """Always 1."""
    return 1.0


def plateau(
    optimizer: Any, factor: float = 0.1, patience: int = 10, threshold: float = 1e-4, min_lr: float = 0.0
) -> "LRScheduler":
    """Times `factor` after more than `patience` epochs whose validation loss is not below the best by `threshold` of it.

    Needs `update_policy = "epoch"`. Without a valid part it sees the training loss.

    Args:
        optimizer: Given by the run.
        factor: Between 0 and 1.
        patience: Epochs.
        threshold: A share of the best loss.
        min_lr: No rate falls below.
    """
    from torch.optim.lr_scheduler import ReduceLROnPlateau  # noqa: PLC0415

    if not 0 < factor < 1 or patience < 0:
        raise ValueError(f"factor is between 0 and 1 and patience at least 0, got {factor} and {patience}")
    return ReduceLROnPlateau(optimizer, factor=factor, patience=patience, threshold=threshold, min_lr=min_lr)


def one_cycle(
    optimizer: Any, total_steps: int, rise: float = 0.3, div_factor: float = 25.0, final_div_factor: float = 1e4
) -> "LRScheduler":
    """Cosines from `rate / div_factor` up to the rate and down to a `final_div_factor` of the start (Smith and Topin 2018).

    It rises by itself, so it wants no warm-up.

    Args:
        optimizer: Given by the run.
        total_steps: Given by the run.
        rise: Share of the run, between 0 and 1.
        div_factor: Above 0.
        final_div_factor: Above 0.
    """
    from torch.optim.lr_scheduler import OneCycleLR  # noqa: PLC0415

    if not 0 < rise < 1 or min(div_factor, final_div_factor) <= 0:
        raise ValueError(f"rise is between 0 and 1, the factors above 0; got {rise}, {div_factor} and {final_div_factor}")
    rates = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(
        optimizer,
        rates,
        total_steps=total_steps + 1,
        pct_start=rise,
        cycle_momentum=False,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
    )
