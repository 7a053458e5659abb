"""What is in a checkpoint, and whether it is what was written. No tensor is loaded, and no torch."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from safetensors import safe_open

from ddpkit.checkpoint import manifest
from ddpkit.checkpoint.manifest import DamagedError
from ddpkit.checkpoint.resume import FOLDER
from ddpkit.checkpoint.store import STATE, STEP, Store
from ddpkit.errors import CheckpointError, ConfigError, Problem


@attrs.frozen
class Holding:
    """A file of a checkpoint."""

    name: str
    size: int
    """Bytes."""
    n_tensors: int
    n_numbers: int
    """In all of them."""


@attrs.frozen
class Inspection:
    """A checkpoint."""

    folder: Path
    state: Mapping[str, Any]
    """Without its tensors, as `checkpoint.state` writes it."""
    files: list[Holding]


def store_of(path: Path) -> Store:
    """The checkpoints that a path means: of a run, or of `checkpoints/`. Raises ConfigError where there are none."""
    folder = next((each for each in (path / FOLDER, path) if Store(each).folders()), None)
    if folder is None:
        message = f"{path} holds no checkpoint; name the folder of a run, or a '{FOLDER}/step-...' in it"
        raise ConfigError([Problem("PATH", (), message)])
    return Store(folder)


def inspect(path: Path) -> Inspection:
    """A checkpoint, or the newest of a run. Its tensors are not verified. Raises ConfigError, CheckpointError."""
    folder = path if STEP.fullmatch(path.absolute().name) and path.is_dir() else store_of(path).folders()[0]
    try:
        content = manifest.read(folder)
        state = json.loads(manifest.verified_file(folder, STATE, content))
    except (DamagedError, KeyError) as error:
        raise CheckpointError(f"{folder} is damaged: {error}") from error
    return Inspection(folder, state, [holding(folder / name, listed["size"]) for name, listed in content["files"].items()])


def holding(file: Path, size: int) -> Holding:
    """A file, by its header."""
    if file.suffix != ".safetensors":
        return Holding(file.name, size, 0, 0)
    with safe_open(file, framework="numpy") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118 - it is no mapping
    return Holding(file.name, size, len(shapes), sum(map(math.prod, shapes)))


def verified(path: Path) -> Iterator[tuple[Path, str]]:
    """Each checkpoint of a run, the newest first, and what is wrong with it; `""` for a good one. Raises ConfigError."""
    store = store_of(path)
    for folder in store.folders():
        try:
            store.open(folder)
        except DamagedError as error:
            if folder.exists():  # else the run, which goes on, has removed it
                yield folder, str(error)
        else:
            yield folder, ""
