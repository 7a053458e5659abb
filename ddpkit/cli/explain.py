"""Command `ddpkit explain x.toml [KEY]`: show the values of a config and their origin."""

import argparse
import json
from pathlib import Path
from typing import Any

import attrs

from ddpkit.cli import options, table
from ddpkit.config import loading, schema
from ddpkit.config.converter import describe_type, find_field
from ddpkit.config.explanation import Line, explain_config, format_toml_value
from ddpkit.errors import ConfigError, Diagnostic, ExitCode, format_key_path, suggest
from ddpkit.plugins import manager
from ddpkit.plugins.signatures import UNREAD
from ddpkit.terminal import write


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


def line_as_json(line: Line) -> dict[str, Any]:
    value, meaning = None if line.value is UNREAD else line.value, ", ".join(filter(None, (line.component, line.source)))
    return {"key": format_key_path(line.path), "value": value, "origin": line.origin, "meaning": meaning}


def print_lines(lines: list[Line]) -> None:
    rows = [(format_key_path(line.path), format_toml_value(line.value), format_origin(line)) for line in lines]
    table.print_table(("KEY", "VALUE", "FROM"), rows)


def format_origin(line: Line) -> str:
    return f"{line.origin} ({line.component})" if line.component else line.origin


def format_help(field: "attrs.Attribute[Any]") -> list[str]:
    """Return the help of a key in both languages, and a line with its type, limits and unit."""
    english, chinese = field.metadata["help"]
    limits = f", {field.validator.words}" if field.validator else ""  # type: ignore[attr-defined]
    unit = f" ({field.metadata['unit']})" if field.metadata["unit"] else ""
    return [english, chinese, f"{describe_type(field.type)}{limits}{unit}"]
