"""Classes of a run: their names, and their number compared with the outputs of the model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from ddpkit.config import schema
from ddpkit.config.converter import Issue
from ddpkit.config.loading import Config
from ddpkit.errors import KeyPath
from ddpkit.plugins.component import Gives

OUTPUTS: KeyPath = ("model", "config", "n_classes")
BACKGROUND = "background"
"""Name that the first class may have; boxes have no such class."""


def n_classes(run: schema.Run) -> int | None:
    """Return the number of class names or `model.config.n_classes`, whichever is larger; None if both are missing."""
    return max(len(run.classes), configured_outputs(run) or 0) or None


def configured_outputs(run: schema.Run) -> int | None:
    """Return `model.config.n_classes`; None if it is missing."""
    given = run.model.config.params.get("n_classes")
    return given if type(given) is int else None


def class_names(run: schema.Run) -> list[str]:
    """Return the class names; missing ones are numbered. Empty if the config names no class."""
    return number_missing(run.classes, n_classes(run) or 0) if run.classes else []


def number_missing(names: Sequence[str], n: int) -> list[str]:
    """Return the names, followed by numbered ones if there are fewer than `n`. All names are different."""
    numbers = range(len(names), n)
    form = "class_{}" if not {*names} & {f"class_{number}" for number in numbers} else "output_{}"
    return [*names, *(form.format(number) for number in numbers)]


def foreground_names(classes: Sequence[str], gives: Gives | None, n_outputs: int | None) -> list[str]:
    """Return the class names without the background, which is not a class of boxes unless it has an output of its own."""
    has_background = gives == "boxes" and classes[:1] == [BACKGROUND] and len(classes) != n_outputs
    return list(classes[1:] if has_background else classes)


def covers(n_outputs: int, n_classes: int) -> bool:
    """Return whether the outputs can distinguish the classes; one logit distinguishes two."""
    return n_outputs >= n_classes or (n_outputs, n_classes) == (1, 2)


def output_issues(run: schema.Run) -> Iterator[Issue]:
    """Check that the model has an output for each name in `classes`. The background counts only if it is a class of masks."""
    n_outputs, n_named = configured_outputs(run), len(run.classes)
    n_required = n_named - (run.classes[:1] == [BACKGROUND])  # the data shows later whether there are masks
    if n_outputs and n_outputs > 0 and not covers(n_outputs, n_required) and not covers(n_outputs, n_named):
        yield Issue(OUTPUTS, f"the model has {n_outputs} outputs, but 'classes' has {n_named} names; set n_classes = {n_named}")


def name_warnings(run: schema.Run) -> Iterator[Issue]:
    """Warn about outputs without a name."""
    n_outputs, n_named = configured_outputs(run), len(run.classes)
    if n_named and n_outputs and n_outputs > n_named:
        message = f"the number of class names is {n_named}, but the model has {n_outputs} outputs"
        yield Issue(("classes",), f"{message}; outputs without a name are numbered", at_key=True)


def with_recorded_classes(config: Config, recorded: Mapping[str, Any]) -> Config:
    """Return the config with the class names and the `n_classes` of a run's config that the config does not set."""
    model, theirs = config.run.model, recorded.get("model", {})
    n_outputs = theirs.get("config", {}).get("n_classes") if theirs.get("name") == model.name else None
    params = {} if n_outputs is None else {"n_classes": n_outputs}
    model = attrs.evolve(model, config=attrs.evolve(model.config, params=params | model.config.params))
    names = config.run.classes
    return config.with_run(model=model, classes=[*names, *recorded.get("classes", [])[len(names) :]])
