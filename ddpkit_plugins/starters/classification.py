"""Config for images with one class each."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ddpkit import Starter
from ddpkit_plugins.datasets.csv_dataset import CsvDataset
from ddpkit_plugins.datasets.image_folder import CustomDataset
from ddpkit_plugins.starters.class_names import class_values
from ddpkit_plugins.starters.image_survey import FOUND_SIZES, FOUND_UNREADABLE, survey_images
from ddpkit_plugins.starters.training_size import FOUND_SPLITS, TrainingSize

TEMPLATE = Path(__file__).with_suffix(".toml")
FOUND = """\
  images       $n_samples | 图像数       $n_samples
  classes      $n_classes: $counts | 类别数       $n_classes：$counts
"""
FOUND += FOUND_SIZES + FOUND_SPLITS + "  group        $group | 分组         $group\n" + FOUND_UNREADABLE
IMBALANCED = 3
"""Ratio of the largest class to the smallest one from which the config suggests a balanced sampler."""
SINGLE_PIXEL = 32
"""Size of an image that ResNet reduces to one pixel."""


def suggest_classifier(data: CustomDataset | CsvDataset, keys: Mapping[str, Any], *, must_name: bool = False) -> Starter:
    """Return a config that trains ResNet-18 from scratch.

    Args:
        data: The dataset.
        keys: Keys of the dataset in the config: `dataset` (its name), `root`, and others or None.
        must_name: Whether the config must contain the names of the classes.

    Raises:
        ValueError: There is only one class, or no image can be read.
    """
    if len(data.classes) == 1:
        raise ValueError(f"there is only one class, {data.classes[0]!r}; a classifier requires two or more")
    counts = Counter(data.classes[label] for label in data.targets)
    survey = survey_images([file for file, _ in data.samples])
    size = TrainingSize(len(data.samples), data.splits)
    height_width = survey.input_size(size.longest_side(128, 224))
    batch_size = size.batch_size(64)
    values = {
        **dict.fromkeys(("file", "path", "label", "part", "group")),
        **keys,
        **survey.values,
        **size.values,
        **class_values(data.classes, counts, must_name=must_name),
        "imbalance": imbalance(counts.values()),
        "size": height_width,
        "batch_size": batch_size,
        "epochs": size.epochs(3000, 10, 40),
        "drop_last": True if max(height_width) <= SINGLE_PIXEL and size.n_train >= batch_size else None,
        "monitor": "accuracy" if size.has_valid else "loss",
    }
    return Starter(config=TEMPLATE.read_text(encoding="utf-8"), found=FOUND, values=values)


def imbalance(counts: Iterable[int]) -> float | None:
    """Return how many times as many samples the largest class has as the smallest one; None if the classes are balanced."""
    numbers = sorted(counts)
    ratio = round(numbers[-1] / numbers[0], 1)
    return ratio if ratio >= IMBALANCED else None
