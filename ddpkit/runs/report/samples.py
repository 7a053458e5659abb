"""Samples of the test split in the report, with their pictures embedded into the page."""

import base64
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import attrs

from ddpkit.plugins.protocols import TestSample
from ddpkit.runs.record import RunRecord
from ddpkit.runs.screen.text_table import format_value

TITLES: Mapping[str, str] = {
    "wrong": "Wrong predictions, the most confident first",
    "correct": "Correct predictions, the first of the test split",
    "worst": "Worst predictions, the largest error first",
    "best": "Best predictions, the smallest error first",
    "sample": "Predictions, the first of the test split",
}
"""Group of samples -> its title."""
PROBABILITY = "The number after a class is its probability. "
COLOR = "The colour behind the name of a class belongs to this class; it does not mean right or wrong. "
NOTES: Mapping[str, str] = {
    "class": PROBABILITY + COLOR,
    "labels": PROBABILITY + COLOR + "Error: the largest difference of a probability from its target, 0 to 1.",
    "mask": "The number after a class is its share of the pixels. Error: the share of wrong pixels.",
    "boxes": PROBABILITY
    + "The colour of a box belongs to its class; it does not mean right or wrong. Error: 1 - F1 score of the boxes, 0 to 1.",
}
"""Kind of predictions -> explanation of the texts of its samples."""
OTHER_NOTE = "Error: the mean absolute difference from the target."
WIDE = 1.5
"""Width of a picture divided by its height from which it gets more space."""


@attrs.frozen
class Picture:
    """Sample with its picture."""

    source: str
    """The PNG file as a URI `data:...`."""
    sample: TestSample
    error: str
    """Error as text; "" if it is 0, not known, or the same as the probability of the prediction."""
    is_wide: bool


def describe_texts(record: RunRecord) -> str:
    """Return what the numbers and colours of the samples mean."""
    return next((NOTES[kind] for kind in record.gives if kind in NOTES), OTHER_NOTE)


def group_pictures(record: RunRecord) -> dict[str, Sequence[Picture]]:
    """Return the samples whose picture is a file of the run folder, by the title of their group."""
    shown = [each for each in record.test_samples if is_picture(each.file, record.folder)]
    groups = {
        title: [make_picture(each, record.gives) for each in shown if each.group == group] for group, title in TITLES.items()
    }
    return {title: pictures for title, pictures in groups.items() if pictures}


def is_picture(file: Path, folder: Path) -> bool:
    """Return whether the file is a picture inside the run folder, because the page must not contain other files."""
    return file.suffix == ".png" and file.is_file() and file.resolve().is_relative_to(folder.resolve())


def make_picture(sample: TestSample, gives: Collection[str]) -> Picture:
    data = sample.file.read_bytes()
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return Picture(source, sample, error_text(sample.error, gives), is_wide(data))


def error_text(error: float | None, gives: Collection[str]) -> str:
    if not error or "class" in gives:
        return ""
    return f"{error:.1%}" if "mask" in gives else format_value(error)


def is_wide(png: bytes) -> bool:
    """Return whether a picture is much wider than high; the header of a PNG file contains its size."""
    width, height = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
    return width > WIDE * height
