"""`ddpkit list KIND [GLOB]`."""

import argparse
import json
import sys

from ddpkit.cli import options, table
from ddpkit.errors import ExitCode
from ddpkit.plugins import manager
from ddpkit.plugins.hookspecs import HOOKS
from ddpkit.plugins.registry import Entry, Registry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("kind", choices=HOOKS, metavar="KIND", help=", ".join(HOOKS))
    parser.add_argument("pattern", nargs="?", default="*", metavar="GLOB", help="as in '*net*' or 'torchvision/*'")
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Show the names, whose they are, and which of them a bare name does not mean."""
    registry = manager.load(options.policy(arguments)).registry
    entries = [registry.get(arguments.kind, name) for name in registry.matching(arguments.kind, arguments.pattern)]
    if arguments.json:
        found = [{"name": each.qualified_name, "distribution": each.distribution, "doc": each.component.doc} for each in entries]
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return ExitCode.DONE
    rows = [(each.qualified_name, each.distribution, what(each, registry)) for each in entries]
    table.show(("NAME", "DISTRIBUTION", "WHAT"), rows)
    return ExitCode.DONE


def what(entry: Entry, registry: Registry) -> str:
    """Its line, and whether its bare name means another."""
    note = " (shadowed: write the qualified name)" if registry.is_shadowed(entry) else ""
    return entry.component.doc + note
