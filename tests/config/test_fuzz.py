"""Random configs with random mistakes: each mistake is found at its position, and nothing raises."""

import attrs
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddpkit import errors
from ddpkit.cli.schema import KINDS
from ddpkit.config import converter, loading, schema, toml
from ddpkit.config.check import ranks_in_file, validate
from ddpkit.config.converter import is_array, is_literal, is_mapping, is_union, plain_arms
from ddpkit.plugins import manager

MARK = "qzkwx"
"""Marks the mistake; no key, name or value is similar to it."""
FOUND = manager.load()
NAMES = {kind: sorted(entry.component.name for entry in FOUND.registry if entry.kind == kind) for kind, _, _ in KINDS.values()}
TRANSFORMS = sorted(entry.component.name for entry in FOUND.registry if entry.kind == "transform")


def value_of(kind, field):
    """Any value of a key's type."""
    if attrs.has(kind):
        return table_of(kind)
    if is_union(kind):
        return st.one_of([value_of(arm, field) for arm in plain_arms(kind)])
    if is_literal(kind):
        return st.sampled_from(kind.__args__)
    if is_mapping(kind):
        return st.just({})
    if is_array(kind):
        items = kind.__args__[0]
        return st.just([]) if not attrs.has(items) else st.lists(table_of(items), max_size=2)
    return {
        bool: st.booleans(),
        int: st.integers(-3, 10),
        float: st.one_of(st.integers(-1, 3), st.floats(-1, 2)),
        str: st.sampled_from(["", "auto", "a_name", 'an "odd" one', "ünï\n"]),
    }[kind]


@st.composite
def table_of(draw, kind):
    """A table with its required keys and some others, in any order."""
    table = {}
    for field in draw(st.permutations(attrs.fields(kind))):
        if field.metadata.get("rest") or field.name in ("extends", "ref"):
            continue
        if field.default is attrs.NOTHING or draw(st.booleans()):
            is_name = kind in KINDS and field.name == KINDS[kind][1]
            table[field.name] = draw(st.sampled_from(NAMES[KINDS[kind][0]]) if is_name else value_of(field.type, field))
    return table


@st.composite
def documents(draw):
    """A complete config."""
    data = draw(table_of(schema.Run))
    if draw(st.booleans()):
        data["transform"] = {name: [] for name in draw(st.lists(st.sampled_from(TRANSFORMS), unique=True))}
    return data


def tables_in(value, path=()):
    """The tables whose keys the schema defines."""
    if isinstance(value, dict):
        if not (path and path[-1] in ("config", "prefer")):
            yield path, value
        for key, item in value.items():
            yield from tables_in(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from tables_in(item, (*path, index))


def break_document(draw, data):
    """Insert the mark somewhere: as an unknown key, or in place of a value."""
    path, table = draw(st.sampled_from([each for each in tables_in(data) if each[0] != ("transform",)]))
    scalars = [key for key, value in table.items() if isinstance(value, bool | int | float)]
    if scalars and draw(st.booleans()):
        key = draw(st.sampled_from(scalars))
        table[key] = MARK
        return (*path, key), f'"{MARK}"'
    table[MARK] = draw(st.sampled_from([1, "x", [1, [2]], {"a": {}}]))
    return (*path, MARK), MARK


@st.composite
def broken_documents(draw):
    data = draw(documents())
    path, written = break_document(draw, data)
    return tomli_w.dumps(data, multiline_strings=draw(st.booleans())), path, written


def validate_text(text):
    document = toml.parse(text, "x.toml")
    data, origins = loading.merge_layers([document])
    run, issues = converter.structure_partial(data, schema.Run)
    read = loading.Config(loading.unify_spellings(run), (document,), data, origins, tuple(issues))
    return validate(read, FOUND, ranks_in_file(read.run))


def assert_mistake_is_located(example):
    text, path, written = example
    if text.count(written) != 1:  # a table's name, repeated by the headers of those inside it
        text.index(written)
    before = text[: text.index(written)]
    wanted = f"x.toml:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"

    verdict = validate_text(text)

    at_path = [problem for problem in verdict.problems if problem.path == path]
    assert at_path, (path, verdict.problems)
    assert at_path[0].where == wanted


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(broken_documents())
def test_a_mistake_is_found_at_its_position(example):
    assert_mistake_is_located(example)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(broken_documents())
def test_10000_mistakes_are_found_at_their_position(example):
    assert_mistake_is_located(example)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(documents())
def test_any_document_is_validated_without_an_exception(data):
    validate_text(tomli_w.dumps(data))


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(documents(), st.data())
def test_a_corrupted_text_is_validated_or_rejected(data, more):
    text = tomli_w.dumps(data)
    at = more.draw(st.integers(0, len(text)))
    text = (
        text[:at] + more.draw(st.sampled_from(["", "=", "[", "]]", '"', "'''", "\n", "#", "{", ",", "\0", "é"])) + text[at + 1 :]
    )

    try:
        validate_text(text)
    except errors.ConfigError as error:
        assert len(error.problems) == 1  # noqa: PT017 - a text that is no TOML has one place
