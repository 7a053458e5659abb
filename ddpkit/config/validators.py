"""Validators of config values; the documentation and the JSON Schema are generated from them too."""

import logging
import math
import re
from typing import Any

import attrs


@attrs.frozen
class Range:
    """Range of a number. Other values (`"auto"`, None) are accepted: their type is checked elsewhere."""

    low: float | None = None
    high: float | None = None
    above: bool = False
    """Whether `low` itself is excluded."""

    def __call__(self, _owner: object, _field: "attrs.Attribute[Any]", value: object) -> None:
        """Raise ValueError if a number is outside the range."""
        if isinstance(value, int | float) and not self.holds(value):
            raise ValueError(f"must be {self.words}; got {value!r}")

    def holds(self, value: float) -> bool:
        """Return whether a number is inside the range."""
        low, high = (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)
        return (low < value if self.above else low <= value) and value <= high

    @property
    def words(self) -> str:
        """Description for messages, as in `at least 1`."""
        if self.high is not None:
            return f"{'greater than' if self.above else 'between'} {self.low:g} and {'at most ' * self.above}{self.high:g}"
        return f"{'greater than' if self.above else 'at least'} {self.low:g}"

    @property
    def json_schema(self) -> dict[str, Any]:
        """Keywords of JSON Schema (draft 4) for this range."""
        bounds = {"minimum": self.low, "maximum": self.high}
        schema: dict[str, Any] = {name: bound for name, bound in bounds.items() if bound is not None}
        return schema | ({"exclusiveMinimum": True} if self.above else {})


@attrs.frozen
class Pattern:
    """Regular expression that must match the whole text."""

    pattern: str
    words: str
    """Description of the allowed text, for messages."""

    def __call__(self, _owner: object, _field: "attrs.Attribute[Any]", value: str) -> None:
        """Raise ValueError if the text does not match."""
        if not self.matches(value):
            raise ValueError(f"must be {self.words}; got {value!r}")

    def matches(self, value: str) -> bool:
        """Return whether the pattern matches the whole text."""
        return re.fullmatch(self.pattern, value) is not None

    @property
    def json_schema(self) -> dict[str, Any]:
        """Keywords of JSON Schema for this pattern."""
        return {"pattern": f"^(?:{self.pattern})$"}


@attrs.frozen
class LogFormat:
    """Validator of a format string of Python's logging module."""

    words: str = "a %-style format string of Python's logging module"
    json_schema: dict[str, Any] = attrs.field(factory=dict)

    def __call__(self, _owner: object, _field: "attrs.Attribute[Any]", value: str) -> None:
        """Raise ValueError if logging does not accept the format."""
        try:
            logging.Formatter(value)
        except ValueError as error:
            raise ValueError(f"must be {self.words}: {error}") from error
