"""Helpers for tests of plugins and of ddpkit itself: load a single plugin, run a TOML file as a user does, check the results.

def test_my_plugin(tmp_path):
    assert loaded(my_plugin="my_plugin.plugin").registry.get("model", "my_plugin/tinynet")
    outcome = run_toml(TOML, tmp_path, nproc=2).assert_done()
    assert outcome.history[-1]["train/loss"] < 1
"""

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ddpkit.plugins import manager


@attrs.frozen
class Outcome:
    """Exit code and output of a command, with access to its run folder."""

    exit_code: int
    stdout: str
    stderr: str

    def assert_done(self) -> "Outcome":
        """Return this outcome. Raise AssertionError with the messages if the command failed."""
        if self.exit_code:
            raise AssertionError(f"exit code {self.exit_code}\n{self.stderr}{self.stdout}")
        return self

    @property
    def folder(self) -> Path:
        """Path of the run folder, which `ddpkit run` prints in its last line."""
        return Path(self.stdout.splitlines()[-1])

    @property
    def history(self) -> list[dict[str, Any]]:
        """Rows of the run's history, one per epoch."""
        return [json.loads(line) for line in (self.folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def loaded(**modules: str) -> manager.Plugins:
    """Load only the given plugins, not the installed ones: `loaded(acme="acme.plugin")`, name and module as in an entry point.

    Raise AssertionError with the reason if a plugin cannot be used.
    """
    sources = [
        manager.PluginSource(importlib.metadata.EntryPoint(name, module, manager.GROUP), f"{name}-under-test", "0")
        for name, module in modules.items()
    ]
    found = manager.register(sources)
    if found.failed:
        raise AssertionError("; ".join(f"{plugin.name} is {plugin.status}: {plugin.error}" for plugin in found.failed))
    return found


def run_toml(text: str, folder: Path, *options: str, nproc: int = 1, env: Mapping[str, str] | None = None) -> Outcome:
    """Run `ddpkit run` with a TOML text in a folder, in separate processes.

    Args:
        text: Config; it is written to `folder / "run.toml"`.
        folder: Working directory of the command.
        options: Further options of the command line.
        nproc: Number of ranks.
        env: Environment variables that are added to those of this process, or replace them.
    """
    (folder / "run.toml").write_text(text, encoding="utf-8")
    return ddpkit("run", "run.toml", "--nproc", str(nproc), *options, cwd=folder, env=env)


def ddpkit(*arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 100) -> Outcome:
    """Run the `ddpkit` command in the folder `cwd`, in a separate process.

    Args:
        arguments: Arguments as on the command line.
        cwd: Working directory of the command; relative paths in the TOML start here.
        env: Environment variables that are added to those of this process, or replace them.
        timeout: Seconds after which the command is killed and subprocess.TimeoutExpired is raised.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "ddpkit",
        *map(str, arguments),
    ]  # -P: no imports from `cwd`, like the installed command
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)
