"""Image files of one's own, a folder for each class."""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from itertools import accumulate
from pathlib import Path
from typing import Literal

from PIL import Image

from ddpkit_plugins.datasets.images import ENDINGS, existing_root, folders, image_files, open_as

PARTS = ("train", "valid", "test")
EXPECTED = f"a folder of images ({', '.join(ENDINGS)}) for each class"


class CustomDataset:
    """Images `root_dir/<class>/*` as PIL images of mode `mode`, with the number of their class.

    The classes are numbered in the order of the run's `classes`, else in that of their names. Where `root_dir` holds folders
    named `train`, `valid` or `test` with folders of classes in them, those are the parts of the dataset, nothing is left to
    be split, and a class needs a folder in any of them. The samples of a part are dealt in turn, the first image of each
    class, by name, then the second of each, and so on: every prefix is as balanced as the folders allow.

    Args:
        root_dir: The folder; given by `[dataset]`.
        classes: Names of the folders, in order; given by the run.
        mode: `RGB`, or `L` for grey.
        max_samples: Keep only so many, the first ones, of each part.
    """

    def __init__(
        self, root_dir: str, classes: list[str], mode: Literal["RGB", "L"] = "RGB", max_samples: int | None = None
    ) -> None:
        if max_samples is not None and max_samples < 1:
            raise ValueError(f"max_samples is at least 1, got {max_samples}")
        root = existing_root(root_dir, EXPECTED)
        own = part_folders(root)
        found = {part: {folder.name: image_files(folder) for folder in folders(root / part)} for part in own or [""]}
        self.mode, self.classes = mode, class_order(root, classes, found)
        dealt = {part: in_turn([files.get(name, []) for name in self.classes])[:max_samples] for part, files in found.items()}
        self.files: list[Path] = [file for samples in dealt.values() for _, file in samples]
        self.targets: list[int] = [target for samples in dealt.values() for target, _ in samples]
        ends = accumulate(len(samples) for samples in dealt.values())
        self.parts = {part: range(end - len(dealt[part]), end) for part, end in zip(dealt, ends, strict=True) if own}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return open_as(self.files[index], self.mode), self.targets[index]


FilesOf = Mapping[str, Sequence[Path]]
"""Name of a class folder -> its images."""


def part_folders(root: Path) -> list[str]:
    """The parts that a root folder holds, if any; then it may hold nothing else, or images would be left out unseen."""
    names = [folder.name for folder in folders(root)]
    own = [part for part in PARTS if part in names and folders(root / part)]
    odd = [name for name in names if name not in own]
    if own and odd:
        raise ValueError(f"{root} has the parts {own} and beside them {odd}; parts are {list(PARTS)} with folders of classes")
    return own


def class_order(root: Path, classes: Sequence[str], found: Mapping[str, FilesOf]) -> list[str]:
    """The classes in order. Raises ValueError when they and the folders are not the same, or a class has no image."""
    for part, files in found.items():
        if not any(files.values()):
            raise ValueError(f"no images in folders in {root / part}; expected {EXPECTED}")
    names = {name for files in found.values() for name in files}
    refuse_difference(root, classes or sorted(names), names)
    if empty := sorted(name for name in names if not any(files.get(name) for files in found.values())):
        raise ValueError(f"the class folders {empty} in {root} hold no images ({', '.join(ENDINGS)})")
    return list(classes) or sorted(names)


def refuse_difference(root: Path, classes: Sequence[str], names: Set[str]) -> None:
    """Raise ValueError with the classes that have no folder, or more than one number, and the folders that are no class."""
    missing, extra = sorted(set(classes) - names), sorted(names - set(classes))
    said = [f"{name!r} is named {count} times" for name, count in Counter(classes).items() if count > 1]
    said += [f"there is no folder for the class {name!r}{hint(name, extra)}" for name in missing]
    said += [f"the folder {name!r} is no class{hint(name, missing)}" for name in extra]
    if said:
        raise ValueError(f"'classes' and the folders in {root} differ: {'; '.join(said)}")


def hint(name: str, others: Sequence[str]) -> str:
    """The name that may have been meant."""
    close = difflib.get_close_matches(name, others, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def in_turn(piles: Sequence[Sequence[Path]]) -> list[tuple[int, Path]]:
    """`(pile, file)`: the first of each pile, then the second of each, until all are dealt."""
    ranked = [(rank, pile, file) for pile, files in enumerate(piles) for rank, file in enumerate(files)]
    return [(pile, file) for rank, pile, file in sorted(ranked)]
