"""Split that a run recorded. It replaces the split component if that was changed since, so that the run keeps its samples."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from ddpkit.data.dataset_info import DatasetInfo


@attrs.frozen
class RecordedSplit:
    """Samples of each split of a run that is resumed or tested."""

    names: Mapping[str, Sequence[str | int]]
    """Split -> identifiers of its samples, see `DatasetInfo.identify`; {}: the split component divides the samples."""
    digests: Mapping[str, Mapping[str, Any]] | None = None
    """Split -> number and digest of its samples, see `digest_samples`; None: not recorded."""

    def find_indices(self, info: DatasetInfo) -> dict[str, list[int]] | None:
        """Return the indices of each split; None if samples are missing, or differ in content or split from the recorded ones."""
        files = (info.groups or {}).get("file", [])
        index_of: dict[str | int, int] = dict(zip(files, range(len(files)), strict=True)) | dict(enumerate(range(len(info))))
        if not self.names.get("train") or any(name not in index_of for names in self.names.values() for name in names):
            return None
        indices = {split: [index_of[name] for name in names] for split, names in self.names.items()}
        if any({*own} != {*indices.get(split, [])} for split, own in info.splits.items()):
            return None
        now = {split: digest_samples(info, found) for split, found in indices.items() if found}
        return indices if self.digests in (None, now) else None


def digest_samples(info: DatasetInfo, indices: Sequence[int]) -> dict[str, Any]:
    """Return the number of samples, and a digest of their indices and of the classes and file names that are known."""
    digest = hashlib.sha256(np.asarray(indices, dtype=np.int64).tobytes())
    for records in info.records():
        if len(records) > max(indices, default=-1):
            digest.update(json.dumps([sample_identity(records[index]) for index in indices]).encode())
    return {"samples": len(indices), "sha256": digest.hexdigest()}


def sample_identity(value: Any) -> Any:
    """Return a class, or a file name and its class, without the folder of the file: the data may have moved."""
    if isinstance(value, tuple | list):
        return [sample_identity(each) for each in value]
    return Path(value).name if isinstance(value, str | Path) else repr(value.item() if hasattr(value, "item") else value)
