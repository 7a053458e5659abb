"""Two runs' checkpoints side by side, bit for bit."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ddpkit.checkpoint.store import STATE, Checkpoint, Store, step_of

TIMES = ("seconds", "samples_per_second")
"""Columns of history that no run repeats."""


@attrs.frozen
class Difference:
    """What differs first."""

    step: int
    what: str
    """`model layer.weight`, `optimizer ...`, `plugins acme.seen`, `history`, ...: the file or the place in the plain state."""
    by: str
    """How much, in words."""


def first_difference(alone: Store, other: Store) -> tuple[Difference | None, int]:
    """Of the checkpoints that both have, in order of step; and how many steps were compared. Raises DamagedError.

    The last step must be in both.
    """
    mine, theirs = ({folder.name: folder for folder in store.folders()} for store in (alone, other))
    if max(mine) != max(theirs):
        return Difference(step_of(mine[max(mine)]), "the last step", f"{max(theirs)} in the run that was killed"), 0
    common = sorted(mine.keys() & theirs.keys())
    for number, name in enumerate(common, start=1):
        for difference in differences(alone.open(mine[name]), other.open(theirs[name])):
            return difference, number
    return None, len(common)


def differences(mine: Checkpoint, theirs: Checkpoint) -> Iterator[Difference]:
    """Of two checkpoints of one step."""
    names = {*mine.files, *theirs.files} - {STATE}
    for name in sorted(names, key=lambda name: (not name.startswith("model"), name)):  # the rest follows from it
        one, other = mine.files.get(name), theirs.files.get(name)
        if one != other:
            tensor, by = first_tensor(one, other) if one and other else ("", "only one of them has it")
            yield Difference(mine.step, f"{name.partition('.')[0]} {tensor}".strip(), by)
    for path, one, other in unlike(comparable(mine.plain), comparable(theirs.plain)):
        yield Difference(mine.step, path, f"{one!r} and {other!r}")


def first_tensor(one: bytes, other: bytes) -> tuple[str, str]:
    """Of two safetensors files: the first that is not the same, and the largest difference in it."""
    from safetensors.torch import load  # noqa: PLC0415 - numpy lacks some types of numbers

    mine, theirs = load(one), load(other)
    for name in sorted({*mine, *theirs}):
        if name not in mine or name not in theirs or mine[name].shape != theirs[name].shape:
            return name, "other shapes"
        gap = (mine[name].double() - theirs[name].double()).abs()
        if bool((gap != 0).any()):
            return name, f"by up to {float(gap.max()):.1e}"
    return "", "other bits of the same numbers"


def comparable(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A state without what no run repeats."""
    history = [{key: value for key, value in row.items() if key not in TIMES} for row in plain["run"]["history"]]
    return {**plain, "run": {"data": plain["run"]["data"], "history": history}}


def unlike(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Places of plain data that are not the same, with both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            yield from unlike(one.get(key), other.get(key), f"{path} {key}".strip())
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from unlike(mine, theirs, f"{path}[{number}]")
    elif json.dumps(one) != json.dumps(other):
        yield path, one, other
