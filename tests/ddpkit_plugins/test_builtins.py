"""Every built-in follows the contract of its kind."""

import pytest

from ddpkit.plugins import manager
from ddpkit.plugins.component import RUNTIME_VALUES
from ddpkit.plugins.hookspecs import HOOKS
from ddpkit.plugins.signatures import read_from_source

ENTRIES = [entry for entry in manager.load().registry if entry.namespace == "builtin"]


def test_every_kind_has_a_builtin():
    assert {entry.kind for entry in ENTRIES} == set(HOOKS)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.qualified_name)
def test_each_builtin_has_a_doc_and_known_required_parameters(entry):
    signature = read_from_source(entry.component.target)

    assert entry.component.doc
    assert signature.required - {"params"} <= RUNTIME_VALUES[entry.kind] | {"mean", "std", "degrees", "arch", "milestones"}
