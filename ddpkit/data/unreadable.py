"""Unreadable samples of a run with `dataset.on_error = "skip"`, counted over all ranks and splits."""

import json
import logging
from collections.abc import Mapping

import attrs

from ddpkit.distributed.world import World
from ddpkit.errors import SampleError

LOGGER = logging.getLogger(__name__)


class UnreadableSampleError(SampleError):
    """Error in place of any error that a dataset raises for a sample."""


@attrs.define
class UnreadableSamples:
    """Unreadable samples that the run has met; all ranks know the same ones after `sync`."""

    n_samples: int = 0
    """Number of samples in the dataset; 0: an unreadable sample is an error, so there is nothing to count."""
    max_share: float = 0.0
    """Largest allowed share of `n_samples` that is unreadable."""
    errors: dict[int, str] = attrs.field(factory=dict)
    """Index of each sample, and its name with the error."""
    pending: dict[int, str] = attrs.field(factory=dict)
    """Samples of this rank that the other ranks do not know yet."""

    @property
    def are_skipped(self) -> bool:
        return self.n_samples > 0

    def add(self, found: Mapping[int, str]) -> None:
        """Add samples of this rank."""
        self.pending.update({index: error for index, error in found.items() if index not in self.errors})

    def check(self, world: World) -> None:
        """Call `sync`; raise SampleError, on all ranks, if more samples than allowed are unreadable."""
        self.sync(world)
        if self.are_skipped and len(self.errors) / self.n_samples > self.max_share:
            raise SampleError(self.describe_excess())

    def sync(self, world: World) -> None:
        """Exchange the samples of all ranks, and log the new ones. Every rank must call it at the same step."""
        if not self.are_skipped:
            return
        found = {int(index): error for text in world.gather_str(self.take_pending()) for index, error in json.loads(text).items()}
        for index in sorted(found.keys() - self.errors.keys()):
            self.errors[index] = found[index]
            LOGGER.warning("skipped %s", found[index])

    def take_pending(self) -> str:
        """Return the pending samples as JSON, and forget them."""
        text = json.dumps(self.pending)
        self.pending = {}
        return text

    def describe_excess(self) -> str:
        share = (
            f"{len(self.errors)} of {self.n_samples} samples are unreadable, more than 'dataset.max_skipped = {self.max_share:g}'"
        )
        remedy = "repair or remove them ('ddpkit check FILE --data' finds all of them), or increase 'max_skipped'"
        return f"{share}; {remedy}"
