"""Several images per sample: do two pictures show the same digit?"""

import numpy as np
import torch
from torch import nn

from ddpkit import Component, hookimpl
from ddpkit_plugins.datasets.mnist import Mnist


@hookimpl
def ddpkit_datasets():
    yield Component("digit_twins", "plugin:DigitTwins", doc="two digits, equal or not", image_type="pil")


@hookimpl
def ddpkit_models():
    yield Component("siamese", "plugin:Siamese", doc="compares two images", draws=())


class DigitTwins:
    """Two bundled digits in a dict; the target is 1 if they are of the same class, else 0."""

    classes = ("different", "same")

    def __init__(self, root_dir: str, seed: int):
        self.digits = Mnist(root_dir, seed)  # your own data go here
        self.labels = np.array(self.digits.targets)
        # all splits are defined here, so that a digit and its partner are in the same one
        self.splits = {"train": range(3600), "valid": range(3600, 4000), "test": range(4000, 5000)}

    def __len__(self):
        return len(self.digits)

    def __getitem__(self, index):
        split = next(each for each in self.splits.values() if index in each)
        # ddpkit seeds torch's generator for each sample and epoch, so the partner does not depend on the rank or the worker
        is_same = int(torch.rand(()) < 0.5)
        partners = np.flatnonzero((self.labels[split] == self.labels[index]) == is_same)
        partner = split[partners[torch.randint(len(partners), ())]]
        return {"left": self.digits[index][0], "right": self.digits[partner][0]}, is_same


class Siamese(nn.Module):
    """Images {"left": [B, 1, 28, 28], "right": [B, 1, 28, 28]} to one logit [B, 1]: how probably are they of one class?"""

    def __init__(self, width: int = 32):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=2), nn.ReLU(), nn.Conv2d(width, 2 * width, 5, stride=2), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * width, 64),
        )  # fmt: skip
        self.decision = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, images):
        left, right = self.encoder(images["left"]), self.encoder(images["right"])
        return self.decision((left - right).abs())
