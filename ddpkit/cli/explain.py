"""Command `ddpkit explain x.toml [KEY]`: show the values of a config and their origin."""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ddpkit.cli import options, table
from ddpkit.config import loading, schema, toml
from ddpkit.config.component_refs import ComponentRef, find_entry, references
from ddpkit.config.converter import describe_type, find_field
from ddpkit.config.loading import Config
from ddpkit.config.parameters import read_parameters
from ddpkit.errors import ConfigError, Diagnostic, ExitCode, KeyPath, format_key_path, suggest
from ddpkit.plugins import manager, signatures
from ddpkit.plugins.manager import Plugins
from ddpkit.plugins.registry import UnknownNameError
from ddpkit.plugins.signatures import UNREAD
from ddpkit.terminal import write

ALIASES: Mapping[KeyPath, KeyPath] = {("dataset", "root_dir"): ("dataset", "base_dir")}


@attrs.frozen
class Line:
    """Value of the config, one row of the output."""

    path: KeyPath
    value: Any
    origin: str
    """Location of the value: `file:line:col`, `--set 1`, or `default`."""
    component: str = ""
    """Component that a name selects, and its distribution. Empty for other values."""
    source: str = ""
    """Definition of the component: `file:line`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="x.toml", help="the config file")
    parser.add_argument("key", nargs="?", metavar="KEY", help="show only this key or table, for example train.epoch")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the config file")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Show the values that a run would use."""
    config = loading.load(arguments.file, loading.parse_overrides(arguments.set))
    found = manager.load(options.policy_from_options(arguments, config.run.plugins))
    lines = select_lines(explain_config(config, found), arguments.key)
    if arguments.json:
        write(json.dumps([line_as_json(line) for line in lines], indent=2, ensure_ascii=False) + "\n")
        return ExitCode.DONE
    print_lines(lines)
    field = find_field(schema.Run, lines[0].path) if arguments.key and len(lines) == 1 else None
    write("".join(f"  {text}\n" for text in (format_help(field) if field else [])))
    return ExitCode.DONE


def select_lines(lines: list[Line], key: str | None) -> list[Line]:
    """Return the lines at or below a key. Raises ConfigError if there are none."""
    if key is None:
        return lines
    found = [line for line in lines if any(format_key_path(line.path[:length]) == key for length in range(1, len(line.path) + 1))]
    if not found:
        message = f"key {key!r} was not found in the config; {suggest(key, known_keys(lines))}"
        raise ConfigError([Diagnostic("KEY", (), message)])
    return found


def known_keys(lines: list[Line]) -> list[str]:
    """Return the keys and tables of the lines, each once, in their order."""
    return list(dict.fromkeys(format_key_path(line.path[:length]) for line in lines for length in range(1, len(line.path) + 1)))


def format_toml_value(value: Any) -> str:
    """Return a value in TOML syntax; `-` if it is absent, `?` for a default that the source does not show."""
    return "?" if value is UNREAD else "-" if value is None else toml.format_inline(value)


def line_as_json(line: Line) -> dict[str, Any]:
    value, meaning = None if line.value is UNREAD else line.value, ", ".join(filter(None, (line.component, line.source)))
    return {"key": format_key_path(line.path), "value": value, "origin": line.origin, "meaning": meaning}


def print_lines(lines: list[Line]) -> None:
    rows = [(format_key_path(line.path), format_toml_value(line.value), format_origin(line)) for line in lines]
    table.print_table(("KEY", "VALUE", "FROM"), rows)


def format_origin(line: Line) -> str:
    return f"{line.origin} ({line.component})" if line.component else line.origin


def explain_config(config: Config, plugins: Plugins) -> list[Line]:
    """Return all values in the order of the format.

    The defaults of a component follow the parameters that the config sets.
    """
    named = references(config.run)
    meanings = {reference.path: describe_reference(reference, plugins) for reference in named}
    lines = [
        Line(path, value, find_origin(config, path), *meanings.get(path, ())) for path, value in iterate_values(config.run, ())
    ]
    for reference in named:
        prefix = reference.params_path
        behind = max(
            number for number, line in enumerate(lines) if line.path[: len(prefix)] == prefix or line.path == reference.path
        )
        lines[behind + 1 : behind + 1] = list_defaults(reference, plugins)
    return lines


def iterate_values(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every value of the format's tables with its path. The parameters of a component are not expanded further."""
    if isinstance(value, list) and value and attrs.has(type(value[0])):
        for index, item in enumerate(value):
            yield from iterate_values(item, (*path, index))
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            item = getattr(value, field.name)
            if item or not field.metadata.get("synonym"):
                yield from iterate_values(item, path if field.metadata.get("rest") else (*path, field.name))
    elif isinstance(value, Mapping):
        yield from (((*path, name), item) for name, item in value.items())
    else:
        yield path, value


def find_origin(config: Config, path: KeyPath) -> str:
    """Return the location of a value in the config layer that set it, or `default`."""
    written = config.written(path) or config.written(ALIASES.get(path, path))
    origin = written and config.origin(written)
    return origin.place(written).where if written and origin else "default"


def describe_reference(reference: ComponentRef, plugins: Plugins) -> tuple[str, str]:
    """Return a description such as `builtin/resnet18 of ddpkit 0.1.0`, and the definition such as `.../models.py:17`."""
    try:
        entry = find_entry(reference, plugins.registry)
    except UnknownNameError as error:
        return str(error), ""
    return f"{entry.qualified_name} of {entry.distribution}", signatures.find_definition(entry.component.target)


def list_defaults(reference: ComponentRef, plugins: Plugins) -> list[Line]:
    """Return the parameters that the config leaves at their defaults, if the component's source shows them."""
    try:
        entry = find_entry(reference, plugins.registry)
    except UnknownNameError:
        return []
    parameters = read_parameters(entry)
    if parameters is None:
        return []
    left = {*parameters.in_order, *parameters.aliases.values()} - reference.named_params(parameters).keys()
    defaults = {name: default for name, default in parameters.signature.defaults.items() if name in left}
    origin = f"default of {entry.qualified_name}"
    return [Line((*reference.params_path, name), default, origin) for name, default in defaults.items()]


def format_help(field: "attrs.Attribute[Any]") -> list[str]:
    """Return the help of a key in both languages, and a line with its type, limits and unit."""
    english, chinese = field.metadata["help"]
    limits = f", {field.validator.words}" if field.validator else ""  # type: ignore[attr-defined]
    unit = f" ({field.metadata['unit']})" if field.metadata["unit"] else ""
    return [english, chinese, f"{describe_type(field.type)}{limits}{unit}"]
