"""Parameters that are frozen in the first epochs of a run, and the BatchNorm layers that keep their statistics."""

from collections.abc import Sequence

import attrs
from torch import nn


@attrs.frozen
class FrozenGroup:
    """Parameters that are frozen at first, and then trained."""

    until: int
    """Last epoch (1-based) in which they are frozen."""
    parameters: Sequence[nn.Parameter]
    patterns: Sequence[str]
    """Name patterns in `model.freeze` that match the parameters, for messages."""

    @property
    def n_elements(self) -> int:
        """Number of elements of all parameters."""
        return sum(parameter.numel() for parameter in self.parameters)

    def __str__(self) -> str:
        return f"{self.n_elements} parameters ({', '.join(self.patterns)})"


@attrs.define
class FreezeSchedule:
    """Frozen parameters as a function of the epoch. Parameters that are never trained are not part of it."""

    model: nn.Module
    groups: Sequence[FrozenGroup] = ()
    """Groups in the order of their last frozen epochs; each parameter is in at most one group."""
    phase: int = 0
    """First epoch of the phase that `apply` has set; 0: none yet. The frozen parameters do not change within a phase."""
    frozen_norms: Sequence[nn.Module] = ()
    """BatchNorm layers that stay in evaluation mode in this phase, because all of their parameters are frozen."""

    @property
    def phases(self) -> list[int]:
        """First epoch of each phase."""
        return [1, *(group.until + 1 for group in self.groups)]

    def apply(self, epoch: int) -> bool:
        """Freeze the parameters that are frozen in an epoch (1-based), and unfreeze the others of the schedule.

        Returns whether another phase begins.
        """
        for group in self.groups:
            for parameter in group.parameters:
                parameter.requires_grad = epoch > group.until
        before, self.phase = self.phase, max(first for first in self.phases if first <= epoch)
        if self.phase != before:
            self.frozen_norms = find_frozen_norms(self.model)
        return self.phase != before


def find_frozen_norms(model: nn.Module) -> list[nn.Module]:
    """Return the BatchNorm layers whose parameters are all frozen: their statistics must stay unchanged too."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001 - base class
    return [layer for layer in norms if [*layer.parameters()] and not any(each.requires_grad for each in layer.parameters())]
