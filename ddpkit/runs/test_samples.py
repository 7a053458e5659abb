"""Samples of the test split with their predictions, in the run folder: texts in one file, and one picture per sample."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import attrs

from ddpkit.plugins.protocols import TestSample
from ddpkit.runs.files import Files, read_json, reading, replace_file
from ddpkit.terminal import escape

TEST_SAMPLES, TEST_PICTURES = "test_samples.json", "test_samples"
"""File with a list of samples of the test split, and the folder of their pictures.

`file` (picture, relative to the run folder), `sample` (name or index), `group` (`wrong` and `correct`; `worst` and `best` where a
prediction can be partly right; `sample` if the error is not known), `truth` and `prediction` (texts), `error` (0 = correct,
null = not known). The largest error comes first.
"""


Group = Literal["wrong", "correct", "worst", "best", "sample"]


@attrs.frozen(kw_only=True)
class ShownSample:
    """Sample of the test split that is shown, with its picture; see `TEST_SAMPLES`."""

    sample: str | int
    group: Group
    truth: str
    prediction: str
    error: float | None
    png: bytes = attrs.field(repr=False)
    """Picture of the image, its target and its prediction, as a PNG file."""


def write_test_samples(folder: Path, samples: Sequence[ShownSample]) -> None:
    """Write the samples of a test, if there are any; those of an earlier test must have been deleted."""
    if not samples:
        return
    rows = []
    (folder / TEST_PICTURES).mkdir(exist_ok=True)
    for number, each in enumerate(samples, start=1):
        name = f"{TEST_PICTURES}/{number:04}.png"
        (folder / name).write_bytes(each.png)
        rows.append({"file": name, **attrs.asdict(each, filter=lambda field, _: field.name != "png")})
    text = escape(json.dumps(rows, indent=2, ensure_ascii=False), keep="\n") + "\n"
    replace_file(Files(), folder / TEST_SAMPLES, [text.encode()])


def read_test_samples(folder: Path) -> list[TestSample]:
    """Return the samples of the last test of a run; [] without a test."""
    file = folder / TEST_SAMPLES
    with reading(file):
        return [TestSample(**{**row, "file": folder / row["file"]}) for row in read_json(file)]
