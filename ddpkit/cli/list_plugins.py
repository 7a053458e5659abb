"""`ddpkit list-plugins`."""

import argparse
import json
import sys
from collections import Counter

from ddpkit.cli import options, table
from ddpkit.errors import ExitCode
from ddpkit.plugins import manager
from ddpkit.plugins.manager import Plugin, Source

SLOW = 0.1
"""Seconds from which the time to load a plugin is worth a word."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("-v", "--verbose", action="store_true", help="with the time to load and the digest of each")
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    parser.add_argument("--no-import", action="store_true", help="names and versions alone: no plugin's code runs")
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Show every installed plugin, those that cannot be used too."""
    policy = options.policy(arguments)
    if arguments.no_import:
        show_sources(manager.installed(), as_json=arguments.json)
        return ExitCode.DONE
    found = manager.load(policy)
    for warning in found.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    if arguments.json:
        sys.stdout.write(json.dumps([as_json(plugin) for plugin in found.plugins], indent=2) + "\n")
    else:
        show(found.plugins, verbose=arguments.verbose)
    return ExitCode.DONE


def show_sources(sources: list[Source], *, as_json: bool) -> None:
    """What the metadata alone tells."""
    rows = [(each.name, each.distribution, each.version, each.entry_point.value) for each in sources]
    columns = ("plugin", "distribution", "version", "module")
    if as_json:
        sys.stdout.write(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=2) + "\n")
    else:
        table.show([column.upper() for column in columns], rows)


def as_json(plugin: Plugin) -> dict[str, object]:
    """One plugin for scripts."""
    components = [{"kind": entry.kind, "name": entry.qualified_name, "doc": entry.component.doc} for entry in plugin.provides]
    keys = ("name", "distribution", "version", "status", "error", "digest", "seconds", "heavy")
    return {key: getattr(plugin, key) for key in keys} | {"components": components}


def show(found: tuple[Plugin, ...], *, verbose: bool) -> None:
    """A row a plugin."""
    columns = ["PLUGIN", "DISTRIBUTION", "STATUS", "PROVIDES"] + ["LOADED IN", "DIGEST"] * verbose
    table.show(columns, [row(plugin, verbose=verbose) for plugin in found])


def row(plugin: Plugin, *, verbose: bool) -> list[str]:
    """What is to be said of one."""
    more = [f"{plugin.seconds * 1000:.0f} ms", plugin.digest[:8]] * verbose
    return [plugin.name, f"{plugin.distribution} {plugin.version}", plugin.status, plugin.error or provides(plugin), *more]


def provides(plugin: Plugin) -> str:
    """`model: resnet18; metric: accuracy`, and what is wrong with how it loads."""
    kinds = Counter(entry.kind for entry in plugin.provides)
    names = {kind: [entry.component.name for entry in plugin.provides if entry.kind == kind] for kind in kinds}
    parts = [f"{kind}: {', '.join(found)}" for kind, found in names.items()]
    parts += [f"imports {', '.join(plugin.heavy)} when it is loaded, which every command waits for"] if plugin.heavy else []
    parts += [f"takes {plugin.seconds:.1f} s to load"] if plugin.seconds > SLOW and not plugin.heavy else []
    return "; ".join(parts)
