"""`ddpkit list-plugins`."""

import argparse
import json
import sys
from collections import Counter

from rich.console import Console
from rich.table import Table

from ddpkit import plugins
from ddpkit.errors import ExitCode
from ddpkit.plugins import Plugin


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")


def main(arguments: argparse.Namespace) -> int:
    """Show every installed plugin, those that cannot be used too."""
    found = plugins.load().plugins
    if arguments.json:
        sys.stdout.write(json.dumps([as_json(plugin) for plugin in found], indent=2) + "\n")
    else:
        show(found)
    return ExitCode.DONE


def as_json(plugin: Plugin) -> dict[str, object]:
    """One plugin for scripts."""
    components = [{"kind": entry.kind, "name": entry.qualified_name, "doc": entry.component.doc} for entry in plugin.provides]
    keys = ("name", "distribution", "version", "status", "error")
    return {key: getattr(plugin, key) for key in keys} | {"components": components}


def show(found: tuple[Plugin, ...]) -> None:
    """A table on a terminal; one line a plugin, separated by tabs, in a pipe."""
    columns = ("PLUGIN", "DISTRIBUTION", "STATUS", "PROVIDES")
    rows = [(each.name, f"{each.distribution} {each.version}", each.status, each.error or provides(each)) for each in found]
    console = Console()
    if not console.is_terminal:
        sys.stdout.write("".join("\t".join(row) + "\n" for row in (columns, *rows)))
        return
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def provides(plugin: Plugin) -> str:
    """`model: resnet18; metric: accuracy`."""
    kinds = Counter(entry.kind for entry in plugin.provides)
    names = {kind: [entry.component.name for entry in plugin.provides if entry.kind == kind] for kind in kinds}
    return "; ".join(f"{kind}: {', '.join(found)}" for kind, found in names.items())
