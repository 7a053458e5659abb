"""Run hooks have parameters, add columns to the history, and may end a run."""

import csv
import json

import pytest

from ddpkit import run
from ddpkit.cli.main import main
from ddpkit.config.plugin_params import is_name_of
from ddpkit.errors import DdpkitError
from ddpkit.plugins import manager
from ddpkit.runs import history
from ddpkit.testing import ddpkit

HOOKS = """\
import os
from ddpkit import hookimpl

@hookimpl
def ddpkit_run_start(run, *, ends_at: int = 0, note: str):
    (run.folder / f"note-{run.rank}").write_text(f"{note} {ends_at}")

@hookimpl
def ddpkit_step_end(run, epoch, step, *, ends_at: int = 0, asks: int = 0):
    if epoch == ends_at and step == 2 and run.rank == asks and not os.path.exists("silent"):
        run.stop()
    if os.path.exists("kill") and (epoch, step) == (ends_at, 3):
        os.remove("kill")
        os.kill(os.getpid(), 15)

@hookimpl
def ddpkit_epoch_end(run, row, *, factors: list[float] = ()):
    given = {f"scaled_{number}": row["epoch"] * each for number, each in enumerate(factors)}
    return given if row["epoch"] > 1 else None
"""


def plugin_file(blobs):
    """File of a plugin; each test has its own name, because Python imports a module once."""
    return blobs.with_name(f"watch_{blobs.parent.name}.py")


@pytest.fixture
def hooked(blobs):
    """Config whose plugin requires a parameter."""
    plugin_file(blobs).write_text(HOOKS)
    text = blobs.read_text().replace("epoch = 2", "epoch = 3")
    name = plugin_file(blobs).stem
    blobs.write_text(f'{text}\n[plugins]\nfiles = ["{name}.py"]\n\n[plugins.config.{name}]\nnote = "hello"\n')
    return blobs


def table_of(folder):
    with (folder / history.CSV).open(newline="") as file:
        return list(csv.reader(file))


def test_run_hooks_get_their_parameters_and_add_columns(hooked):
    result = run(hooked.name, {"run_id": "one", f"plugins.config.{plugin_file(hooked).stem}.factors": [2, 0.5]})

    assert (result.folder / "note-0").read_text() == "hello 0"
    assert [row.get("scaled_0") for row in result.history] == [None, 4, 6]
    header, *rows = table_of(result.folder)
    assert header[-2:] == ["scaled_0", "scaled_1"]
    assert [row[-2:] for row in rows] == [["", ""], ["4.0", "1.0"], ["6.0", "1.5"]]


WRONG = {
    "unknown": (
        "plugins.config.watch.note_=1",
        "plugins.config.watch.note_: plugin 'watch' has no such parameter, did you mean 'note'?",
    ),
    "type": ("plugins.config.watch.ends_at='x'", "plugins.config.watch.ends_at: expected an integer, got 'x'"),
    "name": ("plugins.config.witch.note=1", "plugins.config.witch: no plugin is called 'witch', choose from: watch"),
    "disabled": (
        "plugins.config.acme.note=1",
        "plugins.config.acme: plugin 'acme' is not enabled, so its run hooks are not called; add enable = [\"acme\"] to [plugins]",
    ),
    "missing": (
        "plugins.config={}",
        "plugins: plugin 'watch' requires the key 'note'; set it in the table [plugins.config.watch]",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_parameter_is_reported_before_a_run(hooked, capsys, case):
    option, message = (text.replace("watch", plugin_file(hooked).stem) for text in WRONG[case])
    if case == "missing":
        hooked.write_text(hooked.read_text().replace('note = "hello"', ""))

    assert main(["check", hooked.name, "--set", option]) == 2
    shown = capsys.readouterr()
    assert message in shown.out + shown.err


def test_a_plugin_without_parameters_has_no_table(hooked, capsys):
    plugin_file(hooked).write_text("from ddpkit import hookimpl\n@hookimpl\ndef ddpkit_run_end(run, error): pass\n")

    assert main(["check", hooked.name]) == 2
    shown = capsys.readouterr()
    assert f"the run hooks of plugin '{plugin_file(hooked).stem}' have no parameters; remove this table" in shown.out + shown.err


def test_a_plugin_that_cannot_be_loaded_gives_a_warning(hooked, capsys):
    plugin_file(hooked).write_text("from ddpkit import hookimpl\n@hookimpl\ndef ddpkit_epoch_end(run, row, target): pass\n")
    hooked.write_text(hooked.read_text().partition("[plugins.config")[0])

    assert main(["check", hooked.name]) == 0
    shown = capsys.readouterr()
    assert (
        "has the status 'invalid' and is not used: ValueError: ddpkit_epoch_end is not called with 'target'; write"
        in shown.out + shown.err
    )


EPOCH_END = "from ddpkit import hookimpl\n@hookimpl\ndef ddpkit_epoch_end(run, row):\n"


@pytest.fixture
def epoch_end(blobs):
    """Function that runs a config with a hook `ddpkit_epoch_end` that consists of a line."""

    def run_with(line, **values):
        plugin_file(blobs).write_text(f"{EPOCH_END}    {line}\n")
        return run(blobs.name, {"plugins.files": [plugin_file(blobs).name], **values})

    return run_with


RETURNS = {
    "return {'epoch': 3}": ": ddpkit_epoch_end returned the column 'epoch', which the history already has; return only",
    "return [1]": ": ddpkit_epoch_end must return None or a dict of new columns; got list",
    "return {'mine': 'x'}": ": ddpkit_epoch_end must return numbers by name; got 'mine': str; use float",
}


@pytest.mark.parametrize("line", RETURNS)
def test_a_wrong_column_names_the_plugin(epoch_end, line):
    with pytest.raises(DdpkitError) as caught:
        epoch_end(line)

    assert RETURNS[line] in str(caught.value)


def test_effects_that_are_lost_are_reported_once(epoch_end, capsys):
    line = "row['mine'] = 1.0; run.model.get_parameter('1.weight').requires_grad_(True)"
    result = epoch_end(line, **{"model.freeze": ["1.weight"]})
    shown = capsys.readouterr().err

    assert all("mine" not in row for row in result.history)
    assert shown.count(" changed mine in its copy of the row, which has no effect; return new columns from ddpkit") == 1
    assert shown.count(" unfroze parameters that no optimizer has, so they are not trained: 1.weight; ") == 1


def test_a_hook_gets_several_optimizers_by_name(epoch_end, capsys):
    line = "return {name: group['lr'] for name, each in run.optimizers.items() for group in each.param_groups}"
    tables = [
        {"name": "a", "match": "1.*", "type": "sgd", "learning_rate": 0.1},
        {"name": "b", "type": "adam", "learning_rate": 0.2},
    ]
    result = epoch_end(f"assert run.optimizer is run.optimizers['a']; {line}", **{"train.optimizer": tables, "train.epoch": 1})

    assert (result.history[0]["a"], result.history[0]["b"]) == (0.1, 0.2)
    assert "unfroze" not in capsys.readouterr().err


def test_an_error_in_a_hook_names_hook_and_plugin(epoch_end):
    with pytest.raises(ZeroDivisionError) as caught:
        epoch_end("1 / 0")

    assert caught.value.__notes__[0].startswith("run hook 'ddpkit_epoch_end' (watch_")


def test_a_hook_of_one_rank_ends_the_run_on_all(hooked, capsys):
    table = f"plugins.config.{plugin_file(hooked).stem}"
    options = ["--nproc", "2", "--set", f"{table}.ends_at=1", "--set", f"{table}.asks=1"]
    done = ddpkit("run", hooked.name, "--set", "run_id=ended", *options, cwd=hooked.parent)
    folder = hooked.parent / "runs/blobs/ended"

    assert done.exit_code == 0, done.stderr
    assert "stopped early after epoch 1 of 3: a run hook asked for it by run.stop()" in done.stderr
    assert [row["epoch"] for row in history.read_rows(folder)] == [1]
    assert (folder / "test_metrics.json").exists()
    assert json.loads((folder / "finished.json").read_text())["is_over"]
    assert main(["run", hooked.name, "--resume", "--set", "run_id=ended", *options]) == 0
    assert "is already finished" in capsys.readouterr().err


def test_a_request_to_end_survives_a_stop(hooked):
    table = f"plugins.config.{plugin_file(hooked).stem}"
    values = {"run_id": "killed", f"{table}.ends_at": 2, f"{table}.factors": [0.1]}
    options = [f"--set={key}={json.dumps(value)}" for key, value in values.items()]
    hooked.with_name("kill").touch()

    assert main(["run", hooked.name, *options]) == 75
    hooked.with_name("silent").touch()
    assert main(["run", hooked.name, "--resume", *options]) == 0
    folder = hooked.parent / "runs/blobs/killed"
    assert [row.get("scaled_0") for row in history.read_rows(folder)] == [None, 0.2]
    assert [len(row) for row in table_of(folder)] == [len(table_of(folder)[0])] * 3


def test_hooks_of_a_plugin_are_found_by_any_of_its_names(acme):
    plugin = next(each for each in manager.load().plugins if each.name.startswith("acme") and each.status == "ok")

    assert all(is_name_of(name, plugin) for name in ("acme", plugin.name, "acme-parts", "Acme_Parts"))
