"""Strict conversion of plain data to typed values; it reports all problems at once.

Nothing is coerced: `"false"` is not a bool, 3.7 is not an int, a string is not a list. Only an int is accepted as a float.
Tables, arrays and unions are structured here, so that each problem has the path of its own key; cattrs structures all other
values. Validators run on the result, so that each failure has the path of its own field.
"""

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
import cattrs

from ddpkit.errors import LONGEST, KeyPath, closest, format_key_path, suggest

T = TypeVar("T")
MISSING = "is missing"
SCALARS = (int, float, bool, str)
NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "a string", dict: "a table", list: "an array"}
PLURALS = {int: "integers", float: "numbers", bool: "true or false", str: "strings"}


@attrs.frozen
class Issue:
    """Problem in plain data. The caller knows which file the data came from."""

    path: KeyPath
    message: str
    at_key: bool = False
    """Whether the key is wrong, not its value."""
    suggestion: str = ""
    """Key that was probably meant, if the key is unknown."""
    used_as: KeyPath = ()
    """Path for which the value was used nevertheless, so that all mistakes in it are found; empty if it was not used."""
    caused_by_plugin: bool = False
    """Whether a plugin that cannot be used is the cause; the config may be right."""


Structured = tuple[Any, list[Issue]]
"""Value, and the issues in its data. The value is `attrs.NOTHING` if all of the data is wrong."""


class NestedError(TypeError):
    """Error for issues inside a type that cattrs structures itself; its argument is the list of issues."""


def structure(data: object, kind: type[T], path: KeyPath = ()) -> tuple[T | None, list[Issue]]:
    """Return `data` as a `kind` and an empty list, or None and all issues, with paths below `path`."""
    with attrs.validators.disabled():
        value, issues = structure_value(data, kind, path)
    issues = issues or list(run_validators(value, path))
    return (None if issues else value), issues


def structure_partial(data: Mapping[str, Any], kind: type[T]) -> tuple[T, list[Issue]]:
    """Return `data` as a `kind`, and all issues.

    Wrong values are left out or, if they are required, replaced by placeholders, so that the rest can be checked too. The value
    of a misspelt key is used for the key that was probably meant, and has the path of that key.
    """
    with attrs.validators.disabled():
        value, issues = structure_value(data, kind, (), required=True)
    issues += [issue for issue in run_validators(value, ()) if not is_covered(issue.path, issues)]
    return value, [issue for issue in issues if issue.message != MISSING or not is_covered(issue.path, set(issues) - {issue})]


def is_covered(path: KeyPath, issues: Iterable[Issue]) -> bool:
    """Return whether an issue is at or above a path, or suggests it as the correct spelling of a key.

    Issues whose value was used nevertheless do not count.
    """
    issues = [issue for issue in issues if not issue.used_as]
    wrong = {issue.path for issue in issues} | suggested_paths(issues)
    return any(path[:length] in wrong for length in range(len(path) + 1))


def suggested_paths(issues: Iterable[Issue]) -> set[KeyPath]:
    """Return the paths that were probably meant by misspelt keys, and have no value."""
    return {(*issue.path[:-1], issue.suggestion) for issue in issues if issue.suggestion and not issue.used_as}


def written_path(path: KeyPath, issues: Iterable[Issue]) -> KeyPath:
    """Return the path in the data of a value that was used for `path`, see `Issue.used_as`; other paths are unchanged."""
    written = {issue.used_as: issue.path for issue in issues if issue.used_as}
    for length in range(len(path), 0, -1):  # from the innermost table outwards, as the paths of issues have correct tables
        path = (*written.get(path[:length], path[:length]), *path[length:])
    return path


def run_validators(value: object, path: KeyPath) -> Iterator[Issue]:
    """Run the validators of all fields; yield their errors at the paths of the fields."""
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from run_validators(item, (*path, index))
    elif attrs.has(kind := type(value)):
        for field in attrs.fields(kind):
            item = getattr(value, field.name)
            if field.validator is not None:
                try:
                    field.validator(value, field, item)
                except ValueError as error:
                    yield Issue((*path, field.name), str(error.args[0]))
            yield from run_validators(item, (*path, field.name))


# --- structuring: each function takes plain data, its type and its path; it raises TypeError if all of the data is wrong ---


def structure_value(value: object, kind: Any, path: KeyPath, *, required: bool = False) -> Structured:
    """Structure data of any type; a placeholder replaces wrong data if a value is required."""
    if value is attrs.NOTHING:
        issues = [Issue(path, MISSING, at_key=True)]
    else:
        try:
            return find_function(kind)(value, kind, path)
        except Exception as error:  # noqa: BLE001 - the types of plugins may raise anything
            issues = list(error_issues(error, path))
    return (structure_value(placeholder(kind), kind, path)[0] if required else attrs.NOTHING), issues


def error_issues(error: Exception, path: KeyPath) -> Iterator[Issue]:
    """Yield the issues of an error. For types that cattrs structures itself, such as a dataclass, it raises groups of errors."""
    if isinstance(error, NestedError):
        yield from (attrs.evolve(issue, path=(*path, *issue.path)) for issue in error.args[0])
    elif isinstance(error, cattrs.ClassValidationError | cattrs.IterableValidationError):
        located, others = error.group_exceptions()
        for inner, note in located:
            key: Any = note.name if isinstance(note, cattrs.AttributeValidationNote) else note.index
            yield from error_issues(inner, (*path, key))
        for inner in others:
            yield from error_issues(inner, path)
    else:
        yield Issue(path, MISSING, at_key=True) if isinstance(error, KeyError) else Issue(path, str(error))


def join_parts(parts: Mapping[Any, Structured]) -> tuple[dict[Any, Any], list[Issue]]:
    """Return the usable values in the parts of a table or an array, and the issues of all parts."""
    values = {key: value for key, (value, _) in parts.items() if value is not attrs.NOTHING}
    return values, [issue for _, issues in parts.values() for issue in issues]


def structure_array(value: object, kind: Any, path: KeyPath) -> Structured:
    """Structure a list, a tuple or an abstract sequence; the data must be a TOML array, or the name of a component."""
    kinds = get_args(kind)
    if isinstance(value, str) and find_shorthand(kind):
        value = [value]
    fixed_length = get_origin(kind) is tuple and kinds and Ellipsis not in kinds
    if isinstance(value, Mapping) and kinds and attrs.has(kinds[0]):
        items, issues = structure_array([value], kind, path)
        return items, [Issue(path, f"must be an array of tables; write [[{format_key_path(path)}]]", used_as=(*path, 0)), *issues]
    if not isinstance(value, list | tuple) or (fixed_length and len(value) != len(kinds)):
        raise TypeError(f"expected an array{f' of {len(kinds)} values' if fixed_length else ''}, got {quote_value(value)}")
    wanted = kinds if fixed_length else (*kinds, Any)[:1] * len(value)
    parts = {index: structure_value(item, wanted[index], (*path, index), required=True) for index, item in enumerate(value)}
    values, issues = join_parts(parts)
    return (tuple if get_origin(kind) is tuple else list)(values.values()), issues


def structure_mapping(value: object, kind: Any, path: KeyPath) -> Structured:
    """Structure a table with any keys, whose values have one type or any type."""
    if not isinstance(value, Mapping):
        raise type_error(kind, value)
    item_kind = (*get_args(kind), Any, Any)[1]
    return join_parts({key: structure_value(item, item_kind, (*path, key)) for key, item in value.items()})


def structure_table(value: object, kind: Any, path: KeyPath) -> Structured:
    table, unknown = separate_unknown(as_table(value, kind), kind)
    meant = match_misspelt(table, unknown, kind)
    table = {**table, **{meant[key]: table[key] for key in meant}}
    fields = [field for field in table_fields(kind) if field.name in table or is_required(field)]
    parts = {field.alias: structure_field(field, table, path) for field in fields}
    arguments, issues = join_parts(parts)
    return create_instance(kind, arguments, [*unknown_key_issues(unknown, meant, kind, path), *issues])


def structure_field(field: "attrs.Attribute[Any]", table: Mapping[str, Any], path: KeyPath) -> Structured:
    value = table.get(field.name, attrs.NOTHING)
    return structure_value(value, field.type, (*path, field.name), required=is_required(field))


def create_instance(kind: Any, arguments: Mapping[Any, Any], issues: list[Issue]) -> Structured:
    """Call an attrs class. Its exception is raised only if the arguments have no issues."""
    try:
        return kind(**arguments), issues
    except Exception:
        if issues:
            return attrs.NOTHING, issues
        raise


def as_table(value: object, kind: Any) -> Mapping[str, Any]:
    """Return the table. A string becomes a table with that value if a field is marked `shorthand`."""
    shorthand = find_shorthand(kind)
    if shorthand and isinstance(value, str):
        return {shorthand: value}
    if not isinstance(value, Mapping):
        raise type_error(kind, value)
    return value


def separate_unknown(table: Mapping[str, Any], kind: Any) -> tuple[Mapping[str, Any], list[str]]:
    """Return the table for the fields, and the unknown keys.

    Keys without a field go into the field that is marked `rest`, if there is one. A key that is similar to a missing required
    key counts as a misspelling, and is unknown.
    """
    known, rest = table_keys(kind), find_marked(kind, "rest")
    extra = {key: item for key, item in table.items() if key not in known}
    if not rest:
        return table, list(extra)
    missing = [field.name for field in table_fields(kind) if is_required(field) and field.name not in table]
    misspelt = [key for key in extra if closest(key, missing)]
    return {**table, rest: {key: item for key, item in extra.items() if key not in misspelt}}, misspelt


def match_misspelt(table: Mapping[str, Any], unknown: Iterable[str], kind: Any) -> dict[str, str]:
    """Return the unknown keys whose values can be checked as those of another key: unknown key -> field that was meant."""
    absent = {field.name: field for field in table_fields(kind) if field.name not in table and "rest" not in field.metadata}
    meant: dict[str, str] = {}
    for key in unknown:
        name = closest(key, table_keys(kind))
        if name in absent and name not in meant.values() and is_similar(table[key], absent[name].type):
            meant[key] = name
    return meant


def is_similar(value: Any, kind: Any) -> bool:
    """Return whether a value may be meant for a type: false for a table that has none of the keys of an attrs class."""
    kinds = [each for each in (kind, *get_args(kind)) if attrs.has(each)]
    if not isinstance(value, Mapping) or not kinds or find_marked(kinds[0], "rest"):
        return True
    return not value or any(closest(key, table_keys(kinds[0])) for key in value)


def unknown_key_issues(keys: Iterable[str], meant: Mapping[str, str], kind: Any, path: KeyPath) -> Iterator[Issue]:
    known = table_keys(kind)
    for key in keys:
        used_as = (*path, meant[key]) if key in meant else ()
        message = f"unknown key, {suggest(key, known)}"
        yield Issue((*path, key), message, at_key=True, suggestion=closest(key, known), used_as=used_as)


def structure_union(value: object, kind: Any, path: KeyPath) -> Structured:
    """Structure as the first arm that accepts the value. Arms that cannot come from TOML (a Tensor, None) are skipped."""
    arms = plain_arms(kind)
    fits = attrs.has if isinstance(value, Mapping) else has_tables
    tables = [arm for arm in arms if fits(arm)] if isinstance(value, Mapping | list) else []
    if len(arms) == 1 or len(tables) == 1:  # its own issues are more precise than "no arm fits"
        only = (tables or arms)[0]
        return find_function(only)(value, only, path)
    attempts = (structure_value(value, arm, path) for arm in arms)
    fitting = next((attempt for attempt in attempts if not attempt[1]), None)
    if fitting is None:
        raise type_error(kind, value)
    return fitting


def structure_other(value: object, kind: Any, _path: KeyPath) -> Structured:
    return CONVERTER.structure(value, kind), []


def placeholder(kind: Any) -> Any:
    """Return minimal plain data of a type, such as 0 or an empty table."""
    if attrs.has(kind):
        return {field.name: placeholder(field.type) for field in table_fields(kind) if is_required(field)}
    if is_literal(kind) or is_union(kind):
        return get_args(kind)[0] if is_literal(kind) else placeholder(next(iter(plain_arms(kind)), Any))
    return {int: 0, float: 0.0, bool: False, str: ""}.get(kind, {} if is_mapping(kind) else [])


# --- hooks for cattrs: each takes plain data and its type, and returns the value or raises TypeError ------------------


def structure_scalar(value: object, kind: type) -> object:
    """Accept int, float, bool and str by exact type; an int is also accepted as a float."""
    accepted = (int, float) if kind is float else (kind,)
    if type(value) not in accepted:
        raise type_error(kind, value)
    return kind(value)


def structure_literal(value: object, kind: Any) -> object:
    """Accept one of the values of a Literal, of the same type."""
    if not any(type(value) is type(choice) and value == choice for choice in get_args(kind)):
        hint = f", {suggest(value, get_args(kind))}" if isinstance(value, str) else f": {describe_type(kind)}"
        raise TypeError(f"{quote_value(value)} is not allowed{hint}")
    return value


def structure_nested(value: object, kind: Any) -> object:
    """Structure a table, an array or a union inside a type that cattrs structures itself."""
    structured, issues = structure_value(value, kind, ())
    if issues:
        raise NestedError(issues)
    return structured


def strict_converter() -> cattrs.Converter:
    """Return a converter with strict hooks. cattrs tries the hook that was registered last first."""
    converter = cattrs.Converter()
    converter.register_structure_hook_func(lambda kind: find_function(kind) is not structure_other, structure_nested)
    converter.register_structure_hook_func(is_literal, structure_literal)
    for scalar in SCALARS:
        converter.register_structure_hook(scalar, structure_scalar)
    return converter


# --- types ------------------------------------------------------------------------------------------------------------


def find_function(kind: Any) -> Callable[[Any, Any, KeyPath], Structured]:
    functions = {structure_union: is_union, structure_table: attrs.has, structure_mapping: is_mapping, structure_array: is_array}
    return next((function for function, accepts in functions.items() if accepts(kind)), structure_other)


def table_fields(kind: type) -> list["attrs.Attribute[Any]"]:
    """Return the fields of an attrs class that a table can set."""
    return [field for field in attrs.fields(attrs.resolve_types(kind)) if field.init]


def is_required(field: "attrs.Attribute[Any]") -> bool:
    return field.default is attrs.NOTHING


def find_marked(kind: type, mark: str) -> str | None:
    """Return the name of the field with a mark in its metadata; None if no field has it."""
    return next((field.name for field in table_fields(kind) if mark in field.metadata), None)


def find_field(kind: Any, path: KeyPath) -> "attrs.Attribute[Any] | None":
    """Return the field of an attrs class, or of a table inside it, at a path; None if no class has a field for the path."""
    field = None
    for part in path:
        fits = has_tables if isinstance(part, int) else attrs.has
        kind = next((arm for arm in plain_arms(kind) if fits(arm)), kind) if is_union(kind) else kind
        if isinstance(part, int):
            kind = (*get_args(kind), Any)[0]
            continue
        if named := find_named_table(kind):  # the part is the name of the table
            kind = named
            continue
        field = getattr(attrs.fields(kind), part, None) if attrs.has(kind) else None
        if field is None:
            return None
        kind = field.type
    return field


def find_table(kind: Any) -> type | None:
    """Return the class of a table, an optional table, or the tables of an array; None for other types."""
    arms = plain_arms(kind) if is_union(kind) else [*get_args(kind)[:1], kind]
    return next((arm for arm in arms if attrs.has(arm)), None)


def find_named_table(kind: Any) -> type | None:
    """Return the class of the tables in a table with any keys, such as `dict[str, Table]`; None for other types."""
    return next((item for item in get_args(kind) if attrs.has(item)), None) if is_mapping(kind) else None


def find_shorthand(kind: Any) -> str | None:
    """Return the key that a bare string sets in place of a table, or of an array of tables; None if a string is not accepted."""
    table = find_table(kind)
    return find_marked(table, "shorthand") if table else None


def table_keys(kind: type) -> list[str]:
    """Return the keys that a table of class `kind` may have, without those of a `rest` field."""
    return [field.name for field in table_fields(kind) if "rest" not in field.metadata]


def describe_type(kind: Any) -> str:
    """Return the description of a type in TOML terms, for messages."""
    if is_literal(kind):
        return " or ".join(repr(choice) for choice in get_args(kind))
    if is_union(kind):
        return " or ".join(describe_type(arm) for arm in plain_arms(kind))
    if kind in NAMES:
        return NAMES[kind]
    if has_tables(kind):
        return "an array of tables"
    if attrs.has(kind) or is_mapping(kind):
        return f"{NAMES[str]} or a table" if attrs.has(kind) and find_shorthand(kind) else "a table"
    items = get_args(kind)
    return f"an array of {PLURALS[items[0]]}" if len(items) == 1 and items[0] in PLURALS else "an array"


def quote_value(value: object) -> str:
    """Return a wrong value as text for messages; a long text is cut."""
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def type_error(kind: Any, value: object) -> TypeError:
    return TypeError(f"expected {describe_type(kind)}, got {quote_value(value)}")


def is_array(kind: Any) -> bool:
    """Return whether a type is structured from a TOML array."""
    origin = get_origin(kind) or kind
    if not isinstance(origin, type) or origin is object:
        return False
    return issubclass(list, origin) or issubclass(origin, tuple | set | frozenset)  # excludes a Tensor, which is only iterable


def has_tables(kind: Any) -> bool:
    """Return whether a type is structured from a TOML array of tables with their own class."""
    return is_array(kind) and any(attrs.has(item) for item in get_args(kind))


def is_mapping(kind: Any) -> bool:
    """Return whether a type is structured from a TOML table with any keys."""
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, Mapping)


def is_union(kind: Any) -> bool:
    """Return whether a type is `A | B` or `Union[A, B]`."""
    return get_origin(kind) in (Union, types.UnionType)


def is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def is_plain(kind: Any) -> bool:
    """Return whether a TOML value can have this type."""
    if is_union(kind):
        return bool(plain_arms(kind))
    return is_literal(kind) or kind in SCALARS or kind is Any or attrs.has(kind) or is_array(kind) or is_mapping(kind)


def plain_arms(kind: Any) -> list[Any]:
    """Return the arms of a union that a TOML value can have."""
    return [arm for arm in get_args(kind) if is_plain(arm)]


CONVERTER = strict_converter()
