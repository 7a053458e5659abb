"""Record of a run: everything that its folder contains, for the commands that show runs. It imports no torch.

A run may still be training, so each file may be missing; its property is then empty.
"""

import csv
import functools
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ddpkit.plugins.protocols import TestSample
from ddpkit.runs import history, lock, lookup
from ddpkit.runs.epoch_recorder import SUMMARY
from ddpkit.runs.events import EVENTS
from ddpkit.runs.files import read_json, reading
from ddpkit.runs.folder import CLASS_COUNTS, FINISHED, ORIGINS, SKIPPED_SAMPLES, SPLIT, TEST_METRICS, TESTED
from ddpkit.runs.metric_tables import CONFUSION, PER_CLASS
from ddpkit.runs.test_samples import read_test_samples

Row = Mapping[str, Any]
PLUGINS = "plugins.json"


@attrs.frozen
class RunRecord:
    """Contents of a run folder. Each property reads its file once. All of them raise ConfigError for a damaged file."""

    folder: Path

    @functools.cached_property
    def config(self) -> Mapping[str, Any]:
        """The resolved config as tables."""
        return lookup.read_run_config(self.folder)

    @functools.cached_property
    def history(self) -> Sequence[Row]:
        """One row per epoch; None in place of a value that is not finite."""
        return history.read_rows(self.folder)

    @functools.cached_property
    def summary(self) -> Mapping[str, Any]:
        """State after the last epoch, see `SUMMARY`."""
        return self._object(SUMMARY)

    @functools.cached_property
    def test_metrics(self) -> Mapping[str, float | None]:
        """Test loss (`loss`) and each test metric; with the prefix `ema/`, those of the EMA."""
        return self._object(TEST_METRICS)

    @functools.cached_property
    def tested(self) -> Mapping[str, Any]:
        """Tested weights: `weights`, `epoch`, `monitor`, `n_skipped`, and `ema` with the same keys."""
        return self._object(TESTED)

    @functools.cached_property
    def per_class(self) -> Sequence[Mapping[str, str]]:
        """Test metrics of each class: `class`, and one column per metric; a value that is not known is an empty text."""
        return [dict(row) for row in csv.DictReader(self._table(PER_CLASS))]

    @functools.cached_property
    def confusion(self) -> Mapping[str, Sequence[Sequence[str]]]:
        """Confusion matrices of the test, by file name: the header `true, class, ...`, then one row per true class."""
        files = sorted(self.folder.glob(f"*{CONFUSION}*.csv"))
        return {file.name: list(csv.reader(self._table(file.name))) for file in files}

    @functools.cached_property
    def events(self) -> Sequence[Mapping[str, Any]]:
        """What happened to the run, in order, see `EVENTS`."""
        file = self.folder / EVENTS
        return history.read_json_lines(file)

    @functools.cached_property
    def origins(self) -> Sequence[Mapping[str, Any]]:
        """All config values with their origins, see `ORIGINS`."""
        return self._objects(ORIGINS)

    @functools.cached_property
    def class_counts(self) -> Mapping[str, Mapping[str, Any]]:
        """Numbers of samples, see `CLASS_COUNTS`."""
        return self._object(CLASS_COUNTS)

    @functools.cached_property
    def test_samples(self) -> Sequence[TestSample]:
        """Samples of the test split with their predictions, the largest error first."""
        return read_test_samples(self.folder)

    @functools.cached_property
    def model(self) -> Mapping[str, Any]:
        """Summary of the model: `type`, `parameters`, `layers`, ..."""
        return self._object("model.json")

    @functools.cached_property
    def environment(self) -> Mapping[str, Any]:
        """Versions, machine, device, ranks and seed."""
        return self._object("environment.json")

    @functools.cached_property
    def plugins(self) -> Mapping[str, Any]:
        """`plugins` (all that were loaded) and `used` (components of the run)."""
        return self._object(PLUGINS)

    @functools.cached_property
    def splits(self) -> Mapping[str, Sequence[Any]]:
        """Names or indices of the samples of each split."""
        return self._object(SPLIT)

    @functools.cached_property
    def skipped_samples(self) -> Sequence[Mapping[str, str]]:
        """Unreadable samples that were skipped: `sample` and `error`."""
        return self._objects(SKIPPED_SAMPLES)

    @property
    def gives(self) -> Collection[str]:
        """Kinds of the predictions that are known: `class`, `labels`, `mask`, `boxes`."""
        with reading(self.folder / PLUGINS):
            return {each["gives"] for each in self.plugins.get("used", []) if each.get("gives")}

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended normally."""
        return (self.folder / FINISHED).is_file()

    @property
    def is_running(self) -> bool:
        """Whether a process trains the run now."""
        return lock.is_held(self.folder)

    def _object(self, name: str) -> dict[str, Any]:
        with reading(self.folder / name):
            return dict(read_json(self.folder / name))

    def _objects(self, name: str) -> list[dict[str, Any]]:
        with reading(self.folder / name):
            return [dict(each) for each in read_json(self.folder / name)]

    def _table(self, name: str) -> io.StringIO:
        """Return the text of a CSV file. Only csv itself must divide it into lines: a name may contain other line separators."""
        file = self.folder / name
        with reading(file):
            data = file.read_bytes() if file.is_file() else b""
            return io.StringIO(data.decode(errors="surrogateescape"), newline="")
