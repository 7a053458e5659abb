"""Predictions for the eye: masks with colours, and pictures with what was found in them, in the size of the picture."""

import colorsys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional
from torchvision.utils import draw_bounding_boxes

from ddpkit.inference.prediction import Prediction

GOLDEN = 0.618034
"""Of the colour circle: steps of it never come close to an earlier one."""


def palette() -> list[int]:
    """Red, green, blue of 256 classes; the first is black."""
    colours = [colorsys.hsv_to_rgb(label * GOLDEN % 1, 0.85, 1.0) for label in range(255)]
    return [0, 0, 0, *(round(255 * part) for colour in colours for part in colour)]


def mask_image(mask: "np.ndarray[Any, Any]") -> Image.Image:
    """A mask as a picture whose values are class indices, with a palette where a byte holds them."""
    image = Image.fromarray(mask)
    if mask.dtype == np.uint8:
        image.putpalette(palette())
    return image


def drawn(picture: Image.Image, prediction: Prediction) -> Image.Image:
    """The picture, RGB, with its mask over it, its boxes, or its labels."""
    if "mask" in prediction.arrays:
        return overlaid(picture, prediction.arrays["mask"])
    values = prediction.values
    if "boxes" in values:
        boxes = torch.from_numpy(prediction.arrays["boxes"])
        return boxed(picture, boxes, [f"{name} {score}" for name, score in zip(values["names"], values["scores"], strict=True)])
    width, height = picture.size
    return boxed(picture, torch.tensor([[0.0, 0.0, width - 1, height - 1]]), [caption(values)])


def caption(values: Mapping[str, Any]) -> str:
    """What is written on a picture: its class, or its labels."""
    return f"{values['name']} {values['probability']}" if "name" in values else ", ".join(values.get("labels", ()))


def overlaid(picture: Image.Image, mask: "np.ndarray[Any, Any]") -> Image.Image:
    """Half the colour of each pixel's class; the first class is left clear."""
    colours = mask_image((mask & 255).astype(np.uint8)).convert("RGB")
    return Image.composite(Image.blend(picture, colours, 0.5), picture, Image.fromarray(mask > 0))


def boxed(picture: Image.Image, boxes: torch.Tensor, labels: list[str]) -> Image.Image:
    """Boxes XYXY [N, 4] with a text each."""
    if not len(boxes):
        return picture
    image: Image.Image = functional.to_pil_image(draw_bounding_boxes(functional.pil_to_tensor(picture), boxes, labels))
    return image
