"""Measure the time of complete commands in seconds: median and range of interleaved rounds."""

import os
import subprocess
import sys
import time
from pathlib import Path

from results import parser_of, publish

QUICK = Path(__file__).parent.parent / "configs/ddp_quick_test.toml"
COMMANDS = {
    "--help": ["--help"],
    "list-plugins": ["list-plugins"],
    "check": ["check", str(QUICK)],
    "explain": ["explain", str(QUICK)],
    "schema": ["schema"],
    "a mistake in the config": ["run", str(QUICK), "--set", "train.epohc=1"],
    "first step, 2 ranks": ["run", str(QUICK), "--dry-run"],
}


def measure(arguments: list[str]) -> tuple[float, float]:
    """Return the wall-clock and CPU seconds of one command, including its child processes."""
    before, started = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "ddpkit", *arguments], capture_output=True, check=False)
    wall, after = time.perf_counter() - started, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Run the benchmark and print a table."""
    options = parser_of(__doc__, rounds=5).parse_args()
    measured = [{name: measure(arguments) for name, arguments in COMMANDS.items()} for _ in range(options.rounds)]
    publish(
        {
            name: {kind: [one[name][place] for one in measured] for place, kind in enumerate(("wall s", "CPU s"))}
            for name in COMMANDS
        },
        options,
    )


if __name__ == "__main__":
    main()
