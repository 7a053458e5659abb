"""Datasets of `torchvision.datasets` that a config can name, with the arguments that select their splits."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

BY_FLAG = {"": {"train": True}, "test": {"train": False}}
TWO = {"": {"split": "train"}, "test": {"split": "test"}}
THREE = {"train": {"split": "train"}, "valid": {"split": "val"}, "test": {"split": "test"}}
NO_TEST = {"train": {"split": "train"}, "valid": {"split": "val"}}
IMAGE_SETS = {"train": {"image_set": "train"}, "valid": {"image_set": "val"}}
WHOLE = {"": dict[str, Any]()}

SETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        **dict.fromkeys(("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST", "QMNIST", "USPS"), BY_FLAG),
        **dict.fromkeys(("DTD", "FGVCAircraft", "Flowers102", "PCAM", "RenderedSST2"), THREE),
        **dict.fromkeys(("Food101", "GTSRB", "STL10", "SVHN", "StanfordCars"), TWO),
        **dict.fromkeys(("ImageNet", "Imagenette"), NO_TEST),
        **dict.fromkeys(("VOCDetection", "VOCSegmentation"), IMAGE_SETS),
        **dict.fromkeys(("Caltech101", "Caltech256", "EuroSAT", "SEMEION", "SUN397"), WHOLE),
        "Country211": THREE | {"valid": {"split": "valid"}},
        "OxfordIIITPet": {"": {"split": "trainval"}, "test": {"split": "test"}},
    }
)
"""Name in `torchvision.datasets` -> split (`""`: divided by the split component) -> arguments that select it."""
