"""What a value may be beyond its type: validators that can be read by the documentation and the JSON Schema too."""

import logging
import math
import re
from typing import Any

import attrs


@attrs.frozen
class Range:
    """A number between two bounds; what is no number (`"auto"`, None) is left to its type."""

    low: float | None = None
    high: float | None = None
    above: bool = False
    """`low` itself is out."""

    def __call__(self, _owner: object, _field: "attrs.Attribute[Any]", value: object) -> None:
        """Raises ValueError."""
        if isinstance(value, int | float) and not self.holds(value):
            raise ValueError(f"must be {self.words}, not {value!r}")

    def holds(self, value: float) -> bool:
        """Whether a number is inside."""
        low, high = (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)
        return (low < value if self.above else low <= value) and value <= high

    @property
    def words(self) -> str:
        """`at least 1`."""
        if self.high is not None:
            return f"{'above' if self.above else 'from'} {self.low:g} {'up ' * self.above}to {self.high:g}"
        return f"{'above' if self.above else 'at least'} {self.low:g}"

    @property
    def json_schema(self) -> dict[str, Any]:
        """In JSON Schema, draft 4."""
        bounds = {"minimum": self.low, "maximum": self.high}
        schema: dict[str, Any] = {name: bound for name, bound in bounds.items() if bound is not None}
        return schema | ({"exclusiveMinimum": True} if self.above else {})


@attrs.frozen
class Pattern:
    """A text that a regular expression describes whole."""

    pattern: str
    words: str
    """What it describes, for people."""

    def __call__(self, _owner: object, _field: "attrs.Attribute[Any]", value: str) -> None:
        """Raises ValueError."""
        if not re.fullmatch(self.pattern, value):
            raise ValueError(f"must be {self.words}, not {value!r}")

    @property
    def json_schema(self) -> dict[str, Any]:
        """In JSON Schema."""
        return {"pattern": f"^(?:{self.pattern})$"}


@attrs.frozen
class LogFormat:
    """A format of the logging module."""

    words: str = "a %-format of Python's logging"
    json_schema: dict[str, Any] = attrs.field(factory=dict)

    def __call__(self, _owner: object, _field: "attrs.Attribute[Any]", value: str) -> None:
        """Raises ValueError."""
        try:
            logging.Formatter(value)
        except ValueError as error:
            raise ValueError(f"must be {self.words}: {error}") from error
