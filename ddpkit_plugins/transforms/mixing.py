"""AugMix, also for images whose target has positions in the image."""

from typing import Any, ClassVar

from torch import nn
from torchvision.transforms import v2
from torchvision.tv_tensors import TVTensor


class ColorOperations(v2.AugMix):  # type: ignore[misc]  # torchvision is not typed
    """Variant of AugMix that distorts only colours and moves no pixels."""

    _AUGMENTATION_SPACE: ClassVar = {
        name: distortion
        for name, distortion in v2.AugMix._AUGMENTATION_SPACE.items()  # noqa: SLF001 - torchvision has no public way
        if name not in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
    }


class AugMix(nn.Module):
    """Transform that mixes distorted copies; if the target is a mask or has boxes, only colours are distorted."""

    def __init__(self, severity: int, mixture_width: int) -> None:
        super().__init__()
        self.anything = v2.AugMix(severity=severity, mixture_width=mixture_width)
        self.colours = ColorOperations(severity=severity, mixture_width=mixture_width)

    def forward(self, image: Any, *target: Any) -> Any:
        """Transform `(image, target)`, or an image without a target."""
        has_place = any(isinstance(each, dict | TVTensor) for each in target)
        mixed = (self.colours if has_place else self.anything)(image)
        return (mixed, *target) if target else mixed
