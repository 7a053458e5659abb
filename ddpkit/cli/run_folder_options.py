"""Options of commands that take the folder of a run in place of a TOML file."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpkit.cli.options import add_plugin_arguments, positive
from ddpkit.config.loading import named_overrides, parse_overrides
from ddpkit.errors import ConfigError, Problem
from ddpkit.runs.lookup import BEST, own_run
from ddpkit.tasks.plan import Options, Task


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument("--weights", default=BEST, metavar="W", help="best, last, another of the run's, or a file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over the run's config")
    parser.add_argument("--nproc", type=positive, metavar="N", help="how many ranks; else one a GPU")
    add_plugin_arguments(parser)


def file_and_options(arguments: argparse.Namespace, task: Task, values: Mapping[str, Any]) -> tuple[Path, Options]:
    """The run's resolved config, on this machine's devices, with values laid over it. Raises ConfigError for another folder."""
    file = arguments.run / "config.toml"
    if own_run(file) is None:
        raise ConfigError([Problem("RUN", (), f"{arguments.run} is no folder of a run: it has no config.toml and plugins.json")])
    here = {"device": "auto", "ddp.enabled": True, "ddp.nproc": arguments.nproc or "auto"}
    options = Options(
        overrides=(*named_overrides({**here, **values}), *parse_overrides(arguments.set)),
        task=task,
        weights=arguments.weights,
        no_plugins=arguments.no_plugins,
        block=tuple(arguments.p),
    )
    return file, options
