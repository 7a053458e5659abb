"""Changes of the data since a run was started: samples that are missing, new or moved, and files with other content."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from ddpkit.data.loader import SplitLoader
from ddpkit.runs.files import read_json, reading
from ddpkit.runs.folder import DATA_FILES, SPLIT

Name = str | int
"""Identifier of a sample: the name of its file, or its index if names are not known or not unique."""


@attrs.frozen
class DataState:
    """Samples of each split, and the states of their files."""

    names: Mapping[str, Sequence[Name]]
    files: Mapping[str, Sequence[Sequence[int]]]
    """Sizes and modification times (ns) of the files of each sample, in the order of `names`; {} if they are not known."""
    unit: str = "sample"
    """What `names` lists: samples, or the shards of a stream."""

    @classmethod
    def of_loaders(cls, loaders: Mapping[str, SplitLoader], *, with_files: bool) -> "DataState":
        """Return the current state. `with_files`: also look at each file, which takes microseconds on a local disk."""
        names = {split: loader.names() for split, loader in loaders.items()}
        states = {split: loader.file_states() for split, loader in loaders.items()} if with_files else {}
        return cls(names, states, loaders["train"].unit)

    @classmethod
    def of_run(cls, folder: Path) -> "DataState":
        """Return the state that the run recorded when it was started or last resumed; empty if its files are missing.

        Raise ConfigError if they are damaged.
        """
        with reading(folder / SPLIT):
            names = {split: tuple(listed) for split, listed in read_json(folder / SPLIT).items()}
            hash(tuple(names.values()))  # raises TypeError for a name that is a list
        with reading(folder / DATA_FILES):
            states = {split: [list(state) for state in listed] for split, listed in read_json(folder / DATA_FILES).items()}
        return cls(names, states)

    def split_of(self) -> dict[Name, str]:
        """Return the split of each sample."""
        return {name: split for split, names in self.names.items() for name in names}

    def file_of(self) -> dict[Name, Sequence[int]]:
        """Return the state of the files of each sample."""
        pairs = [zip(self.names.get(split, ()), states, strict=False) for split, states in self.files.items()]
        return dict(itertools.chain.from_iterable(pairs))


def describe_sample_changes(before: DataState, now: DataState) -> str:
    """Return text such as `1 sample is missing, such as 'a.png' (train)`; empty if the names of the samples do not explain it."""
    was, current = before.split_of(), now.split_of()
    missing = [name for name in was if name not in current]
    new = [name for name in current if name not in was]
    moved = [name for name in was if name in current and was[name] != current[name]]
    if not was or (moved and isinstance(moved[0], int)):  # indices are only positions
        return ""
    found = [count_samples(missing, now.unit, "missing", was), count_samples(new, now.unit, "new", current)]
    if moved and not missing and not new:
        found.append(f"{len(moved)} moved to another split, such as {moved[0]!r} from {was[moved[0]]} to {current[moved[0]]}")
    return "; ".join(filter(None, found))


def count_samples(names: Sequence[Name], unit: str, what: str, split_of: Mapping[Name, str]) -> str:
    if not names:
        return ""
    return f"{len(names)} {unit}{'s are' if len(names) > 1 else ' is'} {what}, such as {names[0]!r} ({split_of[names[0]]})"


def describe_file_changes(before: DataState, now: DataState) -> list[str]:
    """Return a warning about files whose size or modification time differs, without reading them; [] if there are none."""
    was, current = before.file_of(), now.file_of()
    changed = [name for name, state in current.items() if name in was and list(was[name]) != list(state)]
    if not changed:
        return []
    sizes = [name for name in changed if was[name][::2] != current[name][::2]]
    what = f"{len(sizes)} of them in size" if sizes else "only in their modification time"
    example = (sizes or changed)[0]
    return [f"dataset: the files of {len(changed)} {now.unit}s changed since the run was started, {what}, such as {example!r}"]
