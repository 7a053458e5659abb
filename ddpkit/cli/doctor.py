"""Command `ddpkit doctor`: check this machine and its installation."""

import argparse
import json
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import attrs

from ddpkit.cli import options
from ddpkit.distributed import rank_report
from ddpkit.errors import ExitCode
from ddpkit.runs.screen.text_table import count
from ddpkit.tasks.doctor import all_reduce
from ddpkit.tasks.doctor.checks import list_checks, run_checks
from ddpkit.tasks.doctor.finding import Finding
from ddpkit.terminal import write

WIDTHS = (9, 15)
"""Widths of the columns with the status and the name of a check; lines are printed before the next check is known."""
INDENT = " " * sum(WIDTHS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # internal: this command starts its ranks with it
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Check this machine. The exit code is 0 without errors, 3 if only plugins have errors, else 1."""
    if arguments.measure:
        with rank_report.rank_process():
            all_reduce.measure_rank(arguments.measure)
        return ExitCode.DONE
    findings = []
    for name, finding in run_checks(list_checks(options.policy_from_options(arguments))):
        findings.append((name, finding))
        if not arguments.json:
            write("".join(f"{line}\n" for line in format_finding(name, finding)))
            sys.stdout.flush()  # later checks take seconds
    write(json.dumps(as_json(findings), indent=2, ensure_ascii=False) + "\n" if arguments.json else f"{summarise(findings)}\n")
    return exit_code(findings)


def format_finding(name: str, finding: Finding) -> list[str]:
    """Return a line with status, name and facts, and below it the remedy and the traceback."""
    status_width, name_width = WIDTHS
    return [
        f"{finding.status:{status_width}}{name:{name_width}}{finding.facts}",
        *([f"{INDENT}remedy: {finding.remedy}"] if finding.remedy else []),
        *textwrap.indent(finding.details, INDENT).splitlines(),
    ]


def summarise(findings: Iterable[tuple[str, Finding]]) -> str:
    """Return the numbers of errors and warnings, such as `1 error, 2 warnings`."""
    counts = Counter(finding.status for _, finding in findings)
    parts = [count(n, status) for status in ("error", "warning") if (n := counts[status])]
    return ", ".join(parts) or "no problem found"


def as_json(findings: Iterable[tuple[str, Finding]]) -> list[dict[str, str]]:
    return [{"check": name, **attrs.asdict(finding)} for name, finding in findings]


def exit_code(findings: Iterable[tuple[str, Finding]]) -> ExitCode:
    failed = {name for name, finding in findings if finding.status == "error"}
    if failed == {"plugins"}:
        return ExitCode.PLUGIN
    return ExitCode.FAILED if failed else ExitCode.DONE
