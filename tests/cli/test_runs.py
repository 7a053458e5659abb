"""`ddpkit runs` shows all runs of an output folder, whatever state they are in."""

import json
import subprocess
import sys

import pytest

from ddpkit.cli.main import main
from ddpkit.runs.lock import hold_lock
from tests.helpers.small_runs import write_small_run
from tests.helpers.tables import table_rows


def list_as_json(folder, capsys):
    assert main(["runs", str(folder), "--json"]) == 0
    return {run["id"]: run for run in json.loads(capsys.readouterr().out)}


def test_each_run_has_a_state(tmp_path, capsys):
    for name in ("ended", "saved", "saving", "unsaved", "tested"):
        write_small_run(tmp_path / "digits" / name)
    (tmp_path / "digits/ended/finished.json").write_text("{}")
    (tmp_path / "digits/ended/checkpoints/step-000000000012").mkdir(parents=True)
    (tmp_path / "digits/saved/checkpoints/step-000000000012").mkdir(parents=True)
    (tmp_path / "digits/saving/checkpoints/.tmp-step-000000000012").mkdir(parents=True)
    (tmp_path / "digits/unsaved/run.lock").touch()

    with hold_lock(tmp_path / "digits/tested"):
        found = list_as_json(tmp_path, capsys)

    states = {"ended": "finished", "saved": "resumable", "saving": "stopped", "unsaved": "stopped", "tested": "running"}
    assert {name: run["state"] for name, run in found.items()} == states


def test_a_run_has_its_best_value_epochs_age_and_size(tmp_path, capsys, monkeypatch):
    folder = write_small_run(tmp_path / "runs/digits/a")
    (folder / "weights").mkdir()
    (folder / "weights/best.safetensors").write_bytes(bytes(3_000_000))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    monkeypatch.chdir(tmp_path)

    run = list_as_json("runs", capsys)["a"]

    assert run.pop("age") > 1e6
    assert run == {
        "task": "digits",
        "id": "a",
        "folder": str(folder),
        "state": "stopped",
        "epoch": 3,
        "epochs": 3,
        "best_column": "valid/loss",
        "best_value": 0.25,
        "best_epoch": 2,
        "started": "2026-03-01T10:15:00+00:00",
        "size": size,
        "error": None,
    }
    assert main(["runs"]) == 0
    header, (task, name, state, best, epochs, _, shown) = table_rows(capsys.readouterr().out)
    assert header == ["TASK", "RUN", "STATE", "BEST", "EPOCHS", "AGE", "SIZE"]
    assert (task, name, state, best, epochs, shown) == ("digits", "a", "stopped", "valid/loss 0.2500", "3/3", "3.0 MB")


def test_runs_are_sorted_by_task_then_by_start(tmp_path, capsys):
    for task, name, year in (("b", "x", 2025), ("a", "y", 2026), ("a", "z", 2024), ("a", "w", 2025)):
        write_small_run(tmp_path / task / name, started=f"{year}-03-01T10:15:00+00:00")

    assert list(list_as_json(tmp_path, capsys)) == ["z", "w", "y", "x"]


def test_incomplete_and_damaged_folders_do_not_break_the_list(tmp_path, capsys):
    for name in ("new", "old", "torn", "wrong"):
        write_small_run(tmp_path / "digits" / name, losses=() if name == "new" else (0.5,))
    (tmp_path / "digits/old/summary.json").unlink()
    (tmp_path / "digits/torn/summary.json").write_text('{"epoch": 1, "epo')
    (tmp_path / "digits/wrong/summary.json").write_text('{"epoch": 1, "epochs": 3, "started": 7, "best": {}}')
    (tmp_path / "digits/created/weights").mkdir(parents=True)
    (tmp_path / "digits/copied").mkdir()
    (tmp_path / "digits/copied/config.toml").touch()
    (tmp_path / "digits/notes.txt").touch()
    (tmp_path / ".cache/images").mkdir(parents=True)

    found = list_as_json(tmp_path, capsys)

    assert set(found) == {"new", "old", "torn", "wrong"}
    assert {name for name, run in found.items() if run["error"]} == {"torn", "wrong"}
    assert (found["new"]["epoch"], found["new"]["best_value"]) == (0, None)
    assert (found["old"]["epoch"], found["old"]["epochs"], found["old"]["best_value"]) == (1, None, None)
    assert main(["runs", str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 5
    assert "digits/torn/summary.json: is damaged: JSONDecodeError" in output.err


@pytest.mark.parametrize(
    ("folder", "code", "message"),
    [
        ("none", 2, "DIR: none is not a folder; pass the 'output_dir' of your runs"),
        (".", 0, ". contains no runs; pass the 'output_dir' of your runs"),
    ],
)
def test_a_folder_without_runs_is_reported(tmp_path, monkeypatch, capsys, folder, code, message):
    monkeypatch.chdir(tmp_path)

    assert main(["runs", folder]) == code

    output = capsys.readouterr()
    assert (output.out, output.err) == ("", f"{message}\n")


def test_names_cannot_change_the_terminal(tmp_path, capsys):
    write_small_run(tmp_path / "\x1b[2J" / "a\nb")

    main(["runs", str(tmp_path)])

    assert table_rows(capsys.readouterr().out)[1][:2] == [r"\u001b[2J", "a b"]


def test_runs_and_compare_do_not_import_torch(tmp_path):
    runs = [str(write_small_run(tmp_path / "digits" / name)) for name in "ab"]
    code = f"import sys; from ddpkit.cli.main import main; main(['runs', {str(tmp_path)!r}]), main(['compare', *{runs}])"
    check = "assert not {'torch', 'numpy', 'jinja2'} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", f"{code}; {check}"], check=True, capture_output=True, cwd=tmp_path)
