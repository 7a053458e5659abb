"""The loss of a run: a weighted sum of criteria, each of which is seen by itself."""

from collections.abc import Callable, Sequence

import attrs
import torch
from torch import Tensor

Criterion = Callable[[Tensor, Tensor], Tensor]


@attrs.frozen
class Term:
    """One `[[criterion]]`."""

    key: str
    weight: float
    criterion: Criterion
    """`(outputs, targets) -> scalar`, the mean over the micro-batch."""


@attrs.frozen
class Criteria:
    """All of them."""

    terms: Sequence[Term]

    @property
    def keys(self) -> list[str]:
        """Of the terms, in history."""
        return [term.key for term in self.terms]

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The terms, unweighted: float [T]."""
        return torch.stack([term.criterion(outputs, targets) for term in self.terms])

    def loss(self, values: Tensor) -> Tensor:
        """The scalar to minimise, from the unweighted terms [T]."""
        return torch.stack([term.weight * value for term, value in zip(self.terms, values, strict=True)]).sum()

    def named(self, values: Tensor) -> dict[str, float]:
        """`loss` and each term under its key, from the unweighted terms [T]."""
        singles = dict(zip(self.keys, values.tolist(), strict=True))
        return {"loss": float(self.loss(values)), **singles}
