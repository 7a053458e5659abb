"""Command `ddpkit report RUN`: write the report of a run, also while it trains."""

import argparse
from pathlib import Path

from ddpkit.errors import ExitCode
from ddpkit.runs.lookup import BEST, RUN_PATHS, locate_run
from ddpkit.runs.report.writer import write_report
from ddpkit.terminal import write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help=RUN_PATHS)


def main(arguments: argparse.Namespace) -> int:
    """Write the report into the run folder, and print the path of the page."""
    folder, _ = locate_run(arguments.run, BEST, "RUN")
    write(f"{write_report(folder)}\n")
    return ExitCode.DONE
