"""Differentiable sum over ranks, without padding samples."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.autograd import Function

_N_VALID: ContextVar[int | None] = ContextVar("n_valid", default=None)
"""Number of this rank's samples, from the first, that count. None = all; 0 = only a padding sample."""


@contextlib.contextmanager
def valid_samples(n_valid: int) -> Iterator[None]:
    """Set how many of this rank's samples count in sums over ranks inside the context, such as the statistics of BatchNorm.

    In training, all ranks must enter the context if one of them has only a padding sample.
    """
    token = _N_VALID.set(n_valid)
    try:
        yield
    finally:
        _N_VALID.reset(token)


def count_valid_samples() -> int | None:
    """Return the number that the context `valid_samples` has set; None outside of it: all samples count."""
    return _N_VALID.get()


class AllReduceSum(Function):
    """Differentiable all-reduce: sums a tensor over the ranks; the backward sums the gradients of all ranks."""

    @staticmethod
    def forward(_ctx: Any, values: Tensor) -> Tensor:
        """Return the sum over all ranks."""
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        """Return the sum of the gradients of all ranks."""
        return AllReduceSum.forward(None, gradient)
