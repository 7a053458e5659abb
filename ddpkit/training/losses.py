"""Losses of a run: a weighted sum of criteria, or of the losses that a model computes itself. History records each term."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import torch
from torch import Tensor

from ddpkit.errors import ComponentName, add_component_note, component_errors
from ddpkit.training.heads import explain_mappings

Criterion = Callable[[Any, Any], Tensor]
Number = TypeVar("Number", float, Tensor)


@attrs.frozen
class LossTerm:
    """One `[[criterion]]`, or one of the losses that a model computes itself."""

    key: str
    weight: float
    criterion: Criterion
    """`(outputs, targets) -> scalar`, the mean over the micro-batch."""
    name: ComponentName | None = None
    """Name for messages; None for a loss that a model computes itself."""


@attrs.frozen
class Losses:
    """Loss terms of a run; their weighted sum is the loss."""

    terms: Sequence[LossTerm]

    @property
    def keys(self) -> list[str]:
        """Names of the terms in history."""
        return [term.key for term in self.terms]

    @property
    def columns(self) -> list[str]:
        """Columns of a split in history: `loss` and the terms; [] without terms."""
        return ["loss", *self.keys] if self.terms else []

    @property
    def in_evaluation(self) -> "Losses":
        """Loss terms that are computed in evaluation."""
        return self

    def inputs(self, images: Any, targets: Any) -> tuple[Any, ...]:  # noqa: ARG002 - ModelComputedLosses needs them
        """Return the inputs of the model in training."""
        return (images,)

    def found_in(self, outputs: Any) -> "Losses":  # noqa: ARG002 - ModelComputedLosses needs them
        """Return the losses of this run, given the outputs of a first forward in training mode."""
        return self

    def __call__(self, outputs: Any, targets: Any) -> list[Tensor]:
        """Return the unweighted terms: T scalars."""
        if isinstance(targets, list):
            targets = without_crowds(targets)
        found = []
        try:
            for term in self.terms:
                found.append(term.criterion(outputs, targets))
        except Exception as error:
            add_component_note(error, term.name)
            raise
        return found

    def sanity_check(self, outputs: Any, targets: Any) -> list[Tensor]:
        """Return the unweighted terms. A ValueError of a criterion is prefixed with the name of its term."""
        found, targets = [], without_crowds(targets)
        for term in self.terms:
            with component_errors(term.name), explain_mappings(outputs, targets):
                found.append(term.criterion(outputs, targets))
        return found

    def loss(self, values: Iterable[Number]) -> Number:
        """Return the weighted sum of the unweighted terms `values`: the quantity to minimise."""
        total = None
        for term, value in zip(self.terms, values, strict=True):
            weighted = value if term.weight == 1 else value * term.weight  # for a weight of 1, no operation on the device
            total = weighted if total is None else total + weighted
        if total is None:
            raise ValueError("a loss needs at least one term")
        return total

    def name_values(self, values: Sequence[float]) -> dict[str, float]:
        """Return `loss` and each term under its key, computed from the unweighted terms."""
        return {"loss": self.loss(values), **dict(zip(self.keys, values, strict=True))}


@attrs.frozen
class ModelComputedLosses(Losses):
    """Losses of a model that computes them itself, as torchvision's detectors do.

    In training the model also accepts the targets, and returns a mapping of scalars, each the mean over the micro-batch. In
    evaluation it returns predictions without a loss. The names of the losses are known after the first forward (`found_in`).
    """

    terms: Sequence[LossTerm] = ()

    @property
    def in_evaluation(self) -> Losses:
        """No loss terms: such a model has no loss in evaluation."""
        return Losses([])

    def inputs(self, images: Any, targets: Any) -> tuple[Any, ...]:
        """Return images and targets."""
        return images, without_crowds(targets)

    def found_in(self, outputs: Any) -> "ModelComputedLosses":
        """Return one loss term for each key of the outputs.

        Raises TypeError if the outputs are not a mapping of scalars, or if they contain `loss`, the name of the total, and other
        losses.
        """
        if not isinstance(outputs, Mapping) or not outputs or not all(is_scalar(each) for each in outputs.values()):
            raise TypeError(f"the model must return a mapping of scalar losses in training; got {type(outputs).__name__}")
        if "loss" in outputs and len(outputs) > 1:
            raise TypeError("the model's loss dict must not contain the key 'loss'; that name is reserved for the total")
        return ModelComputedLosses([LossTerm(key, 1.0, functools.partial(select_loss, key)) for key in outputs])

    def __call__(self, outputs: Any, targets: Any) -> list[Tensor]:
        """Return the unweighted terms: T scalars.

        Raises ValueError if the losses have other names than in the first forward.
        """
        if outputs.keys() != {*self.keys}:
            expected = f"the losses {sorted(self.keys)} in every step, as in its first forward"
            raise ValueError(f"the model must return {expected}; got {sorted(outputs)}")
        return super().__call__(outputs, targets)


def without_crowds(targets: Any) -> Any:
    """Return the targets of a micro-batch without crowds: boxes around several objects, marked by `iscrowd` as in COCO.

    Only a list of mappings can contain crowds; other targets are returned unchanged.
    """
    if not isinstance(targets, list) or not any(isinstance(target, Mapping) and "iscrowd" in target for target in targets):
        return targets
    return [select_objects(target) if "iscrowd" in target else target for target in targets]


def select_objects(target: Mapping[str, Any]) -> dict[str, Any]:
    """Return a target with only the boxes that are not crowds; entries with one row per box are cut in the same way."""
    kept = torch.as_tensor(target["iscrowd"]) == 0
    rows = {key: value for key, value in target.items() if isinstance(value, Tensor) and value.ndim and len(value) == len(kept)}
    return {**target, **{key: value[kept] for key, value in rows.items()}}


def select_loss(key: str, losses: Mapping[str, Tensor], _targets: object) -> Tensor:
    """Return one of a model's own losses; the signature is that of a criterion."""
    return losses[key]


def is_scalar(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 0
