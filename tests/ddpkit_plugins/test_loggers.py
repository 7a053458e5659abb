"""The TensorBoard, MLflow and Weights & Biases loggers."""

import contextlib
import io
import json
import math
import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpkit import TestResult, TestSample, run
from ddpkit.cli.main import main
from ddpkit.testing import ddpkit
from ddpkit_plugins.loggers import hyperparameters
from ddpkit_plugins.loggers.mlflow import ENVIRONMENT, MLflow
from ddpkit_plugins.loggers.tensorboard import TensorBoard

CONFIG = {"task": "blobs", "run_id": "mine", "train": {"epoch": 3, "clip": math.inf}, "criterion": [{"type": "a"}, {"type": "b"}]}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The environment has no variables of MLflow; those that the logger sets are removed after the test."""
    for name in (*ENVIRONMENT, "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path):
    """The folder of a run with a history of two epochs."""
    path = tmp_path / "runs/blobs/mine"
    path.mkdir(parents=True)
    (path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(1, 2, loss=1.0)).replace("NaN", "null"))
    return path


def rows(*epochs, loss):
    return [{"epoch": epoch, "step": 10 * epoch, "valid/loss": loss, "valid/auc": math.nan} for epoch in epochs]


def log(logger_type, folder, rows=(), test=None):
    """What one process of a run logs."""
    logger = logger_type(folder, CONFIG)
    for row in rows:
        logger.on_epoch_end(row)
    if test:
        logger.on_test_end(test)
    logger.close()


def result(folder, epoch=2, loss=0.5):
    """A test with two confusion matrices and one sample, whose names have special characters."""
    file = folder / "sample.png"
    Image.new("RGB", (8, 6), (200, 30, 30)).save(file)
    return TestResult(
        epoch=epoch,
        metrics={"loss": loss, "counts": 0.75, "ema/dice %": 0.25, "auc": math.nan},
        classes=["a$b$", "猫"],
        confusion={"counts": [[3, 1], [0, 0]], "ema/counts": [[1, 0], [0, 2]]},
        confusion_pictures={"counts": file, "ema/counts": file},
        samples=[TestSample(file=file, sample="<b>\n.png", group="correct", truth="cat", prediction="cat", error=0)],
    )


def read_tensorboard(folder):
    """The (step, value) pairs of each tag, as TensorBoard reads them."""
    events = open_tensorboard(folder)
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def open_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0, "scalars": 0}).Reload()


def open_mlflow(folder):
    """A client for the store of all runs, and the id of the MLflow run of a folder."""
    os.environ.update(ENVIRONMENT)  # as the logger does it; the fixture `environment` removes it
    from mlflow import MlflowClient

    return MlflowClient((folder.parents[1] / "mlruns").as_uri()), (folder / "mlflow/id").read_text()


def read_mlflow(folder):
    """The (step, value) pairs of each metric, as MLflow reads them."""
    client, run_id = open_mlflow(folder)
    keys = client.get_run(run_id).data.metrics
    return {key: [(each.step, each.value) for each in client.get_metric_history(run_id, key)] for key in keys}


def history_of(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def points_of(folder):
    """The (step, value) pairs of the history and the test in a run folder, which a logger must have."""
    history, test = history_of(folder), json.loads((folder / "test_metrics.json").read_text())
    columns = {key: [(row["epoch"], row[key]) for row in history] for key in history[0] if key != "epoch"}
    columns |= {f"test/{key}": [(history[-1]["epoch"], value)] for key, value in test.items()}
    return {key: [(epoch, pytest.approx(value, rel=1e-6)) for epoch, value in points] for key, points in columns.items()}


def without(drawn, *keys):
    return {key: points for key, points in drawn.items() if key not in keys}


def test_loggers_get_the_history_and_change_no_weight(blobs):
    folder = run(blobs.name, {"private.loggers": ["tensorboard", "mlflow"]}).folder
    alone = run(blobs.name, {"private.log_images": 0}).folder

    assert read_tensorboard(folder) == points_of(folder)
    assert read_mlflow(folder) == points_of(folder)
    shown = [tag.split()[0] for tag in open_tensorboard(folder).Tags()["images"]]
    assert shown == [f"test_images/sample-{number:02}" for number in range(1, 8)]
    for name in ("last", "best"):
        assert (folder / f"weights/{name}.safetensors").read_bytes() == (alone / f"weights/{name}.safetensors").read_bytes()
    client, run_id = open_mlflow(folder)
    logged = client.get_run(run_id)
    assert (logged.info.run_name, logged.info.status) == (folder.name, "FINISHED")
    assert logged.data.tags.items() >= {"task": "blobs", "run_id": folder.name}.items()
    assert logged.data.params.items() >= {"train.epoch": "2", "criterion.0.type": "cross_entropy", "entity": ""}.items()


KILLER = """import os, signal
from ddpkit import Component, hookimpl

@hookimpl
def ddpkit_loggers():
    yield Component("killer", "killer:Killer")

class Killer:
    def on_epoch_end(self, row):
        if row["epoch"] == 2 and "KILL" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)

    def close(self):
        pass
"""


def test_a_killed_run_is_logged_as_if_not_killed(blobs, monkeypatch):
    """The process dies when epoch 2 is logged but not saved. After the resume, the loggers have each epoch once."""
    blobs.with_name("killer.py").write_text(KILLER)
    loggers = "private.loggers=['tensorboard','mlflow','killer']"
    command = ["run", blobs.name, "--set", "run_id='mine'", "--set", loggers, "--set", "plugins.files=['killer.py']"]
    command += ["--set", "train.save_recovery_period=1", "--set", "train.epoch=3"]
    monkeypatch.setenv("KILL", "1")
    assert ddpkit(*command, cwd=blobs.parent).exit_code == -signal.SIGKILL
    folder = Path("runs/blobs/mine").absolute()
    for drawn in (read_tensorboard(folder), read_mlflow(folder)):
        assert [step for step, _ in drawn["step"]] == [1, 2]

    monkeypatch.delenv("KILL")
    assert main([*command, "--resume"]) == 0

    assert read_tensorboard(folder) == points_of(folder)
    times = ("seconds", "samples_per_second")  # MLflow keeps the times that the first process measured
    assert without(read_mlflow(folder), *times) == without(points_of(folder), *times)
    assert [step for step, _ in read_mlflow(folder)["seconds"]] == [1, 2, 3]


@pytest.mark.parametrize(("logger_type", "read"), [(TensorBoard, read_tensorboard), (MLflow, read_mlflow)])
def test_a_resumed_run_has_each_epoch_once(folder, logger_type, read):
    log(logger_type, folder, rows(1, 2, 3, loss=1.0))
    log(logger_type, folder, rows(3, 4, loss=2.0 if logger_type is TensorBoard else 1.0))

    last = 2.0 if logger_type is TensorBoard else 1.0  # TensorBoard replaces what was logged after the resumed checkpoint
    assert read(folder) == {
        "step": [(1, 10), (2, 20), (3, 30), (4, 40)],
        "valid/loss": [(1, 1.0), (2, 1.0), (3, last), (4, last)],
    }


def test_event_files_sort_in_the_order_of_their_creation(folder):
    """A process with a larger number wrote the first file, in the same second."""
    log(TensorBoard, folder, rows(1, 2, loss=1.0))
    (first,) = (folder / "tensorboard").iterdir()
    first = first.rename(first.with_name(f"events.out.tfevents.{int(time.time())}.~host.1.0"))
    log(TensorBoard, folder, rows(2, 3, loss=2.0))

    assert min((folder / "tensorboard").iterdir()) == first
    assert read_tensorboard(folder)["valid/loss"] == [(1, 1.0), (2, 2.0), (3, 2.0)]


@pytest.mark.parametrize(("logger_type", "read"), [(TensorBoard, read_tensorboard), (MLflow, read_mlflow)])
def test_a_repeated_test_is_logged_once(folder, logger_type, read):
    """The test was killed, or had not begun, when the run had trained all epochs; later the run trains one more."""
    dice = "test/ema/dice %" if logger_type is TensorBoard else "test/ema/dice _"
    once = {"test/loss": [(2, 0.5)], "test/counts": [(2, 0.75)], dice: [(2, 0.25)]}
    epochs = {"step": [(1, 10), (2, 20)], "valid/loss": [(1, 1.0), (2, 1.0)]}
    log(logger_type, folder, rows(1, 2, loss=1.0))
    for _ in range(2):
        log(logger_type, folder, test=result(folder))
        assert read(folder) == epochs | once

    if logger_type is TensorBoard:
        assert [each.step for each in open_tensorboard(folder).Images("test_images/counts")] == [2]
    log(logger_type, folder, rows(3, loss=1.0), test=result(folder, epoch=3, loss=0.25))
    assert read(folder)["test/loss"] == [(2, 0.5), (3, 0.25)]


def test_tensorboard_shows_images_of_a_test(folder):
    log(TensorBoard, folder, test=result(folder))

    events = open_tensorboard(folder)
    sample = "test_images/sample-01 <b> .png: target cat, prediction cat"
    assert events.Tags()["images"] == ["test_images/counts", "test_images/ema/counts", sample]
    (shown,) = events.Images(sample)
    assert (shown.step, shown.width, shown.height) == (2, 8, 6)
    assert shown.encoded_image_string == (folder / "sample.png").read_bytes()
    (matrix,) = events.Images("test_images/counts")
    with Image.open(io.BytesIO(matrix.encoded_image_string)) as drawn:
        assert drawn.size == (matrix.width, matrix.height)


def test_tensorboard_shows_hyperparameters(folder):
    """The summary `experiment` is missing: it would hide the keys that other runs in the same table have."""
    from tensorboard.plugins.hparams import metadata

    log(TensorBoard, folder, rows(1, loss=1.0))

    stored = open_tensorboard(folder).PluginTagToContent("hparams")
    assert [*stored] == [metadata.SESSION_START_INFO_TAG]
    shown = metadata.parse_session_start_info_plugin_data(stored[metadata.SESSION_START_INFO_TAG]).hparams
    values = {key: getattr(value, value.WhichOneof("kind")) for key, value in shown.items()}
    assert values == hyperparameters.flatten_config(CONFIG)


def test_hyperparameters_are_plain_values_by_dotted_key():
    config = {"a": {"b": math.inf, "c": []}, "d": [{"e": 1}, {"e": "x\ny"}], "f": [1, 2], "g": True}

    flat = {"a.b": "inf", "a.c": "[]", "d.0.e": 1, "d.1.e": "x y", "f": "[1, 2]", "g": True}
    assert hyperparameters.flatten_config(config) == flat


def test_a_run_without_an_epoch_leaves_no_tensorboard_file(folder):
    log(TensorBoard, folder)

    assert not (folder / "tensorboard").exists()


def test_mlflow_gets_images_of_a_test(folder):
    for _ in range(2):
        log(MLflow, folder, test=result(folder))

    client, run_id = open_mlflow(folder)
    images = Path(client.download_artifacts(run_id, "test_images"))
    found = sorted(str(file.relative_to(images)) for file in images.rglob("*.*"))
    assert found == ["captions.txt", "counts.png", "ema/counts.png", "sample-01.png"]
    assert "test_images/sample-01 <b> .png: target cat, prediction cat\n" in (images / "captions.txt").read_text()
    with Image.open(images / "sample-01.png") as logged, Image.open(folder / "sample.png") as sample:
        assert logged.tobytes() == sample.tobytes()


def test_mlflow_keeps_parameters_of_a_resumed_run(folder):
    """MLflow accepts only one value for a parameter."""
    for epochs in (3, 5):
        MLflow(folder, CONFIG | {"train": {"epoch": epochs, "long": "x" * 7000}}).close()

    client, run_id = open_mlflow(folder)
    params = client.get_run(run_id).data.params
    assert (params["train.epoch"], len(params["train.long"])) == ("3", 6000)


def test_runs_of_a_task_share_an_mlflow_experiment(folder):
    for run_id in ("mine", "other"):
        folder.with_name(run_id).mkdir(exist_ok=True)
        MLflow(folder.with_name(run_id), CONFIG | {"run_id": run_id})

    client, _ = open_mlflow(folder)
    experiment = client.get_experiment_by_name("blobs")
    assert sorted(each.info.run_name for each in client.search_runs([experiment.experiment_id])) == ["mine", "other"]


def test_an_exception_fails_the_mlflow_run(folder):
    with pytest.raises(KeyboardInterrupt), contextlib.closing(MLflow(folder, CONFIG)):
        raise KeyboardInterrupt

    client, run_id = open_mlflow(folder)
    assert client.get_run(run_id).info.status == "FAILED"
    MLflow(folder, CONFIG)
    assert client.get_run(run_id).info.status == "RUNNING"


def test_loggers_draw_no_random_numbers(folder):
    def states():  # without those of `random`: threads of libraries may draw from it, and each sample seeds it
        return str(np.random.get_state()), torch.get_rng_state().tolist()  # noqa: NPY002 - the global generator

    before = states()
    for logger_type in (TensorBoard, MLflow):
        log(logger_type, folder, rows(1, 2, loss=1.0), result(folder))
    assert states() == before


def test_a_silent_mlflow_server_is_a_warning(blobs, capsys, monkeypatch):
    """The server accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        begin = time.monotonic()
        assert main(["run", blobs.name, "--set", "private.loggers=['mlflow']"]) == 0

    assert time.monotonic() - begin < 30
    printed = capsys.readouterr().err
    assert printed.count("logger mlflow failed and is disabled for the rest of the run: MlflowException: API request to") == 1
    assert "urllib3" not in printed


@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_a_missing_package_is_a_warning(package, blobs, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)

    assert main(["run", blobs.name, "--set", f"private.loggers=['{package}']"]) == 0

    message = f"logger {package} failed and is disabled for the rest of the run: ModuleNotFoundError: import of {package} halted; None in sys.modules; install it with: pip install 'ddpkit[{package}]'"
    assert capsys.readouterr().err.count(message) == 1


STAND_IN = """\
import json, os

def init(**given):
    if os.environ.get("WANDB_MODE") == "wrong":
        raise ValueError("no such mode")
    note("init", **{key: value for key, value in given.items() if key not in ("config", "dir")}, epochs=given["config"]["train"]["epoch"])
    return Run()

def note(what, **more):
    with open("wandb.jsonl", "a") as file:
        file.write(json.dumps({"what": what, **more}) + "\\n")

class Run:
    def log(self, row, step):
        note("log", step=step, loss=row["valid/loss"])

    def finish(self):
        note("finish")

    @property
    def summary(self):
        return self

    def update(self, values):
        note("summary", **values)

Settings = dict

def Image(image, caption):
    return [*image.size, caption]
"""


@pytest.fixture
def wandb_calls(blobs, monkeypatch):
    """The calls that a fake wandb package recorded."""
    blobs.with_name("wandb.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(blobs.parent))
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "300")
    yield lambda: [json.loads(line) for line in blobs.with_name("wandb.jsonl").read_text().splitlines()]
    sys.modules.pop("wandb", None)


def test_wandb_gets_history_and_the_run_name(blobs, wandb_calls):
    result = run(blobs.name, {"private.wandb": True, "entity": "lab", "run_id": "first"})

    begin, *logged, end = [each for each in wandb_calls() if each["what"] != "summary"]
    assert (begin["project"], begin["entity"], begin["name"], begin["epochs"]) == ("blobs", "lab", "first", 2)
    assert begin["settings"] == {"console": "off", "quiet": True, "finish_timeout": 60}  # the environment has the other
    assert [(each["step"], each["loss"]) for each in logged] == [(row["epoch"], row["valid/loss"]) for row in result.history]
    assert end == {"what": "finish"}


def test_wandb_gets_the_test_in_its_summary(folder, wandb_calls):
    from ddpkit_plugins.loggers.wandb import WeightsAndBiases

    logger = WeightsAndBiases(folder, CONFIG | {"entity": ""})
    logger.on_test_end(result(folder))

    summary = wandb_calls()[-1]
    assert summary.items() >= {"test/loss": 0.5, "test/counts": 0.75, "test/ema/dice %": 0.25}.items()
    assert summary["test_images/sample-01"] == [8, 6, "<b> .png: target cat, prediction cat"]
    assert {*summary} >= {"test_images/counts", "test_images/ema/counts"}
    assert "test/auc" not in summary


def test_a_resumed_run_keeps_its_wandb_id(blobs, wandb_calls):
    run(blobs.name, {"private.wandb": True, "run_id": "first"})
    assert (
        main(["run", blobs.name, "--resume", "--set", "private.wandb=true", "--set", "run_id=first", "--set", "train.epoch=3"])
        == 0
    )
    run(blobs.name, {"private.wandb": True, "run_id": "other"})

    first, again, other = [each for each in wandb_calls() if each["what"] == "init"]
    assert first["id"] == again["id"] != other["id"]
    assert [each["step"] for each in wandb_calls() if each["what"] == "log"] == [1, 2, 3, 1, 2]


def test_a_wandb_error_is_a_warning(blobs, wandb_calls, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "wrong")

    assert main(["run", blobs.name, "--set", "private.wandb=true"]) == 0

    assert "logger wandb failed and is disabled for the rest of the run: RuntimeError: no such mode\n" in capsys.readouterr().err


def test_an_unknown_logger_parameter_is_rejected(blobs, capsys):
    assert main(["run", blobs.name, "--set", "private.loggers=[{type='tensorboard', config={folder_name='x'}}]"]) == 2

    assert "logger 'tensorboard' has no such key" in capsys.readouterr().err
