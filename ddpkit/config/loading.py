"""TOML files and overrides -> a `schema.Run` that knows where each of its values came from.

A config is made of layers, each laid over the one before: the file that `dataset.ref` names, the files that `extends`
names, the file itself, the `--set` options. Tables merge; lists and `[transform]` are replaced whole.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import tomli
import tomli_w

from ddpkit.config import document, schema, toml, yaml
from ddpkit.config.converter import Fault, salvage
from ddpkit.config.document import Document, Place
from ddpkit.errors import ConfigError, KeyPath, Problem, shown

WHOLE: frozenset[KeyPath] = frozenset({("transform",)})
"""Tables that are not merged: their order has a meaning."""


@attrs.frozen
class Override:
    """One value that the user put over the file's: a layer of its own."""

    name: str
    """The option, for messages: `--set 1`."""
    path: KeyPath
    value: Any

    def text(self) -> str:
        """As it is written behind `--set`."""
        return f"{toml.dotted(self.path)}={toml.inline(self.value)}"

    def place(self, _path: KeyPath, *, at_key: bool = False) -> Place:  # noqa: ARG002 - as a document's
        """The option."""
        return Place(self.name)


Layer = Document | Override


@attrs.frozen
class Config:
    """What the user asked for."""

    run: schema.Run
    """Where something is wrong (`faults`), what stands in for it."""
    layers: tuple[Layer, ...]
    data: Mapping[str, Any]
    """The layers merged."""
    origins: Mapping[KeyPath, Layer]
    """Which layer a value is from; one that is not listed is from its table's."""
    faults: tuple[Fault, ...] = ()
    """Unknown keys, wrong types and values."""

    def folder(self, path: KeyPath) -> Path:
        """Of the file that gave a value; of the file that was asked for where none did."""
        origin = self.origin(path)
        return Path(origin.name if isinstance(origin, Document) else self.file.name).parent

    @property
    def file(self) -> Document:
        """The file that was asked for."""
        return [layer for layer in self.layers if isinstance(layer, Document)][-1]

    def written(self, path: KeyPath) -> KeyPath | None:
        """Where the user wrote the value at `path`: there, or above, where a name stands for its table; None = nowhere."""
        value: Any = self.data
        for depth, part in enumerate(path):
            if isinstance(value, str):
                return path[:depth] if part == "type" else None
            if isinstance(value, Mapping) and part not in value:
                return None
            value = value[part]
        return path

    def origin(self, path: KeyPath) -> Layer | None:
        """The layer that gave a value, or else the nearest table above it; None where nobody did."""
        above = (path[:length] for length in range(len(path), 0, -1))
        return next((self.origins[each] for each in above if each in self.origins), None)

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A mistake in the value at `path`, with its place."""
        return self.placed(Fault(path, message))

    def placed(self, fault: Fault) -> Problem:
        """A fault with its place: that of the value, else of the nearest table above it."""
        inside = {layer.name: layer for path, layer in self.origins.items() if path[: len(fault.path)] == fault.path}
        origin = self.origin(fault.path) or next(iter(inside.values()), self.layers[0])
        place = origin.place(fault.path, at_key=fault.at_key)
        others = [name for name, layer in inside.items() if isinstance(layer, Override) and layer is not origin]
        message = f"{fault.message} (with {' and '.join(others)})" if others else fault.message
        return Problem(place.where, fault.path, message, place.excerpt)


def load(file: Path, overrides: Iterable[Override] = ()) -> Config:
    """Read a config that must be whole. Raises ConfigError with every unknown key and wrong value."""
    config = read(file, overrides)
    if config.faults:
        raise ConfigError(sorted_problems(map(config.placed, config.faults)))
    return config


def read(file: Path, overrides: Iterable[Override] = ()) -> Config:
    """Read a config and what it refers to; what is wrong in it is in `faults`. Raises ConfigError for what cannot be read."""
    layers: list[Layer] = [*extended(toml.read(file), ()), *overrides]
    data, origins = merged(layers)
    layers = [*referred(data, origins, file), *layers]
    data, origins = merged(layers)
    run, faults = salvage(data, schema.Run)
    return with_files(Config(simplified(run), tuple(layers), data, origins, tuple(faults)))


def with_files(config: Config) -> Config:
    """`plugins.files` as absolute paths."""
    folder, table = config.folder(("plugins", "files")), config.run.plugins
    files = [str((folder / file).absolute()) for file in table.files]
    with attrs.validators.disabled():
        return attrs.evolve(config, run=attrs.evolve(config.run, plugins=attrs.evolve(table, files=files)))


def extended(found: Document, above: tuple[Path, ...]) -> list[Document]:
    """A file behind the ones that it extends. Raises ConfigError for one that cannot be read, or extends itself."""
    wanted, file = found.data.get("extends", ""), Path(found.name)
    if not isinstance(wanted, str) or not wanted:
        return [found]
    base, chain = file.parent / wanted, (*above, file.resolve())
    if base.resolve() in chain:
        raise at_value(found, ("extends",), f"{base} extends itself")
    return [*extended(beside(found, ("extends",), base), chain), found]


def referred(data: Mapping[str, Any], origins: Mapping[KeyPath, Layer], file: Path) -> list[Document]:
    """The layer of `dataset.ref`: a `[dataset]` table by itself, which may also have `classes`."""
    table = data.get("dataset")
    wanted = table.get("ref", "") if isinstance(table, Mapping) else ""
    if not isinstance(wanted, str) or not wanted:
        return []
    origin = origins.get(("dataset", "ref")) or origins[("dataset",)]
    folder = Path(origin.name if isinstance(origin, Document) else file).parent
    found = beside(origin, ("dataset", "ref"), folder / wanted)
    if "ref" in found.data:
        raise at_value(found, ("ref",), "a file that is referred to cannot refer to another")
    classes = {"classes": found.data["classes"]} if "classes" in found.data else {}
    table = {key: value for key, value in found.data.items() if key != "classes"}
    return [attrs.evolve(found, data={**classes, "dataset": table}, root=("dataset",))]


def beside(origin: Layer, path: KeyPath, file: Path) -> Document:
    """A file that the value at `path` names; YAML by its suffix, else TOML. Raises ConfigError."""
    if not file.is_file():
        raise at_value(origin, path, f"there is no file {file}")
    if file.suffix in (".yaml", ".yml"):
        return yaml.parse(document.read_text(file), file)
    return toml.read(file)


def at_value(origin: Layer, path: KeyPath, message: str) -> ConfigError:
    """A mistake that ends the reading."""
    place = origin.place(path)
    return ConfigError([Problem(place.where, path, message, place.excerpt)])


def merged(layers: Iterable[Layer]) -> tuple[dict[str, Any], dict[KeyPath, Layer]]:
    """The layers laid over each other, and from which each value is. Raises ConfigError."""
    data: dict[str, Any] = {}
    origins: dict[KeyPath, Layer] = {}
    for layer in layers:
        if isinstance(layer, Override):
            override(data, origins, layer)
        else:
            lay(data, layer.data, (), layer, origins)
    return data, origins


def lay(data: dict[str, Any], table: Mapping[str, Any], path: KeyPath, layer: Layer, origins: dict[KeyPath, Layer]) -> None:
    """Lay a table over `data`, in place."""
    for name, value in table.items():
        inner = (*path, name)
        if not isinstance(value, Mapping) or inner in WHOLE or not isinstance(data.get(name), dict):
            for old in [each for each in origins if each[: len(inner)] == inner]:
                del origins[old]
            origins[inner] = layer
            data[name] = {} if isinstance(value, Mapping) else value
        if isinstance(value, Mapping):
            lay(data[name], value, inner, layer, origins)


def override(data: dict[str, Any], origins: dict[KeyPath, Layer], layer: Override) -> None:
    """Put one value in its place, whatever was there; missing tables are made. Raises ConfigError."""
    table, *above = data, *layer.path[:-1]
    for depth, name in enumerate(above, start=1):
        inner = table.setdefault(str(name), {})
        if not isinstance(inner, dict):
            whole = shown(layer.path[:depth])
            is_list = isinstance(inner, list)
            message = f"{whole!r} is a list; give it whole: {whole}=[...]" if is_list else f"{whole!r} is not a table"
            raise ConfigError([Problem(layer.name, layer.path, message)])
        table = inner
    table.pop(str(layer.path[-1]), None)
    lay(table, {str(layer.path[-1]): layer.value}, layer.path[:-1], layer, origins)


def parse_overrides(texts: Iterable[str]) -> tuple[Override, ...]:
    """`KEY=VALUE` options; VALUE is TOML, else a string. Raises ConfigError where there is no key."""
    return tuple(parse_override(text, f"--set {number}") for number, text in enumerate(texts, start=1))


def parse_override(text: str, name: str) -> Override:
    """One `KEY=VALUE`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError([Problem(name, (), f"expected KEY=VALUE, as in train.epoch=3, got {text!r}")])
    path = parse_key(key, name)
    if path == ("extends",):
        raise ConfigError([Problem(name, path, "only a file extends another; give that file to the command")])
    return Override(name, path, parse_value(value, name))


def parse_value(text: str, name: str) -> Any:
    """TOML, else the text itself. Raises ConfigError for TOML that no config can have."""
    try:
        return toml.parse(f"value = {text}", name).data["value"]
    except ConfigError as error:
        if "is not TOML: " in str(error):
            return text.strip()
        raise ConfigError([Problem(name, (), f"the value cannot be read: {error.problems[0].message}")]) from error


def named_overrides(values: Mapping[str, Any]) -> tuple[Override, ...]:
    """Dotted key -> value, as `ddpkit.run` takes them."""
    return tuple(Override(f"overrides[{key!r}]", parse_key(key, "overrides"), value) for key, value in values.items())


@contextlib.contextmanager
def named_here(overrides: Sequence[Override]) -> Iterator[None]:
    """Problems that ranks have with `--set N` are shown with the N-th override as it is called in this process."""
    called = {f"--set {number}": override.name for number, override in enumerate(overrides, start=1)}

    def renamed(text: str) -> str:
        return re.sub(r"--set \d+", lambda found: called.get(found[0], found[0]), text)

    try:
        yield
    except ConfigError as error:
        problems = [attrs.evolve(each, where=renamed(each.where), message=renamed(each.message)) for each in error.problems]
        raise type(error)(problems) from None


def parse_key(text: str, name: str) -> KeyPath:
    """`train.epoch` -> `("train", "epoch")`. Raises ConfigError when it is no TOML key."""
    try:
        nested: Any = tomli.loads(f"{text} = 0")
    except tomli.TOMLDecodeError:
        nested = {}
    path: KeyPath = ()
    while isinstance(nested, dict) and nested:
        name_of, nested = next(iter(nested.items()))
        path = (*path, name_of)
    if not path:
        raise ConfigError([Problem(name, (), f"{text!r} is no key; one looks like train.epoch")])
    return path


def simplified(run: schema.Run) -> schema.Run:
    """One spelling of each wish: `dataset.base_dir` is another name of `root_dir`, `postprocess = ""` is none."""
    folders = {run.dataset.root_dir, run.dataset.base_dir} - {""}
    with attrs.validators.disabled():
        dataset = run.dataset
        if len(folders) == 1:
            dataset = attrs.evolve(dataset, root_dir=folders.pop(), base_dir="")
        postprocess = run.postprocess if run.postprocess and run.postprocess.type else None
        return attrs.evolve(run, dataset=dataset, postprocess=postprocess)


def sorted_problems(problems: Iterable[Problem]) -> list[Problem]:
    """In order of file, line and column."""

    def position(problem: Problem) -> tuple[str, tuple[int, ...]]:
        file, *numbers = problem.where.rsplit(":", 2)
        return file, tuple(int(part) for part in numbers if part.isdigit())

    return sorted(problems, key=position)


def dump(run: schema.Run) -> str:
    """The resolved config as TOML: every default written out, paths absolute, None left out, `run_id` empty."""
    plain = tables(run)
    for path in ("extends", "run_id"):
        plain[path] = ""
    plain["model"] |= {"continue_checkpoint": "", "continue_ext_checkpoint": ""}
    plain["model"]["pretrained"] = absolute(run.model.pretrained)
    plain["output_dir"] = str(Path(run.output_dir).absolute())
    plain["dataset"] |= {"ref": "", "root_dir": absolute(run.dataset.root_dir)}
    plain["predict"]["input"] = absolute(run.predict.input)
    return tomli_w.dumps(plain)


def absolute(path: str) -> str:
    """The same from any folder; empty stays empty."""
    return path and str(Path(path).absolute())


def tables(value: Any) -> Any:
    """Attrs classes as the tables that they came from; what is not set is left out."""
    if isinstance(value, list | tuple):
        return [tables(item) for item in value]
    if not attrs.has(type(value)):
        return value
    table: dict[str, Any] = {}
    for field in attrs.fields(type(value)):
        item = getattr(value, field.name)
        if field.metadata.get("rest"):
            table |= item
        elif item is not None:
            table[field.name] = tables(item)
    return table
