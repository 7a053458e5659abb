"""Unreadable samples with `dataset.on_error = "skip"`: replaced in training, left out in evaluation, counted and named."""

import json

import pytest
import torch
from PIL import Image

from ddpkit.cli.main import main
from ddpkit.data.loader import ReadFailure, SeededDataset
from ddpkit.distributed.world import World
from tests.data.test_loader import FaultyDataset, make_split_loader, refuse
from tests.helpers.configs import IMAGES

KEYS = [(0, index) for index in range(10)]


def crash(_):
    raise MemoryError


def samples(split="train", act=refuse, transforms=()):
    return SeededDataset(FaultyDataset(5, act), list(transforms), 3, split, substitutes=range(10))


def test_training_replaces_an_unreadable_sample_deterministically():
    images, targets, unreadable = samples().__getitems__(KEYS)
    whole, _, nothing = SeededDataset(FaultyDataset(), [], 3).__getitems__(KEYS)
    again = samples().__getitems__(KEYS[5:6])[0]

    assert (unreadable, nothing) == ({5: "train sample 5: OSError: image file is truncated"}, {})
    assert torch.equal(images[:5], whole[:5])
    assert torch.equal(images[6:], whole[6:])
    assert torch.equal(images[5], again[0])
    assert torch.equal(images[5], samples()[0, 5][0])
    assert int(images[5].min()) != 5
    assert targets[5] == int(images[5].min()) % 2


def test_evaluation_leaves_out_an_unreadable_sample():
    images, targets, unreadable = samples("valid").__getitems__(KEYS)

    assert [int(image.min()) for image in images] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert targets.tolist() == [0, 1, 0, 1, 0, 0, 1, 0, 1]
    assert list(unreadable) == [5]


def test_a_batch_without_a_readable_sample_gets_a_padding_sample():
    images, _, unreadable = samples("valid").__getitems__(KEYS[5:6])

    assert len(images) == 1
    assert list(unreadable) == [5]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_left_out_samples_do_not_count(num_workers):
    loader = make_split_loader(samples("test"), num_workers)
    loader.unreadable.n_samples, loader.unreadable.max_share = 10, 0.1

    batches = [(images, shard) for images, _, shard in loader.epoch(0)]

    assert [shard.n_valid for _, shard in batches] == [2, 2, 1, 2, 2]
    assert all([int(image.min()) for image in images] == list(shard.indices) for images, shard in batches)
    assert loader.count_left_out(World()) == 1


def test_a_transform_error_and_lack_of_memory_are_not_skipped():
    def stretch(image, target):
        raise ValueError("cannot stretch")

    failures = [samples(transforms=[stretch]).__getitems__(KEYS), samples(act=crash).__getitems__(KEYS)]

    assert all(isinstance(each, ReadFailure) for each in failures)
    assert failures[0].message == "train sample 0: ValueError: cannot stretch"
    assert failures[1].message.startswith("train sample 5: MemoryError")


def test_data_without_a_readable_sample_is_an_error():
    failure = SeededDataset(FaultyDataset(0, refuse), [], 3, substitutes=[0]).__getitems__(KEYS[:1])

    assert failure.message.startswith("train sample 0: SampleError: no readable sample was found in 100 attempts; check the data")


@pytest.fixture
def photos(acme, tmp_path, monkeypatch):
    """Forty images in two classes, of which three are corrupt."""
    monkeypatch.chdir(tmp_path)
    for number in range(40):
        file = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(file)
        if number in (7, 18, 30):
            file.write_bytes(file.read_bytes()[:40])
    table = '[dataset]\nname = "image_folder"\nroot_dir = "photos"\nconfig.mode = "L"\non_error = "skip"\n'
    (tmp_path / "x.toml").write_text(
        f'seed = 1\ntask = "photos"\n{IMAGES.replace("N_CLASSES", "2")}{table}split.train = 0.8\nsplit.test = 0.2'
    )
    return tmp_path


def test_a_run_names_the_samples_that_it_skipped(photos, capsys):
    assert main(["run", "x.toml", "--set", "run_id=a", "--set", "dataset.max_skipped=0.1"]) == 0

    folder = photos / "runs/photos/a"
    skipped = json.loads((folder / "skipped_samples.json").read_text())
    splits = json.loads((folder / "split.json").read_text())
    assert sorted(each["sample"] for each in skipped) == ["cat/18.png", "cat/30.png", "dog/07.png"]
    assert all(f"{each['sample']} cannot be read as an image" in each["error"] for each in skipped)
    assert capsys.readouterr().err.count("\nskipped t") == 3
    left_out = sum(each["sample"] in splits["test"] for each in skipped)
    assert json.loads((folder / "tested.json").read_text())["n_skipped"] == left_out > 0
    shown = json.loads((folder / "test_samples.json").read_text())
    assert {each["sample"] for each in shown} == {*splits["test"]} - {each["sample"] for each in skipped}
    assert all(each["truth"] == each["sample"].partition("/")[0] for each in shown)


def test_too_many_unreadable_samples_end_a_run(photos, capsys):
    assert main(["run", "x.toml", "--set", "run_id=a"]) == 1

    error = capsys.readouterr().err.splitlines()[-1]
    assert "of 40 samples are unreadable, more than 'dataset.max_skipped = 0.01'; repair or remove them" in error
    assert (photos / "runs/photos/a/skipped_samples.json").is_file()
