"""Weights on disk: safetensors, nothing but tensors inside, never half a file."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from ddpkit.runs.files import REMEDY, Files, explained, replace_file

BEST = "best.safetensors"
LAST = "last.safetensors"


def save_weights(model: nn.Module, file: Path) -> None:
    """Write parameters and buffers; a crash leaves the old file or the new one."""
    scratch, files = file.with_name(f".{file.name}.tmp"), Files()
    try:
        save_model(model, str(scratch))
    except SafetensorError as error:  # its word for what the disk said
        raise OSError(str(error)) from error
    with scratch.open("rb") as written:
        files.sync(written.fileno())
    files.rename(scratch, file)
    files.sync_folder(file.parent)


def load_weights(model: nn.Module, file: Path) -> None:
    """Read what `save_weights` wrote into a model of the same shape."""
    load_model(model, file)


@attrs.frozen
class WeightsFolder:
    """The weights that a run keeps (`[output]`). Written by rank 0 alone."""

    folder: Path
    save_best: bool = True
    save_last: bool = True
    save_interval: int = 0

    def epoch_ended(self, model: nn.Module, epoch: int, *, is_best: bool, prefix: str = "") -> None:
        """Save what this epoch calls for, under names that begin with `prefix`.

        The best are written in any case: the run is tested with them. Raises CheckpointError.
        """
        kept = self.save_interval and epoch % self.save_interval == 0
        names = [BEST] * is_best + [LAST] * self.save_last + [f"epoch-{epoch:04d}.safetensors"] * bool(kept)
        with explained(self.folder, REMEDY):
            for name in names:
                save_weights(model, self.file(prefix, name))

    def best_files(self, prefixes: Iterable[str]) -> dict[str, Path]:
        """Of these candidates, as far as they are there."""
        files = (self.file(prefix, BEST) for prefix in prefixes)
        return {file.name: file for file in files if file.exists()}

    def go_back(self, epoch: int, best: Mapping[str, bytes]) -> None:
        """Make the folder what it was at the end of an epoch, with the best weights of then, by name of file."""
        for name, data in best.items():
            replace_file(Files(), self.folder / name, [data])
        for leftover in self.folder.glob(".*.tmp"):
            leftover.unlink()
        for file in self.folder.glob("*epoch-*.safetensors"):
            if int(file.stem.rpartition("-")[2]) > epoch:
                file.unlink()

    def load_best(self, model: nn.Module, prefix: str = "") -> None:
        """Put the best weights into the model."""
        load_weights(model, self.file(prefix, BEST))

    def file(self, prefix: str, name: str) -> Path:
        """`ema/` -> `ema-best.safetensors`."""
        return self.folder / (prefix.replace("/", "-") + name)

    def close(self) -> None:
        """The run was tested; drop the best weights if they are not wanted."""
        if not self.save_best:
            for file in self.folder.glob(f"*{BEST}"):
                file.unlink()
