"""A checkpoint is there whole or not at all, whatever happens while it is written, and damage is found."""

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
from ddpkit.checkpoint.serialization import Staging, load, split
from ddpkit.checkpoint.store import Store
from ddpkit.errors import CheckpointError, HeldError
from ddpkit.runs import lock
from ddpkit.runs.files import Files, replace_file
from tests.helpers.disk import Disk, put_back

OPERATIONS = [name for name in vars(Files) if not name.startswith("_")]


def state(step):
    """Everything that a checkpoint may hold; its tensors tell the step."""
    return {
        "model": {"layer.weight": torch.full((3, 4), float(step)), "count": torch.tensor(step)},
        "optimizer": {
            "state": {"layer.weight": {"exp_avg": torch.full((3, 4), step / 2, dtype=torch.float64)}},
            "groups": [{"lr": 0.1}],
        },
        "progress": {"step": step, "learning_rate": float("nan")},
    }


def staged(content):
    return Staging().stage(*split(content))


def save(store, step, *, is_kept=False):
    return store.save(step, staged(state(step)), is_kept=is_kept)


class Interposed(Files):
    """Calls `happen` with the number of each operation before it is done."""

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
    """Bit for bit."""
    assert json.dumps(mine, default=lambda tensor: [str(tensor.dtype), tensor.tolist()]) == json.dumps(
        theirs, default=lambda tensor: [str(tensor.dtype), tensor.tolist()]
    )


def steps_there(store):
    return [int(folder.name[5:]) for folder in store.folders()]


@pytest.fixture
def store(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return Store(tmp_path / "checkpoints")


def test_a_state_comes_back_to_the_bit(store):
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
    back = load(store.open(store.save(7, staged(tricky))))

    assert repr(back["schedule"]) == repr(tricky["schedule"])
    assert back["model"]["nothing"] == {}
    for name in ("half", "flags", "transposed", "empty"):
        assert back["model"][name].dtype == tricky["model"][name].dtype
        assert torch.equal(back["model"][name], tricky["model"][name])


@pytest.mark.parametrize("value", [object(), {"deep": [torch.nn.Linear(1, 1)]}, {1, 2}, torch.zeros(1, dtype=torch.complex64)])
def test_what_a_checkpoint_cannot_hold_is_named(value):
    with pytest.raises(TypeError, match=r"^plugin\.x"):
        staged({"plugin": {"x": value}})


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("before", [(), (1,), (1, 2), (1, 2, 3)])
def test_a_kill_at_any_operation_leaves_the_old_state_or_the_new(tmp_path, before, torn):
    """First save, second, and with one or two older ones to remove; the step before the last is kept."""
    first = tmp_path / "first"
    first.mkdir()
    for step in before:
        save(Store(first), step, is_kept=step == 1)
    counting = Interposed(lambda *_: None)
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
            save(Store(folder, Interposed(die)), 9)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1

        store = Store(folder)
        found = store.newest()
        assert (found.step if found else None) in ({None, 9} if not before else {before[-1], 9})
        if found:
            assert_same(load(found), state(found.step))
        store.tidy(found.step if found else None)
        assert not before or 1 in steps_there(store)
        save(store, 10)
        assert store.newest().step == 10
        assert not [name for name in names(folder) if name.startswith((".tmp", ".trash"))]


def power_cuts(folder, act):
    """All that a folder may be when the power goes while `act(files)` works on it, and all that it may be after that."""
    disk, during = Disk(folder), set()

    def happen(_number, name, arguments):
        during.update(disk.remains())
        getattr(disk, name)(*arguments)

    act(Interposed(happen))
    return during, disk.remains()


@pytest.mark.parametrize(
    ("before", "possible", "at_last"),
    [
        ((), {(), (9,)}, {(9,)}),
        ((1,), {(1,), (9, 1)}, {(9, 1)}),
        ((1, 2), {(2, 1), (9, 2, 1), (9, 2)}, {(9, 2)}),
    ],
)
def test_after_a_power_cut_all_that_is_there_is_whole_and_what_was_saved_stays(store, tmp_path, before, possible, at_last):
    for step in before:
        save(store, step)

    during, after = power_cuts(store.folder, lambda files: save(Store(store.folder, files), 9))

    assert len(during) > 20
    steps = {}
    for number, held in enumerate(during | after):
        put_back(held, tmp_path / str(number))
        there = Store(tmp_path / str(number))
        checkpoints = [there.open(folder) for folder in there.folders()]
        steps[held] = tuple(each.step for each in checkpoints)
        for each in checkpoints:
            assert_same(load(each), state(each.step))
    assert {steps[held] for held in during} == possible
    assert {steps[held] for held in after} == at_last


def test_the_mark_of_a_checkpoint_that_stays_outlives_a_power_cut(store):
    save(store, 4)

    _, after = power_cuts(store.folder, lambda files: save(Store(store.folder, files), 4, is_kept=True))

    assert all("kept" in dict(dict(held)["step-000000000004"]) for held in after)


def test_a_file_that_is_replaced_is_the_old_one_or_the_new_whenever_the_power_goes(tmp_path):
    (tmp_path / "x").write_bytes(b"old")

    during, after = power_cuts(tmp_path, lambda files: replace_file(files, tmp_path / "x", [b"newer"]))

    assert {dict(held)["x"] for held in during} == {b"old", b"newer"}
    assert {dict(held)["x"] for held in after} == {b"newer"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EMFILE])
@pytest.mark.parametrize("sticky", [False, True])
def test_an_error_of_the_disk_is_never_silent_and_costs_no_older_one(tmp_path, caplog, number, sticky):
    first = tmp_path / "first"
    first.mkdir()
    for step in (1, 2):
        save(Store(first), step)
    counting = Interposed(lambda *_: None)
    shutil.copytree(first, tmp_path / "counted")
    save(Store(tmp_path / "counted", counting), 9)

    for point in range(counting.done):
        folder = tmp_path / str(point)
        shutil.copytree(first, folder)

        def fail(at, _name, _arguments, point=point):
            if at == point or (sticky and at > point):
                raise OSError(number, os.strerror(number))

        caplog.clear()
        saver = Saver(Store(folder, Interposed(fail)))
        saver.save(9, state(9), {})
        saver.wait()
        saver.close()

        assert os.strerror(number) in caplog.text
        found = Store(folder).newest()
        assert found.step in ({9} if saver.saved == 9 else {2, 9})
        assert_same(load(found), state(found.step))


def test_a_last_save_that_fails_ends_with_an_error(store):
    def full(_number, name, _arguments):
        if name == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    saver = Saver(Store(store.folder, Interposed(full)))
    saver.save(5, state(5), {})

    with pytest.raises(CheckpointError, match="step 5 is not saved"):
        saver.finish(5)
    saver.close()
    assert CheckpointError.exit_code == 6


def test_short_writes_are_gone_on_with(store):
    def short(_number, name, arguments):
        return os.write(arguments[0], arguments[1][:5]) if name == "write" else None

    save(Store(store.folder, Interposed(short)), 3)

    assert_same(load(store.newest()), state(3))


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def files_of(folder):
    return [folder / name for name in names(folder) if name != "kept"]


def damaged(folder, change):
    """Change one file's bytes; returns its name."""
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
def test_damage_is_found_and_the_checkpoint_before_is_used(tmp_path, caplog, harm, times):
    whole = tmp_path / "whole"
    whole.mkdir()
    for step in (1, 2):
        save(Store(whole), step)

    for number in range(times):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        harm(folder / f"step-{2:012d}", random.Random(number))
        caplog.clear()

        assert_same(load(Store(folder).newest()), state(1))
        assert "step-000000000002 is damaged, and set aside" in caplog.text
        assert steps_there(Store(folder)) == [1]
        shutil.rmtree(folder)


def test_when_all_are_damaged_they_are_listed_and_left_alone(store):
    for step in (1, 2):
        (save(store, step) / "state.json").write_text("{}")

    with pytest.raises(
        CheckpointError, match=r"(?s)step-000000000002: state.json has 2 bytes.*step-000000000001: .*no checkpoint is good"
    ):
        store.newest()
    assert steps_there(store) == [2, 1]


def rewritten(folder, **changes):
    content = {**manifest.read(folder), **changes}
    (folder / manifest.NAME).write_bytes(manifest.canonical(content))


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda folder: (folder / manifest.NAME).write_text("[" * 100_000), "is no manifest"),
        (lambda folder: (folder / manifest.NAME).write_text("[]"), "is no manifest"),
        (lambda folder: (folder / manifest.NAME).write_text("null"), "is no manifest"),
        (lambda folder: (folder / manifest.NAME).write_bytes(b" " * (1 << 21)), "is no file of a checkpoint"),
        (lambda folder: rewritten(folder, format=99), "format 99"),
        (lambda folder: rewritten(folder, step=8), "it holds step 8"),
        (lambda folder: rewritten(folder, files={"../../x": {"size": 0, "sha256": ""}}), "is no name"),
        (lambda folder: rewritten(folder, files={"/etc/hostname": {"size": 0, "sha256": ""}}), "is no name"),
        (
            lambda folder: ((folder / "state.json").rename(folder / "x"), (folder / "state.json").symlink_to(folder / "x")),
            "state.json: ",
        ),
        (lambda folder: ((folder / "state.json").unlink(), (folder / "state.json").mkdir()), "state.json"),
    ],
)
def test_what_somebody_made_up_is_refused(store, harm, why):
    folder = save(store, 7)
    harm(folder)

    with pytest.raises(manifest.DamagedError, match=why):
        store.open(folder)


def test_files_of_two_checkpoints_do_not_mix(store):
    first, second = save(store, 1), save(store, 2)
    shutil.copy(first / "model.safetensors", second / "model.safetensors")

    assert store.newest().step == 1


def test_the_newest_two_stay_and_all_that_are_kept(store):
    for step in range(1, 8):
        save(store, step, is_kept=step in (2, 5))

    assert steps_there(store) == [7, 6, 5, 2]


def test_a_step_that_is_saved_again_gives_way_and_stays_kept(store):
    save(store, 4, is_kept=True)
    store.save(4, staged(state(40)))
    for step in (5, 6, 7):
        save(store, step)

    assert steps_there(store) == [7, 6, 4]
    assert_same(load(store.open(store.folder / f"step-{4:012d}")), state(40))
    assert len(names(store.folder)) == 3


@pytest.mark.parametrize("number", [None, errno.EIO])
def test_a_kill_or_an_error_while_a_step_gives_way_leaves_one_of_the_two(tmp_path, number):
    first = tmp_path / "first"
    first.mkdir()
    save(Store(first), 9)
    counting = Interposed(lambda *_: None)
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
                Store(folder, Interposed(stop)).save(9, staged(state(90)))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

        found = Store(folder).newest()
        assert load(found)["progress"]["step"] in (9, 90)
        Store(folder).tidy(9)
        assert names(folder) == [f"step-{9:012d}"]


def test_the_newest_is_that_of_the_last_step_whatever_the_clock_said(store):
    for step in (1, 2):
        save(store, step)
    os.utime(store.folder / "step-000000000001", (2e9, 2e9))

    assert store.newest().step == 2


def test_names_of_others_are_left_alone(store):
    for name in ("step-abc", "step--1", "step-" + "9" * 40, "notes"):
        (store.folder / name).mkdir()

    assert store.newest() is None
    store.tidy()
    save(store, 1)
    assert len(names(store.folder)) == 5


def test_what_is_newer_than_where_a_run_goes_on_is_set_aside(store):
    for step in (1, 2, 3):
        save(store, step, is_kept=True)

    store.tidy(1)
    save(store, 2)
    assert steps_there(store) == [2, 1]
    assert [name for name in names(store.folder) if name.startswith(".left")] == [
        ".left-step-000000000002", ".left-step-000000000003",
    ]  # fmt: skip


def test_a_disk_that_refuses_is_found_before_training(tmp_path):
    def read_only(_number, name, _arguments):
        if name == "create":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with pytest.raises(CheckpointError, match="cannot be written: Read-only file system; choose another 'output_dir'"):
        Store(tmp_path, Interposed(read_only)).probe(1)
    with pytest.raises(CheckpointError, match="make room"):
        Store(tmp_path).probe(1 << 60)
    Store(tmp_path / "new").probe(1)
    assert names(tmp_path / "new") == []


def test_no_pickle_is_made_or_read(store):
    seen = []
    armed = [True]
    sys.addaudithook(lambda event, _: seen.append(event) if armed[0] and event.startswith("pickle.") else None)

    saver = Saver(store)
    saver.save(1, state(1), {})
    saver.close()
    load(store.newest())
    armed[0] = False

    assert seen == []
    for file in files_of(store.folders()[0]):
        assert json.loads(file.read_bytes()) if file.suffix == ".json" else load_file(file)


def test_what_changes_after_a_save_does_not_reach_the_file(store):
    saver = Saver(store)
    for step in range(1, 30):
        made = state(step)
        saver.save(step, made, {})
        saver.copied.wait()
        for tensor in (*made["model"].values(), made["optimizer"]["state"]["layer.weight"]["exp_avg"]):
            tensor.fill_(-1)
        saver.wait()
        assert_same(load(store.newest()), state(step))
    saver.close()


def test_a_file_is_saved_as_it_was_when_the_save_began(store, tmp_path):
    best = tmp_path / "best.safetensors"
    best.write_bytes(b"old")
    saver = Saver(store)
    saver._thread.submit(time.sleep, 0.1)  # it begins late

    saver.save(1, state(1), {best.name: best})
    best.unlink()
    saver.close()

    assert store.newest().files[best.name] == b"old"


def test_a_save_that_begins_while_another_is_written_does_not_change_it(store):
    saver = Saver(Store(store.folder, Interposed(lambda _, name, __: time.sleep(0.02) if name == "create" else None)))

    for step in (1, 2):
        saver.save(step, state(step), {})
    saver.close()

    for folder in store.folders():
        found = store.open(folder)
        assert_same(load(found), state(found.step))
    assert steps_there(store) == [2, 1]


@pytest.mark.parametrize("look", [Saver.surface, Saver.wait])
def test_a_bug_in_the_thread_is_raised_in_the_loop(store, look):
    def stumble(*_):
        raise RuntimeError("a bug")

    saver = Saver(Store(store.folder, Interposed(stumble)))
    saver.save(1, state(1), {})
    while not saver._writing.done():
        time.sleep(0.01)

    with pytest.raises(RuntimeError, match="a bug"):
        look(saver)
    saver.close()


def test_saves_leave_nothing_behind(store):
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


def hold(folder, pipe):
    """In a child: take the lock, tell, and wait to be ended."""
    try:
        with lock.held(folder, wait=0):
            os.write(pipe, b"1")
            time.sleep(20)
    except HeldError:
        os.write(pipe, b"0")
    os._exit(0)


def test_of_many_that_start_at_once_one_holds_the_run_until_it_is_killed(tmp_path):
    reader, writer = os.pipe()
    children = []
    for _ in range(20):
        child = os.fork()
        if not child:
            hold(tmp_path, writer)
        children.append(child)
    said = b""
    while len(said) < 20:
        said += os.read(reader, 20)
    assert sorted(said) == sorted(b"0" * 19 + b"1")

    with pytest.raises(HeldError, match=r'is held by another process, \{"pid": \d+') as raised, lock.held(tmp_path, wait=0.1):
        pass
    assert raised.value.exit_code == 8

    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)
    with lock.held(tmp_path, wait=1):
        pass
    os.close(reader)
    os.close(writer)
