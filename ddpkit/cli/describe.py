"""`ddpkit describe KIND NAME`."""

import argparse
import inspect
import json
import sys
from typing import Any

import attrs

from ddpkit.cli import options, table
from ddpkit.config import toml
from ddpkit.config.component_refs import NEVER_IN_TOML
from ddpkit.config.converter import describe, stand_in
from ddpkit.errors import ConfigError, ExitCode, Problem
from ddpkit.plugins import manager, signatures
from ddpkit.plugins.hookspecs import HOOKS, RUNTIME_VALUES
from ddpkit.plugins.registry import BUILTIN, Entry, UnknownNameError
from ddpkit.plugins.signatures import UNREAD, Signature

PLACES = {
    "model": "[model]\nname = {name}\n\n[model.config]\n{lines}",
    "criterion": "[[criterion]]\ntype = {name}\nweight = 1.0\nconfig = {table}\n",
    "transform": "[transform]\n{key} = {table}\n",
    "postprocess": "postprocess = {{ type = {name}, config = {table} }}\n",
    "metric": "metrics = [{{ type = {name}, config = {table} }}]\n",
    "dataset": '[dataset]\nname = {name}\nroot_dir = "./data"\n\n[dataset.config]\n{lines}',
    "split": "[dataset.split]\ntype = {name}\n{lines}",
    "optimizer": "[train.optimizer]\ntype = {name}\nlearning_rate = 0.001\n{lines}",
    "lr_scheduler": "[train.lr_scheduler]\ntype = {name}\n{lines}",
    "logger": "[private]\nloggers = [{{ type = {name}, config = {table} }}]\n",
    "writer": "[predict.config]\noutput_format = {name}\n{lines}",
}
"""Kind -> how it is written."""


@attrs.frozen
class Parameter:
    """A key of a component's table."""

    name: str
    kind: str
    """Its type in the words of TOML."""
    default: str
    """As TOML has it; `required`, `-` where leaving it out has a meaning of its own, `?` where source does not tell."""
    written: str
    """A value for an example; empty where it is better left out."""


@attrs.frozen
class Description:
    """All that is known of a component."""

    entry: Entry
    source: str
    """`file:line`."""
    help: str
    """The docstring of its target."""
    parameters: tuple[Parameter, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("kind", choices=HOOKS, metavar="KIND", help=", ".join(HOOKS))
    parser.add_argument("name", metavar="NAME", help="bare or qualified")
    parser.add_argument("--toml", action="store_true", help="only the example, to be pasted")
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Show all that is known of a component without importing it; with an import where source does not tell."""
    found = manager.load(options.policy(arguments))
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
    table.show(("PARAMETER", "TYPE", "DEFAULT"), [(each.name, each.kind, each.default) for each in description.parameters])
    sys.stdout.write(f"\n{example(description)}")


def described(entry: Entry) -> Description:
    """From its source; its target is imported only if that does not tell what it takes."""
    target = entry.component.target
    signature = signatures.from_source(target) or signatures.inspected(target)
    hidden = NEVER_IN_TOML | RUNTIME_VALUES[entry.kind] - {"root_dir"}
    names = [name for name in signature.parameters if name not in hidden]
    parameters = tuple(parameter(signature, name) for name in names if name != "root_dir")
    return Description(entry, signatures.defined_at(target), inspect.cleandoc(signatures.docstring(target)), parameters)


def parameter(signature: Signature, name: str) -> Parameter:
    """One of them."""
    kind, is_required = signature.parameters[name], name not in signature.defaults
    text = "?" if kind is UNREAD else "anything" if kind is Any else describe(kind)
    if is_required:
        return Parameter(name, text, "required", toml.inline("" if text in ("?", "anything") else stand_in(kind)))
    default = signature.defaults[name]
    if default is UNREAD or default is None:
        return Parameter(name, text, "?" if default is UNREAD else "-", "")
    return Parameter(name, text, toml.inline(default), toml.inline(default))


def example(description: Description) -> str:
    """TOML that can be pasted: the author's, else every parameter with its default, or the emptiest value."""
    entry = description.entry
    if entry.component.example:
        return entry.component.example.rstrip("\n") + "\n"
    name = entry.component.name if entry.namespace == BUILTIN else entry.qualified_name
    pairs = [f"{each.name} = {each.written}" for each in description.parameters if each.written]
    inline, lines = "{ " + ", ".join(pairs) + " }" if pairs else "{}", "".join(f"{pair}\n" for pair in pairs)
    return PLACES[entry.kind].format(name=toml.inline(name), key=toml.dotted((name,)), table=inline, lines=lines)
