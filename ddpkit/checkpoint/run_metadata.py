"""What a run is beside its engine, as each of its checkpoints tells it, and what is no longer so."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from ddpkit.checkpoint.resume import Origin
from ddpkit.config import diff
from ddpkit.config.loading import Config, tables
from ddpkit.data.loader import Batches
from ddpkit.distributed.world import World
from ddpkit.errors import ConfigError
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import plugin_manifest
from ddpkit.training.callbacks import Row
from ddpkit.training.trainer import Engine

RESCHEDULED = {("train", "epoch"), ("train", "optimizer"), ("train", "lr_scheduler")}
"""Tables that rates and the options of the optimizer come from."""


@attrs.frozen(kw_only=True)
class Record:
    """Of a run as it is now."""

    config: Config
    plugins: Sequence[Mapping[str, str]]
    """Those that it uses."""
    environment: Mapping[str, Any]
    """What the bits of a run depend on, beside its config."""
    data: Mapping[str, Mapping[str, Any]]
    """Of each part."""
    changes: Sequence[str] = ()
    """What became another since the run began, and when."""

    @classmethod
    def of(cls, config: Config, plugins: Plugins, engine: Engine, origin: Origin | None = None) -> "Record":
        """Of a run that was built. Raises ConfigError when its data is not that of the run that goes on."""
        parts = {"train": engine.train, "valid": engine.valid, "test": engine.test}
        made = cls(
            config=config,
            plugins=plugin_manifest.plugins_of(config, plugins),
            environment=environment_of(engine.world),
            data={part: data_of(batches) for part, batches in parts.items() if batches},
        )
        if origin and origin.checkpoint:
            made.refuse_other_data(origin.checkpoint.plain["run"]["data"], origin.allowed)
        return made

    def plain(self, history: Sequence[Row]) -> dict[str, Any]:
        """As plain data, with the epochs so far."""
        return {
            "config": tables(self.config.run),
            "plugins": [dict(each) for each in self.plugins],
            "environment": dict(self.environment),
            "data": {part: dict(each) for part, each in self.data.items()},
            "history": [dict(row) for row in history],
            "changes": list(self.changes),
        }

    def refuse_other_data(self, before: Mapping[str, Mapping[str, Any]], allowed: Sequence[str]) -> None:
        """Raise ConfigError when a part is no longer what it was, unless `drift.DATA` may differ."""
        different = [part for part in ("train", "valid") if self.data.get(part) != before.get(part)]
        if not different or diff.DATA in allowed:
            return
        now, then = (", ".join(shown(part, data.get(part)) for part in different) for data in (self.data, before))
        message = f"has other samples than in the run that goes on: {now} now, {then} then"
        remedy = f"bring them back, or begin a run of another 'run_id', or add '--allow-drift {diff.DATA}'"
        raise ConfigError([self.config.problem((diff.DATA,), f"{message}; {remedy}")])

    def is_rescheduled(self, before: Mapping[str, Any]) -> bool:
        """Whether rates or options of the optimizer are others than in the plain record of an earlier process."""
        return any(change.path[:2] in RESCHEDULED for change in diff.changes(before["config"], self.config))

    def differences(self, before: Mapping[str, Any]) -> list[str]:
        """In words, all that is another than in the plain record of an earlier process: config, data, machine."""
        was, now = before["environment"], self.environment
        free = ("ranks",) if self.config.run.ddp.virtual_shards > 1 else ()
        return [
            *map(str, diff.changes(before["config"], self.config)),
            *(
                f"{shown(part, self.data.get(part))}, and {shown(part, before['data'].get(part))} before"
                for part in sorted({*self.data, *before["data"]})
                if self.data.get(part) != before["data"].get(part)
            ),
            *(
                f"{key} {now[key]}, and {was[key]} before: the same samples in the same order, but not the same bits from here on"
                for key in now
                if now[key] != was[key] and key not in free
            ),
        ]


def environment_of(world: World) -> dict[str, Any]:
    """What the bits of a run depend on, beside its config."""
    return {"torch": torch.__version__, "device": world.device.type, "ranks": world.size, "threads": world.threads}


def data_of(batches: Batches) -> dict[str, Any]:
    """How many samples a part has, and a digest of which: positions; classes and names of files where a dataset tells them."""
    dataset, indices = batches.samples.dataset, batches.sampler.indices
    digest = hashlib.sha256(np.asarray(indices, dtype=np.int64).tobytes())
    for name in ("targets", "samples", "files"):
        known = getattr(dataset, name, None)
        if isinstance(known, list | tuple | torch.Tensor | np.ndarray) and len(known) > max(indices, default=-1):
            digest.update(json.dumps([told(known[index]) for index in indices]).encode())
    return {"samples": len(indices), "sha256": digest.hexdigest()}


def told(value: Any) -> Any:
    """A class, or a file and its class; of a file the name, since a folder may have moved."""
    if isinstance(value, tuple | list):
        return [told(each) for each in value]
    return Path(value).name if isinstance(value, str | Path) else repr(value.item() if hasattr(value, "item") else value)


def shown(part: str, data: Mapping[str, Any] | None) -> str:
    """`train 180 samples (ab12cd34)`."""
    return f"{part} {data['samples']} samples ({data['sha256'][:8]})" if data else f"no {part} samples"
