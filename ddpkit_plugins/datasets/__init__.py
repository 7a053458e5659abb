"""Datasets: declared here, one file each."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_datasets() -> Iterator[Component]:
    """The datasets."""
    yield Component(
        "MNIST", "ddpkit_plugins.datasets.mnist:Mnist", doc="28x28 grey digits: 5,000 bundled, or the published 70,000"
    )
