"""Images with annotations in the format of COCO (Lin et al. 2014, "Microsoft COCO"): detection and segmentation."""

import functools
import json
import os
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal

import attrs
import numpy as np
from PIL import Image

from ddpkit import open_image
from ddpkit_plugins.datasets.boxes import collate, to_boxes
from ddpkit_plugins.datasets.coco_masks import decode_region, is_numbers
from ddpkit_plugins.datasets.files import (
    SHOWN,
    check_root,
    check_strays,
    format_file,
    format_hint,
    group_by_file,
    list_files,
    read_json,
    resolve_inside,
    same_form,
)
from ddpkit_plugins.datasets.images import image_size, swap_hint
from ddpkit_plugins.datasets.split_indices import SPLITS, consecutive_ranges
from ddpkit_plugins.stratify import select_stratified

EXPECTED = "the annotation file (JSON) and the images"
BACKGROUND = "background"
"""Name of class 0 of masks."""
BYTES = 256
"""Maximum number of classes in a uint8 mask."""


@attrs.frozen
class Annotated:
    """Image with the annotations of its objects."""

    file: Path
    size: tuple[int, int] | None
    """Width and height according to the annotation file; None if it does not contain them."""
    objects: Sequence[Mapping[str, Any]]
    """Annotations of COCO: `bbox` (left, top, width, height in pixels), `category_id`, `segmentation`, `iscrowd`."""


class CocoDataset:
    """Dataset of PIL images of mode `RGB`, with the boxes of their objects or the class of each pixel.

    Classes are the categories. They are numbered from 1, in the order of the run's `classes`, else of their ids; 0 is the
    background. For masks, `classes` begins with `background`; for boxes, it does not contain it. Boxes are cut at the borders of
    the image; boxes without an area are removed. A crowd, `iscrowd = 1`, is a region with several objects: losses ignore its box,
    and a prediction inside it is not an error for the metric `map`. A polygon has the pixels that pycocotools computes. A pixel
    in several objects gets the class of the last one; the pixels of a crowd get its class.

    Args:
        root_dir: Folder to which the other paths are relative; set by `[dataset]`.
        classes: Names of the categories, in order; passed by the run.
        seed: Seed of the run; passed by the run.
        annotations: Path of the JSON file, or one for each split: `{ train = "train.json", valid = "valid.json" }`.
        images: Folder of the images, or one for each split.
        target: `boxes`, or `mask` for a `tv_tensors.Mask` [H, W] of class indices: uint8 for up to 256 classes including the
            background, else int64.
        max_samples: Maximum number of images of each split, selected by the seed.
        follow_links: Whether symbolic links may point outside `root_dir`.

    Raises:
        ValueError: A file is missing or malformed, or categories, classes and annotations do not match.
    """

    def __init__(  # noqa: PLR0913 - keys of the TOML
        self,
        root_dir: str,
        classes: list[str],
        seed: int,
        *,
        annotations: str | dict[str, str] = "annotations.json",
        images: str | dict[str, str] = "images",
        target: Literal["boxes", "mask"] = "boxes",
        max_samples: int | None = None,
        follow_links: bool = False,
    ) -> None:
        root, self.target = check_root(root_dir, EXPECTED), target
        files = annotations if isinstance(annotations, dict) else {"": annotations}
        folders = images if isinstance(images, dict) else dict.fromkeys(files, images)
        check_splits(files, folders)
        folder_of = dict(zip(folders, resolve_inside(root, folders.values()), strict=True))
        read = {split: read_annotations(root / file) for split, file in files.items()}
        names = merge_categories(read)
        foreground = foreground_classes(classes, target, names.values()) or list(names.values())
        self.label_of = number_labels(names, foreground)
        found = {
            split: match_annotations(root / files[split], folder_of[split], data, self.label_of) for split, data in read.items()
        }
        chosen = {
            split: [each[index] for index in select_stratified(len(each), max_samples, seed)] for split, each in found.items()
        }
        self.root, self.annotated = root, [each for split in chosen.values() for each in split]
        self.classes = foreground if target == "boxes" else [BACKGROUND, *foreground]
        self.splits = consecutive_ranges({split: len(each) for split, each in chosen.items()})
        if target == "boxes":
            self.collate = collate
        if not follow_links:
            check_strays(root, (each.file for each in self.annotated))

    @functools.cached_property
    def samples(self) -> list[tuple[Path, list[int], int]]:
        """File, labels and a checksum of the positions of each image; it identifies the data when a run resumes."""
        keys = ("bbox", "iscrowd") if self.target == "boxes" else ("segmentation",)
        found = []
        for each in self.annotated:
            labels = [self.label_of[one["category_id"]] for one in each.objects]
            places = json.dumps([[one.get(key) for key in keys] for one in each.objects])
            found.append((each.file, labels, zlib.crc32(places.encode())))
        return found

    @property
    def groups(self) -> dict[str, list[str]]:
        """Groupings of the samples: name of a grouping -> one text per sample."""
        return group_by_file(self.root, (each.file for each in self.annotated))

    def __len__(self) -> int:
        return len(self.annotated)

    def __getitem__(self, index: int) -> tuple[Image.Image, Any]:
        wanted = self.annotated[index]
        image = open_image(wanted.file, "RGB")
        if wanted.size not in (None, image.size):
            sizes = f"{image_size(image)} pixels, but its annotation has {'x'.join(map(str, wanted.size))}"
            raise ValueError(f"{format_file(wanted.file)} has {sizes}{swap_hint(wanted.file, image, wanted.size)}")
        return image, (self.boxes if self.target == "boxes" else self.mask)(wanted, *image.size)

    def boxes(self, wanted: Annotated, width: int, height: int) -> dict[str, Any]:
        """Return the boxes inside the image, and which of them are crowds."""
        corners = [to_corners(each.get("bbox"), wanted.file, width, height) for each in wanted.objects]
        seen = [number for number, (left, top, right, bottom) in enumerate(corners) if left < right and top < bottom]
        labels = [self.label_of[wanted.objects[number]["category_id"]] for number in seen]
        crowds = [int(wanted.objects[number].get("iscrowd") in (1, "1")) for number in seen]
        return to_boxes([corners[number] for number in seen], labels, height, width, crowds)

    def mask(self, wanted: Annotated, width: int, height: int) -> Any:
        """Return the class of each pixel, a `tv_tensors.Mask` [H, W]."""
        from torchvision.tv_tensors import Mask  # noqa: PLC0415 - slow import that only runs need

        indices = np.zeros((height, width), dtype=np.uint8 if len(self.classes) <= BYTES else np.int64)
        for each in wanted.objects:
            region = decode_region(each.get("segmentation"), wanted.file, (height, width))
            indices[region] = self.label_of[each["category_id"]]
        return Mask(indices)


def check_splits(annotations: Mapping[str, str], images: Mapping[str, str]) -> None:
    """Raise ValueError for names that are not splits, or that differ between annotations and images."""
    if not annotations or annotations.keys() != images.keys() or annotations.keys() - {*SPLITS, ""}:
        given = f"{sorted(annotations)} and {sorted(images)}"
        raise ValueError(f"annotations and images must be set for the same splits (of {', '.join(SPLITS)}); got {given}")


KEYS: Mapping[str, Mapping[str, type | UnionType]] = {
    "images": {"id": int | str, "file_name": str},
    "categories": {"id": int, "name": str},
    "annotations": {"image_id": int | str, "category_id": int},
}
"""Required keys of the entries of each list, with their types. Some tools write the ids as `1.0`."""
TYPE_NAMES: Mapping[Any, str] = {str: "a string", int: "an integer", int | str: "an integer or a string"}
IDS = ("id", "image_id", "category_id")


def read_annotations(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the lists of an annotation file. Raises ValueError for a file of another form."""
    data = read_json(file)
    for name, keys in KEYS.items():
        entries = data.get(name) if isinstance(data, dict) else None
        if not isinstance(entries, list):
            raise ValueError(  # noqa: TRY004 - a mistake in a file
                f"{file} has no list {name!r}; expected annotations in the format of COCO"
            )
        entries[:] = [with_integer_ids(entry) if isinstance(entry, dict) else {} for entry in entries]
        for number, given in enumerate(entries):
            if wrong := [key for key, kind in keys.items() if not isinstance(given.get(key), kind)]:
                wanted = (
                    "a string" if keys[wrong[0]] is str else "an integer" if keys[wrong[0]] is int else "an integer or a string"
                )
                raise ValueError(f"{file}: {name}[{number}] must have the key {wrong[0]!r} with {wanted}")
    return {name: data[name] for name in KEYS}


def with_integer_ids(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with each id such as 1.0 as an integer."""
    ids = {key: int(entry[key]) for key in IDS if isinstance(entry.get(key), float) and entry[key].is_integer()}
    return {**entry, **ids}


def merge_categories(read: Mapping[str, Mapping[str, Any]]) -> dict[int, str]:
    """Return id -> name, in the order of ids.

    Raises ValueError if the splits differ, or if two categories share an id or a name.
    """
    found = [[(each["id"], each["name"]) for each in data["categories"]] for data in read.values()]
    if any(sorted(each) != sorted(found[0]) for each in found):
        raise ValueError(f"the annotations of the splits {sorted(read)} have different categories")
    names = dict(sorted(found[0]))
    if not len(found[0]) == len(names) == len(set(map(same_form, names.values()))):
        raise ValueError(f"two categories have the same id or the same name: {sorted(found[0])}")
    return names


def foreground_classes(classes: Sequence[str], target: str, categories: Collection[str]) -> list[str]:
    """Return the run's classes without the background of masks.

    Raises ValueError if the classes of boxes contain a background that is not a category.
    """
    if list(classes[:1]) != [BACKGROUND] or (target == "boxes" and BACKGROUND in categories):
        return list(classes)
    if target == "boxes":
        raise ValueError(f"'classes' must not contain {BACKGROUND!r} if the targets are boxes; got {list(classes)}")
    return list(classes[1:])


def number_labels(names: Mapping[int, str], classes: Sequence[str]) -> dict[int, int]:
    """Return the label, from 1, of each category id. Raises ValueError for categories that are not among the classes."""
    label_of = {same_form(name): number for number, name in enumerate(classes, start=1)}
    if unknown := [f"{name!r}{format_hint(name, classes)}" for name in names.values() if same_form(name) not in label_of]:
        raise ValueError(f"categories that are not in 'classes': {', '.join(unknown)}; 'classes' are {list(classes)}")
    return {number: label_of[same_form(name)] for number, name in names.items()}


def match_annotations(file: Path, folder: Path, data: Mapping[str, Any], label_of: Mapping[int, int]) -> list[Annotated]:
    """Return the images of an annotation file with their objects, in the order of the file.

    Raises ValueError for annotations of unknown images or categories, repeated images, invalid sizes and missing files.
    """
    objects: dict[Any, list[Mapping[str, Any]]] = {each["id"]: [] for each in data["images"]}
    for number, each in enumerate(data["annotations"]):
        if each["image_id"] not in objects or each["category_id"] not in label_of:
            raise ValueError(f"{file}: annotations[{number}] has an image_id or category_id that is not in the file")
        objects[each["image_id"]].append(each)
    if len(objects) != len(data["images"]):
        raise ValueError(f"{file}: two images have the same id")
    name_counts = Counter(os.path.normpath(each["file_name"]) for each in data["images"])
    if doubles := [name for name, count in name_counts.items() if count > 1]:
        raise ValueError(f"{file} lists images more than once: {doubles[:SHOWN]}; keep one entry per image")
    files = list_files(folder, [each["file_name"] for each in data["images"]])
    return [Annotated(path, read_size(file, each), objects[each["id"]]) for path, each in zip(files, data["images"], strict=True)]


def read_size(file: Path, image: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return width and height of an image; None if both are absent. Raises ValueError unless both are positive integers."""
    sides: list[Any] = [image.get("width"), image.get("height")]
    if sides == [None, None]:
        return None
    if not all(type(side) in (int, float) and float(side).is_integer() and side >= 1 for side in sides):
        raise ValueError(
            f"{file}: width and height of an image must be integers and at least 1; got {sides[0]!r} and {sides[1]!r}"
        )
    return int(sides[0]), int(sides[1])


def to_corners(box: Any, file: Path, image_width: int, image_height: int) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a box, clipped to the image. Raises ValueError for an invalid box."""
    if not is_numbers(box) or len(box) != 4:  # noqa: PLR2004
        raise ValueError(f"{format_file(file)} has an annotation whose bbox is not four numbers: {box!r}")
    left, top, width, height = box
    return max(left, 0), max(top, 0), min(left + width, image_width), min(top + height, image_height)
