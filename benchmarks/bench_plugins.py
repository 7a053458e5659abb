"""Measure the cost of installed distributions: CPU milliseconds of `ddpkit list-plugins` with 0 and with 600 of them."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from results import parser_of, publish

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
    """Run the benchmark and print a table."""
    options = parser_of(__doc__, rounds=15).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        pairs = [(measure(""), measure(folder)) for _ in range(options.rounds)]
    without, with_fillers = zip(*pairs, strict=True)
    rows = {"no other distribution": without, f"{N} distributions": with_fillers, "difference": [b - a for a, b in pairs]}
    publish({name: {"CPU ms": values} for name, values in rows.items()}, options)


if __name__ == "__main__":
    main()
