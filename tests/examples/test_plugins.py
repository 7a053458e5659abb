"""The plugins in `examples/plugins` can be installed, pass their own tests, and train on two ranks."""

import importlib.metadata
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomli
from packaging.requirements import Requirement

from ddpkit.testing import ddpkit

PLUGINS = Path(__file__).parents[2] / "examples/plugins"
FOLDERS = sorted(file.parent.name for file in PLUGINS.glob("*/pyproject.toml"))
HEAVY = {"torch", "numpy", "torchvision", "torchmetrics", "timm", "segmentation_models_pytorch", "monai", "kornia"}
SECONDS = 280
"""Time limit of a command, below that of a test."""


def project_of(name):
    return tomli.loads((PLUGINS / name / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module", params=FOLDERS)
def installed(request, tmp_path_factory):
    """Copy of a plugin's folder, and the environment with pip's installation of it."""
    for dependency in project_of(request.param)["dependencies"]:
        library = Requirement(dependency).name
        try:
            importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{library} is not installed")
    folder = tmp_path_factory.mktemp("plugins") / request.param
    shutil.copytree(PLUGINS / request.param, folder, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    site = folder.parent / "site"
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", site, folder]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    paths = [str(site), os.environ.get("PYTHONPATH", "")]
    return folder, {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "DDPKIT_PLUGINS": request.param}


def test_there_are_four_plugins():
    assert FOLDERS == ["ddpkit-kornia", "ddpkit-monai", "ddpkit-smp", "ddpkit-timm"]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_plugin_is_a_complete_distribution(name):
    project, package = project_of(name), name.replace("-", "_")
    readme = (PLUGINS / name / "README.md").read_text()

    assert project["name"] == name
    for dependency in map(Requirement, project["dependencies"]):
        assert {limit.operator for limit in dependency.specifier} == {">=", "<"}, dependency
    assert [*project["entry-points"]["ddpkit"].values()] == [f"{package}.plugin"]
    assert (PLUGINS / name / "src" / package / "plugin.py").is_file()
    assert (PLUGINS / name / "tests/test_plugin.py").is_file()
    assert "nproc = 2" in (PLUGINS / name / "example.toml").read_text()
    assert f"pip install {name}" in readme


def test_the_declarations_import_no_library():
    paths = [str(PLUGINS / name / "src") for name in FOLDERS]
    modules = {name.split("-")[1]: f"{name.replace('-', '_')}.plugin" for name in FOLDERS}
    code = f"import sys; sys.path += {paths}; from ddpkit.testing import loaded; loaded(**{modules}); print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert not HEAVY & {*done.stdout.split()}


@pytest.mark.slow
def test_an_example_has_no_mistake_and_trains_on_two_ranks(installed):
    folder, env = installed

    checked = ddpkit("check", "example.toml", "--deep", cwd=folder, env=env).assert_done()
    outcome = ddpkit("run", "example.toml", "--limit-batches", "2", cwd=folder, env=env, timeout=SECONDS).assert_done()

    assert "no mistake found" in checked.stdout
    assert math.isfinite(outcome.history[-1]["train/loss"])


@pytest.mark.slow
def test_a_plugins_own_tests_pass(installed):
    folder, env = installed

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)

    assert done.returncode == 0, done.stdout
