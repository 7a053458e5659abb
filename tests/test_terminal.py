"""Unsafe names are escaped, and a closed or full terminal never ends a command."""

import csv
import json
import os
import pty
import subprocess
import sys

import pytest

from ddpkit.cli.main import main
from ddpkit.errors import ConfigError, Diagnostic
from ddpkit.terminal import escape
from tests.helpers.configs import IMAGES

COMMAND = [sys.executable, "-P", "-m", "ddpkit"]
EVIL = "cat\x1b[2J\x07\x9b31m\r\n2026 ERROR forged\u202e\u2028\udc80"
SAFE = r"cat\u001b[2J\u0007\u009b31m\r\n2026 ERROR forged\u202e\u2028\udc80"


def test_unsafe_characters_are_escaped_and_others_stay():
    assert escape(EVIL) == SAFE
    assert escape("a\tb\n", keep="\n") == "a\\tb\n"
    assert escape("Ärzté 实验 👩‍⚕️ 　") == "Ärzté 实验 👩‍⚕️ 　"
    assert json.loads(escape(json.dumps({"a": EVIL}, ensure_ascii=False), keep="\n")) == {"a": EVIL}


def test_a_diagnostic_is_one_safe_line():
    assert str(Diagnostic(EVIL, ("model", EVIL), EVIL)).count("\n") == 0
    assert str(ConfigError([Diagnostic("x", (), EVIL), Diagnostic("y", (), "b")])) == f"x: {SAFE}\ny: b"


def closed_pipe():
    """Return the writing end of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    return write


def full_device():
    return os.open("/dev/full", os.O_WRONLY)


def closed_terminal():
    """Return a terminal whose window was closed."""
    main, window = pty.openpty()
    os.close(main)
    return window


def test_a_reader_that_is_slow_does_not_end_a_command(tmp_path):
    read, write = os.pipe()
    os.set_blocking(write, False)
    code = "import sys\nfrom ddpkit.terminal import guard_streams\nwith guard_streams():\n    for _ in range(9999): print('x' * 99, file=sys.stderr)"

    done = subprocess.run([sys.executable, "-c", code], stderr=write, timeout=60, check=False)

    os.close(read)
    os.close(write)
    assert done.returncode == 0


BROKEN = pytest.mark.parametrize("broken", [closed_pipe, full_device, closed_terminal], ids=lambda broken: broken.__name__)


@pytest.mark.parametrize(("out", "err"), [(closed_pipe, full_device), (closed_terminal, closed_terminal)])
def test_a_run_finishes_without_a_terminal(blobs, out, err):
    streams = [out(), err()]
    done = subprocess.run([*COMMAND, "run", blobs.name], stdout=streams[0], stderr=streams[1], timeout=100, check=False)
    for stream in streams:
        os.close(stream)

    (run,) = (blobs.parent / "runs/blobs").iterdir()
    assert done.returncode == 0
    assert json.loads((run / "finished.json").read_text())["epoch"] == 2
    assert "| 2/2 " in next((run / "logs").iterdir()).read_text()


@BROKEN
@pytest.mark.parametrize(
    "arguments", [["list", "model"], ["check", "blobs.toml"], ["check", "nothing.toml"], ["--help"]], ids=str
)
def test_other_commands_end_without_a_traceback(blobs, broken, arguments):
    for name in ("stdout", "stderr"):
        stream, other = broken(), {"stdout": "stderr", "stderr": "stdout"}[name]
        done = subprocess.run(
            [*COMMAND, *arguments], **{name: stream, other: subprocess.PIPE}, text=True, timeout=60, check=False
        )
        os.close(stream)
        assert done.returncode == (2 if "nothing.toml" in arguments else 0)
        assert not {"Traceback", "Exception ignored"}.intersection((done.stderr or "").splitlines())


def test_a_closed_stream_is_not_replaced_by_a_file_of_the_run(blobs):
    line = " ".join([*COMMAND, "run", blobs.name, "<&- >&- 2>&-"])

    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=100, check=False)

    (run,) = (blobs.parent / "runs/blobs").iterdir()
    assert (done.returncode, "Traceback" in done.stdout + done.stderr) == (0, False)
    assert len((run / "history.jsonl").read_text().splitlines()) == 2
    assert all(json.loads(line) for line in (run / "history.jsonl").read_text().splitlines())


def test_names_do_not_reach_terminal_log_or_tables_raw(acme, tmp_path):
    from PIL import Image

    from ddpkit.testing import run_toml

    names = ["a\x1b[2J", "b\n2026-01-01 ERROR forged", "c\rd", "e\x9b31m"]
    for name in names:
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            Image.new("L", (4, 4), 40 * number).save(tmp_path / "data" / name / f"{number}.png")

    outcome = run_toml(IMAGES.replace("N_CLASSES", "4") + FOLDERS, tmp_path).assert_done()

    (log,) = (outcome.folder / "logs").iterdir()
    for text in (outcome.stdout, outcome.stderr, log.read_text()):
        assert not set(text).intersection("\x1b\x9b\r")
        assert "\n2026-01-01 ERROR" not in text
    assert r"b\n2026-01-01 ERROR forged" in outcome.stderr
    with (outcome.folder / "test_metrics_per_class.csv").open(newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == names


FOLDERS = """
[dataset]
name = "CustomDataset"
root_dir = "data"
config = { mode = "L" }
split = { train = 0.6, valid = 0.2, test = 0.2 }
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["doctr"], "ddpkit: error: no command is called 'doctr'; did you mean 'doctor'?\n"),
        (["runs", "--jsno"], "ddpkit runs: error: unrecognized arguments: --jsno\n"),
    ],
)
def test_a_misspelt_command_or_option_is_named_with_its_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(message)
