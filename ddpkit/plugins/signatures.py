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
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

HOPS = 5
"""How many re-exports and base classes are followed."""

KNOWN = {
    **vars(builtins),
    **{name: getattr(typing, name) for name in typing.__all__},
    **{name: getattr(collections.abc, name) for name in collections.abc.__all__},
}

PLAIN_NODES = (ast.Name, ast.Load, ast.Constant, ast.Subscript, ast.Tuple, ast.List, ast.BinOp, ast.BitOr)
"""What an annotation may be made of to be evaluated here: no call and no attribute, so nothing runs."""


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


def imported(target: str) -> Any:
    """The target itself. Raises what importing it raises."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def inspected(target: str) -> Signature:
    """The signature of the imported target."""
    thing = imported(target)
    names = getattr(thing.__init__ if inspect.isclass(thing) else thing, "__globals__", {})
    found = inspect.signature(thing).parameters.values()
    return to_signature(each.replace(annotation=resolved(each.annotation, names)) for each in found)


def resolved(kind: Any, names: dict[str, Any]) -> Any:
    """An annotation as a type; `Any` for none, and for text that its own module cannot resolve."""
    if kind is inspect.Parameter.empty:
        return Any
    if not isinstance(kind, str):
        return kind
    try:
        return eval(kind, names)  # noqa: S307 - text of an imported module, in that module's names
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Any


def from_source(target: str) -> Signature | None:
    """The signature as the source has it, nothing imported; None where it does not tell (decorated, inherited, compiled)."""
    node, module = locate(target)
    is_class = isinstance(node, ast.ClassDef)
    function = constructor(node, module) if isinstance(node, ast.ClassDef) else node
    if not isinstance(function, ast.FunctionDef) or function.decorator_list:
        return None
    return to_signature(parameters(function.args)[is_class:])  # without self


def to_signature(found: Iterable[inspect.Parameter]) -> Signature:
    """What can be given by name."""
    found = list(found)
    named = [each for each in found if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    return Signature(
        parameters={each.name: each.annotation for each in named},
        defaults={each.name: plain(each.default) for each in named if each.default is not each.empty},
        takes_any=any(each.kind is each.VAR_KEYWORD for each in found),
    )


def plain(default: Any) -> Any:
    """A default that TOML or a reader can be shown."""
    return default if default is None or isinstance(default, bool | int | float | str | tuple | list) else UNREAD


def defined_at(target: str) -> str:
    """`file:line` of the definition behind a target; the target itself where there is no source."""
    node, module = locate(target)
    file = source_file(module)
    line = getattr(node, "lineno", None)
    return f"{file}:{line}" if file and line else target


def docstring(target: str) -> str:
    """Of the definition behind a target, as its source has it; empty where there is none."""
    node, _ = locate(target)
    return (ast.get_docstring(node) or "") if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""


def locate(target: str, hops: int = HOPS) -> tuple[ast.AST | None, str]:
    """The definition behind a target and the module that has it; re-exports are followed."""
    module, _, name = target.partition(":")
    found = definitions(module).get(name)
    if isinstance(found, str):
        return locate(found, hops - 1) if hops else (None, module)
    return found, module


@functools.cache
def definitions(module: str) -> Mapping[str, ast.AST | str]:
    """Name -> its definition at the top level of a module, or the target that it is imported from."""
    file = source_file(module)
    if file is None:
        return {}
    names: dict[str, ast.AST | str] = {}
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            origin = absolute(node, module, is_package=file.name == "__init__.py")
            names |= {alias.asname or alias.name: f"{origin}:{alias.name}" for alias in node.names}
    return names


def absolute(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
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


def constructor(node: ast.ClassDef, module: str, hops: int = HOPS) -> ast.FunctionDef | None:
    """`__new__` or `__init__` of a class, else that of its first base."""
    if node.decorator_list:
        return None
    own = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    if found := own.get("__new__") or own.get("__init__"):
        return found
    if not (hops and node.bases and isinstance(node.bases[0], ast.Name)):
        return None
    base, module = locate(f"{module}:{node.bases[0].id}")
    return constructor(base, module, hops - 1) if isinstance(base, ast.ClassDef) else None


def parameters(args: ast.arguments) -> list[inspect.Parameter]:
    """The parameters of a definition; a default is only told apart from none."""
    kinds = inspect.Parameter
    positional = [*args.posonlyargs, *args.args]
    given = [None] * (len(positional) - len(args.defaults)) + [*args.defaults]
    pairs = zip(positional, given, strict=True)
    found = [parameter(arg, kinds.POSITIONAL_OR_KEYWORD, default) for arg, default in pairs]
    pairs = zip(args.kwonlyargs, args.kw_defaults, strict=True)
    found += [parameter(arg, kinds.KEYWORD_ONLY, default) for arg, default in pairs]
    found += [kinds(args.kwarg.arg, kinds.VAR_KEYWORD)] if args.kwarg else []
    return found


def parameter(arg: ast.arg, kind: Any, default: ast.expr | None) -> inspect.Parameter:
    """One parameter."""
    value = inspect.Parameter.empty if default is None else literal(default)
    return inspect.Parameter(arg.arg, kind, default=value, annotation=annotation(arg.annotation))


def literal(node: ast.expr) -> Any:
    """The value of a default that is written out."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return UNREAD


def annotation(node: ast.expr | None) -> Any:
    """The type that an annotation names, if it is made of builtins and `typing` alone."""
    if node is None:
        return Any
    if not all(isinstance(part, PLAIN_NODES) for part in ast.walk(node)):
        return UNREAD
    try:
        return eval(ast.unparse(node), {"__builtins__": {}}, KNOWN)  # noqa: S307 - names and subscripts only, see PLAIN_NODES
    except (NameError, TypeError, AttributeError, SyntaxError):
        return UNREAD
