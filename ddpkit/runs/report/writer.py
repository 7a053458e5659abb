"""Write the report into the run folder: `report.html`, `curves.png`, `confusion_matrix.png`."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from ddpkit.runs.files import Files, os_errors_as, replace_file
from ddpkit.runs.folder import CURVES, MATRIX, REPORT
from ddpkit.runs.log import LOGGER
from ddpkit.runs.record import RunRecord
from ddpkit.runs.report.curves import TIMES, run_charts
from ddpkit.runs.report.matrix import read_matrices
from ddpkit.runs.report.pictures import draw_curves, draw_matrix
from ddpkit.runs.report.report import render_report

REMEDY = "free disk space or correct the permissions, then repeat the command"


def write_report(folder: Path) -> Path:
    """Write the report of a run, also while it trains; return the path of the page.

    Raise ConfigError if a file of the run folder is damaged, CheckpointError if the report cannot be written.
    """
    record = RunRecord(folder)
    files = {REPORT: render_report(record).encode(errors="backslashreplace"), **dict(draw_pictures(record))}
    with os_errors_as(folder, REMEDY):
        for name, content in files.items():
            replace_file(Files(), folder / name, [content])
    return folder / REPORT


def draw_pictures(record: RunRecord) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each picture: the curves after the first epoch, the confusion matrix if the test wrote one."""
    if charts := [chart for chart in run_charts(record) if chart.title not in TIMES]:
        yield CURVES, draw_curves(charts)
    if matrices := read_matrices(record):
        yield MATRIX, draw_matrix(matrices[0])


def write_report_of_run(folder: Path) -> None:
    """Write the report at the end of a run. A failure is only a warning, because the results are already written."""
    try:
        LOGGER.info("report  %s", write_report(folder))
    except Exception as error:  # noqa: BLE001 - no error of a page may end a run
        command = f"ddpkit report {shlex.quote(str(folder))}"
        LOGGER.warning("the report was not written: %s: %s; repeat with '%s'", type(error).__name__, error, command)
        LOGGER.debug("traceback of the report", exc_info=True)
