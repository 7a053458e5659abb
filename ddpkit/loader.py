"""Micro-batches of one split, on the device."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from ddpkit import seeding
from ddpkit.lifeline import end_with_parent
from ddpkit.sampler import Sampler, Share

Batch = tuple[Tensor, Tensor, Share]
"""Images [B, C, H, W] and targets [B, ...] on the device, and what part of the micro-batch they are."""


class MapDataset(Protocol):
    """What a dataset must be: samples by index."""

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        """`(image, target)`."""

    def __len__(self) -> int:
        """How many there are."""


@attrs.frozen
class KeyedDataset:
    """A dataset and its transforms whose randomness depends on (seed, epoch, index) alone."""

    dataset: MapDataset
    transforms: Sequence[Callable[[Any, Any], tuple[Any, Any]]]
    seed: int

    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, Any]:
        epoch, index = key
        seeding.seed_generators("sample", self.seed, epoch, index)
        image, target = self.dataset[index]
        for transform in self.transforms:
            image, target = transform(image, target)
        return image, target


@attrs.frozen
class Batches:
    """The micro-batches of a split that this rank sees."""

    samples: KeyedDataset
    sampler: Sampler
    loader: "DataLoader[Any]"
    batch_transforms: Sequence[Callable[[Tensor], Tensor]]
    """Applied to whole batches of images, on the device."""
    device: torch.device

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Those of one epoch, in order."""
        self.sampler.epoch = epoch
        for n, ((images, targets), share) in enumerate(zip(self.loader, self.sampler.shares(), strict=True)):
            if n >= start:
                yield *self.on_device(images, targets), share

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        """The first `n` samples as a batch on the device, read in this process."""
        return self.on_device(*default_collate([self.samples[0, index] for index in self.sampler.indices[:n]]))

    def on_device(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Moved without waiting, then transformed."""
        images = images.to(self.device, non_blocking=True)
        for transform in self.batch_transforms:
            images = transform(images)
        return images, targets.to(self.device, non_blocking=True)


def end_with_rank(_worker: int) -> None:
    """Called in each loader worker at its start: it ends when the rank that made it does, however it was started."""
    rank = multiprocessing.parent_process()
    end_with_parent(lambda: rank is not None and rank.is_alive())


def make_loader(samples: KeyedDataset, sampler: Sampler, *, num_workers: int, persistent: bool, pin: bool) -> "DataLoader[Any]":
    """Torch's loader; workers start as torch does it by default."""
    return DataLoader(
        samples,  # type: ignore[arg-type]  # map-style, though no torch Dataset
        batch_sampler=sampler,
        num_workers=num_workers,
        persistent_workers=persistent and num_workers > 0,
        pin_memory=pin,
        worker_init_fn=end_with_rank,
    )
