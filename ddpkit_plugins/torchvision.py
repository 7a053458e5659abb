"""Torchvision's classifiers by name, `torchvision/resnet101`: a family that is asked, not declared."""

import fnmatch
import functools
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ddpkit import Component, hookimpl

REGISTERED = re.compile(r"^@register_model\(\)\n(?:@.*\n(?:    .*\n|\)\n)*)*def (\w+)\(", re.MULTILINE)


@hookimpl
def ddpkit_find(kind: str, name: str) -> Component | None:
    """A classifier; its parameters are those of the model `torchvision`, without `arch`."""
    if kind != "model" or name not in classifiers():
        return None
    return Component(name, f"ddpkit_plugins.torchvision:{name}", doc=f"torchvision's {name}")


@hookimpl
def ddpkit_names(kind: str, pattern: str) -> Iterable[str]:
    """All classifiers."""
    return fnmatch.filter(classifiers(), pattern) if kind == "model" else []


@functools.cache
def classifiers() -> tuple[str, ...]:
    """Their names, from torchvision's source: to import it takes seconds."""
    spec = find_spec("torchvision")
    folders = spec.submodule_search_locations if spec else None
    files = sorted(Path(folder) / "models" for folder in folders or ())
    texts = (file.read_text(encoding="utf-8") for folder in files for file in sorted(folder.glob("*.py")))
    return tuple(sorted(name for text in texts for name in REGISTERED.findall(text)))


def __getattr__(name: str) -> Any:
    """The target of a classifier."""
    if name not in classifiers():
        raise AttributeError(name)

    def target(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> Any:  # noqa: FBT001, FBT002
        from ddpkit_plugins.models import classifiers as built  # noqa: PLC0415 - heavy, and wanted by runs alone

        return built.torchvision(name, n_channels, n_classes, pretrained)

    target.__doc__ = f"Torchvision's {name}; parameters as of the model `torchvision`."
    return target
