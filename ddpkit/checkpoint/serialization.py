"""A run's state as files: tensors in safetensors, the rest as JSON. Nothing in it can run."""

import collections
import json
import math
from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from ddpkit.checkpoint.store import STATE, Checkpoint
from ddpkit.data.nested import tensors_in
from ddpkit.errors import CheckpointError
from ddpkit.runs.files import Chunk

MARK = "$"
"""Keys that begin with it stand for what JSON lacks."""
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The format's words, https://github.com/huggingface/safetensors."""
ALIGNMENT = 8
"""Bytes to which the format aligns its data."""


def split(state: Mapping[str, Any]) -> tuple[Any, dict[str, dict[str, Tensor]]]:
    """Plain data for JSON, and the tensors of each key that holds any: `model` -> `model.safetensors`.

    Raises TypeError, naming the place, for what is neither tensor nor plain data.
    """
    tensors: dict[str, dict[str, Tensor]] = {}
    plain = {key: encoded(value, (key,), tensors) for key, value in state.items()}
    return plain, tensors


def encoded(value: Any, path: tuple[str, ...], tensors: dict[str, dict[str, Tensor]]) -> Any:
    """One value; its tensors are put into `tensors`."""
    match value:
        case Tensor() if value.dtype in DTYPES:
            name = "/".join(path[1:]) or path[0]
            if tensors.setdefault(path[0], {}).setdefault(name, value) is not value:
                raise TypeError(f"{'.'.join(path)}: another value has this name in the file")
            return {"$tensor": name}
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else {"$float": repr(value)}
        case list() | tuple():
            items = [encoded(item, (*path, str(number)), tensors) for number, item in enumerate(value)]
            return items if isinstance(value, list) else {"$tuple": items}
        case dict():
            return encoded_table(value, path, tensors)
    kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
    raise TypeError(f"{'.'.join(path)}: a checkpoint holds plain data and tensors of {len(DTYPES)} types, not {kind}")


def encoded_table(table: dict[Any, Any], path: tuple[str, ...], tensors: dict[str, dict[str, Tensor]]) -> Any:
    """One whose keys are no text becomes pairs."""
    items = {key: encoded(value, (*path, str(key)), tensors) for key, value in table.items()}
    if isinstance(table, collections.Counter):
        return {"$counter": list(map(list, items.items()))}
    if all(isinstance(key, str) and not key.startswith(MARK) for key in items):
        return items
    return {"$pairs": [[encoded(key, path, tensors), value] for key, value in items.items()]}


def decoded(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `encoded` was given."""
    if isinstance(value, list):
        return [decoded(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and (mark := next(iter(value))).startswith(MARK):
        return decoded_mark(mark, value[mark], tensors)
    return {key: decoded(item, tensors) for key, item in value.items()}


def decoded_mark(mark: str, content: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What JSON lacks. Raises ValueError for a mark of another version."""
    match mark:
        case "$tensor":
            return tensors[content]
        case "$float":
            return float(content)
        case "$tuple":
            return tuple(decoded(item, tensors) for item in content)
        case "$counter":
            return collections.Counter(dict(content))
        case "$pairs":
            return {decoded(key, tensors): decoded(item, tensors) for key, item in content}
    raise ValueError(f"what is {mark!r}?")


def load(checkpoint: Checkpoint) -> dict[str, Any]:
    """The state that a checkpoint holds, on the CPU. Raises CheckpointError for one that this version cannot read."""
    from safetensors import SafetensorError  # noqa: PLC0415 - with its tensors alone
    from safetensors.torch import load as load_tensors  # noqa: PLC0415

    try:
        return {
            key: decoded(
                value, load_tensors(checkpoint.files[file]) if (file := f"{key}.safetensors") in checkpoint.files else {}
            )
            for key, value in checkpoint.plain.items()
        }
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise CheckpointError(f"{checkpoint.folder} was written by another version: {type(error).__name__}: {error}") from error


@attrs.frozen
class Room:
    """Host memory for a safetensors file: its header, and a buffer with the tensors one behind the other."""

    shapes: Mapping[str, tuple[torch.dtype, torch.Size]]
    header: bytes
    buffer: Tensor
    places: Mapping[str, Tensor]
    """The buffer's part for each name."""

    @classmethod
    def of(cls, named: Mapping[str, Tensor], *, pinned: bool) -> "Room":
        """For tensors like these; the widest numbers first, as the format aligns them."""
        order = dict(sorted(named.items(), key=lambda item: (-item[1].element_size(), item[0])))
        buffer = torch.empty(sum(tensor.nbytes for tensor in order.values()), dtype=torch.uint8, pin_memory=pinned)
        header, places, end = {}, {}, 0
        for name, tensor in order.items():
            begin, end = end, end + tensor.nbytes
            header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
            places[name] = buffer[begin:end].view(tensor.dtype).view(tensor.shape)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % ALIGNMENT)
        return cls(shapes_of(named), len(text).to_bytes(8, "little") + text, buffer, places)

    def filled(self, named: Mapping[str, Tensor]) -> list[Chunk]:
        """Copy the tensors; the file, of use until the next call."""
        for name, place in self.places.items():
            place.copy_(named[name], non_blocking=True)
        return [self.header, self.buffer.numpy().data if self.places else b""]


def shapes_of(named: Mapping[str, Tensor]) -> dict[str, tuple[torch.dtype, torch.Size]]:
    """What a room is made for."""
    return {name: (tensor.dtype, tensor.shape) for name, tensor in named.items()}


@attrs.define
class Staging:
    """Rooms for the tensors of one save: allocated once, since fresh pages cost more than the copy."""

    pinned: bool = False
    """For copies from CUDA that do not wait."""
    rooms: dict[str, Room] = attrs.field(factory=dict)

    def stage(self, plain: Any, tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, list[Chunk]]:
        """Copy a state that was `split`; returns its files. They are of use until the next call."""
        files = {f"{key}.safetensors": self.staged(key, named) for key, named in tensors.items()}
        if self.pinned:
            torch.cuda.current_stream().synchronize()
        return {STATE: [json.dumps(plain, allow_nan=False).encode()], **files}

    def staged(self, key: str, named: Mapping[str, Tensor]) -> list[Chunk]:
        """A safetensors file."""
        if key not in self.rooms or self.rooms[key].shapes != shapes_of(named):
            self.rooms[key] = Room.of(named, pinned=self.pinned)
        return self.rooms[key].filled(named)


def size_of(state: Any) -> int:
    """Bytes of all tensors in it."""
    return sum(tensor.nbytes for tensor in tensors_in(state))
