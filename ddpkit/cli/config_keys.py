"""Keys that `--set` can set: those of the TOML format, and the parameters of the components of a config."""

from collections.abc import Iterator
from typing import Any, get_args

import attrs

from ddpkit.cli.schema import KINDS
from ddpkit.config import schema
from ddpkit.config.component_refs import ComponentRef, find_entry, references
from ddpkit.config.converter import find_shorthand, find_table, is_array, is_literal, is_union, plain_arms, table_fields
from ddpkit.config.loading import Config
from ddpkit.config.parameters import read_parameters
from ddpkit.errors import KeyPath, format_key_path
from ddpkit.plugins.registry import Registry, UnknownNameError

ONLY_IN_FILES = "extends"


@attrs.frozen
class ConfigKey:
    """Key that `--set` can set."""

    path: KeyPath
    type: Any
    help: str
    kind: str = ""
    """Kind of the component that the value names; empty for other keys."""

    def __str__(self) -> str:
        return format_key_path(self.path)


def schema_keys(table: type = schema.Run, path: KeyPath = ()) -> Iterator[ConfigKey]:
    """Yield the keys of the format, without synonyms and without tables that a bare name cannot replace."""
    for field in table_fields(table):
        inner, here = find_table(field.type), (*path, field.name)
        if {"rest", "synonym"} & field.metadata.keys() or here == (ONLY_IN_FILES,):
            continue
        if inner is None or is_array(field.type) or find_shorthand(field.type):
            yield ConfigKey(here, field.type, field.metadata["help"][0], component_kind(table, field.name, inner))
        if inner and not is_array(field.type):
            yield from schema_keys(inner, here)


def component_kind(table: type, name: str, inner: type | None) -> str:
    """Return the kind of the component that a key names: the name in a table, or a table that a bare name replaces."""
    kind, key, _ = KINDS.get(inner or table, ("", "", ""))
    return kind if inner or key == name else ""


def component_keys(config: Config | None, registry: Registry) -> Iterator[ConfigKey]:
    """Yield the parameters of the components of a config, as far as their source shows them."""
    for reference in references(config.run) if config else ():
        if not reference.is_key and all(isinstance(part, str) for part in reference.params_path):
            yield from parameter_keys(reference, registry)


def parameter_keys(reference: ComponentRef, registry: Registry) -> Iterator[ConfigKey]:
    try:
        entry = find_entry(reference, registry)
    except UnknownNameError:
        return
    if parameters := read_parameters(entry):
        for name in parameters.in_toml:
            yield ConfigKey((*reference.params_path, name), parameters.settable[name], f"parameter of {entry.qualified_name}")


def format_choices(kind: Any) -> list[str]:
    """Return the values of a type with few values, as `--set` reads them; empty for other types."""
    if kind is bool:
        return ["true", "false"]
    if is_literal(kind):
        return [str(choice) for choice in get_args(kind) if choice != ""]
    return [choice for arm in plain_arms(kind) for choice in format_choices(arm)] if is_union(kind) else []
