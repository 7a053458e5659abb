"""A text that was read, with the position of every key and value in it."""

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ddpkit.errors import ConfigError, KeyPath, Problem

WIDTH = 100
"""Characters of a line that an excerpt shows."""
LARGEST = 1_000_000
"""Bytes of a file: configs have some thousand."""
DEEPEST = 30
"""Tables and arrays inside each other."""
MOST = 100_000
"""Values of a file."""


@attrs.frozen
class Span:
    """Offsets of a key and of its value; the same offset twice for a table."""

    key: int
    value: int


@attrs.frozen
class Place:
    """Where something stands."""

    where: str
    """`file:line:col`, or the option that brought the value."""
    excerpt: str = ""
    """The line with a caret below the column; empty for an option."""


@attrs.frozen
class Document:
    """A config file as it was read."""

    name: str
    """The file as the user wrote it, or what stands for it in messages."""
    text: str = attrs.field(repr=False)
    data: Mapping[str, Any] = attrs.field(repr=False)
    spans: Mapping[KeyPath, Span] = attrs.field(repr=False)
    root: KeyPath = ()
    """The table of a run that this file's top is: `("dataset",)` for a `ref`."""

    def place(self, path: KeyPath, *, at_key: bool = False) -> Place:
        """Of the value at `path` (or of its key), else of the nearest table above it."""
        inner = path[len(self.root) :] if path[: len(self.root)] == self.root else path
        while inner and inner not in self.spans:
            inner, at_key = inner[:-1], at_key or not isinstance(inner[-1], int)  # a value that stands for a list of one
        if not inner:
            return Place(f"{self.name}:1:1")
        return place_in(self.text, self.name, self.spans[inner].key if at_key else self.spans[inner].value)

    def holds(self, path: KeyPath) -> bool:
        """Whether the file itself has this key."""
        return path in self.spans


def place_in(text: str, name: str, offset: int) -> Place:
    """The place of an offset: line and column from 1, with the line and a caret."""
    start = text.rfind("\n", 0, offset) + 1
    number, column = text.count("\n", 0, offset) + 1, offset - start
    return Place(f"{name}:{number}:{column + 1}", excerpt(text[start:].partition("\n")[0], number, column))


def excerpt(line: str, number: int, column: int) -> str:
    """A line and a caret below its column (from 0); of a long line, what is around it."""
    first = max(0, column - WIDTH // 2) if len(line) > WIDTH else 0
    shown = "".join(character if character.isprintable() else " " for character in line[first : first + WIDTH])
    margin = f"{number:>5} | "
    return f"{margin}{shown}\n{' ' * (len(margin) - 2)}| {' ' * (column - first)}^"


def read_text(file: Path) -> str:
    """The text of a config file, without a byte order mark. Raises ConfigError."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise ConfigError([Problem(str(file), (), f"is larger than {LARGEST // 1_000_000} MB, which no config is")])
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([Problem(str(file), (), f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(file), (), f"is not UTF-8: {error.reason} at byte {error.start}")]) from error


def accepted(document: Document) -> Document:
    """The document, if its values are such that a run can be described by them. Raises ConfigError."""
    for path, value in walk(document.data):
        if fault := unfit(path, value):
            place = document.place((*document.root, *path))
            raise ConfigError([Problem(place.where, path[:DEEPEST], fault, place.excerpt)])
    return document


def refuse_many(data: Mapping[str, Any], name: str) -> None:
    """Raise ConfigError for more values than a config has: to find the place of each would take seconds."""
    if next(itertools.islice(walk(data), MOST, None), None) is not None:
        raise ConfigError([Problem(name, (), f"has more than {MOST:,} values, which no config has")])


def walk(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
    """Every value with its path, tables and arrays before what is in them; not by recursion, as depth is not known."""
    waiting: list[tuple[KeyPath, Any]] = [((), data)]
    while waiting:
        path, value = waiting.pop()
        yield path, value
        items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        waiting += [((*path, key), item) for key, item in items]


def unfit(path: KeyPath, value: object) -> str:
    """Why a value cannot be one of a config; empty if it can."""
    if len(path) > DEEPEST:
        return "is nested too deeply"
    if isinstance(value, Mapping) and not all(isinstance(key, str) for key in value):
        return "has a key that is no text"
    if isinstance(value, int) and abs(value) >= 2**63:
        return "is a number of more than 64 bits"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no finite number"
    return ""
