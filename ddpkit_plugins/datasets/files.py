"""Files of datasets: which there are, and how messages name them."""

import difflib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Of the files that count as images, in small or capital letters."""

SHOWN = 5
"""How many files a message names."""


def existing_root(root_dir: str, expected: str) -> Path:
    """The folder of a dataset. Raises ValueError that says what is expected there, when it is not given or not there."""
    if not root_dir:
        raise ValueError(f"needs dataset.root_dir, a folder with {expected}")
    if not Path(root_dir).is_dir():
        raise ValueError(f"dataset.root_dir {root_dir} is no folder; expected one with {expected}")
    return Path(root_dir)


def image_files(folder: Path) -> list[Path]:
    """The image files right in a folder, by name; hidden ones are left out.

    Raises ValueError for what is called like one and is none: a folder, a link to nothing.
    """
    files = [file for file in visible(folder) if file.suffix.lower() in ENDINGS]
    if odd := [file for file in files if not file.is_file()]:
        raise ValueError(f"called like images, and no files: {listed(odd)}; take them out of the folder")
    return files


def folders(folder: Path) -> list[Path]:
    """The folders right in a folder, by name; hidden ones, and those that are called like image files, are left out."""
    return [each for each in visible(folder) if each.suffix.lower() not in ENDINGS and each.is_dir()]


def visible(folder: Path) -> list[Path]:
    """What a folder holds, by name, without what is hidden. Raises ValueError where it may not be looked into."""
    try:
        return sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    except OSError as error:
        raise ValueError(f"{shown(folder)} cannot be looked into: {error.strerror}") from error


def refuse_strays(root: Path, files: Iterable[Path]) -> None:
    """Raise ValueError for files that are links, or in folders that are links, to what is outside of `root`."""
    files, real = list(files), root.resolve()
    below = {place for folder in {file.parent for file in files} for place in (folder, *folder.parents) if root in place.parents}
    links = [place for place in {*files, *below} if place.is_symlink()]
    if strays := sorted(link for link in links if not link.resolve().is_relative_to(real)):
        raise ValueError(f"links lead out of {root}: {listed(strays)}; config.follow_links = true follows them")


def inside(root: Path, names: Iterable[str]) -> list[Path]:
    """What is named in a folder, without `..`. Raises ValueError for names that lead out of it."""
    places = [root / os.path.normpath(name) for name in names]
    if strays := [place for place in places if not place.is_relative_to(root) or ".." in place.relative_to(root).parts]:
        raise ValueError(f"not in the folder {root}: {listed(strays)}; give one that holds them all")
    return places


def listed_files(root: Path, names: Iterable[str]) -> list[Path]:
    """Files that a list names in a folder. Raises ValueError for those that are not there, or not in it."""
    files = inside(root, names)
    if missing := [file for file in files if not file.is_file()]:
        raise ValueError(f"named, and not there: {listed(missing)}")
    return files


def file_groups(root: Path, files: Iterable[Path]) -> dict[str, list[str]]:
    """What a split may group samples by: the names of their files in `root`."""
    return {"file": [file.relative_to(root).as_posix() for file in files]}


def read_json(file: Path) -> Any:
    """What a JSON file holds. Raises ValueError for one that is not there or no JSON."""
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise ValueError(f"{shown(file)} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shown(file)} is no JSON: {error}") from error


def listed(files: Sequence[Path]) -> str:
    """Some of them, and how many more."""
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return ", ".join(map(shown, files[:SHOWN])) + more


def shown(file: Path) -> str:
    """A name on one line: one with line ends or other odd characters is written as Python does it."""
    return str(file) if str(file).isprintable() else repr(str(file))


def hint(name: str, others: Sequence[str]) -> str:
    """The name that may have been meant."""
    close = difflib.get_close_matches(name, others, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
