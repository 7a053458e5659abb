"""Draw predictions on their images."""

from collections.abc import Mapping, Sequence

from PIL import Image

from ddpkit.inference.drawing import Annotation, draw
from ddpkit.inference.prediction import Prediction
from ddpkit.inference.tags import Tag, format_number, mask_legend

MOST_NUMBERS = 8
"""Maximum number of values that are drawn for a prediction without classes."""


def draw_prediction(picture: Image.Image, prediction: Prediction) -> Image.Image:
    """Return an RGB image with the mask, the boxes or the labels of its prediction."""
    return draw(picture, annotate_prediction(prediction))


def annotate_prediction(prediction: Prediction) -> Annotation:
    """Return what is drawn for a prediction."""
    values = prediction.values
    if "mask" in prediction.arrays:
        shares = [(label, name, share) for label, (name, share) in enumerate(values["classes"].items())]
        return Annotation(mask=prediction.arrays["mask"], tags=mask_legend(shares))
    if "boxes" in values:
        found = zip(values["boxes"], values["labels"], values["names"], values["scores"], strict=True)
        boxes = [(corners, Tag(label, name, format_number(score))) for corners, label, name, score in found]
        return Annotation(boxes=boxes, tags=[] if boxes else [Tag(None, "no box")])
    if "name" in values:
        return Annotation(tags=[Tag(values["label"], values["name"], format_number(values["probability"]))])
    if "labels" in values:
        return Annotation(tags=label_tags(values["labels"], values["probabilities"]) or [Tag(None, "no label")])
    numbers = [format_number(each) for each in prediction.arrays["values"].flatten()[:MOST_NUMBERS].tolist()]
    return Annotation(tags=[Tag(None, ", ".join(numbers))])


def label_tags(names: Sequence[str], probabilities: Mapping[str, float]) -> list[Tag]:
    """Return a tag for each predicted label, the most probable first."""
    labels = {name: label for label, name in enumerate(probabilities)}
    ordered = sorted(names, key=lambda name: -probabilities[name])
    return [Tag(labels[name], name, format_number(probabilities[name])) for name in ordered]
