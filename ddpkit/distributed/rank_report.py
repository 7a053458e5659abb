"""Reports of ranks: a rank that fails writes one, and the launcher shows the earliest in place of many tracebacks."""

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

from ddpkit.distributed.parent_death import die_with_parent
from ddpkit.distributed.rank_process import LAUNCHER, REPORTS, is_own_rank
from ddpkit.errors import (
    STOPS,
    ConfigError,
    DdpkitError,
    Diagnostic,
    ExitCode,
    PluginError,
    RankError,
    RunStopped,
    take_component_note,
)


def stop_errors(folder: Path) -> list[DdpkitError]:
    """Return an error for each rank that saved and ended because of a signal."""
    return [error_from_report(report) for report in read_reports(folder) if report["exit_code"] in STOPS.values()]


def read_reports(folder: Path) -> list[dict[str, Any]]:
    """Return the reports of all ranks, the earliest first."""
    return sorted((json.loads(file.read_text()) for file in folder.glob("rank-*.json")), key=lambda report: report["time"])


def first_failure(failures: Any, folder: Path) -> DdpkitError:
    """Return the cause of a failed run: the earliest report, since the others are consequences.

    A rank that a signal killed leaves no report. Other ranks may then report a broken connection before the agent terminates
    them, so such a signal takes precedence over reports. This does not apply to SIGTERM, which the agent sends, or to SIGABRT,
    with which a collective aborts a process after its report.
    """
    signals = {rank: signal.Signals(-failure.exitcode) for rank, failure in failures.items() if failure.exitcode < 0}
    for rank, number in signals.items():
        if number not in (signal.SIGTERM, signal.SIGABRT):
            return RankError(f"rank {rank} was killed by {number.name}{' (possibly out of memory)' * (number is signal.SIGKILL)}")
    if reports := read_reports(folder):
        return error_from_report(reports[0])
    rank, failure = next(iter(failures.items()))
    return RankError(
        f"rank {rank} ended without an error report; exit status: {signals[rank].name if rank in signals else failure.exitcode}"
    )


def error_from_report(report: Mapping[str, Any]) -> DdpkitError:
    """Return the error that a rank reported."""
    problems = [Diagnostic(**{**problem, "path": tuple(problem["path"])}) for problem in report["problems"]]
    if problems:
        return (PluginError if report["exit_code"] == ExitCode.PLUGIN else ConfigError)(problems)
    if report["exit_code"] in STOPS.values():
        return RunStopped(report["text"], ExitCode(report["exit_code"]))
    return RankError(report["text"], report["exit_code"])


@contextlib.contextmanager
def rank_process() -> Iterator[None]:
    """Run a rank inside the context: it ends with its launcher, and writes a report if it fails. No effect on other processes."""
    if not is_own_rank():
        yield
        return
    die_with_parent(lambda: os.getppid() == int(os.environ[LAUNCHER]))
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # sent by the agent: end immediately, even inside a collective
    report_path().unlink(missing_ok=True)  # written by the process that this one replaces
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001 - every error is reported
        write_report(error)
        sys.stderr.flush()
        # Immediately: a normal exit would wait for loader workers. DONE: the agent must not restart a rank that a signal stopped.
        os._exit(ExitCode.DONE if isinstance(error, RunStopped) else ExitCode.FAILED)


def write_report(error: BaseException) -> None:
    """Write this rank's report: the message of an error that a user can fix, else the traceback."""
    rank = os.environ.get("RANK", "0")
    if isinstance(error, DdpkitError):
        text, exit_code = str(error), error.exit_code
    else:
        note = take_component_note(error)
        text = f"rank {rank}{f': {note}' if note else ' failed:'}\n{''.join(traceback.format_exception(error)).rstrip()}"
        exit_code = ExitCode.FAILED
    problems = [attrs.asdict(problem) for problem in getattr(error, "problems", ())]
    report = {"time": time.time_ns(), "text": text, "exit_code": exit_code, "problems": problems}
    scratch = report_path().with_suffix(".tmp")
    scratch.write_text(json.dumps(report), encoding="utf-8")
    scratch.replace(report_path())


def report_path() -> Path:
    """Return the path of this rank's report."""
    return Path(os.environ[REPORTS]) / f"rank-{os.environ.get('RANK', '0')}.json"
