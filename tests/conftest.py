"""Shared fixtures: a third-party package installed by pip, and small configs that use it."""

import os
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.helpers.acme import installed
from tests.helpers.configs import BLOBS, DIGITS

HERE = Path(__file__).parent

os.environ["OMP_NUM_THREADS"] = "1"


IN_WORLDS = (
    "tests/training/test_ranks.py",
    "tests/data/test_stream.py",
    "tests/training/test_heads.py",
    "tests/training/test_contrastive.py",
    "tests/training/test_steps.py",
    "tests/training/test_weighted_losses.py",
    "tests/training/test_detection.py",
    "tests/training/test_step_cost.py",
    "tests/testing/test_verify_ddp.py",
    "tests/ddpkit_plugins/test_metrics_of_ranks.py",
    "tests/inference/test_shown_samples.py",
    "tests/ddpkit_plugins/test_metrics_at_random.py",
)
"""Files that use `in_world`; one worker runs them all, so that they share its rank processes."""
LONG = (
    *IN_WORLDS,
    "tests/checkpoint/test_recovery.py",
    "tests/distributed/test_launcher.py",
    "tests/tasks/test_runner.py",
    "tests/plugins/test_third_party.py",
    "tests/testing/test_verify_resume.py",
    "tests/config/test_shipped_configs.py",
)
"""Slow files that start many processes; they run first, so that both workers finish at about the same time."""


def file_of(nodeid):
    return nodeid.partition("::")[0]


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(file) if (file := file_of(item.nodeid)) in LONG else len(LONG))


class Scheduler(LoadScopeScheduling):
    """Scheduler that assigns all tests of a file to one worker."""

    def _split_scope(self, nodeid):
        file = file_of(nodeid)
        return "in worlds" if file in IN_WORLDS else file


def pytest_xdist_make_scheduler(config, log):
    return Scheduler(config, log)


@pytest.fixture(scope="session")
def acme(tmp_path_factory):
    """Folder where pip installed the package `tests/acme`. It is on `sys.path` of this process and its children."""
    with installed(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="session")
def in_world(acme):
    """Function `in_world(size, folder, function, *arguments)`, see RankPool. Add each file that uses it to IN_WORLDS."""
    from tests.helpers.ranks import RankPool

    pool = RankPool()
    yield pool.in_world
    pool.close()


@pytest.fixture
def blobs(acme, tmp_path, monkeypatch):
    """Small config as a file in the current folder, which is temporary."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "blobs.toml"
    file.write_text(BLOBS)
    return file


@pytest.fixture
def digits(acme, tmp_path):
    """Config of digits as a file."""
    file = tmp_path / "digits.toml"
    file.write_text(DIGITS)
    return file
