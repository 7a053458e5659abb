"""Datasets: declared here, one module each."""

import functools
from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_datasets() -> Iterator[Component]:
    """Yield the built-in datasets."""
    here, starters = "ddpkit_plugins.datasets", "ddpkit_plugins.starters"
    declare = functools.partial(Component, image_type="pil")
    # `ddpkit init` asks the datasets with a starter in this order: the images of the first ones may also be in folders
    yield declare(
        "coco",
        f"{here}.coco:CocoDataset",
        doc="boxes or masks from a JSON file in the format of COCO",
        requires=("pycocotools>=2.0.8",),
        starter=f"{starters}.coco:coco",
    )
    yield declare(
        "csv",
        f"{here}.csv_dataset:CsvDataset",
        doc="image files listed in a table, with classes and groups",
        starter=f"{starters}.csv_table:csv_table",
    )
    yield declare(
        "MedicalDataset",
        f"{here}.mask_folder:MedicalDataset",
        doc="image files with masks of the same name",
        aliases=("mask_folder",),
        starter=f"{starters}.mask_folder:mask_folder",
    )
    yield declare(
        "CustomDataset",
        f"{here}.image_folder:CustomDataset",
        doc="image files with one folder per class",
        aliases=("image_folder",),
        starter=f"{starters}.image_folder:image_folder",
    )
    yield declare("MNIST", f"{here}.mnist:Mnist", doc="28x28 grayscale digits: 5,000 bundled, or 70,000 (download)")
    yield declare("FashionMNIST", f"{here}.published:fashion_mnist", doc="28x28 grayscale images of clothes (download)")
    yield declare("CIFAR10", f"{here}.published:cifar10", doc="32x32 colour images, ten classes (download)")
    yield declare("CIFAR100", f"{here}.published:cifar100", doc="32x32 colour images, a hundred classes (download)")
    yield declare("nuclei", f"{here}.nuclei:Nuclei", doc="bundled microscope images of cell nuclei, with masks")
    yield declare("one_shape", f"{here}.shapes:OneShape", doc="one drawn circle, square or triangle per image: three classes")
    yield declare("shapes", f"{here}.shapes:Shapes", doc="drawn circles, squares and triangles with their boxes")
