"""Losses and values that a step returns itself, in place of the terms of `[[criterion]]`."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor

from ddpkit.errors import suggest
from ddpkit.training.losses import Losses, is_scalar
from ddpkit.training.step_output import StepOutput

LOSS = "loss"
"""Name of the only loss of a step, and of the sum of several."""


@attrs.frozen
class StepLosses:
    """Losses and values of a step; the methods are those that the training loop needs of `Losses`.

    The names are those of the first output of the step. Another output may lack some of them. Therefore the terms of a
    micro-batch are a number for each name, then a flag for each name: 1 if the step returned the number, else 0. With the sums
    of both, a mean is over the samples for which the step returned a number.
    """

    names: Sequence[str]
    """Names of the losses: `loss`, or those of optimizers; () if the step returns no loss in evaluation."""
    values: Sequence[str]
    """Names of the other numbers."""
    device: torch.device
    uses_ddp: bool = True
    """Whether DDP averages the gradients over the ranks in the backward; otherwise, they are averaged after it."""
    is_weighted: ClassVar[bool] = False

    @classmethod
    def found_in(
        cls, found: StepOutput, optimizers: Sequence[str], metrics: Collection[str], device: torch.device
    ) -> "StepLosses":
        """Return the losses of a run whose step returned this output first.

        Raises ValueError if the output has a wrong type or a wrong name.
        """
        names = find_names(found.losses, optimizers)
        check_columns(names, metrics)
        check_values(found.values, {LOSS, *names, *metrics})
        return cls(names, [*found.values], device)

    @property
    def optimizers(self) -> Sequence[str]:
        """Names of the optimizers that have a loss of their own; () if all minimise the same loss."""
        return () if LOSS in self.names else self.names

    @property
    def keys(self) -> list[str]:
        """Names of all numbers in the history."""
        return [*self.names, *self.values]

    @property
    def n_sums(self) -> int:
        """Two for each number: the sum of its values, then the number of its samples."""
        return 2 * len(self.keys)

    @property
    def columns(self) -> list[str]:
        """Columns of a split in history: `loss` if the step returns one, and all names."""
        return list(dict.fromkeys([*([LOSS] if self.names else []), *self.keys]))

    @property
    def tested(self) -> list[str]:
        """Columns that a test reports: all of them."""
        return self.columns

    def terms_of(self, found: StepOutput) -> list[Tensor]:
        """Return the numbers of a micro-batch, then their flags.

        Raises ValueError if the step returned a name that its first output did not have, or something that is not a number.
        """
        given = {**as_mapping(found.losses), **found.values}
        if unknown := given.keys() - {*self.keys}:
            raise ValueError(f"the step returned {sorted(unknown)[0]!r}, which its first output did not contain; {REMEDY}")
        numbers = [self.number(key, given.get(key, 0.0)) for key in self.keys]
        return [*numbers, *(torch.tensor(float(key in given), device=self.device) for key in self.keys)]

    def number(self, name: str, value: Any) -> Tensor:
        """Return a loss or a value of a micro-batch as a scalar. Raises ValueError if it is not one number."""
        if not is_number(value):
            raise ValueError(f"the step returned {name!r}, which must be a number, or a tensor []; got {describe(value)}")
        return torch.as_tensor(value if isinstance(value, Tensor) else float(value), device=self.device)

    def loss(self, terms: Iterable[Any]) -> Any:
        """Return the sum of the losses."""
        return sum([*terms][: len(self.names)])

    def scaled_loss(self, terms: Sequence[Tensor], factor: Any) -> Tensor:
        """Return the only loss times `factor`."""
        scaled: Tensor = terms[0] * factor
        return scaled

    def scaled_losses(self, terms: Sequence[Tensor], factor: Any) -> dict[str, Tensor]:
        """Return the loss of each optimizer times `factor`, by the name of the optimizer, without those that the step lacks."""
        return {name: term * factor for name, term in zip(self.names, terms, strict=False) if term.requires_grad}

    def weight(self, targets: Any, n_samples: int, device: torch.device) -> int:  # noqa: ARG002 - as in Losses
        """Return `n_samples`: each number is a mean over the samples of a micro-batch."""
        return n_samples

    def are_finite(self, sums: Tensor) -> bool:
        """Return whether the sums of the losses are finite; a value may be NaN."""
        return bool(sums[: len(self.names)].isfinite().all())

    def means(self, sums: Tensor, n_samples: int | Tensor) -> Tensor:  # noqa: ARG002 - the sums contain the numbers of samples
        """Return the mean of each number; NaN if the step did not return it. `sums`: see `LossSums`."""
        numbers, counts = sums.chunk(2)
        return numbers / counts

    def name_means(self, sums: Tensor, n_samples: int | Tensor) -> dict[str, float]:
        """Return the means by their names, and `loss`: the sum of those losses that the step returned."""
        means = dict(zip(self.keys, self.means(sums, n_samples).tolist(), strict=True))
        counted = [means[name] for name, n in zip(self.names, sums.chunk(2)[1].tolist(), strict=False) if n]
        total = {LOSS: sum(counted) if counted else math.nan} if self.names else {}
        return total | means


RunLosses = Losses | StepLosses
"""Losses of a run as the training loop and the evaluation need them."""
REMEDY = "return it in the first micro-batch too"


def as_mapping(losses: Any) -> Mapping[str, Tensor]:
    """Return the losses of a step by their names; {} for None."""
    return losses if isinstance(losses, Mapping) else {} if losses is None else {LOSS: losses}


def find_names(losses: Any, optimizers: Sequence[str]) -> list[str]:
    """Return the names of the losses of a step: all `optimizers` if it returns a mapping, `loss` for one loss, [] for None.

    Raises ValueError if a loss has a wrong type, or the name of no optimizer.
    """
    if not all(is_scalar(each) for each in as_mapping(losses).values()):
        raise ValueError(f"the step must return {LOSSES}; got {describe(losses)}")
    if not isinstance(losses, Mapping):
        return [*as_mapping(losses)]
    if not any(optimizers):
        raise ValueError("the step returned a loss for each optimizer; name the optimizers, with the tables [[train.optimizer]]")
    for name in losses.keys() - {*optimizers}:
        raise ValueError(
            f"the step returned a loss for {name!r}, but no optimizer is called so, {suggest(str(name), optimizers)}"
        )
    return [*optimizers]


def check_columns(optimizers: Sequence[str], metrics: Collection[str]) -> None:
    """Raise ValueError if the history has another column with the name of an optimizer that has a loss of its own."""
    taken = [name for name in optimizers if name in metrics or (name == LOSS and len(optimizers) > 1)]
    for name in taken:
        raise ValueError(
            f"the step returned a loss for the optimizer {name!r}, but the history already has a column with this name; rename"
            " the optimizer"
        )


def check_values(values: Mapping[str, Any], taken: Collection[str]) -> None:
    """Raise ValueError if a value of a step is not a number, or if the history has another column with its name."""
    if not isinstance(values, Mapping) or not all(isinstance(name, str) and name and name.isprintable() for name in values):
        raise ValueError(f"the step must return its values as {{'name': number}}, with printable names; got {describe(values)}")
    for name, value in values.items():
        if name in taken:
            raise ValueError(
                f"the step returned a value {name!r}, but the history already has a column with this name; rename it"
            )
        if not is_number(value):
            raise ValueError(f"the value {name!r} of the step must be a number, or a tensor []; got {describe(value)}")


def is_number(value: object) -> bool:
    return is_scalar(value) or isinstance(value, Real)


def describe(value: Any) -> str:
    """Return the type of a value, also of each value of a mapping; of a tensor, its shape."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {describe(each)}' for name, each in value.items())}}}"
    return f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


LOSSES = """\
one loss (a tensor []), {'name of the optimizer': loss}, what context.criteria(outputs, targets) returned, or \
ddpkit.StepOutput(losses, outputs, values)"""
"""What a step may return."""
NO_LOSS = "the step returned no loss that depends on a trained parameter; return one in each micro-batch of the training"
NOT_CALLED = """\
the step called context.model in its first micro-batch, but not in this one; call it in each micro-batch, or never: then the \
gradients are averaged over the ranks after the backward"""
