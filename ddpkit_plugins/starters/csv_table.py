"""Starter of the dataset `csv`."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ddpkit import Starter
from ddpkit_plugins.datasets.csv_dataset import NUMBER, CsvDataset, Rows, read_rows
from ddpkit_plugins.datasets.files import ENDINGS, is_file, list_folders, visible_paths
from ddpkit_plugins.datasets.split_indices import SPLITS
from ddpkit_plugins.splits.random_split import train_valid_test_split
from ddpkit_plugins.starters.classification import suggest_classifier

SAMPLED = 50
"""Maximum number of rows that show the meaning of a column."""
LABELS = re.compile("label|labels|class|class_name|category|target|diagnosis|species|y", re.IGNORECASE)
"""Names of columns with classes."""
GROUPS = re.compile(r"(patient|subject|person|case|slide|group)s?([_ -]?(id|number))?", re.IGNORECASE)
"""Names of columns whose equal values belong together."""
SIMILAR = {"train", "training", "val", "valid", "validation", "dev", "test", "testing", ""}
"""Names of splits in tables, in lower case."""
DEFAULTS = {"file": "labels.csv", "path": "path", "label": "label"}


def csv_table(path: Path) -> Starter | None:
    """Recognise a CSV file that lists images and their classes, or a folder that contains such a file."""
    table = find_table(path)
    if table is None:
        return None
    rows, _ = read_rows(table, [])
    image = find_path_column(table, rows)
    label = find_label_column(table, rows, image)
    root = find_root(table, [row[image] for row in rows[:SAMPLED]])
    keys: dict[str, Any] = {"file": relative_name(table, root), "path": image, "label": label}
    part = next(split_columns(table, rows), None)
    named = classes_to_name(rows, label)
    data = CsvDataset(str(root), named, 0, part=part, **keys)
    written = {key: value for key, value in keys.items() if value != DEFAULTS[key]}
    group = next((name for name in data.columns if GROUPS.fullmatch(name) and is_usable_group(data, name)), None)
    return suggest_classifier(
        data, {"dataset": "csv", "root": str(root), "part": part, "group": group, **written}, must_name=bool(named)
    )


def find_table(path: Path) -> Path | None:
    """Return the CSV file; None if there is none. Raises ValueError for several files."""
    if not path.is_dir():
        return path if path.suffix.lower() == ".csv" else None
    found = [each for each in visible_paths(path) if each.suffix.lower() == ".csv" and each.is_file()]
    usual = [each for each in found if each.name == DEFAULTS["file"]]
    if len(found) > 1 and not usual:
        names = ", ".join(each.name for each in found)
        raise ValueError(f"{path} contains several tables ({names}); pass the file that lists all images")
    return next(iter(usual or found), None)


def find_path_column(table: Path, rows: Rows) -> str:
    """Return the column whose values are names of image files. Raises ValueError if there is none."""
    for name in rows[0]:
        if all(row[name].strip().lower().endswith(ENDINGS) for row in rows[:SAMPLED]):
            return name
    wanted = f"names of image files ({', '.join(ENDINGS)}), such as 'images/1.jpg'"
    raise ValueError(f"{table} has no column with {wanted}; its columns are {list(rows[0])}")


def find_label_column(table: Path, rows: Rows, image: str) -> str:
    """Return the column with the classes. Raises ValueError if no column or several columns could be meant."""
    others = [name for name in rows[0] if name != image]
    named = [name for name in others if LABELS.fullmatch(name.strip())]
    taken = {*split_columns(table, rows), *filter(GROUPS.fullmatch, others)}
    found = named or [name for name in others if name not in taken and has_classes([row[name] for row in rows])]
    if len(found) != 1:
        choice = f"the columns {found} could be the classes" if found else "no column contains classes"
        raise ValueError(f"{table}: {choice}; call the column with the classes 'label'; its columns are {list(rows[0])}")
    return found[0]


def has_classes(values: Sequence[str]) -> bool:
    """Return whether the values could be classes: several different ones, each of which occurs twice on average."""
    return 1 < len(set(values)) <= len(values) // 2


def split_columns(table: Path, rows: Rows) -> Iterator[str]:
    """Yield the columns that assign samples to splits. Raises ValueError for a column with other names of the splits."""
    for name in rows[0]:
        values = {row[name] for row in rows}
        if values & {*SPLITS} and values <= {*SPLITS, ""}:
            yield name
        elif {"train", "training"} & values and {value.lower() for value in values} <= SIMILAR:
            raise ValueError(
                f"{table}: the column {name!r} must contain {', '.join(SPLITS)} or empty cells; it contains {sorted(values)}"
            )


def find_root(table: Path, names: Sequence[str]) -> Path:
    """Return the folder to which the paths are relative: that of the table, or a folder in it; that of the table if none fits."""
    folders = [table.parent, *list_folders(table.parent)]
    return next((each for each in folders if all(is_file(each / name) for name in names)), table.parent)


def relative_name(table: Path, root: Path) -> str:
    """Return the name of the table, relative to the folder of the images."""
    return table.name if root == table.parent else f"../{table.name}"


def classes_to_name(rows: Rows, label: str) -> list[str]:
    """Return the classes of numeric labels that are not 0, 1, ... without gaps; [] for other labels."""
    labels = {row[label].strip() for row in rows}
    if not all(NUMBER.fullmatch(each) for each in labels):
        return []
    numbers = sorted(map(int, labels))
    return [] if numbers == list(range(len(numbers))) else list(map(str, numbers))


def is_usable_group(data: CsvDataset, name: str) -> bool:
    """Return whether some samples belong together, and the groups can be divided into splits."""
    if data.splits or len(set(data.columns[name])) == len(data):
        return False
    values: dict[str, Any] = {"targets": data.targets, "groups": data.groups, "group": name}
    try:
        train_valid_test_split(len(data), 0, **values)
    except ValueError:
        return False
    return True
