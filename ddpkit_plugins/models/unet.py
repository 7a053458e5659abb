"""U-Net (Ronneberger et al. 2015, "U-Net: convolutional networks for biomedical image segmentation")."""

import torch
from torch import Tensor, nn


class UNet(nn.Module):
    """U-Net for segmentation: accepts images [B, n_channels, H, W] of any size and returns logits [B, n_classes, H, W].

    Unlike in the paper, convolutions are padded, so the logits have the size of the image, and each convolution is followed by
    BatchNorm. A level halves height and width, with odd sizes rounded up, and doubles the channels. Source: Ronneberger et al.
    2015, "U-Net: convolutional networks for biomedical image segmentation".

    Args:
        n_channels: Channels of the images, at least 1.
        n_classes: Number of logits per pixel, at least 1; one logit distinguishes two classes.
        depth: Number of halvings, at least 1; 4 in the paper.
        width: Channels of the first level, at least 1; 64 in the paper.
        bilinear: Upsample by a 1x1 convolution and bilinear interpolation; else by a transposed convolution, as in the paper.

    Raises:
        ValueError: A number is below 1.
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
            numbers = f"{n_channels}, {n_classes}, {depth} and {width}"
            raise ValueError(f"n_channels, n_classes, depth and width must be at least 1; got {numbers}")
        widths = [width * 2**level for level in range(depth + 1)]
        self.encoders = nn.ModuleList(
            convolution_block(inward, outward) for inward, outward in zip([n_channels, *widths], widths, strict=False)
        )
        self.halve = nn.MaxPool2d(2, ceil_mode=True)  # rounded up, so that a side of one pixel does not vanish
        self.enlargers = nn.ModuleList(upsampling(each, bilinear=bilinear) for each in widths[:-1])
        self.decoders = nn.ModuleList(convolution_block(2 * each, each) for each in widths[:-1])
        self.head = nn.Conv2d(width, n_classes, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, n_classes, H, W] for images [B, n_channels, H, W]."""
        maps = [self.encoders[0](images)]
        for encoder in self.encoders[1:]:
            maps.append(encoder(self.halve(maps[-1])))
        found = maps.pop()
        for enlarge, decode in zip(reversed(self.enlargers), reversed(self.decoders), strict=True):
            kept = maps.pop()
            height, width = kept.shape[-2:]
            found = decode(torch.cat([kept, enlarge(found)[..., :height, :width]], dim=1))  # an odd size was rounded up
        logits: Tensor = self.head(found)
        return logits


def convolution_block(n_in: int, n_out: int) -> nn.Sequential:
    """Return a block of two 3x3 convolutions, each with BatchNorm and ReLU; height and width stay the same."""
    layers: list[nn.Module] = []
    for n_from in (n_in, n_out):
        convolution = nn.Conv2d(n_from, n_out, kernel_size=3, padding=1, bias=False)  # BatchNorm has its own bias
        layers += [convolution, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def upsampling(n_out: int, *, bilinear: bool) -> nn.Module:
    """Return a module that maps [B, 2 * n_out, H, W] to [B, n_out, 2 * H, 2 * W]."""
    if not bilinear:
        return nn.ConvTranspose2d(2 * n_out, n_out, kernel_size=2, stride=2)
    # a 1x1 convolution and an interpolation commute; this order costs a quarter of the other one
    return nn.Sequential(nn.Conv2d(2 * n_out, n_out, kernel_size=1), nn.Upsample(scale_factor=2, mode="bilinear"))
