"""Run folder: config, environment, history and results of a run. Users' scripts read these files."""

import csv
import errno
import io
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ddpkit.config import loading, schema
from ddpkit.config.component_refs import SPLITS
from ddpkit.config.loading import Config
from ddpkit.errors import CheckpointError, ConfigError
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import history, log
from ddpkit.runs.environment import collect_versions
from ddpkit.runs.files import REMEDY, Files, os_errors_as, read_json, reading, replace_file
from ddpkit.runs.history import UnixLines
from ddpkit.runs.metric_tables import CONFUSION, PER_CLASS, build_tables
from ddpkit.runs.plugin_manifest import list_components
from ddpkit.runs.saved_weights import SavedWeights
from ddpkit.training.callbacks import Callback, Row
from ddpkit.training.metric_result import EvaluationResult

if TYPE_CHECKING:
    from ddpkit.data.loader import SplitLoader

TEST_METRICS, TESTED = "test_metrics.json", "tested.json"
OF_A_TEST = (TEST_METRICS, TESTED, PER_CLASS, f"*{CONFUSION}*.csv")
SPLIT = "split.json"
DATA_FILES = "data_files.json"
"""File with size and modification time (ns) of the files of each sample, in the order of `split.json`."""
SKIPPED_SAMPLES = "skipped_samples.json"
"""File with the unreadable samples of a run with `dataset.on_error = "skip"`, and their errors."""
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
class RunFolder(Callback):
    """Open run folder, and the callback that writes the history. Only global rank 0 has one."""

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
        log.add_log_file(config.run, folder.path / "logs")
        folder.describe(config, plugins, environment)
        return folder

    @classmethod
    def reopen(cls, config: Config, plugins: Plugins, environment: Mapping[str, Any], rows: Sequence[Row]) -> "RunFolder":
        """Reopen the folder of a run that is resumed; `rows`: the history in its checkpoint.

        Results that the run wrote when it ended earlier are deleted. `config.toml`, `plugins.json` and `environment.json` are
        rewritten with the current values.
        """
        folder = cls(run_path(config.run))
        with os_errors_as(folder.path, REMEDY):
            for name in ("weights", "logs"):
                (folder.path / name).mkdir(exist_ok=True)
            (folder.path / FINISHED).unlink(missing_ok=True)
            for file in [found for results in OF_A_TEST for found in folder.path.glob(results)]:
                file.unlink()
            log.add_log_file(config.run, folder.path / "logs")
            history.rewrite_rows(folder.path, rows)
        folder.describe(config, plugins, environment)
        return folder

    def describe(self, config: Config, plugins: Plugins, environment: Mapping[str, Any]) -> None:
        """Write `config.toml`, `plugins.json` and `environment.json`."""
        self.write("config.toml", loading.dump(resolve_device_and_ranks(config.run, environment)))
        self.write_json("plugins.json", {"plugins": plugins.manifest(), "used": list_components(config, plugins)})
        self.write_json("environment.json", collect_versions() | {"seed": config.run.seed} | dict(environment))

    def write_split(self, loaders: Mapping[str, "SplitLoader"]) -> None:
        """Write the samples of each split to `split.json`, and the states of their files to `data_files.json`."""
        found = {split: loader.samples.info.identify(loader.sampler.indices) for split, loader in loaders.items()}
        self.write(SPLIT, json.dumps({split: found.get(split, []) for split in SPLITS}) + "\n")
        states = {split: loader.samples.file_states(loader.sampler.indices) for split, loader in loaders.items()}
        if any(states.values()):
            self.write(DATA_FILES, json.dumps(states) + "\n")

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

    def on_epoch_end(self, row: Row) -> None:
        """Append a row to the history, in both formats."""
        with os_errors_as(self.path, REMEDY):
            history.append_row(self.path, row)

    def history(self) -> list[Row]:
        """Return the rows of the history so far."""
        return history.read_rows(self.path)

    def finish(self, progress: Mapping[str, Any]) -> None:
        """Mark the run as finished; `progress`: epoch and step at its end."""
        self.write_json(FINISHED, progress)

    def write_test(self, result: EvaluationResult, classes: Sequence[str], tested: Sequence[SavedWeights]) -> None:
        """Write the test metrics, their tables, and the weights that were tested: those of the model, then those of its EMA."""
        mine, *ema = [{"weights": each.path_in(self.path), "epoch": each.epoch, "monitor": each.monitor} for each in tested]
        self.write_json(TESTED, {**mine, "n_skipped": result.n_left_out, **({"ema": ema[0]} if ema else {})})
        for name, rows in build_tables(result.metrics, classes).items():
            self.write_table(name, rows)
        self.write_json(TEST_METRICS, history.to_storable(result.values))

    def write_table(self, name: str, rows: Sequence[Sequence[Any]]) -> None:
        """Write a CSV file; the first row is its header."""
        text = io.StringIO()
        csv.writer(UnixLines(text), lineterminator="\r\n").writerows(rows)
        self.write(name, text.getvalue())


def run_path(run: schema.Run) -> Path:
    """Return `<output_dir>/<task>/<run_id>` as an absolute path."""
    return (Path(run.output_dir) / run.task / run.run_id).absolute()


def resolve_seed_and_id(run: schema.Run) -> schema.Run:
    """Draw a run id if it is empty, and a seed if it is -1. Only one process must do it, on behalf of all ranks."""
    seed = secrets.randbelow(2**31) if run.seed == -1 else run.seed
    with attrs.validators.disabled():  # a moved run folder may have a name that the validators reject
        return attrs.evolve(run, seed=seed, run_id=run.run_id or create_run_id())


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
