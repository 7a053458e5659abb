"""Parameters of a target (`package.module:callable`), read from its source code or from the imported object.

Reading the source takes milliseconds; importing torch or torchvision takes seconds. A config is therefore checked without
imports.
`UNREAD` stands for a type or a default that the source does not show; it is checked after an import of the target.
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
"""Maximum number of re-exports, or of base classes, to follow."""

KNOWN: Mapping[str, Any] = {
    **vars(builtins),
    **{name: getattr(typing, name) for name in typing.__all__},
    **{name: getattr(collections.abc, name) for name in collections.abc.__all__},
}
"""Names in annotations that can be resolved without an import."""


class Unread:
    """Type of `UNREAD`, the marker for information that the source does not show."""

    def __repr__(self) -> str:
        return "?"


UNREAD = Unread()


@attrs.frozen
class Signature:
    """Parameters of a target that can be passed by name."""

    parameters: Mapping[str, Any]
    """Name -> annotation, in order; `Any` if there is none, `UNREAD` if the source does not show it."""
    defaults: Mapping[str, Any]
    """Name -> default; `UNREAD` if it is not a plain value. A parameter without default is required."""
    takes_any: bool
    """Whether the target has `**kwargs` and so accepts unknown names."""

    @property
    def required(self) -> frozenset[str]:
        """Names of the parameters without a default."""
        return frozenset(self.parameters.keys() - self.defaults.keys())


def import_target(target: str) -> Any:
    """Import a target and return it. Raises any error of the import."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def inspect_target(target: str) -> Signature:
    """Import a target and return its signature."""
    return inspect_callable(import_target(target))


def inspect_callable(thing: Any) -> Signature:
    """Return the signature of a class or a function."""
    names = getattr(thing.__init__ if inspect.isclass(thing) else thing, "__globals__", {})
    found = inspect.signature(thing).parameters.values()
    return to_signature(each.replace(annotation=resolve_annotation(each.annotation, names)) for each in found)


def accepts_inputs(function: Any, n: int) -> bool:
    """Return whether a callable, or the `forward` of a module, can be called with `n` positional inputs.

    True if the signature is not known, as for compiled code.
    """
    try:
        inspect.signature(getattr(function, "forward", function)).bind(*range(n))
    except ValueError:
        return True
    except TypeError:
        return False
    return True


def resolve_annotation(kind: Any, names: dict[str, Any]) -> Any:
    """Return an annotation as a type; `Any` if there is none (or `None`, as in torch), or if it cannot be resolved."""
    if kind is inspect.Parameter.empty:
        return Any
    holder = types.SimpleNamespace(__annotations__={"kind": kind})
    try:
        found = typing.get_type_hints(holder, names)["kind"]
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Any
    return Any if found is types.NoneType else found


def read_from_source(target: str) -> Signature | None:
    """Read the signature from the source, without an import; None if the source does not show it (decorated, compiled, ...)."""
    node, module = locate_target(target)
    is_class = isinstance(node, ast.ClassDef)
    function = find_constructor(node, module) if isinstance(node, ast.ClassDef) else node
    if not isinstance(function, ast.FunctionDef) or function.decorator_list:
        return None
    return to_signature(list_parameters(function.args)[is_class:])  # without self


def to_signature(found: Iterable[inspect.Parameter]) -> Signature:
    found = list(found)
    named = [each for each in found if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    return Signature(
        parameters={each.name: each.annotation for each in named},
        defaults={each.name: plain_default(each.default) for each in named if each.default is not each.empty},
        takes_any=any(each.kind is each.VAR_KEYWORD for each in found),
    )


def plain_default(default: Any) -> Any:
    """Return a default if it is a plain value, which can be shown to users; else `UNREAD`."""
    return default if default is None or isinstance(default, bool | int | float | str | tuple | list) else UNREAD


def find_definition(target: str) -> str:
    """Return `file:line` of the definition of a target; the target itself if it has no source."""
    node, module = locate_target(target)
    file = source_file(module)
    line = getattr(node, "lineno", None)
    return f"{file}:{line}" if file and line else target


def docstring(target: str) -> str:
    """Return the docstring of a target, read from its source; empty if it has none."""
    node, _ = locate_target(target)
    return (ast.get_docstring(node) or "") if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""


def locate_target(target: str, hops: int = HOPS) -> tuple[ast.AST | None, str]:
    """Return the definition of a target (None if not found) and the module that contains it; re-exports are followed."""
    module, _, name = target.partition(":")
    found = find_definitions(module).get(name)
    if isinstance(found, str):
        return locate_target(found, hops - 1) if hops else (None, module)
    return found, module


@functools.cache
def find_definitions(module: str) -> Mapping[str, ast.AST | str]:
    """Return the names at the top level of a module: name -> definition, or target that the name is imported from."""
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
    """Return the absolute name of the module in a `from ... import`."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    above = parts[: len(parts) - node.level + is_package]
    return ".".join([*above, *([node.module] if node.module else [])])


def source_file(module: str) -> Path | None:
    """Return the source file of a module, found without an import of its parent packages (`find_spec` would import them)."""
    top, *below = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    for part in below:
        spec = spec and importlib.machinery.PathFinder.find_spec(part, spec.submodule_search_locations)
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


SELF = ast.arguments(posonlyargs=[], args=[ast.arg("self")], kwonlyargs=[], kw_defaults=[], defaults=[])
CONSTRUCTOR_OF_OBJECT = ast.FunctionDef("__init__", args=SELF, body=[], decorator_list=[])
"""Constructor of a class without base classes that defines none."""


def find_constructor(node: ast.ClassDef, module: str, hops: int = HOPS) -> ast.FunctionDef | None:
    """Return `__new__` or `__init__` of a class or, if it has neither, of its first base class."""
    if node.decorator_list:
        return None
    own = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    if found := own.get("__new__") or own.get("__init__"):
        return found
    if not node.bases and not node.keywords:
        return CONSTRUCTOR_OF_OBJECT
    if not (hops and node.bases and isinstance(node.bases[0], ast.Name)):
        return None
    base, module = locate_target(f"{module}:{node.bases[0].id}")
    return find_constructor(base, module, hops - 1) if isinstance(base, ast.ClassDef) else None


def list_parameters(args: ast.arguments) -> list[inspect.Parameter]:
    """Return the parameters of a definition."""
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
    value = inspect.Parameter.empty if default is None else read_literal(default)
    return inspect.Parameter(arg.arg, kind, default=value, annotation=read_annotation(arg.annotation))


def read_literal(node: ast.expr) -> Any:
    """Return the value of a literal; `UNREAD` for any other expression."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return UNREAD


def read_annotation(node: ast.expr | None) -> Any:
    """Return the type of an annotation if it consists of builtins and `typing` names; else `UNREAD`."""
    if node is None:
        return Any
    try:
        return to_type(node)
    except (KeyError, ValueError, TypeError, SyntaxError):
        return UNREAD


def to_type(node: ast.expr) -> Any:
    """Convert an annotation to a type. Raises KeyError for an unknown name, ValueError for unsupported syntax."""
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
    """Convert other arguments of a generic type: several types, strings, `None` and `...`."""
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
