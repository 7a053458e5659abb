"""Command `ddpkit which KIND NAME`: show the component that a name selects."""

import argparse

from ddpkit.cli import options, table
from ddpkit.errors import ConfigError, Diagnostic, ExitCode
from ddpkit.plugins import manager, signatures
from ddpkit.plugins.hookspecs import HOOKS
from ddpkit.plugins.registry import Entry, UnknownNameError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=HOOKS, metavar="KIND", help=", ".join(HOOKS))
    parser.add_argument("name", metavar="NAME", help="name of the component, bare or qualified (plugin/name)")
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Show the selected component first, then the others with the same bare name."""
    registry = manager.load(options.policy_from_options(arguments)).registry
    try:
        selected = registry.get(arguments.kind, arguments.name)
    except UnknownNameError as error:
        raise ConfigError([Diagnostic("NAME", (), str(error))]) from error
    bare = arguments.name.rpartition("/")[2]
    others = [entry for entry in registry.candidates(arguments.kind, bare) if entry != selected]
    rows = [
        format_row(selected, "selected"),
        *(format_row(entry, "not selected" if "/" in arguments.name else "shadowed") for entry in others),
    ]
    table.print_table(("NAME", "STATUS", "DISTRIBUTION", "SOURCE"), rows)
    return ExitCode.DONE


def format_row(entry: Entry, status: str) -> tuple[str, ...]:
    return entry.qualified_name, status, entry.distribution, signatures.find_definition(entry.component.target)
