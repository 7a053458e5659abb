"""`inspect` and `verify` describe and check checkpoints without importing torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ddpkit.cli.main import main
from tests.helpers.tables import table_rows


@pytest.fixture
def trained(blobs, capsys):
    """The folder of a run with two checkpoints."""
    assert main(["run", blobs.name, "--set", "run_id=mine", "--set", "train.save_period=1"]) == 0
    capsys.readouterr()
    return Path("runs/blobs/mine")


def test_inspect_shows_progress_and_checkpoint_contents(trained, capsys):
    assert main(["inspect", str(trained)]) == 0

    said = capsys.readouterr().out
    assert said.startswith(
        "checkpoint: runs/blobs/mine/checkpoints/step-000000000008\ntask: blobs\nmodel: tinynet\nstep: 8\nepochs: 2 of 2\n"
    )
    assert "data: train 32, valid 8, test 7\n" in said
    assert ["model.safetensors", "0.0", "4", "1074"] in table_rows(said)

    assert main(["inspect", str(trained / "checkpoints/step-000000000004"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["step"], facts["epochs"], facts["on"]["ranks"]) == (4, "1 of 2", 1)
    assert {each["name"]: each["n_numbers"] for each in facts["files"]}["optimizer.safetensors"] == 1074


def test_inspect_accepts_a_task_folder_and_a_weights_file(trained, capsys):
    assert main(["inspect", "runs/blobs"]) == 0
    assert capsys.readouterr().out.startswith("checkpoint: runs/blobs/mine/checkpoints/step-000000000008\n")

    assert main(["inspect", str(trained / "weights/best.safetensors")]) == 0
    assert capsys.readouterr().out == (
        f"weights: {trained}/weights/best.safetensors\nrun: {trained.absolute()}\ntask: blobs\nmodel: tinynet\n\n"
        "FILE              MB   TENSORS  NUMBERS\nbest.safetensors  0.0  4        1074\n"
    )
    Path("none.safetensors").write_text("nothing")
    assert main(["inspect", "none.safetensors"]) == 2
    assert "PATH: none.safetensors cannot be read as safetensors: " in capsys.readouterr().err


def test_verify_reports_a_corrupt_checkpoint_and_keeps_it(trained, capsys):
    assert main(["verify", str(trained)]) == 0
    assert [row[1] for row in table_rows(capsys.readouterr().out)] == ["STATUS", "good", "good"]

    file = trained / "checkpoints/step-000000000004/optimizer.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert main(["verify", str(trained), "--json"]) == 6
    assert json.loads(capsys.readouterr().out) == {
        "step-000000000008": None,
        "step-000000000004": "optimizer.safetensors differs from what was written (SHA-256)",
    }
    assert file.exists()


def test_missing_and_corrupt_checkpoints_give_error_messages(trained, tmp_path, capsys):
    for command in ("inspect", "verify"):
        assert main([command, str(tmp_path / "elsewhere")]) == 2
        assert "elsewhere contains no checkpoint; pass a run folder" in capsys.readouterr().err
    (trained / "checkpoints/step-000000000008/state.json").unlink()
    assert main(["inspect", str(trained)]) == 6
    assert "step-000000000008 is corrupt: state.json: No such file or directory" in capsys.readouterr().err


def test_inspect_and_verify_do_not_import_torch(trained):
    script = "import sys; from ddpkit.cli.main import main; main(sys.argv[1:]); assert 'torch' not in sys.modules"
    for command in ("inspect", "verify"):
        subprocess.run([sys.executable, "-c", script, command, str(trained)], check=True, stdout=subprocess.DEVNULL)
