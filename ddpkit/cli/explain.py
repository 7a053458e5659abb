"""`ddpkit explain x.toml [KEY]`."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ddpkit.cli import options, table
from ddpkit.config import loading, schema, toml
from ddpkit.config.component_refs import Reference, find, references
from ddpkit.config.converter import describe, is_union, plain_arms
from ddpkit.config.loading import Config
from ddpkit.errors import ConfigError, ExitCode, KeyPath, Problem, shown, suggest
from ddpkit.plugins import manager, signatures
from ddpkit.plugins.manager import Plugins
from ddpkit.plugins.registry import UnknownNameError
from ddpkit.plugins.signatures import UNREAD

ALIASES: Mapping[KeyPath, KeyPath] = {("dataset", "root_dir"): ("dataset", "base_dir")}


@attrs.frozen
class Line:
    """One value."""

    path: KeyPath
    value: Any
    origin: str
    """`file:line:col`, `--set 1`, or `default`."""
    meaning: str = ""
    """Of a component's name: whose it is and where it is defined."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("file", type=Path, metavar="x.toml", help="the config")
    parser.add_argument("key", nargs="?", metavar="KEY", help="a key or a table alone, as in train.epoch")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over the file's")
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Show the values as a run would see them."""
    config = loading.load(arguments.file, loading.parse_overrides(arguments.set))
    found = manager.load(options.policy(arguments, config.run.plugins))
    lines = chosen(lines_of(config, found), arguments.key)
    if arguments.json:
        sys.stdout.write(json.dumps([as_json(line) for line in lines], indent=2, ensure_ascii=False) + "\n")
        return ExitCode.DONE
    show(lines)
    field = field_at(lines[0].path) if arguments.key and len(lines) == 1 else None
    sys.stdout.write("".join(f"  {text}\n" for text in (help_on(field) if field else [])))
    return ExitCode.DONE


def chosen(lines: list[Line], key: str | None) -> list[Line]:
    """Those at or below a key. Raises ConfigError when there are none."""
    if key is None:
        return lines
    found = [line for line in lines if any(shown(line.path[:length]) == key for length in range(1, len(line.path) + 1))]
    if not found:
        known = {shown(line.path[:length]) for line in lines for length in range(1, len(line.path) + 1)}
        raise ConfigError([Problem("KEY", (), f"there is no {key!r}, {suggest(key, known)}")])
    return found


def text_of(value: Any) -> str:
    """A value as TOML has it; `-` for what is left out, `?` for a default that source does not tell."""
    return "?" if value is UNREAD else "-" if value is None else toml.inline(value)


def as_json(line: Line) -> dict[str, Any]:
    """One value for scripts."""
    value = None if line.value is UNREAD else line.value
    return {"key": shown(line.path), "value": value, "origin": line.origin, "meaning": line.meaning}


def show(lines: list[Line]) -> None:
    """A row a value."""
    rows = [(shown(line.path), text_of(line.value), line.origin, line.meaning) for line in lines]
    table.show(("KEY", "VALUE", "FROM", "MEANS"), rows)


def lines_of(config: Config, plugins: Plugins) -> list[Line]:
    """All values in the order of the format; a component's defaults stand behind what it was given."""
    named = references(config.run)
    meanings = {reference.path: meaning_of(reference, plugins) for reference in named}
    lines = [Line(path, value, origin_of(config, path), meanings.get(path, "")) for path, value in values_of(config.run, ())]
    for reference in named:
        prefix = reference.params_path
        behind = max(
            number for number, line in enumerate(lines) if line.path[: len(prefix)] == prefix or line.path == reference.path
        )
        lines[behind + 1 : behind + 1] = defaults_of(reference, plugins)
    return lines


def values_of(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Every value of the format's tables with its path; what components take is not taken apart further."""
    if isinstance(value, list) and value and attrs.has(type(value[0])):
        for index, item in enumerate(value):
            yield from values_of(item, (*path, index))
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield from values_of(getattr(value, field.name), path if field.metadata.get("rest") else (*path, field.name))
    elif isinstance(value, Mapping):
        yield from (((*path, name), item) for name, item in value.items())
    else:
        yield path, value


def origin_of(config: Config, path: KeyPath) -> str:
    """The place of a value in the layer that gave it."""
    written = config.written(path) or config.written(ALIASES.get(path, path))
    origin = written and config.origin(written)
    return origin.place(written).where if written and origin else "default"


def meaning_of(reference: Reference, plugins: Plugins) -> str:
    """`builtin/resnet18 of ddpkit 0.1.0, .../models.py:17`."""
    try:
        entry = find(reference, plugins.registry)
    except UnknownNameError as error:
        return str(error)
    return f"{entry.qualified_name} of {entry.distribution}, {signatures.defined_at(entry.component.target)}"


def defaults_of(reference: Reference, plugins: Plugins) -> list[Line]:
    """The parameters that the config leaves to the component, as far as its source tells them."""
    try:
        entry = find(reference, plugins.registry)
    except UnknownNameError:
        return []
    signature = signatures.from_source(entry.component.target)
    if signature is None:
        return []
    left = [name for name in signature.defaults if name not in reference.named_params(signature) and name != "lr"]
    origin = f"default of {entry.qualified_name}"
    return [Line((*reference.params_path, name), signature.defaults[name], origin) for name in left]


def field_at(path: KeyPath) -> "attrs.Attribute[Any] | None":
    """The format's own key at a path; None for a component's."""
    kind: Any = schema.Run
    field = None
    for part in path:
        kind = next((arm for arm in plain_arms(kind) if attrs.has(arm)), kind) if is_union(kind) else kind
        if isinstance(part, int):
            kind = kind.__args__[0]
            continue
        field = getattr(attrs.fields(kind), part, None) if attrs.has(kind) else None
        if field is None:
            return None
        kind = field.type
    return field


def help_on(field: "attrs.Attribute[Any]") -> list[str]:
    """What the format says of a key: help in both languages, what may be written."""
    english, chinese = field.metadata["help"]
    limits = f", {field.validator.words}" if field.validator else ""  # type: ignore[attr-defined]
    unit = f" ({field.metadata['unit']})" if field.metadata["unit"] else ""
    return [english, chinese, f"{describe(field.type)}{limits}{unit}"]
