"""Command `ddpkit compare RUN RUN ...`: compare runs."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from ddpkit.cli import table
from ddpkit.errors import ConfigError, Diagnostic, ExitCode
from ddpkit.runs.comparison.comparison import Comparison, compare_runs
from ddpkit.runs.comparison.page import MARK, render_comparison
from ddpkit.runs.comparison.tables import FOLDS_NOTE, NOTE, fold_rows, key_rows, result_rows
from ddpkit.runs.lookup import BEST, RUN_PATHS, locate_run
from ddpkit.runs.output_file import OutputFile
from ddpkit.terminal import write

LONGEST = 60
"""Largest number of characters of a cell; a longer value, such as a list of classes, is cut."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    runs_help = f"{RUN_PATHS}; the shell expands 'runs/TASK/*' to all runs of a task"
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help=runs_help)
    page_help = "also write a page with all curves to this file; an existing file is replaced only if it is such a page"
    parser.add_argument("--html", type=Path, metavar="FILE", help=page_help)
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def main(arguments: argparse.Namespace) -> int:
    """Show the config keys that differ, the results of each run, and the mean over the folds of a k-fold."""
    page = prepare_page(arguments.html) if arguments.html else None
    found = compare_runs(locate_runs(arguments.runs))
    if page:
        page.write(render_comparison(found).encode())
    if arguments.json:
        write(json.dumps(found.to_json(), indent=2, ensure_ascii=False) + "\n")
    else:
        print_comparison(found)
        write(f"\n{page.path}\n" if page else "")
    return ExitCode.DONE


def prepare_page(path: Path) -> OutputFile:
    """Return the file of the page. Raise ConfigError if it would replace another file."""
    page = OutputFile(path=path, option="--html", suffix=".html", command="ddpkit compare", mark=MARK)
    page.check()
    return page


def locate_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the run folders without repetitions. Raise ConfigError if there are less than two, or if one is not found."""
    folders = list(dict.fromkeys(locate_run(path, BEST, "RUN")[0].absolute() for path in paths))
    if len(folders) < 2:  # noqa: PLR2004
        raise ConfigError([Diagnostic("RUN", (), f"only one run was given: {folders[0]}; pass at least two runs")])
    return folders


def print_comparison(found: Comparison) -> None:
    labels = [run.label for run in found.runs]
    if keys := key_rows(found):
        print_cells(("KEY", *labels), keys)
    else:
        write("the configs do not differ\n\n")
    print_cells(("RESULT", *labels), result_rows(found))
    if found.folds:
        print_cells(("MEAN OVER FOLDS", *(group.label for group in found.folds)), fold_rows(found))
        write(f"{FOLDS_NOTE}\n")
    write(f"{NOTE}\n")


def print_cells(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, and an empty line after it."""
    table.print_wide_table(columns, [[cell if len(cell) <= LONGEST else f"{cell[:LONGEST]}..." for cell in row] for row in rows])
    write("\n")
