"""Checks of a stream: whether it keeps its interface, and whether the config fits it."""

from collections.abc import Iterator, Mapping
from typing import Any

from ddpkit.config import schema
from ddpkit.config.component_refs import SPLITS
from ddpkit.config.loading import Config
from ddpkit.data.stream import Stream
from ddpkit.errors import ConfigError, KeyPath


def check_stream(config: Config, stream: Stream, n_ranks: int) -> None:
    """Raise ConfigError if a stream is wrong, or if the config does not fit it."""
    problems = [config.problem(("dataset", "name"), text) for text in interface_problems(stream)]
    problems = problems or [config.problem(path, text) for path, text in config_problems(config, stream, n_ranks)]
    if problems:
        raise ConfigError(problems)


def interface_problems(stream: Any) -> Iterator[str]:
    """Yield what is wrong with the attributes of a stream."""
    shards, n = getattr(stream, "shards", None), getattr(stream, "samples_per_epoch", None)
    if not isinstance(shards, Mapping) or not shards.keys() <= {*SPLITS} or not all(map(is_list_of_strings, shards.values())):
        yield "the attribute 'shards' of a stream must be a dict from 'train', 'valid', 'test' to lists of str, such as str(path)"
    elif not shards.get("train"):
        yield "the stream has no shards for training; check the folder of the data"
    if type(n) is not int or n < 1:
        given = "it has none" if n is None else f"got {n!r}"
        yield f"the attribute 'samples_per_epoch' of a stream must be an integer that is at least 1; {given}"


def is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


def config_problems(config: Config, stream: Stream, n_ranks: int) -> Iterator[tuple[KeyPath, str]]:
    """Yield each key that cannot be used with a stream, and why."""
    run, n_shards = config.run, len(stream.shards["train"])
    if run.dataset.split != schema.Split():  # a run folder has the default, too
        yield ("dataset", "split"), "cannot be used with a stream, which has its own shards for each split; remove this table"
    if run.dataset.on_error == "skip":
        yield ("dataset", "on_error"), "'skip' cannot be used with a stream; leave out unreadable samples in its read_shard()"
    if run.dataloader.sampler:
        yield ("dataloader", "sampler"), "cannot be used with a stream, whose samples are not known in advance; remove this key"
    if run.ddp.virtual_shards > 1:
        yield (
            ("ddp", "virtual_shards"),
            "cannot be used with a stream, whose order depends on the number of ranks; remove this key",
        )
    needed = n_ranks * max(run.dataloader.num_workers, 1)
    if n_shards < needed:
        fewer = n_shards // n_ranks
        remedy = f"set num_workers = {fewer}" if fewer else f"use at most {n_shards} ranks"
        message = (
            f"the stream has {n_shards} training shards, but each of the {needed} readers (ranks x loader workers) needs one"
        )
        yield ("dataloader", "num_workers"), f"{message}; {remedy}, or divide the data into more shards"


def refuse_stream(config: Config, command: str, reason: str) -> ConfigError:
    """Return the error for a command that needs samples by index."""
    message = f"{config.run.dataset.name!r} is a stream, with which {command} cannot be used: {reason}"
    return ConfigError([config.problem(("dataset", "name"), message)])
