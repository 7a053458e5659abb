"""Bit-identical comparison of the checkpoints of two runs."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ddpkit.checkpoint.store import STATE, Checkpoint, Store, parse_step

TIMES = ("seconds", "samples_per_second")
"""History columns that differ between any two runs."""


@attrs.frozen
class Difference:
    """First difference between the checkpoints of two runs."""

    step: int
    what: str
    """Tensor file, or key in the JSON state: `model layer.weight`, `optimizer ...`, `plugins acme.seen`, `history`, ..."""
    by: str
    """Size of the difference, in words."""


def find_first_difference(uninterrupted: Store, resumed: Store) -> tuple[Difference | None, int]:
    """Return the first difference between the checkpoints that both runs have, and the number of steps compared.

    Steps are compared in order. Different last steps are a difference too. Raise CorruptError if a checkpoint is corrupt.
    """
    mine, theirs = ({folder.name: folder for folder in store.folders()} for store in (uninterrupted, resumed))
    if max(mine) != max(theirs):
        return Difference(parse_step(mine[max(mine)]), "last step", f"{max(theirs)} in the killed run"), 0
    common = sorted(mine.keys() & theirs.keys())
    for number, name in enumerate(common, start=1):
        for difference in iterate_differences(uninterrupted.open(mine[name]), resumed.open(theirs[name])):
            return difference, number
    return None, len(common)


def iterate_differences(mine: Checkpoint, theirs: Checkpoint) -> Iterator[Difference]:
    """Yield the differences between two checkpoints of the same step."""
    names = {*mine.files, *theirs.files} - {STATE}
    # model first: other differences are its consequences
    for name in sorted(names, key=lambda name: (not name.startswith("model"), name)):
        one, other = mine.files.get(name), theirs.files.get(name)
        if one != other:
            tensor, by = find_first_tensor(one, other) if one and other else ("", "only one of the two runs has it")
            yield Difference(mine.step, f"{name.partition('.')[0]} {tensor}".strip(), by)
    for path, one, other in find_differences(comparable_values(mine.plain), comparable_values(theirs.plain)):
        yield Difference(mine.step, path, f"{one!r} and {other!r}")


def find_first_tensor(one: bytes, other: bytes) -> tuple[str, str]:
    """Return the first tensor that differs between two safetensors files, and its largest difference."""
    from safetensors.torch import load  # noqa: PLC0415 - numpy lacks some dtypes

    mine, theirs = load(one), load(other)
    for name in sorted({*mine, *theirs}):
        if name not in mine or name not in theirs or mine[name].shape != theirs[name].shape:
            return name, "different shapes"
        gap = (mine[name].double() - theirs[name].double()).abs()
        if bool((gap != 0).any()):
            return name, f"by up to {float(gap.max()):.1e}"
    return "", "equal values with different bits"


def comparable_values(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON state without the values that differ between any two runs."""
    history = [{key: value for key, value in row.items() if key not in TIMES} for row in plain["run"]["history"]]
    return {**plain, "run": {"data": plain["run"]["data"], "history": history}}


def find_differences(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the path of each difference between two JSON values, with both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            yield from find_differences(one.get(key), other.get(key), f"{path} {key}".strip())
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from find_differences(mine, theirs, f"{path}[{number}]")
    elif json.dumps(one) != json.dumps(other):
        yield path, one, other
