"""What the trainer costs beside a hand-written loop: CPU time of the same steps, the ratio inside each round.

The trainer is built from a TOML, as `ddpkit run` builds it, and trains a 32-64-10 MLP in batches of 32; the loop does the same
with a copy of the model. Both get the same micro-batches, ready in memory, but for the rows that name a loader.
"""

import argparse
import contextlib
import copy
import cProfile
import os
import pstats
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "FORCE_COLOR": "1"}  # one thread; the moving line is drawn, though nobody looks

import attrs
import torch
from ready import Ready, train_epoch
from rounds import interleaved, ratios, spread
from torch import nn
from torch.nn import functional
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

from ddpkit.checkpoint.weights import WeightsFolder
from ddpkit.config import loading
from ddpkit.config.loading import Config
from ddpkit.config.plugin_policy import combine_policy
from ddpkit.data.loader import Batch, SplitLoader
from ddpkit.distributed.world import World
from ddpkit.plugins import manager
from ddpkit.runs import environment
from ddpkit.runs import folder as run_folder
from ddpkit.runs.folder import RunFolder
from ddpkit.tasks import train
from ddpkit.tasks.plan import RunOptions, RunPlan
from ddpkit.training import builder
from ddpkit.training.callbacks import Callback
from ddpkit.training.trainer import Trainer

BATCH = 32
VALID = 0.1
"""Of the training samples."""
TOML = """\
output_dir = "{folder}"
task = "bench"
run_id = "step"
device = "cpu"
seed = 1
metrics = ["accuracy"]
classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
plugins = {{ files = ["{parts}"] }}
dataset = {{ name = "bench_noise", config = {{ n = {n}, shape = [32] }}, split = {{ train = {share}, valid = {rest} }} }}
model = {{ name = "bench_mlp" }}
[ddp]
enabled = false
[[criterion]]
type = "cross_entropy"
[train]
batch_size = 32
epoch = 1
optimizer = {{ type = "sgd", learning_rate = 0.01, momentum = 0.9 }}
"""


@attrs.frozen
class Loop:
    """What a careful user writes."""

    model: nn.Module
    optimizer: SGD

    @classmethod
    def like(cls, trainer: Trainer) -> "Loop":
        """With a copy of the trainer's model."""
        model = copy.deepcopy(trainer.model)
        return cls(model, SGD(model.parameters(), lr=0.01, momentum=0.9))

    def train(self, batches: Iterable[Sequence[Any]]) -> None:
        """An epoch, nothing watched."""
        self.model.train()
        for images, targets, *_ in batches:
            self.optimizer.zero_grad()
            functional.cross_entropy(self.model(images), targets).backward()
            self.optimizer.step()

    @torch.no_grad()
    def evaluate(self, batches: list[Batch]) -> tuple[float, float]:
        """Loss and accuracy."""
        self.model.eval()
        loss, right, n = torch.zeros(()), torch.zeros((), dtype=torch.long), 0
        for images, targets, _ in batches:
            outputs = self.model(images)
            loss += functional.cross_entropy(outputs, targets, reduction="sum")
            right += (outputs.argmax(1) == targets).sum()
            n += len(targets)
        return loss.item() / n, right.item() / n


def read(folder: Path, steps: int) -> tuple[Config, manager.Plugins]:
    """The config of so many steps an epoch."""
    n = round(steps * BATCH * (1 + VALID))
    share = 1 / (1 + VALID)
    parts = Path(__file__).with_name("parts.py")
    (folder / "step.toml").write_text(TOML.format(folder=folder, parts=parts, n=n, share=share, rest=1 - share))
    config = loading.load(folder / "step.toml")
    return config, manager.load(combine_policy(config.run.plugins))


@contextlib.contextmanager
def watched(config: Config, found: manager.Plugins, trainer: Trainer) -> Iterator[list[Callback]]:
    """The callbacks of `ddpkit run`: history and the moving line, drawn on nothing."""
    plan = RunPlan(file=Path(config.file.name), config=config, plugins=found, options=RunOptions(), tasks=("train",), n_ranks=1)
    folder = RunFolder.create(config, found, environment.device_environment(trainer.world, None))
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stderr(stack.enter_context(Path(os.devnull).open("w"))))
        yield stack.enter_context(train.create_callbacks(plan, trainer, folder))


def fit(trainer: Trainer, weights: WeightsFolder, callbacks: list[Callback]) -> None:
    """One epoch more."""
    trainer.options = attrs.evolve(trainer.options, epochs=trainer.progress.epoch + 1)
    trainer.fit(weights, callbacks)


def contestants(trainer: Trainer, callbacks: list[Callback], folder: Path) -> dict[str, Callable[[], object]]:
    """By name, as the rows of the table have them."""
    loop, with_loader = Loop.like(trainer), trainer.loader
    train, valid = Ready.of(trainer.loader), Ready.of(trainer.evaluator.valid)
    trainer.evaluator.valid = valid
    weights = WeightsFolder(folder)
    kept = TensorDataset(*(torch.cat(column) for column in list(zip(*train.kept, strict=True))[:2]))
    loader = DataLoader(kept, BATCH, shuffle=True)

    def raw_full() -> None:
        loop.train(train.kept)
        loop.evaluate(valid.kept)

    def trainer_on(batches: SplitLoader, call: Callable[[], object]) -> Callable[[], object]:
        def measured() -> None:
            trainer.loader = batches
            call()

        return measured

    return {
        "loop": lambda: loop.train(train.kept),
        "trainer, bare": trainer_on(train, lambda: train_epoch(trainer)),
        "trainer, watched": trainer_on(train, lambda: train_epoch(trainer, callbacks)),
        "loop + evaluation": raw_full,
        "trainer, full": trainer_on(train, lambda: fit(trainer, weights, callbacks)),
        "loop + loader": lambda: loop.train(loader),
        "trainer, bare + loader": trainer_on(with_loader, lambda: train_epoch(trainer)),
    }


BASES = {"trainer, full": "loop + evaluation", "trainer, bare + loader": "loop + loader"}
"""What a row is compared with, where it is not the loop."""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=1000, help="of an epoch, which is one measurement")
    parser.add_argument("--only", default="", help="rows whose name holds this text, and the loop")
    parser.add_argument("--profile", action="store_true", help="where the time of the bare trainer goes, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, found = read(folder, options.steps)
        trainer = builder.build_trainer(config, found.registry, World())
        with watched(config, found, trainer) as callbacks:
            rows = contestants(trainer, callbacks, run_folder.run_path(config.run) / "weights")
            profiler = profiled(rows["trainer, bare"]) if options.profile else None
            wanted = {"loop"} | {row for row in rows if options.only in row}
            wanted |= {BASES.get(row, "loop") for row in wanted}
            seen = interleaved({row: rows[row] for row in rows if row in wanted}, options.rounds)
    if profiler:
        pstats.Stats(profiler, stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(30)
    sys.stdout.write(f"{'':22} {'CPU us a step':>22} {'CPU ratio':>20} {'wall ratio':>20}  to\n")
    for row, costs in seen.items():
        base = BASES.get(row, "loop")
        cpu = spread([1e6 * cost.cpu / options.steps for cost in costs], ".0f")
        cpu_ratio = ratios([cost.cpu for cost in costs], [cost.cpu for cost in seen[base]])
        wall_ratio = ratios([cost.wall for cost in costs], [cost.wall for cost in seen[base]])
        sys.stdout.write(f"{row:22} {cpu:>22} {cpu_ratio:>20} {wall_ratio:>20}  {base}\n")


def profiled(call: Callable[[], object]) -> cProfile.Profile:
    """A second call; cProfile makes functions that are called often look larger than they are."""
    call()
    with cProfile.Profile() as profiler:
        call()
    return profiler


if __name__ == "__main__":
    main()
