"""Torchvision's models and data sets by name, `torchvision/resnet101`, `torchvision/SVHN`: asked, not declared."""

import fnmatch
import functools
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ddpkit import Component, hookimpl
from ddpkit_plugins.datasets.torchvision_sets import SETS

REGISTERED = re.compile(r"^@register_model\(\)\n(?:@.*\n(?:    .*\n|\)\n)*)*def (\w+)\(", re.MULTILINE)
KINDS = (".", "segmentation", "detection")
"""Folders of torchvision's models: classifiers, segmenters, detectors."""


@hookimpl
def ddpkit_find(kind: str, name: str) -> Component | None:
    """A model, its parameters those of the model `torchvision` without `arch`; or a data set."""
    if name not in names_of(kind):
        return None
    return Component(name, f"ddpkit_plugins.torchvision:{name}", doc=f"torchvision's {name}")


@hookimpl
def ddpkit_names(kind: str, pattern: str) -> Iterable[str]:
    """All of a kind."""
    return fnmatch.filter(names_of(kind), pattern)


def names_of(kind: str) -> tuple[str, ...]:
    """What torchvision has of a kind."""
    if kind == "model":
        return models()
    return tuple(sorted(SETS)) if kind == "dataset" else ()


@functools.cache
def models() -> tuple[str, ...]:
    """Of the models, from torchvision's source: to import it takes seconds."""
    spec = find_spec("torchvision")
    roots = spec.submodule_search_locations if spec else None
    folders = [Path(root, "models", kind) for root in roots or () for kind in KINDS]
    texts = (file.read_text(encoding="utf-8") for folder in folders for file in sorted(folder.glob("*.py")))
    return tuple(sorted(name for text in texts for name in REGISTERED.findall(text)))


def __getattr__(name: str) -> Any:
    """The target of a model or a data set."""
    if name in SETS:
        return dataset_target(name)
    if name in models():
        return model_target(name)
    raise AttributeError(name)


def model_target(name: str) -> Any:
    """Of a model."""

    def target(
        n_channels: int = 3,
        n_classes: int | None = None,
        pretrained: bool = False,  # noqa: FBT001, FBT002 - a key of the TOML
        min_size: int | None = None,
        max_size: int | None = None,
    ) -> Any:
        from ddpkit_plugins.models import torchvision_models  # noqa: PLC0415 - heavy, and wanted by runs alone

        return torchvision_models.torchvision(name, n_channels, n_classes, pretrained, min_size, max_size)

    target.__doc__ = f"Torchvision's {name}; parameters as of the model `torchvision`."
    return target


def dataset_target(name: str) -> Any:
    """Of a data set."""

    def target(root_dir: str, seed: int, *, download: bool = False, max_samples: int | None = None) -> Any:
        from ddpkit_plugins.datasets.published import Published  # noqa: PLC0415

        return Published(name, root_dir, seed, download=download, max_samples=max_samples)

    target.__doc__ = f"Torchvision's {name}; parameters as of the dataset `CIFAR10`."
    return target
