"""Command `ddpkit new-plugin NAME`: write a plugin to start from, with one component of each chosen kind."""

import argparse
import os
from pathlib import Path

from ddpkit.errors import ConfigError, Diagnostic, ExitCode
from ddpkit.plugins.hookspecs import HOOKS
from ddpkit.plugins.scaffold.distribution import render_distribution, write_distribution
from ddpkit.plugins.scaffold.name import check_name
from ddpkit.terminal import write

WRITTEN = """\
written: {name} ({kinds})

Next commands:
  cd {name}
  pip install -e .
  ddpkit run example.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the plugin and the folder to write: letters, digits and '-'")
    kinds = f"kind of a component, repeatable: {', '.join(HOOKS)} (default: model)"
    parser.add_argument("--kind", dest="kinds", action="append", choices=HOOKS, metavar="KIND", help=kinds)


def main(arguments: argparse.Namespace) -> int:
    """Write the distribution to the folder `./NAME`; no folder is overwritten."""
    check_name(arguments.name)
    kinds = [kind for kind in HOOKS if kind in (arguments.kinds or ["model"])]
    write_new(Path(arguments.name), render_distribution(arguments.name, kinds))
    write(WRITTEN.format(name=arguments.name, kinds=", ".join(kinds)))
    return ExitCode.DONE


def write_new(folder: Path, files: dict[str, str]) -> None:
    """Write the files into a new folder. Raises ConfigError if that fails, or if the folder exists."""
    if os.path.lexists(folder):
        message = "exists already and is not overwritten; choose another name, or remove it"
        raise ConfigError([Diagnostic(str(folder), (), message)])
    try:
        write_distribution(folder, files)
    except OSError as error:
        message = f"cannot be written: {error.strerror}; free disk space, correct the permissions, or choose a shorter name"
        raise ConfigError([Diagnostic(str(folder), (), message)]) from error
