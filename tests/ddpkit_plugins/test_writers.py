"""Writers of prediction files."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest

from ddpkit import DdpkitError
from ddpkit_plugins.writers import Csv, Json, Numpy

BOXES = {"boxes": [[0.0, 1.0, 2.0, 3.0]] * 2, "labels": [1, 2], "names": ["a", "b"], "scores": [0.9, 0.8]}
ROWS = {
    "class": (
        {"label": 1, "name": "b", "probability": 0.9, "top": [["b", 0.9], ["a", 0.1]]},
        ["x", "1", "b", "0.9", "a", "0.1"],
    ),
    "a class by threshold": (
        {"label": 0, "name": "a", "probability": 0.4, "top": [["b", 0.6], ["a", 0.4]]},
        ["x", "0", "a", "0.4", "b", "0.6"],
    ),
    "labels": ({"labels": ["a", "b"], "probabilities": {"a": 0.9, "b": 0.8}}, ["x", "a;b", "0.9", "0.8"]),
    "mask": ({"mask": "masks/x.png", "classes": {"a": 0.25, "b": 0.75}}, ["x", "masks/x.png", "0.25", "0.75"]),
    "numbers": ({"values": [[1.0, 2.0], [3.0, None]]}, ["x", "1.0", "2.0", "3.0", ""]),
}


def write_all(writer, *predictions):
    for number, values in enumerate(predictions):
        writer.write(f"x-{number}", SimpleNamespace(values={"file": "x", **values}, arrays={"of": np.arange(3)}))
    writer.close()


@pytest.mark.parametrize("kind", ROWS)
def test_csv_has_one_row_per_input(tmp_path, kind):
    values, row = ROWS[kind]

    write_all(Csv(tmp_path), values, values)

    header, *rows = csv.reader((tmp_path / "predictions.csv").read_text().splitlines())
    assert rows == [row, row]
    assert (header[0], len(set(header))) == ("file", len(row))


def test_csv_has_one_row_per_box(tmp_path):
    write_all(Csv(tmp_path), {key: [] for key in BOXES}, BOXES)

    assert (tmp_path / "predictions.csv").read_text() == (
        "file,x1,y1,x2,y2,label,name,score\nx,0.0,1.0,2.0,3.0,1,a,0.9\nx,0.0,1.0,2.0,3.0,2,b,0.8\n"
    )


def test_csv_rejects_values_without_a_column(tmp_path):
    writer = Csv(tmp_path)

    with pytest.raises(
        DdpkitError,
        match="'x-1' has the column 'value_1', which the first row of the file does not have; use another 'output_format'",
    ):
        write_all(writer, {"values": [1.0]}, {"values": [1.0, 2.0]})
    writer.close()


def test_csv_without_boxes_has_its_header(tmp_path):
    write_all(Csv(tmp_path), {key: [] for key in BOXES})

    assert (tmp_path / "predictions.csv").read_text() == "file,x1,y1,x2,y2,label,name,score\n"


@pytest.mark.parametrize("n", [0, 1, 3])
def test_json_is_a_list(tmp_path, n):
    write_all(Json(tmp_path), *[BOXES] * n)

    assert json.loads((tmp_path / "predictions.json").read_text()) == [{"file": "x", **BOXES}] * n


def test_numpy_arrays_are_named_after_their_input(tmp_path):
    write_all(Numpy(tmp_path), BOXES, BOXES)

    with np.load(tmp_path / "predictions.npz") as found:
        assert set(found) == {"x-0/file", "x-0/of", "x-1/file", "x-1/of"}
        assert found["x-1/of"].tolist() == [0, 1, 2]
        assert str(found["x-0/file"]) == "x"


@pytest.mark.parametrize(("make", "name"), [(Csv, "predictions.csv"), (Json, "predictions.json"), (Numpy, "predictions.npz")])
def test_a_file_appears_only_when_complete(tmp_path, make, name):
    writer = make(tmp_path)
    writer.write("x", SimpleNamespace(values={"file": "\udcff", **BOXES}, arrays={}))
    assert not (tmp_path / name).exists()

    writer.close()

    assert [file.name for file in tmp_path.iterdir()] == [name]
