"""Datasets: declared here, one module each."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_datasets() -> Iterator[Component]:
    """Yield the built-in datasets."""
    here = "ddpkit_plugins.datasets"
    yield Component("MNIST", f"{here}.mnist:Mnist", doc="28x28 grey digits: 5,000 bundled, or the published 70,000")
    yield Component("FashionMNIST", f"{here}.published:fashion_mnist", doc="28x28 grey clothes, ten classes (a download)")
    yield Component("CIFAR10", f"{here}.published:cifar10", doc="32x32 colour images, ten classes (a download)")
    yield Component("CIFAR100", f"{here}.published:cifar100", doc="32x32 colour images, a hundred classes (a download)")
    yield Component(
        "CustomDataset",
        f"{here}.image_folder:CustomDataset",
        doc="image files, a folder for each class",
        aliases=("image_folder",),
    )
    yield Component(
        "MedicalDataset",
        f"{here}.mask_folder:MedicalDataset",
        doc="image files with a mask of the same name",
        aliases=("mask_folder",),
    )
    yield Component("csv", f"{here}.csv_dataset:CsvDataset", doc="image files that a table names, with classes and groups")
    yield Component("coco", f"{here}.coco:CocoDataset", doc="boxes or masks of a JSON file in the format of COCO")
    yield Component("nuclei", f"{here}.nuclei:Nuclei", doc="cell nuclei with masks: bundled tiles of one microscope field")
    yield Component("one_shape", f"{here}.shapes:OneShape", doc="a drawn circle, square or triangle: three classes")
    yield Component("shapes", f"{here}.shapes:Shapes", doc="drawn circles, squares and triangles with their boxes")
