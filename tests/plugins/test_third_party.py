"""A third-party package can add every kind of component, and does not affect runs that do not use it."""

import json
import os
import subprocess
import sys

import pytest

from ddpkit import run
from ddpkit.cli.main import main
from ddpkit.testing import Outcome, ddpkit, run_toml
from tests.helpers.configs import BLOBS
from tests.helpers.tables import table_rows

EVERY = """\
task = "every"
device = "cpu"
metrics = ["{0}wrong"]
postprocess = "{0}sharpened"

[ddp]
nproc = 2

[model]
name = "{0}plainnet"

[[criterion]]
type = "{0}hinge"
config = {{ margin = 0.5 }}

[transform]
"{0}SHIFT" = [0.2]

[dataset]
name = "{0}dots"
config = {{ n = 30 }}

[dataset.split]
type = "{0}thirds"

[train]
batch_size = 4
epoch = 2
optimizer = {{ type = "{0}signs", learning_rate = 0.05 }}
lr_scheduler = {{ type = "{0}halving", floor = 0.01 }}
step = {{ type = "{0}scaled", factor = 0.5 }}

[private]
loggers = ["{0}notes", {{ type = "{0}notes", config = {{ name = "other.jsonl", fail_at = 2 }} }}]

[predict.config]
output_format = "{0}lines"

[plugins]
enable = ["acme.every"]
"""


SCRIPT = """\
import ddpkit
result = ddpkit.run("bare.toml", {"run_id": "of-a-script"})
print(sorted(result.test_metrics), [row["epoch"] for row in result.history])
print(result.folder)
"""


@pytest.fixture(scope="module")
def trained(acme, tmp_path_factory):
    """A run on two ranks with bare names, by a script without a `__main__` guard, and a run on one rank with qualified names."""
    folder = tmp_path_factory.mktemp("every")
    (folder / "bare.toml").write_text(EVERY.format(""))
    (folder / "qualified.toml").write_text(EVERY.format("acme/"))
    (folder / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False)
    bare = Outcome(done.returncode, done.stdout, done.stderr).assert_done()
    qualified = ddpkit("run", "qualified.toml", "--nproc", "1", cwd=folder).assert_done()
    return bare, qualified


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_every_kind_works_by_bare_and_qualified_name(trained):
    for outcome in trained:
        used = json.loads((outcome.folder / "plugins.json").read_text())["used"]
        assert {each["plugin"] for each in used} == {"acme.every"}
        assert len({each["kind"] for each in used}) == 12
        history = rows(outcome.folder / "history.jsonl")
        assert [row["learning_rate"] for row in history] == [0.05, 0.025]
        assert {"train/hinge", "valid/wrong"} <= set(history[0])
    bare, qualified = (rows(outcome.folder / "history.jsonl") for outcome in trained)
    assert [row["train/loss"] for row in bare] == pytest.approx([row["train/loss"] for row in qualified], rel=1e-5)


def test_a_script_without_a_main_guard_trains_on_two_ranks(trained):
    assert trained[0].stdout.startswith("['loss', 'wrong'] [1, 2]\n")
    assert trained[0].folder.name == "of-a-script"
    assert json.loads((trained[0].folder / "environment.json").read_text())["ranks"] == 2


def test_a_failing_logger_is_dropped_and_others_get_history(trained):
    folder = trained[0].folder

    assert rows(folder / "notes.jsonl") == [{"task": "every", "epoch": 1}, {"task": "every", "epoch": 2}]
    assert (folder / "notes.closed").exists()
    assert rows(folder / "other.jsonl") == [{"task": "every", "epoch": 1}]
    assert trained[0].stderr.count("is disabled for the rest of the run: RuntimeError: out of ink") == 1


def test_run_hooks_are_called_on_every_rank(trained):
    for rank in (0, 1):
        events = rows(trained[0].folder / f"events-{rank}.jsonl")
        assert [each["event"] for each in events] == ["start", *["step"] * 3, "epoch", *["step"] * 3, "epoch", "end"]
        assert events[0] == {"event": "start", "task": "every", "n_ranks": 2, "parameters": 2}
        assert [(each["epoch"], each["step"]) for each in events if each["event"] == "step"][2:4] == [(1, 3), (2, 1)]
        assert events[-1]["error"] == "None"


def test_run_hooks_receive_the_error_of_the_run(blobs, monkeypatch):
    monkeypatch.setenv("ACME_FAILS", "1")

    with pytest.raises(RuntimeError, match="a hook had enough"):
        run(blobs.name, {"run_id": "failing", "plugins.enable": ["acme"]})

    assert rows(blobs.parent / "runs/blobs/failing/events-0.jsonl")[-1]["error"] == "RuntimeError('a hook had enough')"


def test_an_installed_plugin_is_not_active_by_default(blobs):
    run(blobs.name, {"run_id": "quiet"})

    assert not list((blobs.parent / "runs/blobs/quiet").glob("events-*"))


def test_a_deprecated_component_gives_a_warning(blobs, capsys):
    warning = "warning: --set 1: train.lr_scheduler.type: 'halving' is deprecated: until 2030; use 'cosine'\n"
    assert main(["check", blobs.name, "--set", "train.lr_scheduler.type=halving"]) == 0
    assert warning in capsys.readouterr().out

    assert main(["run", blobs.name, "--set", "train.lr_scheduler.type=halving", "--dry-run"]) == 0
    assert warning in capsys.readouterr().err


BROKEN = "from ddpkit import Component, hookimpl\n@hookimpl\ndef ddpkit_models():\n    yield Component('gone', 'nowhere:Net')\n"


def test_an_import_error_is_attributed_to_its_plugin(blobs, capsys):
    blobs.with_name("has_gone.py").write_text(BROKEN)

    assert main(["run", blobs.name, "--set", "model.name=gone", "--set", "plugins.files=['has_gone.py']"]) == 3

    assert "model.name: has_gone/gone (" in (message := capsys.readouterr().err)
    assert "cannot be imported: ModuleNotFoundError: No module named 'nowhere'" in message


def test_an_alias_resolves_to_its_component(blobs, capsys):
    assert main(["check", blobs.name, "--set", "model.name=plain"]) == 0
    assert main(["which", "model", "plain"]) == 0
    assert ["acme/plainnet", "selected", "acme-parts 1.2.0"] in [row[:3] for row in table_rows(capsys.readouterr().out)]


def test_third_party_parameters_are_checked_without_an_import(blobs):
    code = (
        "import sys, ddpkit.cli.main; ddpkit.cli.main.main(['check', 'blobs.toml', '--set', 'model.config.hiden=3']);"
        "print('torch' in sys.modules, 'acme.parts' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=blobs.parent)

    assert done.stderr == "--set 1: model.config.hiden: model 'tinynet' has no such key, did you mean 'hidden'?\n"
    assert done.stdout.endswith("False False\n")


# --- local plugin files ------------------------------------------------------------------------------------------------


PARTS = """\
import torch
from torch import nn
from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_models():
    yield Component("mine", "my_parts:Mine")


@hookimpl
def ddpkit_datasets():
    yield Component("ramp", "my_parts:Ramp")


@hookimpl
def ddpkit_epoch_end(run, row):
    (run.folder / f"epoch-{row['epoch']}-rank-{run.rank}").touch()


class Mine(nn.Sequential):
    def __init__(self, n_classes: int = 2):
        super().__init__(nn.Flatten(), nn.Linear(64, n_classes))


class Ramp:
    def __init__(self, n: int = 20):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return torch.full((1, 8, 8), index / self.n), index % 2
"""


@pytest.fixture
def mine(blobs):
    """A config in its own folder, next to a plugin file."""
    folder = blobs.parent / "project"
    folder.mkdir()
    (folder / "my_parts.py").write_text(PARTS)
    text = BLOBS.replace('"tinynet"', '"mine"').replace('"blobs"\nconfig = { n = 40, n_test = 7 }', '"my_parts/ramp"')
    file = folder / "mine.toml"
    file.write_text(text + '[plugins]\nfiles = ["my_parts.py"]\n')
    return file


def test_a_local_plugin_file_works_in_ranks_and_workers(mine):
    options = ["--nproc", "2", "--set", "dataloader.num_workers=1"]

    outcome = ddpkit("run", mine, *options, cwd=mine.parent.parent).assert_done()

    assert len(list(outcome.folder.glob("epoch-[12]-rank-[01]"))) == 4

    again = ddpkit(
        "run", outcome.folder / "config.toml", "--nproc", "1", cwd="/"
    ).assert_done()  # independent of the current folder
    used = json.loads((again.folder / "plugins.json").read_text())["used"]
    assert {"kind": "model", "name": "my_parts/mine", "plugin": "my_parts"} in used


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-plugins"], "--no-plugins: plugins.files: cannot be used with '--no-plugins'; remove one of them\n"),
        (["--set", "plugins.files=['nowhere.py']"], "--set 1: plugins.files[0]: file "),
        (
            ["--set", "plugins.files=['my-parts.txt']"],
            "--set 1: plugins.files[0]: 'my-parts.txt' is not the name of a Python module",
        ),
        (["--set", "plugins.files=['json.py']"], "--set 1: plugins.files[0]: another module 'json' already exists"),
    ],
)
def test_an_invalid_plugin_file_is_rejected(mine, capsys, options, message):
    for name in ("my-parts.txt", "json.py"):
        mine.with_name(name).write_text("")

    assert main(["check", str(mine), *options]) == 2

    assert message in capsys.readouterr().err


# --- with broken plugins installed ----------------------------------------------------------------------------------------


def distribution(site, name, module, text):
    """An installed distribution with one plugin, as pip leaves it."""
    (site / f"{module}.py").write_text(text)
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[ddpkit]\n{module} = {module}\n")


HOOK = "from ddpkit import Component, hookimpl\n@hookimpl\ndef ddpkit_models():\n    yield Component('tinynet', 'nowhere:Net')\n"
BAD = {
    "broken": "import no_such_thing\n",
    "misspelt": HOOK.replace("ddpkit_models", "ddpkit_modells"),
    "newer": "ddpkit_api = '2.0'\n" + HOOK,
    "greedy": "import torch, random\ntorch.manual_seed(99)\nrandom.seed(99)\ntorch.set_num_threads(2)\n" + HOOK,
}


def test_unused_plugins_do_not_change_a_run(blobs, tmp_path, monkeypatch):
    text = BLOBS.replace('"tinynet"', '"acme/tinynet"')
    alone = run(blobs.name, {"model.name": "acme/tinynet"})
    site = tmp_path / "site"
    site.mkdir()
    for name, module in BAD.items():
        distribution(site, f"{name}-dist", f"bad_{name}", module)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], str(site)]))

    with_others = run_toml(text, tmp_path).assert_done()

    listed = ddpkit("list-plugins", cwd=tmp_path).assert_done().stdout
    found = {row[0]: row[1:] for row in table_rows(listed)}
    assert found["bad_broken"][:2] == ["broken-dist 1.0", "broken"]
    assert found["bad_broken"][2].startswith("ModuleNotFoundError: No module named 'no_such_thing' (")
    assert found["bad_misspelt"][:2] == ["misspelt-dist 1.0", "invalid"]
    assert found["bad_newer"][:2] == ["newer-dist 1.0", "incompatible"]
    assert "imports torch" in listed
    for name in ("best.safetensors", "last.safetensors"):
        assert (alone.folder / "weights" / name).read_bytes() == (with_others.folder / "weights" / name).read_bytes()
    bare = run_toml(text.replace("acme/", ""), tmp_path)
    assert (
        "more than one plugin has the model 'tinynet'; use one of 'acme/tinynet' (acme-parts 1.2.0), 'bad_greedy/tinynet'"
        in bare.stderr
    )


def test_two_distributions_with_one_namespace_are_rejected(blobs, tmp_path, monkeypatch):
    site = tmp_path / "site"
    site.mkdir()
    distribution(site, "another-acme", "acme", "")
    (site / "acme.py").unlink()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], str(site)]))

    outcome = ddpkit("check", blobs, "--set", "model.name=acme/tinynet", cwd=tmp_path)

    assert outcome.exit_code == 3
    assert (
        "plugin acme (acme-parts) has the status 'collision': two distributions have plugins with the namespace 'acme'"
        in outcome.stderr
    )
