"""Command `ddpkit inspect PATH`: show the content of a checkpoint or of a weights file."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ddpkit.checkpoint.inspection import CheckpointFile, Inspection, inspect, inspect_weights
from ddpkit.cli import table
from ddpkit.errors import ExitCode
from ddpkit.runs.lookup import ENDING, read_run_config, run_of_weights
from ddpkit.terminal import write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    path_help = (
        "a run folder, one of its 'checkpoints/step-...' or weights files, or the folder of a task for its newest checkpoint"
    )
    parser.add_argument("path", type=Path, metavar="PATH", help=path_help)
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def main(arguments: argparse.Namespace) -> int:
    """Show a weights file, or the state from which a run resumes: progress, data, environment, plugins and files."""
    if arguments.path.suffix == ENDING:
        what, path, files = "weights", arguments.path, [inspect_weights(arguments.path)]
        facts = collect_run_facts(arguments.path)
    else:
        found = inspect(arguments.path)
        what, path, files = "checkpoint", found.folder, found.files
        facts = collect_facts(found)
    if arguments.json:
        located = {"folder" if what == "checkpoint" else "file": str(path)}
        write(json.dumps({**located, **facts, "files": [attrs.asdict(each) for each in files]}, indent=2) + "\n")
    else:
        print_facts({what: str(path), **facts}, files)
    return ExitCode.DONE


def collect_run_facts(weights: Path) -> dict[str, Any]:
    """Return the run of a weights file; empty if it does not belong to a run."""
    folder = run_of_weights(str(weights))
    config = read_run_config(folder) if folder else {}
    return {"run": str(folder), "task": config["task"], "model": config["model"]["name"]} if config else {}


def collect_facts(found: Inspection) -> dict[str, Any]:
    state, run = found.state, found.state["run"]
    progress, config = state["progress"], run["config"]
    return {
        "task": config["task"],
        "model": config["model"]["name"],
        "step": progress["step"],
        "epochs": f"{progress['epoch']} of {config['train']['epoch']}",
        "steps of the next": progress["step_in_epoch"],
        "best": {name: f"{best['value']} in epoch {best['epoch']}" for name, best in state["best"].items()},
        "data": {split: each.get("samples", f"{each.get('shards')} shards") for split, each in run["data"].items()},
        "on": run["environment"],
        "plugins": {each["name"]: each["version"] for each in run["plugins"]},
        "states of plugins": list(state["plugins"]),
        "changes": run["changes"],
    }


def print_facts(facts: Mapping[str, Any], files: Sequence[CheckpointFile]) -> None:
    write("".join(f"{name}: {format_fact(value)}\n" for name, value in facts.items() if value not in ([], {})))
    write("\n")
    rows = [(each.name, f"{each.size / 1e6:.1f}", str(each.n_tensors), str(each.n_numbers)) for each in files]
    table.print_table(("FILE", "MB", "TENSORS", "NUMBERS"), rows)


def format_fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {format_fact(each)}" for key, each in value.items())
    return "; ".join(map(format_fact, value)) if isinstance(value, list) else str(value)
