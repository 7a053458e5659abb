"""Torchvision's models and datasets by name, such as `torchvision/resnet101` and `torchvision/SVHN`.

Their names are looked up on request instead of being declared one by one.
"""

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
    """Return the component of a model or a dataset of torchvision; None if torchvision has none of this name.

    A model has the parameters of the model `torchvision` without `arch`.
    """
    if name not in list_names(kind):
        return None
    target, doc = f"ddpkit_plugins.torchvision:{name}", f"torchvision's {name}"
    return (
        Component(name, target, doc=doc, draws=("torch",))
        if kind == "model"
        else Component(name, target, doc=doc, image_type="pil")
    )


@hookimpl
def ddpkit_names(kind: str, pattern: str) -> Iterable[str]:
    """Return the names of torchvision's models or datasets that match a pattern."""
    return fnmatch.filter(list_names(kind), pattern)


def list_names(kind: str) -> tuple[str, ...]:
    if kind == "model":
        return list_models()
    return tuple(sorted(SETS)) if kind == "dataset" else ()


@functools.cache
def list_models() -> tuple[str, ...]:
    """Return the names of all models, read from torchvision's source, because importing it takes seconds."""
    spec = find_spec("torchvision")
    roots = spec.submodule_search_locations if spec else None
    folders = [Path(root, "models", kind) for root in roots or () for kind in KINDS]
    texts = (file.read_text(encoding="utf-8") for folder in folders for file in sorted(folder.glob("*.py")))
    return tuple(sorted(name for text in texts for name in REGISTERED.findall(text)))


def __getattr__(name: str) -> Any:
    """Return the target of a model or a dataset (PEP 562)."""
    if name in SETS:
        return dataset_target(name)
    if name in list_models():
        return model_target(name)
    raise AttributeError(name)


def model_target(name: str) -> Any:

    def target(
        n_channels: int = 3,
        n_classes: int | None = None,
        pretrained: bool = False,  # noqa: FBT001, FBT002 - a key of the TOML
        min_size: int | None = None,
        max_size: int | None = None,
    ) -> Any:
        from ddpkit_plugins.models import torchvision_models  # noqa: PLC0415 - slow import that only runs need

        return torchvision_models.torchvision(name, n_channels, n_classes, pretrained, min_size, max_size)

    target.__doc__ = f"Build {name} of torchvision. Parameters: see the model `torchvision`."
    return target


def dataset_target(name: str) -> Any:

    def target(root_dir: str, seed: int, *, download: bool = False, max_samples: int | None = None) -> Any:
        from ddpkit_plugins.datasets.published import Published  # noqa: PLC0415

        return Published(name, root_dir, seed, download=download, max_samples=max_samples)

    target.__doc__ = f"Return the dataset {name} of torchvision. Parameters: see the dataset `CIFAR10`."
    return target
