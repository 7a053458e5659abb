"""Dataset of images that a table lists: one line per image, with its path and its class."""

import csv
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from PIL import Image

from ddpkit import open_image
from ddpkit_plugins.datasets.files import check_root, check_strays, format_hint, group_by_file, list_files
from ddpkit_plugins.datasets.split_indices import SPLITS
from ddpkit_plugins.stratify import select_stratified

SHOWN = 5
"""Maximum number of lines or values in a message."""
Rows = list[dict[str, str]]


class CsvDataset:
    """Dataset of the images that a CSV file lists: PIL images of mode `mode`, with the number of their class.

    Labels are names of classes, numbered in the order of the run's `classes`, else in alphabetical order. If all labels are
    numbers 0, 1, ..., these are the classes. A split may group samples by any column, such as `group = "patient"`.

    Args:
        root_dir: Folder of the file, to which the paths in it are relative; set by `[dataset]`.
        classes: Names of the classes, in order; passed by the run.
        seed: Seed of the run; passed by the run.
        file: Name of the table: CSV, UTF-8, with a header.
        path: Name of the column with the paths of the images.
        label: Name of the column with the classes.
        part: Name of a column with `train`, `valid` or `test`, which assigns the lines to splits; lines where it is empty are
            divided by the split component.
        mode: `RGB`, or `L` for grayscale.
        max_samples: Maximum number of samples of each split, selected by the seed, with every class in its share.
        follow_links: Whether links may lead out of `root_dir`.

    Raises:
        ValueError: The table is missing or malformed, a label is not among the classes, or an image file is missing.
    """

    def __init__(  # noqa: PLR0913 - keys of the TOML
        self,
        root_dir: str,
        classes: list[str],
        seed: int,
        *,
        file: str = "labels.csv",
        path: str = "path",
        label: str = "label",
        part: str | None = None,
        mode: Literal["RGB", "L"] = "RGB",
        max_samples: int | None = None,
        follow_links: bool = False,
    ) -> None:
        self.root, self.mode = check_root(root_dir, f"the table {file!r}"), mode
        rows = read_rows(self.root / file, [path, label, *([part] if part else [])])
        check_unique(self.root / file, [row[path] for row in rows])
        self.classes, numbers = number_classes(read_labels(self.root / file, [row[label] for row in rows]), classes)
        places = split_by_column([row[part] for row in rows]) if part else {"": range(len(rows))}
        chosen = sorted(place for indices in places.values() for place in select_samples(indices, max_samples, seed, numbers))
        files = list_files(self.root, [rows[index][path] for index in chosen])
        if not follow_links:
            check_strays(self.root, files)
        self.targets = [numbers[index] for index in chosen]
        self.samples = list(zip(files, self.targets, strict=True))
        self.columns = {name: [rows[index][name] for index in chosen] for name in rows[0]}
        self.splits = {name: place for name, place in split_by_column(self.columns[part]).items() if name} if part else {}

    @property
    def groups(self) -> dict[str, list[str]]:
        """Groupings of the samples: the file names, and every column of the table."""
        return group_by_file(self.root, (file for file, _ in self.samples)) | self.columns

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        file, target = self.samples[index]
        return open_image(file, self.mode), target


def read_rows(file: Path, wanted: Sequence[str]) -> Rows:
    """Return the lines of a table. Raises ValueError for a missing file or column, and for a line of another length."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            rows, names = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read as a CSV table: {error}") from error
    if missing := [f"{name!r}{format_hint(name, names)}" for name in wanted if name not in names]:
        raise ValueError(f"{file} has no column {', '.join(missing)}; its columns are {names}")
    if wrong := [number for number, row in enumerate(rows, start=1) if None in row or None in row.values()]:
        raise ValueError(f"{file} has {len(names)} columns, but samples {wrong[:SHOWN]} (counted from 1) have more or fewer")
    if not rows:
        raise ValueError(f"{file} has a header but no samples")
    return rows


def check_unique(file: Path, paths: Sequence[str]) -> None:
    """Raise ValueError for a path in several lines, which could be in two splits."""
    samples = defaultdict(list)
    for number, path in enumerate(paths, start=1):
        samples[os.path.normpath(path)].append(number)
    if doubles := [f"{path!r} ({', '.join(map(str, found))})" for path, found in samples.items() if len(found) > 1]:
        raise ValueError(f"{file} lists images more than once (samples, counted from 1): {'; '.join(doubles[:SHOWN])}")


def read_labels(file: Path, texts: Sequence[str]) -> list[str]:
    """Return the labels without surrounding spaces. Raises ValueError for empty ones."""
    labels = [text.strip() for text in texts]
    if without := [number for number, label in enumerate(labels, start=1) if not label]:
        samples = f"{len(without)} samples (counted from 1): {without[:SHOWN]}"
        raise ValueError(f"{file} has no label for {samples}; add the labels or remove these lines")
    return labels


def select_samples(indices: Sequence[int], max_samples: int | None, seed: int, numbers: Sequence[int]) -> list[int]:
    """Return the indices of a split that are kept, see `select_stratified`."""
    return [indices[place] for place in select_stratified(len(indices), max_samples, seed, [numbers[index] for index in indices])]


def number_classes(labels: Sequence[str], classes: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the class names and the number of each label. Raises ValueError for a label that is not a class."""
    unknown = sorted(set(labels) - set(classes))
    if len(unknown) == len(set(labels)) and all(label.removeprefix("-").isdecimal() for label in labels):
        return list(classes), parse_class_numbers(labels, len(classes))
    if classes and unknown:
        names_and_hints = ", ".join(f"{label!r}{format_hint(label, classes)}" for label in unknown[:SHOWN])
        raise ValueError(f"labels that are not in 'classes': {names_and_hints}; 'classes' are {list(classes)}")
    names = list(classes) or unknown
    number_of = {name: number for number, name in enumerate(names)}
    return names, [number_of[label] for label in labels]


def parse_class_numbers(labels: Sequence[str], n_classes: int) -> list[int]:
    """Return labels as numbers. Raises ValueError below 0, and above the classes if the run names them."""
    numbers = [int(label) for label in labels]
    if min(numbers) < 0:
        raise ValueError(f"numeric labels must be class indices 0, 1, ...; got {min(numbers)}")
    if n_classes and max(numbers) >= n_classes:
        raise ValueError(f"the largest label is {max(numbers)}, but the {n_classes} classes are 0 to {n_classes - 1}")
    return numbers


def split_by_column(column: Sequence[str]) -> dict[str, list[int]]:
    """Return the indices of each split in a column, and of empty cells (`""`). Raises ValueError for other names."""
    if unknown := sorted(set(column) - {*SPLITS, ""}):
        raise ValueError(f"the split of a sample must be {', '.join(SPLITS)} or empty; the table has {unknown[:SHOWN]}")
    return {part: [index for index, name in enumerate(column) if name == part] for part in (*SPLITS, "") if part in column}
