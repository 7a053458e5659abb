"""Read the samples of a stream, in a loader worker or in the rank itself."""

import functools
import itertools
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import attrs

from ddpkit.data import seeding
from ddpkit.data.loader import BUGS, Key, ReadFailure, SeededDataset
from ddpkit.data.stream import Position, ShardOrder, Stream, buffer_seed, shuffle_in_buffer
from ddpkit.errors import add_component_note, describe_failure

Sample = tuple[Any, Any]
END: Any = object()
"""End of a shard; a dataset may yield None by mistake."""


class Request(NamedTuple):
    """Request for a micro-batch: `n` samples of a slot, after the first `n_before` ones that follow a position."""

    epoch: int
    slot: int
    start: Position
    n_before: int
    n: int


class StreamBatch(NamedTuple):
    """Micro-batch of a slot."""

    images: Any
    targets: Any
    n_samples: int
    position: Position
    """Position of the slot after the micro-batch."""


@attrs.define
class OpenSlot:
    """Slot whose shard stays open between two micro-batches."""

    place: tuple[Any, ...] = ()
    """Epoch, slot and start of the requests, and the number of samples read since; any other request opens the slot again."""
    samples: Iterator[tuple[tuple[Key, Any, Any], Position]] = attrs.field(factory=lambda: iter(()))
    key: Key = (0, 0)
    """Key of the sample that is being read, for messages."""


@attrs.frozen
class StreamSamples(SeededDataset):
    """Samples of one split of a stream, and their transforms.

    The key of a sample is (epoch, number in its shard, number of the shard, lap). A key (0, number) denotes a sample of
    `first_shard`, with which the run is tried before the training.
    """

    shards: Sequence[str] = attrs.field(kw_only=True)
    """Names of the shards of the split."""
    order: ShardOrder = attrs.field(kw_only=True)
    buffer: int = attrs.field(kw_only=True)
    """Number of samples in the shuffle buffer; 0: the samples of a shard are not shuffled."""
    open_slot: OpenSlot = attrs.field(factory=OpenSlot, kw_only=True)

    @property
    def stream(self) -> Stream:
        """The dataset."""
        return cast(Stream, self.dataset)

    def __getitems__(self, keys: Sequence[Any]) -> Any:
        """Return the micro-batch of a request; None if the slot has no more samples; or a ReadFailure."""
        (request,) = keys
        try:
            taken = self.take(request)
        except Exception as error:  # noqa: BLE001 - a dataset may raise anything
            message = f"{self.name_current()}: {describe_failure(error)}"
            return ReadFailure(message, traceback.format_exc(), isinstance(error, BUGS))
        if not taken:
            return None
        samples = [sample for _, sample, _ in taken]
        try:
            return StreamBatch(*self.collate(samples), len(samples), taken[-1][2])
        except Exception as error:  # noqa: BLE001
            mismatch = self.describe_mismatch([key for key, _, _ in taken], samples)
            return ReadFailure(f"{mismatch} ({describe_failure(error)})", traceback.format_exc())

    def take(self, request: Request) -> list[tuple[Key, Sample, Position]]:
        """Return the samples of a request after the transforms, each with the position after it."""
        opened, *place = self.open_slot, request.epoch, request.slot, request.start
        if opened.place != (*place, request.n_before):
            opened.samples = itertools.islice(self.read_slot(request), request.n_before, None)
        taken = [
            (key, self.transform(key, image, target), position)
            for (key, image, target), position in itertools.islice(opened.samples, request.n)
        ]
        opened.place = (*place, request.n_before + request.n)
        return taken

    def read_slot(self, request: Request) -> Iterator[tuple[tuple[Key, Any, Any], Position]]:
        """Yield the samples of a slot: in training without end, in evaluation once and in order."""
        epoch, slot, start, *_ = request
        if self.split == "train":
            return self.order.read(lambda lap, shard: self.read_shuffled(epoch, lap, shard), epoch, slot, start)
        shards = self.order.shards(epoch, slot, 0)
        return ((sample, start) for shard in shards for sample in self.read_shard(epoch, 0, shard))

    def read_shuffled(self, epoch: int, lap: int, shard: int) -> Iterator[tuple[Key, Any, Any]]:
        """Yield the samples of a shard in the order of the shuffle buffer."""
        return shuffle_in_buffer(self.read_shard(epoch, lap, shard), self.buffer, buffer_seed(self.seed, epoch, lap, shard))

    def read_shard(self, epoch: int, lap: int, shard: int) -> Iterator[tuple[Key, Any, Any]]:
        """Yield the samples of a shard in order, with their keys."""
        samples: Iterator[Any] | None = None
        for number in itertools.count():
            self.open_slot.key = key = (epoch, number, shard, lap)
            seeding.seed_generators("sample", self.seed, *key)
            try:
                if samples is None:
                    samples = iter(self.stream.read_shard(self.shards[shard]))
                if (sample := next(samples, END)) is END:
                    return
                image, target = sample
            except Exception as error:
                add_component_note(error, self.dataset_name)
                raise
            yield key, image, target

    def transform(self, key: Key, image: Any, target: Any) -> Sample:
        """Return a sample after the transforms, whose random numbers depend on its key."""
        self.open_slot.key = key
        seeding.seed_generators("transform", self.seed, *key)  # the shuffle buffer may have read other samples since
        return self.apply_transforms(image, target)

    @functools.cached_property
    def first_shard(self) -> int:
        """Number of the first shard that has a sample; 0 if none has one."""
        return next((shard for shard in range(len(self.shards)) if any(True for _ in self.read_shard(0, 0, shard))), 0)

    def first(self, n: int) -> list[Sample]:
        """Return the first samples of `first_shard` after the transforms, at most `n`."""
        return [self.transform(*sample) for sample in itertools.islice(self.read_shard(0, 0, self.first_shard), n)]

    def load(self, key: Key, index: int) -> Sample:
        """Return sample `index` of `first_shard` before the transforms, with the random numbers of the key."""
        _, image, target = next(itertools.islice(self.read_shard(0, 0, self.first_shard), index, None))
        seeding.seed_generators("transform", self.seed, *key)
        return image, target

    def name(self, key: Key) -> str:
        """Return a name for messages: `train sample 17 of shard 'data/000003.tar'`."""
        _, number, shard = key[:3] if len(key) > 2 else (*key, self.first_shard)  # noqa: PLR2004 - epoch and number
        return f"{self.split} sample {number} of shard {self.shards[shard]!r}"

    def name_current(self) -> str:
        """Return the name of the sample that is being read."""
        return self.name(self.open_slot.key)
