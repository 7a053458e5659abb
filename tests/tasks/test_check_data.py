"""`ddpkit check --data` reads every sample once, and names all that are wrong."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.tv_tensors import Mask

from ddpkit.cli.main import main
from ddpkit.data.findings import CheckedSample, KnownLabels, find_problems
from ddpkit.data.loader import SeededDataset
from ddpkit.data.sample_facts import FactsReader, class_indices, digest
from tests.helpers.configs import IMAGES
from tests.helpers.tables import table_rows

TABLE = '[dataset]\nname = "image_folder"\nroot_dir = "photos"\nconfig.mode = "L"\n'


@pytest.fixture
def photos(acme, tmp_path, monkeypatch):
    """Fifty images: three are corrupt, two have a copy in another split, and one has a copy with another label."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for split, n in (("train", 30), ("valid", 10), ("test", 10)):
        for number in range(n):
            file = tmp_path / "photos" / split / ("cat", "dog")[number % 2] / f"{number:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 255, (4, 4), dtype=np.uint8)).save(file)
    for name in ("train/dog/03", "train/cat/20", "valid/cat/02"):
        file = tmp_path / f"photos/{name}.png"
        file.write_bytes(file.read_bytes()[:50])
    for name, copy in (
        ("train/dog/05", "valid/dog/01.png"),
        ("train/cat/06", "test/cat/02.bmp"),
        ("train/cat/08", "train/dog/09.png"),
    ):
        Image.open(tmp_path / f"photos/{name}.png").save(tmp_path / "photos" / copy)
    (tmp_path / "photos/test/cat/02.png").unlink()
    (tmp_path / "x.toml").write_text(IMAGES.replace("N_CLASSES", "2") + TABLE)
    return tmp_path / "photos"


def check_data(capsys, *options):
    code = main(["check", "x.toml", "--data", "--json", *options])
    return code, json.loads(capsys.readouterr().out)["data"]


def test_all_problems_are_listed_at_once(photos, capsys):
    assert main(["check", "x.toml", "--data"]) == 2

    out, error = capsys.readouterr()
    rows = table_rows(out)[1:]
    assert [row[:3] for row in rows] == [
        ["unreadable", "train", "train/dog/03.png"],
        ["two splits", "train", "train/dog/05.png"],
        ["two splits", "train", "train/cat/06.png"],
        ["two labels", "train", "train/cat/08.png"],
        ["unreadable", "train", "train/cat/20.png"],
        ["unreadable", "valid", "valid/cat/02.png"],
    ]
    assert rows[2][3] == "is the same image as test/cat/02.bmp (test); they are in different splits"
    assert error.splitlines()[-1].startswith("problems in the data: 3 unreadable, 2 two splits, 1 two labels; repair or remove")
    code, found = check_data(capsys)
    assert (code, len(found)) == (2, 6)
    assert found[3]["samples"] == [{"split": "train", "name": "train/cat/08.png"}, {"split": "train", "name": "train/dog/09.png"}]


def test_only_changed_files_are_read_again(photos, capsys):
    check_data(capsys)
    unchanged, changed = photos / "train/cat/00.png", photos / "train/dog/01.png"
    before = unchanged.stat()
    unchanged.write_bytes(bytes(before.st_size))
    os.utime(unchanged, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed.write_bytes(b"")

    found = [each["samples"][0]["name"] for each in check_data(capsys)[1]]

    assert "train/dog/01.png" in found
    assert "train/cat/00.png" not in found
    assert "train/cat/00.png" in [each["samples"][0]["name"] for each in check_data(capsys, "--set", "transform.HFLIP=[0.5]")[1]]


def test_a_mistake_in_the_file_comes_before_the_data(photos, capsys):
    assert main(["check", "x.toml", "--data", "--json", "--set", "train.epoch=0"]) == 2

    report = json.loads(capsys.readouterr().out)
    assert (len(report["problems"]), report["data"]) == (1, [])


class Masks:
    """Four images with masks; image 1 has a label outside the classes, and image 2 a mask of another size."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        mask = np.full((8, 8 - 2 * (index == 2)), 5 if index == 1 else index % 2)
        return Image.new("L", (8, 8), index), Mask(torch.from_numpy(mask))


def crop(image, target):
    if image.size[0] < 8:
        raise ValueError("the image is smaller than the crop")
    return image, target


def facts_of(dataset, transforms=()):
    reader = FactsReader(SeededDataset(dataset, list(transforms), 0))
    return [CheckedSample("train", str(index), reader[index]) for index in range(len(dataset))]


def problems(samples, labels=None, *, collates=False):
    return [(each.problem, each.samples[0].name, each.message) for each in find_problems(samples, labels, collates=collates)]


def test_masks_of_other_sizes_and_wrong_labels_are_found():
    found = problems(facts_of(Masks()), KnownLabels(range(2), [255]), collates=True)

    assert found == [
        ("wrong label", "1", "has 5, but labels are 0 to 1"),
        ("wrong size", "2", "the image has 8x8 pixels, but its mask has 6x8"),
    ]


def test_samples_that_do_not_fit_into_a_batch_are_found():
    sizes = [(8, 8), (8, 8), (9, 8), (7, 8)]
    images = [(torch.full((1, *size), index, dtype=torch.uint8), 0) for index, size in enumerate(sizes)]

    usual = "uint8 [1, 8, 8] and int"
    assert problems(facts_of(images)) == [
        ("wrong size", "2", f"is uint8 [1, 9, 8] and int after the transforms, but most samples are {usual}"),
        ("wrong size", "3", f"is uint8 [1, 7, 8] and int after the transforms, but most samples are {usual}"),
    ]
    assert problems(facts_of(images), collates=True) == []
    all_differ = "images differ in size (uint8 [1, 8, 8] and int here, uint8 [1, 7, 8] and int in 2); add 'RESIZE = [H, W]'"
    assert problems(facts_of(images[1:])) == [("wrong size", "0", f"{all_differ} to [transform]")]
    assert problems(facts_of([(Image.new("L", (5, 5)), 0)], [crop])) == [
        ("wrong size", "0", "a transform fails: the image is smaller than the crop")
    ]


def test_a_group_of_equal_images_is_one_problem():
    images = [(Image.new("L", (4, 4), color), 0) for color in (1, 2, 1, 1, 1, 1)]

    assert problems(facts_of(images)) == [("duplicate", "0", "is the same image as 2 (train), 3 (train), 4 (train) and 1 more")]


@pytest.mark.parametrize(
    ("target", "labels"),
    [
        (3, [3]),
        (torch.tensor(3), [3]),
        ({"boxes": torch.zeros(2, 4), "labels": torch.tensor([2, 1])}, [1, 2]),
        (torch.tensor([0, 1, 1]), []),
        (0.5, []),
        ("cat", []),
    ],
)
def test_class_indices_are_read_from_each_kind_of_target(target, labels):
    assert class_indices(target) == labels


def test_digests_depend_on_the_content():
    image = Image.new("L", (4, 6), 3)

    assert digest(image) == digest(np.full((6, 4), 3, dtype=np.uint8))
    different = [image, image.rotate(90, expand=True), image.convert("RGB"), {"a": image}, [image], {"b": image}, 3, 3.0, "3"]
    assert len({digest(each) for each in different}) == len(different)
