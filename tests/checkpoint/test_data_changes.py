"""A refused or warned resume names the samples and files that changed."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from ddpkit.cli.main import main
from tests.helpers.configs import IMAGES

HEAD = 'task = "table"\nrun_id = "mine"\nclasses = ["a", "b"]\n'
TABLE = """
[dataset]
name = "csv"
root_dir = "data"
config = { mode = "L", part = "part" }
"""
ROWS = [f"{number}.png,{'ab'[number % 2]},{'train' if number < 6 else 'valid'}" for number in range(8)]


def write_table(rows):
    Path("data/labels.csv").write_text("\n".join(["path,label,part", *rows]) + "\n")


@pytest.fixture
def trained(acme, tmp_path, monkeypatch):
    """A run of one epoch on a table with its own splits, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    for number in range(9):
        Image.new("L", (4, 4), 20 * number).save(f"data/{number}.png")
    write_table(ROWS)
    Path("x.toml").write_text(HEAD + IMAGES.replace("N_CLASSES", "2") + TABLE)
    assert main(["run", "x.toml"]) == 0
    return Path("runs/table/mine")


def resume(*options):
    return main(["run", "x.toml", "--resume", "--set", "train.epoch=2", *options])


@pytest.mark.parametrize(
    ("rows", "explanation"),
    [
        (ROWS[1:], "1 sample is missing, such as '0.png' (train)"),
        (ROWS[:-1], "1 sample is missing, such as '7.png' (valid)"),
        ([*ROWS, "8.png,a,train"], "1 sample is new, such as '8.png' (train)"),
        (
            [*ROWS[2:], "8.png,a,train"],
            "2 samples are missing, such as '0.png' (train); 1 sample is new, such as '8.png' (train)",
        ),
        ([ROWS[0].replace("train", "valid"), *ROWS[1:]], "1 moved to another split, such as '0.png' from train to valid"),
        ([ROWS[0].replace(",a,", ",b,"), *ROWS[1:]], "train 6 samples ("),
    ],
)
def test_a_refused_resume_names_what_changed(trained, capsys, rows, explanation):
    write_table(rows)

    assert resume() == 2
    assert f"dataset: the samples differ from those of the resumed run: {explanation}" in (err := capsys.readouterr().err)
    assert ("valid" in err) == ("valid" in explanation)

    assert resume("--allow-drift", "dataset") == 0


def test_changed_files_are_reported_once(trained, capsys):
    Image.new("L", (4, 4), 7).save("data/3.png", compress_level=0)
    os.utime("data/4.png", ns=(1, 1))

    assert resume() == 0
    warning = "dataset: the files of 2 samples changed since the run was started, 1 of them in size, such as '3.png'"
    assert warning in capsys.readouterr().err

    assert resume("--set", "train.epoch=3") == 0
    assert "changed since" not in capsys.readouterr().err


def test_unchanged_data_and_old_run_folders_resume_silently(trained, capsys):
    assert len(json.loads((trained / "data_files.json").read_text())["train"]) == 6
    (trained / "data_files.json").unlink()

    assert resume() == 0
    assert "changed since" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["split.json", "data_files.json"])
@pytest.mark.parametrize("content", ["{", "5", '{"train": 5}', '{"train": [["a"], null, 7]}'])
def test_damaged_records_are_named(trained, capsys, name, content):
    (trained / name).write_text(content)

    assert resume() == 2
    assert f"{trained.absolute()}/{name}: is damaged: " in capsys.readouterr().err


def test_predict_names_its_argument(trained, capsys):
    Path("nothing").mkdir()

    assert main(["predict", str(trained), "nothing"]) == 2

    assert "\nIMAGES: no image found at 'nothing'" in capsys.readouterr().err
