"""The folder of a run: what it was asked for, on what it ran, what came of it. Users' scripts read these files."""

import csv
import io
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ddpkit.config import loading, schema
from ddpkit.config.loading import Config
from ddpkit.errors import ConfigError
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import history, log
from ddpkit.runs.environment import versions
from ddpkit.runs.files import REMEDY, Files, explained, replace_file
from ddpkit.runs.metric_tables import CONFUSION, PER_CLASS, tables
from ddpkit.runs.plugin_manifest import components_of
from ddpkit.training.callbacks import Row

if TYPE_CHECKING:
    from ddpkit.data.loader import Batches

TEST_METRICS, TESTED = "test_metrics.json", "tested.json"
OF_A_TEST = (TEST_METRICS, TESTED, PER_CLASS, f"*{CONFUSION}*.csv")
SPLIT = "split.json"
PREDICTIONS, SKIPPED = "predictions", "skipped.json"
FINISHED = "finished.json"
"""There when a run came to its end."""


@attrs.frozen
class RunResult:
    """What a finished run left."""

    folder: Path
    history: Sequence[Mapping[str, float | None]]
    """One row an epoch; None where a value is no finite number."""
    test_metrics: Mapping[str, float | None]
    """`loss` and each metric of the best weights; empty without a test part."""
    skipped: Sequence[Mapping[str, str]] = ()
    """`file` and `error` of each input that could not be predicted."""


@attrs.frozen
class RunFolder:
    """An open run folder; the watcher that writes history. Rank 0's alone."""

    path: Path

    @classmethod
    def create(cls, config: Config, plugins: Plugins, environment: Mapping[str, Any]) -> "RunFolder":
        """Make the folder with all that is known before training; from here on messages go there too.

        `environment` says on what the run trains: `device`, `ranks` and more.
        """
        folder = cls(path_of(config.run))
        try:
            for name in ("weights", "logs"):
                (folder.path / name).mkdir(parents=True)
        except OSError as error:
            raise ConfigError([config.problem(("output_dir",), f"{folder.path} cannot be made: {error.strerror}")]) from error
        log.add_file(config.run, folder.path / "logs")
        folder.describe(config, plugins, environment)
        return folder

    @classmethod
    def reopen(cls, config: Config, plugins: Plugins, environment: Mapping[str, Any], rows: Sequence[Row]) -> "RunFolder":
        """Go on in the folder of a run, with the rows of history that its checkpoint knows. Its record tells of it."""
        folder = cls(path_of(config.run))
        for name in ("weights", "logs"):
            (folder.path / name).mkdir(exist_ok=True)
        (folder.path / FINISHED).unlink(missing_ok=True)
        for file in [found for results in OF_A_TEST for found in folder.path.glob(results)]:
            file.unlink()
        log.add_file(config.run, folder.path / "logs")
        with explained(folder.path, REMEDY):
            history.rewrite(folder.path, rows)
        folder.describe(config, plugins, environment)
        return folder

    def describe(self, config: Config, plugins: Plugins, environment: Mapping[str, Any]) -> None:
        """Write what the run was asked for, and on what it runs."""
        self.write("config.toml", loading.dump(resolved(config.run, environment)))
        self.write_json("plugins.json", {"plugins": plugins.manifest(), "used": components_of(config, plugins)})
        self.write_json("environment.json", versions() | {"seed": config.run.seed} | dict(environment))

    def write_split(self, parts: Mapping[str, "Batches | None"]) -> None:
        """The samples of each part."""
        listed = {part: batches.samples.listed(batches.sampler.indices) if batches else [] for part, batches in parts.items()}
        self.write(SPLIT, json.dumps(listed) + "\n")

    def write(self, name: str, text: str) -> None:
        """A text file: the old one, or the new one."""
        with explained(self.path, REMEDY):
            replace_file(Files(), self.path / name, [text.encode()])

    def write_json(self, name: str, value: Any) -> None:
        """A JSON file for people and scripts."""
        self.write(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def train_step_ended(self, epoch: int, step: int, steps: int, loss: Callable[[], float]) -> None:
        """History is about epochs."""

    def epoch_ended(self, row: Row) -> None:
        """Append to history, in both formats."""
        with explained(self.path, REMEDY):
            history.append(self.path, row)

    def history(self) -> list[Row]:
        """The rows so far."""
        return history.read(self.path)

    def finish(self, progress: Mapping[str, Any]) -> None:
        """The run came to its end."""
        self.write_json(FINISHED, progress)

    def write_test_metrics(self, values: Mapping[str, float], classes: Sequence[str], weights: Path) -> None:
        """What weights score on the test part, what those scores are made of, and whose they are."""
        inside = weights.is_relative_to(self.path)
        self.write_json(TESTED, {"weights": str(weights.relative_to(self.path) if inside else weights.absolute())})
        for name, rows in tables(values, classes).items():
            self.write_table(name, rows)
        self.write_json(TEST_METRICS, history.storable(values))

    def write_table(self, name: str, rows: Sequence[Sequence[Any]]) -> None:
        """A CSV file; the first row is its header."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self.write(name, text.getvalue())


def path_of(run: schema.Run) -> Path:
    """`<output_dir>/<task>/<run_id>`, absolute."""
    return (Path(run.output_dir) / run.task / run.run_id).absolute()


def settle(run: schema.Run) -> schema.Run:
    """Fill in what is left open until the run begins: its id and, for -1, its seed. One process does it for all ranks."""
    seed = secrets.randbelow(2**31) if run.seed == -1 else run.seed
    with attrs.validators.disabled():  # the folder of a run that was moved may be called anything
        return attrs.evolve(run, seed=seed, run_id=run.run_id or new_run_id())


def new_run_id() -> str:
    """Date and time, and four hex digits against two runs of one second."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def refuse_taken(config: Config) -> None:
    """Raise ConfigError when the given run id has a run already."""
    run = config.run
    if run.run_id and path_of(run).exists():
        message = f"{path_of(run)} already holds a run; choose another id, or leave it empty to have one made"
        raise ConfigError([config.problem(("run_id",), message)])


def result(run: schema.Run, *, predicted: bool = False) -> RunResult:
    """Read the folder of a run. `predicted`: it was to predict, too."""
    folder = path_of(run)
    test, skipped = folder / TEST_METRICS, folder / PREDICTIONS / SKIPPED
    metrics = json.loads(test.read_text(encoding="utf-8")) if test.exists() else {}
    left_out = json.loads(skipped.read_text(encoding="utf-8")) if predicted else []
    return RunResult(folder, history.read(folder), metrics, left_out)


def resolved(run: schema.Run, environment: Mapping[str, Any]) -> schema.Run:
    """The config with what was found out: the device for `auto`, the number of ranks."""
    n_ranks = environment["ranks"]
    device = run.device if run.device != "auto" else environment["device"].partition(":")[0]
    return attrs.evolve(run, device=device, ddp=attrs.evolve(run.ddp, nproc=n_ranks))
