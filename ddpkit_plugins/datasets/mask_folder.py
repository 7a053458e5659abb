"""Dataset of images with masks, for segmentation."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

from ddpkit import open_image
from ddpkit_plugins.datasets.files import (
    check_root,
    check_strays,
    format_file,
    format_files,
    group_by_file,
    list_images,
    resolve_inside,
    same_form,
)
from ddpkit_plugins.datasets.images import image_size, swap_hint
from ddpkit_plugins.datasets.masks import MaskEncoding, find_labels
from ddpkit_plugins.datasets.split_indices import SPLITS, consecutive_ranges
from ddpkit_plugins.stratify import select_stratified

if TYPE_CHECKING:
    from torchvision.tv_tensors import Mask

Pair = tuple[Path, Path]
"""Files of an image and its mask."""


class MedicalDataset:
    """Dataset of the images `root_dir/images/*`, PIL images of mode `mode`, with masks `root_dir/masks/*` of the same name.

    The suffixes of the names may differ. A mask is a `tv_tensors.Mask`, int64 [H, W], of class indices. Samples are in the order
    of their names. If `root_dir` contains folders named `train`, `valid` or `test` with these two folders in them, these are the
    splits of the dataset.

    Args:
        root_dir: Folder of the images and masks; set by `[dataset]`.
        classes: Names of the classes; passed by the run. If there are two or more, masks may contain only these classes. Absent:
            `mask_values`, `palette` or, without them, all masks are read to count the classes.
        seed: Seed of the run; passed by the run.
        images: Name of the folder of the images in `root_dir`.
        masks: Name of the folder of the masks in `root_dir`.
        mode: `RGB`, or `L` for grayscale.
        mask_values: The i-th value is class i, and no other value may occur. Absent: a grayscale mask with only the values 0 and
            255 has the classes 0 and 1. The values of other grayscale masks, and the indices of palette masks, are class indices.
        palette: For masks in colours, instead of `mask_values`: the i-th colour, [red, green, blue], is class i.
        ignore_index: Index of pixels without a class; set the same index in the losses. Values that are missing in `mask_values`
            or `palette` become this index.
        max_samples: Maximum number of samples of each split, selected by the seed.
        follow_links: Whether symbolic links may point outside `root_dir`.

    Raises:
        ValueError: A folder is empty, an image or mask has no partner, or the values are ambiguous. When a sample is read: the
            mask has another size than its image, or contains other values.
    """

    def __init__(  # noqa: PLR0913 - keys of the TOML
        self,
        root_dir: str,
        classes: list[str],
        seed: int,
        *,
        images: str = "images",
        masks: str = "masks",
        mode: Literal["RGB", "L"] = "RGB",
        mask_values: list[int] | None = None,
        palette: list[tuple[int, int, int]] | None = None,
        ignore_index: int | None = None,
        max_samples: int | None = None,
        follow_links: bool = False,
    ) -> None:
        self.root, self.mode = check_root(root_dir, f"the folders {images!r} and {masks!r}"), mode
        self.named = [] if are_numbered(classes) else classes
        self.coding = MaskEncoding.of(mask_values, palette, ignore_index, len(self.named))
        own = [split for split in SPLITS if (self.root / split / images).is_dir()]
        found = {split: match_pairs(*resolve_inside(self.root / split, [images, masks])) for split in own or [""]}
        chosen = {
            split: [each[index] for index in select_stratified(len(each), max_samples, seed)] for split, each in found.items()
        }
        self.samples: list[Pair] = [pair for split in chosen.values() for pair in split]
        self.splits = consecutive_ranges({split: len(each) for split, each in chosen.items()})
        if not follow_links:
            check_strays(self.root, (file for pair in self.samples for file in pair))

    @property
    def classes(self) -> list[str]:
        """Names of the classes of the run; [] if there are fewer than two."""
        return self.named if len(self.named) > 1 else []

    @functools.cached_property
    def distinct_labels(self) -> list[int]:
        """Indices of the classes: those of the keys of this dataset, else those that the masks contain."""
        values = self.coding.values
        return find_labels(self.coding, [mask for _, mask in self.samples]) if values is None else [*range(len(values))]

    @property
    def groups(self) -> dict[str, list[str]]:
        """Groupings of the samples: name of a grouping -> one text per sample."""
        return group_by_file(self.root, (image for image, _ in self.samples))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> "tuple[Image.Image, Mask]":
        from torchvision.tv_tensors import Mask  # noqa: PLC0415 - slow import that only runs need

        image_file, mask_file = self.samples[index]
        image, mask = open_image(image_file, self.mode), open_image(mask_file)
        if image.size != mask.size:
            raise ValueError(
                f"{format_file(image_file)} has {image_size(image)} pixels,"
                f" but its mask {format_file(mask_file)} has {image_size(mask)}{swap_hint(image_file, image, mask.size)}"
            )
        return image, Mask(self.coding.decode(mask, mask_file))


def are_numbered(classes: Sequence[str]) -> bool:
    """Return whether the names are those that a run gives to classes without names."""
    return all(name == f"class_{number}" for number, name in enumerate(classes))


def match_pairs(images: Path, masks: Path) -> list[Pair]:
    """Return the pairs of image and mask, matched by name. Raises ValueError if a file has no partner or several."""
    image_of, mask_of = index_by_stem(images), index_by_stem(masks)
    unpaired = [image_of[stem] for stem in image_of.keys() - mask_of] + [mask_of[stem] for stem in mask_of.keys() - image_of]
    if unpaired:
        names = format_files(sorted(unpaired))
        raise ValueError(f"an image and its mask must have the same name except for the suffix; files without a partner: {names}")
    return [(image_of[stem], mask_of[stem]) for stem in image_of]


def index_by_stem(folder: Path) -> dict[str, Path]:
    """Return the image files of a folder by stem in Unicode form NFC, sorted by stem. Raises ValueError if there are none."""
    files = list_images(folder) if folder.is_dir() else []
    if not files:
        raise ValueError(f"no images found in {folder}; expected image files, and a mask of the same name for each image")
    found = {same_form(file.stem): file for file in sorted(files, key=lambda file: file.stem)}
    if doubles := sorted(set(files) - set(found.values())):
        raise ValueError(f"another file has the same name except for the suffix or the Unicode form: {format_files(doubles)}")
    return found
