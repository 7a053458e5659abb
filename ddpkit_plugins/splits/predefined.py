"""Splits that a file or the dataset itself defines."""

from collections import Counter
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from ddpkit_plugins.datasets.files import read_json, same_form
from ddpkit_plugins.datasets.split_indices import SPLITS
from ddpkit_plugins.splits.groups import FILE

SHOWN = 5
"""Maximum number of samples in a message."""


def predefined(n_samples: int, root_dir: str, groups: Any = None, *, file: str | None = None) -> dict[str, list[int]]:
    """Return the splits that a file lists; without a file, only the dataset's own splits are used.

    Args:
        n_samples: Number of samples to divide; passed by the run.
        root_dir: Folder of the dataset, to which `file` is relative; passed by the run.
        groups: Groupings of the samples, such as their file names, or None; passed by the run.
        file: JSON file: `{"train": [...], "valid": [...], "test": [...]}`, a list of samples for each split. A sample is the name
            of its file in `root_dir`, or its index, and is in at most one split. Samples that the file does not list are not
            used. If the dataset has no splits of its own, the `split.json` of a run is such a file.

    Raises:
        ValueError: The file cannot be read, or lists a sample that is unknown or occurs twice.
    """
    if file is None:
        return {}
    listed = read_splits(Path(root_dir, file))
    number_of = {same_form(name): number for number, name in enumerate((groups or {}).get(FILE, []))}
    unknown = [each for split in listed.values() for each in split if not is_known(each, n_samples, number_of)]
    if unknown:
        rule = f"it can list only the {n_samples} samples that are not in one of the dataset's own splits"
        raise ValueError(f"{file} lists unknown samples: {unknown[:SHOWN]}; {rule}")
    splits = {
        split: [number_of[same_form(each)] if isinstance(each, str) else each for each in found]
        for split, found in listed.items()
    }
    if doubles := [number for number, n in Counter(chain(*splits.values())).items() if n > 1]:
        raise ValueError(f"{file} lists samples more than once: {doubles[:SHOWN]}")
    return splits


def read_splits(file: Path) -> dict[str, list[Any]]:
    """Return the splits of a file. Raises ValueError for a file of another form."""
    found = read_json(file)
    is_lists = isinstance(found, dict) and all(isinstance(each, list) for each in found.values())
    if not is_lists or found.keys() - SPLITS:
        raise ValueError(f"{file} must contain a list of samples per split; only the keys {', '.join(SPLITS)} are allowed")
    return dict(found)


def is_known(sample: Any, n_samples: int, number_of: Mapping[str, int]) -> bool:
    """Return whether a listed sample exists in the dataset."""
    if isinstance(sample, str):
        return same_form(sample) in number_of
    return type(sample) is int and 0 <= sample < n_samples
