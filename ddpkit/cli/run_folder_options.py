"""Options of the commands that read a run folder instead of a TOML file."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpkit.cli.options import add_plugin_arguments, positive
from ddpkit.config.loading import named_overrides, parse_overrides
from ddpkit.runs.lookup import BEST, RUN_PATHS, locate_run
from ddpkit.tasks.plan import RunOptions, Task

HERE = {"device": "device", "ddp.enabled": "--nproc", "ddp.nproc": "--nproc"}
"""Key that a command sets itself -> its name in messages."""


def add_run_folder_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help=RUN_PATHS)
    parser.add_argument(
        "--weights",
        default=BEST,
        metavar="W",
        help="weights to use: best, last, another name in the run's weights folder, or a file",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the run's config")
    parser.add_argument("--nproc", type=positive, metavar="N", help="number of ranks (default: one per GPU)")
    add_plugin_arguments(parser)


def parse_run_options(
    arguments: argparse.Namespace, task: Task, values: Mapping[str, Any], names: Mapping[str, str] | None = None
) -> tuple[Path, RunOptions]:
    """Return the run's resolved config file, and the options of the command.

    The options select the devices of this machine, and `values` override the config; messages show them under `names`, the
    arguments of the command. Raises ConfigError for a path that does not select a run.
    """
    folder, weights = locate_run(arguments.run, arguments.weights, "RUN")
    here = {"device": "auto", "ddp.enabled": True, "ddp.nproc": arguments.nproc or "auto"}
    options = RunOptions(
        overrides=(*named_overrides(here, HERE), *named_overrides(values, names), *parse_overrides(arguments.set)),
        task=task,
        weights=weights,
        no_plugins=arguments.no_plugins,
        block=tuple(arguments.p),
    )
    return folder / "config.toml", options
