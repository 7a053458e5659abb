"""What changed in the config since a checkpoint was written, and what that means for the run.

A key is of one of three kinds. Of identity: with another value it is another experiment; refused, unless it is allowed by
name. Soft: the new value holds from here on, and is recorded. Free: it is about how a run is done, not what comes of it.
"""

import fnmatch
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from ddpkit.config.loading import Config, tables
from ddpkit.errors import ConfigError, KeyPath, Problem, shown

FREE = (
    *("extends", "output_dir", "task", "entity", "run_id", "device", "classes", "plugins*", "predict*", "test.*", "private*"),
    *("ddp.enabled", "ddp.nproc", "ddp.backend", "ddp.timeout", "ddp.log_level", "ddp.find_unused_parameters"),
    *("model.continue_checkpoint", "model.continue_ext_checkpoint", "model.pretrained", "dataset.root_dir", "dataset.ref"),
    *("model.config.input_sizes*", "model.config.dtypes*", "dataloader.num_workers", "dataloader.persistent_workers"),
    *("dataloader.pin_memory", "train.save_*", "output.save_*"),
)
"""Patterns of keys."""
SOFT = (
    *("train.epoch", "train.optimizer.*", "train.lr_scheduler*", "train.early_stopping*", "train.grad_clip_norm"),
    *("train.ema_decay", "train.on_nonfinite", "train.matmul_precision", "train.channels_last", "train.deterministic"),
    *("train.compile", "valid.batch_size", "valid.every"),
)
DATA = "dataset"
"""The key under which other samples are allowed; whether there are any is seen later."""
NOT_SOFT = ("train.optimizer.type", "train.optimizer.groups*", "train.optimizer.decay_norm_and_bias", "train.lr_scheduler.type")
"""But these are of identity."""


@attrs.frozen
class Change:
    """A key with another value than before."""

    path: KeyPath
    was: Any
    now: Any

    @property
    def key(self) -> str:
        """`train.epoch`."""
        return shown(self.path)

    def __str__(self) -> str:
        return f"{self.key} is {value_text(self.now)}, and was {value_text(self.was)}"


def changes(saved: Mapping[str, Any], config: Config) -> list[Change]:
    """All of them but the free ones, in order of key."""
    before, now = dict(leaves(saved)), dict(leaves(tables(config.run)))
    different = [path for path in {**before, **now} if before.get(path) != now.get(path)]
    return [
        Change(path, before.get(path), now.get(path))
        for path in sorted(different, key=lambda path: [str(part) for part in path])
        if not matches(shown(path), FREE)
    ]


def is_soft(change: Change) -> bool:
    """Whether the new value just holds from here on. An average that begins or ends is another thing."""
    if change.key == "train.ema_decay":
        return bool(change.was) and bool(change.now)
    return matches(change.key, SOFT) and not matches(change.key, NOT_SOFT)


def refuse(found: Sequence[Change], allowed: Sequence[str], config: Config) -> None:
    """Raise ConfigError for each change of identity that nobody allowed, and for each that was allowed and did not happen."""
    strange = [name for name in allowed if name != DATA and not any(is_below(change.key, name) for change in found)]
    problems = [Problem("--allow-drift", (), f"{name!r} did not change since the checkpoint; leave it out") for name in strange]
    for change in found:
        if not is_soft(change) and not any(is_below(change.key, name) for name in allowed):
            message = f"is {value_text(change.now)}, and was {value_text(change.was)} in the run that goes on"
            remedy = f"take that, or begin a run of another 'run_id', or add '--allow-drift {change.key}'"
            problems.append(config.problem(change.path, f"{message}; {remedy}"))
    if problems:
        raise ConfigError(problems)


def is_below(key: str, name: str) -> bool:
    """`train.optimizer` is above `train.optimizer.type`."""
    return key == name or key.startswith((f"{name}.", f"{name}["))


def leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every value that is no table; of lists of tables each table by itself."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value):
            yield from leaves(item, (*path, number))
    else:
        yield path, list(value) if isinstance(value, tuple) else value


def matches(key: str, patterns: Sequence[str]) -> bool:
    """Whether a key is one of those meant."""
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def value_text(value: Any) -> str:
    """As it stands in a file."""
    return "not there" if value is None else json.dumps(value, ensure_ascii=False)
