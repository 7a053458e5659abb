"""Command `ddpkit schema`: print the config format as JSON Schema."""

import argparse
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import attrs

from ddpkit.cli import options
from ddpkit.config import schema
from ddpkit.config.converter import (
    find_named_table,
    find_shorthand,
    is_array,
    is_literal,
    is_mapping,
    is_union,
    plain_arms,
    table_keys,
)
from ddpkit.config.parameters import NONE, accepts_none, read_parameters
from ddpkit.errors import ExitCode
from ddpkit.plugins import manager
from ddpkit.plugins.hookspecs import HOOKS
from ddpkit.plugins.manager import Plugins
from ddpkit.plugins.registry import Entry
from ddpkit.terminal import write

DRAFT = "http://json-schema.org/draft-04/schema#"
Json = dict[str, Any]
NAMES: Mapping[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
KINDS: Mapping[type, tuple[str, str, Literal["config", "rest"]]] = {
    schema.Metric: ("metric", "type", "config"),
    schema.Postprocess: ("postprocess", "type", "config"),
    schema.Model: ("model", "name", "config"),
    schema.Criterion: ("criterion", "type", "config"),
    schema.Dataset: ("dataset", "name", "config"),
    schema.Split: ("split", "type", "rest"),
    schema.Optimizer: ("optimizer", "type", "rest"),
    schema.OptimizerPart: ("optimizer", "type", "rest"),
    schema.Helper: ("model", "name", "config"),
    schema.LrScheduler: ("lr_scheduler", "type", "rest"),
    schema.Step: ("step", "type", "rest"),
    schema.PredictConfig: ("writer", "output_format", "rest"),
}
"""Tables that name a component: its kind, the key of its name, and the place of its own keys."""


@attrs.frozen
class Named:
    """Component, or components of a family with the same parameters, with the names that a config may use."""

    names: tuple[str, ...]
    entry: Entry

    @property
    def doc(self) -> str:
        """Description for the names: that of the component, or none for a family."""
        return self.entry.component.doc if self.entry.component.name in self.names else ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print the schema, with the components of the installed plugins, as in `ddpkit schema > ddpkit.schema.json`."""
    found = manager.load(options.policy_from_options(arguments))
    write(json.dumps(json_schema(found), indent=2, ensure_ascii=False) + "\n")
    return ExitCode.DONE


def json_schema(plugins: Plugins) -> Json:
    """Return the schema of the complete format."""
    found = [Named((entry.component.name, entry.qualified_name), entry) for entry in plugins.registry]
    found += [named for kind in HOOKS for named in group_family(plugins.registry.family_entries(kind))]
    entries = {kind: [named for named in found if named.entry.kind == kind] for kind in HOOKS}
    top = table_schema(schema.Run, entries)
    transforms = {name: transform_schema(named.entry) for named in entries["transform"] for name in named.names}
    top["properties"]["transform"] |= {"properties": transforms, "additionalProperties": False}
    return {"$schema": DRAFT, "title": "ddpkit", **top}


def group_family(entries: Iterable[Entry]) -> list[Named]:
    """Return the components of families, those with one target and the same settable parameters together."""
    groups: dict[Any, list[Entry]] = {}
    for entry in entries:
        component = entry.component
        groups.setdefault((entry.namespace, component.target, *component.bound, *component.arguments.items()), []).append(entry)
    return [Named(tuple(entry.qualified_name for entry in group), group[0]) for group in groups.values()]


def type_schema(kind: Any, entries: Mapping[str, list[Named]]) -> Json:
    """Return the schema of a type of the format, or of a parameter."""
    if attrs.has(kind):
        return table_schema(kind, entries)
    if is_literal(kind):
        return {"enum": list(get_args(kind))}
    if is_union(kind):
        arms = [type_schema(arm, entries) for arm in plain_arms(kind)]
        return arms[0] if len(arms) == 1 else {"anyOf": arms}
    if is_array(kind):
        items = [item for item in get_args(kind) if item is not Ellipsis]
        array: Json = {"type": "array"} | ({"items": type_schema(items[0], entries)} if len(items) == 1 else {})
        return {"anyOf": [array["items"]["anyOf"][0], array]} if find_shorthand(kind) else array
    if named := find_named_table(kind):
        return {"type": "object", "additionalProperties": table_schema(named, entries)}
    name = "object" if is_mapping(kind) else NAMES.get(kind)  # no type for Any, and for types that the source does not show
    return {"type": name} if name else {}


def table_schema(kind: type, entries: Mapping[str, list[Named]]) -> Json:
    """Return the schema of an attrs class; a table that names a component has a branch for each component."""
    fields = [field for field in attrs.fields(kind) if not field.metadata.get("rest")]
    required = [field.name for field in fields if field.default is attrs.NOTHING]
    plain: Json = {
        "type": "object",
        "description": (kind.__doc__ or "").partition("\n")[0],
        "properties": {field.name: key_schema(field, entries) for field in fields},
        "additionalProperties": len(fields) < len(attrs.fields(kind)),
        **({"required": required} if required else {}),
    }
    if kind in KINDS:
        component, name, where = KINDS[kind]
        found = entries.get(component, [])
        plain["properties"][name] |= {"enum": sorted({each for named in found for each in named.names})}
        core = config_keys(kind) if where == "config" else [field.name for field in fields]
        plain["anyOf"] = [component_schema(named, name, where, core) for named in found]
    shorthand = [field for field in fields if field.metadata.get("shorthand")]
    return {"anyOf": [plain["properties"][shorthand[0].name], plain]} if shorthand else plain


def config_keys(kind: Any) -> list[str]:
    """Return the keys in the table `config` that belong to the core: those of `[model.config]`; [] for other tables."""
    config = attrs.fields(kind).config.type
    return table_keys(config) if attrs.has(config) else []


def key_schema(field: "attrs.Attribute[Any]", entries: Mapping[str, list[Named]]) -> Json:
    english, chinese = field.metadata["help"]
    default = field.default
    plain_default = {"default": default} if isinstance(default, bool | int | float | str) else {}
    limits = getattr(field.validator, "json_schema", {})
    return {"description": f"{english}\n{chinese}", **type_schema(field.type, entries), **plain_default, **limits}


def component_schema(component: Named, name: str, where: Literal["config", "rest"], core: Iterable[str]) -> Json:
    """Return the schema of a table that names this component."""
    entry = component.entry
    named: Json = {name: {"enum": sorted(component.names), "description": component.doc}}
    if where == "config":
        core_keys = {*core, "arch"} if entry.kind == "model" else ()
        return {"properties": named | {"config": parameter_schema(entry, core_keys)}, "required": [name]}
    return parameter_schema(entry, set(core) - {name}, named)


def parameter_schema(entry: Entry, core: Iterable[str], named: Json | None = None) -> Json:
    """Return the schema of a component's own keys, in addition to those of the core."""
    parameters = read_parameters(entry)
    if parameters is None:
        return {"type": "object", "properties": named or {}}
    properties: Json = {each: {} for each in core} | (named or {})
    properties |= {each: value_schema(kind) for each, kind in parameters.settable.items()}
    fixed: Json = {each: {"not": {}} for each in parameters.component.bound if each not in core}
    return {"type": "object", "properties": properties | fixed, "additionalProperties": parameters.signature.takes_any}


def transform_schema(entry: Entry) -> Json:
    """Return the schema of a transform: parameters in a list, in a table, or as a single value."""
    parameters = read_parameters(entry)
    if parameters is None:
        return {"description": entry.component.doc}
    items = [value_schema(parameters.settable[name]) for name in parameters.in_order]
    in_order: Json = {"type": "array", "maxItems": len(items)} | ({"items": items} if items else {})
    alone = [item for item in items[:1] if item.get("type") not in ("array", "object")]
    return {"description": entry.component.doc, "anyOf": [in_order, parameter_schema(entry, ()), *alone]}


def value_schema(kind: Any) -> Json:
    """Return the schema of a parameter; `"none"` stands for None."""
    found = type_schema(kind, {})
    if not accepts_none(kind):
        return found
    return {"anyOf": [*(found.get("anyOf") or [found] * bool(plain_arms(kind))), {"enum": [NONE]}]}
