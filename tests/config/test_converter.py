"""Strict: nothing is coerced, every problem is found, each at its path."""

from typing import Any, Literal

import attrs
import pytest
from attrs.validators import ge

from ddpkit.config.converter import structure


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
    structured, faults = structure(value, kind)

    assert faults == []
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
        (tuple[float, float], [0.9], "expected an array of 2, got [0.9]"),
        (int | Literal["auto"], "atuo", "expected an integer or 'auto', got 'atuo'"),
        (Literal["sgd", "adam"], "adma", "'adma' is not allowed, did you mean 'adam'?"),
        (dict[str, Any], 1, "expected a table, got 1"),
    ],
)
def test_values_that_do_not_fit(kind, value, message):
    assert [fault.message for fault in structure(value, kind)[1]] == [message]


def test_all_problems_at_once_each_at_its_path():
    data = {"inner": {"size": 0, "names": ["x", 1]}, "kind": "c", "many": [{"size": 1}, {"sise": 2}], "more": 1}

    faults = {fault.path: fault.message for fault in structure(data, Outer)[1]}

    assert faults == {
        ("inner", "names", 1): "expected a string, got 1",
        ("kind",): "'c' is not allowed, there are: a, b",
        ("many", 1, "size"): "is missing",
        ("many", 1, "sise"): "unknown key, did you mean 'size'?",
        ("more",): "unknown key, there are: inner, kind, many",
    }


def test_limits_are_checked_once_the_types_fit():
    assert [fault.path for fault in structure({"inner": {"size": 0}, "many": [{"size": -1}]}, Outer)[1]] == [
        ("inner", "size"),
        ("many", 0, "size"),
    ]
