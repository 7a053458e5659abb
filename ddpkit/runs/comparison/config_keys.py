"""Config keys whose values differ between runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ddpkit.config import schema
from ddpkit.config.converter import find_field
from ddpkit.config.diff import iterate_leaves
from ddpkit.errors import KeyPath, format_key_path

IDENTITY = (("output_dir",), ("task",), ("run_id",))
"""Keys that only name a run; they are not compared."""


def find_different_keys(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values of each dotted key that differs, one per config, in the order of the config.

    A key that a config lacks has its default, because an older version may have recorded the config; without default, None.
    """
    leaves = [dict(iterate_leaves(config)) for config in configs]
    paths = [path for path in dict.fromkeys(path for each in leaves for path in each) if path not in IDENTITY]
    values = {format_key_path(path): [each[path] if path in each else find_default(path) for each in leaves] for path in paths}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def find_default(path: KeyPath) -> Any:
    field = find_field(schema.Run, path)
    default = attrs.NOTHING if field is None else field.default
    create = getattr(default, "factory", None)  # of an empty list or table
    return create() if create else None if default is attrs.NOTHING else default
