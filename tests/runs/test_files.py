"""Files of a run folder are replaced as a whole."""

import subprocess
import sys

import pytest

from ddpkit.runs.files import Files, replace_file

OTHER = "import sys, pathlib; from ddpkit.runs.files import *; replace_file(Files(), pathlib.Path(sys.argv[1]), [b'other'])"


def test_two_processes_replace_a_file_at_once(tmp_path):
    def chunks():
        yield b"first, "
        subprocess.run([sys.executable, "-c", OTHER, tmp_path / "x.json"], check=True)
        assert (tmp_path / "x.json").read_bytes() == b"other"
        yield b"second"

    replace_file(Files(), tmp_path / "x.json", chunks())

    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("x.json", b"first, second")]


def test_a_failed_replacement_leaves_the_old_file(tmp_path):
    (tmp_path / "x.json").write_text("old")

    class FullDisk(Files):
        def sync(self, _file):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        replace_file(FullDisk(), tmp_path / "x.json", [b"new"])

    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("x.json", "old")]
