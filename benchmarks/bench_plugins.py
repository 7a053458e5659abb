"""Measure the cost of installed distributions: CPU milliseconds of `ddpkit list-plugins` with 0 and with 600 of them."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

N = 600


def install(folder: Path) -> None:
    """Create metadata of distributions, as pip installs them, with entry points for other tools."""
    for number in range(N):
        info = folder / f"filler_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: filler-{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[console_scripts]\nfiller{number} = filler:main\n[other.tool]\nx = filler:y\n")


def measure(path: str) -> float:
    """Return the CPU milliseconds of one command."""
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "ddpkit", "list-plugins"], env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=True
    )
    after = os.times()
    return 1000 * (after.children_user + after.children_system - before.children_user - before.children_system)


def main() -> None:
    """Run the benchmark and print the medians of interleaved rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="number of rounds (default: %(default)s)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        pairs = [(measure(""), measure(folder)) for _ in range(rounds)]
    without, with_fillers = (statistics.median(column) for column in zip(*pairs, strict=True))
    more = statistics.median(each[1] - each[0] for each in pairs)
    sys.stdout.write(
        f"0 distributions: {without:.0f} ms; {N} distributions: {with_fillers:.0f} ms; median difference: {more:.0f} ms\n"
    )


if __name__ == "__main__":
    main()
