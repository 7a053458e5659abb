"""Names of the classes and their numbers of samples, in a config and on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = 8
"""Maximum number of classes on the terminal."""
WRITTEN = 30
"""Maximum number of classes in the config; more of them are left to the data."""


def class_values(classes: Sequence[str], counts: Mapping[str, int], *, must_name: bool = False) -> dict[str, Any]:
    """Return the values of the templates that describe the classes.

    Args:
        classes: Names in the order of the labels.
        counts: Number of samples or objects of each class; absent: 0.
        must_name: Whether the config must contain the names, however many there are.
    """
    is_written = must_name or len(classes) <= WRITTEN
    shown = ", ".join(f"{name} ({counts.get(name, 0)})" for name in classes[:SHOWN])
    return {
        "classes": list(classes) if is_written else None,
        "more_classes": None if is_written else len(classes),
        "n_classes": len(classes),
        "counts": shown + ", ..." * (len(classes) > SHOWN),
    }
