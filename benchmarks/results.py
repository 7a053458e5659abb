"""Results of a benchmark: the table that it prints, and the JSON file from which docs/performance.md is generated."""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Rows = Mapping[str, Mapping[str, Sequence[float]]]
"""Row -> column -> one value per round."""


def parser_of(doc: str | None, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--rounds", type=int, default=rounds, help="number of rounds (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results, with machine and versions, to FILE")
    return parser


def publish(rows: Rows, options: argparse.Namespace) -> None:
    """Print the table; with `--json`, also write the file."""
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    lines = [["", *columns]]
    lines += [[name, *(spread(cells[column]) if column in cells else "" for column in columns)] for name, cells in rows.items()]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    for line in lines:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n")
    if options.json:
        record = {"benchmark": Path(sys.argv[0]).stem, "rounds": options.rounds, **environment(), "rows": summarise(rows)}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def spread(values: Sequence[float]) -> str:
    """Format values as `median [smallest-largest]`, with about three digits."""
    largest = max(map(abs, values))
    form = ".0f" if largest >= 100 else ".1f" if largest >= 10 else ".2f"  # noqa: PLR2004
    if len(values) == 1 or min(values) == max(values):
        return f"{values[0]:{form}}"
    return f"{statistics.median(values):{form}} [{min(values):{form}}-{max(values):{form}}]"


def summarise(rows: Rows) -> dict[str, dict[str, dict[str, Any]]]:
    """Return median, smallest and largest value of each cell, and its text in the table."""
    return {
        name: {
            column: {"median": statistics.median(values), "min": min(values), "max": max(values), "text": spread(values)}
            for column, values in cells.items()
        }
        for name, cells in rows.items()
    }


def environment() -> dict[str, Any]:
    """Return machine, versions and commit."""
    libraries = ("torch", "torchvision", "torchmetrics", "numpy")
    return {
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "load": [round(each, 1) for each in os.getloadavg()]},
        "versions": {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in libraries}},
        "commit": commit(),
    }


def cpu_name() -> str:
    """Return the name of the processor; its architecture if the system does not tell."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str:
    """Return the commit of the measured code, with `+` if files were changed; empty outside of a repository."""
    git = ["git", "-C", str(HERE)]
    found = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "../ddpkit", "../ddpkit_plugins"], capture_output=True, check=False)
    return found.stdout.strip() + "+" * bool(changed.stdout)
