"""Splits, which samples train, which validate, which test: declared here."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_splits() -> Iterator[Component]:
    """The splits."""
    here = "ddpkit_plugins.splits"
    yield Component("train_valid_test_split", f"{here}.random_split:train_valid_test_split", doc="by fractions")
    yield Component("kfold", f"{here}.random_split:kfold", doc="one of several parts of a size validates, the others train")
    yield Component("predefined", f"{here}.predefined:predefined", doc="as a file says, or the dataset's own parts")
