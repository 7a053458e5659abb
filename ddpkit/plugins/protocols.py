"""Protocols of objects that plugins provide: loggers and writers of predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs

from ddpkit.terminal import escape


@attrs.frozen(kw_only=True)
class TestSample:
    """Sample of the test split with its prediction."""

    __test__ = False  # not a class of tests, for pytest

    file: Path
    """PNG file with the image, its target and its prediction."""
    sample: str | int
    """Name of its file, or its index in the dataset."""
    group: str
    """`wrong` or `correct`; `worst` or `best` where a prediction can be partly right; `sample` if the error is not known."""
    truth: str
    """Target as text, such as the name of a class."""
    prediction: str
    """Prediction as text."""
    error: float | None
    """0 if the prediction is correct; None if it is not known. For a wrong class, its probability; for a mask, the share of wrong
    pixels; for boxes, 1 - F1 score."""

    @property
    def caption(self) -> str:
        """Sample, target and prediction in one line that is valid UTF-8: other characters are escaped."""
        text = f"{self.sample}: target {self.truth}, prediction {self.prediction}"
        return escape(" ".join(text.split()))


@attrs.frozen(kw_only=True)
class TestResult:
    """Result of the test at the end of a run."""

    __test__ = False

    epoch: int
    """Number of epochs that the run has trained."""
    metrics: Mapping[str, float]
    """`loss`, if the test has it, and each metric under its name in the config; with the prefix `ema/`, those of the EMA."""
    classes: Sequence[str] = ()
    """Names of the classes; those without a name are numbered."""
    per_class: Mapping[str, Sequence[float]] = attrs.field(factory=dict)
    """One number per class, by metric; NaN for a class that does not occur."""
    confusion: Mapping[str, Sequence[Sequence[int]]] = attrs.field(factory=dict)
    """Confusion matrices by metric: rows are true classes, columns are predicted classes."""
    confusion_pictures: Mapping[str, Path] = attrs.field(factory=dict)
    """PNG files of the confusion matrices by metric."""
    samples: Sequence[TestSample] = ()
    """At most `private.log_images` samples, the largest error first."""


class Logger(Protocol):
    """Logger of a plugin; created and called on global rank 0 only.

    It may also have a method `on_test_end(result: TestResult)`, called once if the run tests its best weights.
    """

    def on_epoch_end(self, row: Mapping[str, float]) -> None:
        """Record one row of the history, as a mapping of column to value."""

    def close(self) -> None:
        """Close the logger at the end of the run."""


class Writer(Protocol):
    """Writer of predictions of a plugin; created and called on global rank 0 only."""

    def write(self, name: str, prediction: Any) -> None:
        """Write the prediction for one input. Called for the inputs in order.

        Args:
            name: Name of the input without its suffix; unique, and safe as a file name.
            prediction: Object with `values` (plain values for JSON) and `arrays` (numpy arrays by name).
        """

    def close(self) -> None:
        """Complete the output after the last input."""
