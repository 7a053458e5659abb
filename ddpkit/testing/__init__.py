"""For tests of plugins and of ddpkit itself: load a plugin by itself, run a TOML as a user does, look at what came of it.

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
    """What a command left."""

    exit_code: int
    stdout: str
    stderr: str

    def assert_done(self) -> "Outcome":
        """Raise AssertionError with the messages when the command failed; returns itself."""
        if self.exit_code:
            raise AssertionError(f"exit code {self.exit_code}\n{self.stderr}{self.stdout}")
        return self

    @property
    def folder(self) -> Path:
        """The run folder that `ddpkit run` names in its last line."""
        return Path(self.stdout.splitlines()[-1])

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of the run's history."""
        return [json.loads(line) for line in (self.folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def loaded(**modules: str) -> manager.Plugins:
    """Plugins by themselves, nothing that is installed beside them: `loaded(acme="acme.plugin")`, as in an entry point.

    Raises AssertionError with the reason for one that cannot be used.
    """
    sources = [
        manager.Source(importlib.metadata.EntryPoint(name, module, manager.GROUP), f"{name}-under-test", "0")
        for name, module in modules.items()
    ]
    found = manager.register(sources)
    if found.failed:
        raise AssertionError("; ".join(f"{plugin.name} is {plugin.status}: {plugin.error}" for plugin in found.failed))
    return found


def run_toml(text: str, folder: Path, *options: str, nproc: int = 1, env: Mapping[str, str] | None = None) -> Outcome:
    """`ddpkit run` of a TOML text in a folder, in processes of their own.

    Args:
        text: The config; it is written to `folder / "run.toml"`.
        folder: Where to run.
        options: More of the command line.
        nproc: Ranks.
        env: Laid over the environment.
    """
    (folder / "run.toml").write_text(text, encoding="utf-8")
    return ddpkit("run", "run.toml", "--nproc", str(nproc), *options, cwd=folder, env=env)


def ddpkit(*arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 100) -> Outcome:
    """Run the `ddpkit` command in the folder `cwd`, in a process of its own.

    Args:
        arguments: As on the command line.
        cwd: Where to run; relative paths in the TOML start here.
        env: Laid over the environment.
        timeout: Seconds until the command is killed and subprocess.TimeoutExpired raised.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "ddpkit",
        *map(str, arguments),
    ]  # -P: as the installed command, not importing from `cwd`
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)
