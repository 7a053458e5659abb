"""The machine-readable files of a run."""

import csv
import json
import math

from ddpkit.runs.folder import RunFolder
from ddpkit.runs.saved_weights import SavedWeights
from ddpkit.training.metric_result import EvaluationResult


def test_non_finite_values_are_null_in_json_and_empty_in_csv(tmp_path):
    folder = RunFolder(tmp_path)

    folder.append_row({"epoch": 1, "valid/loss": math.nan, "valid/accuracy": 0.5})
    folder.write_test(EvaluationResult({"loss": math.inf}, {}), [], [SavedWeights(folder.path / "weights/best.safetensors")])

    assert json.loads((tmp_path / "history.jsonl").read_text()) == {"epoch": 1, "valid/loss": None, "valid/accuracy": 0.5}
    with (tmp_path / "history.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"epoch": "1", "valid/loss": "", "valid/accuracy": "0.5"}]
    assert json.loads((tmp_path / "test_metrics.json").read_text()) == {"loss": None}
