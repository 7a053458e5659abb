"""Parser of YAML files (`dataset.ref`) that records positions; it uses PyYAML's safe loader."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ddpkit.config import document
from ddpkit.config.document import Document, Span, locate
from ddpkit.errors import ConfigError, Diagnostic, KeyPath


def parse(text: str, file: Path) -> Document:
    """Parse a YAML text whose top level is a table. Raises ConfigError."""
    import yaml  # noqa: PLC0415 - only few configs need it

    try:
        data, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        place = locate(text, str(file), error.problem_mark.index if error.problem_mark else 0)
        raise ConfigError([Diagnostic(place.where, (), f"is not valid YAML: {error.problem}", place.excerpt)]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([Diagnostic(str(file), (), f"cannot be read as YAML: {error}")]) from error
    if not isinstance(data, dict):
        raise ConfigError([Diagnostic(str(file), (), "the top level must be a table")])
    document.check_size(data, str(file))
    return document.check_limits(Document(str(file), text, data, dict(collect_spans(node, ()))))


def collect_spans(node: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Span]]:
    """Yield the span of every key and value below a node of PyYAML, with its path."""
    if node.id == "mapping":
        for key, value in node.value:
            inner = (*path, key.value)
            yield inner, Span(key.start_mark.index, value.start_mark.index)
            yield from collect_spans(value, inner)
    elif node.id == "sequence":
        for index, item in enumerate(node.value):
            yield (*path, index), Span(item.start_mark.index, item.start_mark.index)
            yield from collect_spans(item, (*path, index))
