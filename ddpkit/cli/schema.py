"""`ddpkit schema`."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import attrs

from ddpkit.cli import options
from ddpkit.config import schema
from ddpkit.config.component_refs import NEVER_IN_TOML
from ddpkit.config.converter import is_array, is_literal, is_mapping, is_union, plain_arms
from ddpkit.errors import ExitCode
from ddpkit.plugins import manager, signatures
from ddpkit.plugins.hookspecs import RUNTIME_VALUES
from ddpkit.plugins.manager import Plugins
from ddpkit.plugins.registry import Entry

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
    schema.LrScheduler: ("lr_scheduler", "type", "rest"),
    schema.PredictConfig: ("writer", "output_format", "rest"),
}
"""Tables that name a component: its kind, the key of the name, and where its own keys stand."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The schema goes to stdout, as in `ddpkit schema > ddpkit.schema.json`."""
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print the schema with what the installed plugins add."""
    found = manager.load(options.policy(arguments))
    sys.stdout.write(json.dumps(json_schema(found), indent=2, ensure_ascii=False) + "\n")
    return ExitCode.DONE


def json_schema(plugins: Plugins) -> Json:
    """The whole format."""
    entries: dict[str, list[Entry]] = {}
    for entry in plugins.registry:
        entries.setdefault(entry.kind, []).append(entry)
    top = table(schema.Run, entries)
    transforms = {name: transform(entry) for entry in entries.get("transform", []) for name in names_of([entry])}
    top["properties"]["transform"] |= {"properties": transforms, "additionalProperties": False}
    return {"$schema": DRAFT, "title": "ddpkit", **top}


def of_type(kind: Any, entries: Mapping[str, list[Entry]]) -> Json:
    """A type of the format, or of a parameter."""
    if attrs.has(kind):
        return table(kind, entries)
    if is_literal(kind):
        return {"enum": list(get_args(kind))}
    if is_union(kind):
        arms = [of_type(arm, entries) for arm in plain_arms(kind)]
        return arms[0] if len(arms) == 1 else {"anyOf": arms}
    if is_array(kind):
        items = [item for item in get_args(kind) if item is not Ellipsis]
        return {"type": "array"} | ({"items": of_type(items[0], entries)} if len(items) == 1 else {})
    name = "object" if is_mapping(kind) else NAMES.get(kind)  # nothing for Any, and for what source does not tell
    return {"type": name} if name else {}


def table(kind: type, entries: Mapping[str, list[Entry]]) -> Json:
    """An attrs class; one that names a component has a branch for each of them."""
    fields = [field for field in attrs.fields(kind) if not field.metadata.get("rest")]
    required = [field.name for field in fields if field.default is attrs.NOTHING]
    plain: Json = {
        "type": "object",
        "description": (kind.__doc__ or "").partition("\n")[0],
        "properties": {field.name: key(field, entries) for field in fields},
        "additionalProperties": len(fields) < len(attrs.fields(kind)),
        **({"required": required} if required else {}),
    }
    if kind in KINDS:
        component, name, where = KINDS[kind]
        found = entries.get(component, [])
        plain["properties"][name] |= {"enum": names_of(found)}
        plain["anyOf"] = [branch(entry, name, where, [field.name for field in fields]) for entry in found]
    shorthand = [field for field in fields if field.metadata.get("shorthand")]
    return {"anyOf": [plain["properties"][shorthand[0].name], plain]} if shorthand else plain


def key(field: "attrs.Attribute[Any]", entries: Mapping[str, list[Entry]]) -> Json:
    """A key with its help, default and limits."""
    english, chinese = field.metadata["help"]
    default = field.default
    plain_default = {"default": default} if isinstance(default, bool | int | float | str) else {}
    limits = getattr(field.validator, "json_schema", {})
    return {"description": f"{english}\n{chinese}", **of_type(field.type, entries), **plain_default, **limits}


def branch(entry: Entry, name: str, where: Literal["config", "rest"], core: Iterable[str]) -> Json:
    """What a table may hold when it names this component."""
    named: Json = {name: {"enum": names_of([entry]), "description": entry.component.doc}}
    if where == "config":
        core_keys = {"input_sizes", "dtypes", "arch"} if entry.kind == "model" else ()
        return {"properties": named | {"config": parameters(entry, core_keys)}, "required": [name]}
    return parameters(entry, set(core) - {name}, named)


def parameters(entry: Entry, core: Iterable[str], named: Json | None = None) -> Json:
    """A component's own keys beside those of the core."""
    taken = open_parameters(entry)
    if taken is None:
        return {"type": "object", "properties": named or {}}
    properties: Json = {each: {} for each in core} | (named or {}) | {each: of_type(kind, {}) for each, kind in taken.items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def transform(entry: Entry) -> Json:
    """Parameters in order, by name, or a single one by itself."""
    taken = open_parameters(entry)
    if taken is None:
        return {"description": entry.component.doc}
    items: list[Json] = [of_type(kind, {}) for kind in taken.values()]
    in_order: Json = {"type": "array", "maxItems": len(items)} | ({"items": items} if items else {})
    alone = [item for item in items[:1] if item.get("type") not in ("array", "object")]
    return {"description": entry.component.doc, "anyOf": [in_order, parameters(entry, ()), *alone]}


def open_parameters(entry: Entry) -> Mapping[str, Any] | None:
    """What the TOML may give a component; None where source does not tell, or it takes anything."""
    signature = signatures.from_source(entry.component.target)
    if signature is None or signature.takes_any:
        return None
    hidden = NEVER_IN_TOML | (RUNTIME_VALUES[entry.kind] if entry.kind == "transform" else frozenset())
    return {name: kind for name, kind in signature.parameters.items() if name not in hidden}


def names_of(entries: Iterable[Entry]) -> list[str]:
    """What may be written for these components: bare and qualified names."""
    return sorted({name for entry in entries for name in (entry.component.name, entry.qualified_name)})
