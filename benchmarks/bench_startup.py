"""Measure the time of complete commands in seconds: median and range of interleaved rounds."""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (default: %(default)s)")
    rounds = parser.parse_args().rounds
    measured = [{name: measure(arguments) for name, arguments in COMMANDS.items()} for _ in range(rounds)]
    sys.stdout.write(f"{'command':26} {'wall s':>22} {'CPU s':>22}\n")
    for name in COMMANDS:
        columns = [sorted(one[name][kind] for one in measured) for kind in (0, 1)]
        cells = [f"{statistics.median(each):6.2f} [{each[0]:5.2f} - {each[-1]:5.2f}]" for each in columns]
        sys.stdout.write(f"{name:26} {cells[0]:>22} {cells[1]:>22}\n")


if __name__ == "__main__":
    main()
