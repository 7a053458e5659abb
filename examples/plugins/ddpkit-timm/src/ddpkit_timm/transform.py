"""The data configuration of timm's models, and timm's policies of augmentation, as transforms of image and target."""

from typing import Any

import torch
from PIL import Image
from timm.data.auto_augment import augment_and_mix_transform, auto_augment_transform, rand_augment_transform
from timm.models import PretrainedCfg, get_pretrained_cfg
from torchvision.transforms import v2
from torchvision.tv_tensors import TVTensor

RGB = 3


def data_config(model: str) -> PretrainedCfg:
    """Return the configuration of the published weights of a model. Raise ValueError for an unknown model or tag."""
    try:
        config = get_pretrained_cfg(model)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    if config is None:
        raise ValueError(f"timm has no model {model!r}; 'ddpkit list model timm/*' shows the names")
    return config


class ModelResize:
    """Resize and centre crop to the input size of a model, with its crop share and interpolation; masks and boxes too.

    Args:
        model: Name of a model of timm, with or without a tag.
        size: Height and width in pixels. Absent: those of the model, for example 224.
    """

    def __init__(self, model: str, size: int | None = None):
        config = data_config(model)
        crop = [size, size] if size else [*config.input_size[1:]]
        sides = [int(side / config.crop_pct) for side in crop]
        if config.crop_mode != "squash" and sides[0] == sides[1]:
            sides = sides[:1]  # the shorter side
        mode = v2.InterpolationMode(config.interpolation)
        self.resize = v2.Compose([v2.Resize(sides, interpolation=mode), v2.CenterCrop(crop)])

    def __call__(self, image: Any, target: Any) -> tuple[Any, Any]:
        """Return image and target of the new size."""
        return self.resize(image, target)


class ModelNormalize:
    """Subtract the mean of a model and divide by its standard deviation. Grayscale images use the means of both over RGB.

    Args:
        model: Name of a model of timm, with or without a tag.
    """

    def __init__(self, model: str):
        config = data_config(model)
        self.mean, self.std = [*config.mean], [*config.std]

    def __call__(self, image: torch.Tensor, target: Any) -> tuple[torch.Tensor, Any]:
        """Return the normalised image [C, H, W] and the same target. Raise ValueError for other than 1 or 3 channels."""
        if len(image) not in (1, RGB):
            raise ValueError(f"the image must have 1 or 3 channels; it has {len(image)}")
        mean, std = (self.mean, self.std) if len(image) == RGB else ([sum(self.mean) / RGB], [sum(self.std) / RGB])
        return v2.functional.normalize(image, mean, std), target


class AutoAugment:
    """Change a PIL image by a policy of timm. Pixels move, so it is for targets without masks and boxes.

    Args:
        policy: Name of the policy with its options: `rand-m9-mstd0.5` (RandAugment), `original` or `3a` (AutoAugment),
            `augmix-m3` (AugMix); see timm.data.auto_augment.
        model: Name of a model of timm, whose mean colour fills empty corners. Absent: grey.

    Raises:
        ValueError: The policy or the model is unknown.
    """

    def __init__(self, policy: str = "rand-m9-mstd0.5", model: str | None = None):
        builder = {"rand": rand_augment_transform, "augm": augment_and_mix_transform}.get(policy[:4], auto_augment_transform)
        mean = data_config(model).mean if model else (0.5,) * RGB
        try:
            self.augment = builder(policy, {"translate_pct": 0.3, "img_mean": tuple(round(255 * value) for value in mean)})
        except (AssertionError, ValueError, KeyError) as error:
            raise ValueError(f"policy {policy!r} is not a policy of timm; for example 'rand-m9-mstd0.5'") from error

    def __call__(self, image: Image.Image, target: Any) -> tuple[Image.Image, Any]:
        """Return the changed image and the same target. Raise ValueError for a tensor, or a target with masks or boxes."""
        if not isinstance(image, Image.Image):
            message = "AUTO_AUGMENT changes PIL images; put it before the transform that returns tensors"
            raise ValueError(message)  # noqa: TRY004 - ddpkit reports a ValueError of the first samples as a mistake of the config
        leaves = target.values() if isinstance(target, dict) else [target]
        if any(isinstance(leaf, TVTensor) for leaf in leaves):
            raise ValueError("AUTO_AUGMENT moves pixels, but not masks and boxes; remove it")
        return self.augment(image.convert("RGB")).convert(image.mode), target
