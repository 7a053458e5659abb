"""The documentation matches the code."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomli
from PIL import Image

import ddpkit
from ddpkit import testing
from ddpkit.plugins import hookspecs
from ddpkit.testing import ddpkit as command
from tests.helpers.tables import table_rows
from tests.helpers.user_data import draw_photos

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FILE = re.compile(r"```(?:python|toml)\n# (?P<name>[\w./]+)\n(?P<text>.*?)```", re.DOTALL)
"""A block of code that begins with the name of its file."""


@pytest.mark.parametrize(
    ("script", "page"),
    [("config_reference.py", "config.md"), ("hook_reference.py", "hooks.md"), ("performance_page.py", "performance.md")],
)
def test_a_generated_page_is_up_to_date(tmp_path, script, page):
    (tmp_path / script).write_bytes((DOCS / script).read_bytes())
    subprocess.run([sys.executable, tmp_path / script], check=True)

    assert (tmp_path / page).read_text() == (DOCS / page).read_text(), f"run: python docs/{script}"


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """A folder with the files printed in docs/plugins.md, and with pip's installation of them in `site`."""
    folder = tmp_path_factory.mktemp("tutorial")
    for found in FILE.finditer((DOCS / "plugins.md").read_text()):
        file = folder / found["name"]
        file.parent.mkdir(exist_ok=True)
        file.write_text(found["text"])
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", folder / "site", "."]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, cwd=folder)
    return folder


def test_the_tutorial_works_as_printed(tutorial):
    env = {"PYTHONPATH": str(tutorial / "site")}

    listed = command("list-plugins", cwd=tutorial, env=env).assert_done()
    described = command("describe", "model", "my_plugin/tinynet", cwd=tutorial, env=env).assert_done()
    ran = command("run", "quick.toml", "--set", "device=cpu", cwd=tutorial, env=env).assert_done()

    assert ["my_plugin", "my-plugin 0.1.0", "ok", "model: tinynet"] in table_rows(listed.stdout)
    assert ["hidden", "an integer", "32"] in table_rows(described.stdout)
    assert "test accuracy" in ran.stdout
    assert len((tutorial / "my_plugin/plugin.py").read_text().splitlines()) <= 10


def test_the_fine_tuning_example_works_as_printed(tmp_path, monkeypatch, capsys):
    from ddpkit.cli.main import main

    monkeypatch.chdir(tmp_path)
    for found in FILE.finditer((DOCS / "fine_tuning.md").read_text()):
        Path(found["name"]).write_text(found["text"])

    assert main(["run", "fine_tune.toml", "--set", "device=cpu", "--set", "run_id=printed"]) == 0

    assert "epoch 2: 11166976 parameters (layer*) are trained from here on" in capsys.readouterr().err


@pytest.mark.slow
def test_the_tutorials_own_tests_pass(tutorial):
    env = {**os.environ, "PYTHONPATH": str(tutorial / "site")}
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tutorial), "test_my_plugin.py"]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options], cwd=tutorial, env=env, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout


def test_every_public_name_is_documented():
    promised = (DOCS / "plugins.md").read_text()

    for name in ddpkit.__all__:
        assert f"`{name}`" in promised
        assert inspect.getdoc(getattr(ddpkit, name)) or name == "hookimpl", name
    for name in ("loaded", "run_toml", "ddpkit", "Outcome"):
        assert f"`{name}`" in promised
        assert inspect.getdoc(getattr(testing, name)), name
    for hook in (*hookspecs.HOOKS.values(), *hookspecs.FAMILY_HOOKS, *hookspecs.RUN_HOOKS):
        assert inspect.getdoc(getattr(hookspecs, hook)), hook


def test_the_config_with_several_optimizers_trains(tmp_path, monkeypatch):
    from ddpkit.cli.main import main

    monkeypatch.chdir(tmp_path)
    (found,) = FILE.finditer((DOCS / "optimizers.md").read_text())
    Path(found["name"]).write_text(found["text"])

    assert main(["run", found["name"], "--limit-batches", "1", "--set", "train.epoch=1", "--set", "run_id=mine"]) == 0
    row = json.loads(Path("runs/default/mine/history.jsonl").read_text())
    assert {"learning_rate/head", "learning_rate/backbone"} <= row.keys()


COMMAND = re.compile(r"^(?:    )?ddpkit (?P<arguments>(?:check|explain|list-plugins|list|describe|which)\b.*)$", re.MULTILINE)


@pytest.mark.parametrize(
    "arguments", sorted({found["arguments"] for found in COMMAND.finditer((ROOT / "README.md").read_text())}), ids=str
)
def test_each_readme_command_works(arguments, monkeypatch, capsys):
    from ddpkit.cli.main import main

    monkeypatch.chdir(ROOT)
    assert main(arguments.split()) == 0


PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
RUN_COMMAND = re.compile(
    r"^(?:    )?(?P<line>ddpkit (?!list|describe|which|explain|run (?:quick|example)).*?)(?:  +#.*)?$", re.MULTILINE
)
PLACEHOLDERS = {
    "runs/DDP_Quick_Test/RUN_ID": "{run}",
    "runs/digits/20260301-101500-ab12/checkpoints/step-000000001200": "{checkpoint}",
    "runs/digits/20260301-101500-ab12": "{run}",
    "runs/DDP_Quick_Test/OTHER_ID": "{other}",
    "runs/digits/20260302-090000-cd34": "{other}",
    "RUN": "{run}",
    "x.toml": "configs/ddp_quick_test.toml",
    "two_heads.toml": "examples/tasks/two_heads/two_heads.toml",
    "images/": "images",
    "new_photos/": "images",
}
"""Text in the documentation -> what a user writes in its place."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_each_command_of_the_documentation_works(tmp_path):
    for name in ("examples", "main.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")  # `ddpkit lock` writes to it
    (tmp_path / "images").mkdir()
    Image.new("L", (28, 28)).save(tmp_path / "images/0.png")
    draw_photos(tmp_path / "photos")
    small = ["--set", "device=cpu", "--set", "train.epoch=1"]
    command("run", "configs/ddp_quick_test.toml", *small, "--limit-batches", "4", cwd=tmp_path, timeout=300).assert_done()
    run = next((tmp_path / "runs/DDP_Quick_Test").iterdir())
    other = shutil.copytree(run, tmp_path / "others/digits/other", ignore=shutil.ignore_patterns("checkpoints", "weights"))
    values = {"run": str(run), "other": str(other), "checkpoint": str(next((run / "checkpoints").glob("step-*")))}

    lines = list(dict.fromkeys(found["line"] for page in PAGES for found in RUN_COMMAND.finditer(page.read_text())))
    assert len(lines) > 20
    for line in lines:
        done = command(*arguments_of(line, values), *small_options(line, small), cwd=tmp_path, timeout=300)
        finds_batchnorm = line.startswith("ddpkit verify-ddp") and "set 'ddp.sync_batchnorm = true'" in done.stdout
        assert done.exit_code == int(finds_batchnorm), f"{line}\n{done.stderr}{done.stdout}"


def arguments_of(line, values):
    """Return the arguments of a printed command, with real names in place of the placeholders."""
    for text, value in PLACEHOLDERS.items():
        line = re.sub(rf"(?<!\S){re.escape(text)}(?!\S)", value, line)
    return [part.format(**values) for part in line.split()[1:]]


def small_options(line, small):
    """Return options that make a command fast, and that repeated exports and predictions need."""
    verb = line.split()[1]
    if verb == "export":
        return ["--force"]
    if verb == "run":
        return [*small, "--limit-batches", "4", "--set", "predict.input=images"]
    return small if verb.startswith("verify-") else []


def test_the_documented_package_layers_match_the_contract():
    settings = tomli.loads((ROOT / "pyproject.toml").read_text())
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]

    assert f"`{' > '.join(layers)}`" in (DOCS / "architecture.md").read_text()
