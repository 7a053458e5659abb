"""A target's signature is its schema, read from source as well as from the imported object."""

import ast
from typing import Any, ForwardRef, Literal, Optional

import pytest

from ddpkit.plugins import manager, signatures
from ddpkit.plugins.signatures import UNREAD

BUILTINS = sorted({entry.component.target for entry in manager.load().registry})


@pytest.mark.parametrize("target", BUILTINS)
def test_source_and_import_give_the_same_parameters(target):
    read, imported = signatures.read_from_source(target), signatures.inspect_target(target)

    assert list(read.parameters) == list(imported.parameters)
    assert read.required == imported.required
    for name, default in read.defaults.items():
        assert UNREAD in (default, imported.defaults[name]) or default == imported.defaults[name], name
    for name, kind in read.parameters.items():
        assert kind is UNREAD or kind == imported.parameters[name], name


def test_the_source_of_a_function_is_read():
    signature = signatures.read_from_source("ddpkit_plugins.metrics.stat_scores:top_k_accuracy")

    assert signature.parameters == {
        "n_classes": int,
        "k": int,
        "average": Literal["micro", "macro"],
        "ignore_index": int | None,
    }
    assert signature.required == {"n_classes"}
    assert signature.defaults == {"k": 5, "average": "micro", "ignore_index": None}


def test_reexports_and_base_classes_are_followed():
    assert "momentum" in signatures.read_from_source("torch.optim:SGD").parameters
    assert signatures.read_from_source("torch.optim:AdamW").parameters["eps"] is float


def test_an_unreadable_source_is_reported():
    assert signatures.read_from_source("json:no_such_thing") is None
    assert signatures.read_from_source("torch.optim:AdamW").parameters["betas"] is UNREAD
    assert signatures.read_from_source("contextlib:suppress").parameters == {}
    assert signatures.read_from_source("textwrap:dedent").parameters == {"text": Any}


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        ("int", int),
        ("int | None", int | None),
        ("Optional[bool]", Optional[bool]),  # noqa: UP045 - as others write it
        ("list[tuple[int, ...]]", list[tuple[int, ...]]),
        ("'int | None'", int | None),
        ("list['int']", list[int]),
        ("Literal['micro', 2] | None", Literal["micro", 2] | None),
        ("Any", Any),
    ],
)
def test_annotations_in_source(annotation, kind):
    assert signatures.read_annotation(ast.parse(annotation, mode="eval").body) == kind


@pytest.mark.parametrize(
    "annotation", ["torch.Tensor", "Tensor", "'Tensor'", "list[Tensor]", "f()", "int[str]", "Literal[x]", "'not a type'"]
)
def test_unknown_annotations_in_source_are_not_checked(annotation):
    assert signatures.read_annotation(ast.parse(annotation, mode="eval").body) is UNREAD


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        ("int | None", int | None),
        ("Known", bool),
        ("Unknown", Any),
        ("not a type", Any),
        (None, Any),
        (list[ForwardRef("Known")], list[bool]),
    ],
)
def test_annotations_of_an_imported_target(annotation, kind):
    assert signatures.resolve_annotation(annotation, {"Known": bool}) == kind
