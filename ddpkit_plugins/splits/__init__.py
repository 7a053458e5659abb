"""Splits of a dataset into training, validation and test samples: declared here."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_splits() -> Iterator[Component]:
    """Yield the built-in split components."""
    here = "ddpkit_plugins.splits"
    yield Component(
        "train_valid_test_split", f"{here}.random_split:train_valid_test_split", doc="random or ordered splits by fractions"
    )
    yield Component("kfold", f"{here}.random_split:kfold", doc="one of n_splits folds for validation, the others for training")
    yield Component("predefined", f"{here}.predefined:predefined", doc="splits from a file; without one, only the dataset's own")
