"""From a model's outputs to predictions."""

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
    """The postprocesses."""
    here = "ddpkit_plugins.postprocesses"
    yield Component("classification", f"{here}:classification", doc="logits to probabilities", gives="class")
    yield Component(
        "binary_segmentation", f"{here}:binary_segmentation", doc="one or two logits a pixel to probabilities", gives="mask"
    )
    yield Component("segmentation", f"{here}:segmentation", doc="logits of each class a pixel to probabilities", gives="mask")
    yield Component("multilabel", f"{here}:multilabel", doc="logits to a probability of each label by itself", gives="labels")
    yield Component("detection", f"{here}:detection", doc="boxes, of which the best are kept", gives="boxes")


def classification() -> "Callable[[Tensor], Tensor]":
    """Logits [B, C] to probabilities [B, C] by softmax; one logit [B, 1] to those of two classes [B, 2] by sigmoid."""
    return of_samples


def binary_segmentation() -> "Callable[[Tensor], Tensor]":
    """Of background and foreground [B, 2, H, W]: from one logit [B, 1, H, W] by sigmoid, from two by softmax."""
    return of_two


def segmentation() -> "Callable[[Tensor], Tensor]":
    """Logits [B, C, H, W] of two classes or more to probabilities [B, C, H, W] by softmax."""
    return of_classes


def multilabel() -> "Callable[[Tensor], Tensor]":
    """Logits [B, C, ...] to probabilities of the same shape by sigmoid: a sample may have several labels, or none."""
    return of_labels


def detection(
    score_threshold: float = 0.0,
    max_detections: int = 100,
    nms_threshold: float | None = None,
    image_size: list[int] | None = None,
) -> "Callable[[Images], Images]":
    """Torchvision's boxes, the best first: a mapping an image, of `boxes` [N, 4], `scores`, `labels` and what else is of each.

    Args:
        score_threshold: Boxes with less are left out; from 0 to 1.
        max_detections: Boxes an image, at least 1.
        nms_threshold: Of two boxes of a class with more than this intersection over union, from 0 to 1, the lesser is left out.
            Absent: as the model gives them; torchvision's models do it themselves.
        image_size: `[height, width]`, to which boxes are clipped. Absent: as the model gives them; torchvision's do it too.
    """
    shares = {"score_threshold": score_threshold, "nms_threshold": nms_threshold}
    for name, value in shares.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} is from 0 to 1, got {value}")
    if max_detections < 1:
        raise ValueError(f"max_detections is at least 1, got {max_detections}")
    if image_size is not None and (len(image_size) != 2 or min(image_size) < 1):  # noqa: PLR2004 - height and width
        raise ValueError(f"image_size is [height, width], got {image_size}")
    best = partial(best_boxes, least=score_threshold, n=max_detections, overlap=nms_threshold, size=image_size)
    return lambda outputs: [best(found) for found in detections(outputs)]


def detections(outputs: "Images") -> "Images":
    """The outputs. Raises ValueError for what holds no boxes."""
    if not all(isinstance(found, Mapping) and {"boxes", "scores", "labels"} <= found.keys() for found in outputs):
        raise ValueError("it takes a detector's outputs, boxes with scores and labels, which the model does not give")
    return outputs


def best_boxes(
    found: "Mapping[str, Tensor]", *, least: float, n: int, overlap: float | None, size: Sequence[int] | None
) -> "Mapping[str, Tensor]":
    """Of one image, see `detection`."""
    from torchvision.ops import batched_nms, clip_boxes_to_image  # noqa: PLC0415 - heavy, and wanted by runs alone

    boxes, scores = found["boxes"], found["scores"]
    if size:
        boxes = clip_boxes_to_image(boxes, tuple(size))
    kept = scores.argsort(descending=True, stable=True)
    kept = kept[scores[kept] >= least]
    if overlap is not None:
        kept = kept[batched_nms(boxes[kept], scores[kept], found["labels"][kept], overlap)]
    return {key: value[kept[:n]] for key, value in {**found, "boxes": boxes}.items()}


def of_samples(outputs: "Tensor") -> "Tensor":
    """Of each class of a sample. Raises ValueError for other outputs, as those of each pixel."""
    return probabilities(logits(outputs, lambda shape: len(shape) == 2, "logits [B, C]; pixels want 'segmentation'"))  # noqa: PLR2004


def probabilities(outputs: "Tensor") -> "Tensor":
    """Of each class: float [B, C, ...] in 0..1; one logit is that of the second of two classes."""
    import torch  # noqa: PLC0415

    if outputs.shape[1] > 1:
        return outputs.softmax(dim=1)
    positive = outputs.sigmoid()
    return torch.cat([1 - positive, positive], dim=1)


def of_two(outputs: "Tensor") -> "Tensor":
    """Of each of two classes. Raises ValueError for more logits."""
    wanted = "one or two logits a pixel [B, C, H, W]; 'segmentation' takes more"
    return probabilities(logits(outputs, lambda shape: len(shape) > BINARY >= shape[1], wanted))


def of_classes(outputs: "Tensor") -> "Tensor":
    """Of each class. Raises ValueError for a single logit, whose softmax is always 1."""
    wanted = "logits of two classes or more a pixel [B, C, H, W]; 'binary_segmentation' takes one"
    return logits(outputs, lambda shape: len(shape) > BINARY <= shape[1], wanted).softmax(dim=1)


def of_labels(outputs: "Tensor") -> "Tensor":
    """Of each label by itself. Raises ValueError for what are no logits."""
    return logits(outputs, lambda shape: len(shape) > 1, "logits [B, C] or of each pixel").sigmoid()


def logits(outputs: "Tensor", fits: "Callable[[Sequence[int]], bool]", wanted: str) -> "Tensor":
    """The outputs. Raises ValueError for those whose shape does not fit, or that have none, as a detector's."""
    shape = getattr(outputs, "shape", None)
    if shape is None or not fits(shape):
        raise ValueError(f"it takes {wanted}; got {type(outputs).__name__ if shape is None else list(shape)}")
    return outputs
