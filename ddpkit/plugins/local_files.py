"""Python files that a TOML names (`[plugins] files`): plugins without a package, to try an idea."""

import importlib.util
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

LOCAL = "local"
"""What stands for a version of such a file."""


def entry_point(file: Path) -> tuple[EntryPoint, str, str]:
    """The file as an entry point of its own, with what stands for its distribution and version.

    Its folder goes to the end of `sys.path`: so ranks and loader workers, however they are started, import it by its name.
    """
    folder = str(file.parent.absolute())
    if folder not in sys.path:
        sys.path.append(folder)
    return EntryPoint(file.stem, file.stem, "ddpkit"), str(file), LOCAL


def fault(file: Path) -> str:
    """Why a file cannot be a plugin; empty if it can."""
    if not file.is_file():
        return f"there is no file {file}"
    if file.suffix != ".py" or not file.stem.isidentifier():
        return f"{file.name!r} is no Python module; its name is letters, digits and '_', and ends in '.py'"
    found = importlib.util.find_spec(file.stem)
    if found and found.origin != str(file.absolute()):
        return f"there is another module {file.stem!r} ({found.origin}); rename the file"
    return ""
