"""Writers of predictions. Each file gets its final name only when it is complete."""

import csv
import itertools
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from ddpkit import Component, DdpkitError, hookimpl

BOX = ("x1", "y1", "x2", "y2")
BOX_COLUMNS = ("file", *BOX, "label", "name", "score")
"""Columns of the table if the predictions are boxes."""


@hookimpl
def ddpkit_writers() -> Iterator[Component]:
    """Yield the built-in writers of predictions."""
    here = "ddpkit_plugins.writers"
    yield Component("json", f"{here}:Json", doc="predictions.json: a list with one entry per input")
    yield Component("csv", f"{here}:Csv", doc="predictions.csv: one row per input, or one row per box")
    yield Component("numpy", f"{here}:Numpy", doc="predictions.npz: arrays NAME/mask, NAME/probabilities, ...")


class Json:
    """Writer of `predictions.json`: a list in the order of the inputs, one input per line.

    Args:
        folder: The folder of the predictions; passed by the run.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "predictions.json"
        self._scratch = scratch_path(self._file).open("w", encoding="utf-8")
        self._before = "[\n"

    def write(self, name: str, prediction: Any) -> None:  # noqa: ARG002 - the values contain the file name
        """Write the prediction of one input."""
        self._scratch.write(self._before + json.dumps(prediction.values, allow_nan=False))
        self._before = ",\n"

    def close(self) -> None:
        """Finish the file, and rename it to its final name."""
        self._scratch.write("[]\n" if self._before == "[\n" else "\n]\n")
        self._scratch.close()
        scratch_path(self._file).replace(self._file)


class Csv:
    """Writer of `predictions.csv`: one row per input, or one row per box. The columns are those of the first row.

    Args:
        folder: The folder of the predictions; passed by the run.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "predictions.csv"
        self._scratch = scratch_path(self._file).open("w", encoding="utf-8", errors="surrogateescape", newline="")
        self._writer: csv.DictWriter[str] | None = None

    def write(self, name: str, prediction: Any) -> None:
        """Write the prediction of one input. Raises DdpkitError if it has a column that the first row does not have."""
        found = to_rows(prediction.values)
        if self._writer is None:
            columns = list(found[0]) if found else BOX_COLUMNS
            self._writer = csv.DictWriter(UnixLines(self._scratch), columns, lineterminator="\r\n")
            self._writer.writeheader()
        if other := next((key for row in found for key in row if key not in self._writer.fieldnames), None):
            message = f"the prediction of {name!r} has the column {other!r}, which the first row of the file does not have"
            raise DdpkitError(f"{self._file}: {message}; use another 'output_format', such as 'json'")
        self._writer.writerows(found)

    def close(self) -> None:
        """Finish the file, and rename it to its final name."""
        self._scratch.close()
        scratch_path(self._file).replace(self._file)


class UnixLines:
    r"""File for `csv.writer(..., lineterminator="\r\n")`, whose lines end with "\n".

    With "\n" as line terminator, the writer would not quote a name that contains "\r", and readers would split the row there.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, row: str) -> None:
        """Write one row."""
        self._file.write(row.removesuffix("\r\n") + "\n")


class Numpy:
    """Writer of `predictions.npz`: arrays named after the input, `numpy.load(...)["NAME/mask"]`; `NAME/file` is the input's path.

    Args:
        folder: The folder of the predictions; passed by the run.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "predictions.npz"
        self._archive = zipfile.ZipFile(scratch_path(self._file), "w")

    def write(self, name: str, prediction: Any) -> None:
        """Write the arrays of one input's prediction."""
        import numpy as np  # noqa: PLC0415 - only runs need it

        for key, array in {"file": np.array(prediction.values["file"]), **prediction.arrays}.items():
            with self._archive.open(f"{name}/{key}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)

    def close(self) -> None:
        """Finish the file, and rename it to its final name."""
        self._archive.close()
        scratch_path(self._file).replace(self._file)


def scratch_path(file: Path) -> Path:
    """Return the temporary path of a file that is not complete yet."""
    return file.with_name(f".{file.name}.tmp")


def to_rows(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per box, or a single row for another prediction."""
    if "boxes" not in values:
        return [dict(to_cells(values))]
    found = zip(values["boxes"], values["labels"], values["names"], values["scores"], strict=True)
    return [
        {"file": values["file"], **dict(zip(BOX, box, strict=True)), "label": label, "name": name, "score": score}
        for box, label, name, score in found
    ]


def to_cells(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the cells of a row: column name and value.

    The second most probable class is `name_2`, with `probability_2`. Several labels are separated by semicolons.
    """
    for key, value in values.items():
        if key == "top":
            # a threshold may select the less probable of two classes; the other one then has rank 2
            others = [each for each in value if each[0] != values["name"]][: len(value) - 1]
            for rank, (name, probability) in enumerate(others, start=2):
                yield from {f"name_{rank}": name, f"probability_{rank}": probability}.items()
        elif isinstance(value, Mapping):
            yield from ((f"{key}.{name}", each) for name, each in value.items())
        elif key == "values":
            yield from ((f"value_{number}", each) for number, each in enumerate(flatten_numbers(value)))
        else:
            yield key, ";".join(value) if isinstance(value, list) else value


def flatten_numbers(values: Any) -> list[Any]:
    """Flatten nested lists to one list."""
    return list(itertools.chain.from_iterable(map(flatten_numbers, values))) if isinstance(values, list) else [values]
