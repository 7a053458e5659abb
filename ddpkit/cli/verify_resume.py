"""Command `ddpkit verify-resume x.toml`: check that a killed run resumes bit-identically."""

import argparse
import json
from pathlib import Path

import attrs

from ddpkit.cli.options import add_plugin_arguments, positive
from ddpkit.config.loading import parse_overrides
from ddpkit.distributed import rank_process
from ddpkit.errors import ExitCode
from ddpkit.tasks.plan import RunOptions
from ddpkit.terminal import write
from ddpkit.testing import verify_resume
from ddpkit.testing.verify_resume import ResumeReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="x.toml", help="the config file")
    parser.add_argument("--nproc", type=positive, metavar="N", help="number of ranks (default: as in the config)")
    parser.add_argument("--kills", type=positive, default=3, metavar="K", help="kill the run K times (default: 3)")
    parser.add_argument(
        "--batches", type=positive, default=6, metavar="N", help="use N micro-batches per epoch in each split (default: 6)"
    )
    parser.add_argument(
        "--instants", type=int, default=0, metavar="SEED", help="seed of the random times at which the run is killed (default: 0)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the config file")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    add_plugin_arguments(parser)
    parser.set_defaults(error=parser.error)


def main(arguments: argparse.Namespace) -> int:
    """Kill a short run, resume it, and compare it with an uninterrupted run.

    The exit code is 0 if both are bit-identical, 1 if they differ or if the run ended before a kill.
    """
    if rank_process.is_rank():
        arguments.error("cannot run under torchrun or srun: this command starts its runs itself")
    options = RunOptions(
        overrides=parse_overrides(arguments.set),
        nproc=arguments.nproc,
        no_plugins=arguments.no_plugins,
        block=tuple(arguments.p),
    )
    report = verify_resume.verify_resume(arguments.file, options, arguments.kills, arguments.batches, arguments.instants)
    if arguments.json:
        write(json.dumps({"equal": report.is_equal, **attrs.asdict(report)}, indent=2) + "\n")
    else:
        write("".join(f"{line}\n" for line in format_verdict(report)))
    return ExitCode.DONE if report.is_equal else ExitCode.FAILED


def format_verdict(report: ResumeReport) -> list[str]:
    steps = f"step{'s' * (len(report.kills) > 1)} {', '.join(map(str, report.kills))}"
    killed = f"killed after {steps}" if report.kills else "the run ended before it could be killed"
    kills = f"{killed} on {report.n_ranks} rank{'s' * (report.n_ranks > 1)}"
    if report.is_equal:
        return [f"equal: {kills}; the resumed run is bit-identical to the uninterrupted run at each of {report.n_steps} steps"]
    if report.first is None:
        return ["no result: the run ended before the first kill; increase '--batches' or 'train.epoch' to get more steps"]
    return [
        f"different: {kills}; first difference at step {report.first.step}: {report.first.what} ({report.first.by})",
        *(f"cause: {each}" for each in report.causes),
    ]
