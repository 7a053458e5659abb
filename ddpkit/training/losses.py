"""Losses of a run: a weighted sum of criteria, or of the losses that a model computes itself. History records each term."""

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import attrs
import torch
from torch import Tensor

from ddpkit.errors import ComponentName, add_component_note, component_errors, named_errors
from ddpkit.training.heads import explain_mappings
from ddpkit.training.step_output import StepOutput

Criterion = Callable[[Any, Any], Tensor]
Number = TypeVar("Number", float, Tensor)


@attrs.frozen
class LossTerm:
    """One `[[criterion]]`, or one of the losses that a model computes itself."""

    key: str
    weight: float
    criterion: Criterion
    """`(outputs, targets) -> scalar`, the mean over the micro-batch, or over the weight of its targets."""
    name: ComponentName | None = None
    """Name for messages; None for a loss that a model computes itself."""
    weigh: Callable[[Any], Tensor] | None = None
    """`(targets) -> scalar`, the weight of the targets of a micro-batch; None: the number of its samples."""


@attrs.frozen
class Losses:
    """Loss terms of a run; their weighted sum is the loss."""

    terms: Sequence[LossTerm]
    is_weighted: ClassVar[bool] = False
    """Whether a term is a mean over a weight instead of a mean over samples."""
    optimizers: ClassVar[Sequence[str]] = ()
    """Names of the optimizers that have a loss of their own; () as all minimise the same loss."""
    values: ClassVar[Sequence[str]] = ()
    """Names of other numbers of a step; none."""
    uses_ddp: bool = attrs.field(default=True, kw_only=True)
    """Whether DDP averages the gradients over the ranks in each backward; otherwise, they are averaged after it."""

    @property
    def n_sums(self) -> int:
        """Number of sums from which `means` computes the means of the terms."""
        return len(self.terms)

    @property
    def keys(self) -> list[str]:
        """Names of the terms in history."""
        return [term.key for term in self.terms]

    @property
    def columns(self) -> list[str]:
        """Columns of a split in history: `loss` and the terms; [] without terms."""
        return ["loss", *self.keys] if self.terms else []

    @property
    def tested(self) -> list[str]:
        """Columns that a test reports."""
        return self.columns[:1]

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

    def terms_of(self, found: StepOutput) -> list[Tensor]:
        """Return the unweighted terms of a micro-batch from what the step returned.

        Raises ValueError if this is not the list that `__call__` returned.
        """
        losses = found.losses
        if not isinstance(losses, list) or len(losses) != len(self.terms):
            raise ValueError(
                f"the step must return what context.criteria(outputs, targets) returned; got {type(losses).__name__}"
            )
        return losses

    def loss(self, values: Iterable[Number]) -> Number:
        """Return the weighted sum of the unweighted terms `values`: the quantity to minimise."""
        total: Number | None = None
        for term, value in zip(self.terms, values, strict=True):
            weighted = value if term.weight == 1 else value * term.weight  # for a weight of 1, no operation on the device
            total = weighted if total is None else total + weighted
        return total  # type: ignore[return-value]  # there is at least one term

    def scaled_loss(self, values: Sequence[Tensor], factor: Any) -> Tensor:
        """Return the loss times `factor`, a number; for factor 1, no operation on the device."""
        return self.loss(values) if factor == 1 else self.loss(values) * factor

    def weight(self, targets: Any, n_samples: int, device: torch.device) -> int | Tensor:  # noqa: ARG002 - for WeightedLosses
        """Return the weight over which the terms of a micro-batch are means: `n_samples`, the number of its samples."""
        return n_samples

    def means(self, sums: Tensor, n_samples: int | Tensor) -> Tensor:
        """Return the mean of each term [T] over `n_samples`; NaN for 0 samples. `sums`: see `LossSums`."""
        return sums / n_samples

    def are_finite(self, sums: Tensor) -> bool:
        """Return whether the sums of the losses are finite, see `LossSums`."""
        return bool(sums.isfinite().all())

    def name_means(self, sums: Tensor, n_samples: int | Tensor) -> dict[str, float]:
        """Return the means as `loss` and each term under its key; {} without terms."""
        values = self.means(sums, n_samples).tolist()
        return {"loss": self.loss(values), **dict(zip(self.keys, values, strict=True))} if values else {}


@attrs.frozen
class WeightedLosses(Losses):
    """Losses with terms that are means over a weight of their targets, such as class weights.

    The weights of an optimizer step are added up over its micro-batches and all ranks before the first backward.
    """

    is_weighted: ClassVar[bool] = True

    @property
    def n_sums(self) -> int:
        """Two for each term: the sum of its values times their weights, then the sum of the weights."""
        return 2 * len(self.terms)

    def sanity_check(self, outputs: Any, targets: Any) -> list[Tensor]:
        """Return the unweighted terms, see `Losses`; also check their weights."""
        values, targets = super().sanity_check(outputs, targets), without_crowds(targets)
        for term in self.terms:
            if term.weigh:
                with component_errors(term.name):
                    check_weight(term.weigh(targets))
        return values

    def scaled_loss(self, values: Sequence[Tensor], factor: Tensor) -> Tensor:
        """Return the loss; `factor` [T] scales each term."""
        return self.loss([value * each.to(value.dtype) for value, each in zip(values, factor.unbind(), strict=True)])

    def weight(self, targets: Any, n_samples: int, device: torch.device) -> Tensor:
        """Return the weight of each term in a micro-batch, float64 [T]: that of its targets, or else `n_samples`.

        All weights are 0 for `n_samples` = 0, a padding sample.
        """
        weights = torch.full((len(self.terms),), n_samples, dtype=torch.float64, device=device)
        targets = without_crowds(targets)
        for place, term in enumerate(self.terms if n_samples else ()):
            if term.weigh:
                with named_errors(term.name):
                    weights[place] = check_scalar(term.weigh(targets))
        return weights

    def means(self, sums: Tensor, n_samples: int | Tensor) -> Tensor:  # noqa: ARG002 - the sums contain the weights
        """Return the mean of each term [T] over its weight; NaN for a weight of 0."""
        values, weights = sums.chunk(2)
        return values / weights


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


def weight_method(criterion: object) -> Callable[[Any], Tensor] | None:
    """Return a criterion's method `weight(targets)`; None for another attribute `weight`, such as a tensor of class weights."""
    weight = getattr(criterion, "weight", None)
    return weight if inspect.isroutine(weight) else None


def check_weight(weight: object) -> None:
    """Raise ValueError if the result of a method `weight(targets)` is not a weight. Waits for the device."""
    if not 0 <= check_scalar(weight).item() < math.inf:
        raise ValueError(f"{WEIGHT}; got {weight!r}")


def check_scalar(weight: object) -> Tensor:
    """Return the result of a method `weight(targets)`. Raises ValueError if it is not a scalar tensor."""
    if not (isinstance(weight, Tensor) and weight.ndim == 0):
        raise ValueError(f"{WEIGHT}; got {weight!r}")
    return weight


WEIGHT = "'weight(targets)' must return one number as a tensor [], at least 0 and finite"
"""Requirement for the result of a criterion's method `weight`."""


def select_loss(key: str, losses: Mapping[str, Tensor], _targets: object) -> Tensor:
    """Return one of a model's own losses; the signature is that of a criterion."""
    return losses[key]


def is_scalar(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 0
