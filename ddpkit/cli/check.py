"""Command `ddpkit check x.toml`: validate a config file."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpkit.cli import options, table
from ddpkit.config import loading
from ddpkit.config.check import CheckReport, Unchecked, ranks_in_file, validate, validate_with_imports
from ddpkit.errors import ConfigError, Diagnostic, ExitCode, PluginError, format_key_path
from ddpkit.plugins import manager
from ddpkit.runs import lookup
from ddpkit.terminal import write, write_error

if TYPE_CHECKING:
    from ddpkit.data.findings import Finding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="x.toml", help="the config file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the config file")
    parser.add_argument(
        "--deep", action="store_true", help="also import components whose source does not show their parameters (takes seconds)"
    )
    parser.add_argument(
        "--data", action="store_true", help="also read every sample and list unreadable, unequally sized, duplicate or wrong ones"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Validate the file, and with `--data` the samples too. The devices of this machine are not checked."""
    try:
        report, findings = check_file(arguments)
    except ConfigError as error:
        if not arguments.json:
            raise
        report, findings = CheckReport(error.problems), []
    failure = (PluginError if report.needs_failed_plugin else ConfigError)(report.problems)
    if arguments.json:
        write(json.dumps(as_json(report) | findings_as_json(arguments, findings), indent=2, ensure_ascii=False) + "\n")
        return failure.exit_code if report.problems or findings else ExitCode.DONE
    write("".join(f"{line}\n" for line in format_notes(report)))
    if report.problems:
        raise failure
    if findings:
        print_findings(findings)
        return ExitCode.BAD_INPUT
    where = " in the parts that were checked" * bool(report.unchecked)
    data = "" if arguments.data else "; the data was not read, see --data"
    write(f"{arguments.file}: no mistake found{where}{data}\n")
    return ExitCode.DONE


def check_file(arguments: argparse.Namespace) -> tuple[CheckReport, Sequence["Finding"]]:
    """Validate without imports; with `--deep`, also import the components whose source does not show all parameters.

    With `--data`, also read the samples, unless the file contains a mistake.
    """
    config = loading.read(arguments.file, loading.parse_overrides(arguments.set))
    found = manager.load(options.policy_from_options(arguments, config.run.plugins))
    report = validate(config, found, ranks_in_file(config.run), is_new=lookup.run_of_config(arguments.file) is None)
    if arguments.deep or arguments.data:
        report = validate_with_imports(report, config, found)
    if not arguments.data or report.problems:
        return report, []
    from ddpkit.tasks.check_data import check_data  # noqa: PLC0415 - only this option needs torch

    return report, check_data(config, found)


def print_findings(findings: Sequence["Finding"]) -> None:
    """Print the problems of the samples as a table, and the number of each problem."""
    rows = [(each.problem, each.samples[0].split, each.samples[0].name, each.message) for each in findings]
    table.print_table(("PROBLEM", "SPLIT", "SAMPLE", "DETAILS"), rows)
    counts = ", ".join(f"{n} {problem}" for problem, n in Counter(each.problem for each in findings).items())
    skip = "'dataset.on_error = \"skip\"' trains without unreadable ones, up to the share 'max_skipped'"
    write_error(f"problems in the data: {counts}; repair or remove these samples; {skip}\n")


def findings_as_json(arguments: argparse.Namespace, findings: Sequence["Finding"]) -> dict[str, Any]:
    """Return the problems of the samples under `data`; {} without `--data`."""
    if not arguments.data:
        return {}
    keys = ("split", "name")
    return {
        "data": [
            {
                "problem": each.problem,
                "samples": [{key: getattr(sample, key) for key in keys} for sample in each.samples],
                "message": each.message,
            }
            for each in findings
        ]
    }


def format_notes(report: CheckReport) -> list[str]:
    """Return one line for each warning and, if there are no mistakes, for each part that is not checked."""
    return [
        *(f"warning: {problem}" for problem in report.warnings),
        *(f"warning: {text}" for text in report.policy_warnings),
        *(f"note: {format_unchecked(each)}" for each in report.unchecked if not report.problems),
    ]


def format_unchecked(part: Unchecked) -> str:
    """Return what is not checked, and why."""
    what = f"the parameters of {part.reference.name!r} are not fully checked" if part.needs_import else "is not checked"
    return f"{format_key_path(part.path)}: {what}: {part.reason}"


def as_json(report: CheckReport) -> dict[str, Any]:
    unchecked = [
        {"key": format_key_path(each.path), "kind": each.reference.kind, "name": each.reference.name, "reason": each.reason}
        for each in report.unchecked
    ]
    kinds = {"problems": report.problems, "warnings": report.warnings}
    return {kind: [diagnostic_as_json(problem) for problem in problems] for kind, problems in kinds.items()} | {
        "unchecked": unchecked
    }


def diagnostic_as_json(problem: Diagnostic) -> dict[str, Any]:
    """Return the location as in messages (`where`), and split into file, line and column."""
    file, *position = problem.where.rsplit(":", 2)
    line, column = map(int, position) if len(position) == 2 else (None, None)  # noqa: PLR2004 - `file:line:col`
    parts = {"file": file, "line": line, "column": column}
    return {"where": problem.where, **parts, "key": format_key_path(problem.path), "message": problem.message}
