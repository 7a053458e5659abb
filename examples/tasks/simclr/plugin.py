"""Learn features without labels: two views of an image must be similar, views of other images not (SimCLR, Chen et al. 2020)."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from torchvision.transforms import v2

import ddpkit
from ddpkit import Component, StepOutput, hookimpl
from ddpkit_plugins.datasets.mnist import Mnist


@hookimpl
def ddpkit_datasets():
    yield Component("two_views", "plugin:TwoViews", doc="two random views of each digit", image_type="tensor")


@hookimpl
def ddpkit_models():
    yield Component("encoder", "plugin:Encoder", doc="features and their projection", draws=())


@hookimpl
def ddpkit_steps():
    yield Component("contrastive", "plugin:Contrastive", doc="compares all views of a micro-batch", draws=())


class TwoViews(Mnist):
    """The bundled digits; an image is a tensor of two views, [2, 1, 28, 28]."""

    def __init__(self, root_dir: str, seed: int):
        super().__init__(root_dir, seed)
        self.distort = v2.Compose([
            v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
            v2.RandomAffine(degrees=20, translate=(0.15, 0.15), scale=(0.8, 1.2), shear=20),
            v2.RandomErasing(p=0.5, scale=(0.05, 0.2)),
        ])  # fmt: skip

    def __getitem__(self, index):
        image, digit = super().__getitem__(index)
        return torch.stack([self.distort(image), self.distort(image)]), digit


class Encoder(nn.Module):
    """Images [B, 1, 28, 28] to features [B, 128], and to the projection [B, 32] that the loss compares."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=2), nn.ReLU(), nn.Conv2d(width, 2 * width, 5, stride=2), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * width, 128),
        )  # fmt: skip
        self.projection = nn.Sequential(nn.ReLU(), nn.Linear(128, 32))

    def forward(self, images):
        features = self.features(images)
        return normalize(features), normalize(self.projection(features))


class Contrastive:
    def __init__(self, temperature: float = 0.2):
        self.temperature = temperature

    def __call__(self, context, images, targets):
        features, views = (each.unflatten(0, (-1, 2)) for each in context.model(images.flatten(0, 1)))  # [B, 2, ...]
        # Samples of all ranks: otherwise each rank would compare only its own, and more ranks would give another training.
        first, second = ddpkit.all_gather(views).unbind(1)
        similarity = first @ second.T / self.temperature
        own = torch.arange(len(first), device=first.device)
        loss = (cross_entropy(similarity, own) + cross_entropy(similarity.T, own)) / 2
        return StepOutput(loss, values={"same_digit": same_digit(ddpkit.all_gather(features[:, 0]), ddpkit.all_gather(targets))})


@torch.no_grad()
def same_digit(features, digits):
    """Share of images whose most similar other image shows the same digit. The labels have no influence on the training."""
    similarity = (features @ features.T).fill_diagonal_(-2.0)
    return (digits[similarity.argmax(dim=1)] == digits).double().mean()
