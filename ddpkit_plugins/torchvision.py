"""Torchvision's models and datasets by name, such as `torchvision/resnet101` and `torchvision/SVHN`.

Their names are looked up on request instead of being declared one by one.
"""

import fnmatch
import functools
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from ddpkit import Component, hookimpl
from ddpkit_plugins.datasets.torchvision_sets import SETS

REGISTERED = re.compile(r"^@register_model\(\)\n(?:@.*\n(?:    .*\n|\)\n)*)*def (\w+)\(", re.MULTILINE)
KINDS = (".", "segmentation", "detection")
"""Folders of torchvision's models: classifiers, segmenters, detectors."""


@hookimpl
def ddpkit_find(kind: str, name: str) -> Component | None:
    """Return the component of a model or a dataset of torchvision; None if torchvision has none of this name."""
    if name not in list_names(kind):
        return None
    doc = f"torchvision's {name}"
    if kind == "model":
        target = "ddpkit_plugins.models.torchvision_models:torchvision"
        return Component(name, target, doc=doc, bound={"arch": name}, draws=("torch",))
    return Component(name, "ddpkit_plugins.datasets.published:Published", doc=doc, bound={"name": name}, image_type="pil")


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
