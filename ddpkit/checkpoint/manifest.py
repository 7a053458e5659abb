"""Manifest of a checkpoint: the size and SHA-256 of each file, and the SHA-256 of the manifest itself.

It detects corruption, not forgery: any process that can write to the folder can also write a manifest.
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

from ddpkit.runs.files import FileDigest

NAME = "manifest.json"
FORMAT = 1
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}")
LARGEST = {NAME: 1 << 20, "state.json": 64 << 20}
"""Largest accepted size in bytes; files of tensors have no limit."""


class CorruptError(Exception):
    """Error for a folder whose content is not the checkpoint that was written."""


def encode_manifest(step: int, files: Mapping[str, FileDigest]) -> bytes:
    listed = {name: attrs.asdict(written) for name, written in files.items()}
    return canonical_json({"format": FORMAT, "step": step, "files": listed})


def canonical_json(content: Mapping[str, Any]) -> bytes:
    """Return JSON with its own digest. Each content has exactly one valid encoding, so a change of any bit is detected."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**content, "sha256": digest}, sort_keys=True, indent=1) + "\n").encode()


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """Return the manifest of a folder. Raise CorruptError if it is missing, changed or of another format."""
    data = read_file(folder / NAME)
    try:
        content = json.loads(data)
        content.pop("sha256")
        if canonical_json(content) != data:
            raise CorruptError(f"{NAME} was modified")
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise CorruptError(f"{NAME} is not a manifest") from error
    if content.get("format") != FORMAT:
        raise CorruptError(f"it has format {content.get('format')!r}, but this version of ddpkit reads format {FORMAT}")
    return dict(content)


def verify_checkpoint(folder: Path) -> dict[str, bytes]:
    """Return the content of every file in the manifest. Raise CorruptError if a file differs from what was written."""
    content = read_manifest(folder)
    if folder.name != f"step-{content['step']:012d}":
        raise CorruptError(f"it was saved at step {content['step']}, but the name of its folder has another step")
    return {name: read_verified_file(folder, name, content) for name in content["files"]}


def read_verified_file(folder: Path, name: str, content: Mapping[str, Any]) -> bytes:
    """Return the content of a file in the manifest. Raise CorruptError if it differs from what was written."""
    if not PLAIN_NAME.fullmatch(name):
        raise CorruptError(f"{NAME} contains {name!r}, which is not a valid file name")
    data, wanted = read_file(folder / name), FileDigest(**content["files"][name])
    if len(data) != wanted.size:
        raise CorruptError(f"{name} has {len(data)} bytes, but {wanted.size} bytes were written")
    if hashlib.sha256(data).hexdigest() != wanted.sha256:
        raise CorruptError(f"{name} differs from what was written (SHA-256)")
    return data


def read_file(file: Path) -> bytes:
    """Return the content of a regular file. Raise CorruptError for anything else, or if it cannot be read."""
    try:  # one descriptor for check and read: the bytes that are verified are the bytes that are used
        with open(file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as stream:
            about = os.fstat(stream.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST.get(file.name, about.st_size):
                raise CorruptError(f"{file.name} is not a regular file, or is too large")
            return stream.read()
    except OSError as error:
        raise CorruptError(f"{file.name}: {error.strerror}") from error
