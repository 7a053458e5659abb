"""Images with masks: segmentation."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from ddpkit_plugins.datasets.images import existing_root, image_files, open_as, open_image

if TYPE_CHECKING:
    from torchvision.tv_tensors import Mask

SHOWN = 5
"""How many files a message names."""


class MedicalDataset:
    """Images `root_dir/images/*` as PIL images of mode `mode`, with masks `root_dir/masks/*` of the same name.

    The endings of the names may differ. A mask is a `tv_tensors.Mask`, int64 [H, W], of class indices. Samples are in the
    order of their names.

    Args:
        root_dir: The folder; given by `[dataset]`.
        classes: Names of the classes; given by the run.
        images: The folder of the images in `root_dir`.
        masks: The folder of the masks in `root_dir`.
        mode: `RGB`, or `L` for grey.
        mask_values: The i-th value is class i, and no other may occur. Absent: a grey mask that holds 0 and 255 alone has the
            classes 0 and 1; the values of any other, and the palette indices of a mask with a palette, are class indices.
        max_samples: Keep only so many, the first ones.
    """

    def __init__(
        self,
        root_dir: str,
        classes: list[str],
        images: str = "images",
        masks: str = "masks",
        mode: Literal["RGB", "L"] = "RGB",
        mask_values: list[int] | None = None,
        max_samples: int | None = None,
    ) -> None:
        if max_samples is not None and max_samples < 1:
            raise ValueError(f"max_samples is at least 1, got {max_samples}")
        if mask_values is not None and len(set(mask_values)) != max(len(mask_values), 1):
            raise ValueError(f"mask_values are different values, one a class, got {mask_values}")
        root = existing_root(root_dir, f"the folders {images!r} and {masks!r}")
        self.files = pairs(root / images, root / masks)[:max_samples]
        self.classes, self.mode, self.mask_values = classes, mode, mask_values

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> "tuple[Image.Image, Mask]":
        from torchvision.tv_tensors import Mask  # noqa: PLC0415 - heavy, and wanted by runs alone

        image_file, mask_file = self.files[index]
        image, mask = open_as(image_file, self.mode), open_image(mask_file)
        if image.size != mask.size:
            raise ValueError(f"{image_file} is {size(image)} pixels, its mask {mask_file} is {size(mask)}")
        return image, Mask(class_indices(mask, mask_file, self.mask_values))


def pairs(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """`(image, mask)` by name. Raises ValueError for what has no partner, or more than one."""
    image_of, mask_of = by_stem(images), by_stem(masks)
    alone = [image_of[stem] for stem in image_of.keys() - mask_of] + [mask_of[stem] for stem in mask_of.keys() - image_of]
    if alone:
        more = f" and {len(alone) - SHOWN} more" if len(alone) > SHOWN else ""
        names = ", ".join(map(str, sorted(alone)[:SHOWN]))
        raise ValueError(f"an image and its mask have the same name but for the ending; without a partner: {names}{more}")
    return [(image_of[stem], mask_of[stem]) for stem in image_of]


def by_stem(folder: Path) -> dict[str, Path]:
    """The image files of a folder by their names without ending, in order of these. Raises ValueError if there are none."""
    files = image_files(folder) if folder.is_dir() else []
    if not files:
        raise ValueError(f"no images in {folder}; expected image files there, for each image a mask of the same name")
    found = {file.stem: file for file in sorted(files, key=lambda file: file.stem)}
    if doubles := sorted(map(str, set(files) - set(found.values())))[:SHOWN]:
        raise ValueError(f"another file has the same name but for the ending: {', '.join(doubles)}")
    return found


def size(image: Image.Image) -> str:
    """Width and height, for messages."""
    return f"{image.width}x{image.height}"


def class_indices(mask: Image.Image, file: Path, mask_values: Sequence[int] | None) -> Any:
    """An opened mask as class indices, int64 [H, W]. Raises ValueError naming the file."""
    if len(mask.getbands()) > 1 or mask.mode == "F":
        raise ValueError(f"{file} has mode {mask.mode}; a mask holds one integer a pixel, grey or of a palette")
    values = np.array(mask, dtype=np.int64)
    if mask_values is None:
        is_binary = mask.mode != "P" and np.isin(values, (0, 255)).all()
        return values // 255 if is_binary else values
    indices = np.full_like(values, -1)
    for index, value in enumerate(mask_values):
        indices[values == value] = index
    if (indices < 0).any():
        unknown = np.unique(values[indices < 0])[:SHOWN].tolist()
        raise ValueError(f"{file} holds {unknown}, which is not in mask_values {list(mask_values)}")
    return indices
