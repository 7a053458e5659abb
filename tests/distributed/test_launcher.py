"""Nothing hangs: one rank fails, or the launcher is killed, and all is over within seconds."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ddpkit.distributed import rank_report
from ddpkit.distributed.slurm import torchrun_variables
from ddpkit.testing import ddpkit
from tests.helpers.configs import BLOBS

SECONDS = 5
"""How soon all must be over."""


def troubled(folder, **more):
    """The config of a run on two ranks whose rank 1 gets into trouble."""
    params = "".join(f", {key} = {value!r}" for key, value in more.items())
    text = BLOBS.replace('name = "tinynet"', f'name = "troubled"\nconfig = {{ note = "{folder}/note"{params} }}')
    file = folder / "troubled.toml"
    file.write_text(text.replace("nproc = 1", "nproc = 2"))
    return file


def processes_of(file):
    """Processes whose command line names the file: the launcher, ranks, and their loader workers."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes()
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except (OSError, IndexError):
            continue
        if folder.name.isdecimal() and str(file).encode() in command and state != "Z":
            found.append(int(folder.name))
    return found


def wait_for(condition, seconds):
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_rank_that_raises_ends_all_with_its_traceback_once(blobs):
    file = troubled(blobs.parent)

    outcome = ddpkit("run", file, "--set", "dataloader.num_workers=2", cwd=blobs.parent)

    assert time.time() - float((blobs.parent / "note").read_text()) < SECONDS
    assert outcome.exit_code == 1
    assert outcome.stderr.count("Traceback") == 1
    assert re.search(
        r"^rank 1: model '.*\) failed: RuntimeError: the troubled model had enough\nTraceback", outcome.stderr, re.MULTILINE
    )
    assert outcome.stderr.endswith("RuntimeError: the troubled model had enough\n")
    assert all(noise not in outcome.stderr for noise in ("elastic", "gloo", "Root Cause", "W1", "E1"))
    assert wait_for(lambda: not processes_of(file), SECONDS)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_killing_the_launcher_ends_ranks_and_loader_workers(blobs, number, exit_code):
    file = troubled(blobs.parent, how="sleep")
    command = [sys.executable, "-m", "ddpkit", "run", str(file), "--set", "dataloader.num_workers=1"]
    grace = {**os.environ, "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "1"}  # seconds for ranks to save; the one that sleeps cannot
    launcher = subprocess.Popen(command, cwd=blobs.parent, stderr=subprocess.PIPE, text=True, env=grace)
    assert wait_for((blobs.parent / "note").exists, 60), launcher.communicate()
    assert len(processes_of(file)) >= 5  # the launcher, two ranks, a worker each

    launcher.send_signal(number)

    assert wait_for(lambda: not processes_of(file), SECONDS)
    stderr = launcher.communicate(timeout=SECONDS)[1]
    assert all(noise not in stderr for noise in ("Traceback", "elastic", "death signal"))
    assert launcher.returncode == exit_code


def test_a_rank_that_is_killed_is_named(blobs):
    file = troubled(blobs.parent, how="sleep")
    command = [sys.executable, "-m", "ddpkit", "run", str(file)]
    launcher = subprocess.Popen(command, cwd=blobs.parent, stderr=subprocess.PIPE, text=True)
    assert wait_for((blobs.parent / "note").exists, 60)
    rank_1 = next(pid for pid in processes_of(file) if b"RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes())

    os.kill(rank_1, signal.SIGKILL)

    assert launcher.communicate(timeout=SECONDS)[1].endswith("rank 1 was killed by SIGKILL (possibly out of memory)\n")
    assert launcher.returncode == 1
    assert not processes_of(file)


def test_a_report_takes_precedence_over_an_abort_it_caused(tmp_path):
    report = {"time": 1, "text": "rank 1 failed: here is why", "exit_code": 1, "problems": []}
    aborted = SimpleNamespace(exitcode=-signal.SIGABRT)
    assert "rank 0 was ended" not in str(rank_report.first_failure({0: aborted}, tmp_path))

    (tmp_path / "rank-1.json").write_text(json.dumps(report))

    assert str(rank_report.first_failure({0: aborted, 1: SimpleNamespace(exitcode=1)}, tmp_path)) == report["text"]
    crashed = SimpleNamespace(exitcode=-signal.SIGSEGV)
    assert str(rank_report.first_failure({0: crashed}, tmp_path)) == "rank 0 was killed by SIGSEGV"


def test_a_single_process_that_fails_keeps_its_traceback(blobs):
    outcome = ddpkit("run", troubled(blobs.parent), "--nproc", "1", cwd=blobs.parent)

    assert outcome.exit_code == 1
    assert outcome.stderr.count("Traceback") == 1
    assert outcome.stderr.endswith("RuntimeError: the troubled model had enough\n")


STEP = {
    "SLURM_JOB_ID": "40007",
    "SLURM_STEP_ID": "1",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_STEP_NODELIST": "gpu[03-04,9]",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}
PLACE = {"RANK": "3", "WORLD_SIZE": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
MEETING = {"MASTER_ADDR": "gpu03", "MASTER_PORT": "20008"}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, PLACE | MEETING),
        ({"SLURM_NODEID": "2", "SLURM_LOCALID": "0"}, PLACE | MEETING | {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}),
        ({"SLURM_GPUS_PER_TASK": "1"}, PLACE | MEETING | {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}),
        ({"MASTER_PORT": "1234"}, PLACE | MEETING | {"MASTER_PORT": "1234"}),
        ({"SLURM_STEP_NODELIST": "a1-b[07,9],c"}, PLACE | MEETING | {"MASTER_ADDR": "a1-b07"}),
        ({"SLURM_STEP_NODELIST": "login"}, PLACE | MEETING | {"MASTER_ADDR": "login"}),
        ({"RANK": "0"}, {}),
        ({"SLURM_STEP_NUM_TASKS": "1"}, {}),
    ],
)
def test_tasks_of_srun_are_ranks(more, expected):
    assert torchrun_variables(STEP | more) == expected


def test_a_script_of_sbatch_is_not_a_rank():
    assert torchrun_variables({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}) == {}


def test_srun_starts_one_run_of_several_ranks(blobs):
    """Two processes with srun's variables."""
    step = STEP | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_STEP_NODELIST": "localhost"}
    command = [sys.executable, "-m", "ddpkit", "run", blobs.name, "--set", "run_id=of-srun", "--set", "ddp.nproc='auto'"]
    ranks = [
        subprocess.Popen(command, env=os.environ | step | {"SLURM_PROCID": number, "SLURM_LOCALID": number, "SLURM_NODEID": "0"})
        for number in ("0", "1")
    ]

    assert [rank.wait(60) for rank in ranks] == [0, 0]
    assert json.loads(Path("runs/blobs/of-srun/environment.json").read_text())["ranks"] == 2
