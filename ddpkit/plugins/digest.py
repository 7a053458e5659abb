"""Digests of plugins: SHA-256 over Python files, to detect different files of the same version."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

from ddpkit.plugins.signatures import source_file


def digest_folder(folder: Path) -> str:
    """Return the digest of all Python files below a folder."""
    return digest_files(folder, sorted(folder.rglob("*.py")))


def digest_module(module: ModuleType | None, digest_folder: Callable[[Path], str] = digest_folder) -> str:
    """Return the digest of the module's package, or of the module; empty if there is none, or it has no file.

    `digest_folder`: a function that remembers its results serves several modules of one package.
    """
    file = getattr(module, "__file__", None)
    if not module or not file:
        return ""
    if module.__name__.partition(".")[2] or Path(file).name == "__init__.py":
        return digest_folder(Path(file).parent)
    return digest_files(Path(file).parent, [Path(file)])


def digest_packages(names: Iterable[str]) -> str:
    """Return one digest of several packages, which are not imported."""
    files = (source_file(name) for name in sorted(names))
    return hashlib.sha256("".join(digest_folder(file.parent) for file in files if file).encode()).hexdigest()


def digest_files(folder: Path, files: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for each in files:
        found.update(f"{each.relative_to(folder)}\0".encode() + each.read_bytes())
    return found.hexdigest()
