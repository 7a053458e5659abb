"""What ranks wish, told each other while they work: all hear it at the same step, and none waits for it."""

import time
from collections.abc import Sequence
from typing import Any

import attrs
import torch
import torch.distributed
from torch import Tensor

from ddpkit.distributed.world import World

LOOK_SECONDS = 0.2
"""So often, at most."""


@attrs.define
class Agreement:
    """Ranks tell each other what they wish while they work, and all hear it at the same step."""

    world: World
    began: float = attrs.field(factory=time.monotonic)
    steps: int = 0
    """Since then."""
    wait: int = 0
    """Steps until they tell each other again."""
    told: tuple[Any, Tensor] | None = None

    def heard(self, *wishes: float) -> Sequence[float]:
        """The largest of each wish over all ranks, as they were some steps ago; all 0 between. Every rank must call it."""
        if self.world.size == 1:
            return wishes
        self.steps += 1
        if self.told:
            *largest, seconds = self.result()
            self.wait = int(LOOK_SECONDS / max(seconds, 1e-6))
            return largest
        if self.wait <= 0:
            self.tell(wishes)
        self.wait -= 1
        return [0.0] * len(wishes)

    def now(self, *wishes: float) -> Sequence[float]:
        """The same at once; the ranks wait for each other. Every rank must call it."""
        if self.world.size == 1:
            return wishes
        earlier = self.result()[:-1] if self.told else [0.0] * len(wishes)
        self.steps += 1
        self.tell(wishes)
        return [max(pair) for pair in zip(earlier, self.result()[:-1], strict=True)]

    def tell(self, wishes: Sequence[float]) -> None:
        """Begin to, with the seconds of a step, so that all know when to do it again."""
        now = time.monotonic()
        mine = torch.tensor([*wishes, (now - self.began) / self.steps], dtype=torch.float64, device=self.world.device)
        self.told = (torch.distributed.all_reduce(mine, torch.distributed.ReduceOp.MAX, async_op=True), mine)
        self.began, self.steps = now, 0

    def result(self) -> list[float]:
        """Wait for what was begun."""
        if self.told is None:
            raise RuntimeError("nothing was told")
        work, values = self.told
        work.wait()
        self.told = None
        return [float(value) for value in values.tolist()]
