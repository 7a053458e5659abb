"""Images of a test: its confusion matrices, and samples with their predictions."""

from collections.abc import Sequence

import attrs

from ddpkit import TestResult

GROUP = "test_images"
"""Folder of the images; not `test`, because a confusion matrix has the name of a metric."""


@attrs.frozen
class ResultImage:
    """Image of a test, with its text."""

    name: str
    """Name in the folder GROUP: `test_images/sample-01`."""
    png: bytes
    caption: str
    """Text of one line; empty for a confusion matrix."""


def create_result_images(result: TestResult) -> list[ResultImage]:
    """Return an image of each confusion matrix, then the samples."""
    matrices = [ResultImage(f"{GROUP}/{name}", file.read_bytes(), "") for name, file in result.confusion_pictures.items()]
    samples = [
        ResultImage(f"{GROUP}/sample-{number:02}", sample.file.read_bytes(), " ".join(sample.caption.split()))
        for number, sample in enumerate(result.samples, 1)
    ]
    return [*matrices, *samples]


def list_captions(images: Sequence[ResultImage]) -> str:
    """Return a text with the name and the caption of each image, one per line."""
    return "".join(f"{image.name} {image.caption}".rstrip() + "\n" for image in images)
