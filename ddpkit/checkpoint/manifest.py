"""What belongs to a checkpoint: the size and SHA-256 of each file, and of the list itself.

It tells damage, not forgery: who can write the folder can write a manifest too.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ddpkit.runs.files import Written

NAME = "manifest.json"
FORMAT = 1
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}")
LARGEST = {NAME: 1 << 20, "state.json": 64 << 20}
"""Bytes; tensors are as large as they are."""


class DamagedError(Exception):
    """A folder is not the checkpoint that was written."""


def encoded(step: int, files: Mapping[str, Written]) -> bytes:
    """The manifest file."""
    listed = {name: attrs.asdict(written) for name, written in files.items()}
    return canonical({"format": FORMAT, "step": step, "files": listed})


def canonical(content: Mapping[str, Any]) -> bytes:
    """With its own digest: the one way to write this content, so that a change of any bit shows."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**content, "sha256": digest}, sort_keys=True, indent=1) + "\n").encode()


def read(folder: Path) -> Mapping[str, Any]:
    """The manifest of a folder. Raises DamagedError."""
    data = read_file(folder / NAME)
    try:
        content = json.loads(data)
        content.pop("sha256")
        if canonical(content) != data:
            raise DamagedError(f"{NAME} was changed")
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise DamagedError(f"{NAME} is no manifest") from error
    if content.get("format") != FORMAT:
        raise DamagedError(f"it is of format {content.get('format')!r}, this version reads {FORMAT}")
    return dict(content)


def verified(folder: Path) -> dict[str, bytes]:
    """Every file that the manifest lists, as it was written. Raises DamagedError."""
    content = read(folder)
    if folder.name != f"step-{content['step']:012d}":
        raise DamagedError(f"it holds step {content['step']}")
    return {name: verified_file(folder, name, content) for name in content["files"]}


def verified_file(folder: Path, name: str, content: Mapping[str, Any]) -> bytes:
    """A file that the manifest lists. Raises DamagedError."""
    if not PLAIN_NAME.fullmatch(name):
        raise DamagedError(f"{name!r} is no name of a file in it")
    data, wanted = read_file(folder / name), Written(**content["files"][name])
    if len(data) != wanted.size:
        raise DamagedError(f"{name} has {len(data)} bytes, {wanted.size} were written")
    if hashlib.sha256(data).hexdigest() != wanted.sha256:
        raise DamagedError(f"{name} is not what was written (SHA-256)")
    return data


def read_file(file: Path) -> bytes:
    """All of a regular file, through one descriptor: what is verified is what is used. Raises DamagedError."""
    try:
        with open(file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as stream:
            about = os.fstat(stream.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST.get(file.name, about.st_size):
                raise DamagedError(f"{file.name} is no file of a checkpoint")
            return stream.read()
    except OSError as error:
        raise DamagedError(f"{file.name}: {error.strerror}") from error
