"""Write the report into the run folder: `report.html`, `curves.png`, `confusion_matrix.png`."""

import contextlib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from ddpkit.runs.files import Files, os_errors_as, replace_file
from ddpkit.runs.folder import CURVES, REPORT
from ddpkit.runs.log import LOGGER
from ddpkit.runs.metric_tables import picture_file
from ddpkit.runs.record import RunRecord
from ddpkit.runs.report.curves import TIMES, run_charts
from ddpkit.runs.report.matrix import read_matrix
from ddpkit.runs.report.pictures import draw_curves, draw_matrix
from ddpkit.runs.report.report import render_report

REMEDY = "free disk space or correct the permissions, then repeat the command"


def write_report(folder: Path) -> Path:
    """Write the report of a run, also while it trains; return the path of the page.

    Raise ConfigError if a file of the run folder is damaged, CheckpointError if the report cannot be written.
    """
    record = RunRecord(folder)
    files = {REPORT: render_report(record).encode(errors="backslashreplace"), **dict(draw_pictures(record))}
    write_files(folder, files)
    return folder / REPORT


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    with os_errors_as(folder, REMEDY):
        for name, content in files.items():
            replace_file(Files(), folder / name, [content])


def draw_pictures(record: RunRecord) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each picture: the curves after the first epoch, and the matrices of the test."""
    if charts := [chart for chart in run_charts(record) if chart.title not in TIMES]:
        yield CURVES, draw_curves(charts)
    yield from draw_matrices(record)


def draw_matrices(record: RunRecord) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the picture of each confusion matrix that has none; a new test deletes the earlier ones."""
    for table in record.confusion:
        name = picture_file(table)
        if not (record.folder / name).is_file():
            yield name, draw_matrix(read_matrix(record, table))


def write_matrices(folder: Path) -> None:
    """Write the pictures of the confusion matrices of a test. A failure is only a warning."""
    with only_warn(folder):
        write_files(folder, dict(draw_matrices(RunRecord(folder))))


def write_report_of_run(folder: Path) -> None:
    """Write the report at the end of a run. A failure is only a warning, because the results are already written."""
    with only_warn(folder):
        LOGGER.info("report  %s", write_report(folder))


@contextlib.contextmanager
def only_warn(folder: Path) -> Iterator[None]:
    """Log an error inside the context as a warning, with the command that writes the report again."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - no error of a page may end a run
        command = f"ddpkit report {shlex.quote(str(folder))}"
        LOGGER.warning("the report was not written: %s: %s; to write it later, use '%s'", type(error).__name__, error, command)
        LOGGER.debug("traceback of the report", exc_info=True)
