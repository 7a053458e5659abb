"""A TOML file and its overrides -> a `schema.Run` that knows where each of its values came from."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import tomli
import tomli_w

from ddpkit import schema, toml
from ddpkit.errors import ConfigError, KeyPath, Problem, shown
from ddpkit.structure import Fault, structure


@attrs.frozen
class Override:
    """One value that the user put over the file's."""

    where: str
    """The option, for messages: `--set 1`."""
    path: KeyPath
    value: Any

    def text(self) -> str:
        """As it is written behind `--set`."""
        return f"{toml.dotted(self.path)}={toml.inline(self.value)}"


@attrs.frozen
class Config:
    """What the user asked for."""

    run: schema.Run
    document: toml.Document
    overrides: tuple[Override, ...] = ()

    def problem(self, path: KeyPath, message: str, *, at_key: bool = False) -> Problem:
        """A mistake in the value at `path`, with its position."""
        return problem_at(self.document, self.overrides, Fault(path, message, at_key))


def load(file: Path, overrides: Iterable[Override] = ()) -> Config:
    """Read, merge and structure. Raises ConfigError with every problem, in order of line."""
    document, overrides = toml.read(file), tuple(overrides)
    data = document.data
    for override in overrides:
        data = replaced(data, override.path, override)
    run, faults = structure(data, schema.Run)
    if run is not None:
        faults = list(not_built_yet(run, ()))
    if run is None or faults:
        raise ConfigError(sorted_problems(problem_at(document, overrides, fault) for fault in faults))
    return Config(simplified(run), document, overrides)


def parse_overrides(texts: Iterable[str]) -> tuple[Override, ...]:
    """`KEY=VALUE` options; VALUE is TOML, else a string. Raises ConfigError where there is no key."""
    return tuple(parse_override(text, f"--set {number}") for number, text in enumerate(texts, start=1))


def parse_override(text: str, where: str) -> Override:
    """One `KEY=VALUE`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError([Problem(where, (), f"expected KEY=VALUE, as in train.epoch=3, got {text!r}")])
    try:
        return Override(where, parse_key(key, where), tomli.loads(f"value = {value}")["value"])
    except tomli.TOMLDecodeError:
        return Override(where, parse_key(key, where), value.strip())
    except (ValueError, RecursionError) as error:
        raise ConfigError([Problem(where, (), f"the value cannot be read: {error}")]) from error


def named_overrides(values: Mapping[str, Any]) -> tuple[Override, ...]:
    """Dotted key -> value, as `ddpkit.run` takes them."""
    return tuple(Override(f"overrides[{key!r}]", parse_key(key, "overrides"), value) for key, value in values.items())


@contextlib.contextmanager
def named_here(overrides: Sequence[Override]) -> Iterator[None]:
    """Problems that ranks have with `--set N` are shown with the N-th override as it is called in this process."""
    called = {f"--set {number}": override.where for number, override in enumerate(overrides, start=1)}

    def renamed(text: str) -> str:
        return re.sub(r"--set \d+", lambda found: called.get(found[0], found[0]), text)

    try:
        yield
    except ConfigError as error:
        problems = [Problem(renamed(each.where), each.path, renamed(each.message)) for each in error.problems]
        raise type(error)(problems) from None


def parse_key(text: str, where: str) -> KeyPath:
    """`train.epoch` -> `("train", "epoch")`. Raises ConfigError when it is no TOML key."""
    try:
        nested: Any = tomli.loads(f"{text} = 0")
    except tomli.TOMLDecodeError:
        raise ConfigError([Problem(where, (), f"{text!r} is no key; one looks like train.epoch")]) from None
    if not nested:
        raise ConfigError([Problem(where, (), f"{text!r} is no key; one looks like train.epoch")])
    path: KeyPath = ()
    while isinstance(nested, dict):
        key, nested = next(iter(nested.items()))
        path = (*path, key)
    return path


def replaced(data: Mapping[str, Any], path: KeyPath, override: Override) -> dict[str, Any]:
    """A copy of `data` with the override in it; missing tables are made."""
    key, *below = path
    inner = data.get(str(key), {})
    if below and not isinstance(inner, Mapping):
        whole = shown(override.path[: -len(below)])
        message = f"{whole!r} is a list; give it whole: {whole}=[...]" if isinstance(inner, list) else f"{whole!r} is not a table"
        raise ConfigError([Problem(override.where, override.path, message)])
    return {**data, str(key): replaced(inner, tuple(below), override) if below else override.value}


def not_built_yet(table: Any, path: KeyPath) -> Iterator[Fault]:
    """Values that ask for what the engine cannot do yet."""
    for field in attrs.fields(type(table)):
        value = getattr(table, field.name)
        if schema.LATER in field.metadata:
            nothing = field.metadata[schema.LATER]
            if value != nothing and (value or nothing is True or nothing == 1):
                yield Fault((*path, field.name), "is not supported yet; leave it out", at_key=True)
        elif value in field.metadata.get(schema.LATER_VALUES, ()):
            yield Fault((*path, field.name), f"{value!r} is not supported yet")
        elif attrs.has(type(value)):
            yield from not_built_yet(value, (*path, field.name))


def simplified(run: schema.Run) -> schema.Run:
    """One spelling of each wish: `dataset.base_dir` is another name of `root_dir`, `postprocess = ""` is none."""
    root_dir = run.dataset.root_dir or run.dataset.base_dir
    dataset = attrs.evolve(run.dataset, root_dir=root_dir, base_dir="")
    return attrs.evolve(run, dataset=dataset, postprocess=run.postprocess if run.postprocess and run.postprocess.type else None)


def problem_at(document: toml.Document, overrides: Iterable[Override], fault: Fault) -> Problem:
    """The fault with its position: the override that brought the value, else the file."""
    brought = [each.where for each in overrides if fault.path[: len(each.path)] == each.path]
    inside = [each.where for each in overrides if each.path[: len(fault.path)] == fault.path]
    if brought or (inside and fault.path not in document.spans):
        return Problem([*inside, *brought][-1], fault.path, fault.message)
    message = f"{fault.message} (with {' and '.join(inside)})" if inside else fault.message
    return Problem(document.where(fault.path, at_key=fault.at_key), fault.path, message)


def sorted_problems(problems: Iterable[Problem]) -> list[Problem]:
    """In order of line and column."""

    def position(problem: Problem) -> tuple[int, ...]:
        return tuple(int(part) for part in problem.where.rsplit(":", 2)[1:] if part.isdigit())

    return sorted(problems, key=position)


def dump(run: schema.Run) -> str:
    """The resolved config as TOML: every default written out, paths absolute, None left out, `run_id` empty."""
    plain = tables(run)
    plain["run_id"] = ""
    plain["output_dir"] = str(Path(run.output_dir).absolute())
    plain["dataset"]["root_dir"] = str(Path(run.dataset.root_dir).absolute()) if run.dataset.root_dir else ""
    return tomli_w.dumps(plain)


def tables(value: Any) -> Any:
    """Attrs classes as the tables that they came from; what is not set or not built is left out."""
    if isinstance(value, list | tuple):
        return [tables(item) for item in value]
    if not attrs.has(type(value)):
        return value
    table: dict[str, Any] = {}
    for field in attrs.fields(type(value)):
        item = getattr(value, field.name)
        if "rest" in field.metadata:
            table |= item
        elif item is not None and schema.LATER not in field.metadata:
            table[field.name] = tables(item)
    return table
