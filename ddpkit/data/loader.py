"""Micro-batches of one split, on the device."""

import contextlib
import logging
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from ddpkit.data import seeding
from ddpkit.data.images import shown
from ddpkit.data.nested import mapped
from ddpkit.data.sampler import Sampler, Share
from ddpkit.distributed.parent_death import end_with_parent
from ddpkit.errors import SampleError

LOGGER = logging.getLogger(__name__)
Images = Tensor | Sequence[Tensor]
"""[B, C, H, W], or B of [C, H, W] where a dataset's own `collate` makes it so."""
Batch = tuple[Images, Any, Share]
"""Images and targets, [B, ...] or as a dataset's own `collate` makes them, on the device, and what part of the micro-batch
they are."""
Key = tuple[int, int]
"""(epoch, index): what a sample looks like depends on."""
N_SANITY_SAMPLES = 8
"""Samples that are read, and that the metrics are tried with, before training."""
Plan = list[list[Key]]
"""The micro-batches of an epoch that this rank reads: the loader's batch sampler."""


class MapDataset(Protocol):
    """What a dataset must be: samples by index."""

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        """`(image, target)`."""

    def __len__(self) -> int:
        """How many there are."""


@attrs.frozen
class Unreadable:
    """In place of a micro-batch: loader workers hand on what went wrong as a value, since torch rewrites their exceptions."""

    message: str
    traceback: str


@attrs.frozen
class KeyedDataset:
    """A dataset and its transforms whose randomness depends on (seed, epoch, index) alone."""

    dataset: MapDataset
    transforms: Sequence[Callable[[Any, Any], tuple[Any, Any]]]
    seed: int
    part: str = "train"
    """Whose transforms these are; for messages."""

    def __getitem__(self, key: Key) -> tuple[Any, Any]:
        epoch, index = key
        seeding.seed_generators("sample", self.seed, epoch, index)
        image, target = self.dataset[index]
        for transform in self.transforms:
            image, target = transform(image, target)
        return image, target

    def __getitems__(self, keys: Sequence[Key]) -> Any:
        """A micro-batch, or why there is none. Torch's loader asks for this where a dataset has it."""
        samples = []
        for key in keys:
            try:
                samples.append(self[key])
            except Exception as error:  # noqa: BLE001 - a dataset may raise anything
                return Unreadable(f"{self.name(key)}: {type(error).__name__}: {error}", traceback.format_exc())
        try:
            return self.collated(samples)
        except Exception as error:  # noqa: BLE001
            return Unreadable(f"{self.odd_one(keys, samples)} ({error})", traceback.format_exc())

    def collated(self, samples: list[tuple[Any, Any]]) -> tuple[Any, Any]:
        """Images and targets of a micro-batch, as the dataset's own `collate` makes them, else torch's.

        Raises ValueError for targets that torch's would tear apart.
        """
        own = getattr(self.dataset, "collate", None)
        if own is None and any(isinstance(target, Mapping) for _, target in samples):
            message = "its target is a mapping, and the dataset has no 'collate(samples)' that makes images and targets of a"
            raise ValueError(f"{message} micro-batch; for boxes: a list of such mappings")
        images, targets = (own or default_collate)(samples)
        return images, targets

    def name(self, key: Key) -> str:
        """`train sample 17 (dogs/4.png)`; the file as torchvision's datasets of folders tell it."""
        files = getattr(self.dataset, "samples", None)
        file = f" ({shown(files[key[1]][0])})" if isinstance(files, list) else ""
        return f"{self.part} sample {key[1]}{file}"

    def listed(self, indices: Sequence[int]) -> list[str] | list[int]:
        """These samples for a record: the names of their files where the dataset tells (`groups`), else their numbers."""
        names = (getattr(self.dataset, "groups", None) or {}).get("file", [])
        return [names[index] for index in indices] if names and len(set(names)) == len(names) else list(indices)

    def odd_one(self, keys: Sequence[Key], samples: Sequence[tuple[Any, Any]]) -> str:
        """Which sample of a micro-batch is first unlike the one before the others, and in what."""
        kinds = [" with ".join(map(kind, sample)) for sample in samples]
        key, other = next(((key, each) for key, each in zip(keys, kinds, strict=True) if each != kinds[0]), (keys[0], kinds[0]))
        return f"{self.name(key)} does not fit into one micro-batch with sample {keys[0][1]}: {other}, not {kinds[0]}"


def kind(value: Any) -> str:
    """`uint8 [3, 32, 32]`, or the type of what is no tensor."""
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


FAILURES = {
    "DataLoader worker (pid": "a loader worker died while it read {}; memory, or a library that crashes?",
    "DataLoader timed out": "no loader worker gave a micro-batch within 'ddp.timeout' while they read {}; a slow disk?",
}
"""Torch's words in a RuntimeError -> ours. A worker's death is raised by a signal handler, wherever the rank happens to be."""
SETTLING = 0.01
"""Seconds before workers are forked, in which the threads of collectives come to rest: a worker forked while one of them
enters the interpreter hangs for ever, before its first line (CPython 3.11; a lock that it finds taken)."""


@attrs.define
class Batches:
    """The micro-batches of a split that this rank sees."""

    samples: KeyedDataset
    sampler: Sampler
    plan: Plan
    """What the loader reads next."""
    loader: "DataLoader[Any]"
    batch_transforms: Sequence[Callable[[Tensor], Tensor]]
    """Applied to whole batches of images, on the device."""
    device: torch.device
    n_read: int = 0
    """Of the plan."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Those of one epoch from number `start` on, in order. Raises SampleError for what cannot be read."""
        shares = self.sampler.shares(epoch)[start:]
        self.plan[:] = [[(epoch, index) for index in share.indices] for share in shares]
        self.n_read = 0
        for read, share in zip(started(self.loader), shares, strict=True):
            self.n_read += 1
            if isinstance(read, Unreadable):
                LOGGER.debug("%s", read.traceback)
                raise SampleError(f"{read.message}; mend it or take it out of the data")
            yield *self.on_device(*read), share

    def guarded(self) -> contextlib.AbstractContextManager[None]:
        """While micro-batches are read and used: raises SampleError when a loader worker died or hangs."""
        return guarded(self.ahead)

    def ahead(self) -> str:
        """What the workers may be reading."""
        n_ahead = (self.loader.prefetch_factor or 1) * self.loader.num_workers
        indices = [index for keys in self.plan[self.n_read : self.n_read + n_ahead] for _, index in keys]
        return f"{self.samples.part} samples out of {', '.join(map(str, indices))}"

    def sample(self, n: int) -> tuple[Images, Any]:
        """The first `n` samples as a batch on the device, read in this process."""
        return self.on_device(*self.samples.collated([self.samples[0, index] for index in self.sampler.indices[:n]]))

    def on_device(self, images: Images, targets: Any) -> tuple[Images, Any]:
        """Moved without waiting, then transformed: the batch, or one image of a list after the other."""
        images, targets = mapped(self.moved, (images, targets))
        for transform in self.batch_transforms:
            images = mapped(transform, images)
        return images, targets

    def moved(self, values: Tensor) -> Tensor:
        """To the device."""
        return values.to(self.device, non_blocking=True)


def end_with_rank(_worker: int) -> None:
    """Called in each loader worker at its start: it ends when the rank that made it does, however it was started.

    Signals to the rank's process group are not for it: the rank may save, and then ends its workers.
    """
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as its rank ends it; the rank's handler was inherited
    rank = multiprocessing.parent_process()
    end_with_parent(lambda: rank is not None and rank.is_alive())


def make_loader(
    samples: Any, plan: Sequence[list[Any]], *, num_workers: int, timeout: float, persistent: bool = False, pin: bool = False
) -> "DataLoader[Any]":
    """Torch's loader of what `samples` gives for the keys of each list of the plan.

    Workers start as torch does it by default. `timeout` seconds without anything read are an error, see `guarded`.
    """
    return DataLoader(
        samples,
        batch_sampler=plan,
        collate_fn=as_read,
        num_workers=num_workers,
        persistent_workers=persistent and num_workers > 0,
        pin_memory=pin,
        timeout=timeout if num_workers else 0,
        worker_init_fn=end_with_rank,
    )


def started(loader: "DataLoader[Any]") -> Iterator[Any]:
    """What the loader reads, in order; its workers read ahead from now on."""
    if loader.num_workers:
        time.sleep(SETTLING)
    return iter(loader)


@contextlib.contextmanager
def guarded(reading: Callable[[], str]) -> Iterator[None]:
    """While a loader reads, and what it read is used: raises SampleError when a worker died or hangs `reading` something."""
    try:
        yield
    except RuntimeError as error:
        failure = next((ours for theirs, ours in FAILURES.items() if theirs in str(error)), None)
        if failure is None:
            raise
        remedy = "'dataloader.num_workers = 0' reads them in the rank itself"
        raise SampleError(f"{failure.format(reading())} {remedy} ({error})") from None


def as_read(read: Any) -> Any:
    """It is collated where it is read."""
    return read
