"""Synchronise stop and save requests across ranks with an asynchronous all-reduce; all ranks act at the same step."""

import time
from collections.abc import Sequence
from typing import Any

import attrs
import torch
import torch.distributed
from torch import Tensor

from ddpkit.distributed.world import World

SYNC_INTERVAL_SECONDS = 0.2
"""Shortest time between two all-reduces."""


@attrs.define
class StopSync:
    """Finds the largest value of each request over all ranks. No rank waits for another while it trains."""

    world: World
    started_at: float = attrs.field(factory=time.monotonic)
    steps: int = 0
    """Number of steps since `started_at`."""
    steps_to_wait: int = 0
    """Steps until the next all-reduce starts."""
    pending: tuple[Any, Tensor] | None = None
    """The all-reduce that was started, and its values."""

    def poll(self, *requests: float) -> Sequence[float]:
        """Return the largest value of each request at the start of the pending all-reduce; zeros if none is pending.

        Every rank must call it at each step.
        """
        if self.world.size == 1:
            return requests
        self.steps += 1
        if self.pending:
            *largest, seconds = self.wait()
            self.steps_to_wait = int(SYNC_INTERVAL_SECONDS / max(seconds, 1e-6))
            return largest
        if self.steps_to_wait <= 0:
            self.start(requests)
        self.steps_to_wait -= 1
        return [0.0] * len(requests)

    def sync_now(self, *requests: float) -> Sequence[float]:
        """Return the largest value of each request now. The ranks wait for each other. Every rank must call it."""
        if self.world.size == 1:
            return requests
        earlier = self.wait()[:-1] if self.pending else [0.0] * len(requests)
        self.steps += 1
        self.start(requests)
        return [max(pair) for pair in zip(earlier, self.wait()[:-1], strict=True)]

    def start(self, requests: Sequence[float]) -> None:
        """Start the all-reduce. It carries the mean step time, from which all ranks derive the same next interval."""
        now = time.monotonic()
        mine = torch.tensor([*requests, (now - self.started_at) / self.steps], dtype=torch.float64, device=self.world.device)
        self.pending = (torch.distributed.all_reduce(mine, torch.distributed.ReduceOp.MAX, async_op=True), mine)
        self.started_at, self.steps = now, 0

    def wait(self) -> list[float]:
        """Return the result of the all-reduce that was started: the requests, then the seconds per step."""
        if self.pending is None:
            raise RuntimeError("wait() requires an all-reduce that start() has started")
        work, values = self.pending
        work.wait()
        self.pending = None
        return [float(value) for value in values.tolist()]
