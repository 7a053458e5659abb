"""Several labels per image: which digits are in a picture of two digits?"""

import numpy as np
import torch
from PIL import Image
from torch import nn

from ddpkit import Component, hookimpl
from ddpkit_plugins.datasets.mnist import Mnist


@hookimpl
def ddpkit_datasets():
    yield Component("digit_pairs", "plugin:DigitPairs", doc="two digits side by side", image_type="pil")


@hookimpl
def ddpkit_models():
    yield Component("label_net", "plugin:LabelNet", doc="one logit per label", draws=())


class DigitPairs:
    """Pictures of two bundled digits. A target has a 1 for each class that is in the picture, else a 0: float32 [10]."""

    classes = Mnist.classes

    def __init__(self, root_dir: str, seed: int):
        self.digits = Mnist(root_dir, seed)  # your own data go here
        n, n_test = len(self.digits), len(self.digits.splits["test"])
        draw = np.random.default_rng(0)  # not used for each sample: the pairs are the same in each epoch
        # each digit is in one picture only, and the test digits, which come last, are in the pictures of the test split
        self.pairs = np.concatenate([draw.permutation(n - n_test), n - n_test + draw.permutation(n_test)]).reshape(-1, 2)
        self.splits = {"test": range((n - n_test) // 2, n // 2)}

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        (left, one), (right, other) = (self.digits[place] for place in self.pairs[index])
        target = torch.zeros(len(self.classes))
        target[[one, other]] = 1
        return Image.fromarray(np.hstack([left, right])), target


class LabelNet(nn.Sequential):
    """Images [B, 1, 28, 56] to logits [B, n_classes]; ddpkit passes the number of classes."""

    def __init__(self, n_classes: int, n_channels: int = 1, width: int = 32):
        super().__init__(
            nn.Conv2d(n_channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d((1, 2)),
            nn.Flatten(), nn.Linear(8 * width, n_classes),
        )  # fmt: skip
