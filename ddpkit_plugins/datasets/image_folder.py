"""Dataset of image files, with one folder per class."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Literal

from PIL import Image

from ddpkit import open_image
from ddpkit_plugins.datasets.files import (
    ENDINGS,
    check_root,
    check_strays,
    format_files,
    format_hint,
    group_by_file,
    list_folders,
    list_images,
    same_form,
)
from ddpkit_plugins.datasets.split_indices import SPLITS, consecutive_ranges
from ddpkit_plugins.stratify import select_stratified

PAIRS = ["images", "masks"]
"""Folders of a segmentation dataset, which are not classes."""
EXPECTED = f"one folder of images ({', '.join(ENDINGS)}) per class"


class CustomDataset:
    """Dataset of the images `root_dir/<class>/*`: PIL images of mode `mode`, with the number of their class.

    The classes are numbered in the order of the run's `classes`, else in the order of their names. If `root_dir` contains folders
    named `train`, `valid` or `test` with class folders in them, these are the splits of the dataset, and the split
    component gets no samples; a class then needs a folder in at least one of them. The samples of a split are interleaved: the
    first image of each class, by name, then the second of each, and so on. Every prefix is therefore as balanced as the folders
    allow.

    Args:
        root_dir: Folder of the class folders; set by `[dataset]`.
        classes: Names of the class folders, in order; passed by the run.
        seed: Seed of the run; passed by the run.
        mode: `RGB`, or `L` for grayscale.
        max_samples: Maximum number of samples of each split, selected by the seed, with every class in its share.
        follow_links: Whether symbolic links may point outside `root_dir`.

    Raises:
        ValueError: The folders and the classes differ, or a class has no images.
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
        self.root, self.mode = check_root(root_dir, EXPECTED), mode
        own = find_split_folders(self.root)
        name_of = {same_form(name): name for name in classes}
        found = {split: list_class_folders(self.root / split, name_of) for split in own or [""]}
        self.classes = order_classes(self.root, classes, found)
        selected = {
            split: select_samples(interleave([files.get(name, []) for name in self.classes]), max_samples, seed)
            for split, files in found.items()
        }
        self.samples = [sample for samples in selected.values() for sample in samples]
        self.targets = [target for _, target in self.samples]
        self.splits = consecutive_ranges({split: len(samples) for split, samples in selected.items()})
        if not follow_links:
            check_strays(self.root, (file for file, _ in self.samples))

    @property
    def groups(self) -> dict[str, list[str]]:
        """Groupings of the samples: name of a grouping -> one text per sample."""
        return group_by_file(self.root, (file for file, _ in self.samples))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        file, target = self.samples[index]
        return open_image(file, self.mode), target


FilesOf = Mapping[str, Sequence[Path]]
"""Name of a class folder -> its images."""


def find_split_folders(root: Path) -> list[str]:
    """Return the splits that a root folder contains; [] if there are none.

    Raises ValueError if there are other folders next to them, whose images would be ignored silently.
    """
    names = [folder.name for folder in list_folders(root)]
    own = [split for split in SPLITS if split in names and list_folders(root / split)]
    others = [name for name in names if name not in own]
    if own and others:
        advice = f"only {', '.join(SPLITS)} with class folders in them can be splits"
        raise ValueError(f"{root} has the splits {own} and also the folders {others}; {advice}")
    return own


def list_class_folders(root: Path, name_of: dict[str, str]) -> dict[str, list[Path]]:
    """Return the images of each class folder. Folders whose names differ only in their Unicode form are one class.

    `name_of`: Unicode form NFC of a class -> its name; new classes are added. Raises ValueError for two folders of one class.
    """
    folders = list_folders(root)
    if [each.name for each in folders] == PAIRS:
        raise ValueError(f"{root} contains the folders {PAIRS}, images with masks; for segmentation, set name = 'mask_folder'")
    forms = Counter(same_form(each.name) for each in folders)
    if doubles := [each for each in folders if forms[same_form(each.name)] > 1]:
        raise ValueError(f"class folders whose names differ only in their Unicode form: {format_files(doubles)}; merge them")
    if undecodable := [each for each in folders if each.name != each.name.encode(errors="replace").decode()]:
        raise ValueError(f"folder names that are not valid UTF-8: {format_files(undecodable)}; rename these class folders")
    return {name_of.setdefault(same_form(each.name), each.name): list_images(each) for each in folders}


def order_classes(root: Path, classes: Sequence[str], found: Mapping[str, FilesOf]) -> list[str]:
    """Return the classes in order. Raises ValueError if classes and folders differ, or if a class has no image."""
    for split, files in found.items():
        if not any(files.values()):
            raise ValueError(f"no images found in the folders of {root / split}; expected {EXPECTED}")
    names = {name for files in found.values() for name in files}
    check_same_classes(root, classes or sorted(names), names)
    if empty := sorted(name for name in names if not any(files.get(name) for files in found.values())):
        raise ValueError(f"the class folders {empty} in {root} contain no images ({', '.join(ENDINGS)})")
    return list(classes) or sorted(names)


def check_same_classes(root: Path, classes: Sequence[str], names: Set[str]) -> None:
    """Raise ValueError for classes without a folder or with several numbers, and for folders without a class."""
    missing, extra = sorted(set(classes) - names), sorted(names - set(classes))
    differences = [f"{name!r} is listed {count} times" for name, count in Counter(classes).items() if count > 1]
    differences += [f"no folder found for the class {name!r}{format_hint(name, extra)}" for name in missing]
    differences += [f"the folder {name!r} is not a class{format_hint(name, missing)}" for name in extra]
    if differences:
        raise ValueError(f"'classes' and the folders in {root} differ: {'; '.join(differences)}")


def interleave(piles: Sequence[Sequence[Path]]) -> list[tuple[Path, int]]:
    """Return `(file, pile)`: the first file of each pile, then the second of each, and so on."""
    ranked = [(rank, pile, file) for pile, files in enumerate(piles) for rank, file in enumerate(files)]
    return [(file, pile) for rank, pile, file in sorted(ranked)]


def select_samples(samples: Sequence[tuple[Path, int]], max_samples: int | None, seed: int) -> list[tuple[Path, int]]:
    """Return at most `max_samples` samples, see `select_stratified`."""
    return [samples[index] for index in select_stratified(len(samples), max_samples, seed, [target for _, target in samples])]
