"""Datasets: declared here, one file each."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_datasets() -> Iterator[Component]:
    """The datasets."""
    here = "ddpkit_plugins.datasets"
    yield Component("MNIST", f"{here}.mnist:Mnist", doc="28x28 grey digits: 5,000 bundled, or the published 70,000")
    yield Component("CustomDataset", f"{here}.custom:CustomDataset", doc="image files, a folder for each class")
    yield Component("MedicalDataset", f"{here}.medical:MedicalDataset", doc="image files with a mask of the same name each")
    yield Component("nuclei", f"{here}.nuclei:Nuclei", doc="cell nuclei with masks: bundled tiles of one microscope field")
