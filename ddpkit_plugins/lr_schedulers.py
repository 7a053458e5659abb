"""Learning-rate schedules. The core adds the warm-up.

An update is an epoch or an optimizer step, as `update_policy` selects. Updates are counted from the end of the warm-up. In the
formulas, `t` is the number of updates done, `T` (`total_steps`) is the number of updates from there to the end of the run, and
`lr` is the learning rate of the config. The run passes `total_steps` and `optimizer`.
"""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler


@hookimpl
def ddpkit_lr_schedulers() -> Iterator[Component]:
    """Yield the built-in learning-rate schedules."""
    here = "ddpkit_plugins.lr_schedulers"
    yield Component("cosine", f"{here}:cosine", doc="decay along half a cosine to min_lr")
    yield Component("linear", f"{here}:linear", doc="linear decay to min_lr")
    yield Component("step", f"{here}:step", doc="multiply by gamma every step_size updates")
    yield Component("multistep", f"{here}:multistep", doc="multiply by gamma at each milestone")
    yield Component("exponential", f"{here}:exponential", doc="multiply by gamma at each update")
    yield Component("constant", f"{here}:constant", doc="constant learning rate")
    yield Component("plateau", f"{here}:plateau", doc="multiply by factor when the validation loss stops falling")
    yield Component("one_cycle", f"{here}:one_cycle", doc="rise to the learning rate, then decay to nearly 0, in one run")


def cosine(optimizer: Any, total_steps: int, min_lr: float = 0.0) -> "LRScheduler":
    """Decay the learning rate along half a cosine: `min_lr + (lr - min_lr) (1 + cos(pi t / T)) / 2`.

    `t` is the number of updates done, `T` is `total_steps`. Source: Loshchilov and Hutter 2017, "SGDR", without restarts.

    Args:
        optimizer: Optimizer; passed by the run.
        total_steps: Number of updates from the end of the warm-up to the end of the run; passed by the run.
        min_lr: Learning rate at the end of the run.
    """
    from torch.optim.lr_scheduler import CosineAnnealingLR  # noqa: PLC0415 - slow import that only runs need

    return CosineAnnealingLR(optimizer, T_max=total_steps, eta_min=min_lr)


def linear(optimizer: Any, total_steps: int, min_lr: float = 0.0) -> "LRScheduler":
    """Change the learning rate linearly to `min_lr`: `lr + (min_lr - lr) t / T`.

    `t` is the number of updates done, `T` is `total_steps`.

    Args:
        optimizer: Optimizer; passed by the run.
        total_steps: Number of updates from the end of the warm-up to the end of the run; passed by the run.
        min_lr: Learning rate at the end of the run.
    """
    from torch.optim.lr_scheduler import LambdaLR  # noqa: PLC0415

    rates = [group["lr"] for group in optimizer.param_groups]
    return LambdaLR(optimizer, [partial(linear_factor, total_steps, min_lr / rate if rate else 1.0) for rate in rates])


def linear_factor(total_steps: int, end: float, t: int) -> float:
    """Return the factor of the learning rate after `t` updates, from 1 to `end`."""
    return 1 + (end - 1) * min(t / total_steps, 1)


def step(optimizer: Any, total_steps: int, step_size: int | None = None, gamma: float = 0.1) -> "LRScheduler":
    """Multiply the learning rate by `gamma` every `step_size` updates: `lr gamma^floor(t / step_size)`.

    `t` is the number of updates done. Raises ValueError for values out of range.

    Args:
        optimizer: Optimizer; passed by the run.
        total_steps: Number of updates from the end of the warm-up to the end of the run; passed by the run.
        step_size: Number of updates, at least 1. Absent: a third of the run.
        gamma: Factor, greater than 0.
    """
    from torch.optim.lr_scheduler import StepLR  # noqa: PLC0415

    if (step_size is not None and step_size < 1) or gamma <= 0:
        raise ValueError(f"step_size must be at least 1 and gamma must be greater than 0; got {step_size} and {gamma}")
    return StepLR(optimizer, step_size or max(total_steps // 3, 1), gamma)


def multistep(optimizer: Any, milestones: list[int], gamma: float = 0.1) -> "LRScheduler":
    """Multiply the learning rate by `gamma` at each milestone: `lr gamma^n` after `n` milestones.

    Raises ValueError for values out of range.

    Args:
        optimizer: Optimizer; passed by the run.
        milestones: Numbers of updates, each at least 1 and larger than the one before.
        gamma: Factor, greater than 0.
    """
    from torch.optim.lr_scheduler import MultiStepLR  # noqa: PLC0415

    if not milestones or sorted(set(milestones)) != milestones or milestones[0] < 1 or gamma <= 0:
        raise ValueError(
            f"milestones must be at least 1 and increasing, and gamma must be greater than 0; got {milestones} and {gamma}"
        )
    return MultiStepLR(optimizer, milestones, gamma)


def exponential(optimizer: Any, gamma: float = 0.95) -> "LRScheduler":
    """Multiply the learning rate by `gamma` at each update: `lr gamma^t` after `t` updates.

    Raises ValueError for values out of range.

    Args:
        optimizer: Optimizer; passed by the run.
        gamma: Factor, greater than 0.
    """
    from torch.optim.lr_scheduler import ExponentialLR  # noqa: PLC0415

    if gamma <= 0:
        raise ValueError(f"gamma must be greater than 0; got {gamma}")
    return ExponentialLR(optimizer, gamma)


def constant(optimizer: Any) -> "LRScheduler":
    """Keep the learning rate constant. Use this schedule for a warm-up without a decay.

    Args:
        optimizer: Optimizer; passed by the run.
    """
    from torch.optim.lr_scheduler import LambdaLR  # noqa: PLC0415

    return LambdaLR(optimizer, constant_factor)


def constant_factor(_t: int) -> float:
    return 1.0


def plateau(
    optimizer: Any, factor: float = 0.1, patience: int = 10, threshold: float = 1e-4, min_lr: float = 0.0
) -> "LRScheduler":
    """Multiply the learning rate by `factor` when the validation loss stops falling.

    This happens after more than `patience` epochs without an improvement. An improvement is a loss that is lower than the best
    loss by more than the fraction `threshold` of it. The schedule requires `update_policy = "epoch"`. Without a validation split,
    the training loss is used. Raises ValueError for values out of range.

    Args:
        optimizer: Optimizer; passed by the run.
        factor: Factor, greater than 0 and less than 1.
        patience: Number of epochs, at least 0.
        threshold: Required improvement, as a fraction of the best loss.
        min_lr: Lower limit of the learning rate.
    """
    from torch.optim.lr_scheduler import ReduceLROnPlateau  # noqa: PLC0415

    if not 0 < factor < 1 or patience < 0:
        raise ValueError(
            f"factor must be greater than 0 and less than 1, and patience must be at least 0; got {factor} and {patience}"
        )
    return ReduceLROnPlateau(optimizer, factor=factor, patience=patience, threshold=threshold, min_lr=min_lr)


def one_cycle(
    optimizer: Any, total_steps: int, rise: float = 0.3, div_factor: float = 25.0, final_div_factor: float = 1e4
) -> "LRScheduler":
    """Raise the learning rate along a cosine from `lr / div_factor` to `lr`, then lower it along a cosine.

    The final learning rate is the initial one divided by `final_div_factor`. The schedule contains its own rise, so it needs no
    warm-up. Source: Smith and Topin 2018. Raises ValueError for values out of range.

    Args:
        optimizer: Optimizer; passed by the run.
        total_steps: Number of updates from the end of the warm-up to the end of the run; passed by the run.
        rise: Fraction of the run in which the learning rate rises, greater than 0 and less than 1.
        div_factor: Ratio of the highest to the initial learning rate, greater than 0.
        final_div_factor: Ratio of the initial to the final learning rate, greater than 0.
    """
    from torch.optim.lr_scheduler import OneCycleLR  # noqa: PLC0415

    if not 0 < rise < 1 or min(div_factor, final_div_factor) <= 0:
        given = f"{rise}, {div_factor} and {final_div_factor}"
        limits = "rise must be greater than 0 and less than 1, and div_factor and final_div_factor must be greater than 0"
        raise ValueError(f"{limits}; got {given}")
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
