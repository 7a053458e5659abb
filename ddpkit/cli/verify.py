"""`ddpkit verify RUN`."""

import argparse
import json
import sys
from pathlib import Path

from ddpkit.checkpoint.inspection import verified
from ddpkit.cli import table
from ddpkit.errors import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")


def main(arguments: argparse.Namespace) -> int:
    """Read every checkpoint and compare it with its digests; the exit code is 6 when one is damaged. Nothing is changed."""
    found = list(verified(arguments.run))
    if arguments.json:
        sys.stdout.write(json.dumps({folder.name: wrong or None for folder, wrong in found}, indent=2) + "\n")
    else:
        table.show(("CHECKPOINT", "IS"), [(str(folder), f"damaged: {wrong}" if wrong else "good") for folder, wrong in found])
    return ExitCode.CHECKPOINT if any(wrong for _, wrong in found) else ExitCode.DONE
