"""`ddpkit verify-ddp x.toml`."""

import argparse
import json
import sys
from pathlib import Path

import attrs

from ddpkit.cli import table
from ddpkit.cli.options import add_plugin_arguments, positive
from ddpkit.config.loading import parse_overrides
from ddpkit.distributed import rank_process, rank_report
from ddpkit.errors import ExitCode
from ddpkit.tasks.plan import Options
from ddpkit.testing import verify_ddp
from ddpkit.testing.verify_ddp import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("file", type=Path, metavar="x.toml", help="the config")
    parser.add_argument("--nproc", type=positive, metavar="N", help="ranks to compare with one; 2, or more if the config says so")
    parser.add_argument(
        "--steps", type=positive, default=4, metavar="K", help="optimizer steps: the first, and an epoch's last (4)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over the file's")
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)  # how the ranks are started
    add_plugin_arguments(parser)
    parser.set_defaults(error=parser.error)


def main(arguments: argparse.Namespace) -> int:
    """Compare; the exit code is 0 for equal in float64, 1 for different."""
    options = Options(
        overrides=parse_overrides(arguments.set),
        nproc=arguments.nproc,
        no_plugins=arguments.no_plugins,
        block=tuple(arguments.p),
    )
    if arguments.record:
        with rank_report.as_rank():
            verify_ddp.record_here(arguments.file, options, arguments.steps, arguments.record)
        return ExitCode.DONE
    if arguments.nproc == 1 or rank_process.is_rank():
        arguments.error("it starts its ranks itself, two or more")
    report = verify_ddp.verify(arguments.file, options, arguments.steps)
    if arguments.json:
        sys.stdout.write(json.dumps(as_json(report), indent=2) + "\n")
    else:
        show(report)
    return ExitCode.DONE if report.is_equal else ExitCode.FAILED


def show(report: Report) -> None:
    """The table, and what it means."""
    rows = report.comparison.rows
    lines = [(f"{row.when} {row.kind}", f"{row.float64:.1e}", f"{row.float32:.1e}", row.worst) for row in rows]
    table.show(["WHAT", "FLOAT64", "FLOAT32", "MOST DIFFERENT"], lines)
    sys.stdout.write("".join(f"{line}\n" for line in verdict(report)))


def verdict(report: Report) -> list[str]:
    """The last lines."""
    first = report.comparison.first
    if report.is_equal:
        return [f"equal: {report.n_ranks} ranks give what one gives, but for rounding"]
    where = f" from {first.when} on: {first.kind} {first.worst}" if first else " before the first step"
    return [
        f"different: {report.n_ranks} ranks give something else than one{where}",
        *(f"cause: {each}" for each in report.causes),
    ]


def as_json(report: Report) -> dict[str, object]:
    """All of it."""
    first = report.comparison.first
    return {
        "equal": report.is_equal,
        "ranks": report.n_ranks,
        "rows": [attrs.asdict(row) for row in report.comparison.rows],
        "first": attrs.asdict(first) if first else None,
        "causes": list(report.causes),
    }
