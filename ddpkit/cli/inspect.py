"""Command `ddpkit inspect PATH`: show the content of a checkpoint."""

import argparse
import json
from pathlib import Path
from typing import Any

import attrs

from ddpkit.checkpoint.inspection import Inspection, inspect
from ddpkit.cli import table
from ddpkit.errors import ExitCode
from ddpkit.terminal import write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="the folder of a run, or one of its 'checkpoints/step-...'")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def main(arguments: argparse.Namespace) -> int:
    """Show the state from which a run resumes: progress, data, environment, plugins and files."""
    found = inspect(arguments.path)
    if arguments.json:
        files = [attrs.asdict(each) for each in found.files]
        write(json.dumps({"folder": str(found.folder), **collect_facts(found), "files": files}, indent=2) + "\n")
    else:
        print_facts(found)
    return ExitCode.DONE


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
        "data": {part: each["samples"] for part, each in run["data"].items()},
        "on": run["environment"],
        "plugins": {each["name"]: each["version"] for each in run["plugins"]},
        "states of plugins": list(state["plugins"]),
        "changes": run["changes"],
    }


def print_facts(found: Inspection) -> None:
    write(f"checkpoint: {found.folder}\n")
    write("".join(f"{name}: {format_fact(value)}\n" for name, value in collect_facts(found).items() if value not in ([], {})))
    write("\n")
    rows = [(each.name, f"{each.size / 1e6:.1f}", str(each.n_tensors), str(each.n_numbers)) for each in found.files]
    table.print_table(("FILE", "MB", "TENSORS", "NUMBERS"), rows)


def format_fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {format_fact(each)}" for key, each in value.items())
    return "; ".join(map(format_fact, value)) if isinstance(value, list) else str(value)
