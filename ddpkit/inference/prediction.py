"""Prediction of one input: plain values for JSON, and arrays. Its content depends on what the postprocess returns (`gives`).

Probabilities are rounded to six decimals, because further decimals differ between machines.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from torch import Tensor

from ddpkit.inference.input_geometry import InputGeometry
from ddpkit.plugins.component import Gives

DECIMALS = 6
PIXEL_DECIMALS = 2
"""Decimals of the corners of a box, in pixels."""
Arrays = Mapping[str, "np.ndarray[Any, Any]"]


@attrs.frozen
class Prediction:
    """Prediction of one input."""

    values: dict[str, Any]
    """Plain values that JSON can represent."""
    arrays: Arrays
    """Arrays of the same prediction, by name."""


@attrs.frozen(kw_only=True)
class PredictionDecoder:
    """Converter from the output of the postprocess for one input to a prediction."""

    gives: Gives | None
    classes: Sequence[str]
    """Names of the classes. A class without a name is shown by its index."""
    threshold: float
    top_k: int

    def __call__(self, found: Any, view: InputGeometry) -> Prediction:
        """Return the prediction of one input.

        A tensor whose number of dimensions does not fit `gives` is returned as plain numbers.
        """
        if self.gives == "boxes":
            return self.decode_boxes({key: value.detach().cpu() for key, value in found.items()}, view)
        values = found.detach().cpu()
        kinds: dict[tuple[Gives | None, int], Callable[[Tensor, InputGeometry], Prediction]] = {
            ("class", 1): self.decode_class,
            ("labels", 1): self.decode_labels,
            ("mask", 3): self.decode_mask,
        }
        return kinds.get((self.gives, values.ndim), self.decode_numbers)(values, view)

    def decode_class(self, probabilities: Tensor, _view: InputGeometry) -> Prediction:
        """Decode class probabilities [C]: the predicted class, and the `top_k` most probable classes."""
        label = int(self.choose(probabilities))
        best = probabilities.argsort(descending=True, stable=True)[: self.top_k].tolist()
        values = {
            "label": label,
            "name": self.name(label),
            "probability": round_values(probabilities[label]),
            "top": [[self.name(each), round_values(probabilities[each])] for each in best],
        }
        return Prediction(values, {"label": np.array(label), "probabilities": probabilities.numpy()})

    def decode_labels(self, probabilities: Tensor, _view: InputGeometry) -> Prediction:
        """Decode label probabilities [C]: all labels whose probability is at least the threshold."""
        is_there = probabilities >= self.threshold
        values = {
            "labels": [self.name(label) for label in is_there.nonzero().flatten().tolist()],
            "probabilities": {self.name(label): round_values(each) for label, each in enumerate(probabilities)},
        }
        return Prediction(values, {"labels": is_there.numpy(), "probabilities": probabilities.numpy()})

    def decode_mask(self, probabilities: Tensor, view: InputGeometry) -> Prediction:
        """Decode class probabilities [C, h, w]: the class of each image pixel, and the share of pixels of each class."""
        classes, confidence = view.pixels(probabilities, self.choose)
        n = len(probabilities)
        shares = classes.flatten().bincount(minlength=n).double() / classes.numel()
        mask = classes.numpy().astype(np.uint8 if n <= 256 else np.uint16)  # noqa: PLR2004 - values of a byte
        values = {"mask": None, "classes": {self.name(label): round_values(share) for label, share in enumerate(shares)}}
        return Prediction(values, {"mask": mask, "probability": confidence.numpy().astype(np.float16)})

    def decode_boxes(self, found: Mapping[str, Tensor], view: InputGeometry) -> Prediction:
        """Decode torchvision's mapping: the boxes whose score is at least the threshold, in pixels of the image.

        Label 0 is the background.
        """
        kept = found["scores"] >= self.threshold
        boxes, scores, labels = view.boxes(found["boxes"][kept]), found["scores"][kept], found["labels"][kept]
        values = {
            "boxes": [[round(corner, PIXEL_DECIMALS) for corner in box] for box in boxes.tolist()],
            "labels": labels.tolist(),
            "names": [self.name(label - 1) if label else "background" for label in labels.tolist()],
            "scores": [round_values(score) for score in scores],
        }
        return Prediction(values, {"boxes": boxes.numpy(), "labels": labels.numpy(), "scores": scores.numpy()})

    def decode_numbers(self, values: Tensor, _view: InputGeometry) -> Prediction:
        """Return the values unchanged, for a postprocess that does not declare what it returns."""
        return Prediction({"values": to_plain(values.tolist())}, {"values": values.numpy()})

    def choose(self, probabilities: Tensor) -> Tensor:
        """Map probabilities [C, ...] to class indices, int64 [...].

        With two classes, the second class is chosen if its probability is at least the threshold; with more classes, the most
        probable class is chosen.
        """
        if len(probabilities) == 2:  # noqa: PLR2004 - two classes
            return (probabilities[1] >= self.threshold).long()
        return probabilities.argmax(dim=0)

    def name(self, label: int) -> str:
        return self.classes[label] if label < len(self.classes) else str(label)


def round_values(probability: Tensor | float) -> float | None:
    """Round to `DECIMALS`. Returns None for NaN and infinity, which JSON cannot represent."""
    value = float(probability)
    return round(value, DECIMALS) if math.isfinite(value) else None


def to_plain(values: Any) -> Any:
    """Round the numbers in nested lists. NaN and infinity become None."""
    return [to_plain(each) for each in values] if isinstance(values, list) else round_values(values)
