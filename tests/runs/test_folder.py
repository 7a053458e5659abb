"""The files of a run that scripts read."""

import csv
import json
import math

from ddpkit.runs.folder import RunFolder


def test_a_value_that_is_no_finite_number_is_null_and_an_empty_cell(tmp_path):
    folder = RunFolder(tmp_path)

    folder.epoch_ended({"epoch": 1, "valid/loss": math.nan, "valid/accuracy": 0.5})
    folder.write_test_metrics({"loss": math.inf}, [], folder.path / "weights/best.safetensors")

    assert json.loads((tmp_path / "history.jsonl").read_text()) == {"epoch": 1, "valid/loss": None, "valid/accuracy": 0.5}
    with (tmp_path / "history.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"epoch": "1", "valid/loss": "", "valid/accuracy": "0.5"}]
    assert json.loads((tmp_path / "test_metrics.json").read_text()) == {"loss": None}
