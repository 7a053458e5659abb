"""Saving a checkpoint is atomic, whatever happens during the save, and corruption is detected."""

import collections
import contextlib
import errno
import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ddpkit.checkpoint import manifest
from ddpkit.checkpoint.async_saver import Saver
from ddpkit.checkpoint.serialization import Staging, load_checkpoint, split_tensors
from ddpkit.checkpoint.store import Store
from ddpkit.errors import CheckpointError, RunLockedError
from ddpkit.runs import lock
from ddpkit.runs.files import Files, replace_file
from tests.helpers.disk import Disk, restore

OPERATIONS = [name for name in vars(Files) if not name.startswith("_")]


def state(step):
    """Everything that a checkpoint may hold; the values of its tensors depend on the step."""
    return {
        "model": {"layer.weight": torch.full((3, 4), float(step)), "count": torch.tensor(step)},
        "optimizer": {
            "state": {"layer.weight": {"exp_avg": torch.full((3, 4), step / 2, dtype=torch.float64)}},
            "groups": [{"lr": 0.1}],
        },
        "progress": {"step": step, "learning_rate": float("nan")},
    }


def staged(content):
    return Staging().stage(*split_tensors(content))


def save(store, step, *, is_permanent=False):
    return store.save(step, staged(state(step)), is_permanent=is_permanent)


class InterceptedFiles(Files):
    """Calls `happen` with the number, name and arguments of each file operation before it is executed."""

    def __init__(self, happen):
        self.happen, self.done = happen, 0

    def __getattribute__(self, name):
        method = super().__getattribute__(name)
        if name not in OPERATIONS:
            return method

        def counted(*arguments):
            number, self.done = self.done, self.done + 1
            replaced = self.happen(number, name, arguments)
            return method(*arguments) if replaced is None else replaced

        return counted


def assert_same(mine, theirs):
    """Both are bit-identical."""
    assert json.dumps(mine, default=lambda tensor: [str(tensor.dtype), tensor.tolist()]) == json.dumps(
        theirs, default=lambda tensor: [str(tensor.dtype), tensor.tolist()]
    )


def saved_steps(store):
    return [int(folder.name[5:]) for folder in store.folders()]


@pytest.fixture
def store(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return Store(tmp_path / "checkpoints")


def test_a_saved_state_loads_bit_identical(store):
    tricky = {
        "model": {
            "half": torch.tensor([1.5, float("inf")], dtype=torch.bfloat16),
            "flags": torch.tensor([True, False]),
            "transposed": torch.arange(6.0).reshape(2, 3).T,
            "empty": torch.zeros(0, 3),
            "nothing": {},
        },
        "schedule": {
            "milestones": collections.Counter({30: 1, 60: 2}),
            "pairs": {1: (0.9, 0.999), 2: (None, [True])},
            "numbers": [float("nan"), -float("inf"), 0.1, 2**70, -0.0],
            "$odd": "a key with our mark",
            "text": 'größer \u0000 "quoted"',
        },
    }
    back = load_checkpoint(store.open(store.save(7, staged(tricky))))

    assert repr(back["schedule"]) == repr(tricky["schedule"])
    assert back["model"]["nothing"] == {}
    for name in ("half", "flags", "transposed", "empty"):
        assert back["model"][name].dtype == tricky["model"][name].dtype
        assert torch.equal(back["model"][name], tricky["model"][name])


@pytest.mark.parametrize("value", [object(), {"deep": [torch.nn.Linear(1, 1)]}, {1, 2}, torch.zeros(1, dtype=torch.complex64)])
def test_an_unsupported_value_is_named_by_its_path(value):
    with pytest.raises(TypeError, match=r"^plugin\.x"):
        staged({"plugin": {"x": value}})


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("before", [(), (1,), (1, 2), (1, 2, 3)])
def test_a_kill_during_a_save_leaves_the_old_or_new_state(tmp_path, before, torn):
    """With 0 to 3 checkpoints before the save; step 1 is permanent."""
    first = tmp_path / "first"
    first.mkdir()
    for step in before:
        save(Store(first), step, is_permanent=step == 1)
    counting = InterceptedFiles(lambda *_: None)
    shutil.copytree(first, tmp_path / "counted")
    save(Store(tmp_path / "counted", counting), 9)
    assert counting.done > 20

    for point in range(counting.done):
        folder = tmp_path / str(point)
        shutil.copytree(first, folder)

        def die(number, name, arguments, point=point):
            if number == point:
                if torn and name == "write":
                    os.write(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os._exit(1)

        child = os.fork()
        if not child:
            save(Store(folder, InterceptedFiles(die)), 9)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1

        store = Store(folder)
        found = store.newest()
        assert (found.step if found else None) in ({None, 9} if not before else {before[-1], 9})
        if found:
            assert_same(load_checkpoint(found), state(found.step))
        store.clean_up(found.step if found else None)
        assert not before or 1 in saved_steps(store)
        save(store, 10)
        assert store.newest().step == 10
        assert not [name for name in names(folder) if name.startswith((".tmp", ".trash"))]


def power_loss_states(folder, act):
    """All states of a folder that a power loss may leave: during `act(files)`, and after it."""
    disk, during = Disk(folder), set()

    def happen(_number, name, arguments):
        during.update(disk.possible_contents())
        getattr(disk, name)(*arguments)

    act(InterceptedFiles(happen))
    return during, disk.possible_contents()


@pytest.mark.parametrize(
    ("before", "possible", "at_last"),
    [
        ((), {(), (9,)}, {(9,)}),
        ((1,), {(1,), (9, 1)}, {(9, 1)}),
        ((1, 2), {(2, 1), (9, 2, 1), (9, 2)}, {(9, 2)}),
    ],
)
def test_a_power_loss_leaves_only_complete_checkpoints(store, tmp_path, before, possible, at_last):
    for step in before:
        save(store, step)

    during, after = power_loss_states(store.folder, lambda files: save(Store(store.folder, files), 9))

    assert len(during) > 20
    steps = {}
    for number, held in enumerate(during | after):
        restore(held, tmp_path / str(number))
        there = Store(tmp_path / str(number))
        checkpoints = [there.open(folder) for folder in there.folders()]
        steps[held] = tuple(each.step for each in checkpoints)
        for each in checkpoints:
            assert_same(load_checkpoint(each), state(each.step))
    assert {steps[held] for held in during} == possible
    assert {steps[held] for held in after} == at_last


def test_a_permanent_mark_survives_a_power_loss(store):
    save(store, 4)

    _, after = power_loss_states(store.folder, lambda files: save(Store(store.folder, files), 4, is_permanent=True))

    assert all("kept" in dict(dict(held)["step-000000000004"]) for held in after)


def test_replace_file_is_atomic_under_power_loss(tmp_path):
    (tmp_path / "x").write_bytes(b"old")

    during, after = power_loss_states(tmp_path, lambda files: replace_file(files, tmp_path / "x", [b"newer"]))

    assert {dict(held)["x"] for held in during} == {b"old", b"newer"}
    assert {dict(held)["x"] for held in after} == {b"newer"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EMFILE])
@pytest.mark.parametrize("sticky", [False, True])
def test_a_disk_error_is_logged_and_keeps_older_checkpoints(tmp_path, caplog, number, sticky):
    first = tmp_path / "first"
    first.mkdir()
    for step in (1, 2):
        save(Store(first), step)
    counting = InterceptedFiles(lambda *_: None)
    shutil.copytree(first, tmp_path / "counted")
    save(Store(tmp_path / "counted", counting), 9)

    for point in range(counting.done):
        folder = tmp_path / str(point)
        shutil.copytree(first, folder)

        def fail(at, _name, _arguments, point=point):
            if at == point or (sticky and at > point):
                raise OSError(number, os.strerror(number))

        caplog.clear()
        saver = Saver(Store(folder, InterceptedFiles(fail)))
        saver.save(9, state(9), {})
        saver.wait()
        saver.close()

        assert os.strerror(number) in caplog.text
        found = Store(folder).newest()
        assert found.step in ({9} if saver.saved == 9 else {2, 9})
        assert_same(load_checkpoint(found), state(found.step))


def test_a_failed_final_save_raises(store):
    def full(_number, name, _arguments):
        if name == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    saver = Saver(Store(store.folder, InterceptedFiles(full)))
    saver.save(5, state(5), {})

    with pytest.raises(CheckpointError, match="step 5 could not be saved"):
        saver.finish(5)
    saver.close()
    assert CheckpointError.exit_code == 6


def test_short_writes_are_completed(store):
    def short(_number, name, arguments):
        return os.write(arguments[0], arguments[1][:5]) if name == "write" else None

    save(Store(store.folder, InterceptedFiles(short)), 3)

    assert_same(load_checkpoint(store.newest()), state(3))


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def files_of(folder):
    return [folder / name for name in names(folder) if name != "kept"]


def damaged(folder, change):
    """Flip one bit of a file."""
    file = change.choice(files_of(folder))
    data = bytearray(file.read_bytes())
    where = change.randrange(len(data))
    data[where] ^= 1 << change.randrange(8)
    file.write_bytes(data)


def cut(folder, change):
    file = change.choice(files_of(folder))
    file.write_bytes(file.read_bytes()[: change.randrange(file.stat().st_size)])


def longer(folder, change):
    with change.choice(files_of(folder)).open("ab") as file:
        file.write(b" ")


def gone(folder, change):
    change.choice(files_of(folder)).unlink()


@pytest.mark.parametrize(("harm", "times"), [(damaged, 300), (cut, 100), (longer, 20), (gone, 20)])
def test_a_corrupt_checkpoint_is_quarantined_for_the_previous_one(tmp_path, caplog, harm, times):
    whole = tmp_path / "whole"
    whole.mkdir()
    for step in (1, 2):
        save(Store(whole), step)

    for number in range(times):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        harm(folder / f"step-{2:012d}", random.Random(number))
        caplog.clear()

        assert_same(load_checkpoint(Store(folder).newest()), state(1))
        assert "step-000000000002 is corrupt; it is renamed to '.bad-...' and not used" in caplog.text
        assert saved_steps(Store(folder)) == [1]
        shutil.rmtree(folder)


def test_all_corrupt_checkpoints_are_listed_and_kept(store):
    for step in (1, 2):
        (save(store, step) / "state.json").write_text("{}")

    with pytest.raises(
        CheckpointError, match=r"(?s)step-000000000002: state.json has 2 bytes.*step-000000000001: .*no checkpoint is valid"
    ):
        store.newest()
    assert saved_steps(store) == [2, 1]


def rewrite_manifest(folder, **changes):
    content = {**manifest.read_manifest(folder), **changes}
    (folder / manifest.NAME).write_bytes(manifest.canonical_json(content))


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda folder: (folder / manifest.NAME).write_text("[" * 100_000), "is not a manifest"),
        (lambda folder: (folder / manifest.NAME).write_text("[]"), "is not a manifest"),
        (lambda folder: (folder / manifest.NAME).write_text("null"), "is not a manifest"),
        (lambda folder: (folder / manifest.NAME).write_bytes(b" " * (1 << 21)), "is not a regular file, or is too large"),
        (lambda folder: rewrite_manifest(folder, format=99), "format 99"),
        (lambda folder: rewrite_manifest(folder, step=8), "it was saved at step 8"),
        (lambda folder: rewrite_manifest(folder, files={"../../x": {"size": 0, "sha256": ""}}), "is not a valid file name"),
        (lambda folder: rewrite_manifest(folder, files={"/etc/hostname": {"size": 0, "sha256": ""}}), "is not a valid file name"),
        (
            lambda folder: ((folder / "state.json").rename(folder / "x"), (folder / "state.json").symlink_to(folder / "x")),
            "state.json: ",
        ),
        (lambda folder: ((folder / "state.json").unlink(), (folder / "state.json").mkdir()), "state.json"),
    ],
)
def test_a_forged_checkpoint_is_rejected(store, harm, why):
    folder = save(store, 7)
    harm(folder)

    with pytest.raises(manifest.CorruptError, match=why):
        store.open(folder)


def test_a_file_of_another_checkpoint_is_detected(store):
    first, second = save(store, 1), save(store, 2)
    shutil.copy(first / "model.safetensors", second / "model.safetensors")

    assert store.newest().step == 1


def test_retention_keeps_the_newest_two_and_permanent_ones(store):
    for step in range(1, 8):
        save(store, step, is_permanent=step in (2, 5))

    assert saved_steps(store) == [7, 6, 5, 2]


def test_saving_a_step_again_replaces_it_and_keeps_its_mark(store):
    save(store, 4, is_permanent=True)
    store.save(4, staged(state(40)))
    for step in (5, 6, 7):
        save(store, step)

    assert saved_steps(store) == [7, 6, 4]
    assert_same(load_checkpoint(store.open(store.folder / f"step-{4:012d}")), state(40))
    assert len(names(store.folder)) == 3


@pytest.mark.parametrize("number", [None, errno.EIO])
def test_an_interrupted_replacement_leaves_one_checkpoint(tmp_path, number):
    first = tmp_path / "first"
    first.mkdir()
    save(Store(first), 9)
    counting = InterceptedFiles(lambda *_: None)
    shutil.copytree(first, tmp_path / "counted")
    Store(tmp_path / "counted", counting).save(9, staged(state(90)))

    for point in range(counting.done):
        folder = tmp_path / str(point)
        shutil.copytree(first, folder)

        def stop(at, _name, _arguments, point=point):
            if at == point and not number:
                os._exit(0)
            if at == point:
                raise OSError(number, os.strerror(number))

        child = os.fork()
        if not child:
            with contextlib.suppress(OSError):
                Store(folder, InterceptedFiles(stop)).save(9, staged(state(90)))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

        found = Store(folder).newest()
        assert load_checkpoint(found)["progress"]["step"] in (9, 90)
        Store(folder).clean_up(9)
        assert names(folder) == [f"step-{9:012d}"]


def test_newest_is_chosen_by_step_not_by_mtime(store):
    for step in (1, 2):
        save(store, step)
    os.utime(store.folder / "step-000000000001", (2e9, 2e9))

    assert store.newest().step == 2


def test_unrelated_folders_are_left_alone(store):
    for name in ("step-abc", "step--1", "step-" + "9" * 40, "notes"):
        (store.folder / name).mkdir()

    assert store.newest() is None
    store.clean_up()
    save(store, 1)
    assert len(names(store.folder)) == 5


def test_checkpoints_newer_than_the_resumed_one_are_quarantined(store):
    for step in (1, 2, 3):
        save(store, step, is_permanent=True)

    store.clean_up(1)
    save(store, 2)
    assert saved_steps(store) == [2, 1]
    assert [name for name in names(store.folder) if name.startswith(".left")] == [
        ".left-step-000000000002", ".left-step-000000000003",
    ]  # fmt: skip


def test_an_unwritable_disk_is_found_before_training(tmp_path):
    def read_only(_number, name, _arguments):
        if name == "create":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with pytest.raises(CheckpointError, match="cannot be written: Read-only file system; set 'output_dir'"):
        Store(tmp_path, InterceptedFiles(read_only)).check_writable(1)
    with pytest.raises(CheckpointError, match="free disk space"):
        Store(tmp_path).check_writable(1 << 60)
    Store(tmp_path / "new").check_writable(1)
    assert names(tmp_path / "new") == []


def test_no_pickle_is_written_or_read(store):
    seen = []
    armed = [True]
    sys.addaudithook(lambda event, _: seen.append(event) if armed[0] and event.startswith("pickle.") else None)

    saver = Saver(store)
    saver.save(1, state(1), {})
    saver.close()
    load_checkpoint(store.newest())
    armed[0] = False

    assert seen == []
    for file in files_of(store.folders()[0]):
        assert json.loads(file.read_bytes()) if file.suffix == ".json" else load_file(file)


def test_changes_after_a_save_do_not_reach_the_file(store):
    saver = Saver(store)
    for step in range(1, 30):
        made = state(step)
        saver.save(step, made, {})
        saver.staged.wait()
        for tensor in (*made["model"].values(), made["optimizer"]["state"]["layer.weight"]["exp_avg"]):
            tensor.fill_(-1)
        saver.wait()
        assert_same(load_checkpoint(store.newest()), state(step))
    saver.close()


def test_an_attached_file_is_saved_as_of_the_save_call(store, tmp_path):
    best = tmp_path / "best.safetensors"
    best.write_bytes(b"old")
    saver = Saver(store)
    saver._thread.submit(time.sleep, 0.1)  # the save starts late

    saver.save(1, state(1), {best.name: best})
    best.unlink()
    saver.close()

    assert store.newest().files[best.name] == b"old"


def test_overlapping_saves_do_not_mix(store):
    saver = Saver(Store(store.folder, InterceptedFiles(lambda _, name, __: time.sleep(0.02) if name == "create" else None)))

    for step in (1, 2):
        saver.save(step, state(step), {})
    saver.close()

    for folder in store.folders():
        found = store.open(folder)
        assert_same(load_checkpoint(found), state(found.step))
    assert saved_steps(store) == [2, 1]


@pytest.mark.parametrize("look", [Saver.raise_pending_error, Saver.wait])
def test_an_error_in_the_saver_thread_is_raised_in_the_loop(store, look):
    def stumble(*_):
        raise RuntimeError("a bug")

    saver = Saver(Store(store.folder, InterceptedFiles(stumble)))
    saver.save(1, state(1), {})
    while not saver._writing.done():
        time.sleep(0.01)

    with pytest.raises(RuntimeError, match="a bug"):
        look(saver)
    saver.close()


def test_saves_leak_no_descriptors_or_threads(store):
    def held():
        return len(names(Path("/proc/self/fd"))), len(names(Path("/proc/self/task")))

    saver = Saver(store)
    saver.save(1, state(1), {})
    saver.wait()
    before = held()
    for step in range(2, 60):
        saver.save(step, state(step), {})
    saver.wait()

    assert held() == before
    assert len(names(store.folder)) == 2
    saver.close()


def hold_run_lock(folder, pipe):
    """In a child process: take the lock, report whether it was free, and wait to be killed."""
    try:
        with lock.hold_lock(folder, wait=0):
            os.write(pipe, b"1")
            time.sleep(20)
    except RunLockedError:
        os.write(pipe, b"0")
    os._exit(0)


def test_only_one_of_many_processes_gets_the_run_lock(tmp_path):
    reader, writer = os.pipe()
    children = []
    for _ in range(20):
        child = os.fork()
        if not child:
            hold_run_lock(tmp_path, writer)
        children.append(child)
    said = b""
    while len(said) < 20:
        said += os.read(reader, 20)
    assert sorted(said) == sorted(b"0" * 19 + b"1")

    with (
        pytest.raises(RunLockedError, match=r'locked by another process \{"pid": \d+') as raised,
        lock.hold_lock(tmp_path, wait=0.1),
    ):
        pass
    assert raised.value.exit_code == 8

    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)
    with lock.hold_lock(tmp_path, wait=1):
        pass
    os.close(reader)
    os.close(writer)
