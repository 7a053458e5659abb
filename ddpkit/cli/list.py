"""Command `ddpkit list [KIND [GLOB]]`: list the components of a kind, or the kinds."""

import argparse
import inspect
import json

from ddpkit.cli import options, table
from ddpkit.errors import ExitCode
from ddpkit.plugins import hookspecs, manager
from ddpkit.plugins.hookspecs import HOOKS
from ddpkit.plugins.registry import Entry, Registry
from ddpkit.terminal import write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = f"{', '.join(HOOKS)} (default: show these kinds)"
    parser.add_argument("kind", nargs="?", choices=HOOKS, metavar="KIND", help=kinds)
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
    """Show the kinds, or the names and distributions of the components of one kind."""
    registry = manager.load(options.policy_from_options(arguments)).registry
    if arguments.kind is None:
        list_kinds(registry, as_json=arguments.json)
    else:
        list_components(registry, arguments.kind, arguments.pattern, as_json=arguments.json)
    return ExitCode.DONE


def list_kinds(registry: Registry, *, as_json: bool) -> None:
    """Print the kinds, the number of components of each one, and how a config selects a component."""
    counts = {kind: len(registry.matching(kind, "*")) for kind in HOOKS}
    if as_json:
        found = [{"kind": kind, "components": n, "use": describe_use(kind)} for kind, n in counts.items()]
        write(json.dumps(found, indent=2) + "\n")
        return
    table.print_table(
        ("KIND", "COMPONENTS", "USE IN A CONFIG"), [(kind, str(n), describe_use(kind)) for kind, n in counts.items()]
    )
    write("\nTo see the components of a kind: ddpkit list KIND, for example: ddpkit list model\n")


def describe_use(kind: str) -> str:
    """Return how a config selects a component, from the documentation of the hook."""
    documentation = inspect.getdoc(getattr(hookspecs, HOOKS[kind])) or ""
    return documentation.partition("\n\n")[0].partition(". ")[2]


def list_components(registry: Registry, kind: str, pattern: str, *, as_json: bool) -> None:
    """Print names and distributions of components; a note marks those that a bare name does not select."""
    entries = [entry for name in registry.matching(kind, pattern) for entry in registry.qualified(kind, name)]
    if as_json:
        found = [{"name": each.qualified_name, "distribution": each.distribution, "doc": each.component.doc} for each in entries]
        write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return
    rows = [(each.qualified_name, each.distribution, describe_entry(each, registry)) for each in entries]
    table.print_table(("NAME", "DISTRIBUTION", "DESCRIPTION"), rows)


def describe_entry(entry: Entry, registry: Registry) -> str:
    note = " (shadowed: use the qualified name)" if registry.is_shadowed(entry) else ""
    return entry.component.doc + note
