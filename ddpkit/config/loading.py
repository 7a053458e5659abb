"""Reading of TOML files and overrides: the result is a `schema.Run` and the origin of each of its values.

A config consists of layers, and each layer overrides those before it: the file that `dataset.ref` names, the files that
`extends` names, the file itself, the `--set` options. Tables are merged; lists and `[transform]` are replaced completely.
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
from ddpkit.config.converter import Issue, find_field, find_shorthand, is_array, structure_partial, written_path
from ddpkit.config.document import Document, Location
from ddpkit.errors import ConfigError, Diagnostic, KeyPath, format_key_path

WHOLE: frozenset[KeyPath] = frozenset({("transform",)})
"""Tables that are replaced, not merged, because the order of their keys matters."""


@attrs.frozen
class Override:
    """Layer with one value, with which the user overrides the files."""

    name: str
    """Name of the option for messages, such as `--set 1`."""
    path: KeyPath
    value: Any
    is_argument: bool = False
    """Whether the name is that of an argument for this value, such as `--threshold`; messages then omit the key."""

    def text(self) -> str:
        """Return the override as an argument of `--set`."""
        return f"{toml.format_key(self.path)}={toml.format_inline(self.value)}"

    def place(self, _path: KeyPath, *, at_key: bool = False) -> Location:  # noqa: ARG002 - same signature as Document.place
        """Return the option as the location of any path."""
        return Location(self.name)


ConfigLayer = Document | Override


@attrs.frozen
class Config:
    """Config of a run, with the layers that it was merged from."""

    run: schema.Run
    """Typed tables. A wrong value (see `issues`) is left out or, if it is required, replaced by a placeholder."""
    layers: tuple[ConfigLayer, ...]
    data: Mapping[str, Any]
    """Merged layers as plain tables."""
    origins: Mapping[KeyPath, ConfigLayer]
    """Key path -> layer that set the value. A path that is not listed has the layer of its table."""
    issues: tuple[Issue, ...] = ()
    """Issues with unknown keys, wrong types and wrong values."""

    def with_run(self, **values: Any) -> "Config":
        """Return the config with other values of the run. They are not validated: a moved run folder may have any name."""
        with attrs.validators.disabled():
            return attrs.evolve(self, run=attrs.evolve(self.run, **values))

    def folder(self, path: KeyPath) -> Path:
        """Return the folder of the file that set a value; of the requested file if no file set it."""
        origin = self.origin(path)
        return Path(origin.name if isinstance(origin, Document) else self.file.name).parent

    @property
    def file(self) -> Document:
        """File that the user requested."""
        return [layer for layer in self.layers if isinstance(layer, Document)][-1]

    def written(self, path: KeyPath) -> KeyPath | None:
        """Return the path at which the user wrote the value of `path`; None if the value is a default.

        It is `path`, or the path above it if a bare string is written in place of the table or the list, and sets its `type`.
        """
        value: Any = self.data
        for depth, part in enumerate(path):
            if isinstance(value, str):
                return path[:depth] if path[depth:] in (("type",), (0, "type")) else None
            if isinstance(value, Mapping) and part not in value:
                return None
            value = value[part]
        return path

    def origin(self, path: KeyPath) -> ConfigLayer | None:
        """Return the layer that set a value or the nearest table above it; None for a default."""
        path = written_path(path, self.issues)
        above = (path[:length] for length in range(len(path), 0, -1))
        return next((self.origins[each] for each in above if each in self.origins), None)

    def problem(self, path: KeyPath, message: str) -> Diagnostic:
        """Return a diagnostic for the value at `path`, with its location."""
        return self.placed(Issue(path, message))

    def placed(self, issue: Issue) -> Diagnostic:
        """Return an issue as a diagnostic, located at the value or at the nearest table above it."""
        issue = attrs.evolve(issue, path=written_path(issue.path, self.issues))
        inside = {layer.name: layer for path, layer in self.origins.items() if path[: len(issue.path)] == issue.path}
        origin = self.origin(issue.path) or next(iter(inside.values()), self.layers[0])
        place = origin.place(issue.path, at_key=issue.at_key)
        others = [name for name, layer in inside.items() if isinstance(layer, Override) and layer is not origin]
        message = f"{issue.message} (with {' and '.join(others)})" if others else issue.message
        is_argument = isinstance(origin, Override) and origin.is_argument and origin.path == issue.path
        return Diagnostic(place.where, () if is_argument else issue.path, message, place.excerpt)


def load(file: Path, overrides: Iterable[Override] = ()) -> Config:
    """Read a config. Raises ConfigError with every unknown key, wrong type and wrong value."""
    config = read(file, overrides)
    if config.issues:
        raise ConfigError(sort_problems(map(config.placed, config.issues)))
    return config


def read(file: Path, overrides: Iterable[Override] = ()) -> Config:
    """Read a config and the files that it refers to; `issues` lists the issues with keys and values.

    Raises ConfigError if a file cannot be read or parsed.
    """
    layers: list[ConfigLayer] = [*load_extended(toml.read(file), ()), *overrides]
    data, origins = merge_layers(layers)
    layers = [*load_reference(data, origins, file), *layers]
    data, origins = merge_layers(layers)
    run, issues = structure_partial(data, schema.Run)
    return with_plugin_files(Config(unify_spellings(run), tuple(layers), data, origins, tuple(issues)))


def with_plugin_files(config: Config) -> Config:
    """Return the config with absolute paths in `plugins.files`."""
    folder, table = config.folder(("plugins", "files")), config.run.plugins
    files = [str((folder / file).absolute()) for file in table.files]
    with attrs.validators.disabled():  # placeholders may be out of range
        return attrs.evolve(config, run=attrs.evolve(config.run, plugins=attrs.evolve(table, files=files)))


def load_extended(found: Document, above: tuple[Path, ...]) -> list[Document]:
    """Return the files that a file extends, then the file. Raises ConfigError if one is not readable or extends itself."""
    wanted, file = found.data.get("extends", ""), Path(found.name)
    if not isinstance(wanted, str) or not wanted:
        return [found]
    base, chain = file.parent / wanted, (*above, file.resolve())
    if base.resolve() in chain:
        raise error_at(found, ("extends",), f"{base} extends itself; remove one 'extends' of the cycle")
    return [*load_extended(load_relative(found, ("extends",), base), chain), found]


def load_reference(data: Mapping[str, Any], origins: Mapping[KeyPath, ConfigLayer], file: Path) -> list[Document]:
    """Return the layer of `dataset.ref`, or []. Its file has the keys of `[dataset]` at the top, and optionally `classes`."""
    table = data.get("dataset")
    wanted = table.get("ref", "") if isinstance(table, Mapping) else ""
    if not isinstance(wanted, str) or not wanted:
        return []
    origin = origins.get(("dataset", "ref")) or origins[("dataset",)]
    folder = Path(origin.name if isinstance(origin, Document) else file).parent
    found = load_relative(origin, ("dataset", "ref"), folder / wanted)
    if "ref" in found.data:
        raise error_at(found, ("ref",), "is not allowed in a file that 'dataset.ref' refers to; remove it")
    classes = {"classes": found.data["classes"]} if "classes" in found.data else {}
    table = {key: value for key, value in found.data.items() if key != "classes"}
    return [attrs.evolve(found, data={**classes, "dataset": table}, root=("dataset",))]


def load_relative(origin: ConfigLayer, path: KeyPath, file: Path) -> Document:
    """Read the file that the value at `path` names: YAML if it has that suffix, else TOML. Raises ConfigError."""
    if not file.is_file():
        raise error_at(origin, path, f"file {file} was not found")
    if file.suffix in (".yaml", ".yml"):
        return yaml.parse(document.read_text(file), file)
    return toml.read(file)


def error_at(origin: ConfigLayer, path: KeyPath, message: str) -> ConfigError:
    place = origin.place(path)
    return ConfigError([Diagnostic(place.where, path, message, place.excerpt)])


def merge_layers(layers: Iterable[ConfigLayer]) -> tuple[dict[str, Any], dict[KeyPath, ConfigLayer]]:
    """Merge the layers in order. Return the tables, and the origin of each value. Raises ConfigError."""
    data: dict[str, Any] = {}
    origins: dict[KeyPath, ConfigLayer] = {}
    for layer in layers:
        if isinstance(layer, Override):
            apply_override(data, origins, layer)
        else:
            merge(data, layer.data, (), layer, origins)
    return data, origins


def merge(
    data: dict[str, Any], table: Mapping[str, Any], path: KeyPath, layer: ConfigLayer, origins: dict[KeyPath, ConfigLayer]
) -> None:
    """Merge a table into `data` and its layer into `origins`, both in place."""
    for name, value in table.items():
        inner = (*path, name)
        if isinstance(value, Mapping):
            expand_name(data, inner)
        if not isinstance(value, Mapping) or inner in WHOLE or not isinstance(data.get(name), dict):
            for old in [each for each in origins if each[: len(inner)] == inner]:
                del origins[old]
            origins[inner] = layer
            data[name] = {} if isinstance(value, Mapping) else value
        if isinstance(value, Mapping):
            merge(data[name], value, inner, layer, origins)


def expand_name(table: dict[str, Any], path: KeyPath) -> None:
    """Convert the last key of `path`, in place, from a name to the table with this name, so that other keys can be added."""
    name, field = str(path[-1]), find_field(schema.Run, path)
    key = field and not is_array(field.type) and find_shorthand(field.type)
    if key and isinstance(table.get(name), str):
        table[name] = {key: table[name]}


def apply_override(data: dict[str, Any], origins: dict[KeyPath, ConfigLayer], layer: Override) -> None:
    """Set the value of an override in place, and create missing tables. Raises ConfigError if a key above it is not a table."""
    table, *above = data, *layer.path[:-1]
    for depth, name in enumerate(above, start=1):
        expand_name(table, layer.path[:depth])
        inner = table.setdefault(str(name), {})
        if not isinstance(inner, dict):
            whole = format_key_path(layer.path[:depth])
            is_list = isinstance(inner, list)
            message = f"{whole!r} is a list; set the complete list: {whole}=[...]" if is_list else f"{whole!r} is not a table"
            raise ConfigError([Diagnostic(layer.name, layer.path, message)])
        table = inner
    table.pop(str(layer.path[-1]), None)
    merge(table, {str(layer.path[-1]): layer.value}, layer.path[:-1], layer, origins)


def parse_overrides(texts: Iterable[str]) -> tuple[Override, ...]:
    """Parse `KEY=VALUE` options; VALUE is TOML, else a string. Raises ConfigError if KEY is missing or wrong."""
    return tuple(parse_override(text, f"--set {number}") for number, text in enumerate(texts, start=1))


def parse_override(text: str, name: str) -> Override:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError([Diagnostic(name, (), f"expected KEY=VALUE, for example train.epoch=3, got {text!r}")])
    path = parse_key(key, name)
    if path == ("extends",):
        raise ConfigError([Diagnostic(name, path, "can be set only in a file; pass a file with this key to the command")])
    return Override(name, path, parse_value(value, name))


def parse_value(text: str, name: str) -> Any:
    """Parse a TOML value; return other text as a string. Raises ConfigError for TOML that is not allowed in a config."""
    try:
        return toml.parse(f"value = {text}", name).data["value"]
    except ConfigError as error:
        if "is not valid TOML: " in str(error):
            return text.strip()
        raise ConfigError([Diagnostic(name, (), f"invalid value: {error.problems[0].message}")]) from error


def named_overrides(values: Mapping[str, Any], names: Mapping[str, str] | None = None) -> tuple[Override, ...]:
    """Return overrides from a mapping of dotted key -> value, as `ddpkit.run` accepts it. Raises ConfigError for a wrong key.

    `names`: names of keys in messages, such as the argument of a command; others are `overrides['KEY']`.
    """
    arguments = names or {}
    return tuple(
        Override(arguments.get(key, f"overrides[{key!r}]"), parse_key(key, "overrides"), value, is_argument=key in arguments)
        for key, value in values.items()
    )


@contextlib.contextmanager
def rename_overrides(overrides: Sequence[Override]) -> Iterator[None]:
    """Replace `--set N` in problems reported by ranks with the name of the N-th override in this process."""
    names = {f"--set {number}": override.name for number, override in enumerate(overrides, start=1)}

    def renamed(text: str) -> str:
        return re.sub(r"--set \d+", lambda found: names.get(found[0], found[0]), text)

    try:
        yield
    except ConfigError as error:
        problems = [attrs.evolve(each, where=renamed(each.where), message=renamed(each.message)) for each in error.problems]
        raise type(error)(problems) from None


def parse_key(text: str, name: str) -> KeyPath:
    """Parse a dotted key: `train.epoch` -> `("train", "epoch")`. Raises ConfigError if it is not a TOML key."""
    try:
        nested: Any = tomli.loads(f"{text} = 0")
    except tomli.TOMLDecodeError:
        nested = {}
    path: KeyPath = ()
    while isinstance(nested, dict) and nested:
        name_of, nested = next(iter(nested.items()))
        path = (*path, name_of)
    if not path:
        raise ConfigError([Diagnostic(name, (), f"{text!r} is not a valid key; write it like train.epoch")])
    return path


def unify_spellings(run: schema.Run) -> schema.Run:
    """Replace synonyms: `dataset.base_dir` becomes `root_dir`, and `postprocess = ""` becomes None."""
    folders = {run.dataset.root_dir, run.dataset.base_dir} - {""}
    with attrs.validators.disabled():  # placeholders may be out of range
        dataset = run.dataset
        if len(folders) == 1:  # two different folders stay, for `cross_field_rules`
            dataset = attrs.evolve(dataset, root_dir=folders.pop(), base_dir="")
        postprocess = run.postprocess if run.postprocess and run.postprocess.type else None
        return attrs.evolve(run, dataset=dataset, postprocess=postprocess)


def sort_problems(problems: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Sort problems by file, line and column."""

    def position(problem: Diagnostic) -> tuple[str, tuple[int, ...]]:
        file, *numbers = problem.where.rsplit(":", 2)
        return file, tuple(int(part) for part in numbers if part.isdigit())

    return sorted(problems, key=position)


def dump(run: schema.Run) -> str:
    """Return the resolved config as TOML: every default is written out, paths are absolute, None is left out.

    `run_id` and the keys that refer to other configs or runs (`extends`, `dataset.ref`, `model.continue_checkpoint`) are empty. A
    `task` that a config must not contain, the name of a folder to which the run was moved, becomes the default.
    """
    plain = to_tables(run)
    if not schema.A_NAME.matches(run.task):
        plain["task"] = attrs.fields(schema.Run).task.default
    for path in ("extends", "run_id"):
        plain[path] = ""
    plain["model"] |= {"continue_checkpoint": "", "continue_ext_checkpoint": ""}
    plain["model"]["pretrained"] = absolute_path(run.model.pretrained)
    for table in plain["train"]["helpers"].values():
        table["pretrained"] = absolute_path(table["pretrained"])
    plain["output_dir"] = str(Path(run.output_dir).absolute())
    plain["dataset"] |= {"ref": "", "root_dir": absolute_path(run.dataset.root_dir)}
    plain["predict"]["input"] = absolute_path(run.predict.input)
    return tomli_w.dumps(plain)


def absolute_path(path: str) -> str:
    """Return the absolute path; an empty path stays empty."""
    return path and str(Path(path).absolute())


def to_tables(value: Any) -> Any:
    """Convert attrs classes to the plain tables of a TOML file; None is left out."""
    if isinstance(value, list | tuple):
        return [to_tables(item) for item in value]
    if isinstance(value, Mapping):
        return {name: to_tables(item) for name, item in value.items()}
    if not attrs.has(type(value)):
        return value
    table: dict[str, Any] = {}
    for field in attrs.fields(type(value)):
        item = getattr(value, field.name)
        if field.metadata.get("rest"):
            table |= item
        elif item is not None:
            table[field.name] = to_tables(item)
    return table
