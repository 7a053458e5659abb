"""Config text with the position of every key and value, and the limits of its size and depth."""

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ddpkit.errors import ConfigError, Diagnostic, KeyPath

WIDTH = 100
"""Maximum number of characters of a line in an excerpt."""
LARGEST = 1_000_000
"""Maximum size of a file in bytes; a typical config has a few thousand bytes."""
DEEPEST = 30
"""Maximum nesting depth of tables and arrays."""
MOST = 100_000
"""Maximum number of values in a file."""


@attrs.frozen
class Span:
    """Offsets of a key and of its value, in characters. Both are equal for the header of a table."""

    key: int
    value: int


@attrs.frozen
class Location:
    """Position of a key or value, for messages."""

    where: str
    """`file:line:col` (from 1), or the option that set the value."""
    excerpt: str = ""
    """Line with a caret below the column; empty for an option."""


@attrs.frozen
class Document:
    """Content of a config file, with the position of each value."""

    name: str
    """File name as the user wrote it, or another name for messages if the text has no file."""
    text: str = attrs.field(repr=False)
    data: Mapping[str, Any] = attrs.field(repr=False)
    spans: Mapping[KeyPath, Span] = attrs.field(repr=False)
    root: KeyPath = ()
    """Key path in the run config of this file's top level: `("dataset",)` for a file of `dataset.ref`."""

    def place(self, path: KeyPath, *, at_key: bool = False) -> Location:
        """Return the location of the value at `path` (or of its key); if it is missing, of the nearest table above it."""
        inner = path[len(self.root) :] if path[: len(self.root)] == self.root else path
        is_missing = False
        while inner and inner not in self.spans:
            # An index without a span belongs to a single value that is written in place of a list: point at the value.
            inner, is_missing = inner[:-1], is_missing or not isinstance(inner[-1], int)
        if not inner:
            return Location(f"{self.name}:1:1")
        is_name = self.text[self.spans[inner].value] in "\"'"  # a string in place of the table whose key is missing
        at_key = at_key or (is_missing and not is_name)
        return locate(self.text, self.name, self.spans[inner].key if at_key else self.spans[inner].value)

    def holds(self, path: KeyPath) -> bool:
        """Return whether the file itself contains this key."""
        return path in self.spans


def locate(text: str, name: str, offset: int) -> Location:
    """Return the location of an offset: line and column (from 1), and the line with a caret."""
    start = text.rfind("\n", 0, offset) + 1
    number, column = text.count("\n", 0, offset) + 1, offset - start
    return Location(f"{name}:{number}:{column + 1}", excerpt(text[start:].partition("\n")[0], number, column))


def excerpt(line: str, number: int, column: int) -> str:
    """Return the line with a caret below the column (from 0); a long line is cut around the column."""
    first = max(0, column - WIDTH // 2) if len(line) > WIDTH else 0
    shown = "".join(character if character.isprintable() else " " for character in line[first : first + WIDTH])
    margin = f"{number:>5} | "
    return f"{margin}{shown}\n{' ' * (len(margin) - 2)}| {' ' * (column - first)}^"


def read_text(file: Path) -> str:
    """Return the text of a config file without a byte order mark. Raises ConfigError if it is too large or not readable."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise ConfigError([Diagnostic(str(file), (), f"is too large for a config; the limit is {LARGEST // 1_000_000} MB")])
        return raw.decode("utf-8-sig")
    except OSError as error:
        config = file.with_name(f"{file.name}.toml")
        hint = f"; did you mean {str(config)!r}?" if file.name and config.is_file() else ""
        raise ConfigError([Diagnostic(str(file), (), f"cannot be read: {error.strerror}{hint}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Diagnostic(str(file), (), f"is not UTF-8 text: {error.reason} at byte {error.start}")]) from error


def check_limits(document: Document) -> Document:
    """Return the document. Raises ConfigError if a value is nested too deeply or not allowed in a config."""
    for path, value in walk(document.data):
        if issue := find_unfit(path, value):
            place = document.place((*document.root, *path))
            raise ConfigError([Diagnostic(place.where, path[:DEEPEST], issue, place.excerpt)])
    return document


def check_size(data: Mapping[str, Any], name: str) -> None:
    """Raise ConfigError if there are too many values: locating them all would take seconds."""
    if next(itertools.islice(walk(data), MOST, None), None) is not None:
        raise ConfigError([Diagnostic(name, (), f"has too many values for a config; the limit is {MOST:,}")])


def walk(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every value with its path, tables and arrays before their content."""
    waiting: list[tuple[KeyPath, Any]] = [((), data)]  # no recursion: the depth is not limited yet
    while waiting:
        path, value = waiting.pop()
        yield path, value
        items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        waiting += [((*path, key), item) for key, item in items]


def find_unfit(path: KeyPath, value: object) -> str:
    """Return the reason why a value is not allowed in a config; empty if it is allowed."""
    if len(path) > DEEPEST:
        return f"is nested too deeply; the limit is {DEEPEST} levels"
    if isinstance(value, Mapping) and not all(isinstance(key, str) for key in value):
        return "has a key that is not a string; put it in quotes"
    if isinstance(value, int) and abs(value) >= 2**63:
        return "is an integer of more than 64 bits"
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be a finite number; got {value}"
    return ""
