"""Boxes and masks from COCO annotation files."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.tv_tensors import BoundingBoxes, Mask

from ddpkit.training.losses import Losses, LossTerm, ModelComputedLosses
from ddpkit_plugins.datasets.boxes import collate
from ddpkit_plugins.datasets.coco import CocoDataset
from ddpkit_plugins.datasets.coco_masks import decode_region, unpack_counts
from ddpkit_plugins.transforms import pil_to_tensor

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
SQUARE = [[2, 1, 5, 1, 5, 3, 2, 3]]


def write(root, *annotations, file="annotations.json", images="images"):
    """Two images of 8x6 pixels with these annotations of the first one."""
    (root / images).mkdir(exist_ok=True)
    names = [{"id": number, "file_name": f"{number}.png", "width": 8, "height": 6} for number in (5, 6)]
    for name in names:
        Image.new("RGB", (8, 6), (name["id"], 0, 0)).save(root / images / name["file_name"])
    objects = [{"image_id": 5, "category_id": 3, "bbox": [2, 1, 3, 2], "segmentation": SQUARE, **each} for each in annotations]
    (root / file).write_text(json.dumps({"images": names, "categories": CATEGORIES, "annotations": objects}))
    return str(root)


def test_boxes_are_xyxy_with_labels_from_1_in_id_order(tmp_path):
    coco = CocoDataset(write(tmp_path, {}, {"category_id": 7, "bbox": [0, 0, 8, 6]}), [], 0)

    image, target = coco[0]
    assert (image.getpixel((0, 0)), type(target["boxes"]), target["boxes"].canvas_size) == ((5, 0, 0), BoundingBoxes, (6, 8))
    assert target["boxes"].tolist() == [[2, 1, 5, 3], [0, 0, 8, 6]]
    assert (target["boxes"].dtype, target["labels"].dtype) == (torch.float32, torch.int64)
    assert target["labels"].tolist() == [1, 2]
    assert coco.classes == ["cat", "dog"]
    assert coco[1][1]["boxes"].shape == (0, 4)


@pytest.mark.parametrize("classes", [["dog", "cat"], ["dog", "eel", "cat"]])
def test_labels_follow_the_order_of_classes(tmp_path, classes):
    coco = CocoDataset(write(tmp_path, {}), classes, 0)

    assert coco[0][1]["labels"].tolist() == [classes.index("cat") + 1]
    assert coco.classes == classes


def test_samples_for_resume_cover_labels_and_positions(tmp_path):
    first = CocoDataset(write(tmp_path, {}, {"category_id": 7}), [], 0).samples

    assert [(file.name, labels) for file, labels, _ in first] == [("5.png", [1, 2]), ("6.png", [])]
    assert CocoDataset(str(tmp_path), ["dog", "cat"], 0).samples[0][1] == [2, 1]
    moved = CocoDataset(write(tmp_path, {}, {"category_id": 7, "bbox": [2, 1, 3, 3]}), [], 0).samples
    assert (moved[0][:2], moved[1]) == (first[0][:2], first[1])
    assert moved[0][2] != first[0][2]
    as_masks = [CocoDataset(write(tmp_path, {"segmentation": area}), [], 0, target="mask").samples[0][2] for area in ([], SQUARE)]
    assert as_masks[0] != as_masks[1]


@pytest.mark.parametrize("classes", [["dog", "cat"], ["background", "dog", "cat"]])
def test_mask_classes_start_with_the_background(tmp_path, classes):
    coco = CocoDataset(write(tmp_path, {}), classes, 0, target="mask")

    assert coco.classes == ["background", "dog", "cat"]
    assert coco[0][1].unique().tolist() == [0, 2]


def test_boxes_reject_a_background_class(tmp_path):
    with pytest.raises(ValueError, match="'classes' must not contain 'background' if the targets are boxes"):
        CocoDataset(write(tmp_path, {}), ["background", "cat", "dog"], 0)


def test_an_unknown_category_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"categories that are not in 'classes': 'dog' \(did you mean 'dgo'\?\)"):
        CocoDataset(write(tmp_path, {}), ["cat", "dgo"], 0)


def test_boxes_are_clipped_and_empty_boxes_dropped(tmp_path):
    coco = CocoDataset(write(tmp_path, {"bbox": [-1, 4, 3, 9]}, {"bbox": [3, 3, 0, 2]}, {"bbox": [9, 0, 2, 2]}), [], 0)

    assert coco[0][1]["boxes"].tolist() == [[0, 4, 2, 6]]


def test_losses_do_not_see_crowds_and_metrics_do(tmp_path):
    coco = CocoDataset(write(tmp_path, {"iscrowd": 1}, {"category_id": 7, "bbox": [0, 0, 8, 6]}), [], 0)
    _, targets = coco.collate([pil_to_tensor()(*coco[index]) for index in range(2)])

    (_, given), seen = ModelComputedLosses().inputs(None, targets), []
    Losses([LossTerm("a", 1.0, lambda _, targets: seen.append(targets) or torch.tensor(0.0))])(None, targets)

    for found in (given, *seen):
        assert found[0]["boxes"].tolist() == [[0, 0, 8, 6]]
        assert (found[0]["labels"].tolist(), len(found[1]["boxes"])) == ([2], 0)
    assert targets[0]["iscrowd"].tolist() == [1, 0]
    assert len(targets[0]["boxes"]) == 2


def polygon_cases():
    """Squares, triangles, holes, points outside, and random polygons."""
    draws = np.random.default_rng(0)
    yield [[2, 1, 5, 1, 5, 3, 2, 3]]
    yield [[1, 1, 7, 1, 7, 5, 1, 5], [2.5, 2.5, 4.5, 2.5, 4.5, 3.5]]
    yield [[-3.2, -1, 20, 2.5, 4, 30]]
    yield [[3, 3, 3, 3, 3, 3]]
    for n in draws.integers(3, 9, 60):
        yield [(draws.random(2 * n) * 12 - 2).round(draws.integers(0, 3)).tolist()]


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' decoder
def test_polygons_and_run_lengths_have_the_pixels_of_pycocotools(tmp_path):
    from pycocotools import mask as reference

    for polygons in polygon_cases():
        runs = reference.merge(reference.frPyObjects(polygons, 6, 8))
        wanted = reference.decode(runs)
        text = {"size": [6, 8], "counts": runs["counts"].decode()}
        for segmentation in (polygons, text, {"size": [6, 8], "counts": unpack_counts(text["counts"])}):
            assert (decode_region(segmentation, tmp_path, (6, 8)) == wanted).all(), polygons


def test_ids_may_be_floats_and_sizes_may_be_absent(tmp_path):
    write(tmp_path, {"image_id": 5.0, "category_id": 3.0}, {"image_id": 6.0})
    content = json.loads((tmp_path / "annotations.json").read_text())
    for image in content["images"]:
        image["id"] = float(image["id"])
        del image["width"], image["height"]
    (tmp_path / "annotations.json").write_text(json.dumps(content))

    coco = CocoDataset(str(tmp_path), [], 0)

    assert [target["boxes"].tolist() for _, target in (coco[0], coco[1])] == [[[2, 1, 5, 3]]] * 2
    assert CocoDataset(str(tmp_path), [], 0, target="mask")[0][1].shape == (6, 8)


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, float("nan")], None])
def test_an_invalid_box_is_named_with_its_image(tmp_path, box):
    with pytest.raises(ValueError, match=r"images/5.png has an annotation whose bbox is not four numbers"):
        CocoDataset(write(tmp_path, {"bbox": box}), [], 0)[0]


def test_later_objects_cover_earlier_ones_in_a_mask(tmp_path):
    runs = {"counts": [0, 6, 42], "size": [6, 8]}
    coco = CocoDataset(write(tmp_path, {}, {"category_id": 7, "segmentation": runs}), [], 0, target="mask")

    _, mask = coco[0]
    assert (type(mask), mask.dtype, hasattr(coco, "collate")) == (Mask, torch.uint8, False)
    assert mask[:, 0].tolist() == [2] * 6
    assert mask[2, 1:].tolist() == [0, 1, 1, 1, 0, 0, 0]
    assert coco[1][1].sum() == 0


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("=24000;OF", [13, 2, 4, 2, 4, 2, 15, 1, 5]),
        ("m8i0?0Tj0<`UO000We0", [285, 25, 15, 25, 851, 37, 3, 37, 3, 37, 682]),
    ],
)
def test_compressed_rle_matches_pycocotools(text, runs):
    assert unpack_counts(text) == runs


def test_each_split_may_have_its_own_file(tmp_path):
    write(tmp_path, {}, file="a.json", images="a")
    write(tmp_path, {}, file="b.json", images="b")

    coco = CocoDataset(
        str(tmp_path), [], 0, annotations={"train": "a.json", "valid": "b.json"}, images={"train": "a", "valid": "b"}
    )

    assert coco.splits == {"train": range(2), "valid": range(2, 4)}
    assert coco.groups["file"] == ["a/5.png", "a/6.png", "b/5.png", "b/6.png"]
    with pytest.raises(
        ValueError, match=r"must be set for the same splits \(of train, valid, test\); got \['train'\] and \['test'\]"
    ):
        CocoDataset(str(tmp_path), [], 0, annotations={"train": "a.json"}, images={"test": "a"})
    with pytest.raises(ValueError, match=r"\(of train, valid, test\); got \['val'\] and \['val'\]"):
        CocoDataset(str(tmp_path), [], 0, annotations={"val": "a.json"}, images={"val": "a"})
    with pytest.raises(ValueError, match=r"not in the folder .*: .*/\.\./a; set a folder that contains all of them"):
        CocoDataset(str(tmp_path), [], 0, annotations="a.json", images="../a")


def test_collate_stacks_equal_sizes_and_lists_others(tmp_path):
    coco = CocoDataset(write(tmp_path, {}), [], 0)
    samples = [pil_to_tensor()(*coco[index]) for index in range(2)]

    images, targets = coco.collate(samples)
    ragged, _ = collate([samples[0], (samples[1][0][:, 1:], samples[1][1])])

    assert images.shape == (2, 3, 6, 8)
    assert [len(target["boxes"]) for target in targets] == [1, 0]
    assert [image.shape for image in ragged] == [(3, 6, 8), (3, 5, 8)]
    with pytest.raises(TypeError, match="collate expects image tensors; got Image"):
        collate([coco[0]])
    assert np.asarray(coco[0][0]).shape == (6, 8, 3)
