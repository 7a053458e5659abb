"""A run that was interrupted and resumed by the real command is bit-identical to an uninterrupted one."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddpkit.checkpoint.store import Store
from ddpkit.cli.main import main
from ddpkit.errors import RunLockedError
from ddpkit.runs import lock
from ddpkit.runs.record import RunRecord
from ddpkit.testing import ddpkit
from tests.helpers.configs import DIGITS

PLUGIN = '''\
"""Executes at a step what `orders.json` says; its state is the number of steps and a tensor."""

import json
import os
import signal
from pathlib import Path

import torch
from ddpkit import Component, hookimpl

SEEN = {"steps": 0, "sum": torch.zeros(2, dtype=torch.float64)}


def obey(when, rank=0):
    file = Path("orders.json")
    order = json.loads(file.read_text()).get(when) if file.exists() else None
    if order and rank == 0:
        exec(order)


@hookimpl
def ddpkit_run_start(run):
    SEEN.update(steps=0, sum=torch.zeros(2, dtype=torch.float64))


@hookimpl
def ddpkit_step_end(run, epoch, step):
    SEEN["steps"] += 1
    SEEN["sum"] += step
    with open("steps.txt", "a") as file:
        file.write(f"{run.rank} {epoch}.{step}\\n")
    obey(f"{epoch}.{step}", run.rank)


@hookimpl
def ddpkit_epoch_end(run, row):
    obey(f"end {row['epoch']}", run.rank)


@hookimpl
def ddpkit_checkpoint_save(run):
    return dict(SEEN)


@hookimpl
def ddpkit_checkpoint_load(run, state):
    SEEN.update(state)


@hookimpl
def ddpkit_run_end(run, error):
    Path("seen.json").write_text(json.dumps({"steps": SEEN["steps"], "sum": SEEN["sum"].tolist()}))


@hookimpl
def ddpkit_metrics():
    yield Component("meddling", "meddler:Meddling")


from torchmetrics.aggregation import MeanMetric


@hookimpl
def ddpkit_lr_schedulers():
    yield Component("timm_cosine", "meddler:timm_cosine")


def timm_cosine(optimizer, total_steps: int, in_epochs: bool = True):
    from timm.scheduler import CosineLRScheduler

    return CosineLRScheduler(optimizer, total_steps, t_in_epochs=in_epochs, noise_range_t=(1, 9))


class Meddling(MeanMetric):
    def update(self, predictions, targets):
        super().update(targets.double())
        obey(f"evaluation {SEEN['steps']}")
'''
KILL = "os.kill(os.getpid(), signal.{})"


@pytest.fixture(scope="module")
def plugin_file(tmp_path_factory):
    """The file of the plugin; one for all tests, because a process imports a module once."""
    file = tmp_path_factory.mktemp("parts") / "meddler.py"
    file.write_text(PLUGIN)
    return file


@pytest.fixture
def digits(acme, plugin_file, tmp_path, monkeypatch):
    """A config of 2 epochs of 4 steps, with dropout, random rotations and the plugin."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "digits.toml"
    text = 'task = "digits"\n' + DIGITS.replace("batch_size = 16", "batch_size = 12").replace(
        'metrics = ["accuracy"]', 'metrics = ["accuracy", "meddling"]'
    )
    file.write_text(text + f'[plugins]\nfiles = ["{plugin_file}"]\n')
    return file


def command(run_id, *options, **orders):
    """The arguments of a run; `at_1_2="..."` is the code that the plugin executes in epoch 1, step 2."""
    told = {when.removeprefix("at_").replace("_", "."): order for when, order in orders.items()}
    Path("orders.json").write_text(json.dumps(told))
    return ["run", "digits.toml", "--set", f"run_id={run_id}", *options]


def run(*arguments, **orders):
    """Run in this process; returns the exit code."""
    return main(command(*arguments, **orders))


def run_in_subprocess(*arguments, **orders):
    """Run in a new process."""
    return ddpkit(*command(*arguments, **orders), cwd=Path.cwd())


def sets(**values):
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]


def folder_of(run_id):
    return Path("runs/digits") / run_id


def steps_of(run_id):
    """The steps of its checkpoints, the newest first."""
    return [int(folder.name[5:]) for folder in Store(folder_of(run_id) / "checkpoints").folders()]


def history_of(run_id):
    """The rows of the history, without times."""
    rows = [json.loads(line) for line in (folder_of(run_id) / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if "second" not in key} for row in rows]


def end_of(run_id):
    """Everything that must be bit-identical."""
    newest = Store(folder_of(run_id) / "checkpoints").newest()
    state = newest.plain
    state["run"] = None
    return {
        "files": {name: data for name, data in newest.files.items() if name != "state.json"},
        "state": state,
        "weights": {file.name: file.read_bytes() for file in (folder_of(run_id) / "weights").iterdir()},
        "history": history_of(run_id),
        "test": (folder_of(run_id) / "test_metrics.json").read_bytes(),
        "seen": json.loads(Path("seen.json").read_text()),
    }


@pytest.fixture
def uninterrupted(digits):
    """The final state of a run without an interruption."""
    assert run("alone") == 0
    return end_of("alone")


@pytest.mark.parametrize(
    ("when", "name", "exit_code", "step"),
    [
        ("at_1_1", "SIGTERM", 75, 1),
        ("at_1_3", "SIGINT", 130, 3),
        ("at_1_2", "SIGHUP", 75, 2),
        ("at_1_4", "SIGTERM", 75, 4),
        ("at_evaluation 4", "SIGTERM", 75, 4),
        ("at_2_2", "SIGINT", 130, 6),
    ],
)
def test_a_run_resumed_after_a_signal_is_bit_identical(uninterrupted, capsys, when, name, exit_code, step):
    assert run("mine", **{when: KILL.format(name)}) == exit_code
    assert steps_of("mine") == [step]
    assert (
        f"stopped and saved at step {step}, epoch {step // 5 + 1}; to continue, use: ddpkit run {folder_of('mine').absolute()}/config.toml --resume"
        in capsys.readouterr().err
    )

    assert run("mine", "--resume") == 0
    assert end_of("mine") == uninterrupted
    record = RunRecord(folder_of("mine"))
    assert [each["event"] for each in record.events] == ["start", "stop", "resume", "test", "finish"]
    assert record.events[2]["step"] == step
    assert record.summary["epoch"] == record.history[-1]["epoch"]


def test_a_run_interrupted_many_times_is_bit_identical(uninterrupted):
    for number, when in enumerate(("at_1_1", "at_1_2", "at_1_3", "at_evaluation 4", "at_2_1", "at_2_2", "at_2_3")):
        assert run("mine", *["--resume"] * (number > 0), **{when: KILL.format("SIGTERM")}) == 75

    assert run("mine", "--resume") == 0
    assert end_of("mine") == uninterrupted


@pytest.mark.parametrize(
    "meddling",
    [
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "signal.signal(signal.SIGTERM, lambda *_: None)",
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})",
        "import faulthandler; faulthandler.register(signal.SIGTERM)",
    ],
)
def test_a_plugin_cannot_keep_a_run_from_stopping(uninterrupted, meddling):
    assert run("mine", at_1_2=meddling, at_1_3=KILL.format("SIGTERM")) == 75
    assert steps_of("mine") == [3]

    assert run("mine", "--resume") == 0
    assert end_of("mine") == uninterrupted


def test_a_hangup_under_nohup_has_no_effect(digits):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # processes inherit it
    try:
        run_in_subprocess("mine", at_1_2=KILL.format("SIGHUP")).assert_done()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_plugin_that_blocks_signals_at_its_import_does_not_disable_the_launcher(digits, plugin_file):
    Path("blocker.py").write_text("import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n")
    files = ["--set", f"plugins.files=['{plugin_file}', '{Path('blocker.py').absolute()}']", "--set", "ddp.enabled=true"]
    order = "import time; Path('here').touch(); [time.sleep(0.1) for _ in range(100)]"
    Path("orders.json").write_text(json.dumps({"1.2": order}))
    command = [sys.executable, "-m", "ddpkit", "run", "digits.toml", "--nproc", "2", *files, *sets(run_id="mine")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not Path("here").exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 75


def test_a_signal_after_the_last_epoch_lets_the_run_finish(uninterrupted):
    assert run("mine", **{"at_end 2": KILL.format("SIGTERM")}) == 0
    assert run("other", *sets(valid__every=2), at_2_4=KILL.format("SIGTERM")) == 75
    assert run("other", *sets(valid__every=2), "--resume") == 0

    assert end_of("mine") == uninterrupted


def test_sigusr1_saves_and_a_stop_file_stops_the_run(uninterrupted):
    assert run("mine", *sets(train__save_recovery_keep=9), at_1_2=KILL.format("SIGUSR1"), at_1_3=KILL.format("SIGUSR1")) == 0
    assert steps_of("mine") == [8, 3, 2]
    assert end_of("mine") == uninterrupted

    stop = "import time; (run_folder := Path('runs/digits/stopped')).joinpath('STOP').touch(); time.sleep(0.25)"
    assert run("stopped", at_1_3=stop) == 75
    assert steps_of("stopped") == [3]
    assert not (folder_of("stopped") / "STOP").exists()
    assert run("stopped", "--resume") == 0
    assert end_of("stopped") == uninterrupted


def test_kernel_settings_apply_during_training(digits):
    said = "Path('said').write_text(f'{torch.get_float32_matmul_precision()} {torch.are_deterministic_algorithms_enabled()}')"

    assert run("mine", *sets(train__matmul_precision='"medium"', train__deterministic="true"), at_1_1=said) == 0

    assert Path("said").read_text() == "medium True"


@pytest.mark.parametrize(
    ("keys", "steps"),
    [
        ({}, [8]),
        ({"train__save_period": 1}, [8, 4]),
        ({"train__save_period": 0.5}, [8, 4]),
        ({"train__save_period": -1, "train__save_recovery_period": 1, "train__epoch": 3}, [12, 8]),
        ({"train__save_recovery_period": 0.25}, [8, 6]),
        ({"train__save_recovery_period": 0.5}, [8, 4]),
        ({"train__save_recovery_period": 0.01, "train__save_recovery_keep": 3}, [8, 7, 6]),
        ({"train__save_recovery_period": 0.25, "train__save_period": 1}, [8, 6, 4]),
        ({"train__save_recovery_seconds": 0.3}, [8, 3]),
    ],
)
def test_save_periods_decide_which_checkpoints_remain(digits, keys, steps):
    slow = {"at_1_3": "import time; time.sleep(0.4)"} if "train__save_recovery_seconds" in keys else {}

    assert run("mine", *sets(**keys), **slow) == 0

    assert steps_of("mine") == steps


def test_resuming_a_finished_run_trains_only_added_epochs(uninterrupted, capsys):
    before = {file: file.stat().st_mtime_ns for file in folder_of("alone").rglob("*") if file.is_file()}
    assert run("alone", "--resume") == 0
    assert "is already finished; there is nothing to do" in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in folder_of("alone").rglob("*") if file.is_file()} == before

    assert run("alone", "--resume", *sets(train__epoch=3)) == 0
    assert "train.epoch is 3, but was 2" in capsys.readouterr().err
    assert run("three", *sets(train__epoch=3)) == 0
    assert end_of("alone") == end_of("three")  # without a schedule the learning rate does not depend on the number of epochs
    changes = Store(folder_of("alone") / "checkpoints").newest().plain["run"]["changes"]
    assert changes == ["step 8, epoch 3: train.epoch is 3, but was 2"]


@pytest.mark.parametrize("policy", ["epoch", "step"])
def test_a_run_with_a_scheduler_of_timm_resumes_bit_identically(digits, policy):
    table = f"type = 'timm_cosine', update_policy = '{policy}', in_epochs = {str(policy == 'epoch').lower()}"
    options = sets(train__lr_scheduler=f"{{ {table}, warmup = 1, warmup_lr = 0.001 }}", train__epoch=3)
    assert run("alone", *options) == 0
    end = end_of("alone")
    for when in ("at_1_3", "at_end 2"):
        assert run("mine", *options, *["--resume"] * (when != "at_1_3"), **{when: KILL.format("SIGTERM")}) == 75

    assert run("mine", *options, "--resume") == 0

    assert end_of("mine") == end
    assert len({row["learning_rate"] for row in history_of("mine")}) == 3


def test_the_lr_schedule_follows_the_new_run_length(digits):
    cosine = sets(train__lr_scheduler="{type = 'cosine', update_policy = 'step'}")
    assert run("mine", *cosine) == 0
    assert run("mine", *cosine, "--resume", *sets(train__epoch=4)) == 0
    assert run("four", *cosine, *sets(train__epoch=4)) == 0

    rates = [[row["learning_rate"] for row in history_of(run_id)] for run_id in ("mine", "four")]
    assert rates[0][2:] == rates[1][2:]
    assert rates[0][1] < rates[1][1]


def test_resume_without_checkpoints_starts_a_run_but_rejects_a_path(digits, capsys):
    assert run("mine", "--resume") == 0
    assert "no run to resume was found; a new run starts at step 0" in capsys.readouterr().err
    Path("runs/digits/other").mkdir()
    assert main(["run", "digits.toml", "--resume", "runs/digits/other"]) == 2
    assert "--resume: " in (said := capsys.readouterr().err)
    assert "runs/digits/other contains no checkpoint; use a run folder" in said
    assert main(["run", "digits.toml", "--set", "model.continue_checkpoint='nowhere'"]) == 2
    assert "nowhere was not found; use a run folder" in capsys.readouterr().err


def test_resume_without_a_path_takes_the_newest_unfinished_run(uninterrupted, capsys):
    for run_id in ("older", "newer"):
        assert run(run_id, at_1_2=KILL.format("SIGTERM")) == 75
        time.sleep(0.02)
    assert run("finished") == 0

    Path("orders.json").unlink()
    assert main(["run", "digits.toml", "--resume"]) == 0
    assert end_of("newer") == uninterrupted
    assert main(["run", "digits.toml", "--resume", "runs/digits/older/checkpoints/step-000000000002"]) == 0
    assert end_of("older") == uninterrupted


def test_a_new_run_shows_how_to_resume_an_unfinished_one(digits, capsys):
    assert run("mine", at_1_2=KILL.format("SIGTERM")) == 75
    Path("orders.json").unlink()
    start = ["run", "digits.toml", "--limit-batches", "1", "--set", "train.epoch=1"]
    capsys.readouterr()

    assert main([*start, "--dry-run"]) == 0
    with lock.hold_lock(folder_of("mine")):  # as if it were still in progress
        assert main(start) == 0
    assert "is not finished" not in capsys.readouterr().err
    assert main(start) == 0
    command = f"ddpkit run digits.toml --set train.epoch=1 --limit-batches 1 --resume {folder_of('mine').absolute()}"
    assert (
        f"{folder_of('mine').absolute()} is not finished (0 of 2 epochs); a new run starts; to resume, use: {command}\n"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("place", ["run (1)", "other folder/实验", "-x", "a.b/c"])
def test_a_moved_run_folder_resumes_whatever_its_name(uninterrupted, place):
    assert run("mine", at_1_2=KILL.format("SIGTERM")) == 75
    moved = Path("moved") / place
    moved.parent.mkdir(parents=True)
    folder_of("mine").rename(moved)
    Path("orders.json").unlink()

    assert main(["run", "digits.toml", "--resume", str(moved)]) == 0
    assert not folder_of("mine").exists()
    shutil.move(moved, folder_of("mine"))
    assert end_of("mine") == uninterrupted


@pytest.mark.slow
def test_two_ranks_resume_in_a_moved_run_folder(digits):
    assert run("mine", at_1_2=KILL.format("SIGTERM")) == 75
    moved = Path("moved/run (1)")
    moved.parent.mkdir()
    folder_of("mine").rename(moved)

    run_in_subprocess("other", "--resume", str(moved), "--nproc", "2", "--set", "ddp.enabled=true").assert_done()

    assert (moved / "finished.json").exists()
    ddpkit("test", moved, cwd=Path.cwd()).assert_done()


@pytest.mark.parametrize("name", ["checkpoints", "config.toml", "logs", "run.lock", "logs/train.log"])
def test_resume_does_not_write_through_a_link(digits, capsys, name):
    assert run("mine", at_1_2=KILL.format("SIGTERM")) == 75
    (Path("elsewhere") / name).parent.mkdir(parents=True)
    if (folder_of("mine") / name).exists():
        (folder_of("mine") / name).rename(Path("elsewhere") / name)
    (folder_of("mine") / name).symlink_to(Path("elsewhere", name).absolute())
    before = {file: file.read_bytes() for file in Path("elsewhere").rglob("*") if file.is_file()}

    assert run("mine", "--resume") == 2

    assert f"/{name} is a link to " in capsys.readouterr().err
    assert {file: file.read_bytes() for file in Path("elsewhere").rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("key", ["continue_checkpoint", "continue_ext_checkpoint"])
def test_resuming_an_older_checkpoint_quarantines_newer_ones(uninterrupted, key):
    assert run("mine", *sets(train__save_period=1)) == 0
    assert main(["run", "digits.toml", "--set", "train.save_period=1", "--set", f"model.{key}='runs/digits/mine/checkpoints/step-000000000004'"]) == 0  # fmt: skip

    assert end_of("mine") == uninterrupted
    assert (folder_of("mine") / "checkpoints/.left-step-000000000008").is_dir()


def test_weight_files_roll_back_with_the_checkpoint(digits):
    keys = sets(train__save_period=1, output__save_interval=1, dataset__config__max_samples=300)
    assert run("mine", *keys) == 0
    losses = [row["valid/loss"] for row in history_of("mine")]
    assert losses[1] < losses[0]  # else this test shows nothing
    weights, first = folder_of("mine") / "weights", str(Store(folder_of("mine") / "checkpoints").folders()[1])
    still = sets(train__optimizer__learning_rate=0.0)

    assert run("mine", *keys, *still, "--resume", first, at_2_1=f"Path('there').write_text(str(os.listdir('{weights}')))") == 0

    assert "epoch-0001.safetensors" in (there := Path("there").read_text())
    assert "epoch-0002.safetensors" not in there
    assert (weights / "best.safetensors").read_bytes() == (weights / "epoch-0001.safetensors").read_bytes()


def test_resuming_an_older_checkpoint_reopens_a_finished_run(uninterrupted):
    assert run("mine", *sets(train__save_period=1)) == 0
    older = ["--resume", "runs/digits/mine/checkpoints/step-000000000004"]
    (folder_of("mine") / ".summary.json.4711.tmp").touch()  # of a process that was killed
    assert run("mine", *older, at_2_2=KILL.format("SIGTERM")) == 75
    Path("orders.json").unlink()

    assert main(["run", "digits.toml", "--resume"]) == 0
    assert end_of("mine") == uninterrupted
    assert not [*folder_of("mine").glob(".*")]


def test_resume_keeps_a_randomly_drawn_seed(digits):
    drawn = sets(seed=-1)
    assert run("mine", *drawn, at_1_2=KILL.format("SIGTERM")) == 75
    assert run("mine", *drawn, "--resume") == 0
    mine, seed = end_of("mine"), json.loads((folder_of("mine") / "environment.json").read_text())["seed"]

    assert run("alone", *sets(seed=seed)) == 0
    assert end_of("alone") == mine


def test_a_corrupt_checkpoint_falls_back_to_the_previous_one(uninterrupted, capsys, caplog):
    assert run("mine", *sets(train__save_recovery_period=0.01), at_1_3=KILL.format("SIGTERM")) == 75
    newest, _ = Store(folder_of("mine") / "checkpoints").folders()
    (newest / "model.safetensors").write_bytes(b"x" * (newest / "model.safetensors").stat().st_size)

    assert run("mine", "--resume", *sets(train__save_recovery_period=0.01)) == 0
    assert "renamed to '.bad-...' and not used: model.safetensors differs from what was written" in caplog.text
    assert end_of("mine") == uninterrupted

    (folder_of("mine") / "finished.json").unlink()
    for folder in Store(folder_of("mine") / "checkpoints").folders():
        (folder / "state.json").unlink()
    assert run("mine", "--resume") == 6
    assert "no checkpoint is valid; restore one from a backup" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"train__batch_size": 16}, "train.batch_size"),
        ({"seed": 4}, "seed"),
        ({"model__config__dropout": 0.4}, "model.config.dropout"),
        ({"train__optimizer__type": "'sgd'"}, "train.optimizer.type"),
        ({"dataset__config__max_samples": 50}, "dataset.config.max_samples"),
        ({"transform__ROTATION": "[10]"}, "transform.ROTATION"),
        ({"metrics": "['accuracy']"}, "metrics[1].type"),
        ({"train__ema_decay": 0.9}, "train.ema_decay"),
    ],
)
def test_resume_rejects_changed_config_keys(digits, capsys, keys, key):
    assert run("mine", at_1_2=KILL.format("SIGTERM")) == 75
    before = {
        file: file.stat().st_mtime_ns for file in folder_of("mine").rglob("*") if file.is_file() and file.name != "run.lock"
    }

    assert run("mine", "--resume", *sets(**keys)) == 2

    said = capsys.readouterr().err
    assert f"{key}: is " in said
    assert f"or add '--allow-drift {key}'" in said
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_resume_applies_soft_keys_and_ignores_free_keys(uninterrupted, capsys):
    assert run("mine", at_1_2=KILL.format("SIGTERM")) == 75
    free = sets(dataloader__num_workers=1, private__log__verbose="false", train__save_period=1)
    assert run("mine", "--resume", *free) == 0
    assert "and was" not in capsys.readouterr().err
    assert end_of("mine") == uninterrupted

    assert run("soft", at_1_2=KILL.format("SIGTERM")) == 75
    assert run("soft", "--resume", *sets(train__optimizer__learning_rate=0.002)) == 0
    assert "train.optimizer.learning_rate is 0.002, but was 0.01" in capsys.readouterr().err
    assert [row["learning_rate"] for row in history_of("soft")] == [0.002, 0.002]


def several_optimizers(rate=0.01, pattern="4.*"):
    hidden = f"{{name='head', match='{pattern}', type='adamw', learning_rate={rate}}}"
    return sets(
        train__optimizer=f"[{hidden}, {{name='rest', type='sgd', learning_rate=0.1, momentum=0.9, lr_scheduler='plateau'}}]"
    )


def test_a_stopped_run_with_several_optimizers_is_bit_identical(digits, capsys):
    assert run("alone", *several_optimizers()) == 0
    assert run("mine", *several_optimizers(), at_1_3=KILL.format("SIGTERM")) == 75
    shutil.copytree(folder_of("mine"), folder_of("soft"))

    assert run("mine", "--resume", *several_optimizers()) == 0
    mine, alone = end_of("mine"), end_of("alone")
    assert mine == alone

    capsys.readouterr()
    assert run("soft", "--resume", *several_optimizers(pattern="*.bias")) == 2
    assert 'train.optimizer[0].match: is "*.bias", but was "4.*" in the resumed run' in capsys.readouterr().err
    assert run("soft", "--resume", *several_optimizers(rate=0.002)) == 0
    assert "train.optimizer[0].learning_rate is 0.002, but was 0.01" in capsys.readouterr().err
    rates = [(row["learning_rate/head"], row["learning_rate/rest"]) for row in history_of("soft")]
    assert rates == [(0.002, 0.1), (0.002, 0.1)]


def test_allowed_drift_is_recorded_and_must_exist(digits, capsys):
    assert run("mine", at_1_2=KILL.format("SIGTERM")) == 75
    assert run("mine", "--resume", "--allow-drift", "seed") == 2
    assert "--allow-drift: 'seed' did not change since the checkpoint" in capsys.readouterr().err

    assert run("mine", "--resume", *sets(transform__ROTATION="[10]"), "--allow-drift", "transform") == 0
    changes = Store(folder_of("mine") / "checkpoints").newest().plain["run"]["changes"]
    assert changes == ["step 2, epoch 1: transform.ROTATION is [10], but was [20]"]


def test_resume_rejects_a_changed_dataset_before_writing(acme, tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for number in range(12):
        file = Path(f"data/{'ab'[number % 2]}/{number}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number).save(file)
    text = DIGITS.replace('"MNIST"', '"CustomDataset"\nroot_dir = "data"').replace("config = { max_samples = 60 }", "config = {}")
    text = text.replace("n_pixels = 784", "n_pixels = 192").replace("[0.13], [0.31]", "[0.1, 0.1, 0.1], [0.3, 0.3, 0.3]")
    Path("digits.toml").write_text('task = "digits"\n' + text.replace("train = 0.8, valid = 0.1", "train = 0.7, valid = 0.3"))
    assert main(["run", "digits.toml", "--set", "run_id=mine"]) == 0, capsys.readouterr().err
    Path("data/a/0.png").rename("data/a/00.png")
    before = {file: file.read_bytes() for file in folder_of("mine").rglob("*") if file.is_file() and file.name != "run.lock"}

    more = ["run", "digits.toml", "--set", "run_id=mine", "--set", "train.epoch=3", "--resume"]
    assert main(more) == 2
    err = capsys.readouterr().err
    assert "dataset: the samples differ from those of the resumed run: 1 sample is missing, such as 'a/0.png' (" in err
    assert {file: file.read_bytes() for file in before} == before

    assert main([*more, "--allow-drift", "dataset"]) == 0


def test_resume_reports_missing_and_changed_plugins(digits, plugin_file, capsys):
    assert run("mine", at_1_2=KILL.format("SIGTERM")) == 75
    plugin_file.write_text(PLUGIN + "\n# another version\n")
    assert run("mine", "--resume", at_1_4=KILL.format("SIGTERM")) == 75
    plugin_file.write_text(PLUGIN)
    assert "plugin meddler" in (said := capsys.readouterr().err)
    assert "has different code than at the start of the run" in said

    without = sets(plugins__files="[]", metrics="['accuracy']")
    assert run("mine", "--resume", *without) == 3
    assert "the run used plugin meddler" in capsys.readouterr().err


def test_an_unrestored_plugin_state_is_reported(digits, plugin_file):
    load_hook = "@hookimpl\ndef ddpkit_checkpoint_load(run, state):\n    SEEN.update(state)\n"
    assert load_hook in PLUGIN
    assert run("mine", at_1_2=KILL.format("SIGTERM")) == 75
    plugin_file.write_text(PLUGIN.replace(load_hook, ""))
    resumed = run_in_subprocess("mine", "--resume").assert_done()
    plugin_file.write_text(PLUGIN)
    assert "the saved state of plugin meddler is not restored" in resumed.stderr


def test_a_run_locked_by_another_process_is_rejected(digits, monkeypatch, capsys):
    assert run("mine", at_1_2=KILL.format("SIGTERM")) == 75
    monkeypatch.setattr(lock, "WAIT", 0.1)
    script = f"from pathlib import Path; from ddpkit.runs import lock; import time\nwith lock.hold_lock(Path({str(folder_of('mine'))!r})): print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        assert run("mine", "--resume") == 8
        assert f'locked by another process {{"pid": {holder.pid}' in capsys.readouterr().err
        holder.kill()
    assert run("mine", "--resume") == 0


def test_a_run_holds_its_lock_while_training(digits):
    enter = "import contextlib; from ddpkit.runs import lock\nwith contextlib.suppress(lock.RunLockedError), lock.hold_lock(run_folder, 0): Path('entered').touch()"
    enter = "run_folder = Path('runs/digits/mine'); " + enter
    assert run("mine", at_1_1=enter, at_1_2=KILL.format("SIGTERM")) == 75
    assert run("mine", "--resume", at_1_3=enter) == 0

    assert not Path("entered").exists()


def test_shared_locks_coexist_and_block_an_exclusive_lock(tmp_path):
    with (
        lock.hold_lock(tmp_path, shared=True),
        lock.hold_lock(tmp_path, 0, shared=True),
        pytest.raises(RunLockedError),
        lock.hold_lock(tmp_path, 0),
    ):
        pass


def test_a_full_disk_fails_the_run_only_at_the_last_save(uninterrupted, capsys):
    """A limit on file sizes simulates the full disk: checkpoints are larger than it, all other files are smaller."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({}, resource.RLIM_INFINITY))"
    rolling = sets(train__save_recovery_period=0.01)

    mine = run_in_subprocess(
        "mine", *rolling, at_1_1=limit.format(60_000), at_1_4=limit.format("resource.RLIM_INFINITY")
    ).assert_done()
    assert "step 1 could not be saved: [Errno 27] File too large; the previous checkpoint is kept" in mine.stderr
    assert end_of("mine") == uninterrupted

    for size, said in (
        (60_000, "full/checkpoints: step 8 could not be saved (see the warning above); the last step that was saved is "),
        (30_000, "full/weights: cannot be written: "),
    ):
        full = run_in_subprocess("full", *rolling, *["--resume"] * (size < 60_000), at_2_3=limit.format(size))
        assert (full.exit_code, said in full.stderr) == (6, True)
        assert steps_of("full")[0] in (5, 6)  # step 6 may still have been written in the background
    assert run("full", *rolling, "--resume") == 0
    assert end_of("full") == uninterrupted


def test_a_failed_save_on_stop_does_not_request_a_requeue(digits, capsys):
    import resource

    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY)); "
    try:
        assert run("mine", at_1_2=full + KILL.format("SIGTERM")) == 6
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert "step 2 could not be saved (see the warning above); no step was saved" in capsys.readouterr().err


def test_two_ranks_stop_together_resume_and_restart(digits):
    shards = ["--set", "ddp={enabled=true,virtual_shards=2}"]
    two = [*shards, "--nproc", "2"]
    assert run("alone", *shards, "--nproc", "1") == 0
    launcher = "os.kill(os.getppid(), signal.{})"

    stopped = run_in_subprocess("mine", *two, at_1_2=launcher.format("SIGTERM"))
    assert stopped.exit_code == 75, stopped.stderr
    assert "stopped and saved at step " in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert steps_of("mine")[0] == max(int(line.split(".")[1]) for line in Path("steps.txt").read_text().splitlines()[8:])

    first_only = "first = Path('failed'); new = not first.exists(); first.touch(); new and os._exit(3)"
    run_in_subprocess(
        "mine", *two, "--resume", "--max-restarts", "1", *sets(train__save_recovery_period=0.01), at_2_4=first_only
    ).assert_done()
    assert not [
        *(folder_of("mine") / "checkpoints").glob(".left-*")
    ]  # resumed from the newest checkpoint, not from where the command started

    mine, theirs = end_of("mine"), end_of("alone")
    assert {key: mine[key] for key in ("files", "weights", "history", "test")} == {
        key: theirs[key] for key in ("files", "weights", "history", "test")
    }


def test_a_second_signal_exits_at_once_and_keeps_checkpoints(digits):
    Path("orders.json").write_text(json.dumps({"1.3": "import time; Path('here').touch(); time.sleep(30)"}))
    command = [sys.executable, "-m", "ddpkit", "run", "digits.toml", *sets(run_id="mine", train__save_recovery_period=0.01)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not Path("here").exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        for _ in range(40):  # on a busy machine, two signals may arrive as one
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
                break
        assert process.returncode == 130  # it would sleep for longer
    assert steps_of("mine") == [2, 1]


def test_a_step_waits_for_the_staging_copy_of_the_last_save(uninterrupted):
    """The staging copy is slow, and the process exits right after the next step."""
    slowly = (
        "import time; from ddpkit.checkpoint.serialization import Staging; "
        "Staging.stage = lambda *given, real=Staging.stage, time=time: (time.sleep(0.2), real(*given))[1]"
    )
    rolling = sets(train__save_recovery_period=0.01)

    ended = run_in_subprocess("mine", *rolling, at_1_1=slowly, at_2_3="import time; time.sleep(0.5); os._exit(9)")

    assert (ended.exit_code, steps_of("mine")[0]) == (9, 6)
    assert run("mine", *rolling, "--resume") == 0
    assert end_of("mine") == uninterrupted


def test_a_signal_during_a_plugin_import_ends_the_run_cleanly(digits, capsys):
    slow = digits.parent / "slow.py"
    slow.write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(1)\n")

    assert run("mine", *sets(plugins__files=f"['{slow}']", metrics="['accuracy']")) == 75
    assert "stopped by SIGTERM before or after training" in capsys.readouterr().err
