"""File that a command writes to a place that the user chooses. Only an earlier file of the same command is replaced."""

from pathlib import Path

import attrs

from ddpkit.errors import ConfigError, Diagnostic
from ddpkit.runs.files import Files, os_errors_as, replace_file

HEAD = 1024
"""Number of bytes at the start of a file that contain the mark of its command."""


@attrs.frozen(kw_only=True)
class OutputFile:
    """File that a command writes."""

    path: Path
    option: str
    """Option that selects the file, such as `--output`."""
    suffix: str
    """Ending of the name in lower case, such as `.png`."""
    command: str
    """Command, such as `ddpkit preview`."""
    mark: bytes
    """Bytes by which the files of the command are recognised."""

    def check(self) -> None:
        """Raise ConfigError if the file cannot be written, or would replace a file that the command did not write."""
        problem = None
        if self.path.suffix.lower() != self.suffix:
            problem = f"{self.path} must end in {self.suffix}"
        elif not self.path.parent.is_dir():
            problem = f"the folder {self.path.parent} does not exist; create it, or choose another one"
        elif self.path.exists() and not self.is_ours():
            problem = f"{self.path} exists and was not written by '{self.command}'; choose another name"
        if problem:
            raise ConfigError([Diagnostic(self.option, (), problem)])

    def is_ours(self) -> bool:
        """Return whether the command wrote the existing file."""
        try:
            with self.path.open("rb") as opened:
                return self.mark in opened.read(HEAD)
        except OSError:
            return False

    def write(self, data: bytes) -> None:
        """Write the file; an existing one is replaced only when the new one is complete."""
        with os_errors_as(self.path, f"choose another file with '{self.option}'"):
            replace_file(Files(), self.path, [data])
