"""The processes of a run. One process is a world too: the same calls, without a process group."""

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

from ddpkit.errors import PluginError, Problem

Manifest = Sequence[Mapping[str, str]]
"""`name`, `version` and `digest` of plugins."""


@attrs.frozen
class World:
    """This process among the processes of the run."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    device: torch.device = attrs.field(factory=lambda: torch.device("cpu"))
    threads: int = attrs.field(factory=torch.get_num_threads)
    """Of this process."""

    @property
    def is_main(self) -> bool:
        """Global rank 0: the one that writes and speaks."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """`values` added up over all ranks; all ranks must call it."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def gather(self, values: Tensor) -> Tensor:
        """`values` of every rank in order of rank: [ranks, ...]; all ranks must call it with the same shape."""
        gathered = [torch.empty_like(values) for _ in range(self.size)]
        if self.size > 1:
            torch.distributed.all_gather(gathered, values)
        return torch.stack(gathered) if self.size > 1 else values[None]

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite `tensors` with those of rank 0; all ranks must call it with the same shapes."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, src=0)

    def share(self, text: str) -> str:
        """The text of rank 0, on every rank; all ranks must call it."""
        if self.size == 1:
            return text
        data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).to(self.device)
        length = torch.tensor([data.numel()], device=self.device)
        torch.distributed.broadcast(length, src=0)
        received = data if self.is_main else torch.empty(int(length), dtype=torch.uint8, device=self.device)
        torch.distributed.broadcast(received, src=0)
        return bytes(received.cpu().tolist()).decode()

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            torch.distributed.barrier()

    def wrap(self, model: nn.Module, *, find_unused_parameters: bool = False) -> nn.Module:
        """The model with its gradients averaged over the ranks in each backward; all ranks must call it.

        Buffers are left alone: the engine broadcasts them when it matters.
        """
        if self.size == 1:
            return model
        takes = inspect.signature(DistributedDataParallel).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in takes else "broadcast_buffers"  # renamed in torch 2.13
        options: dict[str, Any] = {buffers: False, "find_unused_parameters": find_unused_parameters}
        device_ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=device_ids, **options)


def choose_device(device: str, local_rank: int, local_size: int) -> torch.device:
    """The device of a rank. Raises ValueError when CUDA is asked for and not to be had: nothing falls back in silence."""
    n_gpus = torch.cuda.device_count()
    if device == "cpu" or (device == "auto" and n_gpus < local_size):
        return torch.device("cpu")
    if ":" in device and local_size > 1:
        raise ValueError(f"{device!r} is one GPU for {local_size} ranks; write 'cuda'")
    index = int(device.partition(":")[2] or local_rank)
    needed = max(index + 1, local_size)
    if needed > n_gpus:
        raise ValueError(f"{device!r} needs {needed} GPUs, {n_gpus} are visible; --set device=cpu runs without")
    return torch.device("cuda", index)


def place_from_environment() -> tuple[int, int, int, int]:
    """rank, world size, local rank, local world size, as torchrun sets them; one process without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", str(size)))
    return rank, size, int(os.environ.get("LOCAL_RANK", str(rank))), local_size


@contextlib.contextmanager
def join_world(
    *, device: str, backend: str = "auto", timeout: float = 1800, init_method: str = "env://", manifest: Manifest = ()
) -> Iterator[World]:
    """The world of this process; every rank of the run must enter it, and leave it together.

    Sets the threads of this process while it lasts: `OMP_NUM_THREADS`, else its part of the cores that it may use.

    Args:
        device: As in the TOML: `auto`, `cpu`, `cuda`, `cuda:N`.
        backend: `gloo`, `nccl`; `auto` = as the device needs.
        timeout: Seconds until a collective that hangs raises.
        init_method: How the ranks find each other; by default as torchrun tells them.
        manifest: `name`, `version` and `digest` of the plugins that this rank uses.

    Raises:
        PluginError: The ranks' manifests differ. Every rank raises it, before any collective.
    """
    rank, size, local_rank, local_size = place_from_environment()
    chosen = choose_device(device, local_rank, local_size)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    with threads(threads_for(local_size)):
        world = World(rank, size, local_rank, local_size, chosen)
        if size == 1:
            yield world
            return
        chosen_backend = {"cuda": "nccl", "cpu": "gloo"}[chosen.type] if backend == "auto" else backend
        limit = dt.timedelta(seconds=timeout)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torch's agent may keep its store over them
        store = PrefixStore(f"ddpkit/{attempt}", next(rendezvous(init_method, rank, size, timeout=limit))[0])
        refuse_other_plugins(store, rank, size, manifest)
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
        # Not after an exception: it may wait for ranks that are gone, and the process is about to end.
        torch.distributed.destroy_process_group()


def refuse_other_plugins(store: Store, rank: int, size: int, manifest: Manifest) -> None:
    """Raise PluginError on every rank when one has other plugins than rank 0, or other versions of them.

    Over the store, since ranks with different code may hang in their first collective.
    """
    store.set(f"plugins of rank {rank}", json.dumps(list(manifest)))
    wanted, *others = (json.loads(store.get(f"plugins of rank {number}")) for number in range(size))
    for number, other in enumerate(others, start=1):
        if other != wanted:
            message = f"{described(other, wanted)} here, and {described(wanted, other)} on rank 0; install the same on all"
            raise PluginError([Problem(f"rank {number}", (), message)])


def described(mine: Manifest, theirs: Manifest) -> str:
    """The plugins of one rank that another lacks."""
    different = [each for each in mine if each not in theirs]
    return ", ".join(f"{each['name']} {each['version']} ({each['digest'][:8]})" for each in different) or "nothing instead"


def threads_for(local_size: int) -> int:
    """Of one of `local_size` ranks: `OMP_NUM_THREADS` (the first number of a list), else its part of the usable cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if asked.isdecimal() and int(asked):
        return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // local_size)


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Torch's threads in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
