"""Run folder: config, environment, history and results of a run. Users' scripts read these files."""

import csv
import errno
import functools
import io
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ddpkit.config import loading, schema
from ddpkit.config.component_refs import SPLITS
from ddpkit.config.explanation import Line, explain_config, format_toml_value
from ddpkit.config.loading import Config
from ddpkit.errors import CheckpointError, ConfigError, format_key_path
from ddpkit.plugins.manager import Plugins
from ddpkit.plugins.protocols import TestResult
from ddpkit.runs import history, log
from ddpkit.runs.environment import collect_versions
from ddpkit.runs.events import EventHandler, record_event
from ddpkit.runs.files import REMEDY, SCRATCH, Files, os_errors_as, read_json, reading, replace_file
from ddpkit.runs.history import UnixLines
from ddpkit.runs.metric_tables import CONFUSION, PER_CLASS, build_tables, confusion_file, picture_file
from ddpkit.runs.plugin_manifest import list_components
from ddpkit.runs.saved_weights import SavedWeights
from ddpkit.runs.screen.text_table import count
from ddpkit.runs.test_samples import TEST_PICTURES, TEST_SAMPLES, ShownSample, read_test_samples, write_test_samples
from ddpkit.training.callbacks import Row
from ddpkit.training.metric_result import EvaluationResult

if TYPE_CHECKING:
    from ddpkit.data.loader import SplitLoader

TEST_METRICS, TESTED = "test_metrics.json", "tested.json"
REPORT, CURVES = "report.html", "curves.png"
OF_A_TEST = (
    *(TEST_METRICS, TESTED, PER_CLASS, f"*{CONFUSION}*.csv", f"*{CONFUSION}*.png", TEST_SAMPLES, f"{TEST_PICTURES}/*"),
    *(REPORT, CURVES),
)
SPLIT = "split.json"
DATA_FILES = "data_files.json"
"""File with size and modification time (ns) of the files of each sample, in the order of `split.json`."""
SKIPPED_SAMPLES = "skipped_samples.json"
"""File with the unreadable samples of a run with `dataset.on_error = "skip"`, and their errors."""
ORIGINS = "config_origins.json"
"""File with a list of all config values.

`key`, `value` (in TOML), `origin` (`x.toml:12:3`, `--set 1`, `default`, `data` or `generated`), `meaning` (the component that a
name selects).
"""
GENERATED = "generated"
"""Origin of a run id that ddpkit created."""
CLASS_COUNTS = "class_counts.json"
"""File with numbers of samples: split -> `samples`, and `classes` (name -> number; null = not known)."""
PREDICTIONS, SKIPPED = "predictions", "skipped.json"
FINISHED = "finished.json"
"""File that exists once a run has finished."""


DISK_ERRORS = (errno.EACCES, errno.EDQUOT, errno.EIO, errno.ENOSPC, errno.EROFS)
"""Errors of a disk. Another error at the creation of a run folder, such as a file in its place, is a mistake in `output_dir`."""


@attrs.frozen
class RunResult:
    """Results of a finished run, read from its folder."""

    folder: Path
    history: Sequence[Mapping[str, float | None]]
    """Rows of the history, one per epoch; None in place of a value that is not finite."""
    test_metrics: Mapping[str, float | None]
    """Test loss (`loss`) and each test metric of the best weights; empty without a test split."""
    skipped: Sequence[Mapping[str, str]] = ()
    """Inputs that could not be predicted: `file` and `error` of each one."""


@attrs.frozen
class RunFolder:
    """Open run folder. Only global rank 0 has one."""

    path: Path

    @classmethod
    def create(cls, config: Config, plugins: Plugins, environment: Mapping[str, Any]) -> "RunFolder":
        """Create the folder and write everything that is known before training. From here on, messages go to its log file too.

        `environment`: facts about device and ranks (`device`, `ranks`, ...). Raise ConfigError if the folder cannot be created.
        """
        folder = cls(run_path(config.run))
        try:
            for name in ("weights", "logs"):
                (folder.path / name).mkdir(parents=True)
        except OSError as error:
            message = f"cannot create {folder.path}: {error.strerror}; set 'output_dir' to a writable folder"
            problem = config.problem(("output_dir",), message)
            raise (CheckpointError(str(problem)) if error.errno in DISK_ERRORS else ConfigError([problem])) from error
        folder.start_log(config.run)
        folder.describe(config, plugins, environment)
        record_event(folder.path, "start", describe_machine(environment))
        return folder

    @classmethod
    def reopen(
        cls,
        config: Config,
        plugins: Plugins,
        environment: Mapping[str, Any],
        rows: Sequence[Row],
        progress: Mapping[str, int],
    ) -> "RunFolder":
        """Reopen the folder of a run that is resumed; `rows`: the history in its checkpoint, `progress`: its epoch and step.

        Results that the run wrote when it ended earlier are deleted. `config.toml`, `plugins.json` and `environment.json` are
        rewritten with the current values.
        """
        folder = cls(run_path(config.run))
        with os_errors_as(folder.path, REMEDY):
            for name in ("weights", "logs"):
                (folder.path / name).mkdir(exist_ok=True)
            (folder.path / FINISHED).unlink(missing_ok=True)
            for leftover in folder.path.glob(f".*{SCRATCH}"):
                leftover.unlink(missing_ok=True)
            folder.remove_test()
            folder.start_log(config.run)
            history.rewrite_rows(folder.path, rows)
            record_event(folder.path, "resume", describe_machine(environment), **progress)
        folder.describe(config, plugins, environment)
        return folder

    def start_log(self, run: schema.Run) -> None:
        """Log messages to the log file too, and record warnings as events."""
        log.add_log_file(run, self.path / "logs", EventHandler(self.path))

    def remove_test(self) -> None:
        """Delete the results of an earlier test."""
        for file in [found for results in OF_A_TEST for found in self.path.glob(results)]:
            file.unlink(missing_ok=True)

    def describe(self, config: Config, plugins: Plugins, environment: Mapping[str, Any]) -> None:
        """Write `config.toml`, `plugins.json`, `environment.json` and `config_origins.json`."""
        self.write("config.toml", loading.dump(resolve_device_and_ranks(config.run, environment)))
        self.write_json("plugins.json", {"plugins": plugins.manifest(), "used": list_components(config, plugins)})
        self.write_json("environment.json", collect_versions() | {"seed": config.run.seed} | dict(environment))
        self.write_json(ORIGINS, [self.keep_origin(describe_value(line)) for line in explain_config(config, plugins)])

    @functools.cached_property
    def old_origins(self) -> Mapping[str, Mapping[str, str]]:
        """Values of the config before the run was resumed, see `ORIGINS`, by key."""
        with reading(self.path / ORIGINS):
            return {row["key"]: row for row in read_json(self.path / ORIGINS)}

    def keep_origin(self, row: Mapping[str, str]) -> Mapping[str, str]:
        """Return the row of a config value from before a resume, which may read `config.toml`, unless the value changed."""
        old = self.old_origins.get(row["key"], row)
        return old if old["value"] == row["value"] else row

    def write_split(self, loaders: Mapping[str, "SplitLoader"]) -> None:
        """Write the samples of each split to `split.json`, and the states of their files to `data_files.json`."""
        found = {split: loader.names() for split, loader in loaders.items()}
        self.write(SPLIT, json.dumps({split: found.get(split, []) for split in SPLITS}) + "\n")
        states = {split: loader.file_states() for split, loader in loaders.items()}
        if any(states.values()):
            self.write(DATA_FILES, json.dumps(states) + "\n")

    def write_class_counts(self, n_of: Mapping[str, int], counts: Mapping[str, Mapping[str, int] | None]) -> None:
        """Write the number of samples of each split, and of each class in it, to `class_counts.json`."""
        self.write_json(CLASS_COUNTS, {split: {"samples": n, "classes": counts.get(split)} for split, n in n_of.items()})

    def write_skipped_samples(self, loader: "SplitLoader") -> None:
        """Write the unreadable samples of all splits to `skipped_samples.json`, with the same names as in `split.json`."""
        if errors := loader.unreadable.errors:
            names = loader.samples.info.identify(sorted(errors))
            found = [{"sample": name, "error": errors[index]} for name, index in zip(names, sorted(errors), strict=True)]
            self.write_json(SKIPPED_SAMPLES, found)

    def write(self, name: str, text: str) -> None:
        """Write a text file atomically. Raise CheckpointError if it cannot be written."""
        with os_errors_as(self.path, REMEDY):
            replace_file(Files(), self.path / name, [text.encode(errors="surrogateescape")])

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file atomically, indented for human readers."""
        self.write(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def append_row(self, row: Row) -> None:
        """Append the row of an epoch to the history, in both formats."""
        with os_errors_as(self.path, REMEDY):
            history.append_row(self.path, row)

    def history(self) -> list[Row]:
        """Return the rows of the history so far."""
        return history.read_rows(self.path)

    def finish(self, progress: Mapping[str, Any]) -> None:
        """Mark the run as finished; `progress`: epoch and step at its end."""
        self.write_json(FINISHED, progress)
        with os_errors_as(self.path, REMEDY):
            record_event(self.path, "finish", "the run is finished", epoch=progress["epoch"], step=progress["step"])

    def write_test(
        self,
        result: EvaluationResult,
        classes: Sequence[str],
        tested: Sequence[SavedWeights],
        samples: Sequence[ShownSample] = (),
    ) -> None:
        """Write the results of a test in place of earlier ones: metrics, their tables, samples, and the weights that were tested.

        `tested`: the weights of the model, then those of its EMA.
        """
        with os_errors_as(self.path, REMEDY):
            self.remove_test()
            record_event(self.path, "test", f"the weights {tested[0].path_in(self.path)} were tested")
            write_test_samples(self.path, samples)
        mine, *ema = [{"weights": each.path_in(self.path), "epoch": each.epoch, "monitor": each.monitor} for each in tested]
        self.write_json(TESTED, {**mine, "n_skipped": result.n_left_out, **({"ema": ema[0]} if ema else {})})
        for name, rows in build_tables(result.metrics, classes).items():
            self.write_table(name, rows)
        self.write_json(TEST_METRICS, history.to_storable(result.values))

    def test_result(self, epoch: int, result: EvaluationResult, classes: Sequence[str]) -> TestResult:
        """Return the results of the test that `write_test` has written, for loggers; `epoch`: number of epochs of the run."""
        confusion = {name: each.confusion for name, each in result.metrics.items() if each.confusion}
        pictures = {name: self.path / picture_file(confusion_file(name)) for name in confusion}
        return TestResult(
            epoch=epoch,
            metrics=result.values,
            classes=classes,
            per_class={name: each.per_class for name, each in result.metrics.items() if each.per_class},
            confusion=confusion,
            confusion_pictures={name: file for name, file in pictures.items() if file.is_file()},
            samples=read_test_samples(self.path),
        )

    def write_table(self, name: str, rows: Sequence[Sequence[Any]]) -> None:
        """Write a CSV file; the first row is its header."""
        text = io.StringIO()
        csv.writer(UnixLines(text), lineterminator="\r\n").writerows(rows)
        self.write(name, text.getvalue())


def describe_value(line: Line) -> dict[str, str]:
    """Return a config value as a row of `config_origins.json`."""
    meaning = ", ".join(filter(None, (line.component, line.source)))
    is_generated = line.path == ("run_id",) and GENERATED_ID.fullmatch(str(line.value))  # ranks get it as `--set`
    return {
        "key": format_key_path(line.path),
        "value": format_toml_value(line.value),
        "origin": GENERATED if is_generated else line.origin,
        "meaning": meaning,
    }


def describe_machine(environment: Mapping[str, Any]) -> str:
    """Return the message of the event that a process of the run starts."""
    return f"{count(environment['ranks'], 'rank')} on {environment['device']}, {count(environment['threads'], 'thread')} each"


def run_path(run: schema.Run) -> Path:
    """Return `<output_dir>/<task>/<run_id>` as an absolute path."""
    return (Path(run.output_dir) / run.task / run.run_id).absolute()


def resolve_seed_and_id(run: schema.Run) -> schema.Run:
    """Draw a run id if it is empty, and a seed if it is -1. Only one process must do it, on behalf of all ranks."""
    seed = secrets.randbelow(2**31) if run.seed == -1 else run.seed
    with attrs.validators.disabled():  # a moved run folder may have a name that the validators reject
        return attrs.evolve(run, seed=seed, run_id=run.run_id or create_run_id())


GENERATED_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
"""Form of the ids that `create_run_id` returns."""


def create_run_id() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"  # hex digits: two runs may start in the same second


def check_run_id_free(config: Config) -> None:
    """Raise ConfigError if a run with the given run id exists already."""
    run = config.run
    if run.run_id and run_path(run).exists():
        message = f"{run_path(run)} already contains a run; set another id, or leave it empty to generate one"
        raise ConfigError([config.problem(("run_id",), message)])


def read_result(run: schema.Run, *, predicted: bool = False) -> RunResult:
    """Read the results from a run folder. `predicted`: the run included a prediction, so read its skipped inputs too."""
    folder = run_path(run)
    test, skipped = folder / TEST_METRICS, folder / PREDICTIONS / SKIPPED
    with reading(test):
        metrics = dict(read_json(test))
    with reading(skipped):
        left_out = list(json.loads(skipped.read_text(encoding="utf-8"))) if predicted else []
    return RunResult(folder, history.read_rows(folder), metrics, left_out)


def resolve_device_and_ranks(run: schema.Run, environment: Mapping[str, Any]) -> schema.Run:
    """Return the config with the actual device in place of `auto`, and the actual number of ranks."""
    n_ranks = environment["ranks"]
    device = run.device if run.device != "auto" else environment["device"].partition(":")[0]
    with attrs.validators.disabled():  # a moved run folder may have a name that the validators reject
        return attrs.evolve(run, device=device, ddp=attrs.evolve(run.ddp, nproc=n_ranks))
