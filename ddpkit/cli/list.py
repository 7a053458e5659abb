"""Command `ddpkit list KIND [GLOB]`: list the components of a kind."""

import argparse
import json

from ddpkit.cli import options, table
from ddpkit.errors import ExitCode
from ddpkit.plugins import manager
from ddpkit.plugins.hookspecs import HOOKS
from ddpkit.plugins.registry import Entry, Registry
from ddpkit.terminal import write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=HOOKS, metavar="KIND", help=", ".join(HOOKS))
    parser.add_argument(
        "pattern",
        nargs="?",
        default="*",
        metavar="GLOB",
        help="show only names that match this pattern, for example '*net*' or 'torchvision/*'",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Show the names and distributions of components; a note marks those that a bare name does not select."""
    registry = manager.load(options.policy_from_options(arguments)).registry
    entries = [registry.get(arguments.kind, name) for name in registry.matching(arguments.kind, arguments.pattern)]
    if arguments.json:
        found = [{"name": each.qualified_name, "distribution": each.distribution, "doc": each.component.doc} for each in entries]
        write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return ExitCode.DONE
    rows = [(each.qualified_name, each.distribution, describe_entry(each, registry)) for each in entries]
    table.print_table(("NAME", "DISTRIBUTION", "DESCRIPTION"), rows)
    return ExitCode.DONE


def describe_entry(entry: Entry, registry: Registry) -> str:
    note = " (shadowed: use the qualified name)" if registry.is_shadowed(entry) else ""
    return entry.component.doc + note
