"""Files of datasets: functions that find them, check them, and format their names for messages."""

import difflib
import functools
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddpkit import escape

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Suffixes of image files, in lower or upper case."""

SHOWN = 5
"""Maximum number of files in a message."""


def check_root(root_dir: str, expected: str) -> Path:
    """Return the folder of a dataset. Raises ValueError, with the expected content, if it is empty or not found."""
    if not root_dir:
        raise ValueError(f"dataset.root_dir is missing; set it to a folder with {expected}")
    if not Path(root_dir).is_dir():
        raise ValueError(f"dataset.root_dir {root_dir} is not a folder; expected a folder with {expected}")
    return Path(root_dir)


def list_images(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, sorted by name, without hidden ones.

    Raises ValueError for a folder or a broken link with the suffix of an image.
    """
    files = [file for file in visible_paths(folder) if file.suffix.lower() in ENDINGS]
    if wrong := [file for file in files if not file.is_file()]:
        raise ValueError(f"named like images, but not files: {format_files(wrong)}; remove them from the folder")
    return files


def list_folders(folder: Path) -> list[Path]:
    """Return the folders directly in a folder, sorted by name, without hidden ones and those with the suffix of an image."""
    return [each for each in visible_paths(folder) if each.suffix.lower() not in ENDINGS and each.is_dir()]


def visible_paths(folder: Path) -> list[Path]:
    """Return the entries of a folder, sorted by name, without hidden ones. Raises ValueError if it cannot be read."""
    try:
        return sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    except OSError as error:
        raise ValueError(f"{format_file(folder)} cannot be read: {error.strerror}") from error


def check_strays(root: Path, files: Iterable[Path]) -> None:
    """Raise ValueError for files that are outside of `root` because the file or a folder above it is a link."""
    files, real = list(files), root.resolve()
    below = {place for folder in {file.parent for file in files} for place in (folder, *folder.parents) if root in place.parents}
    links = [place for place in {*files, *below} if place.is_symlink()]
    if strays := sorted(link for link in links if not link.resolve().is_relative_to(real)):
        raise ValueError(
            f"symbolic links point outside {root}: {format_files(strays)}; to allow it, set 'dataset.config.follow_links = true'"
        )


def resolve_inside(root: Path, names: Iterable[str]) -> list[Path]:
    """Return the named paths in a folder, without `..`. Raises ValueError for names that lead out of it."""
    places = [root / os.path.normpath(name) for name in names]
    if strays := [place for place in places if not place.is_relative_to(root) or ".." in place.relative_to(root).parts]:
        raise ValueError(f"not in the folder {root}: {format_files(strays)}; set a folder that contains all of them")
    return places


def list_files(root: Path, names: Iterable[str]) -> list[Path]:
    """Return the named files in a folder; a name may have another Unicode form than that of the file.

    Raises ValueError for files that are missing or outside the folder, and for two names of one file.
    """
    places, entries = resolve_inside(root, names), functools.cache(entries_by_form)
    others = {place: find_other_form(root, place, entries) for place in places if not is_file(place)}
    if missing := [file for file in others.values() if not is_file(file)]:
        raise ValueError(f"files not found: {format_files(missing)}{missing_hint(root, missing[0])}")
    files = [others.get(place, place) for place in places]
    if doubles := [file for file, count in Counter(files).items() if count > 1]:
        raise ValueError(f"files listed more than once, under names of different Unicode forms: {format_files(doubles)}")
    return files


def is_file(file: Path) -> bool:
    """Return whether a file exists; False for a name that no file can have, such as one of 300 characters."""
    try:
        return file.is_file()
    except OSError:
        return False


def same_form(text: str) -> str:
    """Return a text in Unicode form NFC, in which composed and decomposed characters (macOS) are equal."""
    return unicodedata.normalize("NFC", text)


def entries_by_form(folder: Path) -> Mapping[str, Path]:
    """Return the entries of a folder by their name in Unicode form NFC; {} for a path that is not a folder."""
    return {same_form(each.name): each for each in folder.iterdir()} if folder.is_dir() else {}


def find_other_form(root: Path, place: Path, entries: Callable[[Path], Mapping[str, Path]]) -> Path:
    """Return the existing path below `root` whose name has another Unicode form than `place`; `place` if there is none."""
    found = root
    for name in place.relative_to(root).parts:
        found = found / name if os.path.lexists(found / name) else entries(found).get(same_form(name), found / name)
    return found


def missing_hint(root: Path, file: Path) -> str:
    """Return a hint about a frequent cause of a missing file, or an empty text."""
    name = file.relative_to(root)
    if not name.parts:
        return "; a name is empty"
    if "\\" in str(name) and is_file(root / str(name).replace("\\", "/")):
        return "; write the names with '/' in place of '\\'"
    if name.parts[0] == root.name and is_file(root.parent / name):
        return f"; the names already contain the folder {root.name!r}, so set the folder above it, or remove {root.name + '/'!r}"
    below = [each / name for each in list_folders(root) if is_file(each / name)] if root.is_dir() else []
    if below:
        return f"; {format_file(below[0])} exists, so write {str(below[0].relative_to(root))!r}"
    stem = same_form(file.stem).casefold()
    similar = [each.name for form, each in entries_by_form(file.parent).items() if Path(form).stem.casefold() == stem]
    return f" (did you mean {similar[0]!r}?)" if similar else ""


def group_by_file(root: Path, files: Iterable[Path]) -> dict[str, list[str]]:
    """Return the grouping `file`: the names of the files, relative to `root`."""
    return {"file": [file.relative_to(root).as_posix() for file in files]}


def read_json(file: Path) -> Any:
    """Return the content of a JSON file. Raises ValueError for a missing or invalid file."""
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise ValueError(f"{format_file(file)} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{format_file(file)} is not valid JSON: {error}") from error


def format_files(files: Sequence[Path]) -> str:
    """Return the first names, and the number of further files."""
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return ", ".join(map(format_file, files[:SHOWN])) + more


def format_file(file: Path) -> str:
    """Return a file name as one safe line."""
    return escape(str(file))


def format_hint(name: str, others: Sequence[str]) -> str:
    """Return a hint with the closest name, or an empty text."""
    close = difflib.get_close_matches(name, others, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
