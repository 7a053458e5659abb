"""Find the inputs of a prediction (`predict.input`): the files in order, and the names of their output files."""

import functools
import glob
import os
import re
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from ddpkit.config.loading import Config
from ddpkit.errors import ConfigError
from ddpkit.runs import folder as run_folder

LONGEST = 100
"""Maximum length of an output name, in bytes. With a suffix it stays below the 255 of a file system."""


def find_inputs(config: Config) -> list[Path]:
    """Return the input files, sorted: one file, the images below a folder (by suffix), or the matches of a glob.

    In a folder, hidden files, hidden folders and links to folders are skipped. Raises ConfigError if there is no input, if a
    folder cannot be read, or if an input is in the folder that the predictions are written to.
    """
    wanted = config.run.predict.input
    try:
        files = sorted(match_files(wanted))
    except OSError as error:
        raise input_error(config, f"the folder {error.filename} cannot be read: {error.strerror}") from error
    if not files:
        exists = glob.has_magic(wanted) or Path(wanted).exists()
        problem = f"{'no image found at' if exists else 'there is no file or folder'} {wanted!r}" if wanted else "is missing"
        raise input_error(config, f"{problem}; set it to an image file, a folder or a glob of images")
    output = os.path.realpath(run_folder.run_path(config.run) / run_folder.PREDICTIONS)
    if any(Path(os.path.realpath(file)).is_relative_to(output) for file in files):
        raise input_error(config, f"input files are in {output}, where predictions are written; move them to another folder")
    return files


def input_error(config: Config, message: str) -> ConfigError:
    return ConfigError([config.problem(("predict", "input"), message)])


def match_files(wanted: str) -> Iterator[Path]:
    """Yield the files of a path or a glob. An existing folder or file of that name has priority over a glob."""
    path = Path(wanted)
    if wanted and path.is_dir():
        yield from list_images(path)
    elif wanted and path.is_file():
        yield path
    else:
        yield from (Path(found) for found in glob.glob(wanted, recursive=True) if not Path(found).is_dir())  # noqa: PTH207 - an absolute pattern


def list_images(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that have the suffix of an image format; the content is not read."""

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (
            Path(place, name) for name in names if Path(name).suffix.lower() in image_suffixes() and not name.startswith(".")
        )


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes of the image formats that ddpkit reads."""
    from PIL import Image  # noqa: PLC0415 - commands without images start faster

    from ddpkit.data.images import FORMATS  # noqa: PLC0415

    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS)


def output_names(files: Iterable[Path]) -> list[str]:
    """Return a unique name without suffix for each file: its stem, with unsafe characters replaced.

    Example: `a.png`, `a.jpg` -> `a`, `a-2`.
    """
    taken: set[str] = set()
    names = []
    for file in files:
        name = unique_name(safe_name(file.stem), taken)
        taken.add(name.casefold())
        names.append(name)
    return names


def unique_name(name: str, taken: Container[str]) -> str:
    """Return the name; if it is taken, append the smallest number, starting with 2, that makes it unique."""
    number, found = 1, name
    while found.casefold() in taken:  # on some file systems, `A` and `a` are one name
        number += 1
        found = f"{name}-{number}"
    return found


def safe_name(stem: str) -> str:
    """Return the stem as a safe file name.

    It contains only letters, digits, `_`, `.` and `-`, does not start with `.` or `-`, is not empty, and has at most `LONGEST`
    bytes.
    """
    name = re.sub(r"[^\w.-]", "_", stem).lstrip(".-") or "image"
    return name.encode()[:LONGEST].decode(errors="ignore")
