"""Processes of a run and their collectives. A single process has the same methods, but no process group."""

import contextlib
import datetime as dt
import inspect
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]  # public, though not marked so
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from ddpkit.distributed.cores import count_cores
from ddpkit.errors import Diagnostic, PluginError

Manifest = Sequence[Mapping[str, str]]
"""`name`, `version` and `digest` of each plugin."""


@attrs.frozen
class World:
    """Rank of this process, number of processes, device, and the collectives of all ranks."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    device: torch.device = attrs.field(factory=lambda: torch.device("cpu"))
    threads: int = attrs.field(factory=torch.get_num_threads)
    """Number of torch's threads in this process."""

    @property
    def is_main(self) -> bool:
        """Return whether this is global rank 0, the rank that writes files and messages."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Sum `values` over all ranks, in place, and return them. All ranks must call it."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def gather(self, values: Tensor) -> Tensor:
        """Return the `values` of all ranks in rank order: [ranks, ...]. All ranks must call it with the same shape."""
        gathered = [torch.empty_like(values) for _ in range(self.size)]
        if self.size > 1:
            torch.distributed.all_gather(gathered, values)
        return torch.stack(gathered) if self.size > 1 else values[None]

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite `tensors` with those of rank 0. All ranks must call it with the same shapes."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, src=0)

    def broadcast_str(self, text: str) -> str:
        """Return rank 0's text on every rank. All ranks must call it."""
        if self.size == 1:
            return text
        data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).to(self.device)
        length = torch.tensor([data.numel()], device=self.device)
        torch.distributed.broadcast(length, src=0)
        received = data if self.is_main else torch.empty(int(length), dtype=torch.uint8, device=self.device)
        torch.distributed.broadcast(received, src=0)
        return bytes(received.cpu().tolist()).decode()

    def gather_str(self, text: str) -> list[str]:
        """Return the texts of all ranks in rank order. All ranks must call it."""
        if self.size == 1:
            return [text]
        data = text.encode()
        lengths = self.gather(torch.tensor(len(data), device=self.device)).tolist()
        padded = torch.zeros(max(lengths), dtype=torch.uint8, device=self.device)
        padded[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return [row[:n].tobytes().decode() for row, n in zip(self.gather(padded).cpu().numpy(), lengths, strict=True)]

    def barrier(self) -> None:
        """Wait until all ranks have called it."""
        if self.size > 1:
            torch.distributed.barrier()

    def wrap(self, model: nn.Module, *, find_unused_parameters: bool = False) -> nn.Module:
        """Wrap the model in DDP, which averages gradients over the ranks in each backward. All ranks must call it.

        Returns the model itself if there is only one rank. DDP does not synchronise buffers: the evaluator broadcasts them before
        each evaluation.
        """
        if self.size == 1:
            return model
        takes = inspect.signature(DistributedDataParallel).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in takes else "broadcast_buffers"  # renamed in torch 2.13
        options: dict[str, Any] = {buffers: False, "find_unused_parameters": find_unused_parameters}
        device_ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=device_ids, **options)


def choose_device(device: str, local_rank: int, local_size: int) -> torch.device:
    """Return the device of a rank: for `auto`, CUDA if there is a GPU for each local rank, else the CPU.

    Raises ValueError if CUDA is requested but not available; it never falls back to the CPU silently.
    """
    n_gpus = torch.cuda.device_count()
    if device == "cpu" or (device == "auto" and n_gpus < local_size):
        return torch.device("cpu")
    if ":" in device and local_size > 1:
        raise ValueError(f"{device!r} is a single GPU, but this machine has {local_size} ranks; set 'device = \"cuda\"'")
    index = int(device.partition(":")[2] or local_rank)
    needed = max(index + 1, local_size)
    if needed > n_gpus:
        raise ValueError(
            f"{device!r} requires {needed} GPUs; {n_gpus} are visible; use fewer ranks, or the CPU: '--set device=cpu'"
        )
    return torch.device("cuda", index)


def rank_from_env() -> tuple[int, int, int, int]:
    """Return rank, world size, local rank and local world size from torchrun's variables; without them 0, 1, 0, 1."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", str(size)))
    return rank, size, int(os.environ.get("LOCAL_RANK", str(rank))), local_size


@contextlib.contextmanager
def init_distributed(
    *, device: str, backend: str = "auto", timeout: float = 1800, init_method: str = "env://", manifest: Manifest = ()
) -> Iterator[World]:
    """Initialise this process as a rank. Every rank of the run must enter the context; they leave it together.

    Inside the context, torch uses `OMP_NUM_THREADS` threads, or else this rank's share of the cores that the process may use.

    Args:
        device: Value of `device` in the TOML: `auto`, `cpu`, `cuda`, `cuda:N`.
        backend: `gloo`, `nccl`; `auto` = the one that the device needs.
        timeout: Seconds after which a collective that hangs raises an error.
        init_method: URL of the rendezvous, as in torch; by default torchrun's variables.
        manifest: `name`, `version` and `digest` of the plugins that this rank uses.

    Raises:
        ValueError: CUDA is requested but not available.
        PluginError: The ranks' manifests differ. Every rank raises it, before any collective.
    """
    rank, size, local_rank, local_size = rank_from_env()
    chosen = choose_device(device, local_rank, local_size)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    with limit_threads(count_threads(local_size)):
        world = World(rank, size, local_rank, local_size, chosen)
        if size == 1:
            yield world
            return
        chosen_backend = {"cuda": "nccl", "cpu": "gloo"}[chosen.type] if backend == "auto" else backend
        limit = dt.timedelta(seconds=timeout)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torch's agent may reuse its store after a restart
        store = PrefixStore(f"ddpkit/{attempt}", next(rendezvous(init_method, rank, size, timeout=limit))[0])
        check_same_plugins(store, rank, size, manifest)
        torch.distributed.init_process_group(
            chosen_backend,
            store=store,
            rank=rank,
            world_size=size,
            timeout=limit,
            device_id=chosen if chosen_backend == "nccl" else None,
        )
        yield world
        world.barrier()  # a rank that left early would break the last collective of the others
        # Not after an exception: it may wait for ranks that have ended, and this process is about to end.
        torch.distributed.destroy_process_group()


def check_same_plugins(store: Store, rank: int, size: int, manifest: Manifest) -> None:
    """Raise PluginError on every rank if a rank has different plugins than rank 0, or different versions of them."""
    # Through the store, not a collective: ranks with different code may hang in their first collective.
    store.set(f"plugins of rank {rank}", json.dumps(list(manifest)))
    expected, *others = (json.loads(store.get(f"plugins of rank {number}")) for number in range(size))
    for number, other in enumerate(others, start=1):
        if other != expected:
            here, there = describe_plugins(other, expected), describe_plugins(expected, other)
            message = f"the plugins differ: {here} on this rank, {there} on rank 0; install the same versions on all machines"
            raise PluginError([Diagnostic(f"rank {number}", (), message)])


def describe_plugins(mine: Manifest, theirs: Manifest) -> str:
    """Describe the plugins of one rank that another rank lacks."""
    different = [each for each in mine if each not in theirs]
    return ", ".join(f"{each['name']} {each['version']} ({each['digest'][:8]})" for each in different) or "no such plugin"


def count_threads(local_size: int) -> int:
    """Return the number of threads for each of `local_size` ranks.

    It is `OMP_NUM_THREADS` (the first number of a list), or else the rank's share of the usable cores.
    """
    requested = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if requested.isdecimal() and int(requested):
        return int(requested)
    return max(1, count_cores() // local_size)


@contextlib.contextmanager
def limit_threads(n: int) -> Iterator[None]:
    """Set the number of torch's threads in this process, inside the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
