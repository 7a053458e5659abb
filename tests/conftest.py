"""Fixtures that tests share: a third-party package that pip installed, and small configs that use it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.configs import BLOBS, DIGITS

HERE = Path(__file__).parent

os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def acme(tmp_path_factory):
    """The folder where pip installed the package `tests/acme`; on `sys.path` here, and of the processes started here."""
    site = tmp_path_factory.mktemp("site")
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", *install, str(HERE / "acme")], check=True)
    before = os.environ.get("PYTHONPATH", "")
    sys.path.insert(0, str(site))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(site), before]))  # an empty part would be the current folder
    yield site
    sys.path.remove(str(site))
    os.environ["PYTHONPATH"] = before


@pytest.fixture
def blobs(acme, tmp_path, monkeypatch):
    """The small config as a file, in a folder of its own that is the current one."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "blobs.toml"
    file.write_text(BLOBS)
    return file


@pytest.fixture
def digits(acme, tmp_path):
    """The config of digits as a file."""
    file = tmp_path / "digits.toml"
    file.write_text(DIGITS)
    return file
