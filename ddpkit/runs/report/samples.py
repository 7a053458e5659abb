"""Samples of the test split in the report, with their pictures embedded into the page."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from ddpkit.plugins.protocols import TestSample
from ddpkit.runs.record import RunRecord

TITLES: Mapping[str, str] = {
    "wrong": "Wrong predictions, the most confident first",
    "correct": "Correct predictions",
    "worst": "Worst predictions",
    "best": "Best predictions",
    "sample": "Predictions",
}
"""Group of samples -> its title."""


@attrs.frozen
class Picture:
    """Sample with its picture."""

    source: str
    """The PNG file as a URI `data:...`."""
    sample: TestSample


def group_pictures(record: RunRecord) -> dict[str, Sequence[Picture]]:
    """Return the samples whose picture is a file of the run folder, by the title of their group."""
    shown = [each for each in record.test_samples if is_picture(each.file, record.folder)]
    groups = {title: [make_picture(each) for each in shown if each.group == group] for group, title in TITLES.items()}
    return {title: pictures for title, pictures in groups.items() if pictures}


def is_picture(file: Path, folder: Path) -> bool:
    """Return whether the file is a picture inside the run folder, because the page must not contain other files."""
    return file.suffix == ".png" and file.is_file() and file.resolve().is_relative_to(folder.resolve())


def make_picture(sample: TestSample) -> Picture:
    return Picture(f"data:image/png;base64,{base64.b64encode(sample.file.read_bytes()).decode()}", sample)
