"""Pictures of predictions: legible texts, one colour per class, legends, overlays."""

import itertools

import numpy as np
import pytest
from PIL import Image

from ddpkit.inference.drawing import Annotation, draw, overlay_mask
from ddpkit.inference.palette import class_color, class_palette, contrasting_color, mask_image, oklab
from ddpkit.inference.prediction import Prediction
from ddpkit.inference.prediction_drawing import annotate_prediction, draw_prediction
from ddpkit.inference.tags import Tag
from ddpkit.runs import fonts

NOBODY_HAS = "\U0010fffd"
"""A character of private use, which no font has."""


def noise(width, height, mode="RGB"):
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def contrast(one, other):
    """Contrast of two colours as WCAG 2 defines it: 1 to 21."""
    values = [np.array(color) / 255 for color in (one, other)]
    linear = [np.where(each <= 0.04045, each / 12.92, ((each + 0.055) / 1.055) ** 2.4) for each in values]
    dark, bright = sorted(each @ [0.2126, 0.7152, 0.0722] + 0.05 for each in linear)
    return bright / dark


def classified(label, name, probability=0.987654):
    return Prediction({"label": label, "name": name, "probability": probability}, {})


def boxed(boxes, names):
    labels = list(range(1, len(boxes) + 1))
    return Prediction({"boxes": boxes, "labels": labels, "names": names, "scores": [0.5] * len(boxes)}, {})


def masked(mask, names):
    shares = np.bincount(mask.flatten(), minlength=len(names)) / mask.size
    return Prediction({"classes": dict(zip(names, shares.tolist(), strict=True))}, {"mask": mask})


def count(picture, color):
    return int((np.asarray(picture) == color).all(axis=-1).sum())


def test_a_text_has_a_strong_contrast_to_its_box():
    assert min(contrast(contrasting_color(class_color(label)), class_color(label)) for label in range(256)) >= 4.5


def test_the_colours_of_20_classes_can_be_told_apart():
    colors = oklab(np.array([class_color(label) for label in range(20)]))

    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(colors, 2)) > 0.14


def test_a_class_colour_is_visible_on_dark_and_bright_images():
    colors = [class_color(label) for label in range(1, 256)]

    assert min(contrast(color, (0, 0, 0)) for color in colors) > 2
    assert min(contrast(color, (255, 255, 255)) for color in colors) > 1.2


@pytest.mark.parametrize("size", [(28, 28), (300, 200), (4000, 3000), (2000, 40), (40, 2000)])
def test_a_label_is_below_the_whole_image_and_legible(size):
    picture = noise(*size)

    drawn = draw_prediction(picture, classified(3, "a dog"))

    factor = max(1, 256 // max(size))
    width, height = factor * size[0], factor * size[1]
    seen = drawn.crop((0, 0, width, height)).resize(size, Image.Resampling.NEAREST)
    strip = np.asarray(drawn.crop((0, height, drawn.width, drawn.height)))
    rows = np.flatnonzero((strip == class_color(3)).all(axis=-1).any(axis=1))
    assert (np.asarray(seen) == np.asarray(picture)).all()
    assert len(rows) >= max(20, 0.03 * min(width, height) if max(size) < 10 * min(size) else 0)
    assert drawn.width == max(256, width)


def test_a_class_has_the_same_colour_in_every_picture():
    color = class_color(2)
    mask = np.full((300, 300), 2, np.uint8)
    label, box, legend = (
        classified(2, "x"),
        boxed([[9, 9, 50, 50], [99, 99, 250, 250]], ["x", "x"]),
        masked(mask, ["a", "b", "x"]),
    )

    assert all(count(draw_prediction(noise(300, 300), each), color) > 100 for each in (label, box, legend))


@pytest.mark.parametrize(
    ("prediction", "texts"),
    [
        (classified(1, "dog"), ["dog 0.99"]),
        (classified(1, "dog", None), ["dog nan"]),
        (Prediction({"labels": ["a", "c"], "probabilities": {"a": 0.6, "b": 0.1, "c": 0.9}}, {}), ["c 0.90", "a 0.60"]),
        (Prediction({"labels": [], "probabilities": {"a": 0.1}}, {}), ["no label"]),
        (masked(np.array([[0, 0, 2, 2, 2]], np.uint8), ["sky", "sea", "sand"]), ["sand 60%", "sky 40%"]),
        (masked(np.repeat([0, 1], [999, 1])[None].astype(np.uint8), ["sky", "bird"]), ["sky 100%", "bird <1%"]),
        (boxed([], []), ["no box"]),
        (Prediction({"values": [1.5]}, {"values": np.array([1.5, -2])}), ["1.50, -2.00"]),
    ],
)
def test_the_texts_below_a_picture(prediction, texts):
    assert [f"{tag.name} {tag.value}".strip() for tag in annotate_prediction(prediction).tags] == texts


def test_a_long_name_is_shortened_but_its_value_is_kept():
    box = Tag(1, "a_name_without_end_" * 50, "0.97").fit(14, 240)

    assert box.text.startswith("a_name_without")
    assert box.text.endswith("... 0.97")
    assert 200 < box.width <= 240


def test_many_labels_stay_inside_the_picture():
    tags = [Tag(label, f"label {label}", "0.50") for label in range(80)]

    drawn = draw(noise(28, 28), Annotation(tags=tags))

    assert drawn.width == 256
    assert drawn.height < 3 * 256
    assert all(count(drawn.crop((2, 0, 254, drawn.height)), class_color(label)) > 100 for label in range(1, 23))


@pytest.mark.parametrize("corners", [[0, 0, 20, 20], [280, 0, 299, 30], [270, 190, 300, 200], [-1e12, -50, 1e12, 1e12], [9, 9, 5, 5], [float("nan")] * 4])  # fmt: skip
def test_the_text_of_a_box_stays_inside_the_picture(corners):
    drawn = draw_prediction(noise(300, 200), boxed([corners], ["a long name of a class"]))

    places = np.argwhere((np.asarray(drawn) == class_color(1)).all(axis=-1))
    assert drawn.size == (300, 200)
    assert len(places) > 1000
    widest = max(np.ptp(places[places[:, 0] == row, 1]) for row in np.unique(places[:, 0]))
    assert widest >= 60


def test_a_box_is_at_its_place_in_an_enlarged_picture():
    drawn = np.asarray(draw_prediction(noise(64, 64), boxed([[20, 30, 50, 60]], [""])))

    places = np.argwhere((drawn == class_color(1)).all(axis=-1))
    assert (*places.max(axis=0), places[:, 1].min()) == (240, 200, 80)


def test_a_name_that_no_font_shows_becomes_a_number(caplog):
    fonts.warn_about_missing_font.cache_clear()

    texts = [Tag(label, name).fit(14, 200).text for label, name in ((7, NOBODY_HAS), (8, f"a\n{NOBODY_HAS}"), (None, NOBODY_HAS))]

    assert texts == ["class 7", "class 8", "?"]
    assert len(caplog.messages) == 1
    assert "install a font" in caplog.text


def test_a_name_with_line_breaks_is_one_line():
    assert Tag(1, "a\nb\u2028c\t").fit(14, 200).text == "a b c"


@pytest.mark.parametrize(("kind", "n"), [(np.uint8, 1), (np.uint8, 3), (np.uint8, 256), (np.uint16, 300)])
def test_an_overlay_blends_each_class_but_the_first(kind, n):
    pixels = np.asarray(noise(64, 48))
    mask = np.random.default_rng(1).integers(0, n, (48, 64)).astype(kind)
    colours = np.reshape(class_palette(), (256, 3))[mask.astype(int) % 256]

    drawn = np.asarray(overlay_mask(Image.fromarray(pixels), mask))

    assert drawn.dtype == np.uint8
    assert (drawn == np.where(mask[..., None] > 0, (pixels.astype(int) + colours) // 2, pixels)).all()


def test_a_mask_image_keeps_the_classes(tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)

    mask_image(mask).save(tmp_path / "mask.png")

    with Image.open(tmp_path / "mask.png") as image:
        assert (image.mode, image.getpalette()) == ("P", class_palette())
        assert (np.asarray(image) == mask).all()
