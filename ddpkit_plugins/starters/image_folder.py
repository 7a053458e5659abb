"""Starter of the dataset `image_folder`."""

from pathlib import Path

from ddpkit import Starter
from ddpkit_plugins.datasets.files import list_folders, list_images
from ddpkit_plugins.datasets.image_folder import PAIRS, CustomDataset
from ddpkit_plugins.starters.classification import suggest_classifier


def image_folder(path: Path) -> Starter | None:
    """Recognise a folder with one folder of images per class, or with such folders in `train`, `valid` and `test`."""
    folders = list_folders(path) if path.is_dir() else []
    if [each.name for each in folders] == PAIRS:
        return None
    if not any(list_images(folder) or any(map(list_images, list_folders(folder))) for folder in folders):
        if path.is_dir() and list_images(path):
            advice = "move the images of each class to a folder of its own, or list all of them in a CSV table with their classes"
            raise ValueError(f"{path} contains images, but no folders of classes; {advice}")
        return None
    return suggest_classifier(CustomDataset(str(path), [], 0), {"dataset": "image_folder", "root": str(path)})
