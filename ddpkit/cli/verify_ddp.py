"""Command `ddpkit verify-ddp x.toml`: compare several ranks with one rank."""

import argparse
import json
from pathlib import Path

import attrs

from ddpkit.cli import table
from ddpkit.cli.options import add_plugin_arguments, positive
from ddpkit.config.loading import parse_overrides
from ddpkit.distributed import rank_process, rank_report
from ddpkit.errors import ExitCode
from ddpkit.tasks.plan import RunOptions
from ddpkit.terminal import write
from ddpkit.testing import verify_ddp
from ddpkit.testing.verify_ddp import DdpReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="x.toml", help="the config file")
    parser.add_argument(
        "--nproc",
        type=positive,
        metavar="N",
        help="number of ranks to compare with one rank (default: as in the config, at least 2)",
    )
    parser.add_argument(
        "--steps",
        type=positive,
        default=4,
        metavar="K",
        help="compare K optimizer steps: the first K-1 steps of an epoch, and its last step (default: 4)",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the config file")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)  # internal: this command starts its ranks with it
    add_plugin_arguments(parser)
    parser.set_defaults(error=parser.error)


def main(arguments: argparse.Namespace) -> int:
    """Compare several ranks with one rank. The exit code is 0 if the results are equal in float64, else 1."""
    options = RunOptions(
        overrides=parse_overrides(arguments.set),
        nproc=arguments.nproc,
        no_plugins=arguments.no_plugins,
        block=tuple(arguments.p),
    )
    if arguments.record:
        with rank_report.rank_process():
            verify_ddp.record_rank(arguments.file, options, arguments.steps, arguments.record)
        return ExitCode.DONE
    if arguments.nproc == 1 or rank_process.is_rank():
        arguments.error("cannot run with '--nproc 1', or under torchrun or srun: this command starts at least 2 ranks itself")
    report = verify_ddp.verify_ddp(arguments.file, options, arguments.steps)
    if arguments.json:
        write(json.dumps(report_as_json(report), indent=2) + "\n")
    else:
        print_report(report)
    return ExitCode.DONE if report.is_equal else ExitCode.FAILED


def print_report(report: DdpReport) -> None:
    rows = report.comparison.rows
    lines = [(f"{row.when} {row.kind}", f"{row.float64:.1e}", f"{row.float32:.1e}", row.worst) for row in rows]
    table.print_table(["VALUES", "FLOAT64", "FLOAT32", "TENSOR"], lines)
    write("".join(f"{line}\n" for line in format_verdict(report)))


def format_verdict(report: DdpReport) -> list[str]:
    first = report.comparison.first
    if report.is_equal:
        return [f"equal: {report.n_ranks} ranks produce the same results as one rank, except for rounding"]
    where = f", first at {first.when}: {first.kind} {first.worst}" if first else " before the first step"
    return [
        f"different: the results of {report.n_ranks} ranks and of one rank differ{where}",
        *(f"cause: {each}" for each in report.causes),
    ]


def report_as_json(report: DdpReport) -> dict[str, object]:
    first = report.comparison.first
    return {
        "equal": report.is_equal,
        "ranks": report.n_ranks,
        "rows": [attrs.asdict(row) for row in report.comparison.rows],
        "first": attrs.asdict(first) if first else None,
        "causes": list(report.causes),
    }
