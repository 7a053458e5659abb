"""U-Net (Ronneberger, Fischer and Brox 2015, "U-Net: Convolutional networks for biomedical image segmentation")."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """Images [B, n_channels, H, W] to logits [B, n_classes, H, W], for any H and W of at least `2 ** depth`.

    Padded convolutions with BatchNorm, so that nothing is cut off at the borders.

    Args:
        n_channels: Of the images.
        n_classes: Logits a pixel; 1 tells two classes apart.
        depth: Halvings of the image.
        width: Channels of the first level; each level has twice as many as the one above.
        bilinear: Enlarge by interpolation and a convolution; false = by a transposed convolution.
    """

    def __init__(
        self,
        n_channels: int = 3,
        n_classes: int = 1,
        depth: int = 4,
        width: int = 64,
        bilinear: bool = True,  # noqa: FBT001, FBT002 - a key of the TOML
    ) -> None:
        super().__init__()
        if min(n_channels, n_classes, depth, width) < 1:
            given = f"{n_channels}, {n_classes}, {depth} and {width}"
            raise ValueError(f"n_channels, n_classes, depth and width are at least 1, got {given}")
        widths = [width * 2**level for level in range(depth + 1)]
        self.first = twice(n_channels, width)
        self.down = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), twice(*pair)) for pair in itertools.pairwise(widths))
        self.up = nn.ModuleList(Up(wide, narrow, bilinear=bilinear) for wide, narrow in itertools.pairwise(widths[::-1]))
        self.head = nn.Conv2d(width, n_classes, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Down, keeping each level, and up again."""
        levels = [self.first(images)]
        for down in self.down:
            levels.append(down(levels[-1]))
        features = levels.pop()
        for up in self.up:
            features = up(features, levels.pop())
        logits: Tensor = self.head(features)
        return logits


class Up(nn.Module):
    """Enlarge, and join with the level of that size."""

    def __init__(self, wide: int, narrow: int, *, bilinear: bool) -> None:
        super().__init__()
        interpolated = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(wide, narrow, kernel_size=1))
        self.enlarge = interpolated if bilinear else nn.ConvTranspose2d(wide, narrow, kernel_size=2, stride=2)
        self.join = twice(2 * narrow, narrow)

    def forward(self, features: Tensor, level: Tensor) -> Tensor:
        """Features [B, wide, H // 2, W // 2] and the level [B, narrow, H, W] to [B, narrow, H, W]."""
        features = self.enlarge(features)
        missing = [level.shape[axis] - features.shape[axis] for axis in (-1, -2)]  # 1 where a side was odd
        features = functional.pad(features, [0, missing[0], 0, missing[1]])
        joined: Tensor = self.join(torch.cat([level, features], dim=1))
        return joined


def twice(n_in: int, n_out: int) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU, and once more."""
    layers = [
        part for n in (n_in, n_out) for part in (nn.Conv2d(n, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU())
    ]
    return nn.Sequential(*layers)
