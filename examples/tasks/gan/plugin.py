"""A generator draws digits from noise; a discriminator learns to tell them from real ones (GAN, Goodfellow et al. 2014)."""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.utils import save_image

from ddpkit import Component, StepOutput, hookimpl

N_NOISE = 32


@hookimpl
def ddpkit_models():
    yield Component("gan", "plugin:Gan", doc="generator and discriminator of digits", draws=())


@hookimpl
def ddpkit_steps():
    yield Component("adversarial", "plugin:Adversarial", doc="one loss for each of the two parts", draws=())


class Gan(nn.Module):
    """Noise [B, 32] to images [B, 1, 28, 28], and images to one logit [B, 1]: how probably is the image real?"""

    def __init__(self, width: int = 32):
        super().__init__()
        self.generator = nn.Sequential(
            nn.Linear(N_NOISE, 7 * 7 * 2 * width), nn.ReLU(), nn.Unflatten(1, (2 * width, 7, 7)),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1), nn.Sigmoid(),
        )  # fmt: skip
        self.discriminator = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Flatten(), nn.Linear(7 * 7 * 2 * width, 1),
        )  # fmt: skip

    def forward(self, noise):
        return self.generator(noise)


class Adversarial:
    """Returns one loss for each optimizer. ddpkit trains each part with its own loss only."""

    def __call__(self, context, images, targets):
        gan = context.module
        noise = context.draw("noise", draw_noise)  # the same numbers on any number of ranks
        fake = context.call(gan.generator, noise)
        on_real = context.call(gan.discriminator, images)
        on_fake = context.call(gan.discriminator, fake.detach())  # no gradient for the generator
        losses = {
            "discriminator": logistic(on_real, 1.0) + logistic(on_fake, 0.0),
            "generator": logistic(context.call(gan.discriminator, fake), 1.0),
        }
        return StepOutput(losses, values={"taken_for_real": on_fake.sigmoid().mean()})


def draw_noise(generator):
    return torch.randn(N_NOISE, generator=generator)


def logistic(logits, target):
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


@hookimpl
def ddpkit_epoch_end(run, row):
    """Write a picture of 100 generated digits after each epoch."""
    if run.rank == 0:
        weight = next(run.model.parameters())
        noise = torch.randn(100, N_NOISE, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            pictures = run.model.generator(noise.to(weight))
        save_image(pictures, run.folder / f"generated-{row['epoch']:02}.png", nrow=10)
