"""`explain` shows the origin of each value and the meaning of each name."""

import json
from pathlib import Path

import pytest
import tomli_w

from ddpkit.cli.explain import explain_config
from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.config.check import validate
from ddpkit.plugins import manager
from ddpkit.plugins.signatures import UNREAD
from ddpkit.testing import ddpkit

ROOT = Path(__file__).parents[2]


def explain(capsys, *arguments):
    assert main(["explain", *arguments, "--json"]) == 0
    return {line["key"]: line for line in json.loads(capsys.readouterr().out)}


def test_each_value_shows_its_origin(blobs, capsys):
    blobs.with_name("ref.yaml").write_text("config:\n  noise: 0.5\n")
    blobs.with_name("over.toml").write_text('extends = "blobs.toml"\n[dataset]\nref = "ref.yaml"\nbase_dir = "data"\n')

    lines = explain(capsys, "over.toml", "--set", "train.epoch=5")

    assert [lines[key]["origin"].rpartition("/")[2] for key in (
        "train.epoch", "train.batch_size", "train.save_period", "dataset.ref", "dataset.config.noise", "dataset.root_dir",
        "metrics[0].type", "metrics[0].name", "postprocess.type", "train.optimizer.momentum",
    )] == [
        "--set 1", "blobs.toml:26:14", "default", "over.toml:3:7", "ref.yaml:2:10", "over.toml:4:12",
        "blobs.toml:4:12", "default", "blobs.toml:5:15", "blobs.toml:28:61",
    ]  # fmt: skip
    assert (lines["train.epoch"]["value"], lines["dataset.config.noise"]["value"]) == (5, 0.5)


def test_each_name_shows_its_plugin_and_source_line(blobs, capsys):
    lines = explain(capsys, blobs.name, "--set", "transform.ROTATION=[3]")

    assert lines["model.name"]["meaning"].startswith("acme/tinynet of acme-parts 1.2.0, ")
    assert lines["model.name"]["meaning"].endswith("acme/parts.py:11")
    assert lines["transform.ROTATION"]["meaning"].startswith("builtin/ROTATION of ddpkit 0.1.0, ")
    assert lines["train.optimizer.type"]["meaning"].startswith("builtin/sgd of ddpkit 0.1.0, ")


def test_component_defaults_are_shown(blobs, capsys):
    lines = explain(capsys, blobs.name)

    assert lines["model.config.hidden"] == {
        "key": "model.config.hidden",
        "value": 16,
        "origin": "default of acme/tinynet",
        "meaning": "",
    }
    assert lines["train.optimizer.nesterov"]["origin"] == "default of builtin/sgd"


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.toml")), ids=lambda file: file.stem)
def test_each_listed_key_can_be_written_with_its_value(file, tmp_path):
    config, plugins = loading.load(file), manager.load()
    lines = explain_config(config, plugins)
    written = tmp_path / "written.toml"
    written.write_text(tomli_w.dumps(as_tables({line.path: line.value for line in lines if line.value not in (None, UNREAD)})))

    assert validate(loading.read(written), plugins, 2).problems == ()
    assert not {"base_dir", "continue_ext_checkpoint"} & {line.path[-1] for line in lines}


def as_tables(values):
    """Nested tables and lists of values by key path."""
    if list(values) == [()]:
        return values[()]
    inner = {key: as_tables({path[1:]: value for path, value in values.items() if path[0] == key}) for key, *_ in values}
    return list(inner.values()) if all(isinstance(key, int) for key in inner) else inner


def test_one_key_is_shown_with_its_help(blobs, capsys):
    assert main(["explain", blobs.name, "train.epoch"]) == 0

    assert capsys.readouterr().out == (
        "KEY          VALUE  FROM\n"
        "train.epoch  2      blobs.toml:27:9\n  Passes over the training split.\n  训练轮数。\n  an integer, at least 1 (epochs)\n"
    )


def test_one_table_is_shown_and_an_unknown_key_is_rejected(blobs, capsys):
    assert set(explain(capsys, blobs.name, "valid")) == {"valid.batch_size", "valid.every"}

    assert main(["explain", blobs.name, "train.batch"]) == 2
    assert capsys.readouterr().err == "KEY: key 'train.batch' was not found in the config; did you mean 'train.batch_size'?\n"


@pytest.mark.parametrize("verb", ["check", "explain"])
def test_an_invalid_file_is_not_explained(blobs, verb):
    outcome = ddpkit(verb, blobs.name, "--set", "train.epohc=1", cwd=blobs.parent)

    assert (outcome.exit_code, outcome.stderr) == (2, "--set 1: train.epohc: unknown key, did you mean 'epoch'?\n")
