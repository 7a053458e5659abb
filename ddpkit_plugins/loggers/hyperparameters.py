"""Hyperparameters of a run: its config as a flat table."""

import math
from collections.abc import Iterator, Mapping
from typing import Any


def flatten_config(config: Mapping[str, Any]) -> dict[str, bool | float | str]:
    """Return the values of a config by dotted key: `train.epoch`, `criterion.0.type`.

    A list without tables is one value, as text. So is a number that is not finite: TensorBoard cannot show it.
    """
    return {key: to_plain(value) for key, value in iterate_leaves(config)}


def iterate_leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value that is not a table, with its dotted key."""
    if isinstance(value, Mapping):
        items = [*value.items()]
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        items = [*enumerate(value)]
    else:
        yield key, value
        return
    for name, item in items:
        yield from iterate_leaves(item, f"{key}.{name}" if key else str(name))


def to_plain(value: Any) -> bool | float | str:
    """Return a number or a text of one line."""
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return " ".join(str(value).split("\n"))
