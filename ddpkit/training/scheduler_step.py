"""Choice of the method that updates a learning-rate scheduler."""

from collections.abc import Callable
from typing import Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from ddpkit.plugins.signatures import accepts_inputs


def find_counting_step(scheduler: Any, *, by_step: bool) -> Callable[[int], Any] | None:
    """Return the method that gets the number of updates; None if `step` needs no number, as in torch's schedulers.

    As in timm, `step(epoch)` counts epochs, and `step_update(num_updates)` counts optimizer steps.

    Args:
        scheduler: Object with the method `step`.
        by_step: Whether an update is an optimizer step; otherwise it is an epoch.

    Raises:
        ValueError: The scheduler cannot be updated in this way, or its state is incomplete.
    """
    if isinstance(scheduler, ReduceLROnPlateau) or accepts_inputs(scheduler.step, 0):
        return None
    if isinstance(getattr(scheduler, "lr_scheduler", None), ReduceLROnPlateau):
        message = "its state_dict() lacks the counters of the plateau, so a resumed run would differ; use the schedule 'plateau'"
        raise ValueError(message)  # noqa: TRY004 - the message is about the state, not about a type
    policy, name = ("step", "step_update") if by_step else ("epoch", "step")
    step: Callable[[int], Any] | None = getattr(scheduler, name, None)
    if step is None:
        raise ValueError("its method step(epoch) counts epochs; set update_policy = 'epoch', or add step_update(num_updates)")
    if not accepts_inputs(step, 1):
        raise ValueError(f"its method {name!r} requires other arguments than one number; it must accept {name}(number)")
    if getattr(scheduler, "t_in_epochs", not by_step) is by_step:
        other = "epoch" if by_step else "step"
        raise ValueError(
            f"it was created with t_in_epochs={by_step}, so update_policy = {policy!r} would not change the learning rate; "
            f"set update_policy = {other!r}, or pass t_in_epochs={not by_step}"
        )
    return step
