"""For tests of plugins and of ddpkit itself: run a TOML as a user does, and look at what came of it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs


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
