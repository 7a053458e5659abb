"""Images with annotations in the format of COCO (Lin et al. 2014, "Microsoft COCO"): detection and segmentation."""

import functools
import json
import os
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal

import attrs
import numpy as np
from PIL import Image

from ddpkit import open_image
from ddpkit_plugins.datasets.boxes import boxes_of, collate
from ddpkit_plugins.datasets.coco_masks import is_numbers, region
from ddpkit_plugins.datasets.files import (
    SHOWN,
    existing_root,
    file_groups,
    hint,
    inside,
    listed_files,
    read_json,
    refuse_strays,
    shown,
)
from ddpkit_plugins.datasets.images import size
from ddpkit_plugins.datasets.split_indices import PARTS, consecutive
from ddpkit_plugins.stratify import kept

EXPECTED = "the annotations, a JSON file, and the images"
BACKGROUND = "background"
"""The name of class 0 of masks."""
BYTES = 256
"""As many classes as a byte tells apart."""


@attrs.frozen
class Annotated:
    """An image and the objects in it."""

    file: Path
    height: int
    width: int
    objects: Sequence[Mapping[str, Any]]
    """COCO's annotations: `bbox` (left, top, width, height in pixels), `category_id`, `segmentation`, `iscrowd`."""


class CocoDataset:
    """Images as PIL images of mode `RGB`, with boxes around their objects or the class of each pixel.

    Classes are the categories, from 1 on in the order of the run's `classes`, else in that of their ids; 0 is background, which
    `classes` begin with for masks (`background`) and do not name for boxes. Boxes of crowds and boxes without an area are left
    out. A pixel in several objects is that of the last one; a crowd's are those of its class.

    Args:
        root_dir: The folder where the other paths start; given by `[dataset]`.
        classes: Names of the categories, in order; given by the run.
        seed: The run's; given by the run.
        annotations: The JSON file, or one for each part: `{ train = "train.json", valid = "valid.json" }`.
        images: The folder of the images, or one for each part.
        target: `boxes`, or `mask` = a `tv_tensors.Mask` [H, W] of class indices, uint8 up to 255.
        max_samples: Keep only so many images of each part, drawn by the seed.
        follow_links: Links may lead out of `root_dir`.
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
        root, self.target = existing_root(root_dir, EXPECTED), target
        files = annotations if isinstance(annotations, dict) else {"": annotations}
        folders = images if isinstance(images, dict) else dict.fromkeys(files, images)
        refuse_parts(files, folders)
        place = dict(zip(folders, inside(root, folders.values()), strict=True))
        read = {part: lists_of(root / file) for part, file in files.items()}
        names = categories_of(read)
        known = foreground(classes, target) or list(names.values())
        self.label_of = labels_of(names, known)
        found = {part: annotated(root / files[part], place[part], data, self.label_of) for part, data in read.items()}
        chosen = {part: [each[index] for index in kept(len(each), max_samples, seed)] for part, each in found.items()}
        self.root, self.annotated = root, [each for part in chosen.values() for each in part]
        self.classes = known if target == "boxes" else [BACKGROUND, *known]
        self.parts = consecutive({part: len(each) for part, each in chosen.items()})
        if target == "boxes":
            self.collate = collate
        if not follow_links:
            refuse_strays(root, (each.file for each in self.annotated))

    @functools.cached_property
    def samples(self) -> list[tuple[Path, list[int], int]]:
        """Of each image its file, the labels in it and a checksum of where they are: a run that goes on wants the same."""
        keys = ("bbox", "iscrowd") if self.target == "boxes" else ("segmentation",)
        found = []
        for each in self.annotated:
            labels = [self.label_of[one["category_id"]] for one in each.objects]
            places = json.dumps([[one.get(key) for key in keys] for one in each.objects])
            found.append((each.file, labels, zlib.crc32(places.encode())))
        return found

    @property
    def groups(self) -> dict[str, list[str]]:
        """What a split may group samples by."""
        return file_groups(self.root, (each.file for each in self.annotated))

    def __len__(self) -> int:
        return len(self.annotated)

    def __getitem__(self, index: int) -> tuple[Image.Image, Any]:
        wanted = self.annotated[index]
        image = open_image(wanted.file, "RGB")
        if (image.width, image.height) != (wanted.width, wanted.height):
            raise ValueError(f"{shown(wanted.file)} is {size(image)} pixels, its annotation {wanted.width}x{wanted.height}")
        return image, self.boxes(wanted) if self.target == "boxes" else self.mask(wanted)

    def boxes(self, wanted: Annotated) -> dict[str, Any]:
        """Those inside of the image."""
        objects = [each for each in wanted.objects if not each.get("iscrowd")]
        corners = [corners_of(each.get("bbox"), wanted) for each in objects]
        seen = [number for number, (left, top, right, bottom) in enumerate(corners) if left < right and top < bottom]
        labels = [self.label_of[objects[number]["category_id"]] for number in seen]
        return boxes_of([corners[number] for number in seen], labels, wanted.height, wanted.width)

    def mask(self, wanted: Annotated) -> Any:
        """The class of each pixel."""
        from torchvision.tv_tensors import Mask  # noqa: PLC0415 - heavy, and wanted by runs alone

        indices = np.zeros((wanted.height, wanted.width), dtype=np.uint8 if len(self.classes) <= BYTES else np.int64)
        for each in wanted.objects:
            indices[region(each.get("segmentation"), wanted.file, (wanted.height, wanted.width))] = self.label_of[
                each["category_id"]
            ]
        return Mask(indices)


def refuse_parts(annotations: Mapping[str, str], images: Mapping[str, str]) -> None:
    """Raise ValueError for names that are no parts, or not the same for both."""
    if not annotations or annotations.keys() != images.keys() or annotations.keys() - {*PARTS, ""}:
        given = f"{sorted(annotations)} and {sorted(images)}"
        raise ValueError(f"annotations and images are for the same parts, of {', '.join(PARTS)}; got {given}")


KEYS: Mapping[str, Mapping[str, type | UnionType]] = {
    "images": {"id": int | str, "file_name": str, "width": int, "height": int},
    "categories": {"id": int, "name": str},
    "annotations": {"image_id": int | str, "category_id": int},
}
"""What the entries of each list must have, and of which type."""


def lists_of(file: Path) -> dict[str, list[dict[str, Any]]]:
    """The lists of a file of annotations. Raises ValueError for what is no such file."""
    data = read_json(file)
    for name, keys in KEYS.items():
        entries = data.get(name) if isinstance(data, dict) else None
        if not isinstance(entries, list):
            raise ValueError(  # noqa: TRY004 - a file's mistake
                f"{file} has no list {name!r}; expected annotations in the format of COCO"
            )
        for number, entry in enumerate(entries):
            given = entry if isinstance(entry, dict) else {}
            if wrong := [key for key, kind in keys.items() if not isinstance(given.get(key), kind)]:
                wanted = "a text" if keys[wrong[0]] is str else "a whole number"
                raise ValueError(f"{file}: {name}[{number}] has no {wrong[0]!r} that is {wanted}")
    return {name: data[name] for name in KEYS}


def categories_of(read: Mapping[str, Mapping[str, Any]]) -> dict[int, str]:
    """Id -> name, in the order of ids. Raises ValueError where parts differ, or two categories share an id or a name."""
    found = [[(each["id"], each["name"]) for each in data["categories"]] for data in read.values()]
    if any(sorted(each) != sorted(found[0]) for each in found):
        raise ValueError(f"the annotations of the parts {sorted(read)} have different categories")
    names = dict(sorted(found[0]))
    if not len(found[0]) == len(names) == len(set(names.values())):
        raise ValueError(f"categories with one id or one name: {sorted(found[0])}")
    return names


def foreground(classes: Sequence[str], target: str) -> list[str]:
    """The run's classes without the background of masks. Raises ValueError for boxes that are named with it."""
    if list(classes[:1]) != [BACKGROUND]:
        return list(classes)
    if target == "boxes":
        raise ValueError(f"'classes' of boxes are named without {BACKGROUND!r}, which no box is of; got {list(classes)}")
    return list(classes[1:])


def labels_of(names: Mapping[int, str], classes: Sequence[str]) -> dict[int, int]:
    """Id of a category -> label, from 1. Raises ValueError for categories that are no class."""
    label_of = {name: number for number, name in enumerate(classes, start=1)}
    if unknown := [f"{name!r}{hint(name, list(label_of))}" for name in names.values() if name not in label_of]:
        raise ValueError(f"categories that are no class: {', '.join(unknown)}; 'classes' are {list(classes)}")
    return {number: label_of[name] for number, name in names.items()}


def annotated(file: Path, folder: Path, data: Mapping[str, Any], label_of: Mapping[int, int]) -> list[Annotated]:
    """The images of a file of annotations, in its order. Raises ValueError for annotations of what is not there."""
    objects: dict[Any, list[Mapping[str, Any]]] = {each["id"]: [] for each in data["images"]}
    for number, each in enumerate(data["annotations"]):
        if each["image_id"] not in objects or each["category_id"] not in label_of:
            raise ValueError(f"{file}: annotations[{number}] is of an image or a category that the file lacks")
        objects[each["image_id"]].append(each)
    if len(objects) != len(data["images"]):
        raise ValueError(f"{file}: two images have one id")
    named = Counter(os.path.normpath(each["file_name"]) for each in data["images"])
    if doubles := [name for name, times in named.items() if times > 1]:
        raise ValueError(f"{file} names images more than once: {doubles[:SHOWN]}; give each all its annotations")
    if any(type(each[side]) is not int or each[side] < 1 for each in data["images"] for side in ("width", "height")):
        raise ValueError(f"{file}: width and height of an image are whole numbers from 1")
    files = listed_files(folder, [each["file_name"] for each in data["images"]])
    sizes = [(each["height"], each["width"], objects[each["id"]]) for each in data["images"]]
    return [Annotated(image, *more) for image, more in zip(files, sizes, strict=True)]


def corners_of(box: Any, wanted: Annotated) -> tuple[float, float, float, float]:
    """Left, top, right, bottom, cut at the image's borders. Raises ValueError for what is no box."""
    if not is_numbers(box) or len(box) != 4:  # noqa: PLR2004
        raise ValueError(f"{shown(wanted.file)} has an annotation whose bbox is not four numbers: {box!r}")
    left, top, width, height = box
    return max(left, 0), max(top, 0), min(left + width, wanted.width), min(top + height, wanted.height)
