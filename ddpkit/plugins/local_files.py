"""Plugins without a package, to try an idea: Python files that a TOML names in `[plugins] files`."""

import importlib.util
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

LOCAL = "local"
"""Placeholder for the version of a local file."""


def local_entry_point(file: Path) -> tuple[EntryPoint, str, str]:
    """Append the file's folder to `sys.path`; return its entry point and placeholders for distribution and version."""
    folder = str(file.parent.absolute())
    if folder not in sys.path:  # so that ranks and loader workers, however they are started, can import the file by name
        sys.path.append(folder)
    return EntryPoint(file.stem, file.stem, "ddpkit"), str(file), LOCAL


def find_problem(file: Path) -> str:
    """Return the reason why a file cannot be a plugin; empty if it can."""
    if not file.is_file():
        return f"there is no file {file}"
    if file.suffix != ".py" or not file.stem.isidentifier():
        return f"{file.name!r} is no Python module; its name is letters, digits and '_', and ends in '.py'"
    found = importlib.util.find_spec(file.stem)
    if found and found.origin != str(file.absolute()):
        return f"there is another module {file.stem!r} ({found.origin}); rename the file"
    return ""
