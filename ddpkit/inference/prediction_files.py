"""The folder of a run's predictions. Each rank fills a part; rank 0 puts them together in the order of the inputs.

predictions.json, .csv, .npz    by the writer
masks/NAME.png                  class indices in the size of the input, with a palette
images/NAME.png                 `save_images`
skipped.json                    inputs that could not be predicted
"""

import contextlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from PIL import Image

from ddpkit.errors import DdpkitError
from ddpkit.inference.drawing import drawn, mask_image
from ddpkit.inference.prediction import Prediction
from ddpkit.plugins.protocols import Writer
from ddpkit.runs.folder import SKIPPED
from ddpkit.runs.log import LOGGER

MASKS, IMAGES, PARTS = "masks", "images", ".parts"


@attrs.frozen
class Predictions:
    """What is written of a prediction, and nowhere else."""

    path: Path
    files: Sequence[Path]
    """The inputs, in order."""
    names: Sequence[str]
    """Theirs, see `inputs.names_of`."""

    def begin(self) -> None:
        """An empty folder, in place of an earlier prediction's. Raises DdpkitError where it cannot be made."""
        with explained(self.path):
            if self.path.is_symlink():
                raise DdpkitError(f"{self.path} is a link, and predictions stay in the folder of their run; remove it")
            if self.path.exists():
                shutil.rmtree(self.path)
            for name in (MASKS, IMAGES, PARTS):
                (self.path / name).mkdir(parents=True)

    @contextlib.contextmanager
    def part(self, rank: int) -> Iterator["Part"]:
        """Where a rank writes."""
        with explained(self.path), zipfile.ZipFile(self.part_file(rank), "w") as archive:
            yield Part(self, archive)

    def part_file(self, rank: int) -> Path:
        """Of a rank."""
        return self.path / PARTS / f"{rank}.zip"

    def merge(self, n_ranks: int, writer: Writer) -> list[dict[str, str]]:
        """Hand all predictions to the writer, in order; returns `file` and `error` of what there is none of."""
        skipped = []
        with explained(self.path), contextlib.ExitStack() as stack:
            parts = [stack.enter_context(zipfile.ZipFile(self.part_file(rank))) for rank in range(n_ranks)]
            for number, (file, name) in enumerate(zip(self.files, self.names, strict=True)):
                outcome = taken(parts[number % n_ranks], number)
                if isinstance(outcome, str):
                    LOGGER.warning("skipped %s", outcome)
                    skipped.append({"file": str(file), "error": outcome})
                else:
                    writer.write(name, outcome)
            writer.close()
            (self.path / SKIPPED).write_text(json.dumps(skipped, indent=2) + "\n", encoding="utf-8")
        self.tidy()
        return skipped

    def tidy(self) -> None:
        """Remove what is of no more use."""
        shutil.rmtree(self.path / PARTS)
        for name in (MASKS, IMAGES):
            with contextlib.suppress(OSError):  # it is in use
                (self.path / name).rmdir()


@attrs.frozen
class Part:
    """What one rank found."""

    whole: Predictions
    archive: zipfile.ZipFile

    def add(self, number: int, outcome: Prediction | str, picture: Image.Image | None) -> None:
        """What was found in an input, and on which picture to draw it; or why nothing was."""
        if isinstance(outcome, str):
            self.archive.writestr(f"{number}.json", json.dumps({"error": outcome}))
            return
        values = {"file": str(self.whole.files[number]), **outcome.values}
        if "mask" in outcome.arrays:
            values["mask"] = self.save(MASKS, number, mask_image(outcome.arrays["mask"]))
        if picture:
            values["image"] = self.save(IMAGES, number, drawn(picture, outcome))
        record = {"values": values, "arrays": list(outcome.arrays)}
        self.archive.writestr(f"{number}.json", json.dumps(record))
        for key, array in outcome.arrays.items():
            with self.archive.open(f"{number}/{key}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)

    def save(self, folder: str, number: int, image: Image.Image) -> str:
        """A picture of an input; returns its place in the predictions."""
        place = f"{folder}/{self.whole.names[number]}.png"
        image.save(self.whole.path / place)
        return place


def taken(part: zipfile.ZipFile, number: int) -> Prediction | str:
    """What a part holds of an input."""
    record: dict[str, Any] = json.loads(part.read(f"{number}.json"))
    if "error" in record:
        return str(record["error"])
    arrays = {}
    for key in record["arrays"]:
        with part.open(f"{number}/{key}.npy") as file:
            arrays[key] = np.lib.format.read_array(file, allow_pickle=False)
    return Prediction(record["values"], arrays)


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """The disk's refusal as a person's problem."""
    try:
        yield
    except OSError as error:
        raise DdpkitError(f"{folder}: cannot be written: {os.strerror(error.errno) if error.errno else error}") from error
