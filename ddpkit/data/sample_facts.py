"""Facts about one sample, for the check of all data: whether it can be read, its content, its labels and its shape."""

import hashlib
import pickle
import re
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from PIL import Image
from torch import Tensor

from ddpkit.data.loader import SeededDataset, describe_value
from ddpkit.errors import failed_component

PLAIN = (str, bytes, bool, int, float, complex, type(None), np.generic)
"""Types whose `repr` contains their value."""
PLANE = 2
"""Number of dimensions of an image or a mask without channels."""


@attrs.frozen(kw_only=True)
class SampleFacts:
    """Facts about a sample, as plain data."""

    error: str = ""
    """Error of the dataset; the other facts are then unknown."""
    wrong_size: str = ""
    """Why the sizes of image and target do not fit, or the error of a transform."""
    content: str = ""
    """Digest of the image."""
    target: str = ""
    """Digest of the target."""
    labels: list[int] = attrs.field(factory=list)
    """Class indices in the target; [] if it does not contain any."""
    shapes: str = ""
    """Dtypes and shapes of image and target after the transforms."""


@attrs.frozen
class FactsReader:
    """Dataset of the facts about the samples, by index."""

    samples: SeededDataset

    def __getitem__(self, index: int) -> SampleFacts:
        try:
            image, target = self.samples.load((0, index), index)
        except Exception as error:  # noqa: BLE001 - a dataset may raise anything
            return SampleFacts(error=str(error) or type(error).__name__)
        facts = SampleFacts(
            content=digest(image), target=digest(target), labels=class_indices(target), wrong_size=compare_sizes(image, target)
        )
        try:
            image, target = self.samples.apply_transforms(image, target)
        except Exception as error:  # noqa: BLE001
            failure = f"{failed_component(error) or 'a transform'} fails: {error}"
            return attrs.evolve(facts, wrong_size=facts.wrong_size or failure)
        return attrs.evolve(facts, shapes=f"{describe_value(image)} and {describe_value(target)}")


def digest(value: Any) -> str:
    """Return a digest of a sample's image or target, equal for equal pixels, whatever the file format is."""
    found = hashlib.blake2b(digest_size=16)
    for part in flatten(value):
        found.update(part)
    return found.hexdigest()


def flatten(value: Any) -> list[bytes]:
    """Return the content of an image, a tensor, an array, or a nested target as bytes."""
    if isinstance(value, Mapping):
        return [part for name in sorted(value, key=str) for part in (str(name).encode(), *flatten(value[name]))]
    if isinstance(value, list | tuple):
        return [str(len(value)).encode(), *(part for each in value for part in flatten(each))]
    if isinstance(value, Image.Image | Tensor | np.ndarray) and (array := to_array(value)) is not None:
        return [f"{array.dtype} {array.shape}".encode(), np.ascontiguousarray(array).tobytes()]
    return [repr(value).encode() if isinstance(value, PLAIN) else dump(value)]


def to_array(value: Image.Image | Tensor | np.ndarray) -> np.ndarray | None:
    """Return a value as an array of numbers; None if numpy cannot represent it, as for bfloat16."""
    try:
        array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    except (TypeError, RuntimeError):
        return None
    return None if array.dtype.hasobject else array


def dump(value: Any) -> bytes:
    """Return the content of any other object, which has no address in memory."""
    try:
        return pickle.dumps(value)
    except Exception:  # noqa: BLE001 - an object may raise anything
        return re.sub(r" at 0x\w+", "", repr(value)).encode()


def class_indices(target: Any) -> list[int]:
    """Return the different class indices in a class, a mask or the labels of boxes; [] for another target."""
    if isinstance(target, Mapping):
        labels = target.get("labels")
        return [] if labels is None else np.unique(np.asarray(labels)).tolist()
    array = np.asarray(target) if isinstance(target, int | np.integer | np.ndarray | Tensor | Image.Image) else np.empty(1)
    is_class = array.dtype.kind in "iu" and (array.ndim == 0 or array.ndim >= PLANE)
    return [int(label) for label in np.unique(array)] if is_class else []


def compare_sizes(image: Any, target: Any) -> str:
    """Return how the sizes of an image and its mask differ; empty for equal sizes and for other targets."""
    size, other = plane_size(image), plane_size(target)
    if not size or not other or size == other:
        return ""
    return f"the image has {size[1]}x{size[0]} pixels, but its mask has {other[1]}x{other[0]}"


def plane_size(value: Any) -> tuple[int, ...] | None:
    """Return height and width of an image or a mask; None for anything else."""
    if isinstance(value, Image.Image):
        return value.size[::-1]
    return tuple(value.shape[-2:]) if isinstance(value, Tensor) and value.ndim >= PLANE else None
