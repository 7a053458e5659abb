"""`ddpkit preview` draws what the model gets in training, and never overwrites other files."""

import numpy as np
import pytest
from PIL import Image

from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.config.check import check
from ddpkit.distributed.world import World
from ddpkit.plugins import manager
from ddpkit.training.builder import build_loaders
from tests.helpers.configs import BLOBS, SHAPES


def read(file):
    with Image.open(file) as image:
        return np.asarray(image)


def test_the_preview_shows_what_the_model_gets(digits, monkeypatch, capsys):
    monkeypatch.chdir(digits.parent)
    config, plugins = loading.read(digits, ()), manager.load()
    check(config, plugins, 1)
    images, *_ = next(build_loaders(config, plugins.registry, World(), None, None)["train"].epoch(0))

    assert main(["preview", digits.name, "--set", "dataloader.num_workers=2", "--samples", "4"]) == 0

    picture = read(digits.with_name(f"{digits.stem}-preview.png"))
    shown = picture[12 : 12 + 252, 12 : 12 + 252, 0][4::9, 4::9]
    expected = (images[0, 0].double() * 0.31 + 0.13).clamp(0, 1).numpy() * 255
    assert np.abs(shown - expected).max() <= 0.51
    assert picture.shape[1] == 12 + 2 * (256 + 12)
    values = f"values from {images[:4].min():.4g} to {images[:4].max():.4g}"
    assert capsys.readouterr().out.splitlines() == [
        f"4 training samples, in the order of the first epoch; images: float32 [1, 28, 28], {values}",
        "digits-preview.png",
    ]


def test_the_same_command_gives_the_same_picture(blobs):
    command = ["preview", blobs.name, "--set", "seed=-1", "--set", "dataset.config.noise=0.5"]

    assert main(command) == main([*command, "--output", "again.png"]) == main(command) == 0

    assert (blobs.parent / "again.png").read_bytes() == (blobs.parent / "blobs-preview.png").read_bytes()
    assert {each.name for each in blobs.parent.iterdir()} == {"blobs.toml", "blobs-preview.png", "again.png"}


def test_images_of_different_sizes_and_few_samples(acme, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes.toml").write_text(SHAPES)

    assert main(["preview", "shapes.toml", "--samples", "500"]) == 0

    assert capsys.readouterr().out.startswith("10 training samples")
    assert read("shapes-preview.png").shape[1] > 3 * 256


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine.png", "--output: mine.png exists and was not written by 'ddpkit preview'; choose another name"),
        ("text.png", "--output: text.png exists and was not written by 'ddpkit preview'; choose another name"),
        ("mine.jpg", "--output: mine.jpg must end in .png"),
        ("none/mine.png", "--output: the folder none does not exist; create it, or choose another one"),
    ],
)
def test_other_files_are_never_overwritten(blobs, capsys, name, message):
    Image.new("L", (2, 2)).save(blobs.parent / "mine.png")
    (blobs.parent / "text.png").write_text("not a picture")
    before = {each: each.read_bytes() for each in blobs.parent.iterdir()}

    assert main(["preview", blobs.name, "--output", name]) == 2

    assert message in capsys.readouterr().err
    assert {each: each.read_bytes() for each in blobs.parent.iterdir()} == before


def test_all_mistakes_are_reported_and_nothing_is_written(blobs, capsys):
    blobs.write_text(BLOBS.replace("epoch = 2", 'epoch = "two"').replace('"blobs"\nconfig', '"blob"\nconfig'))

    assert main(["preview", blobs.name]) == 2

    errors = capsys.readouterr().err
    assert "train.epoch: expected an integer" in errors
    assert "did you mean 'blobs'?" in errors
    assert [each.name for each in blobs.parent.iterdir()] == ["blobs.toml"]
