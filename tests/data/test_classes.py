"""Class names and the number of outputs come from the data, or must fit it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tomli
from PIL import Image

from ddpkit import load
from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.distributed.world import World
from ddpkit.plugins import manager
from ddpkit.training import builder

HEAD = """\
output_dir = "runs"
task = "classes"
run_id = "mine"
device = "cpu"
[transform]
PIL_TO_TENSOR = []
CONVERT_IMAGE_DTYPE = ["float32"]
[train]
batch_size = 4
epoch = 1
optimizer = { type = "sgd", learning_rate = 0.01 }
"""
LETTERS = ["a", "b", "c", "d", "e"]
CLASSIFIER = """
postprocess = "classification"
metrics = ["accuracy"]
criterion = [{ type = "CRITERION" }]
model = { name = "MODEL", config = { n_pixels = 16 } }
"""
SEGMENTER = """
postprocess = "POSTPROCESS"
metrics = ["dice"]
criterion = [{ type = "CRITERION" }]
model = { name = "unet", config = { n_channels = 1, depth = 1, width = 2 } }
"""
DETECTOR = """
postprocess = "detection"
metrics = ["map"]
model = { name = "tiny_detector" }
"""


def classifier(dataset, model="tinynet", criterion="cross_entropy"):
    return CLASSIFIER.replace("MODEL", model).replace("CRITERION", criterion) + dataset


def segmenter(root, postprocess, criterion, keys=""):
    dataset = f'dataset = {{ name = "mask_folder", root_dir = "{root}", config = {{ mode = "L"{keys} }} }}\n'
    return SEGMENTER.replace("POSTPROCESS", postprocess).replace("CRITERION", criterion) + dataset


def folders(n):
    return f'dataset = {{ name = "image_folder", root_dir = "{n}", config = {{ mode = "L" }} }}\n'


TABLE = 'dataset = { name = "csv", root_dir = "csv", config = { mode = "L" } }\n'
NUMBERS = 'dataset = { name = "csv", root_dir = "csv", config = { mode = "L", label = "number" } }\n'
DIGITS = 'dataset = { name = "MNIST", config = { max_samples = 60 } }\n'
SHAPES = 'dataset = { name = "shapes", config = { n = 20, size = 32 } }\n'
BOXES = 'dataset = { name = "coco", root_dir = "coco" }\n'
COCO_MASKS = 'dataset = { name = "coco", root_dir = "coco", config = { target = "mask" } }\n'
RGB_UNET = SEGMENTER.replace("n_channels = 1", "n_channels = 3").replace("POSTPROCESS", "segmentation")
PAIR = ["class_0", "class_1"]
KINDS = {
    # kind: config, names of the data, n_classes that is inferred, that is also right, too small (None: there is none), too large
    "folders": (classifier(folders(5)), LETTERS, 5, 5, 3, 7),
    "two folders, cross entropy": (classifier(folders(2)), LETTERS[:2], 2, 2, 1, 3),
    "two folders, one logit": (classifier(folders(2), criterion="bce"), LETTERS[:2], 1, 1, None, None),
    "table of names": (classifier(TABLE), LETTERS[:3], 3, 3, 2, 4),
    "table of numbers": (classifier(NUMBERS), ["0", "1", "2"], 3, 3, 2, 4),
    "published set": (classifier(DIGITS).replace("n_pixels = 16", "n_pixels = 784"), list("0123456789"), 10, 10, 9, 11),
    "masks 0 and 255, one logit": (segmenter("white", "binary_segmentation", "bce"), PAIR, 1, 1, None, None),
    "masks 0 and 255, two outputs": (segmenter("white", "binary_segmentation", "cross_entropy"), PAIR, 2, 2, 1, None),
    "masks 0 and 255, either": (segmenter("white", "binary_segmentation", "dice"), PAIR, 1, 2, None, None),
    "masks of four classes": (
        segmenter("four", "segmentation", "cross_entropy"),
        ["class_0", "class_1", "class_2", "class_3"],
        4,
        4,
        3,
        6,
    ),
    "masks with ignore_index": (
        segmenter("border", "segmentation", "dice", ", ignore_index = 255")
        .replace('["dice"]', '[{ type = "dice", config = { ignore_index = 255 } }]')
        .replace('type = "dice" }]\nmodel', 'type = "cross_entropy", config = { ignore_index = 255 } }]\nmodel'),
        ["class_0", "class_1", "class_2"],
        3,
        3,
        2,
        5,
    ),
    "masks with mask_values": (
        segmenter("white", "segmentation", "cross_entropy", ", mask_values = [0, 255, 7]"),
        ["class_0", "class_1", "class_2"],
        3,
        3,
        2,
        4,
    ),
    "drawn boxes": (DETECTOR + SHAPES, ["circle", "square", "triangle"], 3, 3, 2, 5),
    "COCO boxes": (DETECTOR + BOXES, ["cup", "pen"], 2, 2, 1, 4),
    "COCO masks": (RGB_UNET.replace("CRITERION", "cross_entropy") + COCO_MASKS, ["background", "cup", "pen"], 3, 3, 2, 5),
    "plugin model, n_classes required": (classifier(folders(5), "asking"), LETTERS, 5, 5, 3, 7),
    "plugin model, n_classes renamed": (classifier(folders(5), "renamed"), LETTERS, 5, 5, 3, 7),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with data of each kind, images of 4 x 4 pixels; 16 x 16 for masks and boxes."""
    root, generator = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in [f"{n}/{letter}/{number}" for n in (2, 5) for letter in LETTERS[:n] for number in range(10)]:
        save(root / name, generator.integers(0, 255, (4, 4)))
    for number in range(30):
        save(root / f"csv/{number}", generator.integers(0, 255, (4, 4)))
    rows = [f"{number}.png,{'abc'[number % 3]},{number % 3}" for number in range(30)]
    (root / "csv/labels.csv").write_text("\n".join(["path,label,number", *rows]))
    masks = {"white": [0, 255], "four": [0, 1, 2, 3], "border": [0, 1, 2, 255], "mixed": [0, 255]}
    for name, number in [(name, number) for name in masks for number in range(10)]:
        save(root / f"{name}/images/{number}", generator.integers(0, 255, (16, 16)))
        save(root / f"{name}/masks/{number}", generator.choice(masks[name], (16, 16)))
    save(root / "mixed/masks/9", generator.choice([0, 1], (16, 16)))
    write_coco(root / "coco", generator)
    return root


def save(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(file.with_suffix(".png"))


def write_coco(root, generator):
    """Write twenty images, each with one cup or one pen."""
    for number in range(20):
        save(root / f"images/{number}", generator.integers(0, 255, (16, 16, 3)))
    place = {"bbox": [2, 2, 9, 9], "segmentation": [[2, 2, 9, 2, 9, 9]]}
    annotations = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(20)],
        "categories": [{"id": 5, "name": "cup"}, {"id": 6, "name": "pen"}],
        "annotations": [{"image_id": number, "category_id": 5 + number % 2, **place} for number in range(20)],
    }
    (root / "annotations.json").write_text(json.dumps(annotations))


@pytest.fixture
def write(acme, data, tmp_path, monkeypatch):
    """Function that writes a config to `run.toml`; the data is in the current folder, the output in another one."""
    monkeypatch.chdir(data)

    def write_config(body, **values):
        tables = tomli.loads(body + HEAD) | {"output_dir": str(tmp_path / "runs")} | values
        file = tmp_path / "run.toml"
        file.write_text(loading.tomli_w.dumps(tables))
        return file

    return write_config


def complete(file, **values):
    """The config that a run of this file records, and its trainer."""
    config = loading.load(file, loading.named_overrides(values))
    return builder.build_run(config, manager.load().registry, World())


@pytest.mark.parametrize("named", [False, True], ids=["names from the data", "names given"])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_inferred_or_must_fit(kind, named, write, capsys, caplog):
    body, names, inferred, right, small, large = KINDS[kind]
    file = write(body, classes=names if named else [])
    caplog.set_level("WARNING")

    config, _ = complete(file)
    assert (config.run.classes, config.run.model.config.params["n_classes"]) == (names, inferred)

    for n_classes in {inferred, right}:
        complete(file, **{"model.config.n_classes": n_classes})
    assert "outputs" not in caplog.text

    if large:
        complete(file, **{"model.config.n_classes": large})
        warned = main(["check", str(file), "--set", f"model.config.n_classes={large}"]) == 0 and capsys.readouterr().out
        assert f"the model has {large} outputs" in (warned if named else caplog.text)

    if small:
        assert main(["run", str(file), "--dry-run", "--set", f"model.config.n_classes={small}"]) == 2
        out, err = capsys.readouterr()
        assert "--set 1: model.config.n_classes: " in err
        assert f"set n_classes = {len(names)}" in err
        assert not out


def test_a_model_without_n_classes_must_distinguish_the_classes(write, capsys, caplog):
    file = write(classifier(folders(5), "named"))

    assert complete(file)[0].run.classes == LETTERS
    assert "outputs" not in caplog.text

    config, trainer = complete(file, **{"model.config.width": 7})
    assert config.run.classes == [*LETTERS, "class_5", "class_6"]
    assert trainer.evaluator.metrics["accuracy"].metric.n_classes == 7
    assert "model.config: the model has 7 outputs, but the dataset has 5 classes: 'a', 'b', 'c', 'd', 'e'" in caplog.text

    assert main(["run", str(file), "--dry-run", "--set", "model.config.width=3"]) == 2
    assert (
        "model.config: the model has 3 outputs, but the dataset has 5 classes: 'a', 'b', 'c', 'd', 'e'; "
        "configure the model for 5 outputs" in capsys.readouterr().err
    )


def test_the_models_own_name_of_n_classes_tells_the_classes(write, capsys):
    file = write(classifier(folders(5), "renamed"))

    config, trainer = complete(file, **{"model.config.width": 7})
    assert config.run.model.config.params == {"width": 7, "n_classes": 7, "n_pixels": 16}
    assert trainer.evaluator.metrics["accuracy"].metric.n_classes == 7

    assert main(["run", str(file), "--dry-run", "--set", "model.config.width=3"]) == 2
    message = "--set 1: model.config.width: the model has 3 outputs, but the dataset has 5 classes: 'a', 'b', 'c', 'd', 'e'; set width = 5"
    assert message in capsys.readouterr().err


def test_a_label_without_a_name_needs_an_output(write, capsys):
    file = write(classifier('dataset = { name = "blobs" }\n').replace("16", "64"))

    config, _ = complete(file)
    assert (config.run.classes, config.run.model.config.params["n_classes"]) == (["class_0", "class_1"], 2)

    assert main(["run", str(file), "--dry-run", "--set", "model.config.n_classes=1"]) == 2
    message = "criterion 'cross_entropy' requires one output per class, but train sample "
    assert message in (err := capsys.readouterr().err)
    assert "has the label 1, so there are 2 classes; set n_classes = 2" in err


def test_the_largest_label_is_tried_if_nothing_else_tells_the_classes(write, capsys):
    split = "{ train = 0.5, valid = 0.5, shuffle = false }"
    body = classifier(f'dataset = {{ name = "blobs", config = {{ n = 20 }}, split = {split} }}\n', criterion="moody")
    file = write(body.replace("16", "64").replace('postprocess = "classification"\nmetrics = ["accuracy"]\n', ""))

    assert main(["run", str(file), "--dry-run", "--set", "model.config.n_classes=1", "--set", "train.batch_size=1"]) == 2
    assert "model.config.n_classes: a target is not a valid class index of the model" in capsys.readouterr().err


def ignoring(root, label):
    body = segmenter(root, "segmentation", "cross_entropy").replace('metrics = ["dice"]\n', "")
    return body.replace('"cross_entropy"', f'"cross_entropy", config = {{ ignore_index = {label} }}')


@pytest.mark.parametrize(("root", "label", "n"), [("border", 255, 3), ("four", 0, 4), ("four", 3, 3), ("four", 1, 4)])
def test_a_label_that_a_criterion_ignores_is_not_a_class(write, root, label, n):
    assert complete(write(ignoring(root, label)))[0].run.model.config.params["n_classes"] == n


def test_a_run_on_masks_without_names_resumes_and_is_tested(write, capsys):
    file = write(ignoring("border", 255))

    assert main(["run", str(file)]) == 0
    folder = capsys.readouterr().out.splitlines()[-1]
    assert main(["run", str(file), "--resume", "--set", "train.epoch=2"]) == 0
    assert main(["test", folder]) == 0
    assert main(["run", f"{folder}/config.toml", "--dry-run"]) == 0


def test_a_metric_that_ignores_a_label_does_not_remove_its_class(write):
    body = segmenter("four", "segmentation", "cross_entropy").replace(
        '["dice"]', '[{ type = "dice", config = { ignore_index = 3 } }]'
    )

    assert complete(write(body))[0].run.model.config.params["n_classes"] == 4


def test_a_category_called_background_is_a_class_of_boxes(write, data, capsys):
    (data / "odd").mkdir(exist_ok=True)
    text = (data / "coco/annotations.json").read_text().replace('"cup"', '"background"')
    (data / "odd/annotations.json").write_text(text)
    body = (
        DETECTOR
        + 'dataset = { name = "coco", root_dir = ".", config = { annotations = "odd/annotations.json", images = "coco/images" } }\n'
    )
    file = write(body)

    assert complete(file)[0].run.model.config.params["n_classes"] == 2
    assert main(["run", str(file)]) == 0
    folder = capsys.readouterr().out.splitlines()[-1]
    assert main(["run", str(file), "--resume", "--set", "train.epoch=2"]) == 0
    assert main(["test", folder]) == 0
    assert load(folder).classes == ["background", "pen"]


def test_a_regression_on_labelled_data_is_not_a_classification(write):
    regression = classifier(DIGITS, criterion="acme/first_pixel").replace("n_pixels = 16", "n_pixels = 784, n_classes = 1")
    body = regression.replace('postprocess = "classification"\nmetrics = ["accuracy"]\n', "").replace("acme/first_pixel", "mse")

    assert complete(write(body))[0].run.model.config.params["n_classes"] == 1


def test_names_and_outputs_of_the_config_are_right_if_they_fit(write, capsys):
    file = write(classifier(DIGITS).replace("n_pixels = 16", "n_pixels = 784, n_classes = 2"), classes=["even", "odd"])

    assert main(["run", str(file), "--dry-run"]) == 2  # a transform could change the targets, but there is none
    assert "model.config.n_classes: a target is not a valid class index of the model" in capsys.readouterr().err


def test_numbered_names_differ_from_those_of_the_dataset(write, data):
    for number in (1, 2):
        if not (target := data / f"numbered/class_{number}").exists():
            target.parent.mkdir(exist_ok=True)
            shutil.copytree(data / "2/a", target)
    body = classifier(folders(2), "named").replace('root_dir = "2"', 'root_dir = "numbered"')

    assert complete(write(body), **{"model.config.width": 3})[0].run.classes == ["class_1", "class_2", "output_2"]


def test_a_single_class_is_refused(write, data, capsys):
    if not (data / "one").exists():
        shutil.copytree(data / "2/a", data / "one/a")

    assert main(["run", str(write(classifier(folders(2)).replace('"2"', '"one"'))), "--dry-run"]) == 2
    assert "dataset: there is only one class: a; check the folder of the data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("border", "dataset: a sample has the label 255, but no sample has the label 3; set 'ignore_index' if it is not a class"),
        ("mixed", "masks/0.png contains only 0 and 255, but "),
    ],
)
def test_masks_whose_classes_are_not_certain_are_refused(root, message, write, capsys):
    file = write(segmenter(root, "segmentation", "cross_entropy"))

    assert main(["run", str(file), "--dry-run"]) == 2
    assert message in capsys.readouterr().err


def test_a_metric_without_a_number_of_classes_is_refused(write, capsys):
    body = classifier('dataset = { name = "blobs", config = { labelled = false } }\n', "named").replace("16", "64")
    file = write(body.replace('"classification"', '"acme/sharpened"'))

    assert main(["run", str(file), "--dry-run", "--set", "model.config.width=2"]) == 2
    message = "metrics[0].type: 'accuracy' requires the number of classes, which the data does not show; set 'classes', their names, or set 'n_classes' in the 'config' of this metric"
    assert message in capsys.readouterr().err

    assert main(["run", str(file), "--dry-run", "--set", "model.config.width=2", "--set", "classes=['x', 'y']"]) == 0


def test_a_run_records_its_classes_and_uses_them_later(write, data, capsys):
    file = write(classifier(folders(5)))

    assert main(["run", str(file)]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    recorded = tomli.loads((folder / "config.toml").read_text())
    assert (recorded["classes"], recorded["model"]["config"]["n_classes"]) == (LETTERS, 5)
    assert load(folder).classes == LETTERS

    assert main(["run", str(file), "--task", "test"]) == 0
    assert main(["run", str(file), "--resume", "--set", "train.epoch=2"]) == 0
    assert main(["predict", str(folder), str(data / "5/a")]) == 0
