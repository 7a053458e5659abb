"""Load the micro-batches of a split onto the device."""

import contextlib
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import attrs
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from ddpkit.data import seeding
from ddpkit.data.dataset_info import DatasetInfo
from ddpkit.data.images import format_file
from ddpkit.data.labels import sample_labels
from ddpkit.data.nested import map_tensors
from ddpkit.data.recorded_split import digest_samples
from ddpkit.data.sampler import BatchSampler, Sampler, Shard
from ddpkit.data.unreadable import UnreadableSampleError, UnreadableSamples
from ddpkit.data.workers import guard_workers, start_loader
from ddpkit.distributed.world import World
from ddpkit.errors import ComponentName, SampleError, add_component_note, describe_failure, find_name, named_errors

LOGGER = logging.getLogger(__name__)
Images = Tensor | Sequence[Tensor]
"""Images of a micro-batch: [B, C, H, W], or B tensors [C, H, W] if the dataset's own `collate` returns a list."""
Batch = tuple[Images, Any, Shard]
"""Images and targets on the device, and their shard of the micro-batch. The shape of the targets is [B, ...], unless the
dataset has its own `collate`."""
Key = tuple[int, ...]
"""(epoch, index): identifies a sample and seeds its random transforms. See `StreamSamples` for those of a stream."""
N_SUBSTITUTES = 100
"""Maximum number of samples that are tried in place of an unreadable one."""
BOXES = "boxes"
"""Entry of a target that contains the boxes of an image; their number differs between images."""
N_SANITY_SAMPLES = 8
"""Number of samples that are read before training, and that the metrics are tried with."""


class MapDataset(Protocol):
    """Interface that a dataset must have: samples by index."""

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        """Return sample number `index` as `(image, target)`."""

    def __len__(self) -> int:
        """Return the number of samples."""


@attrs.frozen
class ReadFailure:
    """Error that takes the place of a micro-batch that could not be read.

    Loader workers return it as a value, because torch rewrites the exceptions that workers raise.
    """

    message: str
    traceback: str
    is_bug: bool = False
    """Whether the error is probably a mistake in the code, and not in the sample."""


@attrs.frozen
class SeededDataset:
    """A dataset and its transforms, with randomness that depends only on (seed, epoch, index)."""

    dataset: MapDataset
    transforms: Sequence[Callable[[Any, Any], tuple[Any, Any]]]
    seed: int
    split: str = "train"
    """Name of the split. In `train`, an unreadable sample is replaced; in another split, it is left out."""
    substitutes: Sequence[int] = ()
    """Indices of the samples that may replace an unreadable one; (): an unreadable sample is an error."""
    dataset_name: ComponentName | None = None
    """Name of the dataset, for messages."""
    transform_names: Sequence[ComponentName] = ()
    """Names of the transforms, for messages."""

    @property
    def info(self) -> DatasetInfo:
        return DatasetInfo(self.dataset)

    def __getitem__(self, key: Key) -> tuple[Any, Any]:
        """Return a sample, or its substitute if it is unreadable and `substitutes` are given."""
        try:
            return self.read(key, key[1])
        except UnreadableSampleError:
            return self.read_substitute(key)

    def __getitems__(self, keys: Sequence[Key]) -> Any:
        """Return images and targets of a micro-batch, and the errors of its unreadable samples by index; or a ReadFailure.

        Torch's DataLoader calls this method in place of `__getitem__`.
        """
        samples: list[Any] = []
        unreadable: dict[int, str] = {}
        try:
            for key in keys:
                samples += self.read_or_skip(key, unreadable)
            samples = samples or [self[keys[0]]]  # a padding sample
        except Exception as error:  # noqa: BLE001 - a dataset may raise anything
            return ReadFailure(f"{self.name(key)}: {describe_failure(error)}", traceback.format_exc(), isinstance(error, BUGS))
        try:
            return *self.collate(samples), unreadable
        except Exception as error:  # noqa: BLE001
            kept = [key for key in keys if self.split == "train" or key[1] not in unreadable]
            return ReadFailure(f"{self.describe_mismatch(kept, samples)} ({describe_failure(error)})", traceback.format_exc())

    def read_or_skip(self, key: Key, unreadable: dict[int, str]) -> list[Any]:
        """Return the sample in a list. If it is unreadable, add its error, and return its substitute in training, else []."""
        try:
            return [self.read(key, key[1])]
        except UnreadableSampleError as error:
            unreadable[key[1]] = f"{self.name(key)}: {error}"
            return [self.read_substitute(key)] if self.split == "train" else []

    def read_substitute(self, key: Key) -> tuple[Any, Any]:
        """Return a sample in place of that of `key`; it depends only on the seed, the key and which samples are unreadable."""
        for attempt in range(N_SUBSTITUTES):
            number = seeding.seed_for("substitute", self.seed, *key, attempt) % len(self.substitutes)
            with contextlib.suppress(UnreadableSampleError):
                return self.read(key, self.substitutes[number])
        raise SampleError(
            f"no readable sample was found in {N_SUBSTITUTES} attempts; check the data with 'ddpkit check FILE --data'"
        )

    def read(self, key: Key, index: int) -> tuple[Any, Any]:
        """Return sample `index` with the random numbers of `key`.

        Raises UnreadableSampleError in place of an error of the dataset if `substitutes` are given.
        """
        try:
            image, target = self.load(key, index)
        except Exception as error:
            if not self.substitutes or isinstance(error, MemoryError):  # a lack of memory is not a defect of the sample
                raise
            raise UnreadableSampleError(f"{type(error).__name__}: {error}") from error
        return self.apply_transforms(image, target)

    def load(self, key: Key, index: int) -> tuple[Any, Any]:
        """Seed the random numbers of `key`, and return sample `index` before the transforms."""
        seeding.seed_generators("sample", self.seed, *key)
        try:
            image, target = self.dataset[index]
        except Exception as error:
            add_component_note(error, self.dataset_name)
            raise
        return image, target

    def apply_transforms(self, image: Any, target: Any) -> tuple[Any, Any]:
        """Return image and target after the transforms, which use the random numbers that `load` has seeded."""
        transform = None
        try:
            for transform in self.transforms:
                image, target = transform(image, target)
        except Exception as error:
            add_component_note(error, find_name(transform, self.transforms, self.transform_names))
            raise
        return image, target

    def collate(self, samples: list[tuple[Any, Any]]) -> tuple[Any, Any]:
        """Collate samples into the images and targets of a micro-batch with the dataset's own `collate`, or else with torch's.

        Torch's function collates mappings entry by entry. Raises ValueError if this is not possible for the targets.
        """
        own = self.info.collate
        if own is None and any(isinstance(target, Mapping) for _, target in samples):
            check_mappings([target for _, target in samples])
        with named_errors(self.dataset_name if own else None):
            images, targets = (own or default_collate)(samples)
        return images, targets

    def name(self, key: Key) -> str:
        """Return a name for messages: `train sample 17 (dogs/4.png)`, with the file if `samples` of the dataset contains it."""
        files = self.info.samples
        file = "" if files is None else f" ({format_file(files[key[1]][0])})"
        return f"{self.split} sample {key[1]}{file}"

    def file_states(self, indices: Sequence[int]) -> list[list[int]]:
        """Return size and modification time (ns) of the files of each sample, one after another; [] if they are not known."""
        files = self.info.samples
        return [] if files is None else [stat_files(files[index]) for index in indices]

    def describe_mismatch(self, keys: Sequence[Key], samples: Sequence[tuple[Any, Any]]) -> str:
        """Describe the first sample whose dtypes or shapes differ from those of sample 0 of the micro-batch, if there is one."""
        kinds = [" and ".join(map(describe_value, sample)) for sample in samples]
        key, other = next(((key, each) for key, each in zip(keys, kinds, strict=True) if each != kinds[0]), (None, ""))
        if key is None:
            return f"{self.name(keys[0])} cannot be collated with the other samples of its micro-batch"
        together = f"{self.name(key)} cannot be in one micro-batch with sample {keys[0][1]}"
        return f"{together}: image and target are {other} instead of {kinds[0]}"


def stat_files(sample: Sequence[Any]) -> list[int]:
    """Return size and modification time (ns) of each path in an entry of `samples`; a missing file has [-1, -1]."""
    states = []
    for path in (each for place, each in enumerate(sample) if isinstance(each, Path) or (place == 0 and isinstance(each, str))):
        try:
            found = Path(path).stat()
        except OSError:
            states += [-1, -1]
        else:
            states += [found.st_size, found.st_mtime_ns]
    return states


def check_mappings(targets: Sequence[Any]) -> None:
    """Raise ValueError if the targets of a micro-batch are not mappings that can be collated entry by entry.

    They must have the same entries, with the same dtypes and shapes. Boxes are refused even if each image has the same number.
    """
    remedy = "a dataset with such targets must have a method 'collate(samples)' that returns images and targets"
    if any(isinstance(target, Mapping) and BOXES in target for target in targets):
        raise ValueError(f"its target is a dict with {BOXES!r}; {remedy}, which are a list of dicts")
    first, *others = map(describe_value, targets)
    if different := [each for each in others if each != first]:
        raise ValueError(f"the targets of one micro-batch differ: {first} and {different[0]}; {remedy}")


def describe_value(value: Any) -> str:
    """Return dtype and shape, such as `uint8 [3, 32, 32]`, also of each entry of a mapping; else the name of the type."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {describe_value(value[key])}' for key in sorted(value, key=str))}}}"
    return type(value).__name__


REMEDY = """\
repair the sample or remove it from the data ('ddpkit check x.toml --data' finds all of them), or set \
'dataset.on_error = "skip"'; 'dataset.max_skipped' is the share of the samples that may be skipped"""
BUGS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, NotImplementedError, TypeError)
"""Exceptions that a mistake in the code of a dataset or transform usually raises; a defect of a sample rarely does."""


@attrs.define
class SplitLoader:
    """Loads this rank's micro-batches of one split."""

    samples: SeededDataset
    batch_sampler: BatchSampler
    loader: "DataLoader[Any]"
    batch_transforms: Sequence[Callable[[Tensor], Tensor]]
    """Transforms of whole batches of images, applied on the device."""
    device: torch.device
    unreadable: UnreadableSamples = attrs.field(factory=UnreadableSamples)
    """Unreadable samples of the run, shared by the loaders of all splits."""
    n_read: int = 0
    """Number of micro-batches read since the last call of `epoch`."""
    n_left_out: int = 0
    """Number of unreadable samples that this rank left out since the last call of `epoch`."""
    batch_names: Sequence[ComponentName] = ()
    """Names of the batch transforms, for messages."""

    remedy: ClassVar[str] = REMEDY
    """What to do about an unreadable sample, for messages."""
    unit: ClassVar[str] = "sample"
    """What `names` lists."""

    @property
    def sampler(self) -> Sampler:
        return self.batch_sampler.sampler

    def names(self) -> list[str] | list[int]:
        """Return an identifier of each sample of the split, see `DatasetInfo.identify`."""
        return self.samples.info.identify(self.sampler.indices)

    def file_states(self) -> list[list[int]]:
        """Return size and modification time (ns) of the files of each sample; [] if they are not known."""
        return self.samples.file_states(self.sampler.indices)

    def digest(self) -> dict[str, Any]:
        """Return the number of samples, and a digest of them."""
        return digest_samples(self.samples.info, self.sampler.indices)

    @property
    def n_readers(self) -> int:
        """Number of readers of each rank on which the order of the samples depends; 0: it does not depend on them."""
        return 0

    def gather_positions(self) -> list[Any]:
        """Return the positions that a checkpoint must contain; [], because samples have an index. Every rank must call it."""
        return []

    def restore_positions(self, saved: Sequence[Any]) -> None:
        """Restore the positions of a checkpoint within an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the micro-batches of an epoch in order, from number `start` (from 0).

        Raises SampleError if a sample cannot be read or does not fit into its micro-batch.
        """
        shards = self.batch_sampler.set_epoch(epoch, start)
        self.n_read = self.n_left_out = 0
        for read, shard in zip(start_loader(self.loader), shards, strict=True):
            self.n_read += 1
            if isinstance(read, ReadFailure):
                raise self.sample_error(read)
            images, targets, unreadable = read
            yield *self.on_device(images, targets), self.without_unreadable(shard, unreadable) if unreadable else shard

    def sample_error(self, failure: ReadFailure) -> SampleError:
        """Return the error for a sample that a worker could not read."""
        LOGGER.debug("%s", failure.traceback)
        details = f"\n{failure.traceback.rstrip()}" if failure.is_bug else f"; {self.remedy}"
        return SampleError(f"{failure.message}{details}")

    def without_unreadable(self, shard: Shard, unreadable: Mapping[int, str]) -> Shard:
        """Record unreadable samples; return the shard without those that were left out, so that it fits the read samples."""
        self.unreadable.add(unreadable)
        if self.samples.split == "train":
            return shard
        kept = [index for index in shard.indices[: shard.n_valid] if index not in unreadable]
        n_left_out = shard.n_valid - len(kept)
        self.n_left_out += n_left_out
        return attrs.evolve(shard, indices=kept or shard.indices[:1], n_valid=len(kept))

    def count_left_out(self, world: World) -> int:
        """Return how many samples all ranks left out since the last call of `epoch`. Every rank must call it.

        Raises SampleError, on all ranks, if too many samples of the run are unreadable.
        """
        if not self.unreadable.are_skipped:
            return 0
        self.unreadable.check(world)
        return int(world.sum(torch.tensor(self.n_left_out, device=self.device)))

    def guard_workers(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which micro-batches are read and used; it raises SampleError if a worker dies or hangs."""
        return guard_workers(self.samples_ahead)

    def samples_ahead(self) -> str:
        """Describe the samples that the workers may be reading."""
        n_ahead = (self.loader.prefetch_factor or 1) * self.loader.num_workers
        indices = [index for keys in self.batch_sampler.keys(self.n_read, self.n_read + n_ahead) for _, index in keys]
        return f"some of the {self.samples.split} samples {', '.join(map(str, indices))}"

    def sample(self, n: int) -> tuple[Images, Any]:
        """Return the first `n` samples of the split as a batch on the device, read in this process."""
        return self.read(self.first_indices(n))

    def first_indices(self, n: int) -> Sequence[int]:
        """Return the indices of the first samples of the split, at most `n`."""
        return self.sampler.indices[:n]

    def check_sample(self, n: int) -> Batch:
        """Return at most `n` samples to try the model with; the first have the largest and the smallest label."""
        indices = self.sampler.indices
        labels = sample_labels(self.samples.dataset, indices) or []
        extremes = [indices[choose(range(len(labels)), key=labels.__getitem__)] for choose in (max, min) if labels]
        chosen = list(dict.fromkeys([*extremes, *indices[:n]]))[:n]
        return *self.read(chosen), Shard(chosen, len(chosen), len(chosen), 0)

    def read(self, indices: Sequence[int]) -> tuple[Images, Any]:
        """Return these samples as a batch on the device, read in this process."""
        return self.on_device(*self.samples.collate([self.samples[0, index] for index in indices]))

    def on_device(self, images: Images, targets: Any) -> tuple[Images, Any]:
        """Move a batch to the device asynchronously, then apply the batch transforms.

        The transforms get the whole batch; if the images are a list, they get one image after the other.
        """
        images, targets = map_tensors(self.to_device, (images, targets))
        transform = None
        try:
            for transform in self.batch_transforms:
                images = map_tensors(transform, images)
        except Exception as error:
            add_component_note(error, find_name(transform, self.batch_transforms, self.batch_names))
            raise
        return images, targets

    def to_device(self, values: Tensor) -> Tensor:
        return values.to(self.device, non_blocking=True)
