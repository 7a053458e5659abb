"""U-Net (Ronneberger et al. 2015, "U-Net: convolutional networks for biomedical image segmentation")."""

import torch
from torch import Tensor, nn


class UNet(nn.Module):
    """Takes images [B, n_channels, H, W] of any size and returns logits [B, n_classes, H, W].

    Unlike the paper's, convolutions are padded, so that the logits have the size of the image, and each is followed by
    BatchNorm. A level halves height and width, odd ones rounded up, and doubles the channels.

    Args:
        n_channels: Of the images.
        n_classes: Logits a pixel; 1 tells two classes apart.
        depth: Halvings, 4 in the paper.
        width: Channels of the first level, 64 in the paper.
        bilinear: Enlarge by interpolation and a 1x1 convolution; else by a transposed convolution, as the paper does.
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
            raise ValueError(f"n_channels, n_classes, depth and width are at least 1, got {numbers}")
        widths = [width * 2**level for level in range(depth + 1)]
        self.encoders = nn.ModuleList(
            block(inward, outward) for inward, outward in zip([n_channels, *widths], widths, strict=False)
        )
        self.halve = nn.MaxPool2d(2, ceil_mode=True)  # rounded up, so that one pixel stays one
        self.enlargers = nn.ModuleList(enlarger(each, bilinear=bilinear) for each in widths[:-1])
        self.decoders = nn.ModuleList(block(2 * each, each) for each in widths[:-1])
        self.head = nn.Conv2d(width, n_classes, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, n_channels, H, W] to logits [B, n_classes, H, W]."""
        maps = [self.encoders[0](images)]
        for encoder in self.encoders[1:]:
            maps.append(encoder(self.halve(maps[-1])))
        found = maps.pop()
        for enlarge, decode in zip(reversed(self.enlargers), reversed(self.decoders), strict=True):
            kept = maps.pop()
            height, width = kept.shape[-2:]
            found = decode(torch.cat([kept, enlarge(found)[..., :height, :width]], dim=1))  # an odd map was rounded up
        logits: Tensor = self.head(found)
        return logits


def block(n_in: int, n_out: int) -> nn.Sequential:
    """Twice a 3x3 convolution, BatchNorm and ReLU; height and width stay."""
    layers: list[nn.Module] = []
    for n_from in (n_in, n_out):
        convolution = nn.Conv2d(n_from, n_out, kernel_size=3, padding=1, bias=False)  # BatchNorm has a bias
        layers += [convolution, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def enlarger(n_out: int, *, bilinear: bool) -> nn.Module:
    """[B, 2 * n_out, H, W] to [B, n_out, 2 * H, 2 * W]."""
    if not bilinear:
        return nn.ConvTranspose2d(2 * n_out, n_out, kernel_size=2, stride=2)
    # a 1x1 convolution and an interpolation may change places; this way round costs a quarter
    return nn.Sequential(nn.Conv2d(2 * n_out, n_out, kernel_size=1), nn.Upsample(scale_factor=2, mode="bilinear"))
