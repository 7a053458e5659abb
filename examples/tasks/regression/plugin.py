"""Regression: by which angle is a digit rotated?"""

import torch
from PIL.Image import Resampling
from torch import nn

from ddpkit import Component, hookimpl
from ddpkit_plugins.datasets.mnist import Mnist


@hookimpl
def ddpkit_datasets():
    yield Component("rotated_digits", "plugin:RotatedDigits", doc="digits, rotated at random", image_type="pil")


@hookimpl
def ddpkit_models():
    yield Component("angle_net", "plugin:AngleNet", doc="one number per image", draws=())


@hookimpl
def ddpkit_metrics():
    # "logits": the metric gets the outputs of the model, because there is no postprocess
    yield Component("mae", "torchmetrics:MeanAbsoluteError", takes="logits", higher_is_better=False, draws=())


class RotatedDigits:
    """The bundled digits, each rotated by a random angle. The angle is the target: a float, in degrees."""

    def __init__(self, root_dir: str, seed: int, limit: float = 45.0):
        self.digits = Mnist(root_dir, seed)  # your own data go here
        self.splits = self.digits.splits
        self.limit = limit

    def __len__(self):
        return len(self.digits)

    def __getitem__(self, index):
        image, _ = self.digits[index]
        # ddpkit seeds torch's generator for each sample and epoch, so the angle does not depend on the rank or the worker
        angle = (2 * torch.rand(()).item() - 1) * self.limit
        return image.rotate(angle, resample=Resampling.BILINEAR), angle


class AngleNet(nn.Module):
    """Images [B, 1, 28, 28] to angles [B] in degrees."""

    def __init__(self, n_channels: int = 1, width: int = 32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(n_channels, width, 5, stride=2), nn.ReLU(), nn.Conv2d(width, 2 * width, 5, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * width, 64), nn.ReLU(), nn.Linear(64, 1),
        )  # fmt: skip

    def forward(self, images):
        return 30 * self.layers(images).squeeze(1)
