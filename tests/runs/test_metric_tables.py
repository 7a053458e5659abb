"""The tables of test metrics."""

import math

from ddpkit.runs.metric_tables import build_tables
from ddpkit.training.metric_result import MetricResult


def test_a_scalar_metric_has_no_table():
    assert build_tables({"f1": MetricResult(0.25)}, []) == {}


def test_the_per_class_table_has_one_row_per_class():
    """Zero is written as a number, NaN as an empty cell; an unnamed class has its index."""
    values = {"f1": MetricResult(0.3, per_class=[0.9, 0.0, math.nan]), "ema/map": MetricResult(0.5, per_class=[math.nan, 0.5])}

    assert build_tables(values, ["cat", "dog"]) == {
        "test_metrics_per_class.csv": [
            ["class", "f1", "ema/map"],
            ["cat", 0.9, ""],
            ["dog", 0.0, 0.5],
            ["2", "", ""],
        ]
    }


def test_a_confusion_matrix_file_is_named_after_its_metric():
    matrix = MetricResult(0.5, confusion=[[1, 2], [0, 1]])

    assert build_tables({"confusion_matrix": matrix}, ["cat"]) == {
        "confusion_matrix.csv": [["true", "cat", "1"], ["cat", 1, 2], ["1", 0, 1]]
    }
    assert list(build_tables({"ema/confusion_matrix": matrix, "../x": matrix}, [])) == [
        "ema-confusion_matrix.csv",
        "confusion_matrix-..-x.csv",
    ]
