"""Writers of predictions. Each file appears when it is whole."""

import csv
import itertools
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ddpkit import Component, DdpkitError, hookimpl

BOX = ("x1", "y1", "x2", "y2")
OF_BOXES = ("file", *BOX, "label", "name", "score")
"""Columns of a table of boxes."""


@hookimpl
def ddpkit_writers() -> Iterator[Component]:
    """The writers."""
    here = "ddpkit_plugins.writers"
    yield Component("json", f"{here}:Json", doc="predictions.json: a list, an input each")
    yield Component("csv", f"{here}:Csv", doc="predictions.csv: a row an input, or a box")
    yield Component("numpy", f"{here}:Numpy", doc="predictions.npz: arrays NAME/mask, NAME/probabilities, ...")


class Json:
    """`predictions.json`: a list in the order of the inputs, one a line."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "predictions.json"
        self._scratch = scratch(self._file).open("w", encoding="utf-8")
        self._before = "[\n"

    def write(self, name: str, prediction: Any) -> None:  # noqa: ARG002 - it is in the values where it is needed
        """An input's."""
        self._scratch.write(self._before + json.dumps(prediction.values, allow_nan=False))
        self._before = ",\n"

    def close(self) -> None:
        """All are there."""
        self._scratch.write("[]\n" if self._before == "[\n" else "\n]\n")
        self._scratch.close()
        scratch(self._file).replace(self._file)


class Csv:
    """`predictions.csv`: a row an input; of boxes a row each. Columns are those of the first row."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "predictions.csv"
        self._scratch = scratch(self._file).open("w", encoding="utf-8", errors="surrogateescape", newline="")
        self._writer: csv.DictWriter[str] | None = None

    def write(self, name: str, prediction: Any) -> None:
        """An input's. Raises DdpkitError for one that has more to say than the first."""
        found = rows(prediction.values)
        if self._writer is None:
            columns = list(found[0]) if found else OF_BOXES
            self._writer = csv.DictWriter(self._scratch, columns, lineterminator="\n")
            self._writer.writeheader()
        if other := next((key for row in found for key in row if key not in self._writer.fieldnames), None):
            message = f"{name!r} has {other!r}, which the first input has not; take another 'output_format', as json"
            raise DdpkitError(f"{self._file}: a table has the columns of its first row: {message}")
        self._writer.writerows(found)

    def close(self) -> None:
        """All are there."""
        self._scratch.close()
        scratch(self._file).replace(self._file)


class Numpy:
    """`predictions.npz`: the arrays of an input are called after it, `numpy.load(...)["NAME/mask"]`; `NAME/file` is its path."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "predictions.npz"
        self._archive = zipfile.ZipFile(scratch(self._file), "w")

    def write(self, name: str, prediction: Any) -> None:
        """An input's."""
        import numpy as np  # noqa: PLC0415 - wanted by runs alone

        for key, array in {"file": np.array(prediction.values["file"]), **prediction.arrays}.items():
            with self._archive.open(f"{name}/{key}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)

    def close(self) -> None:
        """All are there."""
        self._archive.close()
        scratch(self._file).replace(self._file)


def scratch(file: Path) -> Path:
    """Where a file is written until it is whole."""
    return file.with_name(f".{file.name}.tmp")


def rows(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of a prediction's values."""
    if "boxes" not in values:
        return [dict(cells(values))]
    found = zip(values["boxes"], values["labels"], values["names"], values["scores"], strict=True)
    return [
        {"file": values["file"], **dict(zip(BOX, box, strict=True)), "label": label, "name": name, "score": score}
        for box, label, name, score in found
    ]


def cells(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Flat: the class with rank 2 is `name_2` with `probability_2`; several labels are separated by semicolons.

    Of two classes a threshold may choose the less probable one; the other is then the second.
    """
    for key, value in values.items():
        if key == "top":
            others = [each for each in value if each[0] != values["name"]][: len(value) - 1]
            for rank, (name, probability) in enumerate(others, start=2):
                yield from {f"name_{rank}": name, f"probability_{rank}": probability}.items()
        elif isinstance(value, Mapping):
            yield from ((f"{key}.{name}", each) for name, each in value.items())
        elif key == "values":
            yield from ((f"value_{number}", each) for number, each in enumerate(numbers(value)))
        else:
            yield key, ";".join(value) if isinstance(value, list) else value


def numbers(values: Any) -> list[Any]:
    """Nested lists as one."""
    return list(itertools.chain.from_iterable(map(numbers, values))) if isinstance(values, list) else [values]
