"""Streams in runs of the real command: resume, evaluation on several ranks, and errors."""

import contextlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddpkit.checkpoint.store import Store
from ddpkit.cli.main import main
from ddpkit.testing import ddpkit
from ddpkit.testing.checkpoint_comparison import find_first_difference

EXAMPLE = Path(__file__).parents[2] / "examples/tasks/streaming"


NUMBERS = itertools.count()
"""Numbers of the plugins: two plugins of one process cannot have the same module name."""


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Copy of the example as the current folder; its config has one epoch and one rank, which reads the samples itself."""
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    monkeypatch.chdir(tmp_path)
    write_small_config()
    return tmp_path


def write_small_config(old="", new=""):
    """Write the config, and its plugin with `new` in place of the text `old`."""
    plugin, name = Path("plugin.py").read_text(), f"stream_{next(NUMBERS)}"
    assert old in plugin
    Path(f"{name}.py").write_text((plugin.replace(old, new) if old else plugin).replace("plugin:", f"{name}:"))
    text = Path("streaming.toml").read_text().replace("plugin.py", f"{name}.py")
    text = text.replace("nproc = 2", "nproc = 1").replace("num_workers = 2", "num_workers = 0").replace("epoch = 5", "epoch = 1")
    Path("small.toml").write_text(text.replace('device = "auto"', 'device = "cpu"\nprivate.report = false'))


def run(*options):
    return main(["run", "small.toml", *options])


def override(*settings):
    return [part for setting in settings for part in ("--set", setting)]


def read(run_id, name):
    return json.loads(Path(f"runs/streaming/{run_id}/{name}").read_text())


def test_the_plugin_of_the_example_is_short():
    assert len((EXAMPLE / "plugin.py").read_text().splitlines()) <= 80
    assert sum(file.stat().st_size for file in EXAMPLE.glob("shards/*")) < 300_000


def test_a_run_of_a_stream_records_its_shards(example, capsys):
    assert run("--limit-batches", "2", *override("run_id=one")) == 0

    shown = capsys.readouterr().err
    assert "data    digit_shards: train 5 shards, valid 3 shards, test 2 shards; 480 samples per epoch" in shown.replace(
        "64 ", "480 "
    )
    assert read("one", "split.json")["valid"] == [f"valid-00000{number}.tar.gz" for number in range(3)]
    assert read("one", "class_counts.json") == {"train": {"samples": 480, "classes": None}}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["dataset.split.train=0.8"], "dataset.split: cannot be used with a stream, which has its own shards for each split"),
        (['dataset.on_error="skip"'], "dataset.on_error: 'skip' cannot be used with a stream; leave out unreadable samples"),
        (['dataloader.sampler="balanced"'], "dataloader.sampler: cannot be used with a stream"),
        (["ddp.virtual_shards=2"], "ddp.virtual_shards: cannot be used with a stream"),
        (
            ["dataloader.num_workers=6"],
            "each of the 6 readers (ranks x loader workers) needs one; set num_workers = 5, or divide the data into more shards",
        ),
        (["dataset.config.samples_per_epoch=0"], "'samples_per_epoch' of a stream must be an integer that is at least 1; got 0"),
        (
            ["dataset.config.samples_per_epoch=20", "dataloader.drop_last=true"],
            "train.batch_size: is larger than the training split (20 samples)",
        ),
        (["dataset.root_dir=nowhere"], "the stream has no shards for training; check the folder of the data"),
    ],
)
def test_a_config_that_does_not_fit_a_stream_is_refused(example, capsys, settings, message):
    assert run(*override(*settings)) == 2

    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "for sample in read_tar(shard)",
            "for sample in []",
            "dataset.name: read_shard() yields no sample for any shard of the train split; check the data",
        ),
        (
            "self.shards = {split",
            "self.shards = {split + 's'",
            "'shards' of a stream must be a dict from 'train', 'valid', 'test'",
        ),
        (
            "self.samples_per_epoch =",
            "self.n =",
            "'samples_per_epoch' of a stream must be an integer that is at least 1; it has none",
        ),
        (
            "for sample in read_tar(shard):",
            "for sample in read_tar(shard + 'x'):",
            "shards/train-000000.tar.gz' cannot be used: dataset 'digit_shards'",
        ),
        ("def read_shard", "def read", "or a stream with the method read_shard(shard)"),
    ],
)
def test_a_wrong_stream_is_refused(example, capsys, old, new, message):
    write_small_config(old, new)

    assert run() == 2

    assert message in capsys.readouterr().err


def test_a_damaged_shard_names_its_sample(example, capsys):
    shard = Path("shards/train-000000.tar.gz")
    shard.write_bytes(shard.read_bytes()[:20_000])
    before = multiprocessing.active_children()

    assert run(*override("dataloader.num_workers=2")) == 1

    assert {*multiprocessing.active_children()} <= {*before}  # at exit, torch would print a traceback about loader workers
    shown = capsys.readouterr().err
    assert "shards/train-000000.tar.gz'" in shown
    assert "repair the sample, or let 'read_shard' of the dataset leave it out" in shown


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["check", "small.toml", "--data"], "'--data' cannot be used: its samples have no index"),
        (["verify-ddp", "small.toml"], "'verify-ddp' cannot be used: the order of its training samples depends on"),
    ],
    ids=["check", "verify-ddp"],
)
def test_commands_that_need_an_index_refuse_a_stream(example, capfd, command, reason):
    assert main(command) == 2

    assert f"'digit_shards' is a stream, with which {reason}" in capfd.readouterr().err


def test_a_stream_can_be_previewed(example, capsys):
    assert main(["preview", "small.toml", "--samples", "3", "--output", "p.png"]) == 0

    assert "3 training samples, in the order of the first epoch" in capsys.readouterr().out


def test_changed_shards_are_refused_at_a_resume(example, capsys):
    assert run("--limit-batches", "1", *override("run_id=one")) == 0
    Path("shards/train-000004.tar.gz").rename("shards/train-000009.tar.gz")

    assert run("--limit-batches", "1", "--resume", *override("run_id=one", "train.epoch=2")) == 2

    expected = "1 shard is missing, such as 'train-000004.tar.gz' (train); 1 shard is new, such as 'train-000009.tar.gz' (train)"
    assert f"the samples differ from those of the resumed run: {expected}" in capsys.readouterr().err


@pytest.mark.slow
def test_an_evaluation_counts_each_sample_once_on_any_number_of_ranks(example):
    assert run("--limit-batches", "3", *override("run_id=one")) == 0

    found = []
    for nproc, workers in ((1, 0), (3, 0), (2, 2)):
        settings = override(f"dataloader.num_workers={workers}", "test.batch_size=7")
        ddpkit("test", "runs/streaming/one", "--nproc", str(nproc), *settings, cwd=example).assert_done()
        found.append(read("one", "test_metrics.json"))

    assert found[1] == pytest.approx(found[0], rel=1e-6)
    assert found[2] == pytest.approx(found[0], rel=1e-6)
    assert found[0]["accuracy"] * 80 == pytest.approx(round(found[0]["accuracy"] * 80))


@pytest.mark.slow
def test_a_killed_stream_resumes_to_the_same_bits(example):
    settings = override('device="cpu"', "train.epoch=2", "train.save_recovery_period=0.02", "train.save_recovery_keep=100")
    command = [sys.executable, "-m", "ddpkit", "run", "streaming.toml", *settings]
    subprocess.run([*command, "--set", "run_id=whole"], check=True)

    killed = Store(Path("runs/streaming/killed/checkpoints"))
    for step in (4, 20):
        kill_after(step, [*command, "--set", "run_id=killed", "--resume"], killed)
    subprocess.run([*command, "--set", "run_id=killed", "--resume"], check=True)

    first, n_steps = find_first_difference(Store(Path("runs/streaming/whole/checkpoints")), killed)
    assert first is None
    assert n_steps > 20
    weights = [Path(f"runs/streaming/{name}/weights/best.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]
    assert read("whole", "test_metrics.json") == read("killed", "test_metrics.json")


def kill_after(step, command, store):
    """Start a run, and kill all its processes as soon as the checkpoint of a step exists."""
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(int(folder.name.removeprefix("step-")) >= step for folder in store.folders()):
        time.sleep(0.005)
    assert process.poll() is None, "the run ended before the kill"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the kernel kills the ranks with their launcher
    process.wait()


def test_another_number_of_ranks_is_refused_within_an_epoch(example, capsys):
    settings = override("train.save_recovery_period=0.1", "train.save_recovery_keep=100")
    assert run(*settings, "--set", "run_id=one") == 0
    step = sorted(Path("runs/streaming/one/checkpoints").glob("step-*"))[2]

    assert run(*settings, "--resume", str(step), *override("dataloader.num_workers=2")) == 6

    assert main(["inspect", "runs/streaming/one"]) == 0
    found = capsys.readouterr()
    assert "data: train 5 shards, valid 3 shards, test 2 shards\n" in found.out
    assert "readers per rank 1" in found.out
    assert "add '--nproc 1 --set dataloader.num_workers=1', or resume from the end of an epoch" in found.err
