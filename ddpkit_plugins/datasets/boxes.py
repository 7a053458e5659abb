"""Boxes around objects: detection."""

from collections.abc import Sequence
from typing import Any


def boxes_of(corners: Sequence[Sequence[float]], labels: Sequence[int], height: int, width: int) -> dict[str, Any]:
    """The target of an image, as torchvision's detectors take it.

    Args:
        corners: Left, top, right, bottom of each box, in pixels.
        labels: The class of each, from 1.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        `boxes`, a `tv_tensors.BoundingBoxes` XYXY float32 [N, 4], and `labels`, int64 [N].
    """
    import torch  # noqa: PLC0415 - heavy, and wanted by runs alone
    from torchvision.tv_tensors import BoundingBoxes  # noqa: PLC0415

    found = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
    boxes = BoundingBoxes(found, format="XYXY", canvas_size=(height, width))
    return {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)}


def collate(samples: Sequence[tuple[Any, dict[str, Any]]]) -> tuple[Any, list[dict[str, Any]]]:
    """A micro-batch: images [N, C, H, W], or a list of them where sizes differ, and a list of targets."""
    import torch  # noqa: PLC0415

    images, targets = [image for image, _ in samples], [target for _, target in samples]
    if not all(isinstance(image, torch.Tensor) for image in images):
        raise TypeError(f"collate takes tensors, got {type(images[0]).__name__}")
    return torch.stack(images) if len({image.shape for image in images}) == 1 else images, targets
