"""The life of a rank, and its report: a rank that fails writes one; the launcher shows the first, once, not tracebacks."""

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ddpkit.distributed.parent_death import end_with_parent
from ddpkit.distributed.rank_process import LAUNCHER, REPORTS, is_our_rank
from ddpkit.errors import STOPS, ConfigError, DdpkitError, ExitCode, PluginError, Problem, RankError, Stopped


def stopped(folder: Path) -> list[DdpkitError]:
    """The reports of ranks that saved and ended because they were asked to."""
    return [reported(report) for report in reports(folder) if report["exit_code"] in STOPS.values()]


def reports(folder: Path) -> list[dict[str, Any]]:
    """What ranks wrote down, the earliest first."""
    return sorted((json.loads(file.read_text()) for file in folder.glob("rank-*.json")), key=lambda report: report["time"])


def first_failure(failures: Any, folder: Path) -> DdpkitError:
    """What to show of the ranks that failed: the earliest report; the others are consequences.

    A rank that was killed or crashed leaves none. Then the others may report the broken connection before the agent ends
    them, so such a signal comes first; SIGTERM is the agent's own, and SIGABRT what a collective does after a report.
    """
    signals = {rank: signal.Signals(-failure.exitcode) for rank, failure in failures.items() if failure.exitcode < 0}
    for rank, number in signals.items():
        if number not in (signal.SIGTERM, signal.SIGABRT):
            return RankError(f"rank {rank} was ended by {number.name}{' (out of memory?)' * (number is signal.SIGKILL)}")
    if written := reports(folder):
        return reported(written[0])
    rank, failure = next(iter(failures.items()))
    return RankError(f"rank {rank} ended without a report: {signals[rank].name if rank in signals else failure.exitcode}")


def reported(report: Mapping[str, Any]) -> DdpkitError:
    """The error that a rank wrote down."""
    problems = [Problem(**{**problem, "path": tuple(problem["path"])}) for problem in report["problems"]]
    if problems:
        return (PluginError if report["exit_code"] == ExitCode.PLUGIN else ConfigError)(problems)
    if report["exit_code"] in STOPS.values():
        return Stopped(report["text"], ExitCode(report["exit_code"]))
    return RankError(report["text"], report["exit_code"])


@contextlib.contextmanager
def as_rank() -> Iterator[None]:
    """The life of a rank: it ends with its launcher, and leaves a report there when it fails. Nothing for other processes."""
    if not is_our_rank():
        yield
        return
    end_with_parent(lambda: os.getppid() == int(os.environ[LAUNCHER]))
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # passed on by the agent: end at once, even in the middle of a collective
    report_file().unlink(missing_ok=True)  # of the process in whose place this one is
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001 - reported, whatever it is
        write_report(error)
        sys.stderr.flush()
        # At once: an orderly exit would wait for loader workers. One that went as asked is not started again.
        os._exit(ExitCode.DONE if isinstance(error, Stopped) else ExitCode.FAILED)


def write_report(error: BaseException) -> None:
    """This rank's failure: a message if a person can put it right, else the traceback."""
    rank = os.environ.get("RANK", "0")
    if isinstance(error, DdpkitError):
        text, exit_code = str(error), error.exit_code
    else:
        text, exit_code = f"rank {rank} failed:\n{''.join(traceback.format_exception(error)).rstrip()}", ExitCode.FAILED
    problems = [attrs.asdict(problem) for problem in getattr(error, "problems", ())]
    report = {"time": time.time_ns(), "text": text, "exit_code": exit_code, "problems": problems}
    scratch = report_file().with_suffix(".tmp")
    scratch.write_text(json.dumps(report), encoding="utf-8")
    scratch.replace(report_file())


def report_file() -> Path:
    """Of this rank."""
    return Path(os.environ[REPORTS]) / f"rank-{os.environ.get('RANK', '0')}.json"
