"""Lookup of the run and the weights file for `test` and `predict` without training. Its run folder receives the results."""

from collections.abc import Mapping
from glob import escape as escape_glob
from pathlib import Path
from typing import Any

import attrs
import tomli

from ddpkit.config import schema
from ddpkit.config.classes import with_recorded_classes
from ddpkit.config.loading import Config
from ddpkit.distributed import rank_process
from ddpkit.errors import ConfigError, Diagnostic
from ddpkit.runs import folder as run_folder
from ddpkit.runs import log
from ddpkit.runs.files import read_json, reading

BEST, LAST = "best", "last"
WEIGHTS = "weights"
"""Folder of the weights inside a run folder."""
ENDING = ".safetensors"
RUNS = "runs"
"""Default of `output_dir`."""
RUN_PATHS = (
    "a run folder, its config.toml, the id of a run in ./runs, a weights file in it, "
    "or the folder of a task for its newest finished run"
)
"""Paths that select a run, for messages and help texts."""


def find_run(config: Config, weights: str) -> tuple[Config, Path]:
    """Return the config with the identity of the run that the weights belong to, and the path of the weights file.

    The function looks in this order: the run whose folder contains the TOML, the run with the id `run_id`, the run of the
    weights, the newest finished run of the task. Weights that do not belong to a run get a new run.

    Args:
        config: Config of the command.
        weights: `best`, `last`, another name in the run's `weights`, a file, or a run folder.

    Raises:
        ConfigError: The run or the weights were not found.
    """
    folder = (
        run_of_config(Path(config.file.name))
        or run_of_id(config, weights)
        or run_of_weights(weights)
        or find_newest_run(config, weights)
    )
    if folder is None:
        return without_initial_weights(config), find_weights(run_folder.run_path(config.run), weights)
    return with_run_identity(without_initial_weights(config), folder), find_weights(
        folder, BEST if Path(weights) == folder else weights
    )


def locate_run(path: Path, weights: str, where: str) -> tuple[Path, str]:
    """Return the run folder and the weights that a user selects with the path of a run, and the name of weights.

    Args:
        path: A run folder or its `config.toml`, the folder of a task (its newest finished run is used and shown), or a file in
            the folder `weights` of a run (these weights are used).
        weights: As for `find_run`.
        where: Name of the argument, for messages.

    Raises:
        ConfigError: `path` is something else, or selects weights although `weights` does so too.
    """
    path = find_run_id(path) or (path.parent if path.name == "config.toml" else path)
    if run_of_config(path / "config.toml"):
        return path, weights
    if path.is_file() and path.parent.name == WEIGHTS and run_of_config(path.parent.parent / "config.toml"):
        if weights != BEST:
            raise ConfigError([Diagnostic(where, (), f"{path} selects weights, and so does {weights!r}; pass only one of them")])
        return path.parent.parent, str(path.absolute())
    if newest := newest_finished_run(path):
        if rank_process.is_output_process():
            log.print_message(f"using {newest}, the newest finished run of the task")
        return newest, weights
    raise ConfigError([Diagnostic(where, (), f"{path} {describe_other_path(path)}; pass {RUN_PATHS}")])


def find_run_id(path: Path) -> Path | None:
    """Return the folder of the run in `./runs` whose id is `path`; None for a path that exists, or if there is no such run."""
    if path.exists() or path.parent != Path():
        return None
    found = [file.parent for file in Path(RUNS).glob(f"*/{escape_glob(path.name)}/config.toml")]
    return found[0] if len(found) == 1 else None


def describe_other_path(path: Path) -> str:
    """Return the reason why a path does not select a run."""
    if not path.exists():
        return "was not found"
    if path.is_dir():
        return "contains no finished run" if any(path.glob("*/config.toml")) else "is not the folder of a run or a task"
    return "is not a file of a run"


def run_of_config(file: Path) -> Path | None:
    """Return the run folder if `file` is the resolved config in it; None otherwise."""
    is_recorded = file.name == "config.toml" and file.with_name("plugins.json").is_file()
    return file.absolute().parent if is_recorded else None


def run_of_id(config: Config, weights: str) -> Path | None:
    """Return the folder of the run with the id `run_id`; None if the config has no id.

    Raise ConfigError if it does not exist. If `weights` is a file, return None instead: a new run gets that id.
    """
    folder = run_folder.run_path(config.run)
    if not config.run.run_id or (not folder.is_dir() and Path(weights).is_file()):
        return None
    if not folder.is_dir():
        raise ConfigError([config.problem(("run_id",), f"run {folder} was not found; set the id of an existing run")])
    return folder


def run_of_weights(weights: str) -> Path | None:
    """Return the run folder that the path names, or that contains the weights file; None if there is none."""
    path = Path(weights).absolute()
    folder = path if path.is_dir() else path.parent.parent
    return folder if path.exists() and (folder / "config.toml").is_file() else None


def find_newest_run(config: Config, weights: str) -> Path | None:
    """Return the newest finished run of the task; None if `weights` is a file. Raise ConfigError if there is no such run."""
    if Path(weights).is_file():
        return None
    task = (Path(config.run.output_dir) / config.run.task).absolute()
    newest = newest_finished_run(task)
    if newest is None:
        message = f"no finished run found in {task}; train first, or pass a weights file with '--weights FILE'"
        raise ConfigError([config.problem(("task",), message)])
    return newest


def newest_finished_run(task: Path) -> Path | None:
    """Return the run in the folder of a task that finished last; None if there is none."""
    ends = sorted(task.glob(f"*/{run_folder.FINISHED}"), key=lambda file: file.stat().st_mtime)
    return ends[-1].parent if ends else None


def find_weights(folder: Path, weights: str) -> Path:
    """Return the path of the weights. Raise ConfigError, with the list of available weights, if the file does not exist."""
    named = folder / WEIGHTS / f"{weights}{ENDING}"
    file = named if weights in (BEST, LAST) or named.is_file() else Path(weights).absolute()
    if not file.is_file():
        available = ", ".join(sorted(each.stem for each in (folder / WEIGHTS).glob(f"*{ENDING}"))) or "none so far"
        raise ConfigError([Diagnostic("--weights", (), f"{file} was not found; the run has these weights: {available}")])
    return file


def with_run_identity(config: Config, folder: Path) -> Config:
    """Return the config with the run's output folder, task and id, and with its seed and classes if the config sets none."""
    seed, before = config.run.seed, read_run_config(folder)
    with reading(folder / "config.toml"):
        config = with_recorded_classes(config, before)
        drawn = before.get("seed", seed) if seed == -1 else seed  # the same seed produces the splits of the training
    identity = {"output_dir": str(folder.parent.parent), "task": folder.parent.name, "run_id": folder.name}
    return config.with_run(**identity, seed=drawn)


def read_run_config(folder: Path) -> Mapping[str, Any]:
    """Return the resolved config of a run as tables; empty if the file does not exist."""
    file = folder / "config.toml"
    with reading(file):
        return tomli.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def without_initial_weights(config: Config) -> Config:
    """Return the config without the initial weights of its training: other weights are loaded later."""
    model = config.run.model
    params = model.config.params
    if params.get("pretrained") is True:  # published weights, which may not exist on this machine
        params = {**params, "pretrained": False}
    model = attrs.evolve(
        model,
        pretrained="",
        continue_checkpoint="",
        continue_ext_checkpoint="",
        config=attrs.evolve(model.config, params=params),
    )
    return config.with_run(model=model)


def without_helpers(config: Config) -> Config:
    """Return the config without `[train.helpers]`, which neither a prediction nor an export needs."""
    return config.with_run(train=attrs.evolve(config.run.train, helpers={}))


def is_run_known(file: Path, weights: Path) -> bool:
    """Return whether the location of the TOML or of the weights determines the run."""
    return (run_of_config(file) or run_of_weights(str(weights))) is not None


def best_weights_path(run: schema.Run) -> Path:
    return run_folder.run_path(run) / WEIGHTS / f"{BEST}{ENDING}"


def read_recorded_plugins(file: Path) -> list[dict[str, Any]]:
    """Return the plugins that a run used, as recorded next to its resolved config; [] for any other TOML."""
    if run_of_config(file) is None:
        return []
    listed = file.with_name("plugins.json")
    with reading(listed):
        record = read_json(listed)
        used = {component["plugin"] for component in record["used"]}
        return [plugin for plugin in record["plugins"] if plugin["name"] in used]
