"""`ddpkit explain x.toml [KEY]`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ddpkit import config as config_file
from ddpkit import plugins, tables, toml
from ddpkit.commands import plugin_options
from ddpkit.errors import ConfigError, ExitCode, Problem, shown
from ddpkit.explain import Line, field_at, help_on, lines_of
from ddpkit.signatures import UNREAD
from ddpkit.structure import suggest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("file", type=Path, metavar="x.toml", help="the config")
    parser.add_argument("key", nargs="?", metavar="KEY", help="a key or a table alone, as in train.epoch")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over the file's")
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    plugin_options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Show the values as a run would see them."""
    config = config_file.load(arguments.file, config_file.parse_overrides(arguments.set))
    found = plugins.load(plugin_options.policy(arguments, config.run.plugins))
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
    tables.show(("KEY", "VALUE", "FROM", "MEANS"), rows)
