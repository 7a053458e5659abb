"""Command `ddpkit init PATH`: write a config for a user's own data."""

import argparse
import os
import shlex
from pathlib import Path
from typing import Any, get_args

import tomli

from ddpkit.cli import options
from ddpkit.config.new_config import Language, fill, safe_name
from ddpkit.config.suggestion import Recognition, Suggestion
from ddpkit.errors import ConfigError, Diagnostic, ExitCode
from ddpkit.plugins import manager
from ddpkit.runs.files import Files, replace_file
from ddpkit.terminal import escape, write, write_error

NEXT = """\
written: $file | 已写入：$file

Next commands: | 后续命令：
  ddpkit preview $quoted
  ddpkit check $quoted --data
  ddpkit run $quoted
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="a folder, a CSV table, or annotations in the format of COCO")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the file to write (default: name of the folder + .toml)")
    parser.add_argument("--lang", choices=get_args(Language), default="en", help="language of the comments: en, zh (default: en)")
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Write the config, and show what was found in the data; no file is overwritten."""
    check_data(arguments.path)
    folder = folder_name(arguments.path)
    output = arguments.output or Path(f"{safe_name(folder) or 'data'}.toml")
    check_output(output)
    plugins = manager.load(options.policy_from_options(arguments))
    recognition = Recognition(arguments.path, folder, arguments.lang, plugins)
    try:
        suggestion = recognition.first()
    finally:
        write_error("".join(f"warning: {text}\n" for text in recognition.warnings))
    write_new(output, suggestion.text)
    write_error("".join(f"note: not used: {text}\n" for text in recognition.mistakes))
    write(describe(suggestion, arguments.path, output, arguments.lang))
    return ExitCode.DONE


def folder_name(path: Path) -> str:
    """Return the name of a folder, or of the folder that contains a file."""
    whole = path.resolve()
    return (whole.parent if whole.is_file() else whole).name


def check_data(path: Path) -> None:
    """Raise ConfigError if the data does not exist, or has a name that a config cannot contain."""
    if not os.path.lexists(path):
        raise ConfigError([Diagnostic("PATH", (), f"{path} was not found")])
    if str(path).encode(errors="replace").decode() != str(path):
        raise ConfigError([Diagnostic("PATH", (), f"{path} is not valid UTF-8; rename the folder or file")])


def check_output(file: Path) -> None:
    """Raise ConfigError if the config cannot be written as a new file."""
    if os.path.lexists(file):
        message = "exists already and is not overwritten; write another file with '--output FILE'"
        raise ConfigError([Diagnostic(str(file), (), message)])
    if not file.parent.is_dir():
        raise ConfigError([Diagnostic("--output", (), f"{file.parent} is not a folder; create it first")])


def write_new(file: Path, text: str) -> None:
    """Write the config atomically. Raises ConfigError if that fails."""
    try:
        replace_file(Files(), file, [text.encode()])
    except OSError as error:
        message = f"cannot be written: {error.strerror}; write another file with '--output FILE'"
        raise ConfigError([Diagnostic(str(file), (), message)]) from error


def describe(suggestion: Suggestion, path: Path, output: Path, language: Language) -> str:
    """Return what was found in the data, and the next commands."""
    component = suggestion.dataset.component
    values = {name: show(value) for name, value in suggestion.starter.values.items()}
    found = fill(suggestion.starter.found, values, language)
    after = fill(NEXT, {"file": show(str(output)), "quoted": show(shlex.quote(str(output)))}, language)
    lacks = "".join(f"note: {text}\n" for text in suggestion.lacks)
    name = tomli.loads(suggestion.text)["dataset"]["name"]
    return f"{show(str(path))}: {component.doc} ({name})\n{found}\n{lacks}{after}"


def show(value: Any) -> str | None:
    """Return a value as one safe line, so that a file name cannot forge another line; None for None."""
    if isinstance(value, list | tuple):
        return ", ".join(escape(str(item)) for item in value)
    return None if value is None else escape(str(value))
