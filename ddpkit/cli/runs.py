"""Command `ddpkit runs [DIR]`: list the runs in an output folder."""

import argparse
import json
from pathlib import Path

import attrs

from ddpkit.cli import table
from ddpkit.errors import ExitCode
from ddpkit.runs.screen.text_table import format_duration, format_size, format_value
from ddpkit.tasks.run_list import ListedRun, list_runs
from ddpkit.terminal import write, write_error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = Path("runs")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=default, metavar="DIR", help="the 'output_dir' of the runs (default: ./runs)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def main(arguments: argparse.Namespace) -> int:
    """Print one row per run, sorted by task, then by start: the newest run of a task is the last one."""
    found = list_runs(arguments.folder)
    if arguments.json:
        write(json.dumps([attrs.asdict(each) for each in found], indent=2, ensure_ascii=False) + "\n")
        return ExitCode.DONE
    if found:
        table.print_table(("TASK", "RUN", "STATE", "BEST", "EPOCHS", "AGE", "SIZE"), map(format_run, found))
    else:
        write_error(f"{arguments.folder} contains no runs; pass the 'output_dir' of your runs\n")
    write_error("".join(f"{each.error}\n" for each in found if each.error))
    return ExitCode.DONE


def format_run(run: ListedRun) -> tuple[str, ...]:
    best = f"{run.best_column} {format_value(run.best_value)}" if run.best_column else "-"
    epochs = "-" if run.epoch is None else f"{run.epoch}/{run.epochs or '-'}"
    return run.task, run.id, run.state, best, epochs, format_duration(run.age), format_size(run.size)
