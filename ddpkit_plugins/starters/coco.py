"""Starter of the dataset `coco`: a config for boxes."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ddpkit import Starter
from ddpkit_plugins.datasets.coco import KEYS, Annotated, CocoDataset, read_annotations
from ddpkit_plugins.datasets.files import format_file, is_file, list_folders, visible_paths
from ddpkit_plugins.starters.class_names import class_values
from ddpkit_plugins.starters.image_survey import FOUND_SIZES, FOUND_UNREADABLE, evenly_spaced, survey_images
from ddpkit_plugins.starters.training_size import FOUND_SPLITS, TrainingSize

SPLIT_NAMES = {"train": re.compile("train"), "valid": re.compile("val"), "test": re.compile("test")}
"""Texts in the names of files and folders of a split."""
FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')
MOST_FILES = 20
"""Maximum number of JSON files in a folder; tools that write one file per image have another format."""
SAMPLED = 20
"""Number of images whose location is searched for."""
N_OUTLINES = 200
"""Maximum number of images whose annotations are searched for outlines."""
DEFAULTS = {"annotations": "annotations.json", "images": "images"}
TEMPLATE = Path(__file__).with_name("detection.toml")
FOUND = """\
  images       $n_samples with $n_boxes boxes | 图像数       $n_samples，共 $n_boxes 个框
  classes      $n_classes: $counts | 类别数       $n_classes：$counts
  outlines     see `target` in the config ($n_mask_classes classes) | 轮廓         见配置中的 `target`（$n_mask_classes 类）
"""
FOUND += FOUND_SIZES + FOUND_SPLITS + FOUND_UNREADABLE


def coco(path: Path) -> Starter | None:
    """Recognise annotations in the format of COCO: a JSON file, or a folder with one file, or with one per split."""
    if not path.is_dir() and path.suffix.lower() != ".json":
        return None
    files = find_annotations(path) if path.is_dir() else {"": path}
    if not files:
        return None
    root = path if path.is_dir() else path.parent
    folders = find_image_folders(root, files)
    if not path.is_dir() and not all(folders.values()):
        root = path.parent.parent
        folders = find_image_folders(root, files)
    keys = {
        "annotations": as_key({split: file.relative_to(root).as_posix() for split, file in files.items()}),
        "images": as_key({split: folder or DEFAULTS["images"] for split, folder in folders.items()}),
    }
    data = CocoDataset(str(root), [], 0, **keys)
    return suggest_detector(data, {"root": str(root), **keys})


def find_annotations(folder: Path) -> dict[str, Path]:
    """Return split -> annotation file; `""` for a single file. Raises ValueError for several files that are not splits."""
    places = [folder, *list_folders(folder)]
    found = [each for place in places for each in visible_paths(place) if each.suffix.lower() == ".json" and each.is_file()]
    found = [file for file in found if is_coco(file)] if len(found) <= MOST_FILES else []
    found = [file for file in found if "instances" in file.name] or found
    if len(found) <= 1:
        return {"": found[0]} if found else {}
    splits = {name: [file for file in found if pattern.search(split_text(file, folder))] for name, pattern in SPLIT_NAMES.items()}
    named = {name: files[0] for name, files in splits.items() if len(files) == 1}
    if len(named) != len(found) or "train" not in named:
        names = ", ".join(str(file.relative_to(folder)) for file in found)
        raise ValueError(
            f"{folder} contains several annotation files ({names}); pass one of them, or name them after their splits"
        )
    return named


def split_text(file: Path, folder: Path) -> str:
    """Return the text that may contain the name of a split."""
    return str(file.relative_to(folder)).lower()


def is_coco(file: Path) -> bool:
    """Return whether a JSON file has the lists of COCO; it is searched for their names, because parsing takes long."""
    content = read_content(file)
    return all(f'"{name}"'.encode() in content for name in KEYS)


def read_content(file: Path) -> bytes:
    """Return the content of a file. Raises ValueError if it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"{format_file(file)} cannot be read: {error.strerror}") from error


def find_image_folders(root: Path, files: Mapping[str, Path]) -> dict[str, str | None]:
    """Return split -> folder of its images, relative to `root`; None if they are not found."""
    return {split: find_image_folder(root, split, first_names(file)) for split, file in files.items()}


def first_names(file: Path) -> list[str]:
    """Return the first names of images in an annotation file. Raises ValueError if its format is not that of COCO."""
    names = [json.loads(found[1]) for found in islice(FILE_NAME.finditer(read_content(file)), SAMPLED)]
    return names or [each["file_name"] for each in read_annotations(file)["images"][:SAMPLED]]


def find_image_folder(root: Path, split: str, names: Sequence[str]) -> str | None:
    """Return the folder, relative to `root`, in which the files exist; None if there is none.

    Folders named after the split are preferred, because other splits may have files of the same names.
    """
    near = [root, *list_folders(root)]
    folders = [*near, *(each for folder in near[1:] for each in list_folders(folder))]
    if split:
        folders.sort(key=lambda folder: not SPLIT_NAMES[split].search(split_text(folder, root)))
    found = (folder for folder in folders if names and all(is_file(folder / name) for name in names))
    return next((folder.relative_to(root).as_posix() for folder in found), None)


def as_key(values: dict[str, str]) -> Any:
    """Return the value of a key of the dataset: a text, or a table with one text per split."""
    return values.get("", values)


def suggest_detector(data: CocoDataset, keys: dict[str, Any]) -> Starter:
    """Return a config that trains a detector from scratch. Raises ValueError if there are no boxes, or no readable images."""
    counts = Counter(data.classes[data.label_of[each["category_id"]] - 1] for image in data.annotated for each in image.objects)
    if not counts:
        raise ValueError("the annotations contain no objects; add their boxes")
    survey = survey_images([each.file for each in data.annotated])
    size = TrainingSize(len(data), data.splits)
    sides = survey.input_size(size.longest_side(128, 320))
    values = {
        "root": keys["root"],
        **{key: None if keys[key] == default else keys[key] for key, default in DEFAULTS.items()},
        **survey.values,
        **size.values,
        **class_values(data.classes, counts),
        "n_boxes": counts.total(),
        "n_mask_classes": len(data.classes) + 1 if has_outlines(data.annotated) else None,
        "min_size": min(sides),
        "max_size": max(sides),
        "batch_size": size.batch_size(4),
        "epochs": size.epochs(1500, 10, 40),
        "monitor": "map" if size.has_valid else "loss",
    }
    return Starter(config=TEMPLATE.read_text(encoding="utf-8"), found=FOUND, values=values)


def has_outlines(images: Sequence[Annotated]) -> bool:
    """Return whether objects have outlines, from which masks could be made."""
    return any(each.get("segmentation") for image in evenly_spaced(images, N_OUTLINES) for each in image.objects)
