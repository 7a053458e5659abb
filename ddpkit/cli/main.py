"""The command line: finds the verb, turns errors into messages and exit codes."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from ddpkit.errors import ConfigError, DdpkitError, ExitCode

COMMANDS = {
    "run": "train, test or predict as a TOML file says",
    "test": "measure a run's weights on its test part",
    "predict": "tell what a run's model finds in images",
    "export": "write a run's model as one file for use without ddpkit",
    "check": "find every mistake of a TOML file, and start nothing",
    "verify-ddp": "compare several ranks with one on a TOML file's own model and data",
    "verify-resume": "kill a short run of a TOML file, resume it, and compare it bit for bit",
    "inspect": "show what is in a checkpoint",
    "verify": "read all checkpoints of a run, and find damage",
    "explain": "show every value of a TOML file, and where it comes from",
    "schema": "print the format as JSON Schema, for editors",
    "list-plugins": "show installed plugins and what they provide",
    "list": "show the components of a kind",
    "describe": "show a component: what it is, what it takes, how to write it",
    "which": "show what a name means, and what it shadows",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. A bug keeps its traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parsed = parser(given).parse_args(given)
    try:
        return int(parsed.main(parsed))
    except DdpkitError as error:
        sys.stderr.write(f"{for_people(error)}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return ExitCode.INTERRUPTED


def for_people(error: DdpkitError) -> str:
    """One line a mistake, which scripts can read; a terminal shows the lines of the file too."""
    return error.with_excerpts() if isinstance(error, ConfigError) and sys.stderr.isatty() else str(error)


def parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the verb that is used is imported."""
    top = argparse.ArgumentParser(prog="ddpkit", description="One TOML file, one command, a correct distributed run.")
    verbs = top.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        verb = verbs.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name in given[:1]:
            command = importlib.import_module(f"ddpkit.cli.{name.replace('-', '_')}")
            command.add_arguments(verb)
            verb.set_defaults(main=command.main)
    return top
