"""Load the micro-batches of a split of a stream."""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any, ClassVar

import attrs
import torch

from ddpkit.data.loader import Batch, Images, ReadFailure, SplitLoader, stat_files
from ddpkit.data.sampler import BatchSampler, Shard, shard_batch
from ddpkit.data.stream import Position
from ddpkit.data.stream_samples import Request, StreamBatch, StreamSamples
from ddpkit.data.workers import start_loader
from ddpkit.distributed.world import World
from ddpkit.errors import CheckpointError


@attrs.define
class RequestSampler(BatchSampler):
    """Batch sampler that yields the requests for this rank's micro-batches. The workers of the rank take turns."""

    world: World = attrs.field(kw_only=True)
    n_readers: int = attrs.field(kw_only=True)
    """Number of slots of this rank; at least 1."""
    start: int = 0
    """Number of the first micro-batch (from 0)."""
    positions: Sequence[Position] = ()
    """Position of each slot of this rank before that micro-batch."""
    sizes: Iterable[int] = ()
    """Number of samples in each micro-batch of this rank."""

    def __iter__(self) -> Iterator[list[Any]]:
        n_before = [0] * self.n_readers
        for number, n in enumerate(self.sizes, start=self.start):
            worker = number % self.n_readers
            slot = worker * self.world.size + self.world.rank
            yield [Request(self.epoch, slot, self.positions[worker], n_before[worker], n)]
            n_before[worker] += n


@attrs.define
class StreamLoader(SplitLoader):
    """Loader of a split of a stream; the subclasses differ in how an epoch ends."""

    remedy: ClassVar[str] = "repair the sample, or let 'read_shard' of the dataset leave it out"
    unit: ClassVar[str] = "shard"
    samples: StreamSamples = attrs.field(kw_only=True)
    batch_sampler: RequestSampler = attrs.field(kw_only=True)
    shard_names: Sequence[str] = attrs.field(kw_only=True)
    """Short name of each shard, see `name_shards`."""

    @property
    def world(self) -> World:
        return self.batch_sampler.world

    @property
    def n_readers(self) -> int:
        """Number of readers of each rank."""
        return self.batch_sampler.n_readers

    def names(self) -> list[str]:
        """Return the short name of each shard."""
        return list(self.shard_names)

    def file_states(self) -> list[list[int]]:
        """Return size and modification time (ns) of each shard."""
        return [stat_files([shard]) for shard in self.samples.shards]

    def digest(self) -> dict[str, Any]:
        """Return the number of shards, and a digest of their names and of the number of training samples per epoch."""
        content = [self.samples.stream.samples_per_epoch, *self.shard_names]
        return {"shards": len(self.shard_names), "sha256": sha256(json.dumps(content).encode()).hexdigest()}

    def samples_ahead(self) -> str:
        """Describe the samples that the workers may be reading."""
        return f"some of the {self.samples.split} shards"

    def checked(self, read: StreamBatch | ReadFailure) -> StreamBatch:
        """Return what a worker has read. Raises SampleError for a failure."""
        if isinstance(read, ReadFailure):
            raise self.sample_error(read)
        return read

    def first_indices(self, n: int) -> Sequence[int]:
        """Return the numbers of the first samples of the first shard, at most `n`."""
        return range(len(self.samples.first(n)))

    def sample(self, n: int) -> tuple[Images, Any]:
        """Return the first samples of the first shard as a batch on the device, at most `n`, read in this process."""
        return self.on_device(*self.samples.collate(self.samples.first(n)))

    def check_sample(self, n: int) -> Batch:
        """Return at most `n` samples to try the model with."""
        indices = self.first_indices(n)
        return *self.sample(n), Shard(indices, len(indices), len(indices), 0)


@attrs.define
class TrainStreamLoader(StreamLoader):
    """Loader of the training split. An epoch has `samples_per_epoch` samples.

    A slot whose shards end before the epoch does reads them again, so all ranks make the same number of steps.
    """

    positions: list[Position] = attrs.field(init=False)
    """Position of each slot of this rank after the last micro-batch that was used; the workers read ahead."""

    def __attrs_post_init__(self) -> None:
        self.positions = [Position()] * self.n_readers

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the micro-batches of an epoch in order, from number `start` (from 0), which must be that of the positions."""
        if not start:
            self.positions = [Position()] * self.n_readers
        requests = self.batch_sampler
        shards = requests.set_epoch(epoch, start)
        requests.start, requests.positions, requests.sizes = start, tuple(self.positions), [len(each.indices) for each in shards]
        for number, (read, shard) in enumerate(zip(start_loader(self.loader), shards, strict=True), start=start):
            found = self.checked(read)
            batch = (*self.on_device(found.images, found.targets), shard)
            self.positions[number % self.n_readers] = Position(*found.position)
            yield batch

    def gather_positions(self) -> list[list[Position]]:
        """Return the positions of all slots of each rank. Every rank must call it."""
        mine = torch.tensor(self.positions, device=self.world.device)
        return [[Position(*position) for position in rank] for rank in self.world.gather(mine).tolist()]

    def restore_positions(self, saved: Sequence[Sequence[Sequence[int]]]) -> None:
        """Restore the positions of a checkpoint within an epoch. Raises CheckpointError if the number of slots has changed."""
        was, now = (len(saved), len(saved[0]) if saved else 0), (self.world.size, self.n_readers)
        if was != now:
            (ranks, workers), (n_ranks, n_workers) = was, now
            message = (
                f"the checkpoint is within an epoch of a stream, which {ranks} ranks with {workers} loader workers each were "
                f"reading; now there are {n_ranks} ranks with {n_workers}"
            )
            remedy = f"add '--nproc {ranks} --set dataloader.num_workers={workers}', or resume from the end of an epoch"
            raise CheckpointError(f"{message}; {remedy}")
        self.positions = [Position(*position) for position in saved[self.world.rank]]


@attrs.define
class EvalStreamLoader(StreamLoader):
    """Loader of the validation or the test split, each sample of which is read once."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:  # noqa: ARG002 - an evaluation has no start
        """Yield this rank's micro-batches until no rank has a sample left. Every rank must call it.

        A rank whose samples have ended yields a padding sample. Afterwards, the sampler knows the number of samples of the split.
        """
        requests = self.batch_sampler
        own = shard_batch(range(self.sampler.batch_size), self.world.rank, self.world.size)
        requests.epoch, requests.positions, requests.sizes = epoch, [Position()] * self.n_readers, itertools.repeat(own.n_valid)
        limit, n_samples, n_own, batches = self.sampler.limit, 0, 0, self.own_batches()
        padding: tuple[Images, Any] | None = None
        for _ in itertools.count() if limit is None else range(limit):
            found = next(batches, None)
            n_valid = found.n_samples if found else 0
            n_total = int(self.world.sum(torch.tensor(n_valid, device=self.world.device)))
            if not n_total:
                break
            if found:
                images, targets = self.on_device(found.images, found.targets)
            else:
                images, targets = padding = padding or self.sample(1)
            rank, n_ranks = self.world.rank, self.world.size
            indices = range(n_own, n_own + max(n_valid, 1))  # numbered in turn, so that each rank has numbers of its own
            yield images, targets, Shard([n * n_ranks + rank for n in indices], n_valid, n_total, rank)
            n_samples, n_own = n_samples + n_total, n_own + n_valid
        requests.sampler = attrs.evolve(self.sampler, indices=range(n_samples))

    def own_batches(self) -> Iterator[StreamBatch]:
        """Yield the micro-batches of this rank, until all its slots have ended."""
        ended: set[int] = set()
        for number, read in enumerate(start_loader(self.loader)):
            if read is None:
                ended.add(number % self.n_readers)
            else:
                yield self.checked(read)
            if len(ended) == self.n_readers:
                return
