"""Draw samples as the model gets them: the image tensor as a picture, with its target."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import Normalize

from ddpkit.config import schema
from ddpkit.config.classes import class_names, configured_outputs, foreground_names
from ddpkit.data.loader import SplitLoader, describe_value
from ddpkit.data.nested import count_samples
from ddpkit.inference.drawing import Annotation, draw, enlargement
from ddpkit.inference.tags import BACKGROUND, Tag, add_strip, font_size, format_number, mask_legend

TILE = 320
"""Longer side of a sample in a grid, in pixels. Larger images are reduced to it."""
GAP = 12
"""Distance between samples in a grid, in pixels."""
MOST_NUMBERS = 8
"""Maximum number of values that are shown of a target without classes."""
ROUNDING = 0.1
"""How far float pixels may be outside 0..1, for example after a bicubic resize, before their range is scaled."""


def split_batch(images: Any, targets: Any) -> list[tuple[Any, Any]]:
    """Return image and target of each sample of a collated micro-batch."""
    n = count_samples(images)
    return [(select_target(images, place, n), select_target(targets, place, n)) for place in range(n)]


def select_target(targets: Any, place: int, n: int) -> Any:
    """Return the target of one of `n` samples; torch's default collation keeps mappings and tuples, and collates their values."""
    if isinstance(targets, Mapping):
        return {key: select_target(each, place, n) for key, each in targets.items()}
    if isinstance(targets, Tensor):
        return targets[place] if targets.ndim and len(targets) == n else targets
    if isinstance(targets, list | tuple):
        return targets[place] if len(targets) == n else [select_target(each, place, n) for each in targets]
    return targets


def describe_images(images: Sequence[Any]) -> str:
    """Return dtype and shape of the first image, and the range of the pixels of all images."""
    pixels = [each for each in map(join_images, images) if is_drawable(each)]
    if not pixels:
        return describe_value(images[0])
    low, high = min(float(each.min()) for each in pixels), max(float(each.max()) for each in pixels)
    return f"{describe_value(images[0])}, values from {low:.4g} to {high:.4g}"


@attrs.frozen(kw_only=True)
class SampleDrawer:
    """Draws samples of a dataset, after all transforms."""

    classes: Sequence[str]
    """Names of the classes of labels and masks. A class without a name is shown by its index."""
    box_classes: Sequence[str]
    """Names of the classes of boxes: the first one belongs to label 1."""
    transforms: Sequence[Any]
    """Transforms of the samples, in order."""

    @classmethod
    def of(cls, run: schema.Run, loader: SplitLoader) -> "SampleDrawer":
        """Create the drawer for the samples of a split."""
        names = class_names(run)
        transforms = [*loader.samples.transforms, *loader.batch_transforms]
        return cls(classes=names, box_classes=foreground_names(names, "boxes", configured_outputs(run)), transforms=transforms)

    def draw(self, image: Any, target: Any, caption: str) -> Image.Image:
        """Return an RGB picture of a sample with its target and a caption, at most `TILE` pixels wide or high without them."""
        return self.draw_annotation(image, self.annotate(target, image_size(image)), caption)

    def draw_annotation(self, image: Any, annotation: Annotation, caption: str) -> Image.Image:
        """Return an RGB picture of an image with an annotation in place of its target, see `draw`."""
        image = join_images(image)
        if is_drawable(image):
            picture, tags = self.to_picture(image), []
        else:
            height, width = image_size(image)
            picture, tags = Image.new("RGB", (width, height), BACKGROUND), [Tag(None, describe_value(image))]
        factor = min(enlargement(picture.size), TILE / max(picture.size))
        drawn = draw(picture, attrs.evolve(annotation, tags=[*tags, *annotation.tags]), factor)
        return add_strip(drawn, [Tag(None, caption)], font_size((TILE, TILE)))

    def to_picture(self, image: Tensor) -> Image.Image:
        """Convert an image [H, W] or [C, H, W] to RGB: the first three channels, or the first one if there are fewer.

        Float values from 0 to 1 and bytes are shown as they are, after `Normalize` is undone. The range of other values is scaled
        to that of the picture.
        """
        values = image.detach()
        if values.dtype != torch.uint8:
            values = self.denormalize(values.double().nan_to_num(0, 0, 0))
            low, high = values.min(), values.max()
            if low < -ROUNDING or high > 1 + ROUNDING:
                values = (values - low) / (high - low).clamp(min=1e-9)
            values = (values.clamp(0, 1) * 255).round().byte()
        channels = values[None] if values.ndim == 2 else values[:3] if len(values) > 2 else values[:1]  # noqa: PLR2004 - [H, W]
        return Image.fromarray(channels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())

    def denormalize(self, image: Tensor) -> Tensor:
        for transform in reversed(self.transforms):
            if isinstance(transform, Normalize) and len(transform.mean) in (1, len(image)):
                mean, std = (torch.tensor(each, dtype=image.dtype).reshape(-1, 1, 1) for each in (transform.mean, transform.std))
                image = image * std + mean
        return image

    def annotate(self, target: Any, size: tuple[int, int]) -> Annotation:
        """Return what is drawn for the target of an image of `size` (H, W). A target of an unknown kind is shown as text."""
        if isinstance(target, Mapping) and is_boxes(target.get("boxes")):
            return self.annotate_boxes(target)
        if isinstance(target, Mapping) and target:
            return self.annotate_entries(target, size)
        if not isinstance(target, Tensor) or target.is_complex():
            return Annotation(tags=[Tag(None, str(target))])
        values = (target.double() if target.is_floating_point() else target).numpy()
        if (mask := to_mask(values, size)) is not None:
            labels, counts = np.unique(mask, return_counts=True)
            shares = zip(labels.tolist(), map(self.name, labels.tolist()), (counts / mask.size).tolist(), strict=True)
            return Annotation(mask=mask, tags=mask_legend(shares))
        return Annotation(tags=self.label_tags(values) or [Tag(None, describe_target(target))])

    def annotate_boxes(self, target: Mapping[str, Any]) -> Annotation:
        boxes, labels = target["boxes"].tolist(), target.get("labels")
        labels = labels.flatten().long().tolist() if isinstance(labels, Tensor) else [None] * len(boxes)
        names = ["" if label is None else self.name_of_box(label) for label in labels]
        drawn = [(box, Tag(label, name)) for box, label, name in zip(boxes, labels, names, strict=False)]
        return Annotation(boxes=drawn, tags=[] if drawn else [Tag(None, "no box")])

    def annotate_entries(self, target: Mapping[str, Any], size: tuple[int, int]) -> Annotation:
        """Return what is drawn for each entry of a target: all as text, and the first mask. The classes have no names.

        The names of the run need not be those of this entry.
        """
        drawer = attrs.evolve(self, classes=())
        found = {str(key): drawer.annotate(each, size) for key, each in target.items()}
        tags = [attrs.evolve(tag, before=f"{key}: {tag.before}") for key, each in found.items() for tag in each.tags]
        return Annotation(tags=tags, mask=next((each.mask for each in found.values() if each.mask is not None), None))

    def label_tags(self, values: "np.ndarray[Any, Any]") -> list[Tag]:
        """Return the tags of a class index, or of a vector with one value per class; [] if the values are neither."""
        is_whole = bool((values == np.round(values)).all())
        if values.size == 1 and is_whole and (values.dtype.kind != "f" or 0 <= values.item() < len(self.classes)):
            return [Tag(int(values.item()), self.name(int(values.item())))]
        is_vector = values.ndim == 1 and values.size > 1 and values.min() >= 0 and values.max() <= 1
        if not is_vector or not (is_whole or values.size == len(self.classes)):
            return []
        labels = values.nonzero()[0].tolist()
        tags = [Tag(label, self.name(label), "" if is_whole else format_number(float(values[label]))) for label in labels]
        return tags or [Tag(None, "no label")]

    def name(self, label: int) -> str:
        return self.classes[label] if 0 <= label < len(self.classes) else str(label)

    def name_of_box(self, label: int) -> str:
        if label == 0:
            return "background"
        return self.box_classes[label - 1] if 0 < label <= len(self.box_classes) else str(label)


def is_drawable(image: Any) -> bool:
    """Return whether an object is the tensor of an image: real numbers [H, W] or [C, H, W], not empty."""
    return isinstance(image, Tensor) and image.ndim in (2, 3) and image.numel() > 0 and not image.is_complex()


def join_images(image: Any) -> Any:
    """Return several images of one sample, in a mapping, as one image: side by side. Any other value is returned unchanged."""
    parts = list(image.values()) if isinstance(image, Mapping) else []
    fits = parts and all(map(is_drawable, parts)) and len({each.shape[:-1] for each in parts}) == 1
    return torch.cat(parts, dim=-1) if fits else image


def image_size(image: Any) -> tuple[int, int]:
    """Return the size (H, W) of an image; of its placeholder, if it cannot be drawn."""
    image = join_images(image)
    return (image.shape[-2], image.shape[-1]) if is_drawable(image) else (TILE // 2, TILE)


def is_boxes(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] == 4  # noqa: PLR2004 - [N, 4]


def to_mask(values: "np.ndarray[Any, Any]", size: tuple[int, int]) -> "np.ndarray[Any, Any] | None":
    """Return class indices [H, W] for a target [H, W] or [1, H, W] of whole numbers; None for other targets."""
    mask = values[0] if values.ndim == 3 and len(values) == 1 else values  # noqa: PLR2004 - [1, H, W]
    if mask.shape != size or mask.dtype.kind not in "biuf" or not np.isfinite(mask).all() or (mask != np.round(mask)).any():
        return None
    return mask.astype(np.int64)


def describe_target(target: Tensor) -> str:
    """Return the first numbers of a target, or its dtype and shape if it has several dimensions and many numbers."""
    if target.ndim > 1 and target.numel() > MOST_NUMBERS:
        return describe_value(target)
    numbers = [format_number(each) for each in target.flatten()[: MOST_NUMBERS + 1].tolist()]
    return ", ".join([*numbers[:MOST_NUMBERS], *(["..."] if len(numbers) > MOST_NUMBERS else [])])


def draw_grid(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return the pictures in rows from left to right, in a grid that is about as wide as high."""
    n_columns = math.ceil(len(pictures) ** 0.5)
    rows = [pictures[start : start + n_columns] for start in range(0, len(pictures), n_columns)]
    width = max(each.width for each in pictures) + GAP
    heights = [max(each.height for each in row) + GAP for row in rows]
    grid = Image.new("RGB", (n_columns * width + GAP, sum(heights) + GAP), BACKGROUND)
    for number, row in enumerate(rows):
        for column, each in enumerate(row):
            grid.paste(each, (GAP + column * width, GAP + sum(heights[:number])))
    return grid
