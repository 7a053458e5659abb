"""Build the data of a run from its config: the dataset, its splits, and the loader of each split."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from torch.utils.data import DataLoader

from ddpkit.config import schema
from ddpkit.config.component_refs import SPLITS
from ddpkit.config.error_hints import translate_first_errors
from ddpkit.config.instantiate import ComponentFactory
from ddpkit.data import seeding
from ddpkit.data.dataset_info import DatasetInfo
from ddpkit.data.labels import sample_labels
from ddpkit.data.loader import N_SANITY_SAMPLES, MapDataset, SeededDataset, SplitLoader
from ddpkit.data.recorded_split import RecordedSplit
from ddpkit.data.sample_stages import find_unrepeatable, read_stages
from ddpkit.data.sampler import BatchSampler, Sampler
from ddpkit.data.stream import ShardOrder, Stream, is_stream, name_shards
from ddpkit.data.stream_checks import check_stream
from ddpkit.data.stream_loader import EvalStreamLoader, RequestSampler, StreamLoader, TrainStreamLoader
from ddpkit.data.stream_samples import StreamSamples
from ddpkit.data.unreadable import UnreadableSamples
from ddpkit.data.workers import make_loader
from ddpkit.distributed.world import World
from ddpkit.errors import ConfigError, failed_component, name_failure, named_errors

LOGGER = logging.getLogger(__name__)


@attrs.frozen
class DataBuilder(ComponentFactory):
    """Builds the dataset and the loader of each split."""

    world: World

    @property
    def root_dir(self) -> str:
        """Absolute path of the data folder; empty if the config names none."""
        return str(Path(self.run.dataset.root_dir).absolute()) if self.run.dataset.root_dir else ""

    @property
    def written_classes(self) -> list[str]:
        """Class names as written in the config; a resumed run also has those that it recorded."""
        return self.run.classes if self.config.written(("classes",)) else []

    def loaders(self, limit: int | None, recorded: RecordedSplit | None = None) -> Mapping[str, SplitLoader]:
        """Build the loader of each split that has samples.

        Args:
            limit: Maximum number of micro-batches per epoch of each split; None: no limit.
            recorded: Split that the run recorded; None for a new run.

        Raises:
            ConfigError: The config does not fit the dataset.
        """
        seeding.seed_generators("dataset", self.run.seed)
        dataset = self.create_only("dataset", root_dir=self.root_dir, classes=self.written_classes, seed=self.run.seed)
        if is_stream(dataset):
            return self.stream_loaders(dataset, limit)
        indices = recorded.find_indices(DatasetInfo(dataset)) if recorded else None
        indices = indices or self.split_indices(dataset)
        self.check_train_size(len(indices["train"]))
        table = self.run.dataset
        unreadable = UnreadableSamples(len(dataset), table.max_skipped) if table.on_error == "skip" else UnreadableSamples()
        return {split: self.loader(split, dataset, indices[split], limit, unreadable) for split in SPLITS if indices.get(split)}

    def try_reading(self, loader: SplitLoader) -> None:
        """Read the first samples. Raises ConfigError for a ValueError or OSError of the dataset or a transform."""
        is_tried = False
        with self.sample_errors(lambda: "the first sample"):
            indices = loader.first_indices(N_SANITY_SAMPLES)
        for index in indices:
            with self.sample_errors(functools.partial(loader.samples.name, (0, index))):
                if is_tried:
                    loader.samples[0, index]
                else:
                    is_tried = self.try_components(loader.samples, index)
        with self.sample_errors(lambda: "the first sample"):
            loader.sample(1)

    def try_components(self, samples: SeededDataset, index: int) -> bool:
        """Read a sample; warn if another result comes from the same random seed. Return whether the sample is readable.

        Only rank 0 reads it twice.
        """
        stages = read_stages(samples, index)
        if stages and self.world.is_main and (name := find_unrepeatable(samples, stages, read_stages(samples, index))):
            message = (
                "%s gives different results for one sample and one seed, so this run cannot be repeated or resumed exactly; %s"
            )
            LOGGER.warning(message, name, "draw its random numbers from the global generators of torch, numpy or random")
        return bool(stages)

    @contextlib.contextmanager
    def sample_errors(self, name_sample: Callable[[], str]) -> Iterator[None]:
        """Convert a ValueError or OSError for a sample to a ConfigError, at the component that raised it."""
        try:
            with translate_first_errors(self.config):
                yield
        except (ValueError, OSError) as error:
            sample = name_sample()
            LOGGER.debug("%s cannot be used", sample, exc_info=error)
            name = failed_component(error)
            path = name.path if name and name.path[0] == "transform" else ("dataset",)
            raise ConfigError([self.config.problem(path, f"{sample} cannot be used: {name_failure(error)}")]) from error

    def split_indices(self, dataset: Any) -> dict[str, list[int]]:
        """Return the indices of each split.

        The dataset's own splits stay as they are; the split component divides the other samples. Raises ConfigError if the same
        split gets samples from both.
        """
        with named_errors(self.name_only("dataset")):
            info, own = DatasetInfo(dataset), self.own_splits(dataset)
            targets = info.targets  # once: a dataset may compute it at each access
        taken = {index for indices in own.values() for index in indices}
        free = [index for index in range(len(dataset)) if index not in taken]
        divided = self.create_only(
            "split",
            n_samples=len(free),
            targets=None if targets is None else [targets[index] for index in free],
            groups=info.select_groups(free),
            own_groups={split: info.select_groups(indices) for split, indices in own.items()},
            classes=self.run.classes or ([] if targets is None else info.classes),
            root_dir=self.root_dir,
            seed=self.run.seed,
        )
        for split in own.keys() & {split for split, positions in divided.items() if positions}:
            message = f"the dataset already has its own {split} split; set this key to 0 or remove it"
            raise ConfigError([self.config.problem(("dataset", "split", split), message)])
        return {split: own.get(split, [free[position] for position in divided.get(split, [])]) for split in SPLITS}

    def own_splits(self, dataset: Any) -> dict[str, list[int]]:
        """Return the dataset's own splits. Raises ConfigError if the dataset uses the attribute's old name."""
        try:
            return DatasetInfo(dataset).splits
        except ValueError as error:
            raise ConfigError([self.config.problem(("dataset", "name"), str(error))]) from error

    def check_train_size(self, n_samples: int) -> None:
        """Raise ConfigError if the training split yields no micro-batch."""
        if not n_samples:
            message = "leaves no samples for training; make this split larger, or the other splits smaller"
            raise ConfigError([self.config.problem(("dataset", "split"), message)])
        needed = self.run.train.batch_size if self.run.dataloader.drop_last else 1
        if n_samples < needed:
            message = (
                f"is larger than the training split ({n_samples} samples), and 'dataloader.drop_last = true' drops an incomplete "
                "batch; reduce it, or set 'dataloader.drop_last = false'"
            )
            raise ConfigError([self.config.problem(("train", "batch_size"), message)])

    def loader(
        self, split: str, dataset: MapDataset, indices: list[int], limit: int | None, unreadable: UnreadableSamples
    ) -> SplitLoader:
        run, options, training = self.run, self.run.dataloader, split == "train"
        of_samples, of_batches = self.split_options(split)
        samples = SeededDataset(dataset=dataset, substitutes=indices if unreadable.are_skipped else (), **of_samples)
        n_shards = max(self.world.size, run.ddp.virtual_shards)
        sampler = Sampler(
            indices=indices,
            batch_size=split_batch_size(run, split),
            shards=range(self.world.rank, n_shards, self.world.size),
            n_shards=n_shards,
            seed=run.seed,
            shuffle=training and options.shuffle,
            drop_last=training and options.drop_last,
            shards_in_turn=training,
            limit=limit,
            labels=self.labels(dataset, indices) if training and options.sampler == "balanced" else None,
        )
        batch_sampler = BatchSampler(sampler)
        loader = self.torch_loader(samples, batch_sampler)
        return SplitLoader(samples, batch_sampler, loader, unreadable=unreadable, **of_batches)

    def stream_loaders(self, stream: Stream, limit: int | None) -> Mapping[str, StreamLoader]:
        """Build the loader of each split of a stream. Raises ConfigError if the stream is wrong or the config does not fit it."""
        check_stream(self.config, stream, self.world.size)
        self.check_train_size(stream.samples_per_epoch)
        names = name_shards(stream)
        loaders = {split: self.stream_loader(split, stream, names[split], limit) for split in SPLITS if names.get(split)}
        for split, loader in loaders.items():
            with self.sample_errors(loader.samples.name_current):
                is_empty = not loader.first_indices(1)
            if is_empty:
                message = f"read_shard() yields no sample for any shard of the {split} split; check the data"
                raise ConfigError([self.config.problem(("dataset", "name"), message)])
        return loaders

    def stream_loader(self, split: str, stream: Any, names: Sequence[str], limit: int | None) -> StreamLoader:
        run, options, training, world = self.run, self.run.dataloader, split == "train", self.world
        n_readers, shuffle = max(options.num_workers, 1), training and options.shuffle
        of_samples, of_batches = self.split_options(split)
        order = ShardOrder(n_shards=len(names), n_slots=world.size * n_readers, seed=run.seed, shuffle=shuffle)
        buffer = options.shuffle_buffer if shuffle else 0
        samples = StreamSamples(dataset=stream, shards=stream.shards[split], order=order, buffer=buffer, **of_samples)
        size = split_batch_size(run, split)
        sampler = Sampler(
            indices=range(stream.samples_per_epoch if training else 0),
            batch_size=size if training else max(size, world.size),  # each rank needs a sample to evaluate its shards
            shards=[world.rank],
            n_shards=world.size,
            seed=run.seed,
            drop_last=training and options.drop_last,
            limit=limit,
        )
        requests = RequestSampler(sampler, world=world, n_readers=n_readers)
        loader, kind = self.torch_loader(samples, requests), TrainStreamLoader if training else EvalStreamLoader
        return kind(loader=loader, samples=samples, batch_sampler=requests, shard_names=names, **of_batches)

    def split_options(self, split: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the options of a split's samples, and those of its loader: seed, names, device and transforms."""
        training = split == "train"
        per_sample, per_batch = self.transforms(training=training)
        names, n = self.transform_names(training=training), len(per_sample)
        of_samples = {"transforms": per_sample, "transform_names": names[:n], "dataset_name": self.name_only("dataset")}
        of_batches = {"batch_transforms": per_batch, "batch_names": names[n:], "device": self.world.device}
        return {**of_samples, "seed": self.run.seed, "split": split}, of_batches

    def torch_loader(self, samples: SeededDataset, batch_sampler: Iterable[list[Any]]) -> "DataLoader[Any]":
        options = self.run.dataloader
        return make_loader(
            samples,
            batch_sampler,
            num_workers=options.num_workers,
            persistent=options.persistent_workers,
            pin=options.pin_memory and self.world.device.type == "cuda",
            timeout=self.run.ddp.timeout,
        )

    def labels(self, dataset: Any, indices: Sequence[int]) -> list[int]:
        """Return the class index of each sample. Raises ConfigError if the dataset does not provide them."""
        found = sample_labels(dataset, indices)
        if found is None:
            message = "'balanced' requires a dataset whose 'targets' contain one class index per sample; remove this key"
            raise ConfigError([self.config.problem(("dataloader", "sampler"), message)])
        return found


def split_batch_size(run: schema.Run, split: str) -> int:
    """Return the number of samples in a micro-batch over all ranks.

    A split without a `batch_size` uses that of the next table in the order `valid`, `test`, `train`.
    """
    test = run.test.batch_size or run.train.batch_size
    return {"train": run.train.batch_size, "valid": run.valid.batch_size or test, "test": test}[split]
