"""Inspection and verification of checkpoints, without loading tensors and without importing torch."""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from safetensors import SafetensorError, safe_open

from ddpkit.checkpoint import manifest
from ddpkit.checkpoint.manifest import CorruptError
from ddpkit.checkpoint.resume import CHECKPOINTS_FOLDER, find_latest_run
from ddpkit.checkpoint.store import STATE, STEP, Store
from ddpkit.config.loading import Config
from ddpkit.errors import CheckpointError, ConfigError, DdpkitError, Diagnostic
from ddpkit.runs import lock


@attrs.frozen
class CheckpointFile:
    """File of a checkpoint: its size and the number of its tensors."""

    name: str
    size: int
    """Size of the file in bytes."""
    n_tensors: int
    n_numbers: int
    """Number of elements in all its tensors."""


@attrs.frozen
class Inspection:
    """Content of a checkpoint, without its tensors."""

    folder: Path
    state: Mapping[str, Any]
    """State without its tensors, as `checkpoint.serialization` writes it."""
    files: list[CheckpointFile]


def find_store(path: Path) -> Store:
    """Return the store of a run folder, of its `checkpoints/`, or of the run in the folder of a task that saved last.

    Raise ConfigError if there is no checkpoint.
    """
    path = path.parent if path.name == "config.toml" else path
    others = sorted(path.glob(f"*/{CHECKPOINTS_FOLDER}"), key=lambda each: each.stat().st_mtime, reverse=True)
    folder = next((each for each in (path / CHECKPOINTS_FOLDER, path, *others) if Store(each).folders()), None)
    if folder is None:
        message = f"contains no checkpoint; pass a run folder, one of its folders '{CHECKPOINTS_FOLDER}/step-...'"
        raise ConfigError([Diagnostic("PATH", (), f"{path} {message}, or the folder of a task for its newest checkpoint")])
    return Store(folder)


def inspect(path: Path) -> Inspection:
    """Read a checkpoint, or the newest one of a run, without verifying its tensors.

    Raise ConfigError if there is no checkpoint, CheckpointError if its manifest or its plain state is corrupt.
    """
    folder = path if STEP.fullmatch(path.absolute().name) and path.is_dir() else find_store(path).folders()[0]
    try:
        content = manifest.read_manifest(folder)
        state = json.loads(manifest.read_verified_file(folder, STATE, content))
    except (CorruptError, KeyError) as error:
        raise CheckpointError(f"{folder} is corrupt: {error}") from error
    return Inspection(folder, state, [describe_file(folder / name, listed["size"]) for name, listed in content["files"].items()])


def inspect_unfinished(config: Config) -> Inspection | None:
    """Read the newest checkpoint of the newest unfinished run of the task; None if there is none that a new process can resume.

    A run whose lock is held is still in progress.
    """
    folder = find_latest_run(config)
    if folder is None:
        return None
    with contextlib.suppress(DdpkitError, OSError), lock.hold_lock(folder, wait=0, shared=True):
        return inspect(folder)
    return None


def inspect_weights(file: Path) -> CheckpointFile:
    """Describe a weights file. Raise ConfigError if it cannot be read as safetensors."""
    try:
        return describe_file(file, file.stat().st_size)
    except (OSError, SafetensorError) as error:
        raise ConfigError([Diagnostic("PATH", (), f"{file} cannot be read as safetensors: {error}")]) from error


def describe_file(file: Path, size: int) -> CheckpointFile:
    """Describe a file; its tensors are counted by reading only its header."""
    if file.suffix != ".safetensors":
        return CheckpointFile(file.name, size, 0, 0)
    with safe_open(file, framework="numpy") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118 - not a mapping
    return CheckpointFile(file.name, size, len(shapes), sum(map(math.prod, shapes)))


def verify_checkpoints(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield each checkpoint of a run, newest first, and its error (`""` if it is valid). Raise ConfigError if there is none."""
    store = find_store(path)
    for folder in store.folders():
        try:
            store.open(folder)
        except CorruptError as error:
            if folder.exists():  # otherwise the run is still in progress and has deleted it
                yield folder, str(error)
        else:
            yield folder, ""
