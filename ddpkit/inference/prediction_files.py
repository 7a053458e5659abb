"""Write the predictions of a run. Each rank writes a shard; rank 0 merges the shards in the order of the inputs.

predictions.json, .csv, .npz    from the writer
masks/NAME.png                  class indices in the size of the input, with a colour palette
images/NAME.png                 inputs with their predictions drawn on them, if `save_images` is set
skipped.json                    inputs that could not be predicted
"""

import contextlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from PIL import Image

from ddpkit.errors import ComponentName, named_errors
from ddpkit.inference.palette import mask_image
from ddpkit.inference.prediction import Prediction
from ddpkit.inference.prediction_drawing import draw_prediction
from ddpkit.plugins.protocols import Writer
from ddpkit.runs.files import os_errors_as
from ddpkit.runs.folder import SKIPPED
from ddpkit.runs.log import LOGGER

MASKS, IMAGES, SHARDS_FOLDER = "masks", "images", ".parts"
AGAIN = "free disk space or correct the permissions, then run the command again"
"""Advice in the error message if predictions cannot be written."""


@attrs.frozen
class PredictionWriter:
    """Writer of the folder with all output files of a prediction."""

    path: Path
    files: Sequence[Path]
    """Paths of the inputs, in order."""
    names: Sequence[str]
    """Output names of the inputs, see `inputs.output_names`."""

    def begin(self) -> None:
        """Create an empty folder; an existing one is replaced. Call it on rank 0 only.

        Raises CheckpointError if the folder cannot be created.
        """
        with os_errors_as(self.path, AGAIN):
            if self.path.exists():
                shutil.rmtree(self.path)
            for name in (MASKS, IMAGES, SHARDS_FOLDER):
                (self.path / name).mkdir(parents=True)

    @contextlib.contextmanager
    def part(self, rank: int) -> Iterator["RankShard"]:
        """Open the shard of a rank for writing. Each rank opens its own, after rank 0 has called `begin`."""
        with os_errors_as(self.path, AGAIN), zipfile.ZipFile(self.part_file(rank), "w") as archive:
            yield RankShard(self, archive)

    def part_file(self, rank: int) -> Path:
        return self.path / SHARDS_FOLDER / f"{rank}.zip"

    def merge(self, n_ranks: int, writer: Writer, writer_name: ComponentName) -> list[dict[str, str]]:
        """Pass all predictions to the writer in the order of the inputs, then remove the shards.

        Call it on rank 0 only, after all ranks have closed their shards. Returns `file` and `error` of each skipped input. Raises
        DdpkitError if a file cannot be written.
        """
        skipped = []
        with os_errors_as(self.path, AGAIN), contextlib.ExitStack() as stack:
            parts = [stack.enter_context(zipfile.ZipFile(self.part_file(rank))) for rank in range(n_ranks)]
            for number, (file, name) in enumerate(zip(self.files, self.names, strict=True)):
                outcome = read_shard(parts[number % n_ranks], number)
                if isinstance(outcome, str):
                    LOGGER.warning("skipped %s", outcome)
                    skipped.append({"file": str(file), "error": outcome})
                else:
                    with named_errors(writer_name):
                        writer.write(name, outcome)
            with named_errors(writer_name):
                writer.close()
            (self.path / SKIPPED).write_text(json.dumps(skipped, indent=2) + "\n", encoding="utf-8")
        with os_errors_as(self.path, AGAIN):
            self.tidy()
        return skipped

    def tidy(self) -> None:
        """Remove the shards, and the folders for masks and images if they are empty."""
        shutil.rmtree(self.path / SHARDS_FOLDER)
        for name in (MASKS, IMAGES):
            with contextlib.suppress(OSError):  # the folder is not empty
                (self.path / name).rmdir()


@attrs.frozen
class RankShard:
    """Shard of one rank: an archive of its predictions."""

    whole: PredictionWriter
    archive: zipfile.ZipFile

    def add(self, number: int, outcome: Prediction | str, picture: Image.Image | None) -> None:
        """Store the outcome of input `number`: a prediction, or an error message.

        If `picture` is given, the prediction is also drawn on it and saved.
        """
        if isinstance(outcome, str):
            self.archive.writestr(f"{number}.json", json.dumps({"error": outcome}))
            return
        values = {"file": str(self.whole.files[number]), **outcome.values}
        if "mask" in outcome.arrays:
            values["mask"] = self.save(MASKS, number, mask_image(outcome.arrays["mask"]))
        if picture:
            values["image"] = self.save(IMAGES, number, draw_prediction(picture, outcome))
        record = {"values": values, "arrays": list(outcome.arrays)}
        self.archive.writestr(f"{number}.json", json.dumps(record))
        for key, array in outcome.arrays.items():
            with self.archive.open(f"{number}/{key}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)

    def save(self, folder: str, number: int, image: Image.Image) -> str:
        """Save an image for input `number`. Returns its path relative to the predictions folder."""
        place = f"{folder}/{self.whole.names[number]}.png"
        image.save(self.whole.path / place)
        return place


def read_shard(part: zipfile.ZipFile, number: int) -> Prediction | str:
    """Read the outcome of an input: a prediction, or an error message."""
    record: dict[str, Any] = json.loads(part.read(f"{number}.json"))
    if "error" in record:
        return str(record["error"])
    arrays = {}
    for key in record["arrays"]:
        with part.open(f"{number}/{key}.npy") as file:
            arrays[key] = np.lib.format.read_array(file, allow_pickle=False)
    return Prediction(record["values"], arrays)
