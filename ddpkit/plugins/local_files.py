"""Plugins without a package, for experiments: Python files that a TOML lists in `[plugins] files`."""

import importlib.util
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

LOCAL = "local"
"""Placeholder for the version of a local file."""


def local_entry_point(file: Path) -> tuple[EntryPoint, str, str]:
    """Append the file's folder to `sys.path`; return its entry point and placeholders for distribution and version."""
    folder = str(file.parent.absolute())
    if folder not in sys.path:  # ranks and loader workers import the file by name, even if they are spawned
        sys.path.append(folder)
    return EntryPoint(file.stem, file.stem, "ddpkit"), str(file), LOCAL


def find_problem(file: Path) -> str:
    """Return the reason why a file cannot be a plugin; empty if it can."""
    if not file.is_file():
        return f"file {file} was not found"
    if file.suffix != ".py" or not file.stem.isidentifier():
        return f"{file.name!r} is not the name of a Python module; use only letters, digits and '_', and the suffix '.py'"
    found = importlib.util.find_spec(file.stem)
    if found and found.origin != str(file.absolute()):
        return f"another module {file.stem!r} already exists ({found.origin}); rename the file"
    return ""
