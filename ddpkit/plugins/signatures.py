"""The parameters of a target, `package.module:callable`: read from its source, or from the imported object.

Reading costs milliseconds where importing costs seconds (torch, torchvision), so a config is checked without imports.
What the source cannot tell is `UNREAD`: the parameter is known, its type is checked when the target is imported.
"""

import ast
import builtins
import collections.abc
import functools
import importlib
import importlib.machinery
import importlib.util
import inspect
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

HOPS = 5
"""How many re-exports and base classes are followed."""

KNOWN: Mapping[str, Any] = {
    **vars(builtins),
    **{name: getattr(typing, name) for name in typing.__all__},
    **{name: getattr(collections.abc, name) for name in collections.abc.__all__},
}
"""The names in annotations that are understood without an import."""


class Unread:
    """Source does not tell it."""

    def __repr__(self) -> str:
        return "?"


UNREAD = Unread()


@attrs.frozen
class Signature:
    """What a target takes by name."""

    parameters: Mapping[str, Any]
    """Name -> annotation (`Any` where there is none, `UNREAD` where source cannot tell), in order."""
    defaults: Mapping[str, Any]
    """Name -> default; `UNREAD` where it is no plain value. A parameter without one is required."""
    takes_any: bool
    """It has `**kwargs`: unknown names are passed on."""

    @property
    def required(self) -> frozenset[str]:
        """What must be given."""
        return frozenset(self.parameters.keys() - self.defaults.keys())


def import_target(target: str) -> Any:
    """The target itself. Raises what importing it raises."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def inspect_target(target: str) -> Signature:
    """The signature of the imported target."""
    thing = import_target(target)
    names = getattr(thing.__init__ if inspect.isclass(thing) else thing, "__globals__", {})
    found = inspect.signature(thing).parameters.values()
    return to_signature(each.replace(annotation=resolve_annotation(each.annotation, names)) for each in found)


def resolve_annotation(kind: Any, names: dict[str, Any]) -> Any:
    """An annotation as a type; `Any` for none (torch has `None` for some), and if its own module cannot resolve it."""
    if kind is inspect.Parameter.empty:
        return Any
    holder = types.SimpleNamespace(__annotations__={"kind": kind})
    try:
        found = typing.get_type_hints(holder, names)["kind"]
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Any
    return Any if found is types.NoneType else found


def read_from_source(target: str) -> Signature | None:
    """The signature as the source has it, nothing imported; None where it does not tell (decorated, inherited, compiled)."""
    node, module = locate_target(target)
    is_class = isinstance(node, ast.ClassDef)
    function = find_constructor(node, module) if isinstance(node, ast.ClassDef) else node
    if not isinstance(function, ast.FunctionDef) or function.decorator_list:
        return None
    return to_signature(list_parameters(function.args)[is_class:])  # without self


def to_signature(found: Iterable[inspect.Parameter]) -> Signature:
    """What can be given by name."""
    found = list(found)
    named = [each for each in found if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    return Signature(
        parameters={each.name: each.annotation for each in named},
        defaults={each.name: plain_default(each.default) for each in named if each.default is not each.empty},
        takes_any=any(each.kind is each.VAR_KEYWORD for each in found),
    )


def plain_default(default: Any) -> Any:
    """A default that TOML or a reader can be shown."""
    return default if default is None or isinstance(default, bool | int | float | str | tuple | list) else UNREAD


def find_definition(target: str) -> str:
    """`file:line` of the definition behind a target; the target itself where there is no source."""
    node, module = locate_target(target)
    file = source_file(module)
    line = getattr(node, "lineno", None)
    return f"{file}:{line}" if file and line else target


def docstring(target: str) -> str:
    """Of the definition behind a target, as its source has it; empty where there is none."""
    node, _ = locate_target(target)
    return (ast.get_docstring(node) or "") if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""


def locate_target(target: str, hops: int = HOPS) -> tuple[ast.AST | None, str]:
    """The definition behind a target and the module that has it; re-exports are followed."""
    module, _, name = target.partition(":")
    found = find_definitions(module).get(name)
    if isinstance(found, str):
        return locate_target(found, hops - 1) if hops else (None, module)
    return found, module


@functools.cache
def find_definitions(module: str) -> Mapping[str, ast.AST | str]:
    """Name -> its definition at the top level of a module, or the target that it is imported from."""
    file = source_file(module)
    if file is None:
        return {}
    names: dict[str, ast.AST | str] = {}
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            origin = absolute_module(node, module, is_package=file.name == "__init__.py")
            names |= {alias.asname or alias.name: f"{origin}:{alias.name}" for alias in node.names}
    return names


def absolute_module(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    """The module that a `from ... import` names."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    above = parts[: len(parts) - node.level + is_package]
    return ".".join([*above, *([node.module] if node.module else [])])


def source_file(module: str) -> Path | None:
    """Where a module's source is, found without running its parent packages (as `find_spec` of a submodule would)."""
    top, *below = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    for part in below:
        spec = spec and importlib.machinery.PathFinder.find_spec(part, spec.submodule_search_locations)
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def find_constructor(node: ast.ClassDef, module: str, hops: int = HOPS) -> ast.FunctionDef | None:
    """`__new__` or `__init__` of a class, else that of its first base."""
    if node.decorator_list:
        return None
    own = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    if found := own.get("__new__") or own.get("__init__"):
        return found
    if not (hops and node.bases and isinstance(node.bases[0], ast.Name)):
        return None
    base, module = locate_target(f"{module}:{node.bases[0].id}")
    return find_constructor(base, module, hops - 1) if isinstance(base, ast.ClassDef) else None


def list_parameters(args: ast.arguments) -> list[inspect.Parameter]:
    """The parameters of a definition; a default is only told apart from none."""
    kinds = inspect.Parameter
    positional = [*args.posonlyargs, *args.args]
    given = [None] * (len(positional) - len(args.defaults)) + [*args.defaults]
    pairs = zip(positional, given, strict=True)
    found = [read_parameter(arg, kinds.POSITIONAL_OR_KEYWORD, default) for arg, default in pairs]
    pairs = zip(args.kwonlyargs, args.kw_defaults, strict=True)
    found += [read_parameter(arg, kinds.KEYWORD_ONLY, default) for arg, default in pairs]
    found += [kinds(args.kwarg.arg, kinds.VAR_KEYWORD)] if args.kwarg else []
    return found


def read_parameter(arg: ast.arg, kind: Any, default: ast.expr | None) -> inspect.Parameter:
    """One parameter."""
    value = inspect.Parameter.empty if default is None else read_literal(default)
    return inspect.Parameter(arg.arg, kind, default=value, annotation=read_annotation(arg.annotation))


def read_literal(node: ast.expr) -> Any:
    """The value of a default that is written out."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return UNREAD


def read_annotation(node: ast.expr | None) -> Any:
    """The type that an annotation names, if it is made of builtins and `typing` alone."""
    if node is None:
        return Any
    try:
        return to_type(node)
    except (KeyError, ValueError, TypeError, SyntaxError):
        return UNREAD


def to_type(node: ast.expr) -> Any:
    """An annotation as a type. Raises KeyError for a name that is not known, ValueError for other syntax."""
    match node:
        case ast.Name(name):
            return KNOWN[name]
        case ast.BinOp(left, ast.BitOr(), right):
            return to_type(left) | to_type(right)
        case ast.Subscript(ast.Name("Literal"), values):
            return KNOWN["Literal"][ast.literal_eval(values)]
        case ast.Subscript(generic, arguments):
            return to_type(generic)[to_type(arguments)]
    return to_argument(node)


def to_argument(node: ast.expr) -> Any:
    """The other things that the brackets of a generic type may have: several types, strings, `None` and `...`."""
    match node:
        case ast.Tuple(items):
            return tuple(map(to_type, items))
        case ast.List(items):
            return list(map(to_type, items))
        case ast.Constant(str(text)):
            return to_type(ast.parse(text, mode="eval").body)
        case ast.Constant(value):
            return value
    raise ValueError(ast.unparse(node))
