"""Keypoints: the centre of a handwritten digit, and both ends of its main axis."""

import numpy as np
import torch
from torch import nn
from torchmetrics import Metric
from torchvision.tv_tensors import KeyPoints

from ddpkit import Component, hookimpl
from ddpkit_plugins.datasets.mnist import Mnist


@hookimpl
def ddpkit_datasets():
    yield Component("digit_axes", "plugin:DigitAxes", doc="digits with three points", image_type="pil")


@hookimpl
def ddpkit_models():
    yield Component("point_net", "plugin:PointNet", doc="points in pixels", draws=())


@hookimpl
def ddpkit_metrics():
    # "logits": the metric gets the outputs of the model, because there is no postprocess
    yield Component("distance", "plugin:MeanDistance", takes="logits", higher_is_better=False, draws=())


class DigitAxes:
    """The bundled digits. A target has three points (x, y) in pixels: KeyPoints [3, 2], which the transforms move."""

    def __init__(self, root_dir: str, seed: int):
        self.digits = Mnist(root_dir, seed)  # your own data go here
        self.splits = self.digits.splits

    def __len__(self):
        return len(self.digits)

    def __getitem__(self, index):
        image, _ = self.digits[index]
        return image, KeyPoints(axis_points(np.asarray(image)), canvas_size=(image.height, image.width))


def axis_points(pixels):
    """Return the centre of the ink, then the upper and the lower end of its main axis: float32 [3, 2]."""
    y, x = np.nonzero(pixels > 127)
    centre = np.array([x.mean(), y.mean()])
    variances, axes = np.linalg.eigh(np.cov(x, y))
    half = 2 * variances[1] ** 0.5 * axes[:, 1] * np.sign(axes[1, 1])  # downwards
    return np.stack([centre, centre - half, centre + half]).astype(np.float32)


class PointNet(nn.Module):
    """Images [B, 1, 28, 28] to three points [B, 3, 2] in pixels."""

    def __init__(self, n_channels: int = 1, width: int = 32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(n_channels, width, 5, stride=2), nn.ReLU(), nn.Conv2d(width, 2 * width, 5, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * width, 64), nn.ReLU(), nn.Linear(64, 6),
        )  # fmt: skip

    def forward(self, images):
        return 14 + 7 * self.layers(images).reshape(-1, 3, 2)


class MeanDistance(Metric):
    """Mean distance in pixels between predicted and true points. Both sums are added up over the ranks."""

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, outputs, targets):
        self.total += (outputs.double() - targets).norm(dim=-1).sum()
        self.n += targets[..., 0].numel()

    def compute(self):
        return self.total / self.n
