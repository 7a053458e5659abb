"""Data: the config's dataset, divided into parts and read as micro-batches."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from ddpkit.config import schema
from ddpkit.config.component_refs import PARTS
from ddpkit.config.error_hints import first_samples
from ddpkit.config.instantiate import Maker
from ddpkit.data import seeding
from ddpkit.data.labels import labels_of
from ddpkit.data.loader import N_SANITY_SAMPLES, Batches, KeyedDataset, MapDataset, Plan, make_loader
from ddpkit.data.sampler import Sampler
from ddpkit.distributed.world import World
from ddpkit.errors import ConfigError

LOGGER = logging.getLogger(__name__)


@attrs.frozen
class Data(Maker):
    """Makes the parts of the data."""

    world: World

    @property
    def root_dir(self) -> str:
        """Of the data, absolute; empty where the config names none."""
        return str(Path(self.run.dataset.root_dir).absolute()) if self.run.dataset.root_dir else ""

    def batches(self, limit: int | None) -> dict[str, Batches]:
        """The micro-batches of each part that has samples."""
        seeding.seed_generators("dataset", self.run.seed)
        dataset = self.make_one("dataset", root_dir=self.root_dir, classes=self.run.classes, seed=self.run.seed)
        indices = self.split(dataset)
        self.refuse_too_few(len(indices["train"]))
        return {part: self.part(part, dataset, indices[part], limit) for part in PARTS if indices[part]}

    def try_reading(self, batches: Batches) -> None:
        """A dataset or transform that refuses one of the first samples has found a mistake in the data or the config."""
        for index in batches.sampler.indices[:N_SANITY_SAMPLES]:
            try:
                with first_samples(self.config):
                    batches.samples[0, index]
            except (ValueError, OSError) as error:
                raise self.unusable(batches.samples.name((0, index)), error) from error
        try:
            with first_samples(self.config):
                batches.sample(1)
        except ValueError as error:
            raise self.unusable("the first sample", error) from error

    def unusable(self, sample: str, error: Exception) -> ConfigError:
        """What to raise for a sample."""
        LOGGER.debug("%s is refused", sample, exc_info=error)
        return ConfigError([self.config.problem(("dataset",), f"{sample} cannot be used: {error}")])

    def split(self, dataset: Any) -> dict[str, list[int]]:
        """Indices of each part: the dataset's own parts stay, the split divides the rest."""
        own = {part: list(indices) for part, indices in getattr(dataset, "parts", {}).items()}
        taken = {index for indices in own.values() for index in indices}
        free = [index for index in range(len(dataset)) if index not in taken]
        targets = getattr(dataset, "targets", None)
        divided = self.make_one(
            "split",
            n_samples=len(free),
            targets=None if targets is None else [targets[index] for index in free],
            groups=groups_of(dataset, free),
            own_groups={part: groups_of(dataset, indices) for part, indices in own.items()},
            root_dir=self.root_dir,
            seed=self.run.seed,
        )
        for part in own.keys() & {part for part, positions in divided.items() if positions}:
            message = f"the dataset has a {part} part of its own; set this to 0 or leave it out"
            raise ConfigError([self.config.problem(("dataset", "split", part), message)])
        return {part: own.get(part, [free[position] for position in divided.get(part, [])]) for part in PARTS}

    def refuse_too_few(self, n_samples: int) -> None:
        """A training split that makes no micro-batch is a mistake."""
        if not n_samples:
            raise ConfigError([self.config.problem(("dataset", "split"), "leaves no sample to train with")])
        needed = self.run.train.batch_size if self.run.dataloader.drop_last else 1
        if n_samples < needed:
            message = f"with 'dataloader.drop_last' nothing is left of the {n_samples} samples of the training split"
            raise ConfigError([self.config.problem(("train", "batch_size"), message)])

    def part(self, part: str, dataset: MapDataset, indices: list[int], limit: int | None) -> Batches:
        """One part as micro-batches."""
        run, options, training = self.run, self.run.dataloader, part == "train"
        per_sample, per_batch = self.transforms(training=training)
        samples = KeyedDataset(dataset, per_sample, run.seed, part)
        n_shards = max(self.world.size, run.ddp.virtual_shards)
        sampler = Sampler(
            indices=indices,
            batch_size=batch_size(run, part),
            shards=range(self.world.rank, n_shards, self.world.size),
            n_shards=n_shards,
            seed=run.seed,
            shuffle=training and options.shuffle,
            drop_last=training and options.drop_last,
            keep_company=training,
            limit=limit,
            labels=self.labels(dataset, indices) if training and options.sampler == "balanced" else None,
        )
        plan: Plan = []
        loader = make_loader(
            samples,
            plan,
            num_workers=options.num_workers,
            persistent=options.persistent_workers,
            pin=options.pin_memory and self.world.device.type == "cuda",
            timeout=run.ddp.timeout,
        )
        return Batches(samples, sampler, plan, loader, per_batch, self.world.device)

    def labels(self, dataset: Any, indices: Sequence[int]) -> list[int]:
        """The class of each sample. Raises ConfigError for a dataset that does not tell."""
        found = labels_of(dataset, indices)
        if found is None:
            message = "'balanced' needs a dataset whose 'targets' are one class a sample; leave it out"
            raise ConfigError([self.config.problem(("dataloader", "sampler"), message)])
        return found


def batch_size(run: schema.Run, part: str) -> int:
    """Samples of a micro-batch over all ranks."""
    test = run.test.batch_size or run.train.batch_size
    return {"train": run.train.batch_size, "valid": run.valid.batch_size or test, "test": test}[part]


def groups_of(dataset: Any, indices: Sequence[int]) -> dict[str, list[str]] | None:
    """What these samples may be grouped by, where the dataset tells."""
    groups = getattr(dataset, "groups", None)
    return None if groups is None else {name: [texts[index] for index in indices] for name, texts in groups.items()}
