"""Catalog of mutations: bugs that are inserted into the source deliberately, each with the tests that must then fail.

This folder has one TOML file for each package of the source.
"""

import ast
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHANGE_KEYS = ("target", "replace", "with")


class MutationError(Exception):
    """Error for an entry that is incomplete or does not fit the source."""


@attrs.frozen
class Change:
    """Replacement of a text in one function, method, class or constant."""

    target: str
    """`module:qualified name`; `module:` means the complete file."""
    replace: str
    """Text that occurs exactly once in the source of the target."""
    replacement: str
    """Text that replaces it; the key `with` in TOML."""

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]

    @property
    def name(self) -> str:
        return self.target.partition(":")[2]

    def applied(self, source: str) -> str:
        """Return the source of the module with this change."""
        start, end = span(source, self.name)
        before, _, after = source[start:end].partition(self.replace)
        n = source[start:end].count(self.replace)
        if n != 1:
            raise MutationError(f"{self.target}: {self.replace!r} occurs {n} times; it must occur once")
        return source[:start] + before + self.replacement + after + source[end:]


@attrs.frozen
class Mutation:
    """Bug to insert, with the tests that must detect it."""

    id: str
    changes: Sequence[Change]
    cost: str
    """Damage to a user if the bug was released."""
    caught_by: Sequence[str]
    """Tests that must fail, as names of pytest."""

    def mutated(self, root: Path = ROOT) -> dict[Path, str]:
        """Return the new text of each changed file. Raises MutationError."""
        texts: dict[Path, str] = {}
        for change in self.changes:
            file = source_file(root, change.module)
            texts[file] = change.applied(texts.get(file) or file.read_text(encoding="utf-8"))
        for file, text in texts.items():
            check_usable(file, text)
        return texts


def load() -> list[Mutation]:
    """Return the mutations of all packages. Raises MutationError."""
    return [mutation for file in sorted(HERE.glob("*.toml")) for mutation in load_file(file)]


def load_file(file: Path) -> list[Mutation]:
    """Return the mutations of one package."""
    return [mutation_of(table) for table in tomllib.loads(file.read_text(encoding="utf-8"))["mutation"]]


def mutation_of(table: Mapping[str, Any]) -> Mutation:
    """Convert an entry of a TOML file, which has a single change or a list `changes`."""
    rest = dict(table)
    try:
        changes = rest.pop("changes", None) or [{key: rest.pop(key) for key in CHANGE_KEYS}]
        return Mutation(**rest, changes=[Change(*(each[key] for key in CHANGE_KEYS)) for each in changes])
    except (KeyError, TypeError) as error:
        raise MutationError(f"{table.get('id')}: {type(error).__name__}: {error}") from error


def source_file(root: Path, module: str) -> Path:
    """Return the source file of a module or a package."""
    path = root.joinpath(*module.split("."))
    found = next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
    if found is None:
        raise MutationError(f"module {module} was not found")
    return found


def span(source: str, name: str) -> tuple[int, int]:
    """Return the start and end offset of a definition in the source of its module, including decorators."""
    if not name:
        return 0, len(source)
    node = found(ast.parse(source), name)
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    lines = source.split("\n")
    start = sum(len(line) + 1 for line in lines[: first - 1])
    return start, start + len("\n".join(lines[first - 1 : node.end_lineno]))


def found(module: ast.Module, name: str) -> ast.stmt:
    """Return the definition or assignment of a qualified name."""
    body: Sequence[ast.stmt] = module.body
    for part in name.split("."):
        node = next((each for each in body if part in names(each)), None)
        if node is None:
            raise MutationError(f"{name} was not found")
        body = getattr(node, "body", [])
    return node


def names(statement: ast.stmt) -> list[str]:
    """Return the names that a statement defines."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [statement.name]
        case ast.Assign() | ast.AnnAssign():
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            found_in = (each for target in targets for each in ast.walk(target))
            return [each.id for each in found_in if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)]
    return []


def check_usable(file: Path, text: str) -> None:
    """Raise MutationError if a text does not compile, or is the same program as the file."""
    try:
        compile(text, file.name, "exec")
    except SyntaxError as error:
        raise MutationError(f"{file.name} does not compile with this change: {error}") from error
    if ast.dump(ast.parse(text)) == ast.dump(ast.parse(file.read_text(encoding="utf-8"))):
        raise MutationError(f"{file.name} is the same program with and without this change")
