"""A split that was made before."""

from collections import Counter
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from ddpkit_plugins.datasets.files import read_json
from ddpkit_plugins.datasets.split_indices import PARTS
from ddpkit_plugins.splits.groups import FILE

SHOWN = 5
"""How many samples a message names."""


def predefined(n_samples: int, root_dir: str, groups: Any = None, *, file: str | None = None) -> dict[str, list[int]]:
    """The parts that a file lists; without a file, the dataset's own parts alone.

    Args:
        n_samples: How many there are to divide; given by the run.
        root_dir: The dataset's folder, where `file` starts; given by the run.
        groups: What is known of them, names of files among it, or None; given by the run.
        file: JSON: `{"train": [...], "valid": [...], "test": [...]}` of samples, each in one part at most; a sample is the
            name of its file in `root_dir`, or its number. The `split.json` of a run is such a file, where the dataset has
            no parts of its own. Samples that it lacks are not used.
    """
    if file is None:
        return {}
    listed = read(Path(root_dir, file))
    number_of = {name: number for number, name in enumerate((groups or {}).get(FILE, []))}
    unknown = [each for part in listed.values() for each in part if not is_known(each, n_samples, number_of)]
    if unknown:
        raise ValueError(f"{file} lists what is not among the {n_samples} samples to divide: {unknown[:SHOWN]}")
    parts = {part: [number_of[each] if isinstance(each, str) else each for each in found] for part, found in listed.items()}
    if doubles := [number for number, n in Counter(chain(*parts.values())).items() if n > 1]:
        raise ValueError(f"{file} lists samples more than once: {doubles[:SHOWN]}")
    return parts


def read(file: Path) -> dict[str, list[Any]]:
    """The parts of a file. Raises ValueError for what is none."""
    found = read_json(file)
    is_lists = isinstance(found, dict) and all(isinstance(each, list) for each in found.values())
    if not is_lists or found.keys() - PARTS:
        raise ValueError(f"{file} is no table of {', '.join(PARTS)}, each a list of samples")
    return dict(found)


def is_known(sample: Any, n_samples: int, number_of: Mapping[str, int]) -> bool:
    """Whether a listed sample is there."""
    if isinstance(sample, str):
        return sample in number_of
    return type(sample) is int and 0 <= sample < n_samples
