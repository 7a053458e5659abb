"""What is to be predicted (`predict.input`): files, in order, with names for what is written of them."""

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
"""Bytes of a name: what is added to it stays below the 255 that a file system takes."""


def find(config: Config) -> list[Path]:
    """The files, sorted: a file, those below a folder that are called like images, or what a glob gives.

    Hidden files and folders, and links to folders, are left out of a folder. Raises ConfigError where there is nothing, or
    where results would be written.
    """
    wanted = config.run.predict.input
    try:
        files = sorted(matching(wanted))
    except OSError as error:
        raise refused(config, f"{error.filename} cannot be looked into: {error.strerror}") from error
    if not files:
        raise refused(config, f"there is no image {wanted!r}" if wanted else "is missing: a file, a folder or a glob of images")
    output = os.path.realpath(run_folder.path_of(config.run) / run_folder.PREDICTIONS)
    if any(Path(os.path.realpath(file)).is_relative_to(output) for file in files):
        raise refused(config, f"there are files in {output}, where predictions are written; move them elsewhere")
    return files


def refused(config: Config, message: str) -> ConfigError:
    """What to raise."""
    return ConfigError([config.problem(("predict", "input"), message)])


def matching(wanted: str) -> Iterator[Path]:
    """What a file, a folder or a glob means; each is tried as the former first."""
    path = Path(wanted)
    if wanted and path.is_dir():
        yield from images_below(path)
    elif wanted and path.is_file():
        yield path
    else:
        yield from (Path(found) for found in glob.glob(wanted, recursive=True) if not Path(found).is_dir())  # noqa: PTH207 - it may be absolute


def images_below(folder: Path) -> Iterator[Path]:
    """Files by their endings, whatever is in them."""

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if Path(name).suffix.lower() in endings() and not name.startswith("."))


@functools.cache
def endings() -> frozenset[str]:
    """Of the formats that are read."""
    from PIL import Image  # noqa: PLC0415 - the config side starts at once

    from ddpkit.data.images import FORMATS  # noqa: PLC0415

    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS)


def names_of(files: Iterable[Path]) -> list[str]:
    """A name without ending for each, that no other has: its own, with what a file system may not like replaced.

    `a.png`, `a.jpg` -> `a`, `a-2`.
    """
    taken: set[str] = set()
    names = []
    for file in files:
        name = free(safe(file.stem), taken)
        taken.add(name.casefold())
        names.append(name)
    return names


def free(name: str, taken: Container[str]) -> str:
    """The name, or with the first number that makes it another one; some file systems take `A` for `a`."""
    number, found = 1, name
    while found.casefold() in taken:
        number += 1
        found = f"{name}-{number}"
    return found


def safe(stem: str) -> str:
    """Letters, digits, `_`, `.`, `-`, none of the last two first; never empty, never too long."""
    name = re.sub(r"[^\w.-]", "_", stem).lstrip(".-") or "image"
    return name.encode()[:LONGEST].decode(errors="ignore")
