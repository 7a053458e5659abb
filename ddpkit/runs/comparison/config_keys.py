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

    A key that a config lacks has its default, because an older version may have recorded the config; None if it has no default,
    or if the config lacks its table of an array, such as the second criterion.
    """
    leaves = [dict(iterate_leaves(config)) for config in configs]
    paths = [path for path in dict.fromkeys(path for each in leaves for path in each) if path not in IDENTITY]
    values = {format_key_path(path): [find_value(each, path) for each in leaves] for path in paths}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def find_value(leaves: Mapping[KeyPath, Any], path: KeyPath) -> Any:
    if path in leaves:
        return leaves[path]
    n_parts = next((number for number, part in enumerate(path, 1) if isinstance(part, int)), 0)  # up to the table of an array
    has_table = any(each[:n_parts] == path[:n_parts] for each in leaves)
    return find_default(path) if has_table else None


def find_default(path: KeyPath) -> Any:
    field = find_field(schema.Run, path)
    default = attrs.NOTHING if field is None else field.default
    create = getattr(default, "factory", None)  # of an empty list or table
    return create() if create else None if default is attrs.NOTHING else default
