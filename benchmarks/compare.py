"""Compare a benchmark at two commits: the commits take turns in each round, so that the load of the machine affects both."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results import publish

GIT = ("git", "-C", str(Path(__file__).resolve().parent))


def measure(tree: Path, name: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Run the benchmark in the source tree of a commit; return its rows."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.json")
        command = [sys.executable, str(tree / f"benchmarks/{name}.py"), "--json", str(file), *arguments]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tree)}, stdout=subprocess.DEVNULL, check=True)
        rows: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["rows"]
        return rows


def main() -> None:
    """Print, for each cell of the benchmark's table, the value of both commits and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", help="commit to compare with")
    parser.add_argument("new", help="commit to measure")
    parser.add_argument("--bench", default="bench_step", help="name of the benchmark (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="number of turns of each commit (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    options, arguments = parser.parse_known_args()
    measured: dict[str, list[dict[str, Any]]] = {"old": [], "new": []}
    with tempfile.TemporaryDirectory() as folder:
        trees = {"old": Path(folder, "old"), "new": Path(folder, "new")}
        try:
            for side, tree in trees.items():
                subprocess.run([*GIT, "worktree", "add", "--quiet", "--detach", tree, getattr(options, side)], check=True)
            for number in range(options.rounds):
                for side in reversed(trees) if number % 2 else trees:
                    measured[side].append(measure(trees[side], options.bench, ["--rounds", "1", *arguments]))
        finally:
            for tree in trees.values():
                subprocess.run([*GIT, "worktree", "remove", "--force", tree], check=False)
    publish(compare(measured), options)


def compare(measured: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, list[float]]]:
    """Return a row for each cell that both commits have."""
    rows = {}
    for name, cells in measured["new"][0].items():
        for column in [column for column in cells if column in measured["old"][0].get(name, {})]:
            old, new = ([one[name][column]["median"] for one in measured[side]] for side in ("old", "new"))
            if all(old):
                rows[f"{name}: {column}"] = {"old": old, "new": new, "new / old": [b / a for a, b in zip(old, new, strict=True)]}
    return rows


if __name__ == "__main__":
    main()
