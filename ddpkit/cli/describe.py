"""Command `ddpkit describe KIND NAME`: show a component, its parameters and an example."""

import argparse
import inspect
import json
from collections.abc import Mapping
from typing import Any

import attrs

from ddpkit.cli import options, table
from ddpkit.config import toml
from ddpkit.config.converter import placeholder
from ddpkit.config.parameters import Parameters, describe_parameter_type, import_parameters, read_parameters
from ddpkit.errors import ConfigError, Diagnostic, ExitCode
from ddpkit.plugins import manager, signatures
from ddpkit.plugins.hookspecs import HOOKS
from ddpkit.plugins.registry import BUILTIN, Entry, UnknownNameError
from ddpkit.plugins.signatures import UNREAD
from ddpkit.terminal import write

PLACES = {
    "model": "[model]\nname = {name}\n\n[model.config]\n{lines}",
    "criterion": "[[criterion]]\ntype = {name}\nweight = 1.0\nconfig = {table}\n",
    "transform": "[transform]\n{key} = {table}\n",
    "postprocess": "postprocess = {{ type = {name}, config = {table} }}\n",
    "metric": "metrics = [{{ type = {name}, config = {table} }}]\n",
    "dataset": '[dataset]\nname = {name}\nroot_dir = "./data"\n\n[dataset.config]\n{lines}',
    "split": "[dataset.split]\ntype = {name}\n{lines}",
    "step": "[train.step]\ntype = {name}\n{lines}",
    "optimizer": "[train.optimizer]\ntype = {name}\nlearning_rate = 0.001\n{lines}",
    "lr_scheduler": "[train.lr_scheduler]\ntype = {name}\n{lines}",
    "logger": "[private]\nloggers = [{{ type = {name}, config = {table} }}]\n",
    "writer": "[predict.config]\noutput_format = {name}\n{lines}",
}
"""TOML template of each kind of component."""


@attrs.frozen
class Parameter:
    """Parameter of a component: a key of its table."""

    name: str
    kind: str
    """Type in the terms of TOML."""
    default: str
    """Default in TOML syntax; `required` if there is none, `-` if it is None, `?` if the source does not show it, and
    `from the run` for a run-time value."""
    written: str
    """Value for the example; empty if the example omits the parameter."""


@attrs.frozen
class Description:
    """Information about a component."""

    entry: Entry
    source: str
    """Location of the definition, `file:line`."""
    help: str
    """Docstring of the component's target."""
    parameters: tuple[Parameter, ...]
    from_run: Mapping[str, str]
    """Parameter -> run-time value that it gets."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=HOOKS, metavar="KIND", help=", ".join(HOOKS))
    parser.add_argument("name", metavar="NAME", help="name of the component, bare or qualified (plugin/name)")
    parser.add_argument("--toml", action="store_true", help="print only the example, ready to paste")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Show a component. It is imported only if its source does not show its parameters."""
    found = manager.load(options.policy_from_options(arguments))
    try:
        entry = found.registry.get(arguments.kind, arguments.name)
    except UnknownNameError as error:
        raise ConfigError([Diagnostic("NAME", (), str(error))]) from error
    description = describe_component(entry)
    if arguments.json:
        write(json.dumps(description_as_json(description), indent=2, ensure_ascii=False) + "\n")
    elif arguments.toml:
        write(toml_example(description))
    else:
        print_description(description)
    return ExitCode.DONE


def description_as_json(description: Description) -> dict[str, Any]:
    component = description.entry.component
    keys = ("doc", "aliases", "requires", "deprecated")
    return {
        "kind": description.entry.kind,
        "name": description.entry.qualified_name,
        "distribution": description.entry.distribution,
        "source": description.source,
        **{key: getattr(component, key) for key in keys},
        "from_run": description.from_run,
        "bound": component.bound,
        "parameters": [{"name": each.name, "type": each.kind, "default": each.default} for each in description.parameters],
        "example": toml_example(description),
    }


def print_description(description: Description) -> None:
    entry, component = description.entry, description.entry.component
    facts = {"from": entry.distribution, "source": description.source, "also called": ", ".join(component.aliases)}
    facts |= {"requires": ", ".join(component.requires), "deprecated": component.deprecated or ""}
    injected = description.from_run.items()
    facts["from the run"] = ", ".join(name if name == value else f"{name} = {value}" for name, value in injected)
    facts["fixed"] = ", ".join(f"{name} = {value!r}" for name, value in component.bound.items())
    write(f"{entry.kind} {entry.qualified_name}: {component.doc}\n")
    write("".join(f"{name}: {text}\n" for name, text in facts.items() if text))
    if description.help:
        write(f"\n{description.help}\n")
    write("\n")
    table.print_table(("PARAMETER", "TYPE", "DEFAULT"), [(each.name, each.kind, each.default) for each in description.parameters])
    write(f"\n{toml_example(description)}")


def describe_component(entry: Entry) -> Description:
    """Describe a component from its source; import its target only if the source does not show the parameters.

    Raises PluginError if the target cannot be imported.
    """
    target = entry.component.target
    parameters = read_parameters(entry) or import_parameters(entry)
    help_text = inspect.cleandoc(signatures.docstring(target))
    described = tuple(describe_parameter(parameters, name) for name in parameters.settable)
    from_run = {name: value for value, name in parameters.from_run.items()}
    return Description(entry, signatures.find_definition(target), help_text, described, from_run)


def describe_parameter(parameters: Parameters, name: str) -> Parameter:
    kind, defaults = parameters.settable[name], parameters.signature.defaults
    text, from_run = describe_parameter_type(kind), {*parameters.from_run.values(), *parameters.aliases}
    if name in from_run and (name not in parameters.aliases.values() or name not in defaults):
        return Parameter(name, text, "from the run", "")
    if name not in defaults:
        return Parameter(name, text, "required", toml.format_inline("" if text in ("?", "anything") else placeholder(kind)))
    default = defaults[name]
    if default is UNREAD or default is None:
        return Parameter(name, text, "?" if default is UNREAD else "-", "")
    return Parameter(name, text, toml.format_inline(default), toml.format_inline(default))


def toml_example(description: Description) -> str:
    """Return TOML to paste: the author's example, or every parameter with its default or a placeholder."""
    entry = description.entry
    if entry.component.example:
        return entry.component.example.rstrip("\n") + "\n"
    name = entry.component.name if entry.namespace == BUILTIN else entry.qualified_name
    pairs = [f"{each.name} = {each.written}" for each in description.parameters if each.written]
    inline, lines = "{ " + ", ".join(pairs) + " }" if pairs else "{}", "".join(f"{pair}\n" for pair in pairs)
    return PLACES[entry.kind].format(name=toml.format_inline(name), key=toml.format_key((name,)), table=inline, lines=lines)
