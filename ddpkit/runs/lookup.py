"""Which weights are tested, or predict, where nothing is trained: and whose folder gets what comes of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import tomli

from ddpkit.config import schema
from ddpkit.config.loading import Config
from ddpkit.errors import ConfigError, Problem
from ddpkit.runs import folder as run_folder

BEST, LAST = "best", "last"
WEIGHTS = "weights"
"""The folder in a run's."""
ENDING = ".safetensors"


def from_run(config: Config, weights: str) -> tuple[Config, Path]:
    """The config as that of the run that the weights are of, and their file.

    The run is that in whose folder the TOML lies, else that of `run_id`, else that of the weights, else the newest finished
    one of the task. Weights that are of no run have a new one.

    Args:
        config: As it was asked for.
        weights: `best`, `last`, another name in the run's `weights`, a file, or a run's folder.

    Raises:
        ConfigError: There is no such run, or it has no such weights.
    """
    folder = own_run(Path(config.file.name)) or named(config, weights) or run_of(weights) or newest(config, weights)
    if folder is None:
        return without_start(config), weights_file(run_folder.path_of(config.run), weights)
    return of_run(without_start(config), folder), weights_file(folder, BEST if Path(weights) == folder else weights)


def own_run(file: Path) -> Path | None:
    """The run whose resolved config a file is."""
    is_recorded = file.name == "config.toml" and file.with_name("plugins.json").is_file()
    return file.absolute().parent if is_recorded else None


def named(config: Config, weights: str) -> Path | None:
    """The run of `run_id`. Raises ConfigError for one that is not there, but for weights of one's own, which begin it."""
    folder = run_folder.path_of(config.run)
    if not config.run.run_id or (not folder.is_dir() and Path(weights).is_file()):
        return None
    if not folder.is_dir():
        raise ConfigError([config.problem(("run_id",), f"there is no run {folder}")])
    return folder


def run_of(weights: str) -> Path | None:
    """The run that a path is the folder of, or that its weights lie in."""
    path = Path(weights).absolute()
    folder = path if path.is_dir() else path.parent.parent
    return folder if path.exists() and (folder / "config.toml").is_file() else None


def newest(config: Config, weights: str) -> Path | None:
    """The newest finished run of the task; None for weights of one's own. Raises ConfigError where there is none."""
    if Path(weights).is_file():
        return None
    task = (Path(config.run.output_dir) / config.run.task).absolute()
    ends = sorted(task.glob(f"*/{run_folder.FINISHED}"), key=lambda file: file.stat().st_mtime)
    if not ends:
        message = f"there is no finished run in {task}; train one, or name the weights: --weights FILE"
        raise ConfigError([config.problem(("task",), message)])
    return ends[-1].parent


def weights_file(folder: Path, weights: str) -> Path:
    """Of a run. Raises ConfigError for what is not there, with what is."""
    kept = folder / WEIGHTS / f"{weights}{ENDING}"
    file = kept if weights in (BEST, LAST) or kept.is_file() else Path(weights).absolute()
    if not file.is_file():
        there = ", ".join(sorted(each.stem for each in (folder / WEIGHTS).glob(f"*{ENDING}"))) or "none yet"
        raise ConfigError([Problem("--weights", (), f"there is no file {file}; the run's own weights: {there}")])
    return file


def of_run(config: Config, folder: Path) -> Config:
    """The config with the run's place, and the seed and names that it found: its parts are those that were trained with."""
    run, before = config.run, recorded(folder)
    drawn = before.get("seed", run.seed) if run.seed == -1 else run.seed
    classes = run.classes or before.get("classes", [])
    with attrs.validators.disabled():  # a folder that was moved may be called anything
        run = attrs.evolve(run, output_dir=str(folder.parent.parent), task=folder.parent.name, run_id=folder.name)
        run = attrs.evolve(run, seed=drawn, classes=classes)
    return attrs.evolve(config, run=run)


def recorded(folder: Path) -> Mapping[str, Any]:
    """The resolved config of a run, as tables."""
    file = folder / "config.toml"
    return tomli.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def without_start(config: Config) -> Config:
    """The config without the weights that its training began with: others are to come."""
    model = config.run.model
    params = model.config.params
    if params.get("pretrained") is True:  # published weights, which this machine may not have
        params = {**params, "pretrained": False}
    model = attrs.evolve(
        model,
        pretrained="",
        continue_checkpoint="",
        continue_ext_checkpoint="",
        config=attrs.evolve(model.config, params=params),
    )
    return attrs.evolve(config, run=attrs.evolve(config.run, model=model))


def is_known(file: Path, weights: Path) -> bool:
    """Whether a TOML, or the weights, tell by where they lie which run is meant."""
    return (own_run(file) or run_of(str(weights))) is not None


def best_file(run: schema.Run) -> Path:
    """Of the best weights of a run."""
    return run_folder.path_of(run) / WEIGHTS / f"{BEST}{ENDING}"


def recorded_plugins(file: Path) -> list[dict[str, Any]]:
    """The plugins that a run used, as it recorded them beside its resolved config; none of any other TOML."""
    if own_run(file) is None:
        return []
    record = json.loads(file.with_name("plugins.json").read_text(encoding="utf-8"))
    used = {component["plugin"] for component in record["used"]}
    return [plugin for plugin in record["plugins"] if plugin["name"] in used]
