"""Command `ddpkit verify RUN`: check all checkpoints of a run for damage."""

import argparse
import json
from pathlib import Path

from ddpkit.checkpoint.inspection import verify_checkpoints
from ddpkit.cli import table
from ddpkit.errors import ExitCode
from ddpkit.terminal import write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, or the folder of a task for its newest checkpoint")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def main(arguments: argparse.Namespace) -> int:
    """Read every checkpoint and compare it with its digests. Nothing is changed. The exit code is 6 if one is corrupt."""
    found = list(verify_checkpoints(arguments.run))
    if arguments.json:
        write(json.dumps({folder.name: wrong or None for folder, wrong in found}, indent=2) + "\n")
    else:
        table.print_table(
            ("CHECKPOINT", "STATUS"), [(str(folder), f"corrupt: {wrong}" if wrong else "good") for folder, wrong in found]
        )
    return ExitCode.CHECKPOINT if any(wrong for _, wrong in found) else ExitCode.DONE
