"""`ddpkit lock` records the plugins of a config, and `ddpkit run --locked` starts with the same ones only."""

import sys
from pathlib import Path

import pytest
import tomli

from ddpkit.cli.main import main
from ddpkit.config.loading import parse_overrides
from ddpkit.distributed.rank_process import REPORTS
from ddpkit.errors import ConfigError
from ddpkit.tasks import runner
from ddpkit.tasks.plan import RunOptions
from tests.helpers.distributions import install, remove

HOOK = "from ddpkit import hookimpl\n\n\n@hookimpl\ndef ddpkit_epoch_end(run, row):\n    pass\n"
BOTH = ["--set", "plugins.files=['own_hooks.py']", "--set", "plugins.enable=['locked_other']"]
"""Options that add a local file and an installed plugin to those of the config."""
MISTAKE = ["--set", "model.name=nope"]
"""Override that ends a run with exit code 2, without an import of torch, if the lock file has no objection."""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Folder of `sys.path` with the distribution `other-parts`, whose plugin has a run hook."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "locked_other.py").write_text(HOOK)
    install(site, "other-parts", "2.0", entry_point="locked_other")
    monkeypatch.syspath_prepend(site)
    yield site
    for name in ("locked_other", "locked_new", "own_hooks"):
        sys.modules.pop(name, None)


@pytest.fixture
def locked(site, blobs):
    """Lock file of a config that uses an installed plugin, the hooks of another one, and a local file."""
    blobs.with_name("own_hooks.py").write_text(HOOK)
    assert main(["lock", blobs.name, *BOTH]) == 0
    return blobs.with_name("blobs.lock.toml")


def read_records(file):
    return [tuple(each[key] for key in ("name", "distribution", "version")) for each in tomli.loads(file.read_text())["plugin"]]


def test_a_lock_file_lists_what_the_config_uses(locked, capsys):
    assert read_records(locked) == [
        ("ddpkit", "ddpkit", "0.1.0"),
        ("acme", "acme-parts", "1.2.0"),
        ("locked_other", "other-parts", "2.0"),
        ("own_hooks", "own_hooks.py", "local"),
    ]
    assert all(len(each["digest"]) == 64 for each in tomli.loads(locked.read_text())["plugin"])
    command = """ddpkit lock blobs.toml --set 'plugins.files=["own_hooks.py"]' --set 'plugins.enable=["locked_other"]'"""
    assert locked.read_text().splitlines()[2] == f"#     {command}"
    assert main(["lock", "blobs.toml", *BOTH]) == 0
    assert capsys.readouterr().out == "blobs.lock.toml: ddpkit 0.1.0, acme-parts 1.2.0, other-parts 2.0, own_hooks.py\n"


def test_a_locked_run_starts_and_resumes(locked):
    run = ["run", "blobs.toml", *BOTH, "--locked", "--limit-batches", "1", "--set", "run_id=a", "--set", "private.report=false"]

    assert main([*run, "--set", "train.epoch=1"]) == 0
    assert main([*run, "--set", "train.epoch=2", "--resume", "--allow-drift", "train.epoch"]) == 0

    locked.with_name("own_hooks.py").write_text(HOOK + "\n")
    assert main([*run, "--set", "train.epoch=2", "--resume"]) == 3


def test_all_differences_are_reported_at_once(locked, site, capsys):
    text = locked.read_text().replace('version = "1.2.0"', 'version = "1.1.0"')
    core = tomli.loads(text)["plugin"][0]["digest"]
    locked.write_text(text.replace(core, "0" * 64))
    remove(site, "other-parts")
    Path("own_hooks.py").write_text(HOOK + "\n")
    (site / "locked_new.py").write_text(HOOK)
    install(site, "new-parts", entry_point="locked_new")

    assert (
        main(["run", "blobs.toml", "--locked", "-p", "no:acme.every", *BOTH[:2], "--set", "plugins.enable=['locked_new']"]) == 3
    )

    again = (
        """ddpkit lock blobs.toml --set 'plugins.files=["own_hooks.py"]' --set 'plugins.enable=["locked_new"]' -p no:acme.every"""
    )
    reinstall = "pip install --force-reinstall --no-deps ddpkit==0.1.0"
    assert capsys.readouterr().err.splitlines() == [
        f"blobs.lock.toml: ddpkit 0.1.0 has different code than the locked one; {reinstall}, or to accept this: {again}",
        f"blobs.lock.toml: acme-parts 1.1.0 is locked, but 1.2.0 is installed; pip install acme-parts==1.1.0, or to accept this: {again}",
        f"blobs.lock.toml: other-parts 2.0 is not installed; pip install other-parts==2.0, or to accept this: {again}",
        f"blobs.lock.toml: own_hooks.py has different code than the locked one; restore the file own_hooks.py, or to accept this: {again}",
        f"blobs.lock.toml: plugin locked_new (new-parts 1.0) is used, but is not in this file; run: {again}",
    ]
    assert not Path("runs").exists()


def test_a_locked_plugin_that_became_broken_stops_the_run(locked, capsys):
    Path("own_hooks.py").unlink()
    del sys.modules["own_hooks"]

    assert main(["run", "blobs.toml", "--locked", *BOTH]) == 3

    message = "own_hooks.py: plugin own_hooks has the status 'broken': ModuleNotFoundError: No module named 'own_hooks'"
    assert f"{message}; restore the file own_hooks.py, or to accept this" in capsys.readouterr().err


def test_overrides_may_leave_out_locked_plugins(locked):
    assert main(["run", "blobs.toml", "--locked", *MISTAKE]) == 2
    assert main(["run", "blobs.toml", "--locked", *MISTAKE, "-p", "no:acme"]) == 2


def test_another_built_in_component_needs_no_new_lock_file(locked):
    assert main(["run", "blobs.toml", "--locked", *MISTAKE, "--set", "train.optimizer.type=adamw"]) == 2


def test_only_the_launcher_of_a_rank_checks_the_lock_file(blobs, monkeypatch):
    options = RunOptions(locked=True, overrides=parse_overrides(MISTAKE[1:]))
    with pytest.raises(ConfigError, match=r"blobs.lock.toml: was not found; run: ddpkit lock blobs.toml --set"):
        runner.prepare(Path(blobs.name), options)

    monkeypatch.setenv(REPORTS, "reports")
    with pytest.raises(ConfigError, match="no model is called 'nope'"):
        runner.prepare(Path(blobs.name), options)


@pytest.mark.parametrize("text", ["plugin = 3", "[[plugin]]\nname = 'acme'\n", "[model]\nname = 'resnet18'\n"])
def test_a_file_that_is_not_a_lock_file_is_kept(blobs, capsys, text):
    file = blobs.with_name("blobs.lock.toml")
    file.write_text(text)

    assert main(["run", blobs.name, "--locked"]) == 2
    assert main(["lock", blobs.name]) == 2

    assert capsys.readouterr().err.splitlines() == [
        "blobs.lock.toml: is not a lock file of ddpkit; run: ddpkit lock blobs.toml",
        "blobs.lock.toml: was not written by 'ddpkit lock' and is not replaced; rename it",
    ]
    assert file.read_text() == text


def test_no_lock_file_is_written_for_a_config_that_cannot_run(blobs, capsys):
    blobs.with_name("own_broken.py").write_text("1 / 0\n")

    assert main(["lock", blobs.name, *MISTAKE]) == 2
    assert main(["lock", blobs.name, "-p", "no:acme", "--set", "model.name=acme/tinynet"]) == 3
    assert main(["lock", blobs.name, "--set", "plugins.files=['own_broken.py']"]) == 3

    assert "--set 1: plugins.files[0]: plugin own_broken has the status 'broken'" in capsys.readouterr().err
    assert not blobs.with_name("blobs.lock.toml").exists()
