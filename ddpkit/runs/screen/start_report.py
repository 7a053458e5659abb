"""Description of a run, logged at its start."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ddpkit.config.loading import Config
from ddpkit.data.labels import count_classes
from ddpkit.data.loader import SplitLoader
from ddpkit.runs.log import LOGGER
from ddpkit.runs.screen.text_table import count
from ddpkit.training.trainer import Trainer

FEW_CLASSES = 10
"""Largest number of classes whose sample counts are all logged."""


def log_start(
    config: Config,
    plugins: Sequence[Mapping[str, str]],
    trainer: Trainer,
    folder: Path,
    counts: Mapping[str, Mapping[str, int] | None],
) -> None:
    """Log the start of a run: config, run folder, plugins, model, data and ranks. Messages of other ranks are not shown.

    Args:
        config: Resolved config of the run.
        plugins: `name` and `version` of the plugins that the run uses.
        trainer: Trainer that was built for the run.
        folder: Path of the run folder.
        counts: Number of samples of each class in each split, see `count_split_classes`.
    """
    run, world = config.run, trainer.world
    loaders = trainer.split_loaders
    n_parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    trained = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    frozen = f", {trained} of them trainable" * (trained < n_parameters)
    LOGGER.info("config  %s", config.file.name)
    LOGGER.info("run     %s", folder)
    # the parts of one plugin (`builtin.models`, `builtin.metrics`) are listed once
    used = dict.fromkeys(f"{each['name'].partition('.')[0]} {each['version']}" for each in plugins)
    LOGGER.info("plugins %s", ", ".join(used))
    LOGGER.info("model   %s, %d parameters%s, %s", run.model.name, n_parameters, frozen, run.train.scaler.compute_type)
    for group in trainer.freezing.groups:
        LOGGER.info("freeze  %s until epoch %d", group, group.until)
    LOGGER.info("data    %s: %s", run.dataset.name, describe_sizes(loaders))
    for split, known in counts.items():
        if known is not None:
            LOGGER.info("classes %s", f"{split}: {summarise_counts(known)}")
    LOGGER.info("ranks   %d on %s, %s each; seed %d", world.size, world.device.type, count(world.threads, "thread"), run.seed)
    LOGGER.info("batch   %d samples, %d per rank", run.train.batch_size, run.train.batch_size // world.size)
    if "valid" not in loaders:
        LOGGER.warning("no validation split: the best weights are selected by the training loss")
    if "test" not in loaders:
        LOGGER.warning("no test split: the best weights are not tested")


def describe_sizes(loaders: Mapping[str, SplitLoader]) -> str:
    """Return the number of samples of each split, and of those that no split has; for a stream, the number of shards."""
    if loaders["train"].unit != "sample":
        n_samples = count(loaders["train"].sampler.n_samples(), "sample")
        return (
            ", ".join(f"{split} {count(len(each.names()), each.unit)}" for split, each in loaders.items())
            + f"; {n_samples} per epoch"
        )
    sizes = [f"{split} {len(loader.sampler.indices)}" for split, loader in loaders.items()]
    indices = {index for loader in loaders.values() for index in loader.sampler.indices}
    n_unused = len(loaders["train"].samples.info) - len(indices)
    return ", ".join(sizes + [f"not used {n_unused}"] * bool(n_unused))


def count_split_classes(loaders: Mapping[str, SplitLoader], names: Sequence[str]) -> dict[str, dict[str, int] | None]:
    """Return the number of samples of each class in each split; None for a split without labels."""
    return {split: count_classes(each.samples.dataset, each.sampler.indices, names) for split, each in loaders.items()}


def summarise_counts(counts: Mapping[str, int]) -> str:
    """Return the number of samples of each class, or a summary beyond FEW_CLASSES classes."""
    if len(counts) <= FEW_CLASSES:
        return ", ".join(f"{name} {count}" for name, count in counts.items())
    fewest, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    low, high = counts[fewest], counts[most]
    return f"{len(counts)} classes, {low} to {high} samples each ({fewest} {low}, ... {most} {high})"
