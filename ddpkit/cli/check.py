"""`ddpkit check x.toml`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ddpkit.cli import options
from ddpkit.config import loading
from ddpkit.config.check import Verdict, deepened, judge, ranks_in_file
from ddpkit.errors import ConfigError, ExitCode, PluginError, Problem, shown
from ddpkit.plugins import manager


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("file", type=Path, metavar="x.toml", help="the config")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over the file's")
    parser.add_argument("--deep", action="store_true", help="import what source does not tell, too (seconds)")
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Judge the file, not this machine: devices and data folders are not looked at."""
    try:
        verdict = verdict_of(arguments)
    except ConfigError as error:
        if not arguments.json:
            raise
        verdict = Verdict(error.problems)
    failure = (PluginError if verdict.needs_failed_plugin else ConfigError)(verdict.problems)
    if arguments.json:
        sys.stdout.write(json.dumps(as_json(verdict), indent=2, ensure_ascii=False) + "\n")
        return failure.exit_code if verdict.problems else ExitCode.DONE
    sys.stdout.write("".join(f"{line}\n" for line in notes(verdict)))
    if verdict.problems:
        raise failure
    sys.stdout.write(f"{arguments.file}: no mistake found\n")
    return ExitCode.DONE


def verdict_of(arguments: argparse.Namespace) -> Verdict:
    """By reading alone; with `--deep`, after importing what that leaves open."""
    config = loading.read(arguments.file, loading.parse_overrides(arguments.set))
    found = manager.load(options.policy(arguments, config.run.plugins))
    verdict = judge(config, found, ranks_in_file(config.run))
    return deepened(verdict, config, found) if arguments.deep else verdict


def notes(verdict: Verdict) -> list[str]:
    """What is no mistake of the file."""
    deep = "its source does not tell all parameters; `ddpkit check --deep` imports it"
    return [
        *(f"warning: {problem}" for problem in verdict.warnings),
        *(f"warning: {text}" for text in verdict.policy_warnings),
        *(f"note: {shown(each.path)}: {each.name!r} is not checked to the end here: {deep}" for each in verdict.unchecked),
    ]


def as_json(verdict: Verdict) -> dict[str, Any]:
    """All of it for scripts."""
    unchecked = [{"key": shown(each.path), "kind": each.kind, "name": each.name} for each in verdict.unchecked]
    kinds = {"problems": verdict.problems, "warnings": verdict.warnings}
    return {kind: [problem_as_json(problem) for problem in problems] for kind, problems in kinds.items()} | {
        "unchecked": unchecked
    }


def problem_as_json(problem: Problem) -> dict[str, Any]:
    """`where` as in messages, and its parts."""
    file, *position = problem.where.rsplit(":", 2)
    line, column = map(int, position) if len(position) == 2 else (None, None)  # noqa: PLR2004 - `file:line:col`
    parts = {"file": file, "line": line, "column": column}
    return {"where": problem.where, **parts, "key": shown(problem.path), "message": problem.message}
