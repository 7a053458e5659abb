"""Images that a table names: a line each, its path and its class."""

import csv
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from PIL import Image

from ddpkit import open_image
from ddpkit_plugins.datasets.files import existing_root, file_groups, hint, listed_files, refuse_strays
from ddpkit_plugins.datasets.split_indices import PARTS
from ddpkit_plugins.stratify import kept

SHOWN = 5
"""How many lines or values a message names."""
Rows = list[dict[str, str]]


class CsvDataset:
    """Images named by the lines of a CSV file, as PIL images of mode `mode`, with the number of their class.

    Labels are names of classes, numbered in the order of the run's `classes`, else in their own; or all of them are numbers
    0, 1, ..., which are the classes. A split may group samples by any column, `group = "patient"`.

    Args:
        root_dir: The folder of the file, where the paths in it start; given by `[dataset]`.
        classes: Names of the classes, in order; given by the run.
        seed: The run's; given by the run.
        file: The table, UTF-8, with a header.
        path: The column of the images' paths.
        label: The column of their classes.
        part: A column of `train`, `valid` and `test`, which are then the parts; lines that have none are left to be split.
        mode: `RGB`, or `L` for grey.
        max_samples: Keep only so many of each part, drawn by the seed, of every class in its share.
        follow_links: Links may lead out of `root_dir`.
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
        self.root, self.mode = existing_root(root_dir, f"the table {file!r}"), mode
        rows = rows_of(self.root / file, [path, label, *([part] if part else [])])
        refuse_doubles(self.root / file, [row[path] for row in rows])
        self.classes, numbers = numbered(labels_of(self.root / file, [row[label] for row in rows]), classes)
        places = parts_of([row[part] for row in rows]) if part else {"": range(len(rows))}
        chosen = sorted(place for part in places.values() for place in kept_of(part, max_samples, seed, numbers))
        files = listed_files(self.root, [rows[index][path] for index in chosen])
        if not follow_links:
            refuse_strays(self.root, files)
        self.targets = [numbers[index] for index in chosen]
        self.samples = list(zip(files, self.targets, strict=True))
        self.columns = {name: [rows[index][name] for index in chosen] for name in rows[0]}
        self.parts = {name: place for name, place in parts_of(self.columns[part]).items() if name} if part else {}

    @property
    def groups(self) -> dict[str, list[str]]:
        """What a split may group samples by."""
        return file_groups(self.root, (file for file, _ in self.samples)) | self.columns

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        file, target = self.samples[index]
        return open_image(file, self.mode), target


def rows_of(file: Path, wanted: Sequence[str]) -> Rows:
    """The lines of a table. Raises ValueError for one that is not there, lacks a column, or has a line of another length."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            rows, names = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read as a table: {error}") from error
    if missing := [f"{name!r}{hint(name, names)}" for name in wanted if name not in names]:
        raise ValueError(f"{file} has no column {', '.join(missing)}; its columns are {names}")
    if odd := [number for number, row in enumerate(rows, start=1) if None in row or None in row.values()]:
        raise ValueError(f"{file} has {len(names)} columns, its samples {odd[:SHOWN]} (the first is 1) have more or fewer")
    if not rows:
        raise ValueError(f"{file} has a header and no line of a sample")
    return rows


def refuse_doubles(file: Path, paths: Sequence[str]) -> None:
    """Raise ValueError for a path in several lines, which might train and test."""
    samples = defaultdict(list)
    for number, path in enumerate(paths, start=1):
        samples[os.path.normpath(path)].append(number)
    if doubles := [f"{path!r} ({', '.join(map(str, found))})" for path, found in samples.items() if len(found) > 1]:
        raise ValueError(f"{file} names images more than once (samples, the first is 1): {'; '.join(doubles[:SHOWN])}")


def labels_of(file: Path, texts: Sequence[str]) -> list[str]:
    """Without spaces around them. Raises ValueError for samples that have none."""
    labels = [text.strip() for text in texts]
    if without := [number for number, label in enumerate(labels, start=1) if not label]:
        raise ValueError(f"{file} has no label for {len(without)} samples (the first is 1): {without[:SHOWN]}; leave them out")
    return labels


def kept_of(part: Sequence[int], max_samples: int | None, seed: int, numbers: Sequence[int]) -> list[int]:
    """The samples of a part that stay, see `kept`."""
    return [part[place] for place in kept(len(part), max_samples, seed, [numbers[index] for index in part])]


def numbered(labels: Sequence[str], classes: Sequence[str]) -> tuple[list[str], list[int]]:
    """The names of the classes, and the number of each label. Raises ValueError for a label that is no class."""
    unknown = sorted(set(labels) - set(classes))
    if len(unknown) == len(set(labels)) and all(label.removeprefix("-").isdecimal() for label in labels):
        return list(classes), class_numbers(labels, len(classes))
    if classes and unknown:
        said = ", ".join(f"{label!r}{hint(label, classes)}" for label in unknown[:SHOWN])
        raise ValueError(f"labels that are no class: {said}; 'classes' are {list(classes)}")
    names = list(classes) or unknown
    number_of = {name: number for number, name in enumerate(names)}
    return names, [number_of[label] for label in labels]


def class_numbers(labels: Sequence[str], n_classes: int) -> list[int]:
    """Labels that are numbers. Raises ValueError for those below 0, or beyond the classes where the run names them."""
    numbers = [int(label) for label in labels]
    if min(numbers) < 0:
        raise ValueError(f"labels that are numbers are the classes 0, 1, ...; got {min(numbers)}")
    if n_classes and max(numbers) >= n_classes:
        raise ValueError(f"labels go up to {max(numbers)}, and the {n_classes} classes are 0 to {n_classes - 1}")
    return numbers


def parts_of(column: Sequence[str]) -> dict[str, list[int]]:
    """The indices of each part that a column names, and of none (`""`). Raises ValueError for other names."""
    if unknown := sorted(set(column) - {*PARTS, ""}):
        raise ValueError(f"parts are {', '.join(PARTS)}, or nothing; the table has {unknown[:SHOWN]}")
    return {part: [index for index, name in enumerate(column) if name == part] for part in (*PARTS, "") if part in column}
