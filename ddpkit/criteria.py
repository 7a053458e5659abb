"""The loss of a run: a weighted sum of criteria, each of which is seen by itself."""

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import attrs
from torch import Tensor

Criterion = Callable[[Tensor, Tensor], Tensor]
Number = TypeVar("Number", float, Tensor)


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

    def __call__(self, outputs: Tensor, targets: Tensor) -> list[Tensor]:
        """The terms, unweighted: T scalars."""
        return [term.criterion(outputs, targets) for term in self.terms]

    def loss(self, values: Iterable[Number]) -> Number:
        """What to minimise, from the unweighted terms. A weight of 1 costs nothing."""
        pairs = zip(self.terms, values, strict=True)
        return functools.reduce(operator.add, [value if term.weight == 1 else value * term.weight for term, value in pairs])

    def named(self, values: Sequence[float]) -> dict[str, float]:
        """`loss` and each term under its key, from the unweighted terms."""
        return {"loss": self.loss(values), **dict(zip(self.keys, values, strict=True))}
