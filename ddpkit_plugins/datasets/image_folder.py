"""Image files of one's own, a folder for each class."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Literal

from PIL import Image

from ddpkit import open_image
from ddpkit_plugins.datasets.files import ENDINGS, existing_root, file_groups, folders, hint, image_files, refuse_strays
from ddpkit_plugins.datasets.split_indices import PARTS, consecutive
from ddpkit_plugins.stratify import kept

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
        seed: The run's; given by the run.
        mode: `RGB`, or `L` for grey.
        max_samples: Keep only so many of each part: drawn by the seed, of every class in its share.
        follow_links: Links may lead out of `root_dir`.
    """

    def __init__(
        self,
        root_dir: str,
        classes: list[str],
        seed: int,
        *,
        mode: Literal["RGB", "L"] = "RGB",
        max_samples: int | None = None,
        follow_links: bool = False,
    ) -> None:
        self.root, self.mode = existing_root(root_dir, EXPECTED), mode
        own = part_folders(self.root)
        found = {part: {each.name: image_files(each) for each in folders(self.root / part)} for part in own or [""]}
        self.classes = class_order(self.root, classes, found)
        dealt = {
            part: some(in_turn([files.get(name, []) for name in self.classes]), max_samples, seed)
            for part, files in found.items()
        }
        self.samples = [sample for samples in dealt.values() for sample in samples]
        self.targets = [target for _, target in self.samples]
        self.parts = consecutive({part: len(samples) for part, samples in dealt.items()})
        if not follow_links:
            refuse_strays(self.root, (file for file, _ in self.samples))

    @property
    def groups(self) -> dict[str, list[str]]:
        """What a split may group samples by."""
        return file_groups(self.root, (file for file, _ in self.samples))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        file, target = self.samples[index]
        return open_image(file, self.mode), target


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


def in_turn(piles: Sequence[Sequence[Path]]) -> list[tuple[Path, int]]:
    """`(file, pile)`: the first of each pile, then the second of each, until all are dealt."""
    ranked = [(rank, pile, file) for pile, files in enumerate(piles) for rank, file in enumerate(files)]
    return [(file, pile) for rank, pile, file in sorted(ranked)]


def some(samples: Sequence[tuple[Path, int]], max_samples: int | None, seed: int) -> list[tuple[Path, int]]:
    """At most so many of them."""
    return [samples[index] for index in kept(len(samples), max_samples, seed, [target for _, target in samples])]
