"""What a model found in one input: plain values for JSON, and arrays. What is in it depends on what the postprocess gives.

Probabilities have six decimals: what is beyond them differs from machine to machine.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from torch import Tensor

from ddpkit.inference.input_geometry import View
from ddpkit.plugins.hookspecs import Gives

DECIMALS = 6
PIXEL_DECIMALS = 2
"""Of a box's corners."""
Arrays = Mapping[str, "np.ndarray[Any, Any]"]


@attrs.frozen
class Prediction:
    """Of one input."""

    values: dict[str, Any]
    """As JSON has it."""
    arrays: Arrays
    """The same in numbers, by name."""


@attrs.frozen(kw_only=True)
class Interpreter:
    """Makes predictions of what a postprocess gives for an input."""

    gives: Gives | None
    classes: Sequence[str]
    """Names; a class without one is called by its number."""
    threshold: float
    top_k: int

    def __call__(self, found: Any, view: View) -> Prediction:
        """Of one input. Raises ValueError for what is not what the postprocess says that it gives."""
        if self.gives == "boxes":
            return self.of_boxes({key: value.detach().cpu() for key, value in found.items()}, view)
        values = found.detach().cpu()
        kinds: dict[tuple[Gives | None, int], Callable[[Tensor, View], Prediction]] = {
            ("class", 1): self.of_class,
            ("labels", 1): self.of_labels,
            ("mask", 3): self.of_mask,
        }
        return kinds.get((self.gives, values.ndim), self.of_numbers)(values, view)

    def of_class(self, probabilities: Tensor, _view: View) -> Prediction:
        """[C]: the most probable class, of two the second from the threshold on, and the `top_k`."""
        label = int(self.choose(probabilities))
        best = probabilities.argsort(descending=True, stable=True)[: self.top_k].tolist()
        values = {
            "label": label,
            "name": self.name(label),
            "probability": rounded(probabilities[label]),
            "top": [[self.name(each), rounded(probabilities[each])] for each in best],
        }
        return Prediction(values, {"label": np.array(label), "probabilities": probabilities.numpy()})

    def of_labels(self, probabilities: Tensor, _view: View) -> Prediction:
        """[C]: each label from the threshold on."""
        is_there = probabilities >= self.threshold
        values = {
            "labels": [self.name(label) for label in is_there.nonzero().flatten().tolist()],
            "probabilities": {self.name(label): rounded(each) for label, each in enumerate(probabilities)},
        }
        return Prediction(values, {"labels": is_there.numpy(), "probabilities": probabilities.numpy()})

    def of_mask(self, probabilities: Tensor, view: View) -> Prediction:
        """[C, h, w]: each pixel's class, in the input's own size, and each class's share of them."""
        classes, sure = view.pixels(probabilities, self.choose)
        n = len(probabilities)
        shares = classes.flatten().bincount(minlength=n).double() / classes.numel()
        mask = classes.numpy().astype(np.uint8 if n <= 256 else np.uint16)  # noqa: PLR2004 - as many as a byte has
        values = {"mask": None, "classes": {self.name(label): rounded(share) for label, share in enumerate(shares)}}
        return Prediction(values, {"mask": mask, "probability": sure.numpy().astype(np.float16)})

    def of_boxes(self, found: Mapping[str, Tensor], view: View) -> Prediction:
        """Torchvision's mapping: the boxes from the threshold on, in the input's own pixels; label 0 is the background."""
        kept = found["scores"] >= self.threshold
        boxes, scores, labels = view.boxes(found["boxes"][kept]), found["scores"][kept], found["labels"][kept]
        values = {
            "boxes": [[round(corner, PIXEL_DECIMALS) for corner in box] for box in boxes.tolist()],
            "labels": labels.tolist(),
            "names": [self.name(label - 1) if label else "background" for label in labels.tolist()],
            "scores": [rounded(score) for score in scores],
        }
        return Prediction(values, {"boxes": boxes.numpy(), "labels": labels.numpy(), "scores": scores.numpy()})

    def of_numbers(self, values: Tensor, _view: View) -> Prediction:
        """Of a postprocess that does not say what it gives: as it is."""
        return Prediction({"values": plain(values.tolist())}, {"values": values.numpy()})

    def choose(self, probabilities: Tensor) -> Tensor:
        """Probabilities [C, ...] -> classes, int64 [...]."""
        if len(probabilities) == 2:  # noqa: PLR2004 - one or the other
            return (probabilities[1] >= self.threshold).long()
        return probabilities.argmax(dim=0)

    def name(self, label: int) -> str:
        """Of a class."""
        return self.classes[label] if label < len(self.classes) else str(label)


def rounded(probability: Tensor | float) -> float | None:
    """None for what is no finite number: JSON has no other."""
    value = float(probability)
    return round(value, DECIMALS) if math.isfinite(value) else None


def plain(values: Any) -> Any:
    """Nested lists with None for what is no finite number."""
    return [plain(each) for each in values] if isinstance(values, list) else rounded(values)


def names_of(classes: Sequence[str], gives: Gives | None) -> Sequence[str]:
    """The names of classes from the first label on; a detection's may begin with the background, which is none."""
    return classes[1:] if gives == "boxes" and classes[:1] == ["background"] else classes
