"""Two tasks with one model: which digit an image shows, and whether the digit is even or odd."""

from torch import nn

from ddpkit import Component, hookimpl
from ddpkit_plugins.datasets.mnist import Mnist


@hookimpl
def ddpkit_datasets():
    yield Component("digit_and_parity", "plugin:DigitAndParity", doc="digits with two targets", image_type="pil")


@hookimpl
def ddpkit_models():
    yield Component("two_heads", "plugin:TwoHeads", doc="one backbone, two heads", draws=())


class DigitAndParity(Mnist):
    """The bundled digits; a target has one entry for each task."""

    def __getitem__(self, index):
        image, digit = super().__getitem__(index)
        return image, {"digit": digit, "parity": digit % 2}


class TwoHeads(nn.Module):
    """Images [B, 1, 28, 28] to logits of both tasks: a dict with the entries of the targets."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=2), nn.ReLU(), nn.Conv2d(width, 2 * width, 5, stride=2), nn.ReLU(), nn.Flatten()
        )
        self.digit = nn.Linear(32 * width, 10)
        self.parity = nn.Linear(32 * width, 2)

    def forward(self, images):
        features = self.backbone(images)
        return {"digit": self.digit(features), "parity": self.parity(features)}
