"""What the trainer costs beside a hand-written DDP loop: two gloo ranks on the CPU, both in the same two processes.

Ratios of means, since with accumulation the steps are unlike. CPU seconds are of both ranks together.
"""

import argparse
import contextlib
import copy
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean

os.environ["OMP_NUM_THREADS"] = "1"

import attrs
import torch
import torch.multiprocessing
from ready import Ready, train_epoch
from rounds import Cost, interleaved
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD
from torch.profiler import profile

from ddpkit.config import loading
from ddpkit.config.plugin_policy import combine_policy
from ddpkit.data.loader import Batch
from ddpkit.distributed.world import World, init_distributed
from ddpkit.plugins import manager
from ddpkit.training import builder
from ddpkit.training.trainer import Trainer

N_RANKS = 2
BATCH = 32
"""Of a rank."""
TOML = """\
output_dir = "{folder}"
task = "bench"
device = "cpu"
seed = 1
classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
plugins = {{ files = ["{parts}"] }}
dataset = {{ name = "bench_noise", config = {{ n = {n}, shape = {shape} }}, split = {{ train = 1.0, valid = 0.0 }} }}
model = {{ name = "{model}" }}
[[criterion]]
type = "cross_entropy"
[train]
batch_size = {batch}
epoch = 1
grad_accumulation_steps = {accumulation}
optimizer = {{ type = "sgd", learning_rate = 0.01, momentum = 0.9 }}
"""


@attrs.frozen
class Case:
    """What is trained."""

    name: str
    model: str
    shape: list[int]
    accumulation: int
    micro_batches: int
    """Of an epoch, which is one measurement."""


CASES = [Case("MLP, accumulation 4", "bench_mlp", [32], 4, 900), Case("CNN", "bench_cnn", [3, 16, 16], 1, 100)]


@attrs.frozen
class Loop:
    """What a careful user writes."""

    network: DistributedDataParallel
    optimizer: SGD
    accumulation: int

    @classmethod
    def like(cls, trainer: Trainer, **options: bool) -> "Loop":
        """With a copy of the trainer's model; `options` are DDP's."""
        model = copy.deepcopy(trainer.model)
        network = DistributedDataParallel(model, **options)
        return cls(network, SGD(model.parameters(), lr=0.01, momentum=0.9), trainer.options.grad_accumulation_steps)

    def train(self, batches: Sequence[Batch]) -> None:
        """An epoch, nothing watched."""
        self.ddp_model.train()
        for number, (images, targets, _) in enumerate(batches, start=1):
            is_last = number % self.accumulation == 0
            with contextlib.nullcontext() if is_last else self.ddp_model.no_sync():
                (functional.cross_entropy(self.ddp_model(images), targets) / self.accumulation).backward()
            if is_last:
                self.optimizer.step()
                self.optimizer.zero_grad()


def make(case: Case, folder: Path, world: World) -> Trainer:
    """The trainer of this rank, with its micro-batches ready."""
    file, parts = folder / f"{case.model}-{world.rank}.toml", Path(__file__).with_name("parts.py")
    n, batch = case.micro_batches * BATCH * N_RANKS, BATCH * N_RANKS
    values = {"n": n, "batch": batch, "shape": case.shape, "model": case.model, "accumulation": case.accumulation}
    file.write_text(TOML.format(folder=folder, parts=parts, **values))
    config = loading.load(file)
    trainer = builder.build_trainer(config, manager.load(combine_policy(config.run.plugins)).registry, world)
    trainer.loader = Ready.of(trainer.loader)
    return trainer


def together(costs: list[Cost], world: World) -> tuple[float, float]:
    """Mean CPU seconds of all ranks, mean wall seconds of one."""
    sums = world.sum(torch.tensor([mean(cost.cpu for cost in costs), mean(cost.wall for cost in costs)]))
    return float(sums[0]), float(sums[1]) / world.size


def n_reductions(call: Callable[[], object]) -> int:
    """All-reduces of a call, those that DDP starts by itself included."""
    with profile() as profiler:
        call()
    return sum(event.name == "gloo:all_reduce" for event in profiler.events())


def lines(case: Case, folder: Path, world: World, n_rounds: int) -> Iterator[str]:
    """The rows of a case; all ranks must take them all."""
    trainer = make(case, folder, world)
    batches, loop = trainer.loader.kept, Loop.like(trainer)
    view = Loop.like(trainer, gradient_as_bucket_view=True)
    rows: dict[str, Callable[[], object]] = {
        "loop": lambda: loop.train(batches),
        "trainer": lambda: train_epoch(trainer),
        "loop, gradients as bucket views": lambda: view.train(batches),
    }
    seen = {name: together(costs, world) for name, costs in interleaved(rows, n_rounds, world.barrier).items()}
    for name, (cpu, wall) in seen.items():
        base = seen["loop"]
        figures = f"{1e6 * cpu / world.size / case.micro_batches:8.0f} {cpu / base[0]:10.2f} {wall / base[1]:10.2f}"
        yield f"{case.name:20} {name:32} {figures} {n_reductions(rows[name]):8} in {case.micro_batches}\n"


def rank(number: int, folder: str, n_rounds: int) -> None:
    """One of the two processes."""
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(N_RANKS)}
    with init_distributed(device="cpu", init_method=f"file://{folder}/meet") as world:
        for case in CASES:
            for line in lines(case, Path(folder), world, n_rounds):
                if world.is_main:
                    sys.stdout.write(line)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    n_rounds = parser.parse_args().rounds
    sys.stdout.write(f"{'':53} {'CPU us':>8} {'CPU ratio':>10} {'wall ratio':>10} {'all-reduces':>8}\n")
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(rank, (folder, n_rounds), nprocs=N_RANKS)


if __name__ == "__main__":
    main()
