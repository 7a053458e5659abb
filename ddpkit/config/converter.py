"""Plain data to typed values: strict, and every problem at once.

cattrs does the work with hooks that coerce nothing: `"false"` is no bool, 3.7 no int, a string no list. Only an int is
taken for a float. Validators run after structuring, so that each failure has the path of its own key.
"""

import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import AttributeValidationNote, ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn

from ddpkit.errors import LONGEST, KeyPath, closest, suggest

T = TypeVar("T")
MISSING = "is missing"


@attrs.frozen
class Fault:
    """A problem in plain data; the caller knows which file it came from."""

    path: KeyPath
    message: str
    at_key: bool = False
    """The key is wrong, not its value."""
    meant: str = ""
    """Of an unknown key: the one that was probably meant."""
    blames_plugin: bool = False
    """The config may be right; a plugin that it needs cannot be used."""


def structure(data: object, kind: type[T], path: KeyPath = ()) -> tuple[T | None, list[Fault]]:
    """`data` as a `kind`, or None and all that is wrong with it, at paths below `path`."""
    value, faults = structure_unjudged(data, kind)
    if value is not None or not faults:
        faults = list(validate(value, ()))
    return (None if faults else value), [attrs.evolve(fault, path=(*path, *fault.path)) for fault in faults]


def salvage(data: Mapping[str, Any], kind: type[T]) -> tuple[T, list[Fault]]:
    """The same, and a value in any case, so that the rest can be judged too.

    What is wrong is left out, or something of its type stands in where there must be something.
    """
    wanted, faults = data, list[Fault]()
    value, found = structure_unjudged(data, kind)
    while value is None:
        faults += found
        for fault in found:
            wanted = mended(wanted, kind, fault.path)
        value, found = structure_unjudged(wanted, kind)
    faults += [fault for fault in validate(value, ()) if not covered(fault.path, faults)]
    meant = {(*fault.path[:-1], fault.meant) for fault in faults if fault.meant}
    return value, [fault for fault in faults if fault.message != MISSING or fault.path not in meant]


def structure_unjudged(data: object, kind: type[T]) -> tuple[T | None, list[Fault]]:
    """By type alone: the validators are not asked."""
    try:
        with attrs.validators.disabled():
            return CONVERTER.structure(data, kind), []
    except Exception as error:  # noqa: BLE001 - cattrs raises groups of anything; `faults_of` sorts them
        return None, list(faults_of(error, ()))


def covered(path: KeyPath, faults: Iterable[Fault]) -> bool:
    """Whether something at or above a path is wrong, or its key is misspelt."""
    wrong = {fault.path for fault in faults} | {(*fault.path[:-1], fault.meant) for fault in faults if fault.meant}
    return any(path[: len(each)] == each for each in wrong)


def mended(data: Any, kind: Any, path: KeyPath) -> Any:
    """A copy of the data where what stands at `path` is left out, or replaced where it must be."""
    if not path:
        return stand_in(kind)
    kind = next((arm for arm in get_args(kind) if attrs.has(arm)), kind) if is_union(kind) else kind
    key, below = path[0], path[1:]
    if isinstance(key, int):
        return [mended(item, get_args(kind)[0], below) if index == key else item for index, item in enumerate(data)]
    field = getattr(attrs.fields(kind), key, None) if attrs.has(kind) else None
    if not below and (field is None or field.default is not attrs.NOTHING):
        return {name: item for name, item in data.items() if name != key}
    return {**data, key: mended(data.get(key), Any if field is None else field.type, below)}


def stand_in(kind: Any) -> Any:
    """Plain data of a type: the emptiest there is."""
    if attrs.has(kind):
        return {field.name: stand_in(field.type) for field in attrs.fields(kind) if field.default is attrs.NOTHING}
    if is_literal(kind) or is_union(kind):
        return get_args(kind)[0] if is_literal(kind) else stand_in(plain_arms(kind)[0])
    return {int: 0, float: 0.0, bool: False, str: ""}.get(kind, {} if is_mapping(kind) else [])


def faults_of(error: BaseException, path: KeyPath) -> Iterator[Fault]:
    """The leaves of the exception group that cattrs raised."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        with_notes, without = error.group_exceptions()
        for inner, note in with_notes:
            part: Any = note.name if isinstance(note, AttributeValidationNote) else note.index
            yield from faults_of(inner, (*path, part))
        for inner in without:
            yield from faults_of(inner, path)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = keys_of(error.cl)
        for key in error.extra_fields:
            yield Fault((*path, key), f"unknown key, {suggest(key, known)}", at_key=True, meant=closest(key, known))
    elif isinstance(error, KeyError):
        yield Fault(path, MISSING, at_key=True)
    else:
        yield Fault(path, str(error))


def validate(value: object, path: KeyPath) -> Iterator[Fault]:
    """What the validators say, at the path of the field."""
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from validate(item, (*path, index))
    elif attrs.has(kind := type(value)):
        for field in attrs.fields(kind):
            item = getattr(value, field.name)
            if field.validator is not None:
                try:
                    field.validator(value, field, item)
                except ValueError as error:
                    yield Fault((*path, field.name), str(error.args[0]))
            yield from validate(item, (*path, field.name))


def keys_of(kind: type) -> list[str]:
    """The keys that a table of class `kind` may have."""
    return [field.name for field in attrs.fields(kind) if "rest" not in field.metadata]


def describe(kind: Any) -> str:
    """A type in the words of TOML, for messages."""
    if is_literal(kind):
        return " or ".join(repr(choice) for choice in get_args(kind))
    if is_union(kind):
        return " or ".join(describe(arm) for arm in plain_arms(kind))
    if kind in NAMES:
        return NAMES[kind]
    if attrs.has(kind) or is_mapping(kind):
        return "a table"
    items = get_args(kind)
    return f"an array of {PLURALS[items[0]]}" if len(items) == 1 and items[0] in PLURALS else "an array"


SCALARS = (int, float, bool, str)
NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "a string", dict: "a table", list: "an array"}


PLURALS = {int: "integers", float: "numbers", bool: "true or false", str: "strings"}


def shown(value: object) -> str:
    """A wrong value, for messages."""
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def expected(kind: Any, value: object) -> TypeError:
    """The error for a value of the wrong type."""
    return TypeError(f"expected {describe(kind)}, got {shown(value)}")


# --- hooks: each takes the plain value and the wanted type, and returns the value or raises TypeError -----------------


def structure_scalar(value: object, kind: type) -> object:
    """int, float, bool and str by exact type; an int is a float too."""
    accepted = (int, float) if kind is float else (kind,)
    if type(value) not in accepted:
        raise expected(kind, value)
    return kind(value)


def structure_array(value: object, kind: Any) -> object:
    """list, tuple and the abstract sequences, from TOML arrays only."""
    items = get_args(kind)
    fixed_length = get_origin(kind) is tuple and items and Ellipsis not in items
    if not isinstance(value, list | tuple) or (fixed_length and len(value) != len(items)):
        length = f"an array of {len(items)}" if fixed_length else "an array"
        raise TypeError(f"expected {length}, got {shown(value)}")
    wanted = items if fixed_length else (items[0] if items else Any,) * len(value)
    errors = []
    result = []
    for index, (item, item_kind) in enumerate(zip(value, wanted, strict=True)):
        try:
            result.append(CONVERTER.structure(item, item_kind))
        except Exception as error:  # noqa: BLE001 - collected, one for each item
            errors.append(noted(error, index, item_kind))
    if errors:
        raise IterableValidationError("array", errors, kind)
    return tuple(result) if get_origin(kind) is tuple else result


def noted(error: Exception, index: int | str, kind: Any) -> Exception:
    """The error with the place of its item, as cattrs notes it."""
    error.__notes__ = [cattrs.IterableValidationNote("", index, kind)]
    return error


def structure_union(value: object, kind: Any) -> object:
    """The first arm that takes the value; arms that no TOML value can be (a Tensor, None) are passed over."""
    arms = plain_arms(kind)
    tables = [arm for arm in arms if attrs.has(arm)] if isinstance(value, Mapping) else []
    if len(arms) == 1 or len(tables) == 1:  # its own faults say more than that nothing fits
        return CONVERTER.structure(value, (tables or arms)[0])
    for arm in arms:
        try:
            return CONVERTER.structure(value, arm)
        except Exception:  # noqa: BLE001, S112 - the next arm may take it; the error names all arms
            continue
    raise expected(kind, value)


def structure_literal(value: object, kind: Any) -> object:
    """One of the values, of the same type."""
    if not any(type(value) is type(choice) and value == choice for choice in get_args(kind)):
        hint = f", {suggest(value, get_args(kind))}" if isinstance(value, str) else f": {describe(kind)}"
        raise TypeError(f"{shown(value)} is not allowed{hint}")
    return value


def structure_table(value: object, kind: Any) -> object:
    """An attrs class from a table, or from a bare value where one of its fields is marked `shorthand`.

    Keys without a field go into the field that is marked `rest`, if there is one.
    """
    fields = attrs.fields(kind)
    shorthand = next((field.name for field in fields if "shorthand" in field.metadata), None)
    if shorthand and isinstance(value, str):
        value = {shorthand: value}
    if not isinstance(value, Mapping):
        names = f"{NAMES[str]} or a table" if shorthand else "a table"
        raise TypeError(f"expected {names}, got {shown(value)}")
    rest = next((field.name for field in fields if "rest" in field.metadata), None)
    known = set(keys_of(kind))
    table = {key: item for key, item in value.items() if key in known or not rest}
    if rest:
        left = {key: item for key, item in value.items() if key not in known}
        missing = [field.name for field in fields if field.default is attrs.NOTHING and field.name not in value]
        slips = {key for key in left if closest(key, missing)}  # a component's own key, if nothing of the core's were missing
        table |= {key: left.pop(key) for key in slips} | {rest: left}
    return make_dict_structure_fn(kind, CONVERTER, _cattrs_forbid_extra_keys=True)(table, kind)


def structure_mapping(value: object, kind: Any) -> object:
    """A free table, or one whose values are of one type."""
    if not isinstance(value, Mapping):
        raise expected(kind, value)
    item_kind = (*get_args(kind), Any, Any)[1]
    errors, result = [], {}
    for key, item in value.items():
        try:
            result[key] = CONVERTER.structure(item, item_kind)
        except Exception as error:  # noqa: BLE001 - collected, one for each item
            errors.append(noted(error, key, item_kind))
    if errors:
        raise IterableValidationError("table", errors, kind)
    return result


def is_array(kind: Any) -> bool:
    """Whether a type is filled from a TOML array."""
    origin = get_origin(kind) or kind
    if not isinstance(origin, type) or origin is object:
        return False
    return issubclass(list, origin) or issubclass(origin, tuple | set | frozenset)  # a Tensor can be iterated, and is none


def is_mapping(kind: Any) -> bool:
    """Whether a type is filled from a free TOML table."""
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, Mapping)


def is_union(kind: Any) -> bool:
    """`A | B` in both spellings."""
    return get_origin(kind) in (Union, types.UnionType)


def is_literal(kind: Any) -> bool:
    """One of some values."""
    return get_origin(kind) is Literal


def is_plain(kind: Any) -> bool:
    """Whether a TOML value can be of this type."""
    if is_union(kind):
        return bool(plain_arms(kind))
    return is_literal(kind) or kind in SCALARS or kind is Any or attrs.has(kind) or is_array(kind) or is_mapping(kind)


def plain_arms(kind: Any) -> list[Any]:
    """The arms of a union that a TOML value can be."""
    return [arm for arm in get_args(kind) if is_plain(arm)]


def strict_converter() -> cattrs.Converter:
    """Later hooks are asked first, so the special ones stand last."""
    converter = cattrs.Converter()
    converter.register_structure_hook_func(is_mapping, structure_mapping)
    converter.register_structure_hook_func(is_array, structure_array)
    converter.register_structure_hook_func(attrs.has, structure_table)
    converter.register_structure_hook_func(is_union, structure_union)
    converter.register_structure_hook_func(is_literal, structure_literal)
    for scalar in SCALARS:
        converter.register_structure_hook(scalar, structure_scalar)
    return converter


CONVERTER = strict_converter()
