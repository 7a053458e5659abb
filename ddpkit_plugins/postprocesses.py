"""Postprocesses: they convert a model's outputs to predictions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    Images = Sequence[Mapping[str, Tensor]]

BINARY = 2


@hookimpl
def ddpkit_postprocesses() -> Iterator[Component]:
    """Yield the built-in postprocesses."""
    here = "ddpkit_plugins.postprocesses"
    yield Component(
        "classification", f"{here}:classification", doc="convert logits to class probabilities", gives="class", draws=()
    )
    yield Component(
        "binary_segmentation",
        f"{here}:binary_segmentation",
        doc="convert one or two logits per pixel to probabilities",
        gives="mask",
        draws=(),
    )
    yield Component(
        "segmentation",
        f"{here}:segmentation",
        doc="convert one logit per class and pixel to probabilities",
        gives="mask",
        binary_outputs=2,
        draws=(),
    )
    yield Component(
        "multilabel", f"{here}:multilabel", doc="convert each logit to the probability of its label", gives="labels", draws=()
    )
    yield Component("detection", f"{here}:detection", doc="select the best boxes of each image", gives="boxes", draws=())


def classification() -> "Callable[[Tensor], Tensor]":
    """Convert logits [B, C] to class probabilities [B, C] by softmax.

    A single logit [B, 1] is the logit of the second of two classes; sigmoid converts it to probabilities [B, 2]. The
    returned callable raises ValueError for outputs of another shape, such as logits per pixel.
    """
    return sample_probabilities


def binary_segmentation() -> "Callable[[Tensor], Tensor]":
    """Convert logits per pixel to the probabilities of background and foreground [B, 2, H, W].

    One logit [B, 1, H, W] is converted by sigmoid, two logits [B, 2, H, W] by softmax. The returned callable raises ValueError
    for outputs of another shape.
    """
    return binary_probabilities


def segmentation() -> "Callable[[Tensor], Tensor]":
    """Convert logits [B, C, H, W] of two or more classes to probabilities [B, C, H, W] by softmax.

    The returned callable raises ValueError for a single logit per pixel, and for outputs of another shape.
    """
    return class_probabilities


def multilabel() -> "Callable[[Tensor], Tensor]":
    """Convert logits [B, C, ...] to label probabilities of the same shape by sigmoid.

    A sample may have several labels or none. The returned callable raises ValueError for outputs that are not logits.
    """
    return label_probabilities


def detection(
    score_threshold: float = 0.0,
    max_detections: int = 100,
    nms_threshold: float | None = None,
    image_size: list[int] | None = None,
) -> "Callable[[Images], Images]":
    """Select the best boxes of each image from the outputs of a torchvision detector.

    The result has a mapping for each image, sorted by score, the best box first: `boxes` [N, 4], `scores` [N], `labels` [N], and
    any other entry per box. The returned callable raises ValueError for outputs without boxes, scores and labels.

    Args:
        score_threshold: Minimum score of a box, from 0 to 1.
        max_detections: Maximum number of boxes per image, at least 1.
        nms_threshold: Intersection over union, from 0 to 1. Of two boxes of a class that overlap more, the one with the lower
            score is removed. Absent: no further removal; torchvision's models do it themselves.
        image_size: `[height, width]` in pixels, to which boxes are clipped. Absent: no further clipping; torchvision's models do
            it themselves.

    Raises:
        ValueError: A parameter is out of range.
    """
    thresholds = {"score_threshold": score_threshold, "nms_threshold": nms_threshold}
    for name, value in thresholds.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} must be between 0 and 1; got {value}")
    if max_detections < 1:
        raise ValueError(f"max_detections must be at least 1; got {max_detections}")
    if image_size is not None and (len(image_size) != 2 or min(image_size) < 1):  # noqa: PLR2004 - height and width
        raise ValueError(f"image_size must be [height, width] in pixels, each at least 1; got {image_size}")
    best = partial(select_best_boxes, least=score_threshold, n=max_detections, overlap=nms_threshold, size=image_size)
    return lambda outputs: [best(found) for found in select_detections(outputs)]


def select_detections(outputs: "Images") -> "Images":
    """Return the outputs. Raises ValueError if they are not boxes with scores and labels."""
    if not all(isinstance(found, Mapping) and {"boxes", "scores", "labels"} <= found.keys() for found in outputs):
        raise ValueError("expected the outputs of a detector: boxes, scores and labels for each image")
    return outputs


def select_best_boxes(
    found: "Mapping[str, Tensor]", *, least: float, n: int, overlap: float | None, size: Sequence[int] | None
) -> "Mapping[str, Tensor]":
    """Select the boxes of one image, see `detection`."""
    from torchvision.ops import batched_nms, clip_boxes_to_image  # noqa: PLC0415 - slow import that only runs need

    boxes, scores = found["boxes"], found["scores"]
    if size:
        boxes = clip_boxes_to_image(boxes, tuple(size))
    kept = scores.argsort(descending=True, stable=True)
    kept = kept[scores[kept] >= least]
    if overlap is not None:
        kept = kept[batched_nms(boxes[kept], scores[kept], found["labels"][kept], overlap)]
    return {key: value[kept[:n]] for key, value in {**found, "boxes": boxes}.items()}


def sample_probabilities(outputs: "Tensor") -> "Tensor":
    """Return class probabilities per sample. Raises ValueError for other outputs, such as logits per pixel."""
    wanted = "logits [B, C] (for logits per pixel, use 'segmentation')"
    return probabilities(check_logits(outputs, lambda shape: len(shape) == 2, wanted))  # noqa: PLR2004


def probabilities(outputs: "Tensor") -> "Tensor":
    """Return class probabilities, float [B, C, ...] in 0..1. A single logit is the logit of the second of two classes."""
    import torch  # noqa: PLC0415

    if outputs.shape[1] > 1:
        return outputs.softmax(dim=1)
    positive = outputs.sigmoid()
    return torch.cat([1 - positive, positive], dim=1)


def binary_probabilities(outputs: "Tensor") -> "Tensor":
    """Return the probabilities of two classes. Raises ValueError for more logits."""
    wanted = "one or two logits per pixel [B, C, H, W] (for more logits, use 'segmentation')"
    return probabilities(check_logits(outputs, lambda shape: len(shape) > BINARY >= shape[1], wanted))


def class_probabilities(outputs: "Tensor") -> "Tensor":
    """Return class probabilities. Raises ValueError for a single logit, whose softmax is always 1."""
    wanted = "two or more logits per pixel [B, C, H, W] (for a single logit, use 'binary_segmentation')"
    return check_logits(outputs, lambda shape: len(shape) > BINARY <= shape[1], wanted).softmax(dim=1)


def label_probabilities(outputs: "Tensor") -> "Tensor":
    """Return independent label probabilities. Raises ValueError for outputs that are not logits."""
    return check_logits(outputs, lambda shape: len(shape) > 1, "logits [B, C], or logits per pixel [B, C, H, W]").sigmoid()


def check_logits(outputs: "Tensor", fits: "Callable[[Sequence[int]], bool]", wanted: str) -> "Tensor":
    """Return the outputs. Raises ValueError if their shape does not fit, or if they are not a tensor."""
    shape = getattr(outputs, "shape", None)
    if shape is None or not fits(shape):
        raise ValueError(f"expected {wanted}; got {type(outputs).__name__ if shape is None else list(shape)}")
    return outputs
