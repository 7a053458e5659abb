"""Differences between a config and the one in a checkpoint, and whether the run may resume with them.

Each key has one of three categories. Identity: another value means another experiment. Resuming is refused, unless
`--allow-drift` names the key. Adjustable: the new value applies from the resumed step on, and is recorded. Ignored: the key
affects how a run is executed, not its result.
"""

import fnmatch
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from ddpkit.config import schema
from ddpkit.config.converter import find_field, find_shorthand
from ddpkit.config.loading import Config, to_tables
from ddpkit.errors import ConfigError, Diagnostic, KeyPath, format_key_path

IGNORED = (
    *("extends", "output_dir", "task", "entity", "run_id", "device", "classes", "predict*", "test.*", "private*"),
    *("plugins.block", "plugins.allow", "plugins.enable", "plugins.prefer*", "plugins.files"),
    *("ddp.enabled", "ddp.nproc", "ddp.backend", "ddp.timeout", "ddp.log_level", "ddp.find_unused_parameters"),
    *("model.continue_checkpoint", "model.continue_ext_checkpoint", "model.pretrained", "dataset.root_dir", "dataset.ref"),
    *("model.config.input_sizes*", "model.config.dtypes*", "dataloader.num_workers", "dataloader.persistent_workers"),
    *("dataloader.pin_memory", "train.save_*", "output.save_*", "train.helpers.*.pretrained"),
)
"""Patterns of ignored keys; they may change freely."""
ADJUSTABLE = (
    *("train.epoch", "train.optimizer.*", "train.lr_scheduler*", "train.early_stopping*", "train.grad_clip_norm"),
    *("train.ema_decay", "train.on_nonfinite", "train.matmul_precision", "train.channels_last", "train.deterministic"),
    *("train.compile", "valid.batch_size", "valid.every", "dataset.on_error", "dataset.max_skipped", "plugins.config*"),
)
DATA = "dataset"
"""Name with which `--allow-drift` permits other samples. The samples are compared later, in `checkpoint.run_metadata`."""
HELPERS = "train.helpers"
"""Table whose models may have other weights. The weights are compared later too."""
NOT_ADJUSTABLE = (
    "train.optimizer.type",
    "train.optimizer.name",
    "train.optimizer.match",
    "train.optimizer.groups*",
    "train.optimizer.decay_norm_and_bias",
    "train.optimizer.lr_scheduler.type",
    "train.lr_scheduler.type",
)
"""Exceptions from ADJUSTABLE: these keys belong to the identity."""


@attrs.frozen
class Change:
    """Key whose value differs from the one in the checkpoint."""

    path: KeyPath
    was: Any
    now: Any

    @property
    def key(self) -> str:
        """Key in dotted form, as in `train.epoch`."""
        return format_key_path(self.path)

    def __str__(self) -> str:
        return f"{self.key} is {format_change(self.now)}, but was {format_change(self.was)}"


def find_changes(saved: Mapping[str, Any], config: Config) -> list[Change]:
    """Return the changes since `saved` (plain tables), sorted by key. Ignored keys are left out."""
    before, now = dict(expand_shorthand(iterate_leaves(saved))), dict(iterate_leaves(to_tables(config.run)))
    different = [path for path in {**before, **now} if before.get(path) != now.get(path)]
    return [
        Change(path, before.get(path), now.get(path))
        for path in sorted(different, key=lambda path: [str(part) for part in path])
        if not matches_key(format_key_path(path), IGNORED) and not is_new_default(path, before, now)
    ]


def is_new_default(path: KeyPath, before: Mapping[KeyPath, Any], now: Mapping[KeyPath, Any]) -> bool:
    """Return whether `before`, which an older version may have recorded, lacks a key that has its default now."""
    field = find_field(schema.Run, path)
    return path not in before and field is not None and now[path] == field.default


def is_adjustable(change: Change) -> bool:
    """Return whether the new value may simply apply from the resumed step on."""
    if change.key == "train.ema_decay":  # switching the EMA on or off makes another experiment; changing its decay does not
        return bool(change.was) and bool(change.now)
    return matches_key(change.key, ADJUSTABLE) and not matches_key(change.key, NOT_ADJUSTABLE)


def check_changes(found: Sequence[Change], allowed: Sequence[str], config: Config) -> None:
    """Raise ConfigError for identity changes that `allowed` does not list, and for listed keys that did not change."""
    known = [name for name in allowed if name != DATA and not is_below(name, HELPERS)]
    unchanged = [name for name in known if not any(is_below(change.key, name) for change in found)]
    problems = [
        Diagnostic("--allow-drift", (), f"{name!r} did not change since the checkpoint; remove this option") for name in unchanged
    ]
    for change in found:
        if not is_adjustable(change) and not any(is_below(change.key, name) for name in allowed):
            message = f"is {format_change(change.now)}, but was {format_change(change.was)} in the resumed run"
            remedy = f"restore that value, start a new run with another 'run_id', or add '--allow-drift {change.key}'"
            problems.append(config.problem(change.path, f"{message}; {remedy}"))
    if problems:
        raise ConfigError(problems)


def is_below(key: str, name: str) -> bool:
    """Return whether a key is `name` or below it: `train.optimizer.type` is below `train.optimizer`."""
    return key == name or key.startswith((f"{name}.", f"{name}["))


def iterate_leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield each value that is not a table, with its path. A list counts as one value, unless it contains tables."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from iterate_leaves(item, (*path, key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value):
            yield from iterate_leaves(item, (*path, number))
    else:
        yield path, list(value) if isinstance(value, tuple) else value


def expand_shorthand(leaves: Iterable[tuple[KeyPath, Any]]) -> Iterator[tuple[KeyPath, Any]]:
    """Yield leaves; an array of strings that an older version recorded, where an array of tables is recorded now, as tables."""
    for path, value in leaves:
        field = find_field(schema.Run, path)
        key = find_shorthand(field.type) if field and value and isinstance(value, list) else None
        yield from [((*path, number, key), item) for number, item in enumerate(value)] if key else [(path, value)]


def matches_key(key: str, patterns: Sequence[str]) -> bool:
    """Return whether a pattern matches a key, whose numbers of tables in arrays do not count."""
    key = re.sub(r"\[\d+\]", "", key)
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def format_change(value: Any) -> str:
    """Return a value as it is written in a file; "not set" for None."""
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)
