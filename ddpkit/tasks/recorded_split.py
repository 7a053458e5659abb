"""Split that a run recorded, for its resume or its test."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpkit.checkpoint.data_changes import DataState
from ddpkit.checkpoint.resume import ResumePoint
from ddpkit.config import diff
from ddpkit.data.recorded_split import RecordedSplit
from ddpkit.runs import folder as run_folder
from ddpkit.runs import lookup, plugin_manifest
from ddpkit.tasks.plan import RunPlan


def recorded_split(plan: RunPlan) -> RecordedSplit | None:
    """Return the split of the run that is resumed or tested; None for a new run."""
    if "train" in plan.tasks:
        return split_to_resume(plan, plan.resume_point) if plan.resume_point and plan.resume_point.metadata else None
    folder = run_folder.run_path(plan.config.run)
    config = lookup.read_run_config(folder)
    if not config:
        return None
    names = DataState.of_run(folder).names
    are_files = all(isinstance(name, str) for split in names.values() for name in split)  # found in a moved folder too
    is_same = not changes_dataset(plan, config) and (are_files or reads_same_folder(plan, config))
    return RecordedSplit(names if is_same else {})


def split_to_resume(plan: RunPlan, point: ResumePoint) -> RecordedSplit:
    """Return the split of the resumed run. It has samples only if the split component was changed since, and the config was not.

    Otherwise the component divides the samples, so that changes of the data are noticed.
    """
    before = point.metadata
    is_kept = before.get("keeps_split", False) or uses_other_component(plan, before["plugins"])
    if not is_kept or changes_dataset(plan, before["config"]):
        return RecordedSplit({})
    return RecordedSplit(DataState.of_run(point.folder).names, before["data"])


def uses_other_component(plan: RunPlan, used: Any) -> bool:
    """Return whether the plugin of the split component has other code than the one that the run used."""
    now = plugin_manifest.list_components(plan.config, plan.plugins)
    split = next(component["plugin"] for component in now if component["kind"] == "split")
    digest = next(plugin.digest for plugin in plan.plugins.plugins if plugin.name == split)
    return any(plugin["name"] == split and plugin["digest"] != digest for plugin in used)


def changes_dataset(plan: RunPlan, recorded: Mapping[str, Any]) -> bool:
    """Return whether `[dataset]` or `[dataset.split]` differs from the recorded config."""
    changes = [change for change in diff.find_changes(recorded, plan.config) if not diff.is_adjustable(change)]
    return any(change.path[0] == "dataset" for change in changes)


def reads_same_folder(plan: RunPlan, recorded: Mapping[str, Any]) -> bool:
    """Return whether the data folder is the recorded one."""
    now, before = plan.config.run.dataset.root_dir, recorded.get("dataset", {}).get("root_dir", "")
    return bool(now) == bool(before) and Path(now).absolute() == Path(before).absolute()
