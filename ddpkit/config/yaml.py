"""A YAML file as a document with positions (`dataset.ref`); read by PyYAML's safe loader."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ddpkit.config import document
from ddpkit.config.document import Document, Span, place_in
from ddpkit.errors import ConfigError, KeyPath, Problem


def parse(text: str, file: Path) -> Document:
    """Read a YAML text whose top is a table. Raises ConfigError."""
    import yaml  # noqa: PLC0415 - wanted by few configs

    try:
        data, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        place = place_in(text, str(file), error.problem_mark.index if error.problem_mark else 0)
        raise ConfigError([Problem(place.where, (), f"is not YAML: {error.problem}", place.excerpt)]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([Problem(str(file), (), f"is not YAML that can be read: {error}")]) from error
    if not isinstance(data, dict):
        raise ConfigError([Problem(str(file), (), "expected a table at the top")])
    document.refuse_many(data, str(file))
    return document.accepted(Document(str(file), text, data, dict(spans(node, ()))))


def spans(node: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Span]]:
    """Of every key and value below a node of PyYAML."""
    if node.id == "mapping":
        for key, value in node.value:
            inner = (*path, key.value)
            yield inner, Span(key.start_mark.index, value.start_mark.index)
            yield from spans(value, inner)
    elif node.id == "sequence":
        for index, item in enumerate(node.value):
            yield (*path, index), Span(item.start_mark.index, item.start_mark.index)
            yield from spans(item, (*path, index))
