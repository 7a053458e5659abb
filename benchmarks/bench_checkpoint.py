"""What a checkpoint of ResNet-50 with AdamW (about 307 MB) costs, beside other ways: how long the loop waits, until it is safe.

Every way ends with fsync. Lightning's writer takes part where it is installed.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import attrs
import torch
import torch.distributed.checkpoint as dcp
from rounds import ratios, spread
from torch import Tensor
from torchvision.models import resnet50

from ddpkit.checkpoint.async_saver import Saver
from ddpkit.checkpoint.serialization import load_checkpoint
from ddpkit.checkpoint.store import Store
from ddpkit.checkpoint.trainer_state import load_named_state, named_state

Seconds = tuple[float, float]
"""Until the loop may go on, and until the file is safe."""


@attrs.define
class Run:
    """A model and an optimizer that made a step, and a folder."""

    folder: Path
    step: int = 0
    model: Any = attrs.field(factory=resnet50)
    optimizer: Any = attrs.field(init=False)
    saver: Saver = attrs.field(init=False)
    buffers: dict[int, Tensor] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        for parameter in self.model.parameters():
            parameter.grad = torch.randn_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad()
        (self.folder / "ours").mkdir()
        self.saver = Saver(Store(self.folder / "ours"))

    @property
    def state(self) -> dict[str, Any]:
        """As torch has it."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def ours(self) -> Seconds:
        """The trainer's: a copy, then a thread that hashes, writes and syncs."""
        self.step += 1
        started = time.perf_counter()
        self.saver.save(self.step, {"model": self.model.state_dict(), "optimizer": named_state(self.optimizer, self.model)}, {})
        waited = time.perf_counter() - started
        self.saver.wait()
        return waited, time.perf_counter() - started

    def dcp_async(self) -> Seconds:
        """Torch's distributed checkpoint, beside the training."""
        started = time.perf_counter()
        writer = dcp.FileSystemWriter(self.folder / "dcp", overwrite=True)
        saving = dcp.async_save(self.state, storage_writer=writer, no_dist=True)
        waited = time.perf_counter() - started
        getattr(saving, "upload_completion", saving).result()
        sync(self.folder / "dcp")
        return waited, time.perf_counter() - started

    def torch_save(self) -> Seconds:
        """One file."""
        return whole(lambda: torch.save(self.state, self.folder / "torch.pt"), self.folder / "torch.pt")

    def lightning(self) -> Seconds:
        """Lightning's writer of one file."""
        from lightning.fabric.utilities.cloud_io import _atomic_save  # noqa: PLC0415 - optional

        return whole(lambda: _atomic_save(self.state, self.folder / "lightning.ckpt"), self.folder / "lightning.ckpt")

    def copied(self) -> Seconds:
        """The floor: tensors into buffers that are there."""
        tensors = [each for each in leaves(self.state) if each.ndim]
        for number, tensor in enumerate(tensors):
            self.buffers.setdefault(number, torch.empty_like(tensor))
        started = time.perf_counter()
        for number, tensor in enumerate(tensors):
            self.buffers[number].copy_(tensor)
        seconds = time.perf_counter() - started
        return seconds, seconds

    def resume_ours(self) -> Seconds:
        """Read, verify, put into model and optimizer."""

        def resume() -> None:
            checkpoint = Store(self.folder / "ours").newest()
            state = load_checkpoint(checkpoint) if checkpoint else {}
            self.model.load_state_dict(state["model"])
            load_named_state(self.optimizer, self.model, state["optimizer"])

        return timed(resume)

    def resume_torch(self) -> Seconds:
        """The same of torch's file, which nobody verifies."""

        def resume() -> None:
            state = torch.load(self.folder / "torch.pt", weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])

        return timed(resume)

    def read_and_hash(self) -> Seconds:
        """The floor: every byte of our newest checkpoint, and its SHA-256."""
        files = list(Store(self.folder / "ours").folders()[0].iterdir())
        return timed(lambda: [hashlib.sha256(file.read_bytes()) for file in files])


def leaves(value: Any) -> list[Tensor]:
    """Every tensor in it."""
    if isinstance(value, Tensor):
        return [value]
    each = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [tensor for part in each for tensor in leaves(part)]


def timed(call: Callable[[], object]) -> Seconds:
    """The loop waits for all of it."""
    started = time.perf_counter()
    call()
    seconds = time.perf_counter() - started
    return seconds, seconds


def whole(write: Callable[[], object], file: Path) -> Seconds:
    """Written, and down to the disk."""
    return timed(lambda: (write(), sync(file)))


def sync(place: Path) -> None:
    """A file, or all in a folder, and its name."""
    for each in [place.parent, *([place] if place.is_file() else place.rglob("*"))]:
        opened = os.open(each, os.O_RDONLY)
        os.fsync(opened)
        os.close(opened)


def main() -> None:
    """Print a table: milliseconds, and ratios of each round to DCP's waiting or to torch's file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dir", default=None, help="on the disk to measure")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(dir=given.dir))
    try:
        measure(Run(folder), given.rounds)
    finally:
        shutil.rmtree(folder)


def measure(run: Run, n_rounds: int) -> None:
    """Interleaved rounds, odd ones backwards; the first warms up."""
    ways = {
        "ours": run.ours,
        "DCP async": run.dcp_async,
        "torch.save": run.torch_save,
        "Lightning": run.lightning,
        "copy": run.copied,
    }
    ways |= {"resume ours": run.resume_ours, "resume torch": run.resume_torch, "read and hash": run.read_and_hash}
    try:
        import lightning  # noqa: F401, PLC0415 - optional
    except ImportError:
        del ways["Lightning"]
    seen: dict[str, list[Seconds]] = {name: [] for name in ways}
    for number in range(n_rounds + 1):
        for name in reversed(ways) if number % 2 and number else ways:
            seconds = ways[name]()
            if number:
                seen[name].append(seconds)
    sys.stdout.write("\t".join(["WAY", "WAITS MS", "TO DCP ASYNC", "SAFE MS", "TO TORCH.SAVE", "TO READ AND HASH"]) + "\n")
    for name, rows in seen.items():
        waited, safe = ([row[place] for row in rows] for place in (0, 1))
        cells = [spread([1000 * each for each in waited], ".0f"), ratios(waited, [row[0] for row in seen["DCP async"]])]
        cells += [spread([1000 * each for each in safe], ".0f"), ratios(safe, [row[1] for row in seen["torch.save"]])]
        sys.stdout.write("\t".join([name, *cells, ratios(safe, [row[1] for row in seen["read and hash"]])]) + "\n")


if __name__ == "__main__":
    main()
