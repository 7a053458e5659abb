"""Model: images to logits."""

import torch
from torch import nn


class SmallCNN(nn.Module):
    """Classifier with two convolutions, for small images.

    Args:
        n_channels: Number of channels of the images.
        n_classes: Number of classes; passed by the run.
        width: Number of channels of the first convolution.
    """

    def __init__(
        self,
        n_channels: int = 3,
        n_classes: int = 10,
        width: int = 16,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(n_channels, width, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
        )
        self.head = nn.Linear(2 * width * 4 * 4, n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits [B, n_classes] for images [B, n_channels, H, W]."""
        logits: torch.Tensor = self.head(self.features(images).flatten(1))
        return logits
