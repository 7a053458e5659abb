"""A target's signature is its schema, read from source as well as from the imported object."""

from typing import Any, Literal

import pytest

from ddpkit.plugins import manager, signatures
from ddpkit.plugins.signatures import UNREAD

BUILTINS = sorted({entry.component.target for entry in manager.load().registry})


@pytest.mark.parametrize("target", BUILTINS)
def test_source_and_import_tell_the_same(target):
    read, imported = signatures.from_source(target), signatures.inspected(target)

    assert list(read.parameters) == list(imported.parameters)
    assert read.required == imported.required
    for name, default in read.defaults.items():
        assert UNREAD in (default, imported.defaults[name]) or default == imported.defaults[name], name
    for name, kind in read.parameters.items():
        assert kind is UNREAD or kind == imported.parameters[name], name


def test_what_source_tells_of_a_function():
    signature = signatures.from_source("ddpkit_plugins.metrics.stat_scores:top_k_accuracy")

    assert signature.parameters == {
        "n_classes": int,
        "k": int,
        "average": Literal["micro", "macro"],
        "ignore_index": int | None,
    }
    assert signature.required == {"n_classes"}
    assert signature.defaults == {"k": 5, "average": "micro", "ignore_index": None}


def test_reexports_and_base_classes_are_followed():
    assert "momentum" in signatures.from_source("torch.optim:SGD").parameters
    assert signatures.from_source("torch.optim:AdamW").parameters["eps"] is float


def test_what_source_does_not_tell():
    assert signatures.from_source("json:no_such_thing") is None
    assert signatures.from_source("torch.optim:AdamW").parameters["betas"] is UNREAD
    assert signatures.from_source("contextlib:suppress").parameters == {}
    assert signatures.from_source("textwrap:dedent").parameters == {"text": Any}
