"""`ddpkit new-plugin` writes a plugin that can be checked, trained and tested without changes."""

import json
import math
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import tomli

from ddpkit.cli.main import main
from ddpkit.plugins.hookspecs import HOOKS
from ddpkit.plugins.scaffold import distribution
from tests.helpers.user_data import draw_photo

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new_plugin(name, kinds):
    options = [word for kind in kinds for word in ("--kind", kind)]
    assert main(["new-plugin", name, *options]) == 0


def install(name, monkeypatch):
    """Put a plugin on `sys.path` with the metadata that pip would write."""
    project = tomli.loads(Path(name, "pyproject.toml").read_text())["project"]
    (hook,) = project["entry-points"]["ddpkit"].items()
    info = Path(name, "src", f"{hook[0]}-{project['version']}.dist-info")
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (info / "entry_points.txt").write_text("[ddpkit]\n{} = {}\n".format(*hook))
    monkeypatch.syspath_prepend(str(info.parent.resolve()))


def test_all_kinds_train_together(monkeypatch):
    new_plugin("all-kinds", HOOKS)
    install("all-kinds", monkeypatch)
    monkeypatch.chdir("all-kinds")
    short = ["--limit-batches", "2", "--set", "device=cpu", "--set", "train.epoch=1", "--set", "run_id=short"]

    assert main(["check", "example.toml", "--deep"]) == 0
    assert main(["run", "example.toml", *short]) == 0

    run = Path("runs/all_kinds/short")
    used = {each["kind"] for each in json.loads((run / "plugins.json").read_text())["used"] if each["plugin"] == "all_kinds"}
    assert used == {*HOOKS}
    row = json.loads((run / "history.jsonl").read_text())
    assert math.isfinite(row["train/loss"])
    assert (run / "history.md").read_text().splitlines()[2] == f"| 1 | {row['train/loss']} | {row['valid/loss']} |"
    draw_photo(Path("images/one.png"), "apple", 1)
    assert main(["predict", str(run), "images"]) == 0
    (file,) = run.rglob("predictions.txt")
    assert file.read_text().startswith("one: ")


@pytest.mark.parametrize("kind", HOOKS)
def test_each_kind_alone_has_a_valid_example(kind, monkeypatch, capsys):
    new_plugin(f"only-{kind}".replace("_", "-"), [kind])
    name = capsys.readouterr().out.split()[1]
    install(name, monkeypatch)

    assert main(["check", f"{name}/example.toml"]) == 0

    example = Path(name, "example.toml").read_text()
    assert f'"{name.replace("-", "_")}/' in example
    files = [path.name for path in Path(name, "src").glob("*/*.py")]
    assert sorted(files) == sorted(["__init__.py", "plugin.py", f"{kind}.py"])


@pytest.mark.parametrize("options", [["--isolated"], ["--config", str(ROOT / "pyproject.toml")]], ids=["default", "ours"])
def test_the_files_pass_ruff(options):
    new_plugin("lint-me", HOOKS)

    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", *options, "."]
        done = subprocess.run(ruff, cwd="lint-me", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_the_next_commands_are_printed(folder, capsys):
    assert main(["new-plugin", "My-Parts2", "--kind", "metric", "--kind", "model", "--kind", "metric"]) == 0
    assert main(["new-plugin", "a"]) == 0

    assert capsys.readouterr().out == (
        "written: My-Parts2 (model, metric)\n\nNext commands:\n  cd My-Parts2\n  pip install -e .\n  ddpkit run example.toml\n"
        "written: a (model)\n\nNext commands:\n  cd a\n  pip install -e .\n  ddpkit run example.toml\n"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["My-Parts2", "a"]
    assert Path("My-Parts2/src/my_parts2/plugin.py").exists()
    assert 'dependencies = ["ddpkit>=0.1,<0.2"]' in Path("a/pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "must start with a letter"),
        ("1st", "must start with a letter"),
        ("../up", "must start with a letter"),
        ("my_plugin", "must start with a letter"),
        ("my--plugin", "must start with a letter"),
        ("größe", "must start with a letter"),
        ("class", "is a keyword of Python"),
        ("json", "is a module of Python's standard library"),
        ("builtin", "the namespace 'builtin' belongs to the installed plugin ddpkit "),
        ("torchvision", "the namespace 'torchvision' belongs to the installed plugin ddpkit "),
        ("acme", "the namespace 'acme' belongs to the installed plugin acme-parts 1.2.0"),
        ("ddpkit-plugins", "a package called 'ddpkit-plugins' is installed already"),
        ("Pillow", "a package called 'Pillow' is installed already"),
    ],
)
def test_an_unusable_name_is_refused(acme, name, reason, folder, capsys):
    assert main(["new-plugin", name]) == 2

    message = capsys.readouterr().err
    assert message.startswith("NAME: ")
    assert reason in message
    assert message.endswith("; choose another name, for example 'my-plugin'\n")
    assert not [*folder.iterdir()]


def test_an_existing_folder_is_kept(folder, capsys):
    Path("mine").mkdir()

    assert main(["new-plugin", "mine"]) == 2

    assert capsys.readouterr().err == ("mine: exists already and is not overwritten; choose another name, or remove it\n")
    assert [*folder.rglob("*")] == [folder / "mine"]


def test_a_failure_leaves_nothing_behind(folder, capsys):
    files = {"first.txt": "text", "first.txt/second.txt": "a file cannot be a folder"}

    with pytest.raises(OSError, match=r"first\.txt"):
        distribution.write_distribution(Path("half"), files)
    assert main(["new-plugin", "x" * 300]) == 2

    assert "cannot be written: File name too long; " in capsys.readouterr().err
    assert not [*folder.iterdir()]


@pytest.fixture
def environment(tmp_path_factory):
    """Environment variables of a new virtual environment, which also sees the packages of this one."""
    folder = tmp_path_factory.mktemp("env") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "parent.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for name in ("pip", "pytest", "ddpkit"):
        command = folder / "bin" / name
        command.write_text(f"#!/bin/sh\nexec '{folder}/bin/python' -P -m {name} \"$@\"\n")
        command.chmod(0o755)
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # pip reads 0 as "no isolation"
    return {**os.environ, **offline, "PATH": path, "PYTHONPATH": str(ROOT)}


@pytest.mark.slow
def test_an_installed_plugin_passes_its_own_tests(environment, capsys):
    new_plugin("my-parts", HOOKS)
    commands = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]

    script = "\n".join(["set -e", *commands, "pytest -q -p no:cacheprovider", "ddpkit list-plugins"])
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert "my-parts 0.1.0" in done.stdout


@pytest.mark.slow
def test_the_wheel_of_ddpkit_contains_all_templates(folder):
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)

    (wheel,) = folder.glob("*.whl")
    names = {*zipfile.ZipFile(wheel).namelist()}
    templates = [path for path in (ROOT / "ddpkit/plugins/scaffold/templates").rglob("*") if path.suffix in {".py", ".jinja"}]
    assert len(templates) == 20
    assert names >= {str(path.relative_to(ROOT)) for path in templates}
