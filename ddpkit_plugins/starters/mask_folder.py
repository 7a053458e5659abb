"""Starter of the dataset `mask_folder`: a config for images with masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddpkit import Starter
from ddpkit_plugins.datasets.files import list_images
from ddpkit_plugins.datasets.mask_folder import MedicalDataset
from ddpkit_plugins.datasets.split_indices import SPLITS
from ddpkit_plugins.starters.image_survey import FOUND_SIZES, FOUND_UNREADABLE, survey_images
from ddpkit_plugins.starters.mask_values import MaskMeaning, interpret_masks
from ddpkit_plugins.starters.training_size import FOUND_SPLITS, TrainingSize

IMAGES = ("images", "image", "imgs", "img", "JPEGImages")
"""Usual names of the folder of the images; the first one is the default of the dataset."""
MASKS = ("masks", "mask", "labels", "label", "annotations", "gt", "ground_truth", "SegmentationClass")
"""Usual names of the folder of the masks; the first one is the default of the dataset."""
TEMPLATE = Path(__file__).with_name("segmentation.toml")
FOUND = """\
  images       $n_samples with masks | 图像数       $n_samples，均有掩码
  classes      $n_classes, palette $palette | 类别数       $n_classes，调色板 $palette
  classes      $n_classes, mask values $mask_values | 类别数       $n_classes，掩码值 $mask_values
  classes      $n_plain | 类别数       $n_plain
  no class     value $ignore_index | 无类别       值 $ignore_index
"""
FOUND += FOUND_SIZES + FOUND_SPLITS + FOUND_UNREADABLE


def mask_folder(path: Path) -> Starter | None:
    """Recognise a folder with a folder of images and one of masks, or with `train`, `valid` and `test` that contain them."""
    if not path.is_dir():
        return None
    folders = next((each for each in (path, *(path / split for split in SPLITS)) if find_folder(each, IMAGES)), path)
    images, masks = find_folder(folders, IMAGES), find_folder(folders, MASKS)
    if not images or not masks:
        return None
    data = MedicalDataset(str(path), [], 0, images=images, masks=masks)
    keys = {"images": None if images == IMAGES[0] else images, "masks": None if masks == MASKS[0] else masks}
    return suggest_segmenter(data, {"root": str(path), **keys})


def find_folder(folder: Path, names: Sequence[str]) -> str | None:
    """Return the first of the names that is a folder with images; None if there is none."""
    return next((name for name in names if (folder / name).is_dir() and list_images(folder / name)), None)


def suggest_segmenter(data: MedicalDataset, keys: dict[str, Any]) -> Starter:
    """Return a config that trains a U-Net from scratch. Raises ValueError if no image or mask can be used."""
    survey = survey_images([image for image, _ in data.samples])
    meaning = interpret_masks([mask for _, mask in data.samples])
    size = TrainingSize(len(data.samples), data.splits)
    values = {
        **keys,
        **survey.values,
        **size.values,
        **meaning.keys,
        **class_values(meaning, size.n_samples),
        **loss_values(meaning),
        "size": survey.input_size(256),
        "batch_size": size.batch_size(16),
        "epochs": size.epochs(1000, 10, 40),
        "monitor": "dice" if size.has_valid else "loss",
    }
    return Starter(config=TEMPLATE.read_text(encoding="utf-8"), found=FOUND, values=values)


def class_values(meaning: MaskMeaning, n_masks: int) -> dict[str, Any]:
    """Return the values of the template that describe the classes."""
    n_classes = meaning.n_classes
    names = ["background", "foreground"] if n_classes == 2 else ["background", *map("class_{}".format, range(1, n_classes or 0))]  # noqa: PLR2004
    has_values = meaning.mask_values or meaning.palette
    return {
        "classes": names if n_classes else None,
        "n_masks": None if n_classes else n_masks,
        "n_classes": n_classes,
        "n_plain": None if has_values else n_classes,
    }


def loss_values(meaning: MaskMeaning) -> dict[str, Any]:
    """Return the values of the template for criteria and metrics, which must agree about pixels without a class."""
    if meaning.ignored is not None:
        ignoring = {"config": {"ignore_index": meaning.ignored}}
        criteria = [{"type": "cross_entropy", **ignoring}]
        return {
            "postprocess": "segmentation",
            "criterion": criteria,
            "metrics": [{"type": each, **ignoring} for each in ("dice", "iou")],
        }
    pixels = "bce" if meaning.is_binary else "cross_entropy"
    return {
        "postprocess": "binary_segmentation" if meaning.is_binary else "segmentation",
        "criterion": [{"type": pixels, "weight": 0.5}, {"type": "dice", "weight": 0.5}],
        "metrics": ["dice", "iou"],
    }
