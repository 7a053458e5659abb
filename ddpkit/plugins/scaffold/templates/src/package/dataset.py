"""Dataset: images and their targets."""

import numpy as np
from PIL import Image


class Stripes:
    """Grayscale images of noisy stripes: horizontal, vertical or diagonal.

    The images are computed, so no files are needed. A dataset of files gets their folder
    if it has the parameter `root_dir: str`, and reads them with `ddpkit.open_image`.

    Args:
        n: Number of images. The last fifth is the test split.
        size: Height and width of the images in pixels.
        seed: Seed of the noise; passed by the run.
    """

    classes = ("horizontal", "vertical", "diagonal")

    def __init__(self, n: int = 600, size: int = 28, seed: int = 0) -> None:
        self.size, self.seed = size, seed
        self.targets = [index % len(self.classes) for index in range(n)]
        self.splits = {"test": range(n - n // 5, n)}

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return an image of mode `L` and its class. The same index gives the same image."""
        generator = np.random.default_rng([self.seed, index])
        rows, columns = np.indices((self.size, self.size))
        position = (rows, columns, rows + columns)[self.targets[index]]
        bright = (position + generator.integers(8)) // 4 % 2 == 0
        pixels = np.where(bright, 160, 60) + generator.integers(-60, 60, bright.shape)
        return Image.fromarray(pixels.astype(np.uint8)), self.targets[index]
