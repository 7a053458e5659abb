"""What scores are made of, as tables."""

import json
import math

from ddpkit.runs.metric_tables import tables
from ddpkit.training.metric_result import Score


def scored(number, **parts):
    score = Score(number)
    vars(score).update(parts)
    return score


def test_a_score_is_a_number():
    score = scored(0.25, per_class=[0.5, 0.0])

    assert score == 0.25
    assert json.dumps({"f1": score}) == '{"f1": 0.25}'
    assert tables({"loss": 0.5, "f1": Score(0.25)}, []) == {}


def test_each_class_has_its_row_and_its_own_numbers_in_it():
    """Zero is a number; where there is none, the cell is empty; what has no name has its index."""
    values = {"f1": scored(0.3, per_class=[0.9, 0.0, math.nan]), "ema/map": scored(0.5, per_class=[math.nan, 0.5])}

    assert tables(values, ["cat", "dog"]) == {
        "test_metrics_per_class.csv": [
            ["class", "f1", "ema/map"],
            ["cat", 0.9, ""],
            ["dog", 0.0, 0.5],
            ["2", "", ""],
        ]
    }


def test_a_matrix_has_a_file_that_names_its_metric():
    matrix = scored(0.5, confusion=[[1, 2], [0, 1]])

    assert tables({"confusion_matrix": matrix}, ["cat"]) == {
        "confusion_matrix.csv": [["true", "cat", "1"], ["cat", 1, 2], ["1", 0, 1]]
    }
    assert list(tables({"ema/confusion_matrix": matrix, "../x": matrix}, [])) == [
        "ema-confusion_matrix.csv",
        "confusion_matrix-..-x.csv",
    ]
