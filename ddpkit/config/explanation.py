"""Explanation of a config: every value with its origin, and the component that a name selects."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ddpkit.config import toml
from ddpkit.config.classes import OUTPUTS
from ddpkit.config.component_refs import ComponentRef, find_entry, references
from ddpkit.config.loading import Config
from ddpkit.config.parameters import read_parameters
from ddpkit.errors import KeyPath
from ddpkit.plugins import signatures
from ddpkit.plugins.manager import Plugins
from ddpkit.plugins.registry import UnknownNameError
from ddpkit.plugins.signatures import UNREAD

ALIASES: Mapping[KeyPath, KeyPath] = {("dataset", "root_dir"): ("dataset", "base_dir")}


@attrs.frozen
class Line:
    """Value of the config, one row of the output."""

    path: KeyPath
    value: Any
    origin: str
    """Location of the value: `file:line:col`, `--set 1`, `default`, or `data` if a run took it from its data."""
    component: str = ""
    """Component that a name selects, and its distribution. Empty for other values."""
    source: str = ""
    """Definition of the component: `file:line`."""


def explain_config(config: Config, plugins: Plugins) -> list[Line]:
    """Return all values in the order of the format.

    The defaults of a component follow the parameters that the config sets.
    """
    named = references(config.run)
    meanings = {reference.path: describe_reference(reference, plugins) for reference in named}
    lines = [
        Line(path, value, find_origin(config, path, value), *meanings.get(path, ()))
        for path, value in iterate_values(config.run, ())
    ]
    for reference in named:
        prefix = reference.params_path
        behind = max(
            number for number, line in enumerate(lines) if line.path[: len(prefix)] == prefix or line.path == reference.path
        )
        lines[behind + 1 : behind + 1] = list_defaults(reference, plugins)
    return lines


def iterate_values(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every value of the format's tables with its path. The parameters of a component are not expanded further."""
    if isinstance(value, list) and value and attrs.has(type(value[0])):
        for index, item in enumerate(value):
            yield from iterate_values(item, (*path, index))
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            item = getattr(value, field.name)
            if item or not field.metadata.get("synonym"):
                yield from iterate_values(item, path if field.metadata.get("rest") else (*path, field.name))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from iterate_values(item, (*path, name)) if attrs.has(type(item)) else [((*path, name), item)]
    else:
        yield path, value


def find_origin(config: Config, path: KeyPath, value: Any) -> str:
    """Return the location of a value in the config layer that set it; `data` or `default` if no layer did."""
    written = config.written(path) or config.written(ALIASES.get(path, path))
    origin = written and config.origin(written)
    if written and origin:
        return origin.place(written).where
    return "data" if path == OUTPUTS or (path == ("classes",) and value) else "default"


def describe_reference(reference: ComponentRef, plugins: Plugins) -> tuple[str, str]:
    """Return a description such as `builtin/resnet18 of ddpkit 0.1.0`, and the definition such as `.../models.py:17`."""
    try:
        entry = find_entry(reference, plugins.registry)
    except UnknownNameError as error:
        return str(error), ""
    return f"{entry.qualified_name} of {entry.distribution}", signatures.find_definition(entry.component.target)


def list_defaults(reference: ComponentRef, plugins: Plugins) -> list[Line]:
    """Return the parameters that the config leaves at their defaults, if the component's source shows them."""
    try:
        entry = find_entry(reference, plugins.registry)
    except UnknownNameError:
        return []
    parameters = read_parameters(entry)
    if parameters is None:
        return []
    left = {*parameters.in_order, *parameters.aliases.values()} - reference.named_params(parameters).keys()
    defaults = {name: default for name, default in parameters.signature.defaults.items() if name in left}
    origin = f"default of {entry.qualified_name}"
    return [Line((*reference.params_path, name), default, origin) for name, default in defaults.items()]


def format_toml_value(value: Any) -> str:
    """Return a value in TOML syntax.

    Returns `-` if it is absent, `?` for a default that the source does not show, and Python syntax for a value that TOML lacks.
    """
    if value is UNREAD or value is None:
        return "?" if value is UNREAD else "-"
    try:
        return toml.format_inline(value)
    except TypeError:  # a default such as [None]
        return repr(value)
