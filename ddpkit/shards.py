"""Virtual shards: a world that is smaller takes the parts of the ranks that it lacks in turn, to the same bits."""

from collections.abc import Iterable

import attrs
from torch import Tensor, nn


@attrs.define
class GradientMean:
    """The mean over shards, as two ranks reach it in an all-reduce: each divides, then they add."""

    n_shards: int
    sums: dict[nn.Parameter, Tensor] = attrs.field(factory=dict)

    def take(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add the gradients of a shard, and leave room for the next one's."""
        for parameter in parameters:
            if parameter.grad is not None:
                part = parameter.grad / self.n_shards
                self.sums[parameter] = self.sums[parameter] + part if parameter in self.sums else part
                parameter.grad = None

    def give(self) -> None:
        """Make the mean the gradient."""
        for parameter, mean in self.sums.items():
            parameter.grad = mean
