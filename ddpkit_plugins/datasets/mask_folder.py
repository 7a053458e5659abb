"""Images with masks: segmentation."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

from ddpkit import open_image
from ddpkit_plugins.datasets.files import existing_root, file_groups, image_files, inside, listed, refuse_strays, shown
from ddpkit_plugins.datasets.images import size
from ddpkit_plugins.datasets.masks import Coding
from ddpkit_plugins.datasets.split_indices import PARTS, consecutive
from ddpkit_plugins.stratify import kept

if TYPE_CHECKING:
    from torchvision.tv_tensors import Mask

Pair = tuple[Path, Path]
"""An image and its mask."""


class MedicalDataset:
    """Images `root_dir/images/*` as PIL images of mode `mode`, with masks `root_dir/masks/*` of the same name.

    The endings of the names may differ. A mask is a `tv_tensors.Mask`, int64 [H, W], of class indices. Samples are in the
    order of their names. Where `root_dir` holds folders named `train`, `valid` or `test` with these two folders in them, those
    are the parts of the dataset.

    Args:
        root_dir: The folder; given by `[dataset]`.
        classes: Names of the classes; given by the run. Where there are two or more, masks may hold these alone.
        seed: The run's; given by the run.
        images: The folder of the images in `root_dir`.
        masks: The folder of the masks in `root_dir`.
        mode: `RGB`, or `L` for grey.
        mask_values: The i-th value is class i, and no other may occur. Absent: a grey mask that holds 0 and 255 alone has the
            classes 0 and 1; the values of any other, and the palette indices of a mask with a palette, are class indices.
        palette: In place of `mask_values`, for masks in colours: the i-th colour, [red, green, blue], is class i.
        ignore_index: An index that stands for no class: give losses the same. What `mask_values` or `palette` lack becomes it.
        max_samples: Keep only so many of each part, drawn by the seed.
        follow_links: Links may lead out of `root_dir`.
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
        self.root, self.mode = existing_root(root_dir, f"the folders {images!r} and {masks!r}"), mode
        self.classes, self.coding = classes, Coding.of(mask_values, palette, ignore_index, len(classes))
        own = [part for part in PARTS if (self.root / part / images).is_dir()]
        found = {part: pairs(*inside(self.root / part, [images, masks])) for part in own or [""]}
        chosen = {part: [each[index] for index in kept(len(each), max_samples, seed)] for part, each in found.items()}
        self.samples: list[Pair] = [pair for part in chosen.values() for pair in part]
        self.parts = consecutive({part: len(each) for part, each in chosen.items()})
        if not follow_links:
            refuse_strays(self.root, (file for pair in self.samples for file in pair))

    @property
    def groups(self) -> dict[str, list[str]]:
        """What a split may group samples by."""
        return file_groups(self.root, (image for image, _ in self.samples))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> "tuple[Image.Image, Mask]":
        from torchvision.tv_tensors import Mask  # noqa: PLC0415 - heavy, and wanted by runs alone

        image_file, mask_file = self.samples[index]
        image, mask = open_image(image_file, self.mode), open_image(mask_file)
        if image.size != mask.size:
            raise ValueError(f"{shown(image_file)} is {size(image)} pixels, its mask {shown(mask_file)} is {size(mask)}")
        return image, Mask(self.coding.decode(mask, mask_file))


def pairs(images: Path, masks: Path) -> list[Pair]:
    """By name. Raises ValueError for what has no partner, or more than one."""
    image_of, mask_of = by_stem(images), by_stem(masks)
    alone = [image_of[stem] for stem in image_of.keys() - mask_of] + [mask_of[stem] for stem in mask_of.keys() - image_of]
    if alone:
        names = listed(sorted(alone))
        raise ValueError(f"an image and its mask have the same name but for the ending; without a partner: {names}")
    return [(image_of[stem], mask_of[stem]) for stem in image_of]


def by_stem(folder: Path) -> dict[str, Path]:
    """The image files of a folder by their names without ending, in order of these. Raises ValueError if there are none."""
    files = image_files(folder) if folder.is_dir() else []
    if not files:
        raise ValueError(f"no images in {folder}; expected image files there, for each image a mask of the same name")
    found = {file.stem: file for file in sorted(files, key=lambda file: file.stem)}
    if doubles := sorted(set(files) - set(found.values())):
        raise ValueError(f"another file has the same name but for the ending: {listed(doubles)}")
    return found
