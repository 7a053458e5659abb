"""Page of a comparison: one HTML file that loads nothing."""

import time

from ddpkit.runs.comparison.charts import compare_curves
from ddpkit.runs.comparison.comparison import Comparison
from ddpkit.runs.comparison.tables import FOLDS_NOTE, NOTE, fold_rows, key_rows, result_rows
from ddpkit.runs.report.table import Table

MARK = b'<meta name="generator" content="ddpkit compare '
"""Bytes by which the page is recognised."""


def render_comparison(found: Comparison) -> str:
    """Return the page."""
    from ddpkit.runs.report.page import render  # noqa: PLC0415 - imports Jinja2, which only this page needs

    labels = [run.label for run in found.runs]
    folders = [(run.label, str(run.record.folder)) for run in found.runs]
    folds = ("mean over folds", *(group.label for group in found.folds))
    return render(
        "comparison.html",
        n_runs=len(found.runs),
        written=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        runs=Table("Runs", ("run", "folder"), folders),
        keys=Table("Config keys that differ", ("key", *labels), key_rows(found)),
        results=Table("Values at the best epoch, and of the test", ("result", *labels), result_rows(found), NOTE),
        folds=Table("Mean over folds", folds, fold_rows(found), FOLDS_NOTE) if found.folds else None,
        charts=compare_curves(found.runs),
    )
