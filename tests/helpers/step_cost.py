"""What one optimizer step does, counted instead of timed: a regression is visible on any machine.

Run `python -m tests.helpers.step_cost` to record the counts of the current code in `tests/training/step_cost.json`.
"""

import collections
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.ready import CachedLoader
from ddpkit.checkpoint.checkpointer import attach_checkpointer
from ddpkit.checkpoint.run_metadata import RunMetadata
from ddpkit.config import loading
from ddpkit.distributed.world import World
from ddpkit.plugins import manager
from ddpkit.runs.environment import device_environment
from ddpkit.runs.folder import RunFolder
from ddpkit.tasks import train
from ddpkit.tasks.plan import RunOptions, RunPlan
from ddpkit.training import builder
from tests.helpers.acme import installed
from tests.helpers.configs import BLOBS
from tests.helpers.ranks import RankPool

RECORD = Path(__file__).parents[1] / "training/step_cost.json"
OWN = ("/ddpkit/", "/ddpkit_plugins/")
"""Folders of the code whose Python calls and lines are counted; torch's own differ between its versions."""
TEXT = BLOBS.replace('"tinynet"', '"asking"').replace("epoch = 2", "epoch = 9")
CASES = {
    "bare": {},
    "full": {},
    "accumulation": {"train.grad_accumulation_steps": 4, "train.batch_size": 2},
    "ema": {"train.ema_decay": 0.9},
    "clipping": {"train.grad_clip_norm": 1.0},
    "random draws": {"model.name": "tinynet"},
}
"""Configs of one rank; "full" has all callbacks of a run and its checkpoints."""


class OperatorCounter(TorchDispatchMode):
    """Counts torch operators, reads of a device's values, and collectives."""

    def __init__(self):
        super().__init__()
        self.counts = collections.Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        kind = "collectives" if function.namespace == "c10d" else "reads" if name == "_local_scalar_dense" else "operators"
        self.counts[kind] += 1
        return function(*args, **(kwargs or {}))


class StepRecorder:
    """Callback that records the counts at the end of each step."""

    def __init__(self, counts):
        self.counts, self.seen = counts, []

    def on_train_step_end(self, *_):
        self.seen.append(collections.Counter(self.counts))

    def cheapest(self, keys):
        """Return the smallest counts of a step; a step in which a timer is due costs more."""
        steps = [{key: now[key] - before[key] for key in keys} for before, now in zip(self.seen, self.seen[1:], strict=False)]
        return {key: min(step[key] for step in steps) for key in keys}


def count_operators(trainer, callbacks):
    """Return operators, reads and collectives of a step."""
    with OperatorCounter() as counter:
        recorder = StepRecorder(counter.counts)
        trainer.train_epoch([*callbacks, recorder])
    trainer.progress.end_epoch()
    return recorder.cheapest(("operators", "reads", "collectives"))


def count_python(trainer, callbacks):
    """Return the functions that ddpkit's own code calls in a step, and the number of its lines that are executed."""
    counts = collections.Counter()
    recorder = StepRecorder(counts)

    def is_own(frame):
        return any(folder in frame.f_code.co_filename for folder in OWN)

    def trace(frame, event, _argument):
        counts["lines"] += event == "line"
        return trace if is_own(frame) else None

    def profile(frame, event, _argument):
        caller = frame if event == "c_call" else frame.f_back
        counts["calls"] += event in ("call", "c_call") and caller is not None and is_own(caller)

    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        trainer.train_epoch([*callbacks, recorder])
    finally:
        sys.settrace(None)
        sys.setprofile(None)
    trainer.progress.end_epoch()
    return recorder.cheapest(("calls", "lines"))


def measure(name, folder, world=None):
    """Return the counts of a step of a case."""
    run_id = name.replace(" ", "-")
    file = Path(folder, f"{run_id}.toml")  # one per rank: another rank must not read a file that is being written
    file.write_text(TEXT)
    values = {"output_dir": str(folder), "run_id": run_id, **CASES.get(name, {})}
    config = loading.load(file, loading.named_overrides(values))
    found = manager.load()
    config, trainer = builder.build_run(config, found.registry, world or World())
    with run_callbacks(config, found, trainer) if name == "full" else contextlib.nullcontext([]) as callbacks:
        trainer.train_epoch(callbacks)  # the first steps allocate the state of the optimizer
        trainer.progress.end_epoch()
        trainer.loader = CachedLoader.from_loader(trainer.loader)
        return count_operators(trainer, callbacks) | count_python(trainer, callbacks)


@contextlib.contextmanager
def run_callbacks(config, found, trainer):
    """Yield the callbacks of a run, with its checkpointer attached."""
    plan = RunPlan(file=Path(config.file.name), config=config, plugins=found, options=RunOptions(), tasks=("train",), n_ranks=1)
    folder = RunFolder.create(config, found, device_environment(trainer.world, None))
    weights = train.create_weights_folder(config.run)
    metadata = RunMetadata.of(config, found, trainer)
    saving = attach_checkpointer(trainer, metadata, found, weights, folder, None)
    with train.create_callbacks(plan, trainer, folder) as callbacks, saving:
        yield callbacks


def measure_in_world(world, folder):
    """Return the counts of a step on several ranks."""
    return measure(f"rank {world.rank} of {world.size}", folder, world)


def main():
    os.environ["OMP_NUM_THREADS"] = "1"
    pool = RankPool()
    with tempfile.TemporaryDirectory() as folder, installed(Path(folder, "site")):
        counts = {name: measure(name, folder) for name in CASES}
        counts |= {"two ranks": pool.in_world(2, Path(folder), measure_in_world, folder)[0]}
    pool.close()
    RECORD.write_text(json.dumps({"torch": torch.__version__, "counts": counts}, indent=2) + "\n")


if __name__ == "__main__":
    main()
