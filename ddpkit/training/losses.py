"""The loss of a run: a weighted sum of criteria, or of the losses that a model makes itself; each is seen by itself."""

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from torch import Tensor

from ddpkit.errors import refusals

Criterion = Callable[[Any, Any], Tensor]
Number = TypeVar("Number", float, Tensor)


@attrs.frozen
class Term:
    """One `[[criterion]]`, or one of a model's own losses."""

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

    @property
    def columns(self) -> list[str]:
        """Of a part in history: `loss` and the terms; nothing where there are none."""
        return ["loss", *self.keys] if self.terms else []

    @property
    def in_evaluation(self) -> "Criteria":
        """Those that an evaluation has."""
        return self

    def inputs(self, images: Any, targets: Any) -> tuple[Any, ...]:  # noqa: ARG002 - own losses want them
        """What the network is called with in training."""
        return (images,)

    def found_in(self, outputs: Any) -> "Criteria":  # noqa: ARG002 - own losses are found there
        """These, after the first outputs of training were seen."""
        return self

    def __call__(self, outputs: Any, targets: Any) -> list[Tensor]:
        """The terms, unweighted: T scalars."""
        return [term.criterion(outputs, targets) for term in self.terms]

    def rehearse(self, outputs: Any, targets: Any) -> list[Tensor]:
        """The same, with the name of a term in the ValueError for what it refuses."""
        found = []
        for term in self.terms:
            with refusals(f"criterion {term.key!r}"):
                found.append(term.criterion(outputs, targets))
        return found

    def loss(self, values: Iterable[Number]) -> Number:
        """What to minimise, from the unweighted terms. A weight of 1 costs nothing."""
        pairs = zip(self.terms, values, strict=True)
        return functools.reduce(operator.add, [value if term.weight == 1 else value * term.weight for term, value in pairs])

    def named(self, values: Sequence[float]) -> dict[str, float]:
        """`loss` and each term under its key, from the unweighted terms."""
        return {"loss": self.loss(values), **dict(zip(self.keys, values, strict=True))}


@attrs.frozen
class OwnLosses(Criteria):
    """Those of a model that makes them itself, as torchvision's detectors do: in training it takes targets too.

    It gives a mapping of scalars, means over the micro-batch, then, and predictions without a loss in evaluation. What it
    calls its losses is known when it was tried.
    """

    terms: Sequence[Term] = ()

    @property
    def in_evaluation(self) -> Criteria:
        """None."""
        return Criteria([])

    def inputs(self, images: Any, targets: Any) -> tuple[Any, ...]:
        """Both."""
        return images, targets

    def found_in(self, outputs: Any) -> "OwnLosses":
        """Raises TypeError for what are no losses."""
        if not isinstance(outputs, Mapping) or not outputs or not all(is_scalar(each) for each in outputs.values()):
            raise TypeError(f"the model gave no losses in training, but {type(outputs).__name__}")
        if "loss" in outputs and len(outputs) > 1:
            raise TypeError("the model gave no losses by names of their own: 'loss' is their sum")
        return OwnLosses([Term(key, 1.0, functools.partial(named, key)) for key in outputs])

    def __call__(self, outputs: Any, targets: Any) -> list[Tensor]:
        """Raises ValueError for other losses than were there when the model was tried."""
        if outputs.keys() != {*self.keys}:
            raise ValueError(f"the model gave the losses {sorted(outputs)}, and {sorted(self.keys)} when it was tried")
        return super().__call__(outputs, targets)


def named(key: str, losses: Mapping[str, Tensor], _targets: object) -> Tensor:
    """One of a model's own losses."""
    return losses[key]


def is_scalar(value: object) -> bool:
    """What a term of a loss is."""
    return isinstance(value, Tensor) and value.ndim == 0
