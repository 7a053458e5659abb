"""State of a run as files: tensors in safetensors, the rest in JSON. Loading them executes no code."""

import collections
import json
import math
from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from ddpkit.checkpoint.store import STATE, Checkpoint
from ddpkit.data.nested import iterate_tensors
from ddpkit.errors import CheckpointError
from ddpkit.runs.files import Chunk

MARK = "$"
"""Prefix of the keys that mark a value which JSON cannot represent."""
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
"""Names of the dtypes in the safetensors format (https://github.com/huggingface/safetensors)."""
ALIGNMENT = 8
"""Alignment of the data in the safetensors format, in bytes."""


def split_tensors(state: Mapping[str, Any]) -> tuple[Any, dict[str, dict[str, Tensor]]]:
    """Split a state into plain data for JSON and its tensors; return both.

    The tensors are grouped by top-level key: those of `model` are written to `model.safetensors`. Raise TypeError, with the path
    of the value, for a value that is neither a tensor nor plain data.
    """
    tensors: dict[str, dict[str, Tensor]] = {}
    plain = {key: encode(value, (key,), tensors) for key, value in state.items()}
    return plain, tensors


def encode(value: Any, path: tuple[str, ...], tensors: dict[str, dict[str, Tensor]]) -> Any:
    """Return a value as plain data; add its tensors to `tensors`."""
    match value:
        case Tensor() if value.dtype in DTYPES:
            name = "/".join(path[1:]) or path[0]
            if tensors.setdefault(path[0], {}).setdefault(name, value) is not value:
                raise TypeError(f"{'.'.join(path)}: another tensor already has the name {name!r} in the file; rename a key")
            return {"$tensor": name}
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else {"$float": repr(value)}
        case list() | tuple():
            items = [encode(item, (*path, str(number)), tensors) for number, item in enumerate(value)]
            return items if isinstance(value, list) else {"$tuple": items}
        case dict():
            return encode_table(value, path, tensors)
    kind = f"a tensor of dtype {value.dtype}" if isinstance(value, Tensor) else f"a value of type {type(value).__name__}"
    accepted = f"None, bool, int, float, str, list, tuple, dict, or a tensor of dtype {', '.join(DTYPES.values())}"
    raise TypeError(f"{'.'.join(path)}: a checkpoint cannot contain {kind}; use {accepted}")


def encode_table(table: dict[Any, Any], path: tuple[str, ...], tensors: dict[str, dict[str, Tensor]]) -> Any:
    """Return a dict as plain data: as a list of pairs if a key is not a string or starts with MARK."""
    items = {key: encode(value, (*path, str(key)), tensors) for key, value in table.items()}
    if isinstance(table, collections.Counter):
        return {"$counter": list(map(list, items.items()))}
    if all(isinstance(key, str) and not key.startswith(MARK) for key in items):
        return items
    return {"$pairs": [[encode(key, path, tensors), value] for key, value in items.items()]}


def decode_state(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Decode what `encode` returned; `tensors` are the tensors by name."""
    if isinstance(value, list):
        return [decode_state(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and (mark := next(iter(value))).startswith(MARK):
        return decode_mark(mark, value[mark], tensors)
    return {key: decode_state(item, tensors) for key, item in value.items()}


def decode_mark(mark: str, content: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Decode a value that JSON cannot represent. Raise ValueError for an unknown mark."""
    match mark:
        case "$tensor":
            return tensors[content]
        case "$float":
            return float(content)
        case "$tuple":
            return tuple(decode_state(item, tensors) for item in content)
        case "$counter":
            return collections.Counter(dict(content))
        case "$pairs":
            return {decode_state(key, tensors): decode_state(item, tensors) for key, item in content}
    raise ValueError(f"unknown mark {mark!r}")


def load_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the state in a checkpoint, on the CPU. Raise CheckpointError if this version cannot read it."""
    from safetensors import SafetensorError  # noqa: PLC0415 - needed only for tensors
    from safetensors.torch import load as load_tensors  # noqa: PLC0415

    def tensors_of(key: str) -> dict[str, Tensor]:
        data = checkpoint.files.get(f"{key}.safetensors")
        return {} if data is None else load_tensors(data)

    try:
        return {key: decode_state(value, tensors_of(key)) for key, value in checkpoint.plain.items()}
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        message = f"cannot be read by this version of ddpkit: {type(error).__name__}: {error}"
        raise CheckpointError(f"{checkpoint.folder} {message}; resume with the version that wrote it") from error


@attrs.frozen
class StagingBuffer:
    """Host memory for a safetensors file: its header, and one buffer with all tensors in sequence."""

    shapes: Mapping[str, tuple[torch.dtype, torch.Size]]
    header: bytes
    buffer: Tensor
    places: Mapping[str, Tensor]
    """View of the buffer for each tensor, by name."""

    @classmethod
    def of(cls, named: Mapping[str, Tensor], *, pinned: bool) -> "StagingBuffer":
        """Allocate a buffer for tensors of these shapes and dtypes."""
        # widest dtypes first, as in the safetensors library, so that every tensor is aligned
        order = dict(sorted(named.items(), key=lambda item: (-item[1].element_size(), item[0])))
        buffer = torch.empty(sum(tensor.nbytes for tensor in order.values()), dtype=torch.uint8, pin_memory=pinned)
        header, places, end = {}, {}, 0
        for name, tensor in order.items():
            begin, end = end, end + tensor.nbytes
            header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
            places[name] = buffer[begin:end].view(tensor.dtype).view(tensor.shape)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % ALIGNMENT)
        return cls(tensor_shapes(named), len(text).to_bytes(8, "little") + text, buffer, places)

    def filled(self, named: Mapping[str, Tensor]) -> list[Chunk]:
        """Copy the tensors into the buffer; return the chunks of the file, which are valid until the next call."""
        for name, place in self.places.items():
            place.copy_(named[name], non_blocking=True)
        return [self.header, self.buffer.numpy().data if self.places else b""]


def tensor_shapes(named: Mapping[str, Tensor]) -> dict[str, tuple[torch.dtype, torch.Size]]:
    return {name: (tensor.dtype, tensor.shape) for name, tensor in named.items()}


@attrs.define
class Staging:
    """Buffers for the tensors of a save. They are reused, because allocating memory takes longer than the copy."""

    pinned: bool = False
    """Whether the buffers use pinned memory, so that copies from CUDA do not block."""
    buffers: dict[str, StagingBuffer] = attrs.field(factory=dict)

    def stage(self, plain: Any, tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, list[Chunk]]:
        """Copy a state from `split_tensors`; return its files by name, which are valid until the next call."""
        files = {f"{key}.safetensors": self.staged(key, named) for key, named in tensors.items()}
        if self.pinned:
            torch.cuda.current_stream().synchronize()
        return {STATE: [json.dumps(plain, allow_nan=False).encode()], **files}

    def staged(self, key: str, named: Mapping[str, Tensor]) -> list[Chunk]:
        if key not in self.buffers or self.buffers[key].shapes != tensor_shapes(named):
            self.buffers[key] = StagingBuffer.of(named, pinned=self.pinned)
        return self.buffers[key].filled(named)


def count_bytes(state: Any) -> int:
    """Return the size of all tensors in a state, in bytes."""
    return sum(tensor.nbytes for tensor in iterate_tensors(state))
