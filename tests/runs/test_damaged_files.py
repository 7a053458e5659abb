"""A damaged file in a run folder gives one message that names it, never a traceback."""

import itertools
import shutil
from pathlib import Path

import pytest

from ddpkit.cli.main import main
from tests.helpers.configs import BLOBS

READERS = {
    "config.toml": ["test", "RUN"],
    "plugins.json": ["test", "RUN"],
    "finished.json": ["run", "x.toml", "--resume"],
    "history.jsonl": ["test", "RUN"],
    "split.json": ["test", "RUN"],
    "model.json": ["export", "RUN", "--format", "torchscript"],
    "test_metrics.json": ["run", "x.toml", "--resume"],
    "weights/best.safetensors": ["test", "RUN"],
}
"""File -> a command that reads it."""
DAMAGE = {
    "wrong values": lambda _: b'{"train": 3, "epoch": [], "inputs": 7, "used": 1}',
    "truncated": lambda content: content[: len(content) * 2 // 3],
    "not text": lambda _: b"\xff\x00{",
    "another type": lambda _: b"[7]",
}


@pytest.fixture(scope="module")
def finished(acme, tmp_path_factory):
    """A folder with a config and its finished run; tests must not change it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "x.toml").write_text('run_id = "a"\n' + BLOBS.replace('output_dir = "runs"', f'output_dir = "{folder}/runs"'))
    assert main(["run", str(folder / "x.toml")]) == 0
    return folder


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *itertools.product(READERS, ["truncated", "not text", "another type"]),
        *((name, "wrong values") for name in ("plugins.json", "finished.json", "split.json", "model.json")),
    ],
)
def test_a_damaged_file_is_named(finished, tmp_path, monkeypatch, capsys, name, damage):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished / "runs", "runs")
    text = (finished / "x.toml").read_text().replace(str(finished), str(tmp_path))
    Path("x.toml").write_text(text)
    file = Path("runs/blobs/a") / name
    file.write_bytes(DAMAGE[damage](file.read_bytes()))

    code = main([part.replace("RUN", "runs/blobs/a") for part in READERS[name]])

    assert code == 2
    assert Path(name).name in capsys.readouterr().err
