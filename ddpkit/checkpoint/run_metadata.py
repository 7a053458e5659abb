"""Run metadata in every checkpoint, and its comparison with the current run.

The metadata consists of the config, the plugins, the environment and a digest of the data.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch

from ddpkit.checkpoint.data_changes import DataState, describe_file_changes, describe_sample_changes
from ddpkit.checkpoint.resume import ResumePoint
from ddpkit.config import diff, schema
from ddpkit.config.component_refs import optimizer_tables
from ddpkit.config.loading import Config, to_tables
from ddpkit.errors import ConfigError, Diagnostic, KeyPath
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import plugin_manifest
from ddpkit.training.callbacks import Row
from ddpkit.training.trainer import Trainer

READERS = "readers per rank"
"""Condition of a stream, whose order depends on it and on the number of ranks."""


@attrs.frozen(kw_only=True)
class RunMetadata:
    """Metadata of the current run."""

    config: Config
    plugins: Sequence[Mapping[str, str]]
    """Name, version and digest of each plugin that the run uses."""
    environment: Mapping[str, Any]
    """Conditions for bit-identical results, in addition to the config: torch version, device type, ranks, threads."""
    data: Mapping[str, Mapping[str, Any]]
    """Number of samples and digest of each split."""
    helpers: Mapping[str, str] = attrs.field(factory=dict)
    """Digest of the weights of each model in `[train.helpers]`."""
    data_changes: Sequence[str] = ()
    """Samples and data files that changed since the resumed run recorded them; only rank 0 looks at the files."""
    changes: Sequence[str] = ()
    """Changes since the run was started, each with its step and epoch."""
    keeps_split: bool = False
    """Whether the samples are those of the recorded split, because the split component was changed since the run was started."""

    @classmethod
    def of(
        cls,
        config: Config,
        plugins: Plugins,
        trainer: Trainer,
        resume_point: ResumePoint | None = None,
        *,
        keeps_split: bool = False,
    ) -> "RunMetadata":
        """Collect the metadata of a trainer that was built. Raise ConfigError if its data or helpers have changed."""
        made = cls(
            config=config,
            plugins=plugin_manifest.list_used_plugins(config, plugins),
            environment=numerics_environment(trainer),
            data={split: loader.digest() for split, loader in trainer.split_loaders.items()},
            helpers={name: helper.digest() for name, helper in trainer.context.helpers.items()},
            keeps_split=keeps_split,
        )
        if not resume_point or not resume_point.metadata:
            return made
        made.check_helpers(resume_point.metadata.get("helpers", {}), resume_point.allowed)
        before = DataState.of_run(resume_point.folder)
        now = DataState.of_loaders(trainer.split_loaders, with_files=trainer.world.is_main)
        explanation = describe_sample_changes(before, now)
        made.check_data(resume_point.metadata["data"], resume_point.allowed, explanation)
        moved = [f"dataset: {explanation}"] if explanation else []
        return attrs.evolve(made, data_changes=[*moved, *describe_file_changes(before, now)])

    def to_plain(self, history: Sequence[Row]) -> dict[str, Any]:
        """Return the metadata as plain data, with the history so far."""
        return {
            "config": to_tables(self.config.run),
            "plugins": [dict(each) for each in self.plugins],
            "environment": dict(self.environment),
            "data": {split: dict(each) for split, each in self.data.items()},
            "helpers": dict(self.helpers),
            "history": [dict(row) for row in history],
            "changes": list(self.changes),
            "keeps_split": self.keeps_split,
        }

    def check_data(self, before: Mapping[str, Mapping[str, Any]], allowed: Sequence[str], explanation: str) -> None:
        """Raise ConfigError if the train or valid split changed, unless `allowed` contains `diff.DATA`.

        `explanation`: which samples are missing, new or moved; empty if this is not known.
        """
        different = [split for split in ("train", "valid") if self.data.get(split) != before.get(split)]
        if not different or diff.DATA in allowed:
            return
        now, then = (", ".join(describe_data(split, data.get(split)) for split in different) for data in (self.data, before))
        message = f"the samples differ from those of the resumed run: {explanation or f'{now} now, {then} before'}"
        remedy = f"restore the data, start a new run with another 'run_id', or add '--allow-drift {diff.DATA}'"
        raise ConfigError([self.config.problem((diff.DATA,), f"{message}; {remedy}")])

    def helper_changes(self, before: Mapping[str, str]) -> dict[str, str]:
        """Describe the helpers whose weights differ, by name. A new name is a change of the config."""
        changed = {name: now for name, now in self.helpers.items() if before.get(name, now) != now}
        return {name: f"weights {now[:8]} now, {before[name][:8]} before" for name, now in changed.items()}

    def check_helpers(self, before: Mapping[str, str], allowed: Sequence[str]) -> None:
        """Raise ConfigError if a helper has other weights than in the resumed run, unless `allowed` lists it."""
        changes = self.helper_changes(before)
        refused = [name for name in changes if not any(diff.is_below(f"{diff.HELPERS}.{name}", each) for each in allowed)]
        if refused:
            raise ConfigError([self.helper_problem(name, changes[name]) for name in refused])

    def helper_problem(self, name: str, change: str) -> Diagnostic:
        file = self.config.run.train.helpers[name].pretrained
        path = ("train", "helpers", name, *(["pretrained"] if file else []))
        message = f"its weights differ from those of the resumed run{f' ({file})' if file else ''}: {change}"
        remedy = f"use the former weights, start a new run with another 'run_id', or add '--allow-drift {diff.HELPERS}.{name}'"
        return self.config.problem(path, f"{message}; {remedy}")

    def rescheduled_optimizers(self, before: Mapping[str, Any]) -> set[str]:
        """Return the names of the optimizers whose learning rates or options differ from `before`.

        `before`: plain metadata of an earlier process. The optimizer of `[train.optimizer]` has an empty name.
        """
        changed = [change.path for change in diff.find_changes(before["config"], self.config)]
        tables = optimizer_tables(self.config.run.train)
        return {
            getattr(table, "name", "") for path, table in tables.items() if any(sets_options(key, path, table) for key in changed)
        }

    def differences(self, before: Mapping[str, Any]) -> list[str]:
        """Describe all differences from `before`, the plain metadata of an earlier process: config, data, machine."""
        return [
            *map(str, diff.find_changes(before["config"], self.config)),
            *(
                f"{describe_data(split, self.data.get(split))} now, {describe_data(split, before['data'].get(split))} before"
                for split in sorted({*self.data, *before["data"]})
                if self.data.get(split) != before["data"].get(split)
            ),
            *self.environment_changes(before["environment"]),
            *self.data_changes,
            *(f"{diff.HELPERS}.{name}: {text}" for name, text in self.helper_changes(before.get("helpers", {})).items()),
        ]

    def environment_changes(self, was: Mapping[str, Any]) -> Iterator[str]:
        """Yield a warning about each condition that has changed, such as the number of ranks."""
        now = self.environment
        free = ("ranks",) if self.config.run.ddp.virtual_shards > 1 else ()
        for key in now:
            if now[key] != was.get(key, now[key]) and key not in free:
                is_stream = READERS in now and key in ("ranks", READERS)
                order = "changes, and" if is_stream else "stays the same, but"
                change = f"{key}: {now[key]} now, {was[key]} before; the order of the samples {order}"
                yield f"{change} from here on the results are not bit-identical"


def sets_options(changed: KeyPath, path: KeyPath, table: schema.Optimizer) -> bool:
    """Return whether a changed key determines the learning rates or the options of the optimizer whose table is at `path`."""
    default = [] if getattr(table, "lr_scheduler", None) else [("train", "lr_scheduler")]
    above = any(changed[: len(each)] == each for each in [path, ("train", "epoch"), *default])
    return above and changed != (*path, "grad_clip_norm")


def numerics_environment(trainer: Trainer) -> dict[str, Any]:
    world = trainer.world
    found = {"torch": torch.__version__, "device": world.device.type, "ranks": world.size, "threads": world.threads}
    return found | ({READERS: trainer.loader.n_readers} if trainer.loader.n_readers else {})


def describe_data(split: str, data: Mapping[str, Any] | None) -> str:
    """Return text such as `train 180 samples (ab12cd34)`."""
    if not data:
        return f"no {split} samples"
    size = f"{data['shards']} shards" if "shards" in data else f"{data['samples']} samples"
    return f"{split} {size} ({data['sha256'][:8]})"
