"""Weights on disk: safetensors files, which contain only tensors and are written atomically."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from ddpkit.runs.files import REMEDY, Files, os_errors_as, replace_file

BEST_FILE = "best.safetensors"
LAST_FILE = "last.safetensors"


def save_weights(model: nn.Module, file: Path) -> None:
    """Write parameters and buffers atomically: after a crash the file is either the old version or the new one.

    Raise OSError if the file cannot be written.
    """
    scratch, files = file.with_name(f".{file.name}.tmp"), Files()
    try:
        save_model(model, str(scratch))
    except SafetensorError as error:  # safetensors raises it for an OSError, such as a full disk
        raise OSError(str(error)) from error
    with scratch.open("rb") as written:
        files.sync(written.fileno())
    files.rename(scratch, file)
    files.sync_folder(file.parent)


def load_saved_weights(model: nn.Module, file: Path) -> None:
    """Load a file from `save_weights` into a model of the same shapes."""
    load_model(model, file)


@attrs.frozen
class WeightsFolder:
    """Folder of the weights files of a run (`[output]`). Only rank 0 writes to it."""

    folder: Path
    save_best: bool = True
    save_last: bool = True
    save_interval: int = 0

    def save_epoch(self, model: nn.Module, epoch: int, *, is_best: bool, prefix: str = "") -> None:
        """Save the weights that are due after this epoch, in files whose names start with `prefix`.

        The best weights are always written: the run is tested with them. Raise CheckpointError if a file cannot be written.
        """
        is_periodic = self.save_interval and epoch % self.save_interval == 0
        names = [BEST_FILE] * is_best + [LAST_FILE] * self.save_last + [f"epoch-{epoch:04d}.safetensors"] * bool(is_periodic)
        with os_errors_as(self.folder, REMEDY):
            for name in names:
                save_weights(model, self.file(prefix, name))

    def best_files(self, prefixes: Iterable[str]) -> dict[str, Path]:
        """Return the files of best weights that exist for these prefixes, by file name."""
        files = (self.file(prefix, BEST_FILE) for prefix in prefixes)
        return {file.name: file for file in files if file.exists()}

    def rewind(self, epoch: int, best: Mapping[str, bytes]) -> None:
        """Restore the folder to the end of an epoch; `best`: content of the best weights at that time, by file name."""
        with os_errors_as(self.folder, REMEDY):
            for name, data in best.items():
                replace_file(Files(), self.folder / name, [data])
            for leftover in self.folder.glob(".*.tmp"):
                leftover.unlink()
            for file in self.folder.glob("*epoch-*.safetensors"):
                if int(file.stem.rpartition("-")[2]) > epoch:
                    file.unlink()

    def load_best(self, model: nn.Module, prefix: str = "") -> None:
        """Load the best weights into the model."""
        load_saved_weights(model, self.file(prefix, BEST_FILE))

    def file(self, prefix: str, name: str) -> Path:
        """Return the path of a file, e.g. `ema-best.safetensors` for the prefix `ema/`."""
        return self.folder / (prefix.replace("/", "-") + name)

    def close(self) -> None:
        """Delete the best weights unless the config requests them. Call it after the test."""
        if not self.save_best:
            with os_errors_as(self.folder, REMEDY):
                for file in self.folder.glob(f"*{BEST_FILE}"):
                    file.unlink()
