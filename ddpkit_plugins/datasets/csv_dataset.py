"""Dataset of images that a table lists: one line per image, with its path and its class."""

import csv
import itertools
import logging
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from ddpkit import open_image
from ddpkit_plugins.datasets.files import check_root, check_strays, format_hint, group_by_file, list_files, same_form
from ddpkit_plugins.datasets.split_indices import SPLITS
from ddpkit_plugins.stratify import select_stratified

LOGGER = logging.getLogger("ddpkit.csv")
SHOWN = 5
"""Maximum number of lines or values in a message."""
NUMBER = re.compile("0|-?[1-9][0-9]*")
"""Label that is a number. Any other text is a name: `007`, `1.0`, `+1`."""
BREAK = re.compile("\r\n|\r|\n")
Rows = list[dict[str, str]]


class CsvDataset:
    """Dataset of the images that a CSV file lists: PIL images of mode `mode`, with the number of their class.

    Labels are names of classes, numbered in the order of the run's `classes`, else in alphabetical order. If no label is a name
    in `classes` and all labels are numbers without leading zeros, they are class indices: 0, 1, ... without gaps. A split may
    group samples by any column, such as `group = "patient"`.

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
        follow_links: Whether symbolic links may point outside `root_dir`.

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
        table = self.root / file
        rows, lines = read_rows(table, [path, label, *([part] if part else [])])
        check_unique(table, lines, [row[path] for row in rows])
        self.classes, numbers = number_classes(table, lines, read_labels(table, lines, [row[label] for row in rows]), classes)
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


def read_rows(file: Path, wanted: Sequence[str]) -> tuple[Rows, list[int]]:
    """Return the rows of a table, and the number of the line in which each one starts.

    Raises ValueError for a missing file or column, a column that occurs twice, and a row of another length.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            names, numbered = list(reader.fieldnames or ()), [(row, reader.line_num - count_breaks(row)) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read as a CSV table: {error}") from error
    if missing := [f"{name!r}{format_hint(name, names)}" for name in wanted if name not in names]:
        raise ValueError(f"{file} has no column {', '.join(missing)}; its columns are {names}")
    if doubles := [name for name in wanted if names.count(name) > 1]:
        raise ValueError(f"{file} has the column {doubles[0]!r} more than once; its columns are {names}")
    if wrong := [line for row, line in numbered if None in row or None in row.values()]:
        raise ValueError(f"{file} has {len(names)} columns, but {format_lines(wrong)} has more or fewer")
    if not numbered:
        raise ValueError(f"{file} has a header but no samples")
    return [row for row, _ in numbered], [line for _, line in numbered]


def count_breaks(row: Mapping[Any, Any]) -> int:
    """Return the number of line breaks inside the cells of a row; a short or long row may contain None or a list."""
    return sum(len(BREAK.findall(cell)) for cell in row.values() if isinstance(cell, str))


def format_lines(lines: Sequence[int]) -> str:
    """Return text such as `line 7 (and 2 others)`."""
    others = len(lines) - 1
    return f"line {lines[0]}" + f" (and {others} other{'s' * (others > 1)})" * bool(others)


def check_unique(file: Path, lines: Sequence[int], paths: Sequence[str]) -> None:
    """Raise ValueError for a path in several lines, which could be in two splits."""
    lines_of = defaultdict(list)
    for line, path in zip(lines, paths, strict=True):
        lines_of[os.path.normpath(path)].append(line)
    if doubles := [f"{path!r} in lines {', '.join(map(str, found))}" for path, found in lines_of.items() if len(found) > 1]:
        raise ValueError(f"{file} lists images more than once: {'; '.join(doubles[:SHOWN])}")


def read_labels(file: Path, lines: Sequence[int], texts: Sequence[str]) -> list[str]:
    """Return the labels without surrounding spaces. Raises ValueError for empty ones."""
    labels = [text.strip() for text in texts]
    if without := [line for line, label in zip(lines, labels, strict=True) if not label]:
        raise ValueError(f"{file} has no label in {format_lines(without)}; add the label or remove the line")
    return labels


def select_samples(indices: Sequence[int], max_samples: int | None, seed: int, numbers: Sequence[int]) -> list[int]:
    """Return the indices of a split that are kept, see `select_stratified`."""
    return [indices[place] for place in select_stratified(len(indices), max_samples, seed, [numbers[index] for index in indices])]


def number_classes(
    file: Path, lines: Sequence[int], labels: Sequence[str], classes: Sequence[str]
) -> tuple[list[str], list[int]]:
    """Return the class names and the number of each label. Raises ValueError for a label that is not a class."""
    line_of: dict[str, int] = {}
    for label, line in zip(labels, lines, strict=True):
        line_of.setdefault(label, line)
    number_of = {same_form(name): number for number, name in enumerate(classes)}
    unknown = sorted(label for label in line_of if same_form(label) not in number_of)
    if len(unknown) == len(line_of) and all(NUMBER.fullmatch(label) for label in line_of):
        check_class_numbers(file, {int(label): line for label, line in line_of.items()}, len(classes))
        numbers = [int(label) for label in labels]
        return list(classes) or [str(number) for number in range(max(numbers) + 1)], numbers
    if classes and unknown:
        hints = ", ".join(f"{each!r} in line {line_of[each]}{format_hint(each, classes)}" for each in unknown[:SHOWN])
        raise ValueError(f"{file} has labels that are not in 'classes': {hints}; 'classes' are {list(classes)}")
    if not classes:
        warn_about_similar_labels(file, line_of)
        number_of = {label: number for number, label in enumerate(unknown)}
    return list(classes) or unknown, [number_of[same_form(label) if classes else label] for label in labels]


def check_class_numbers(file: Path, line_of: Mapping[int, int], n_classes: int) -> None:
    """Raise ValueError for numbers that cannot be class indices: below 0, above the classes, or with gaps.

    Args:
        file: Path of the table.
        line_of: Line of each number.
        n_classes: Number of classes that the run names; 0: none, so the numbers must be without gaps.
    """
    least, most = min(line_of), max(line_of)
    if least < 0:
        raise ValueError(f"{file}, line {line_of[least]}: a numeric label must be a class index 0, 1, ...; got {least}")
    if n_classes and most >= n_classes:
        raise ValueError(
            f"{file}, line {line_of[most]}: the label is {most}, but the {n_classes} classes are 0 to {n_classes - 1}"
        )
    if not n_classes and most >= len(line_of):
        gap = next(number for number in itertools.count() if number not in line_of)
        message = f"{file}, line {line_of[most]}: the label {most} is a class index, but no sample has the label {gap}"
        names = ", ".join(f'"{number}"' for number in sorted(line_of)[:SHOWN]) + ", ..." * (len(line_of) > SHOWN)
        raise ValueError(f"{message}; number the classes from 0 without gaps, or name them: classes = [{names}]")


def warn_about_similar_labels(file: Path, line_of: Mapping[str, int]) -> None:
    """Warn about labels that are different classes but probably mean the same: `1` and `01`, or `cat` and `Cat`."""
    first: dict[str, str] = {}
    for label, line in line_of.items():
        meaning = label_meaning(label)
        other = first.setdefault(meaning, label)
        if other != label:
            message = (
                "%s: the labels %r in line %d and %r in line %d are different classes; correct one of them if they are the same"
            )
            LOGGER.warning(message, file, other, line_of[other], label, line)


def label_meaning(label: str) -> str:
    """Return the number that a label represents, as text, or the label without upper case and Unicode form."""
    try:
        return str(float(label))
    except ValueError:
        return same_form(label).casefold()


def split_by_column(column: Sequence[str]) -> dict[str, list[int]]:
    """Return the indices of each split in a column, and of empty cells (`""`). Raises ValueError for other names."""
    if unknown := sorted(set(column) - {*SPLITS, ""}):
        raise ValueError(f"the split of a sample must be {', '.join(SPLITS)} or empty; the table has {unknown[:SHOWN]}")
    return {part: [index for index, name in enumerate(column) if name == part] for part in (*SPLITS, "") if part in column}
