"""Heads: the entries of mappings of outputs and targets that criteria and metrics select (`on`)."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
from torch import Tensor

from ddpkit.errors import ConfigError, Diagnostic, list_first, suggest

SHOWN = 5
"""Maximum number of entries of a mapping in a message."""


@attrs.frozen
class Head:
    """Entry of a mapping of outputs and of a mapping of targets."""

    name: str
    problem: Callable[[str], Diagnostic]
    """Function that returns a message as a mistake in the key `on`."""

    def select(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        """Return this entry of the outputs and of the targets; one of them that is not a mapping is returned unchanged.

        Raises ConfigError if neither is a mapping, or if the entry is missing.
        """
        if not isinstance(outputs, Mapping) and not isinstance(targets, Mapping):
            message = "neither the outputs of the model nor the targets are a mapping, so there is no entry to select"
            raise ConfigError([self.problem(f"{message}; remove this key")])
        return self.entry(outputs, "outputs of the model"), self.entry(targets, "targets")

    def entry(self, value: Any, what: str = "outputs of the model") -> Any:
        """Return this entry of a mapping; any other value unchanged. Raises ConfigError if the entry is missing."""
        if not isinstance(value, Mapping):
            return value
        if self.name not in value:
            message = f"the {what} have no entry {self.name!r}, {suggest(self.name, map(str, value))}"
            raise ConfigError([self.problem(message)])
        return value[self.name]


@attrs.frozen
class HeadCriterion:
    """Criterion of one head."""

    head: Head
    criterion: Callable[[Any, Any], Tensor]

    def __call__(self, outputs: Any, targets: Any) -> Tensor:
        """Return the loss of this head."""
        return self.criterion(*self.head.select(outputs, targets))


@attrs.frozen
class HeadWeight:
    """Weight of the targets of one head, see `LossTerm.weigh`."""

    head: Head
    weigh: Callable[[Any], Tensor]

    def __call__(self, targets: Any) -> Tensor:
        """Return the weight of this head's targets."""
        return self.weigh(self.head.entry(targets, "targets"))


@attrs.frozen
class HeadPostprocess:
    """Postprocess of a model with several heads: it converts each head that a metric needs, once."""

    postprocess: Callable[[Any], Any]
    heads: Mapping[str, Head | None]
    """Heads whose predictions the metrics need, by name; `""` and None: all outputs together."""

    def __call__(self, outputs: Any) -> dict[str, Any]:
        """Return the predictions of each head, by its name."""
        return {name: self.postprocess(head.entry(outputs) if head else outputs) for name, head in self.heads.items()}


@contextlib.contextmanager
def explain_mappings(*values: Any) -> Iterator[None]:
    """Raise ValueError in place of the error of a component that cannot use a mapping among its arguments, `values`."""
    try:
        yield
    except (TypeError, AttributeError, ValueError) as error:
        given = next((each for each in values if isinstance(each, Mapping) and type(each).__name__ in str(error)), None)
        if given is None:
            raise
        names = list(map(str, given))
        remedy = f'select one of them for each criterion and metric, such as on = "{names[0]}"'
        raise ValueError(f"it got a mapping with the entries {list_first(names, SHOWN)}; {remedy} ({error})") from error
