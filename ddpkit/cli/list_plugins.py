"""Command `ddpkit list-plugins`: list the installed plugins."""

import argparse
import json
from collections import Counter

import attrs

from ddpkit.cli import options, table
from ddpkit.errors import ExitCode, list_first
from ddpkit.plugins import manager
from ddpkit.plugins.hookspecs import HOOKS
from ddpkit.plugins.manager import Plugin, PluginSource
from ddpkit.plugins.requirements import list_requirements
from ddpkit.terminal import write, write_error

SLOW = 0.1
"""Load time in seconds above which the output reports it."""
SHOWN = 3
"""Number of names of a family in the output."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="also show load time and digest of each plugin, the slowest first"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.add_argument("--no-import", action="store_true", help="show only names and versions, without importing any plugin")
    parser.add_argument(
        "--requirements", action="store_true", help="print the distributions of the plugins as lines for 'pip install -r'"
    )
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Show every installed plugin, including those that cannot be used."""
    if arguments.requirements:
        print_requirements(manager.list_installed(), as_json=arguments.json)
        return ExitCode.DONE
    policy = options.policy_from_options(arguments)
    if arguments.no_import:
        print_sources(manager.list_installed(), as_json=arguments.json)
        return ExitCode.DONE
    found = manager.load(policy)
    for warning in found.warnings:
        write_error(f"warning: {warning}\n")
    if arguments.json:
        write(json.dumps([plugin_as_json(plugin) for plugin in found.plugins], indent=2) + "\n")
    else:
        print_plugins(found.plugins, verbose=arguments.verbose)
    return ExitCode.DONE


def print_sources(sources: list[PluginSource], *, as_json: bool) -> None:
    """Print the package metadata of the plugins; no plugin is imported."""
    rows = [(each.name, each.distribution, each.version, each.entry_point.value) for each in sources]
    columns = ("plugin", "distribution", "version", "module")
    if as_json:
        write(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=2) + "\n")
    else:
        table.print_table([column.upper() for column in columns], rows)


def print_requirements(sources: list[PluginSource], *, as_json: bool) -> None:
    """Print the distributions of the plugins; no plugin is imported."""
    found = list_requirements(sources)
    if as_json:
        write(json.dumps([attrs.asdict(each) for each in found], indent=2) + "\n")
    else:
        write("".join(f"{each}\n" for each in found))


def plugin_as_json(plugin: Plugin) -> dict[str, object]:
    family = [entry for kind in HOOKS for entry in plugin.family.entries(kind)] if plugin.family else []
    entries = [*plugin.provides, *family]
    components = [{"kind": entry.kind, "name": entry.qualified_name, "doc": entry.component.doc} for entry in entries]
    keys = ("name", "distribution", "version", "status", "error", "digest", "seconds", "heavy")
    return {key: getattr(plugin, key) for key in keys} | {"components": components}


def print_plugins(found: tuple[Plugin, ...], *, verbose: bool) -> None:
    ordered = sorted(found, key=lambda plugin: -plugin.seconds) if verbose else found
    columns = ["PLUGIN", "DISTRIBUTION", "STATUS", "PROVIDES"] + ["LOADED IN", "DIGEST"] * verbose
    table.print_table(columns, [format_row(plugin, verbose=verbose) for plugin in ordered])


def format_row(plugin: Plugin, *, verbose: bool) -> list[str]:
    more = [f"{plugin.seconds * 1000:.1f} ms", plugin.digest[:8]] * verbose
    return [
        plugin.name,
        f"{plugin.distribution} {plugin.version}",
        plugin.status,
        plugin.error or describe_components(plugin),
        *more,
    ]


def describe_components(plugin: Plugin) -> str:
    """Return `model: resnet18; metric: accuracy`, and the reason if the plugin loads slowly."""
    kinds = Counter(entry.kind for entry in plugin.provides)
    names = {kind: [entry.component.name for entry in plugin.provides if entry.kind == kind] for kind in kinds}
    parts = [f"{kind}: {', '.join(found)}" for kind, found in names.items()]
    parts += describe_family(plugin) if plugin.family else []
    parts += [f"imports {', '.join(plugin.heavy)} when it is loaded, which slows down every command"] if plugin.heavy else []
    parts += [f"takes {plugin.seconds:.1f} s to load"] if plugin.seconds > SLOW and not plugin.heavy else []
    return "; ".join(parts)


def describe_family(plugin: Plugin) -> list[str]:
    """Return `model: alexnet, convnext_base and 100 more` for each kind of a family, and the command that lists all."""
    namespace = plugin.name.partition(".")[0]
    names = {kind: sorted(plugin.family.names(kind, "*")) if plugin.family else [] for kind in HOOKS}
    return [f"{kind}: {list_first(found, SHOWN)} (ddpkit list {kind} '{namespace}/*')" for kind, found in names.items() if found]
