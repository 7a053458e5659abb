"""Compare methods to save a checkpoint of ResNet-50 with AdamW (about 307 MB): blocking time, and time until it is on disk.

Every method ends with fsync. Lightning's method is included if Lightning is installed.
"""

import hashlib
import os
import shutil
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
from results import Rows, parser_of, publish
from rounds import ratios
from torch import Tensor
from torchvision.models import resnet50

from ddpkit.checkpoint.async_saver import Saver
from ddpkit.checkpoint.serialization import load_checkpoint
from ddpkit.checkpoint.store import Store
from ddpkit.checkpoint.trainer_state import load_named_state, named_state

Seconds = tuple[float, float]
"""Seconds until the loop can continue, and seconds until the file is on disk."""


@attrs.define
class Run:
    """Model, optimizer with state after one step, and folder for the checkpoints."""

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
        """Return the state dicts of model and optimizer."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def ours(self) -> Seconds:
        """Save as the trainer does: copy the state; a thread hashes, writes and syncs it."""
        self.step += 1
        started = time.perf_counter()
        self.saver.save(self.step, {"model": self.model.state_dict(), "optimizer": named_state(self.optimizer, self.model)}, {})
        waited = time.perf_counter() - started
        self.saver.wait()
        return waited, time.perf_counter() - started

    def dcp_async(self) -> Seconds:
        """Save with torch's asynchronous distributed checkpoint."""
        started = time.perf_counter()
        writer = dcp.FileSystemWriter(self.folder / "dcp", overwrite=True)
        saving = dcp.async_save(self.state, storage_writer=writer, no_dist=True)
        waited = time.perf_counter() - started
        getattr(saving, "upload_completion", saving).result()
        sync(self.folder / "dcp")
        return waited, time.perf_counter() - started

    def torch_save(self) -> Seconds:
        """Save one file with `torch.save`."""
        return timed_write(lambda: torch.save(self.state, self.folder / "torch.pt"), self.folder / "torch.pt")

    def lightning(self) -> Seconds:
        """Save one file as Lightning does."""
        from lightning.fabric.utilities.cloud_io import _atomic_save  # noqa: PLC0415 - optional

        return timed_write(lambda: _atomic_save(self.state, self.folder / "lightning.ckpt"), self.folder / "lightning.ckpt")

    def copy_only(self) -> Seconds:
        """Copy the tensors into existing buffers: the lower limit of the blocking time."""
        tensors = [each for each in leaves(self.state) if each.ndim]
        for number, tensor in enumerate(tensors):
            self.buffers.setdefault(number, torch.empty_like(tensor))
        started = time.perf_counter()
        for number, tensor in enumerate(tensors):
            self.buffers[number].copy_(tensor)
        seconds = time.perf_counter() - started
        return seconds, seconds

    def resume_ours(self) -> Seconds:
        """Read and verify our newest checkpoint, and load it into model and optimizer."""

        def resume() -> None:
            checkpoint = Store(self.folder / "ours").newest()
            state = load_checkpoint(checkpoint) if checkpoint else {}
            self.model.load_state_dict(state["model"])
            load_named_state(self.optimizer, self.model, state["optimizer"])

        return timed(resume)

    def resume_torch(self) -> Seconds:
        """Load torch's file, which has no checksums, into model and optimizer."""

        def resume() -> None:
            state = torch.load(self.folder / "torch.pt", weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])

        return timed(resume)

    def read_and_hash(self) -> Seconds:
        """Read our newest checkpoint and compute its SHA-256: the lower limit of a verified resume."""
        files = list(Store(self.folder / "ours").folders()[0].iterdir())
        return timed(lambda: [hashlib.sha256(file.read_bytes()) for file in files])


def leaves(value: Any) -> list[Tensor]:
    """Return all tensors in nested dicts and lists."""
    if isinstance(value, Tensor):
        return [value]
    each = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [tensor for part in each for tensor in leaves(part)]


def timed(call: Callable[[], object]) -> Seconds:
    """Measure a call that blocks the loop until its end."""
    started = time.perf_counter()
    call()
    seconds = time.perf_counter() - started
    return seconds, seconds


def timed_write(write: Callable[[], object], file: Path) -> Seconds:
    """Measure the writing and syncing of a file."""
    return timed(lambda: (write(), sync(file)))


def sync(place: Path) -> None:
    """Sync a file, or all files of a folder, and the parent folder to disk."""
    for each in [place.parent, *([place] if place.is_file() else place.rglob("*"))]:
        opened = os.open(each, os.O_RDONLY)
        os.fsync(opened)
        os.close(opened)


def main() -> None:
    """Run the benchmark and print a table: milliseconds, and ratios to other methods within each round."""
    parser = parser_of(__doc__, rounds=7)
    parser.add_argument("--dir", default=None, help="folder on the disk to measure (default: the folder for temporary files)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(dir=options.dir))
    try:
        publish(measure(Run(folder), options.rounds), options)
    finally:
        shutil.rmtree(folder)


def measure(run: Run, n_rounds: int) -> Rows:
    """Measure all methods in interleaved rounds, in reverse order in odd rounds; the first round is a warm-up."""
    methods = {
        "ours": run.ours,
        "DCP async": run.dcp_async,
        "torch.save": run.torch_save,
        "Lightning": run.lightning,
        "copy": run.copy_only,
    }
    methods |= {"resume ours": run.resume_ours, "resume torch": run.resume_torch, "read and hash": run.read_and_hash}
    try:
        import lightning  # noqa: F401, PLC0415 - optional
    except ImportError:
        del methods["Lightning"]
    measured: dict[str, list[Seconds]] = {name: [] for name in methods}
    for number in range(n_rounds + 1):
        for name in reversed(methods) if number % 2 and number else methods:
            seconds = methods[name]()
            if number:
                measured[name].append(seconds)
    bases = {"blocked, ratio to DCP": ("DCP async", 0), "on disk, ratio to torch.save": ("torch.save", 1)}
    bases |= {"on disk, ratio to read and hash": ("read and hash", 1)}
    return {
        name: {
            "blocked ms": [1000 * row[0] for row in rows],
            "on disk ms": [1000 * row[1] for row in rows],
            **{
                title: ratios([row[place] for row in rows], [row[place] for row in measured[base]])
                for title, (base, place) in bases.items()
            },
        }
        for name, rows in measured.items()
    }


if __name__ == "__main__":
    main()
