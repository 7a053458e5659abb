"""Command `ddpkit run x.toml`: train, test or predict."""

import argparse
import math
from pathlib import Path

from ddpkit.cli.options import add_plugin_arguments, non_negative, positive
from ddpkit.config.loading import parse_overrides
from ddpkit.distributed import rank_process, rank_report, signal_forwarding
from ddpkit.errors import ExitCode
from ddpkit.runs.folder import PREDICTIONS, SKIPPED, RunResult
from ddpkit.runs.lookup import BEST
from ddpkit.runs.metric_tables import CONFUSION
from ddpkit.tasks import runner
from ddpkit.tasks.plan import RunOptions
from ddpkit.terminal import escape, write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, metavar="x.toml", help="the config file")
    parser.add_argument("--config", type=Path, metavar="x.toml", help="the config file, as an option (used by main.py)")
    parser.add_argument(
        "--task",
        choices=["train", "test", "predict"],
        help="task to run; train includes a test (default: the tasks in 'private.mode')",
    )
    parser.add_argument(
        "--weights", default=BEST, metavar="W", help="weights for test and predict: best, last, a file or a run folder"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the config file")
    parser.add_argument("--nproc", type=positive, metavar="N", help="number of ranks (default: as in the config)")
    parser.add_argument("--limit-batches", type=positive, metavar="N", help="use at most N micro-batches per epoch in each split")
    parser.add_argument(
        "--dry-run", action="store_true", help="build everything and run one training step, without creating a run folder"
    )
    parser.add_argument(
        "--resume", nargs="?", const="", metavar="PATH", help="resume the newest unfinished run, or the run or checkpoint PATH"
    )
    parser.add_argument("--allow-drift", action="append", default=[], metavar="KEY", help="resume although KEY has changed")
    parser.add_argument(
        "--max-restarts", type=non_negative, default=0, metavar="N", help="restart the ranks at most N times after a rank failed"
    )
    parser.add_argument(
        "--locked", action="store_true", help="start only if the plugins are those that 'ddpkit lock x.toml' recorded"
    )
    add_plugin_arguments(parser)
    parser.set_defaults(error=parser.error)


def main(arguments: argparse.Namespace) -> int:
    """Run the config. The results are written to stdout once, for any number of ranks."""
    if (arguments.file is None) == (arguments.config is None):
        arguments.error("exactly one config file is required, for example: ddpkit run x.toml")
    return run_and_report(arguments.file or arguments.config, parse_options(arguments))


def parse_options(arguments: argparse.Namespace) -> RunOptions:
    return RunOptions(
        overrides=parse_overrides(arguments.set),
        task=arguments.task,
        weights=arguments.weights,
        nproc=arguments.nproc,
        limit_batches=arguments.limit_batches,
        dry_run=arguments.dry_run,
        no_plugins=arguments.no_plugins,
        block=tuple(arguments.p),
        locked=arguments.locked,
        resume=arguments.resume,
        allow_drift=tuple(arguments.allow_drift),
        max_restarts=arguments.max_restarts,
    )


def run_and_report(file: Path, options: RunOptions) -> int:
    """Run the config, print the results, and return the exit code."""
    with rank_report.rank_process(), signal_forwarding.stop_on_signals():
        result = runner.run(file, options=options)
    if rank_process.is_output_process():
        write(format_result(result, options))
    return ExitCode.SOME_SKIPPED if result and result.skipped and rank_process.is_output_process() else ExitCode.DONE


def format_result(result: RunResult | None, options: RunOptions) -> str:
    """Return the text to print after a run; empty on ranks that have no result."""
    if result is None:
        return "dry run passed: everything was built, and one training step was run\n" if options.dry_run else ""
    tested = (
        {} if options.task == "predict" else {name: value for name, value in result.test_metrics.items() if CONFUSION not in name}
    )
    lines = [f"test {name} {math.nan if value is None else value:.4f}" for name, value in tested.items()]
    if result.skipped:
        lines += [
            f"skipped inputs: {len(result.skipped)}; the reasons are in {escape(str(result.folder / PREDICTIONS / SKIPPED))}"
        ]
    return "\n".join([*lines, escape(str(result.folder))]) + "\n"
