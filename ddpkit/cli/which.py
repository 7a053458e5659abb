"""`ddpkit which KIND NAME`."""

import argparse

from ddpkit.cli import options, table
from ddpkit.errors import ConfigError, ExitCode, Problem
from ddpkit.plugins import manager, signatures
from ddpkit.plugins.hookspecs import HOOKS
from ddpkit.plugins.registry import Entry, UnknownNameError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("kind", choices=HOOKS, metavar="KIND", help=", ".join(HOOKS))
    parser.add_argument("name", metavar="NAME", help="bare or qualified")
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Show what the name means first, then what has the same bare name and is not meant."""
    registry = manager.load(options.policy(arguments)).registry
    try:
        meant = registry.get(arguments.kind, arguments.name)
    except UnknownNameError as error:
        raise ConfigError([Problem("NAME", (), str(error))]) from error
    bare = arguments.name.rpartition("/")[2]
    others = [entry for entry in registry.candidates(arguments.kind, bare) if entry != meant]
    rows = [row(meant, "meant"), *(row(entry, "not meant" if "/" in arguments.name else "shadowed") for entry in others)]
    table.show(("NAME", "IS", "DISTRIBUTION", "SOURCE"), rows)
    return ExitCode.DONE


def row(entry: Entry, is_what: str) -> tuple[str, ...]:
    """One component."""
    return entry.qualified_name, is_what, entry.distribution, signatures.defined_at(entry.component.target)
