"""The tasks test and predict, by the real command and in Python."""

import csv
import gc
import json
import os
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpkit import ConfigError, PluginError, load, open_image, run
from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.runs import lookup
from ddpkit.testing import ddpkit
from tests.helpers.configs import BLOBS

ROOT = Path(__file__).parents[2]
TEXT = BLOBS.replace(
    "[train]", '[transform]\nHFLIP = [1.0]\nRESIZE = [8, 8]\nPIL_TO_TENSOR = []\nCONVERT_IMAGE_DTYPE = ["float64"]\n[train]'
)
TEXT += """\
scaler = { compute_type = "float64" }
ema_decay = 0.5

[predict]
batch_size = 4

[predict.config]
mode = "L"
top_k = 2
"""


@pytest.fixture(scope="module")
def trained(acme, tmp_path_factory):
    """The folder of a finished run in float64; tests must not change it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "x.toml").write_text(TEXT)
    return run(folder / "x.toml", {"output_dir": str(folder / "runs"), "run_id": "first"}).folder


@pytest.fixture
def mine(trained, tmp_path, monkeypatch):
    """A copy of the run in a folder with another name, in the current folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "my run")
    return tmp_path / "my run"


@pytest.fixture
def images(tmp_path):
    """Seven pictures of several sizes, in folders."""
    generator = np.random.default_rng(0)
    for number, name in enumerate(["a.png", "b.jpg", "b.png", "sub/a.bmp", "sub/c.webp", "z.tiff", ".hidden.png"]):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8 + number, 20 - number), dtype=np.uint8)).save(file)
    return tmp_path / "images"


def predicted(folder):
    return json.loads((folder / "predictions/predictions.json").read_text())


# --- command and Python give the same predictions -----------------------------------------------------------------------


def test_one_rank_two_ranks_and_python_predict_the_same(mine, images, capsys):
    assert main(["predict", str(mine), str(images)]) == 0
    assert capsys.readouterr().out == f"{mine}\n"
    one, tested = predicted(mine), json.loads((mine / "test_metrics.json").read_text())
    two = ["--nproc", "2", "--set", "private.mode=6", "--set", f"predict.input={images}", "--set", "dataloader.num_workers=1"]
    always = ["--set", "private.log.every_seconds=1e-9"]
    done = ddpkit("run", mine / "config.toml", *two, *always, cwd=mine.parent).assert_done()

    assert re.findall(r"^predict batch .*$", done.stderr, re.MULTILINE) == [
        f"predict batch {batch}/2" for batch in (1, 2)
    ]  # of rank 0
    predictor = load(mine)
    names = ["a.png", "b.jpg", "b.png", "sub/a.bmp", "sub/c.webp", "z.tiff"]
    assert [each["file"] for each in one] == [str(images / name) for name in names]
    assert predicted(mine) == one
    assert predictor([images / name for name in names]) == one
    assert [predictor(str(images / name)) for name in names] == one
    assert len({each["probability"] for each in one}) == 6
    assert json.loads((mine / "test_metrics.json").read_text()) == pytest.approx(tested, abs=1e-9)


def test_a_prediction_matches_the_model_output(mine, images):
    """Computed by hand for one image."""
    predictor = load(mine)
    (found,) = predictor([images / "a.png"])

    with Image.open(images / "a.png") as picture:
        given = predictor.transforms[1](predictor.transforms[0](picture)).double()[None] / 255
    first, second = predictor.model(given)[0].softmax(0).tolist()
    assert (
        found["top"]
        == [[["left", round(first, 6)], ["right", round(second, 6)]], [["right", round(second, 6)], ["left", round(first, 6)]]][
            second > first
        ]
    )
    assert (found["name"], found["probability"]) == tuple(found["top"][0])
    assert (found["label"], predictor.classes) == (int(second >= first), ["left", "right"])


def test_pil_images_and_arrays_are_predicted_like_files(mine, images):
    predictor = load(mine)
    of_file = {**predictor(images / "a.png"), "file": None}

    with Image.open(images / "a.png") as picture:
        array = np.asarray(picture)
    assert predictor([picture, array, array[..., None], np.stack([array] * 3, axis=-1)]) == [of_file] * 4


@pytest.mark.parametrize("given", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8), 3])
def test_an_unsupported_image_type_is_rejected(mine, given):
    with pytest.raises(ValueError, match="an image must be a path, a PIL image, or a uint8 array"):
        load(mine)(given)


def test_a_truncated_pil_image_is_rejected(mine, images):
    (images / "half.png").write_bytes((images / "a.png").read_bytes()[:100])

    with Image.open(images / "half.png") as half, pytest.raises(ValueError, match=r"the image cannot be read: .*truncated"):
        load(mine)(half)


def test_an_unknown_device_is_rejected(mine):
    with pytest.raises(ConfigError, match=r"device: must be auto, cpu, cuda or cuda:N; got 'gpu'"):
        load(mine, device="gpu")


def test_the_threshold_applies_to_the_second_of_two_classes(mine, images):
    for threshold, name in [(0.0, "right"), (1.0, "left")]:
        assert main(["predict", str(mine), str(images), "--set", f"predict.config.threshold={threshold}"]) == 0
        assert {each["name"] for each in predicted(mine)} == {name}


# --- invalid inputs --------------------------------------------------------------------------------------------------


def truncated(file):
    Image.effect_noise((64, 64), 90).save(file)
    file.write_bytes(file.read_bytes()[:300])


def too_large(file):
    """A PNG whose header declares 30,000 by 30,000 pixels."""
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))


BAD = {
    "truncated": truncated,
    "empty": Path.touch,
    "no image": lambda file: file.write_text("hello"),
    "too large": too_large,
    "a link to nothing": lambda file: file.symlink_to("nowhere.png"),
    "a link to itself": lambda file: file.symlink_to(file.name),
    "a pipe": os.mkfifo,
}


def test_unreadable_files_are_named_and_skipped(mine, images, capsys):
    for name, make in BAD.items():
        make(images / f"{name}.png")

    assert main(["predict", str(mine), str(images)]) == 4

    skipped = json.loads((mine / "predictions/skipped.json").read_text())
    out, err = capsys.readouterr()
    assert {each["file"] for each in skipped} == {str(images / f"{name}.png") for name in BAD}
    assert all(each["file"] in each["error"] and each["error"] in err for each in skipped)
    assert len(predicted(mine)) == 6
    assert f"skipped inputs: 7; the reasons are in {mine}/predictions/skipped.json\n{mine}\n" in out


def test_an_image_that_the_model_rejects_is_skipped(mine, images, capsys):
    """Without RESIZE only one of the sizes fits."""
    Image.new("L", (8, 8)).save(images / "fits.png")
    options = ["--set", "transform={PIL_TO_TENSOR=[], CONVERT_IMAGE_DTYPE=['float32']}"]

    assert main(["predict", str(mine), str(images), *options]) == 4

    assert [Path(each["file"]).name for each in predicted(mine)] == ["fits.png"]
    assert "skipped" in (err := capsys.readouterr().err)
    assert f"{images}/a.png cannot be used: model 'tinynet' (acme/tinynet, acme-parts 1.2.0, " in err
    assert "/acme/parts.py) does not accept the shape [1, 8, 20]: mat1 and" in err


NOT_INPUTS = {
    "nothing": ("", "IMAGES: is missing; set it to an image file, a folder or a glob of images"),
    "not there": ("nowhere", "IMAGES: there is no file or folder 'nowhere'; set it to an image file"),
    "an empty folder": ("empty", "IMAGES: no image found at 'empty'"),
    "the predictions": ("my run/predictions", "my run/predictions, where predictions are written; move them to another folder"),
    "the folder of the predictions": ("my run", "my run/predictions, where predictions are written; move them to another folder"),
}


@pytest.mark.parametrize("case", NOT_INPUTS)
def test_an_invalid_input_is_rejected_before_writing(mine, capsys, case):
    wanted, message = NOT_INPUTS[case]
    for name in ("empty", "my run/predictions/images"):
        (mine.parent / name).mkdir(parents=True)
    Image.new("L", (8, 8)).save(mine / "predictions/images/old.png")

    assert main(["predict", str(mine), wanted]) == 2

    assert message in capsys.readouterr().err
    assert (mine / "predictions/images/old.png").exists()


def test_an_existing_file_takes_precedence_over_a_glob(mine, images):
    shutil.copy(images / "a.png", images / "a[1]*.png")

    assert main(["predict", str(mine), str(images / "a[1]*.png")]) == 0
    assert [each["file"] for each in predicted(mine)] == [str(images / "a[1]*.png")]
    assert main(["predict", str(mine), str(images / "**/[ac].*")]) == 0
    assert [Path(each["file"]).name for each in predicted(mine)] == ["a.png", "a.bmp", "c.webp"]


DEADLY = """\
import multiprocessing
import os
import signal

from ddpkit import Component, hookimpl


def deadly():
    return die


def die(image, target):
    if multiprocessing.parent_process():
        os.kill(os.getpid(), signal.SIGKILL)
    return image, target


@hookimpl
def ddpkit_transforms():
    yield Component("DEADLY", "deadly:deadly")
"""


def test_unnamed_classes_take_the_names_of_the_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--set", "device=cpu", "--set", "train.epoch=1", "--set", "dataset.config.n=40", "--set", "train.batch_size=16"]
    Image.new("RGB", (64, 64)).save("a.png")
    shutil.copy(ROOT / "configs/ddp_example.toml", "x.toml")
    train = ["--nproc", "1", "--set", "dataloader.num_workers=0", "--set", "private.mode=7", "--set", "predict.input=a.png"]

    assert main(["run", "x.toml", *small, *train, "--limit-batches", "1"]) == 0

    (folder,) = (tmp_path / "runs").glob("*/*")
    (found,) = predicted(folder)
    assert {found["name"], *(name for name, _ in found["top"])} <= {"circle", "square", "triangle"}
    assert (folder / "test_metrics_per_class.csv").read_text().splitlines()[1].startswith("circle,")
    assert main(["run", "x.toml", "--task", "predict", *small, *train]) == 0
    assert predicted(folder) == [found]
    assert load(folder).classes == ["circle", "square", "triangle"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dead_loader_worker_gives_a_message(mine, images, capsys):
    (mine.parent / "deadly.py").write_text(DEADLY)
    options = [
        f"plugins.files=['{mine.parent}/deadly.py']",
        "dataloader.num_workers=1",
        "transform={DEADLY=[], PIL_TO_TENSOR=[]}",
    ]

    assert main(["predict", str(mine), str(images), *(part for option in options for part in ("--set", option))]) == 1

    message = "a loader worker died while it read one of 6 inputs, for example because memory ran out or a library crashed; set"
    assert message in (err := capsys.readouterr().err)
    assert "Traceback" not in err
    gc.collect()  # closes the files of the dead worker here, not during another test


def test_transforms_without_a_tensor_result_are_rejected(mine, images, capsys):
    assert main(["predict", str(mine), str(images), "--set", "transform={RESIZE=[8, 8]}"]) == 2
    assert "transform: images are not tensors after [transform]; add 'PIL_TO_TENSOR = []' to it" in capsys.readouterr().err


# --- written files ---------------------------------------------------------------------------------------------------


def test_nothing_is_written_outside_the_predictions_folder(mine, images):
    odd = ["-rf.png", "-.-.png", "new\nline.png", "é" * 120 + ".png", "a b;c.png", "A.PNG"]
    for name in odd:
        shutil.copy(images / "a.png", images / name)
    before = {file for file in mine.parent.rglob("*") if "predictions" not in file.parts}
    (mine / "predictions").mkdir()
    (mine / "predictions/images").symlink_to(images)

    assert main(["predict", str(mine), str(images), "--save-images", "--format", "csv"]) == 0

    assert {file for file in mine.parent.rglob("*") if "predictions" not in file.parts} == before
    assert {file.name for file in (mine / "predictions").iterdir()} == {"images", "predictions.csv", "skipped.json"}
    written = {file.stem for file in (mine / "predictions/images").iterdir()}
    assert len(written) == 6 + len(odd)
    assert {"rf", "image", "new_line", "é" * 50, "a_b_c", "A", "a-2", "a-3", "b", "b-2"} <= written


@pytest.mark.parametrize("name", ["predictions", "exports", "logs", "test_metrics.json", "run.lock", "checkpoints/step-1"])
@pytest.mark.parametrize(
    "verb", [["predict", "IMAGES"], ["test"], ["export", "--format", "torchscript"]], ids=lambda verb: verb[0]
)
def test_no_command_writes_through_a_link_in_a_run_folder(mine, images, capsys, name, verb):
    elsewhere = mine.parent / "elsewhere"
    elsewhere.mkdir()
    if (mine / name).exists():
        shutil.move(mine / name, mine / f"{Path(name).name}-moved")
    (mine / name).symlink_to(elsewhere)
    arguments = [str(images) if part == "IMAGES" else part for part in verb[1:]]

    assert main([verb[0], str(mine), *arguments]) == 2

    assert f"{mine}/{name} is a link to {elsewhere}, but ddpkit writes only to the run folder" in capsys.readouterr().err
    assert not list(elsewhere.iterdir())


def test_a_link_inside_a_run_folder_is_allowed(mine, images):
    (mine / "newest").symlink_to(mine / "weights/best.safetensors")

    assert main(["predict", str(mine), str(images / "a.png")]) == 0


def test_new_predictions_replace_earlier_ones(mine, images):
    for name in ("a.png", "b.jpg"):
        assert main(["predict", str(mine), str(images / name), "--save-images"]) == 0

    assert [file.name for file in (mine / "predictions/images").iterdir()] == ["b.png"]


def test_csv_predictions_are_flat(mine, images):
    assert main(["predict", str(mine), str(images), "--format", "csv"]) == 0
    with (mine / "predictions/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    of_python = load(mine)([row["file"] for row in rows])
    assert list(rows[0]) == ["file", "label", "name", "probability", "name_2", "probability_2"]
    for row, found in zip(rows, of_python, strict=True):
        first, second = found["top"]
        assert [row["name"], float(row["probability"]), row["name_2"], float(row["probability_2"])] == [*first, *second]


def test_numpy_predictions_hold_the_arrays_of_each_input(mine, images):
    assert main(["predict", str(mine), str(images), "--format", "numpy"]) == 0

    with np.load(mine / "predictions/predictions.npz") as found:
        assert set(found) == {
            f"{name}/{key}" for name in ("a", "b", "b-2", "a-2", "c", "z") for key in ("file", "label", "probabilities")
        }
        assert str(found["a-2/file"]) == str(images / "sub/a.bmp")
        assert round(float(found["a/probabilities"].max()), 6) == load(mine)(images / "a.png")["probability"]


def test_a_third_party_writer_works(mine, images):
    options = ["--format", "acme/lines", "--set", "predict.config.end=over", "--set", "predict.config.threshold=0.0"]

    assert main(["predict", str(mine), str(images), *options]) == 0

    lines = (mine / "predictions/predictions.txt").read_text().splitlines()
    assert lines == [f"{name} right" for name in ("a", "b", "b-2", "a-2", "c", "z")] + ["over"]


# --- weights ---------------------------------------------------------------------------------------------------------


def test_the_test_task_reproduces_the_test_of_training(mine, capsys):
    files = ["test_metrics.json", "test_metrics_per_class.csv", "test_samples.json", "test_samples/0007.png"]
    before = [(mine / name).read_bytes() for name in files]
    for name in files:
        (mine / name).unlink()

    assert main(["test", str(mine)]) == 0

    assert [(mine / name).read_bytes() for name in files] == before
    assert {"loss", "accuracy", "ema/loss", "ema/accuracy"} == set(json.loads(before[0]))
    assert f"test    {mine}/weights/best.safetensors: 7 samples" in capsys.readouterr().err


def test_weights_are_chosen_by_name_or_file(mine, images):
    shutil.copy(mine / "weights/last.safetensors", mine.parent / "other.safetensors")
    found = [
        load(mine, weights=name)(images / "a.png")["probability"] for name in ("best", "last", "ema-best", "other.safetensors")
    ]

    assert found[1] == found[3]
    assert found[0] != found[2]
    assert main(["predict", str(mine), str(images / "a.png"), "--weights", "last"]) == 0
    assert predicted(mine)[0]["probability"] == found[1]


def test_options_set_threshold_and_number_of_classes(mine, images):
    assert main(["predict", str(mine), str(images / "a.png"), "--threshold", "1", "--top-k", "1"]) == 0
    assert (predicted(mine)[0]["label"], len(predicted(mine)[0]["top"])) == (0, 1)

    assert main(["predict", str(mine), str(images / "a.png"), "--threshold", "0", "--top-k", "2"]) == 0
    assert (predicted(mine)[0]["label"], len(predicted(mine)[0]["top"])) == (1, 2)


def test_a_weights_file_selects_its_run(mine, images):
    last = load(mine, weights="last")(images / "a.png")["probability"]

    assert load("my run/weights/last.safetensors")(images / "a.png")["probability"] == last
    assert main(["predict", "my run/weights/last.safetensors", str(images / "a.png")]) == 0
    assert predicted(mine)[0]["probability"] == last


def test_the_folder_of_a_task_selects_its_newest_finished_run(mine, images, capsys):
    for name in ("older", "unfinished"):
        shutil.copytree(mine, mine.with_name(name))
    os.utime("older/finished.json", (0, 0))
    Path("unfinished/finished.json").unlink()

    assert main(["test", "."]) == 0

    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == str(mine)
    assert "using my run, the newest finished run of the task\n" in said.err
    assert f"run     {mine}\n" in said.err
    assert main(["predict", "my run/config.toml", str(images / "a.png")]) == 0
    assert predicted(mine)[0]["probability"] == load(mine.parent)(images / "a.png")["probability"]


def test_the_id_of_a_run_in_the_folder_runs_selects_it(mine, capsys):
    shutil.copytree(mine, "runs/blobs/first")

    assert main(["report", "first"]) == 0
    assert main(["report", "second"]) == 2

    said = capsys.readouterr()
    assert said.out.strip().endswith("runs/blobs/first/report.html")
    assert "RUN: second was not found" in said.err


def test_the_folder_of_a_task_without_a_finished_run_is_rejected(mine, capsys):
    (mine / "finished.json").unlink()

    assert main(["test", "."]) == 2
    assert "RUN: . contains no finished run; pass a run folder" in capsys.readouterr().err


def test_a_test_records_its_weights(mine):
    def tested():
        return json.loads((mine / "tested.json").read_text())["weights"]

    assert tested() == "weights/best.safetensors"
    assert main(["test", str(mine), "--weights", "last"]) == 0
    assert tested() == "weights/last.safetensors"
    other = mine.parent / "other.safetensors"
    shutil.copy(mine / "weights/last.safetensors", other)
    assert main(["test", str(mine), "--weights", other.name]) == 0
    assert tested() == str(other)


def test_predict_defaults_to_the_newest_finished_run(trained, images, monkeypatch, capsys):
    monkeypatch.chdir(trained.parent.parent.parent)
    unfinished = trained.with_name("unfinished")
    shutil.copytree(trained, unfinished)
    (unfinished / "finished.json").unlink()
    try:
        assert main(["run", "x.toml", "--task", "predict", "--set", f"predict.input={images}"]) == 0
    finally:
        shutil.rmtree(unfinished)
        shutil.rmtree(trained / "predictions")
    assert capsys.readouterr().out.splitlines()[-1] == str(trained)


def test_a_randomly_drawn_seed_is_taken_from_the_run(mine):
    """So the splits are those of the training."""
    (mine.parent / "x.toml").write_text(f"seed = -1\n{TEXT}")
    (mine / "config.toml").write_text((mine / "config.toml").read_text().replace("seed = 0\n", "seed = 17\n"))

    found, weights = lookup.find_run(loading.load(mine.parent / "x.toml"), str(mine))

    assert found.run.seed == 17
    assert weights == mine / "weights/best.safetensors"


def test_external_weights_start_a_run_with_only_their_results(mine, capsys):
    (mine.parent / "x.toml").write_text(TEXT)
    shutil.copy(mine / "weights/best.safetensors", "alone.safetensors")

    assert main(["run", "x.toml", "--task", "test", "--weights", "alone.safetensors", "--set", "run_id=new"]) == 0

    new = mine.parent / "runs/blobs/new"
    assert capsys.readouterr().out.splitlines()[-1] == str(new)
    tested = json.loads((new / "test_metrics.json").read_text())
    before = json.loads((mine / "test_metrics.json").read_text())
    assert tested == {key: before[key] for key in ("loss", "accuracy")}


REFUSED = {
    "no run": (["run", "x.toml", "--task", "test"], "x.toml:2:8: task: no finished run found in "),
    "no such run": (["run", "x.toml", "--task", "predict", "--set", "run_id=gone"], "--set 1: run_id: run /"),
    "not a run folder": (["predict", "images", "images"], f"RUN: images is not the folder of a run or a task; pass {lookup.RUN_PATHS}\n"),
    "a missing run": (["test", "gone"], "RUN: gone was not found; pass a run folder, "),
    "a file of no run": (["test", "images/a.png"], "RUN: images/a.png is not a file of a run; pass "),
    "weights twice": (["test", "my run/weights/last.safetensors", "--weights", "ema-last"], "RUN: my run/weights/last.safetensors selects weights, and so does 'ema-last'; pass only one of them\n"),
    "a threshold above 1": (["predict", "my run", "images", "--threshold", "3"], "--threshold: must be between 0 and 1; got 3"),
    "no such weights": (["predict", "my run", "images", "--weights", "x.pt"], "the run has these weights: best, ema-best, ema-last, last"),
    "weights of another model": (
        ["test", "my run", "--set", "model.config.hidden=8"],
        "does not fit the model: 3 tensors (1.bias: [16] in the file, [8] in the model, 1.weight: [16, 64] in the file, ",
    ),
    "no weights": (["predict", "my run", "images", "--weights", "x.toml"], "x.toml: cannot be read as weights (safetensors, or a torch file with only tensors): it contains objects that are not tensors\n"),
    "an option of training": (["run", "x.toml", "--task", "predict", "--dry-run"], "--dry-run: requires a training, but the task is predict"),
    "weights to train": (["run", "x.toml", "--weights", "last"], "--weights: requires '--task test' or '--task predict'; use"),
    "no test split": (["test", "my run", "--set", "dataset.config.n_test=0"], "dataset.split: leaves no samples for the test split"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_test_and_predict_requests_are_rejected(mine, images, capsys, case):
    (mine.parent / "x.toml").write_text(TEXT)
    arguments, message = REFUSED[case]

    assert main(arguments) == 2

    assert message in capsys.readouterr().err


def test_a_run_without_weights_is_rejected(mine, images, capsys):
    shutil.rmtree(mine / "weights")

    assert main(["predict", str(mine), str(images)]) == 2

    assert (
        f"--weights: {mine}/weights/best.safetensors was not found; the run has these weights: none so far"
        in capsys.readouterr().err
    )


def test_a_missing_plugin_is_named_with_its_pip_line(mine, images, capsys):
    record = json.loads((mine / "plugins.json").read_text())
    for plugin in record["plugins"]:
        plugin["name"] = plugin["name"].replace("acme", "emca")
    record["used"] = [{**each, "plugin": each["plugin"].replace("acme", "emca")} for each in record["used"]]
    (mine / "plugins.json").write_text(json.dumps(record))

    assert main(["predict", str(mine), str(images)]) == 3
    assert (
        "the run used plugin emca (version 1.2.0), which is not available; pip install acme-parts==1.2.0"
        in capsys.readouterr().err
    )
    with pytest.raises(PluginError, match=r"pip install acme-parts==1\.2\.0"):
        load(mine)


def test_testing_on_training_samples_gives_a_warning(mine, capsys):
    assert main(["test", str(mine), "--set", "dataset.config={n=30, n_test=17}"]) == 0
    assert (
        "10 test samples are in the train or validation split of this run, so the results are too good; use the run's split"
        in capsys.readouterr().err
    )


# --- all tasks in one command ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "left"), [(0, {"test"}), (1, set()), (3, {"test"}), (5, {"predict"}), (7, {"test", "predict"})])
def test_a_mode_is_a_bit_mask(acme, tmp_path, images, monkeypatch, mode, left):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.toml").write_text(TEXT)

    asked = {"private.mode": mode, "train.epoch": 1, "predict.input": str(images), "output.save_best": False}

    result = run("x.toml", asked)

    found = {"test": result.folder / "test_metrics.json", "predict": result.folder / "predictions/predictions.json"}
    assert {task for task, file in found.items() if file.exists()} == left
    assert {file.name for file in (result.folder / "weights").iterdir()} == {"last.safetensors", "ema-last.safetensors"}


def test_the_segmentation_config_trains_tests_and_predicts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "configs/ddp_segmentation.toml", "x.toml")
    with np.load(ROOT / "ddpkit_plugins/datasets/nuclei.npz") as arrays:
        Image.fromarray(arrays["image"][:96, :128]).save("field.png")
    small = {"train.epoch": 2, "model.config": {"n_channels": 1, "n_classes": 1, "depth": 1, "width": 4}, "device": "cpu"}
    asked = {"predict.input": "field.png", "predict.config.save_images": True, "private.mode": 7}

    result = run("x.toml", {**small, **asked})

    (found,) = predicted(result.folder)
    mask, picture = (open_image(result.folder / "predictions" / found[key]) for key in ("mask", "image"))
    assert (mask.size, picture.width, mask.mode, picture.mode) == ((128, 96), 256, "P", "RGB")
    assert picture.height > 192  # enlarged, with a legend below it
    assert sum(found["classes"].values()) == pytest.approx(1)
    assert np.asarray(mask).mean() == pytest.approx(found["classes"]["nucleus"], abs=1e-6)
    assert (load(result.folder)("field.png")["mask"] == np.asarray(mask)).all()
    assert {"dice", "iou"} < set(result.test_metrics)
