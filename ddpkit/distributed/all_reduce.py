"""Differentiable sum and gather over ranks, without padding samples."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, cast

import torch
import torch.distributed
from torch import Tensor
from torch.autograd import Function

_N_VALID: ContextVar[int | None] = ContextVar("n_valid", default=None)
"""Number of this rank's samples, from the first, that count. None = all; 0 = only a padding sample."""
_OBSERVER: ContextVar[Callable[[], None] | None] = ContextVar("observer", default=None)
"""Function that is called before each `all_reduce_sum`; None: no function."""


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


@contextlib.contextmanager
def observe_all_reduce(observer: Callable[[], None]) -> Iterator[None]:
    """Call `observer` before each `all_reduce_sum` inside the context."""
    token = _OBSERVER.set(observer)
    try:
        yield
    finally:
        _OBSERVER.reset(token)


def all_reduce_sum(values: Tensor) -> Tensor:
    """Return the sum of a tensor over the ranks; gradients flow back to every rank. On one rank, return the tensor itself.

    A criterion that needs sums over the whole micro-batch, such as a batch-wise Dice loss, computes them with this function. It
    then has the same value on all ranks, and N ranks train like one rank. With gradient accumulation, each micro-batch has its
    own sums.

    Every rank must call it, equally often and with the same shape and dtype. A criterion is called on every rank, also on one
    that only has a padding sample; the values of such a rank count as 0. `ddp.virtual_shards` above the number of ranks is not
    supported, because a rank then computes its shards one after the other.
    """
    if observer := _OBSERVER.get():
        observer()
    if _N_VALID.get() == 0:
        values = values.masked_fill(torch.ones_like(values, dtype=torch.bool), 0)  # still part of the graph: backward sums too
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    return cast("Tensor", AllReduceSum.apply(values))


def all_gather(values: Tensor) -> Tensor:
    """Return the rows of all ranks, in rank order: [n, ...] on each rank -> [N, ...]; gradients flow back to every rank.

    A criterion that compares all samples of a micro-batch with each other, such as a contrastive loss, gathers outputs and
    targets and computes its value from all of them. It then has the same value on all ranks, and N ranks train like one rank.

    The numbers of rows may differ between ranks; the rows of a rank that only has a padding sample are left out. Every rank must
    call it, equally often and with the same shape of a row and the same dtype; see `all_reduce_sum`.
    """
    own = values if (n_valid := _N_VALID.get()) is None else values[:n_valid]
    counts = gather_count(len(own), values.device)
    rank = torch.distributed.get_rank() if len(counts) > 1 else 0
    before, after = (values.new_zeros(sum(some), *values.shape[1:]) for some in (counts[:rank], counts[rank + 1 :]))
    return all_reduce_sum(torch.cat([before, own, after]))  # the rows of the other ranks are added to zeros


def gather_count(count: int, device: torch.device) -> list[int]:
    """Return the numbers of all ranks. Every rank must call it."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [count]
    counts = torch.zeros(torch.distributed.get_world_size(), dtype=torch.int64, device=device)
    counts[torch.distributed.get_rank()] = count
    torch.distributed.all_reduce(counts)
    return counts.tolist()


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
