"""Parser of TOML texts that records the position of every key and value.

`tomli` parses a text but keeps no positions. A text that it accepts is scanned a second time, only for positions. The
scanner therefore needs no error handling and checks no value.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli

from ddpkit.config import document
from ddpkit.config.document import Document, Span
from ddpkit.errors import ConfigError, Diagnostic, KeyPath

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
BLANK = re.compile(r"[ \t]*")
FILLER = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
SCALAR = re.compile(r"[^,\]}\n#]+")
STRING = re.compile(
    r'"""(?:[^"\\]|\\[\s\S]|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
)
DOTTED = re.compile(rf"""(?:\.[ \t]*+(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+){{{document.DEEPEST}}}""")
"""Pattern of a dotted key with more parts than allowed."""


def read(file: Path) -> Document:
    """Read a TOML file. Raises ConfigError if it cannot be read or is not valid TOML."""
    return parse(document.read_text(file), str(file))


def parse(text: str, name: str) -> Document:
    """Parse a TOML text, called `name` in messages. Raises ConfigError."""
    text = text.replace("\r\n", "\n")
    if dotted_key := DOTTED.search(text):  # before tomli: its run time is quadratic in the depth
        raise toml_error(text, name, dotted_key.start(), f"a key must have at most {document.DEEPEST} parts")
    try:
        data = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise toml_error(text, name, error.pos, f"is not valid TOML: {error.msg}") from error
    except RecursionError as error:
        raise ConfigError([Diagnostic(name, (), f"is nested too deeply; the limit is {document.DEEPEST} levels")]) from error
    except ValueError as error:
        raise ConfigError([Diagnostic(name, (), f"contains a value that cannot be read: {error}")]) from error
    document.check_size(data, name)
    return document.check_limits(Document(name, text, data, Scanner(text).spans))


def toml_error(text: str, name: str, offset: int, message: str) -> ConfigError:
    place = document.locate(text, name, offset)
    return ConfigError([Diagnostic(place.where, (), message, place.excerpt)])


def format_inline(value: Any) -> str:
    """Return a value as TOML on one line. Raises TypeError for a type that TOML does not have."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{format_key((key,))} = {format_inline(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(format_inline, value)) + "]"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"a value of type {type(value).__name__} cannot be written as TOML: {value!r}")


def format_key(path: KeyPath) -> str:
    """Return a key path as a TOML key, such as `transform."aug/CUTOUT"`."""
    return ".".join(str(key) if BARE_KEY.fullmatch(str(key)) else json.dumps(key) for key in path)


class Scanner:
    """Scanner that finds the span of every key and value in a valid TOML text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spans: dict[KeyPath, Span] = {}
        self._last_index: dict[KeyPath, int] = {}  # array of tables -> index of its last element
        self._scan()

    def _scan(self) -> None:
        table: KeyPath = ()
        at = self._skip(FILLER, 0)
        while at < len(self.text):
            if self.text[at] == "[":
                table, at = self._header(at)
            else:
                at = self._pair(at, table)
            at = self._skip(FILLER, at)

    def _skip(self, pattern: re.Pattern[str], at: int) -> int:
        found = pattern.match(self.text, at)
        return found.end() if found else at

    def _header(self, at: int) -> tuple[KeyPath, int]:
        """Scan `[a.b]` or `[[a.b]]`; return the path of the table, and the offset behind the header."""
        is_array = self.text.startswith("[[", at)
        brackets = "]]" if is_array else "]"
        keys, at = self._keys(at + len(brackets))
        path: KeyPath = ()
        for number, (key, offset) in enumerate(keys):
            path = (*path, key)
            self.spans.setdefault(path, Span(offset, offset))
            if is_array and number == len(keys) - 1:
                self._last_index[path] = self._last_index.get(path, -1) + 1
            if path in self._last_index:
                path = (*path, self._last_index[path])
                self.spans.setdefault(path, Span(offset, offset))
        return path, at + len(brackets)

    def _keys(self, at: int) -> tuple[list[tuple[str, int]], int]:
        """Scan a dotted key; return its parts with their offsets, and the offset behind the key."""
        keys = []
        while True:
            start = self._skip(BLANK, at)
            quoted = self.text[start] in "\"'"
            end = self._skip(STRING if quoted else BARE_KEY, start)
            raw = self.text[start:end]
            keys.append((next(iter(tomli.loads(raw + "=0"))) if quoted else raw, start))
            at = self._skip(BLANK, end)
            if self.text[at] != ".":
                return keys, at
            at += 1

    def _pair(self, at: int, table: KeyPath) -> int:
        """Scan `key = value`; return the offset behind the value."""
        keys, at = self._keys(at)
        path = table
        for key, offset in keys:
            path = (*path, key)
            self.spans.setdefault(path, Span(offset, offset))
        return self._value(self._skip(BLANK, at + 1), path, keys[-1][1])

    def _value(self, at: int, path: KeyPath, key: int) -> int:
        self.spans[path] = Span(key, at)
        if self.text[at] == "[":
            return self._items(at, path, "]")
        if self.text[at] == "{":
            return self._items(at, path, "}")
        return self._skip(STRING if self.text[at] in "\"'" else SCALAR, at)

    def _items(self, at: int, path: KeyPath, closing: str) -> int:
        """Scan the items of an array or an inline table; return the offset behind it."""
        at, index = self._skip(FILLER, at + 1), 0
        while self.text[at] != closing:
            at = self._pair(at, path) if closing == "}" else self._value(at, (*path, index), at)
            at, index = self._skip(FILLER, at), index + 1
            if self.text[at] == ",":
                at = self._skip(FILLER, at + 1)
        return at + 1
