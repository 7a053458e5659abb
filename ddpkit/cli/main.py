"""Entry point of the command line: it runs a command, and turns errors into messages and exit codes."""

import argparse
import gc
import importlib
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from ddpkit import terminal
from ddpkit.errors import ConfigError, DdpkitError, ExitCode, suggest, take_component_note

COMMANDS = {
    "init": "write a TOML file for your own data: a folder of images, a table, or COCO annotations",
    "run": "train, test or predict with a TOML file",
    "test": "evaluate the weights of a run on its test split",
    "predict": "run inference on images with a trained model",
    "report": "write the results of a run as one HTML page: curves, tables, samples",
    "export": "export the model of a run as one file that works without ddpkit",
    "runs": "list the runs in an output folder",
    "compare": "compare runs: the config keys that differ, metrics, and the mean over folds",
    "check": "find all mistakes in a TOML file without starting a run",
    "preview": "draw the first training samples with their targets, as the model gets them",
    "verify-ddp": "compare several ranks with one rank, with the model and data of a TOML file",
    "verify-resume": "kill a short run, resume it, and compare it bit by bit with an uninterrupted run",
    "inspect": "show the contents of a checkpoint or of a weights file",
    "verify": "read all checkpoints of a run and report corrupt ones",
    "explain": "show every value of a config and where it comes from",
    "doctor": "check this machine and its installation, and say what to do about each problem",
    "schema": "print the config format as JSON Schema, for editors",
    "list-plugins": "list installed plugins and the components that they provide",
    "lock": "record the plugins that a TOML file uses, so that 'run --locked' starts with the same ones only",
    "list": "list the components of one kind",
    "completion": "print the code that makes bash, zsh or fish complete the arguments of ddpkit",
    "describe": "show a component: documentation, parameters, example",
    "which": "show which component a name selects, and which other components have the same name",
    "new-plugin": "write a plugin to start from: a package with components of your own, an example and tests",
}

COMPLETING = "_ARGCOMPLETE"
"""Environment variable that is set if a shell asks for the words that can follow, see `ddpkit completion`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. An unexpected error keeps its traceback."""
    with terminal.guard_streams():
        code = run_command(list(sys.argv[1:] if arguments is None else arguments))
    if code and "torch" in sys.modules:
        gc.collect()  # ends the loader workers of a failed run; at exit, torch would print a traceback about them
    return code


def run_command(given: Sequence[str]) -> int:
    """Parse the arguments and run the command; print errors of the user as messages. For a shell, print completions only."""
    if COMPLETING in os.environ:
        importlib.import_module("ddpkit.cli.completers").complete(build_parser)
    parsed = parse(given)
    try:
        return int(parsed.main(parsed))
    except DdpkitError as error:
        terminal.write_error(f"{format_error(error)}\n")
        return error.exit_code
    except Exception as error:
        if note := take_component_note(error):
            terminal.write_error(f"{note}\n")
        raise
    except KeyboardInterrupt:
        terminal.write_error("interrupted\n")
        return ExitCode.INTERRUPTED


def parse(given: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments. A mistake ends the process with the usage of the command, and with code 2."""
    top = build_parser(given)
    if given and not given[0].startswith("-") and given[0] not in COMMANDS:
        top.error(f"no command is called {given[0]!r}; {suggest(given[0], COMMANDS)}")
    parsed, unknown = top.parse_known_args(given)
    if unknown:
        parsed.refuse(f"unrecognized arguments: {' '.join(unknown)}")
    return parsed


def format_error(error: DdpkitError) -> str:
    """Return one line per mistake, for scripts; on a terminal, also the lines of the file."""
    return error.with_excerpts() if isinstance(error, ConfigError) and sys.stderr.isatty() else str(error)


class Parser(argparse.ArgumentParser):
    """Parser whose messages are safe: they repeat the arguments of the user."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with code 2."""
        super().error(terminal.escape(message))


class VersionAction(argparse.Action):
    """Option that prints the versions for a bug report. It reads them only if it is used, and imports no package."""

    def __call__(self, parser: argparse.ArgumentParser, *_arguments: object) -> None:
        """Print the versions and exit with code 0."""
        terminal.write(f"ddpkit {version('ddpkit')} (Python {platform.python_version()}, torch {version('torch')})\n")
        parser.exit()


def build_parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser. Only the module of the requested command is imported."""
    top = Parser(prog="ddpkit", description="One TOML file, one command, a correct distributed run.")
    top.add_argument("--version", action=VersionAction, nargs=0, help="show the versions of ddpkit, Python and torch, and exit")
    subparsers = top.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        parser = subparsers.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name in given[:1]:
            command = importlib.import_module(f"ddpkit.cli.{name.replace('-', '_')}")
            command.add_arguments(parser)
            parser.set_defaults(main=command.main, refuse=parser.error)
    return top
