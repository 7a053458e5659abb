"""Strict: nothing is coerced, every problem is found, each at its path."""

import dataclasses
from typing import Any, Literal

import attrs
import pytest
from attrs.validators import ge

from ddpkit.config.converter import structure, structure_partial


@attrs.frozen
class Inner:
    size: int = attrs.field(validator=ge(1))
    names: list[str] = attrs.field(factory=list)


@attrs.frozen
class Outer:
    inner: Inner
    kind: Literal["a", "b"] = "a"
    many: list[Inner] = attrs.field(factory=list)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 3), (float, 3), (float, 3.5), (bool, True), (str, "x"), (list[int], [1]), (tuple[float, float], [0.9, 1]),
        (int | None, 3), (float | None, 2), (float | object, 1.5), (Literal["a"], "a"), (dict[str, Any], {"x": 1}),
        (Any, [1]),
    ],
)  # fmt: skip
def test_values_that_fit(kind, value):
    structured, issues = structure(value, kind)

    assert issues == []
    assert structured == value or list(structured) == value


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (int, 3.7, "expected an integer, got 3.7"),
        (int, True, "expected an integer, got true"),
        (bool, "false", "expected true or false, got 'false'"),
        (float, "1", "expected a number, got '1'"),
        (str, 3, "expected a string, got 3"),
        (list[int], "abc", "expected an array, got 'abc'"),
        (tuple[float, float], [0.9], "expected an array of 2 values, got [0.9]"),
        (int | Literal["auto"], "atuo", "expected an integer or 'auto', got 'atuo'"),
        (Literal["sgd", "adam"], "adma", "'adma' is not allowed, did you mean 'adam'?"),
        (dict[str, Any], 1, "expected a table, got 1"),
    ],
)
def test_values_that_do_not_fit(kind, value, message):
    assert [issue.message for issue in structure(value, kind)[1]] == [message]


def test_all_problems_at_once_each_at_its_path():
    data = {"inner": {"size": 0, "names": ["x", 1]}, "kind": "c", "many": [{"size": 1}, {"sise": 2}], "more": 1}

    issues = {issue.path: issue.message for issue in structure(data, Outer)[1]}

    assert issues == {
        ("inner", "names", 1): "expected a string, got 1",
        ("kind",): "'c' is not allowed, choose from: a, b",
        ("many", 1, "sise"): "unknown key, did you mean 'size'?",
        ("more",): "unknown key, choose from: inner, kind, many",
    }


def test_limits_are_checked_once_the_types_fit():
    assert [issue.path for issue in structure({"inner": {"size": 0}, "many": [{"size": -1}]}, Outer)[1]] == [
        ("inner", "size"),
        ("many", 0, "size"),
    ]


@attrs.frozen(kw_only=True)
class Component:
    type: str = attrs.field(metadata={"shorthand": True})
    weight: float = 1.0
    params: dict[str, Any] = attrs.field(factory=dict, metadata={"rest": True})


@attrs.frozen(kw_only=True)
class Whole:
    inner: Inner
    size: int = attrs.field(default=3, validator=ge(1))
    choice: int | Literal["auto"] = "auto"
    part: Component | None = None
    parts: list[Component] = attrs.field(factory=list)
    names: dict[str, str] = attrs.field(factory=dict)


@pytest.mark.parametrize(
    ("data", "partial", "paths"),
    [
        ({"size": "x"}, {}, [("size",)]),
        ({"size": 0}, {"size": 0}, [("size",)]),
        ({"choice": 1.5}, {}, [("choice",)]),
        ({"count": 1}, {}, [("count",)]),
        ({"names": {"a": "b", "c": 1}}, {"names": {"a": "b"}}, [("names", "c")]),
        ({"part": 1}, {}, [("part",)]),
        ({"part": "x"}, {"part": {"type": "x", "weight": 1.0, "params": {}}}, []),
        ({"part": {}}, {"part": {"type": "", "weight": 1.0, "params": {}}}, [("part", "type")]),
        ({"part": {"typ": "x", "a": 1}}, {"part": {"type": "x", "weight": 1.0, "params": {"a": 1}}}, [("part", "typ")]),
        ({"part": {"type": 1, "typ": 2}}, {"part": {"type": "", "weight": 1.0, "params": {"typ": 2}}}, [("part", "type")]),
        (
            {"parts": ["x", 1, {"weight": "y", "z": 1}]},
            {
                "parts": [
                    {"type": "x", "weight": 1.0, "params": {}},
                    {"type": "", "weight": 1.0, "params": {}},
                    {"type": "", "weight": 1.0, "params": {"z": 1}},
                ]
            },
            [("parts", 1), ("parts", 2, "type"), ("parts", 2, "weight")],
        ),
        ({"inner": 1}, {"inner": {"size": 0, "names": []}}, [("inner",)]),
        (
            {"inner": {"size": "x", "names": ["a", 1]}},
            {"inner": {"size": 0, "names": ["a", ""]}},
            [("inner", "size"), ("inner", "names", 1)],
        ),
        ({"inner": {"sizes": 2}}, {"inner": {"size": 2, "names": []}}, [("inner", "sizes")]),
        ({"inner": {"sizes": "x"}}, {"inner": {"size": 0, "names": []}}, [("inner", "sizes"), ("inner", "size")]),
        ({"innr": {"size": 2}}, {}, [("innr",)]),
        ({"prt": {"tpye": "x"}}, {"part": {"type": "x", "weight": 1.0, "params": {}}}, [("prt",), ("part", "tpye")]),
        ({"sizee": 2, "sizze": 3}, {"size": 2}, [("sizee",), ("sizze",)]),
        ({"parts": {"type": "x"}}, {"parts": [{"type": "x", "weight": 1.0, "params": {}}]}, [("parts",)]),
    ],
)
def test_wrong_parts_are_left_out_or_replaced(data, partial, paths):
    value, issues = structure_partial({"inner": {"size": 1}} | data, Whole)

    assert [issue.path for issue in issues] == paths
    assert attrs.asdict(value) == attrs.asdict(Whole(inner=Inner(1))) | partial


def test_a_constructor_that_refuses_its_values():
    @attrs.frozen
    class Refuses:
        size: int

        def __attrs_post_init__(self):
            raise ValueError("never")

    assert [issue.message for issue in structure([{"size": 1}, {"size": "x"}], list[Refuses])[1]] == [
        "never",
        "expected an integer, got 'x'",
    ]


@dataclasses.dataclass
class Point:
    x: int
    more: list[int] = dataclasses.field(default_factory=list)


def test_problems_inside_types_of_plugins_have_paths_too():
    assert structure([{"x": 1, "more": [2]}], list[Point]) == ([Point(1, [2])], [])
    assert [(issue.path, issue.message) for issue in structure([{"more": [1, "a"]}], list[Point])[1]] == [
        ((0, "x"), "is missing"),
        ((0, "more", 1), "expected an integer, got 'a'"),
    ]
