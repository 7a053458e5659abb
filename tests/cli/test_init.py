"""`ddpkit init` writes a valid config for the data that users have, and says what is wrong with other data."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tomli
from PIL import Image

from ddpkit.cli.main import main
from ddpkit.config import loading
from tests.helpers.user_data import draw_coco, draw_masks, draw_photo, draw_photos, draw_table

README = Path(__file__).parents[2] / "README.md"
DRAW = {"photos": draw_photos, "table": draw_table, "cells": draw_masks, "boxes": draw_coco}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(path, *options):
    """Exit code, and the config that was written."""
    assert main(["init", str(path), *options]) == 0
    (file,) = Path().glob("*.toml")
    assert main(["check", str(file), "--deep"]) == 0
    return tomli.loads(file.read_text(encoding="utf-8"))


def refusal(path, capsys, *options):
    """Message about data for which no config is written."""
    before = sorted(Path().rglob("*"))
    assert main(["init", str(path), *options]) == 2
    assert sorted(Path().rglob("*")) == before
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "kind", ["photos", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("table", "cells", "boxes"))]
)
def test_three_commands_lead_from_data_to_pictures(kind, folder, capsys):
    DRAW[kind](folder / kind)
    new = folder / "new_photos"
    for number in range(2):
        draw_photo(new / f"{number}.png", "apple", 100 + number)
    printed = [line.split("  #")[0].split() for line in README.read_text().splitlines() if line.startswith("    ddpkit")][:3]
    commands = [[part.replace("photos", kind) if part != "new_photos/" else part for part in line[1:]] for line in printed]
    assert [command[0] for command in commands] == ["init", "run", "predict"]

    assert main(commands[0]) == 0
    assert main([*commands[1], "--set", "train.epoch=1", "--set", "device=cpu"]) == 0
    (run,) = (folder / f"runs/{kind}").iterdir()
    assert main([part.replace(f"runs/{kind}/RUN_ID", str(run)) for part in commands[2]]) == 0

    first = tomli.loads((folder / f"{kind}.toml").read_text())["metrics"][0]
    assert first in json.loads((run / "test_metrics.json").read_text())
    assert {*json.loads((run / "split.json").read_text())} == {"train", "valid", "test"}
    assert sorted(file.name for file in (run / "predictions/images").iterdir()) == ["0.png", "1.png"]


def test_a_folder_of_classes_gets_a_classifier(folder, capsys):
    draw_photos(folder / "my photos", n=40, size=(160, 120))

    config = init("my photos")

    assert (config["task"], config["classes"], config["dataset"]["root_dir"]) == (
        "my_photos",
        ["apple", "lemon", "plum"],
        "my photos",
    )
    assert (config["transform"]["RESIZE"], config["train"]["batch_size"]) == ([96, 128], 8)
    assert (config["model"]["config"]["n_channels"], config["output"]["monitor"]) == (3, "accuracy")
    assert (folder / "my_photos.toml").read_text().startswith("#:schema ./ddpkit.schema.json\n")
    assert capsys.readouterr().out.splitlines()[:5] == [
        "my photos: image files with one folder per class (image_folder)",
        "  images       120",
        "  classes      3: apple (40), lemon (40), plum (40)",
        "  sizes        160 x 120, RGB",
        "",
    ]


def test_tiny_grayscale_images_keep_their_size(folder):
    draw_photos(folder / "digits", size=(28, 28), mode="L")

    config = init("digits")

    assert (config["transform"]["RESIZE"], config["transform"]["NORMALIZE"]) == ([28, 28], [[0.5], [0.5]])
    assert (config["model"]["config"]["n_channels"], config["dataset"]["config"]) == (1, {"mode": "L"})
    assert config["dataloader"]["drop_last"] is True


def test_own_splits_are_used(folder, capsys):
    for split in ("train", "test"):
        draw_photos(folder / "data" / split)

    config = init("data")

    assert (config["dataset"]["split"], config["output"]["monitor"]) == ({}, "loss")
    assert "splits       train, test" in capsys.readouterr().out


def test_odd_names_are_written_safely(folder, capsys):
    names = ['it\'s "q"', "true", "a.b", "猫", "$n | x # y", "line\nbreak"]
    for number, name in enumerate(names):
        for copy, mode in enumerate(("RGB", "RGBA", "L", "I;16")):
            file = folder / 'd\'é "1.0"' / name / f"{copy}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (70 + number, 90)).save(file)

    config = init('d\'é "1.0"', "--lang", "zh")

    assert config["classes"] == sorted(names)
    assert (config["task"], config["dataset"]["root_dir"]) == ("d_1.0", 'd\'é "1.0"')
    assert "line\nbreak" not in capsys.readouterr().out


def test_many_classes_are_left_to_the_data(folder):
    draw_photos(folder / "many", n=1, names=[f"c{number:02}" for number in range(31)])

    assert "classes" not in init("many")


def test_unbalanced_classes_suggest_a_sampler(folder):
    draw_photos(folder / "birds", n=6, names=["crow"])
    draw_photos(folder / "birds", n=2, names=["owl"])

    init("birds")

    assert '# sampler = "balanced"' in (folder / "birds.toml").read_text()


def test_comments_can_be_chinese(folder, capsys):
    draw_photos(folder / "photos")

    init("photos", "--lang", "zh")

    assert 'name = "resnet18"                  # 其他模型见 ddpkit list model\n' in (folder / "photos.toml").read_text()
    assert "  类别数       3：apple (4), lemon (4), plum (4)\n" in capsys.readouterr().out


def test_unreadable_images_are_counted(folder, capsys):
    draw_photos(folder / "photos")
    (folder / "photos/plum/0.png").write_bytes(b"not an image")

    init("photos")

    assert "unreadable   1 of 12 files: photos/plum/0.png; `ddpkit check --data` finds all\n" in capsys.readouterr().out


def test_the_columns_of_a_table_are_recognised(folder):
    draw_table(folder / "clinic", n=20)

    table = init("clinic/list.csv")["dataset"]

    assert table["config"] == {"file": "list.csv", "path": "image", "label": "diagnosis"}
    assert table["split"] == {"group": "patient"}


def test_numeric_labels_from_1_become_names(folder):
    for number in range(8):
        draw_photo(folder / "clinic/pictures" / f"{number}.png", "apple", number)
    rows = [f"{number}.png,{1 + number % 2},{'train' if number < 6 else 'valid'}" for number in range(8)]
    (folder / "clinic/grades.csv").write_text("\n".join(["name,stage,part", *rows]))

    config = init("clinic")

    assert config["classes"] == ["1", "2"]
    assert config["dataset"] == {
        "name": "csv",
        "root_dir": "clinic/pictures",
        "config": {"file": "../grades.csv", "path": "name", "label": "stage", "part": "part"},
    } | {"split": {}}


@pytest.mark.parametrize(
    ("values", "keys", "classes"),
    [
        ((0, 255), {}, ["background", "foreground"]),
        ((0, 128, 255), {"mask_values": [0, 128, 255]}, ["background", "class_1", "class_2"]),
        ((0, 1, 2), {}, ["background", "class_1", "class_2"]),
        ((0, 1, 255), {"ignore_index": 255}, ["background", "foreground"]),
    ],
)
def test_the_values_of_masks_are_interpreted(values, keys, classes, folder):
    draw_masks(folder / "cells", values=values)

    config = init("cells")

    assert (config["dataset"].get("config", {}), config["classes"]) == (keys, classes)
    assert [each["type"] for each in config["criterion"]] == {
        (0, 255): ["bce", "dice"],
        (0, 1, 255): ["cross_entropy"],
    }.get(values, ["cross_entropy", "dice"])


def test_coloured_masks_get_a_palette(folder):
    draw_masks(folder / "cells", images="image", masks="labels")
    for file in (folder / "cells/labels").iterdir():
        Image.open(file).convert("RGB").save(file)

    keys = init("cells")["dataset"]["config"]

    assert keys == {"images": "image", "masks": "labels", "palette": [[0, 0, 0], [255, 255, 255]]}


def test_coco_files_of_the_splits_are_found(folder):
    for split in ("train", "val"):
        draw_coco(folder / "boxes", file=f"annotations/instances_{split}.json", images=f"{split}2017")

    config = init("boxes")

    assert config["dataset"]["config"] == {
        "annotations": {"train": "annotations/instances_train.json", "valid": "annotations/instances_val.json"},
        "images": {"train": "train2017", "valid": "val2017"},
    }
    assert (config["model"]["name"], config["output"]["monitor"]) == ("fcos_resnet50_fpn", "map")


def test_a_coco_file_finds_the_images_next_to_its_folder(folder):
    draw_coco(folder / "boxes", file="labels/boxes.json", images="pictures")

    dataset = init("boxes/labels/boxes.json")["dataset"]

    assert (dataset["root_dir"], dataset["config"]) == ("boxes", {"annotations": "labels/boxes.json", "images": "pictures"})


def test_no_file_is_overwritten(folder, capsys):
    draw_photos(folder / "photos")
    (folder / "photos.toml").write_text("mine")

    assert "photos.toml: exists already and is not overwritten" in refusal("photos", capsys)
    assert main(["init", "photos", "--output", "other.toml"]) == 0
    assert (folder / "photos.toml").read_text() == "mine"


def flat(folder):
    draw_photo(folder / "d/1.png", "apple", 1)


def one_class(folder):
    draw_photos(folder / "d", names=["apple"])


def no_labels(folder):
    draw_photo(folder / "d/1.png", "apple", 1)
    (folder / "d/list.csv").write_text("path,number\n1.png,7\n")


def other_split_names(folder):
    draw_photo(folder / "d/1.png", "apple", 1)
    (folder / "d/list.csv").write_text("path,label,set\n1.png,apple,train\n2.png,plum,val\n")


def no_images(folder):
    (folder / "d").mkdir()
    (folder / "d/list.csv").write_text("id,label\n7,apple\n")


def all_corrupt(folder):
    draw_photos(folder / "d")
    for file in (folder / "d").rglob("*.png"):
        file.write_bytes(b"")


def photos_as_masks(folder):
    draw_masks(folder / "d")
    for number in range(10):
        draw_photo(folder / f"d/masks/{number}.png", "apple", number, mode="L")


def no_pair(folder):
    draw_masks(folder / "d")
    draw_photo(folder / "d/images/extra.png", "apple", 1)


def unknown(folder):
    (folder / "d").mkdir()
    (folder / "d/notes.txt").write_text("")


MISTAKES = {
    flat: "contains images, but no folders of classes; move the images of each class to a folder of its own",
    one_class: "there is only one class, 'apple'; a classifier requires two or more",
    no_labels: "d/list.csv: no column contains classes; call the column with the classes 'label'",
    other_split_names: "the column 'set' must contain train, valid, test or empty cells; it contains ['train', 'val']",
    no_images: "d/list.csv has no column with names of image files",
    all_corrupt: "none of 12 image files can be read: d/apple/0.png",
    photos_as_masks: "a mask must have one value per class; save it as PNG",
    no_pair: "files without a partner: d/images/extra.png",
    unknown: "the data was not recognised; it contains notes.txt; expected one of: boxes or masks from a JSON file",
    lambda folder: (folder / "d").mkdir(): "the data was not recognised; it is empty; expected one of",
    lambda folder: (folder / "d").write_text("x"): "the data was not recognised; expected one of",
    lambda folder: None: "PATH: d was not found",
}


@pytest.mark.parametrize("make", MISTAKES, ids=lambda make: make.__name__)
def test_a_mistake_in_the_data_is_explained(make, folder, capsys):
    make(folder)

    assert MISTAKES[make] in refusal("d", capsys)


@pytest.mark.parametrize(("name", "content"), [("d.csv", "\x00"), ("d.json", "{"), ("d.json", "[]")])
def test_an_unreadable_file_is_reported(name, content, folder, capsys):
    (folder / name).write_text(content)

    assert refusal(name, capsys).startswith(f"{name}: ")


def test_init_does_not_import_torch(folder):
    for kind, draw in DRAW.items():
        draw(folder / kind)
    lines = [f"assert main(['init', {kind!r}]) == 0" for kind in DRAW]
    code = "\n".join(["import sys", "from ddpkit.cli.main import main", *lines, "assert 'torch' not in sys.modules"])

    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


PLUGIN = """\
from ddpkit import Component, Starter, hookimpl

CONFIG = '''
[model]
name = $model  # English | 中文
config = {{ n_classes = 2 }}
[dataset]
name = "starters/frames"
root_dir = $root
[train]
batch_size = 4
epoch = 1
optimizer = {{ type = "sgd" }}
'''

@hookimpl
def ddpkit_datasets():
    yield Component("broken", "starters:broken", starter="starters:broken")
    yield Component("frames", "starters:Frames", starter="starters:frames")

def broken(path):
    raise OSError("no disk")

def frames(path):
    if any(path.glob("*.frame")):
        return Starter(config=CONFIG, found="frames of $root", values={{"root": str(path), "model": {model!r}}})

class Frames:
    def __init__(self, root_dir: str):
        pass
"""


@pytest.mark.parametrize(("model", "exit_code"), [("resnet18", 0), ("resnet81", 2)])
def test_a_third_party_dataset_takes_part(model, exit_code, folder, monkeypatch, capsys):
    (folder / "site/starters-1.dist-info").mkdir(parents=True)
    (folder / "site/starters-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: starters\nVersion: 1\n")
    (folder / "site/starters-1.dist-info/entry_points.txt").write_text("[ddpkit]\nstarters = starters\n")
    (folder / "site/starters.py").write_text(PLUGIN.format(model=model))
    monkeypatch.syspath_prepend(folder / "site")
    monkeypatch.delitem(sys.modules, "starters", raising=False)
    (folder / "video").mkdir()
    (folder / "video/1.frame").write_text("")

    assert main(["init", "video"]) == exit_code

    out, err = capsys.readouterr()
    assert "warning: dataset 'starters/broken' (starters 1) failed: OSError: no disk\n" in err
    if exit_code == 0:
        assert "frames of video\n" in out
        assert loading.load(folder / "video.toml").run.task == "video"
    else:
        assert "dataset 'starters/frames' (starters 1) failed: RuntimeError: the suggested config is not valid: " in err
