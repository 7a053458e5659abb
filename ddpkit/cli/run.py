"""`ddpkit run x.toml`."""

import argparse
import math
import sys
from pathlib import Path

from ddpkit.cli.options import add_plugin_arguments, positive, whole
from ddpkit.config.loading import parse_overrides
from ddpkit.distributed import rank_process, rank_report, signal_forwarding
from ddpkit.errors import ExitCode
from ddpkit.runs.folder import PREDICTIONS, SKIPPED, RunResult
from ddpkit.runs.lookup import BEST
from ddpkit.tasks.plan import Options
from ddpkit.tasks.runner import run_with


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a run."""
    parser.add_argument("file", nargs="?", type=Path, metavar="x.toml", help="the config")
    parser.add_argument("--config", type=Path, metavar="x.toml", help="the same, as main.py takes it")
    parser.add_argument("--task", choices=["train", "test", "predict"], help="else as 'private.mode' says; train tests too")
    parser.add_argument("--weights", default=BEST, metavar="W", help="to test or predict with: best, last, a file, a run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over the file's")
    parser.add_argument("--nproc", type=positive, metavar="N", help="how many ranks")
    parser.add_argument("--limit-batches", type=positive, metavar="N", help="at most N micro-batches of each part")
    parser.add_argument("--dry-run", action="store_true", help="build everything, try one step, leave no folder")
    parser.add_argument("--resume", nargs="?", const="", metavar="PATH", help="go on: the newest unfinished run, or PATH")
    parser.add_argument("--allow-drift", action="append", default=[], metavar="KEY", help="though KEY is another than before")
    parser.add_argument("--max-restarts", type=whole, default=0, metavar="N", help="go on so often after a rank failed")
    add_plugin_arguments(parser)
    parser.set_defaults(error=parser.error)


def main(arguments: argparse.Namespace) -> int:
    """Run; results go to stdout, once, whatever the number of ranks."""
    if (arguments.file is None) == (arguments.config is None):
        arguments.error("one config is needed, as in: ddpkit run x.toml")
    options = Options(
        overrides=parse_overrides(arguments.set),
        task=arguments.task,
        weights=arguments.weights,
        nproc=arguments.nproc,
        limit_batches=arguments.limit_batches,
        dry_run=arguments.dry_run,
        no_plugins=arguments.no_plugins,
        block=tuple(arguments.p),
        resume=arguments.resume,
        allow_drift=tuple(arguments.allow_drift),
        max_restarts=arguments.max_restarts,
    )
    return done(arguments.file or arguments.config, options)


def done(file: Path, options: Options) -> int:
    """Run, say what came of it, and return the exit code."""
    with rank_report.as_rank(), signal_forwarding.stopped_by_signals():
        result = run_with(file, options)
    if rank_process.is_speaker():
        sys.stdout.write(summary(result, options))
    return ExitCode.SOME_SKIPPED if result and result.skipped and rank_process.is_speaker() else ExitCode.DONE


def summary(result: RunResult | None, options: Options) -> str:
    """What to print of a finished run; nothing on the other ranks."""
    if result is None:
        return "the config builds and trains one step\n" if options.dry_run else ""
    tested = {} if options.task == "predict" else result.test_metrics
    lines = [f"test {name} {math.nan if value is None else value:.4f}" for name, value in tested.items()]
    if result.skipped:
        lines += [f"skipped {len(result.skipped)} of the inputs, see {result.folder / PREDICTIONS / SKIPPED}"]
    return "\n".join([*lines, str(result.folder)]) + "\n"
