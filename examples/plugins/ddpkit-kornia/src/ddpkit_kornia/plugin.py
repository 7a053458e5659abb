"""Declarations of the transforms. ddpkit imports this file in every command, so it imports neither kornia nor torch."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl

ddpkit_api = "1.0"

WITHOUT_MOTION = {
    "GAUSSIAN_NOISE": ("RandomGaussianNoise", "add Gaussian noise"),
    "SALT_AND_PEPPER": ("RandomSaltAndPepperNoise", "set random pixels to 0 or 1"),
    "MOTION_BLUR": ("RandomMotionBlur", "blur along a line of random direction"),
    "MEDIAN_BLUR": ("RandomMedianBlur", "replace each pixel by the median around it"),
    "COLOR_JIGGLE": ("ColorJiggle", "change brightness, contrast, saturation and hue, for RGB"),
    "PLANCKIAN_JITTER": ("RandomPlanckianJitter", "change the colour temperature, for RGB"),
    "GAMMA": ("RandomGamma", "change brightness by an exponent"),
    "CLAHE": ("RandomClahe", "equalize the histogram of each tile, with limited contrast"),
    "EQUALIZE": ("RandomEqualize", "equalize the histogram"),
    "SHARPNESS": ("RandomSharpness", "sharpen or soften"),
    "ILLUMINATION": ("RandomLinearIllumination", "add a linear gradient of brightness"),
    "PLASMA_SHADOW": ("RandomPlasmaShadow", "add random shadows like clouds"),
    "ERASING": ("RandomErasing", "erase a random rectangle, also where a mask has an object"),
}
"""Name -> class of kornia.augmentation, description. No pixel moves, so the target stays as it is."""

WITH_MASKS = {
    "AFFINE": ("affine", "rotate, shift, scale and shear the image and its mask"),
    "PERSPECTIVE": ("perspective", "move the corners of the image and its mask"),
    "ELASTIC": ("elastic", "deform the image and its mask by smooth random shifts"),
}
"""Name -> function of ddpkit_kornia.transform, description."""


@hookimpl
def ddpkit_transforms() -> Iterator[Component]:
    """Declare the transforms, which change float tensors in 0..1."""
    for name, (target, doc) in WITHOUT_MOTION.items():
        bound = {"keepdim": True, "same_on_batch": False}
        yield Component(
            name, f"kornia.augmentation:{target}", doc=doc, bound=bound, image_only=True, image_type="same", train_only=True
        )
    for name, (target, doc) in WITH_MASKS.items():
        yield Component(name, f"ddpkit_kornia.transform:{target}", doc=doc, image_type="same", train_only=True)
