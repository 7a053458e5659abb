"""AugMix, for images whose target has a place in the image too."""

from typing import Any, ClassVar

from torch import nn
from torchvision.transforms import v2
from torchvision.tv_tensors import TVTensor


class Colours(v2.AugMix):  # type: ignore[misc]  # torchvision is not typed
    """Copies that are distorted in their colours, and stay where they are."""

    _AUGMENTATION_SPACE: ClassVar = {
        name: distortion
        for name, distortion in v2.AugMix._AUGMENTATION_SPACE.items()  # noqa: SLF001 - torchvision has no public way
        if name not in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
    }


class AugMix(nn.Module):
    """Mixes copies that went through any distortion, or, for a target of masks or boxes, through those of colours alone."""

    def __init__(self, severity: int, mixture_width: int) -> None:
        super().__init__()
        self.anything = v2.AugMix(severity=severity, mixture_width=mixture_width)
        self.colours = Colours(severity=severity, mixture_width=mixture_width)

    def forward(self, image: Any, *target: Any) -> Any:
        """`(image, target)`, or an image alone."""
        has_place = any(isinstance(each, dict | TVTensor) for each in target)
        mixed = (self.colours if has_place else self.anything)(image)
        return (mixed, *target) if target else mixed
