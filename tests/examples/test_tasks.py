"""The examples in `examples/tasks` run as they are, on two ranks, and keep what they promise."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddpkit.checkpoint.resume import CHECKPOINTS_FOLDER
from ddpkit.checkpoint.store import Store, parse_step
from ddpkit.cli.main import main
from ddpkit.plugins import signatures
from ddpkit.testing import ddpkit

TASKS = Path(__file__).parents[2] / "examples/tasks"
NAMES = sorted(file.stem for file in TASKS.glob("*/*.toml") if file.stem == file.parent.name)
PROMISE = "# Promise: N ranks give the same training as one rank."
EXCEPTION = "# Not promised: "
"""Start of the line that says why N ranks do not give the same training as one rank."""
PLUGIN_LINES = 80
SECONDS = 300
"""Time limit of a command; all of them take less than a minute on an idle machine."""


def text_of(name):
    return (TASKS / name / f"{name}.toml").read_text()


@pytest.fixture(params=NAMES)
def example(request, tmp_path, monkeypatch):
    """Name of an example; a copy of its folder is the current folder."""
    shutil.copytree(TASKS / request.param, tmp_path / "copy", ignore=shutil.ignore_patterns("runs", "*.png", "__pycache__"))
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setattr(sys, "path", [*sys.path])  # a check appends the folder of the plugin
    yield request.param
    sys.modules.pop("plugin", None)  # each example has a module of this name
    signatures.find_definitions.cache_clear()


def test_each_folder_is_an_example():
    assert [folder.name for folder in sorted(TASKS.iterdir()) if folder.is_dir()] == NAMES
    assert NAMES


def test_an_example_has_no_mistake_and_a_short_plugin(example, capsys):
    assert main(["check", f"{example}.toml"]) == 0

    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(
        rf"{example}\.toml: no mistake found( in the parts that were checked)?; the data was not read, see --data", last
    )
    plugin = Path("plugin.py")
    assert not plugin.exists() or len(plugin.read_text().splitlines()) <= PLUGIN_LINES


@pytest.mark.parametrize("name", NAMES)
def test_an_example_says_what_it_promises(name):
    text = text_of(name)

    assert (PROMISE in text.splitlines()) != (EXCEPTION in text)
    assert "nproc = 2" in text
    assert f"cd examples/tasks/{name}\n#     ddpkit run {name}.toml" in text


@pytest.mark.slow
def test_an_example_trains_and_is_tested_without_a_warning(example):
    done = ddpkit("run", f"{example}.toml", "--set", "train.epoch=1", "--limit-batches", "6", cwd=Path.cwd(), timeout=SECONDS)

    events = [json.loads(line) for line in (done.assert_done().folder / "events.jsonl").read_text().splitlines()]
    assert [each["event"] for each in events if each["event"] != "test"] == ["start", "finish"], done.stderr
    assert json.loads((done.folder / "environment.json").read_text())["ranks"] == 2


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
def test_a_killed_and_resumed_example_has_the_same_bits(example):
    done = ddpkit("verify-resume", f"{example}.toml", "--kills", "1", "--batches", "6", cwd=Path.cwd(), timeout=2 * SECONDS)

    assert done.assert_done().stdout.startswith("equal: ")


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
def test_an_example_trains_equally_on_one_rank(example):
    if EXCEPTION in text_of(example):
        pytest.skip(next(line for line in text_of(example).splitlines() if line.startswith(EXCEPTION)))

    done = ddpkit("verify-ddp", f"{example}.toml", cwd=Path.cwd(), timeout=2 * SECONDS)

    assert done.assert_done().stdout.splitlines()[-1].startswith("equal: ")


def command(run_id, *options):
    return ["run", "keypoints.toml", *options, "--set", f"run_id={run_id}", "--set", "train.epoch=2"]


def kill_in_first_epoch(run_id, n_steps):
    """Start the command, and kill all of its processes after a checkpoint that is not at the end of an epoch."""
    saving = ["--set", "train.save_recovery_period=0.1"]
    arguments = [sys.executable, "-P", "-m", "ddpkit", *command(run_id, *saving)]
    process = subprocess.Popen(arguments, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    saved = Store(Path("runs/keypoints") / run_id / CHECKPOINTS_FOLDER)
    while not saved.folders() and process.poll() is None:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)  # the kernel kills the ranks with their launcher
    assert process.wait() == -signal.SIGKILL
    assert 0 < parse_step(saved.folders()[0]) < n_steps


def end_of(run_id):
    folder = Path("runs/keypoints") / run_id
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    rows = [{key: value for key, value in row.items() if "second" not in key} for row in rows]
    weights = {file.name: file.read_bytes() for file in (folder / "weights").iterdir()}
    return rows, weights, (folder / "test_metrics.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("example", ["keypoints"], indirect=True)
def test_a_run_killed_in_an_epoch_ends_as_if_it_had_not_been(example):
    ddpkit(*command("alone"), cwd=Path.cwd(), timeout=SECONDS).assert_done()

    kill_in_first_epoch("killed", end_of("alone")[0][0]["step"])
    ddpkit(*command("killed", "--resume"), cwd=Path.cwd(), timeout=SECONDS).assert_done()

    assert end_of("killed") == end_of("alone")
