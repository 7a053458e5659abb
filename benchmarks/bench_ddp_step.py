"""Compare the trainer with a hand-written DDP loop on two gloo ranks on the CPU; both run in the same two processes.

The ratios are ratios of means, because with gradient accumulation the steps differ. CPU seconds are sums over both ranks.
"""

import contextlib
import copy
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import attrs
import torch
import torch.multiprocessing
from ready import CachedLoader, train_epoch
from results import Rows, parser_of, publish
from rounds import Cost, interleaved, ratios
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
"""Number of samples per rank and micro-batch."""
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
    """Model and settings of one comparison."""

    name: str
    model: str
    shape: list[int]
    accumulation: int
    micro_batches: int
    """Number of micro-batches per epoch; one epoch is one measurement."""


CASES = [Case("MLP, accumulation 4", "bench_mlp", [32], 4, 900), Case("CNN", "bench_cnn", [3, 16, 16], 1, 100)]


@attrs.frozen
class Loop:
    """Hand-written DDP training loop, used as the baseline."""

    network: DistributedDataParallel
    optimizer: SGD
    accumulation: int

    @classmethod
    def like(cls, trainer: Trainer, **options: bool) -> "Loop":
        """Create a loop with a copy of the trainer's model; `options` are passed to DDP."""
        model = copy.deepcopy(trainer.model)
        network = DistributedDataParallel(model, **options)
        return cls(network, SGD(model.parameters(), lr=0.01, momentum=0.9), trainer.options.grad_accumulation_steps)

    def train(self, batches: Sequence[Batch]) -> None:
        """Train one epoch without computing a mean loss."""
        self.network.train()
        for number, (images, targets, _) in enumerate(batches, start=1):
            is_last = number % self.accumulation == 0
            with contextlib.nullcontext() if is_last else self.network.no_sync():
                (functional.cross_entropy(self.network(images), targets) / self.accumulation).backward()
            if is_last:
                self.optimizer.step()
                self.optimizer.zero_grad()


def make(case: Case, folder: Path, world: World) -> Trainer:
    """Build the trainer of this rank, with its micro-batches in memory."""
    file, parts = folder / f"{case.model}-{world.rank}.toml", Path(__file__).with_name("parts.py")
    n, batch = case.micro_batches * BATCH * N_RANKS, BATCH * N_RANKS
    values = {"n": n, "batch": batch, "shape": case.shape, "model": case.model, "accumulation": case.accumulation}
    file.write_text(TOML.format(folder=folder, parts=parts, **values))
    config = loading.load(file)
    trainer = builder.build_trainer(config, manager.load(combine_policy(config.run.plugins)).registry, world)
    trainer.loader = CachedLoader.from_loader(trainer.loader)
    return trainer


def together(costs: Sequence[Cost], world: World) -> list[Cost]:
    """Return the cost of each round over all ranks: the sum of the CPU times, and the mean wall-clock time."""
    sums = world.sum(torch.tensor([[cost.cpu, cost.wall / world.size] for cost in costs], dtype=torch.float64))
    return [Cost(cpu, wall) for cpu, wall in sums.tolist()]


def n_reductions(call: Callable[[], object]) -> int:
    """Count the all-reduces of a call, including those that DDP starts."""
    with profile() as profiler:
        call()
    return sum(event.name == "gloo:all_reduce" for event in profiler.events())


def measure(case: Case, folder: Path, world: World, n_rounds: int) -> Rows:
    """Return the rows of a case. All ranks must call it."""
    trainer = make(case, folder, world)
    batches, loop = trainer.loader.batches, Loop.like(trainer)
    view = Loop.like(trainer, gradient_as_bucket_view=True)
    calls: dict[str, Callable[[], object]] = {
        "loop": lambda: loop.train(batches),
        "trainer": lambda: train_epoch(trainer),
        "loop, gradients as bucket views": lambda: view.train(batches),
    }
    measured = {name: together(costs, world) for name, costs in interleaved(calls, n_rounds, world.barrier).items()}
    base = measured["loop"]
    return {
        f"{case.name}: {name}": {
            "CPU us per micro-batch": [1e6 * cost.cpu / world.size / case.micro_batches for cost in costs],
            "CPU ratio": ratios([cost.cpu for cost in costs], [cost.cpu for cost in base]),
            "wall ratio": ratios([cost.wall for cost in costs], [cost.wall for cost in base]),
            f"all-reduces in {case.micro_batches}": [n_reductions(calls[name])],
        }
        for name, costs in measured.items()
    }


def rank(number: int, folder: str, n_rounds: int) -> None:
    """Run the benchmark in one of the two processes; rank 0 writes the rows to `rows.json`."""
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(N_RANKS)}
    with init_distributed(device="cpu", init_method=f"file://{folder}/meet") as world:
        rows = {name: cells for case in CASES for name, cells in measure(case, Path(folder), world, n_rounds).items()}
        if world.is_main:
            Path(folder, "rows.json").write_text(json.dumps(rows), encoding="utf-8")


def main() -> None:
    """Run the benchmark and print a table."""
    options = parser_of(__doc__, rounds=15).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(rank, (folder, options.rounds), nprocs=N_RANKS)
        publish(json.loads(Path(folder, "rows.json").read_text(encoding="utf-8")), options)


if __name__ == "__main__":
    main()
