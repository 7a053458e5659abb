"""Targets and micro-batches of detection datasets: boxes around objects."""

from collections.abc import Sequence
from typing import Any


def to_boxes(
    corners: Sequence[Sequence[float]], labels: Sequence[int], height: int, width: int, crowds: Sequence[int] | None = None
) -> dict[str, Any]:
    """Return the target of an image in the form of torchvision's detectors.

    Args:
        corners: Left, top, right and bottom of each box, in pixels.
        labels: Class of each box, from 1.
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
        crowds: 1 for each box around several objects, 0 for the others; None: the dataset has no such boxes.

    Returns:
        `boxes`, a `tv_tensors.BoundingBoxes` XYXY float32 [N, 4], and `labels`, int64 [N]; with `crowds` also `iscrowd`,
        int64 [N].
    """
    import torch  # noqa: PLC0415 - slow import that only runs need
    from torchvision.tv_tensors import BoundingBoxes  # noqa: PLC0415

    found = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
    boxes = BoundingBoxes(found, format="XYXY", canvas_size=(height, width))
    target = {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)}
    return target if crowds is None else target | {"iscrowd": torch.tensor(crowds, dtype=torch.int64)}


def collate(samples: Sequence[tuple[Any, dict[str, Any]]]) -> tuple[Any, list[dict[str, Any]]]:
    """Return a micro-batch: images [N, C, H, W] and a list of targets.

    Images of different sizes are a list. Raises TypeError for images that are not tensors.
    """
    import torch  # noqa: PLC0415

    images, targets = [image for image, _ in samples], [target for _, target in samples]
    if not all(isinstance(image, torch.Tensor) for image in images):
        raise TypeError(f"collate expects image tensors; got {type(images[0]).__name__}")
    return torch.stack(images) if len({image.shape for image in images}) == 1 else images, targets
