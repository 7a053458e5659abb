"""`ddpkit describe KIND NAME`."""

import argparse
import json
import sys
from typing import Any

from ddpkit import plugins, tables
from ddpkit.commands import plugin_options
from ddpkit.describe import Description, described, example
from ddpkit.errors import ConfigError, ExitCode, Problem
from ddpkit.hookspecs import HOOKS
from ddpkit.registry import UnknownNameError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("kind", choices=HOOKS, metavar="KIND", help=", ".join(HOOKS))
    parser.add_argument("name", metavar="NAME", help="bare or qualified")
    parser.add_argument("--toml", action="store_true", help="only the example, to be pasted")
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    plugin_options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Show all that is known of a component without importing it; with an import where source does not tell."""
    found = plugins.load(plugin_options.policy(arguments))
    try:
        entry = found.registry.get(arguments.kind, arguments.name)
    except UnknownNameError as error:
        raise ConfigError([Problem("NAME", (), str(error))]) from error
    description = described(entry)
    if arguments.json:
        sys.stdout.write(json.dumps(as_json(description), indent=2, ensure_ascii=False) + "\n")
    elif arguments.toml:
        sys.stdout.write(example(description))
    else:
        show(description)
    return ExitCode.DONE


def as_json(description: Description) -> dict[str, Any]:
    """For scripts."""
    component = description.entry.component
    keys = ("doc", "aliases", "requires", "deprecated")
    return {
        "kind": description.entry.kind,
        "name": description.entry.qualified_name,
        "distribution": description.entry.distribution,
        "source": description.source,
        **{key: getattr(component, key) for key in keys},
        "parameters": [{"name": each.name, "type": each.kind, "default": each.default} for each in description.parameters],
        "example": example(description),
    }


def show(description: Description) -> None:
    """For people."""
    entry, component = description.entry, description.entry.component
    facts = {"from": entry.distribution, "source": description.source, "also called": ", ".join(component.aliases)}
    facts |= {"needs": ", ".join(component.requires), "deprecated": component.deprecated or ""}
    sys.stdout.write(f"{entry.kind} {entry.qualified_name}: {component.doc}\n")
    sys.stdout.write("".join(f"{name}: {text}\n" for name, text in facts.items() if text))
    if description.help:
        sys.stdout.write(f"\n{description.help}\n")
    sys.stdout.write("\n")
    tables.show(("PARAMETER", "TYPE", "DEFAULT"), [(each.name, each.kind, each.default) for each in description.parameters])
    sys.stdout.write(f"\n{example(description)}")
