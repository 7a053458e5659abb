"""Compare the CPU time of the trainer with that of a hand-written loop, as ratios within each round.

The trainer is built from a TOML as by `ddpkit run` and trains a 32-64-10 MLP in batches of 32. The loop does the same with a copy
of the model. Both get the same micro-batches from memory, except in the rows with a loader.
"""

import contextlib
import copy
import cProfile
import json
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "FORCE_COLOR": "1"}  # one thread; the progress line is printed as on a terminal

import attrs
import torch
from ready import CachedLoader, train_epoch
from results import parser_of, publish
from rounds import interleaved, ratios
from safetensors.torch import save_file
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
from ddpkit.runs.screen.console import REFRESH_SECONDS
from ddpkit.tasks import train
from ddpkit.tasks.plan import RunOptions, RunPlan
from ddpkit.training import builder
from ddpkit.training.callbacks import Callback
from ddpkit.training.trainer import Trainer

BATCH = 32
VALID = 0.1
"""Number of validation samples relative to the training samples."""
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
    """Hand-written training loop, used as the baseline."""

    model: nn.Module
    optimizer: SGD

    @classmethod
    def like(cls, trainer: Trainer) -> "Loop":
        """Create a loop with a copy of the trainer's model and the same optimizer."""
        model = copy.deepcopy(trainer.model)
        return cls(model, SGD(model.parameters(), lr=0.01, momentum=0.9))

    def train(self, batches: Iterable[Sequence[Any]]) -> None:
        """Train one epoch without computing a mean loss."""
        self.model.train()
        for images, targets, *_ in batches:
            self.optimizer.zero_grad()
            functional.cross_entropy(self.model(images), targets).backward()
            self.optimizer.step()

    def train_with_loss(self, batches: Iterable[Sequence[Any]]) -> float:
        """Train one epoch; return the mean loss, and print it twice a second."""
        self.model.train()
        total, n, printed = torch.zeros((), dtype=torch.float64), 0, time.monotonic()
        for images, targets, *_ in batches:
            self.optimizer.zero_grad()
            loss = functional.cross_entropy(self.model(images), targets)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(targets)
            n += len(targets)
            if time.monotonic() - printed > REFRESH_SECONDS:
                printed = time.monotonic()
                sys.stderr.write(f"loss {loss.item():.4f}\r")
        return total.item() / n

    @torch.no_grad()
    def evaluate(self, batches: list[Batch]) -> tuple[float, float]:
        """Return the mean loss and the accuracy over all samples."""
        self.model.eval()
        loss, correct, n = torch.zeros(()), torch.zeros((), dtype=torch.long), 0
        for images, targets, _ in batches:
            outputs = self.model(images)
            loss += functional.cross_entropy(outputs, targets, reduction="sum")
            correct += (outputs.argmax(1) == targets).sum()
            n += len(targets)
        return loss.item() / n, correct.item() / n


def read(folder: Path, steps: int) -> tuple[Config, manager.Plugins]:
    """Return a config with the given number of steps per epoch, and its plugins."""
    n = round(steps * BATCH * (1 + VALID))
    share = 1 / (1 + VALID)
    parts = Path(__file__).with_name("parts.py")
    (folder / "step.toml").write_text(TOML.format(folder=folder, parts=parts, n=n, share=share, rest=1 - share))
    config = loading.load(folder / "step.toml")
    return config, manager.load(combine_policy(config.run.plugins))


@contextlib.contextmanager
def run_callbacks(config: Config, found: manager.Plugins, trainer: Trainer) -> Iterator[list[Callback]]:
    """Yield the callbacks of `ddpkit run`: history and the progress line, which is written to the null device."""
    plan = RunPlan(file=Path(config.file.name), config=config, plugins=found, options=RunOptions(), tasks=("train",), n_ranks=1)
    folder = RunFolder.create(config, found, environment.device_environment(trainer.world, None))
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stderr(stack.enter_context(Path(os.devnull).open("w"))))
        yield stack.enter_context(train.create_callbacks(plan, trainer, folder))


def fit(trainer: Trainer, weights: WeightsFolder, callbacks: list[Callback]) -> None:
    """Train one more epoch with `Trainer.fit`."""
    trainer.options = attrs.evolve(trainer.options, epochs=trainer.progress.epoch + 1)
    trainer.fit(weights, callbacks)


def candidates(trainer: Trainer, callbacks: list[Callback], folder: Path) -> dict[str, Callable[[], object]]:
    """Return the functions to measure, by the name of their row in the table."""
    loop, with_loader = Loop.like(trainer), trainer.loader
    train, valid = CachedLoader.from_loader(trainer.loader), CachedLoader.from_loader(trainer.evaluator.valid)
    trainer.evaluator.valid = valid
    weights = WeightsFolder(folder)
    samples = TensorDataset(*(torch.cat(column) for column in list(zip(*train.batches, strict=True))[:2]))
    loader = DataLoader(samples, BATCH, shuffle=True)

    def raw_full() -> None:
        row = {"train": loop.train_with_loss(train.batches), "valid": loop.evaluate(valid.batches)}
        with (folder / "loop.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        save_file(loop.model.state_dict(), folder / "loop.safetensors")

    def trainer_on(batches: SplitLoader, call: Callable[[], object]) -> Callable[[], object]:
        def measured() -> None:
            trainer.loader = batches
            call()

        return measured

    return {
        "loop": lambda: loop.train(train.batches),
        "trainer, bare": trainer_on(train, lambda: train_epoch(trainer)),
        "trainer + callbacks": trainer_on(train, lambda: train_epoch(trainer, callbacks)),
        "loop, full": raw_full,
        "trainer, full": trainer_on(train, lambda: fit(trainer, weights, callbacks)),
        "loop + loader": lambda: loop.train(loader),
        "trainer, bare + loader": trainer_on(with_loader, lambda: train_epoch(trainer)),
    }


BASES = {"trainer, full": "loop, full", "trainer, bare + loader": "loop + loader"}
"""Baselines of the rows that are not compared with the loop."""


def main() -> None:
    """Run the benchmark and print a table. Ratios are to the loop with the same features."""
    parser = parser_of(__doc__, rounds=15)
    parser.add_argument(
        "--steps", type=int, default=1000, help="steps per epoch, which is one measurement (default: %(default)s)"
    )
    parser.add_argument("--only", default="", help="measure only the loop and the rows whose name contains this text")
    parser.add_argument("--profile", action="store_true", help="also print a profile of the bare trainer")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, found = read(folder, options.steps)
        trainer = builder.build_trainer(config, found.registry, World())
        with run_callbacks(config, found, trainer) as callbacks:
            functions = candidates(trainer, callbacks, run_folder.run_path(config.run) / "weights")
            profiler = profiled(functions["trainer, bare"]) if options.profile else None
            wanted = {"loop"} | {row for row in functions if options.only in row}
            wanted |= {BASES.get(row, "loop") for row in wanted}
            measured = interleaved({row: functions[row] for row in functions if row in wanted}, options.rounds)
    if profiler:
        pstats.Stats(profiler, stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(30)
    rows = {}
    for row, costs in measured.items():
        base = measured[BASES.get(row, "loop")]
        rows[row] = {
            "CPU us per step": [1e6 * cost.cpu / options.steps for cost in costs],
            "CPU ratio": ratios([cost.cpu for cost in costs], [cost.cpu for cost in base]),
            "wall ratio": ratios([cost.wall for cost in costs], [cost.wall for cost in base]),
        }
    publish(rows, options)


def profiled(call: Callable[[], object]) -> cProfile.Profile:
    """Profile the second of two calls. cProfile overestimates functions that are called often."""
    call()
    with cProfile.Profile() as profiler:
        call()
    return profiler


if __name__ == "__main__":
    main()
