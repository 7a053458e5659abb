"""Real ranks for tests: gloo processes that meet at a file."""

import copy
import gc
import multiprocessing
import os
import traceback
from pathlib import Path

import torch

from ddpkit.checkpoint import trainer_state
from ddpkit.config import loading
from ddpkit.distributed.world import join_world
from ddpkit.plugins import manager
from ddpkit.training import builder
from ddpkit.training.callbacks import Recovery

JOIN_SECONDS = 180


def fit(file, world, **overrides):
    """Build and train a config in a world; everything that must be equal, as plain data."""
    loaded = loading.load(Path(file), loading.named_overrides(overrides))
    engine = builder.engine(loaded, manager.load().registry, world)
    rows = Rows()
    engine.fit(Nowhere(), [rows] if world.is_main else [])
    tested = numbers(engine.evaluate(engine.model, engine.test)) if engine.test else {}
    weights = {
        candidate.prefix + name: tensor.clone()
        for candidate in engine.candidates
        for name, tensor in candidate.model.state_dict().items()
    }
    return {"rows": rows.seen, "tested": tested, "weights": weights, "steps": engine.progress.step}


class Rows:
    """A watcher that keeps the values of history."""

    def __init__(self):
        self.seen = []

    def train_step_ended(self, epoch, step, steps, loss):
        pass

    def epoch_ended(self, row):
        self.seen.append(numbers({key: value for key, value in row.items() if "second" not in key}))


def numbers(values):
    """Without what a score knows beside its number."""
    return {key: float(value) if isinstance(value, float) else value for key, value in values.items()}


class Kept(Recovery):
    """Snapshots after each step, evaluated micro-batch and epoch."""

    def __init__(self):
        self.states = []

    def step_ended(self, engine):
        self.states.append(copy.deepcopy(trainer_state.taken(engine)))

    epoch_ended = batch_evaluated = step_ended


class Nowhere:
    """Weights that are not kept."""

    def epoch_ended(self, model, epoch, *, is_best, prefix=""):
        pass


class RankPool:
    """Rank processes that stay for many worlds: to start one and import torch takes seconds. Each world has its own group."""

    def __init__(self):
        self.ranks = []

    def in_world(self, size, folder, function, *arguments):
        """Call `function(world, *arguments)` on `size` ranks; returns the results in order of rank."""
        while len(self.ranks) < size:
            self.ranks.append(RankProcess())
        for number, rank in enumerate(self.ranks[:size]):
            rank.pipe.send((number, size, str(folder), function, arguments))
        try:
            for failure in [rank.wait() for rank in self.ranks[:size]]:
                assert failure is None, failure
        except BaseException:
            self.close()
            raise
        return [torch.load(Path(folder) / f"rank-{number}.pt", weights_only=True) for number in range(size)]

    def close(self):
        for rank in self.ranks:
            rank.process.kill()
        self.ranks.clear()


class RankProcess:
    """A spawned process that calls functions of tests, one after the other, until its pipe is closed."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,))
        self.process.start()
        theirs.close()

    def wait(self):
        """The traceback of a call, or None."""
        if not self.pipe.poll(JOIN_SECONDS):
            raise TimeoutError(f"a rank did not end within {JOIN_SECONDS} s")
        return self.pipe.recv()


def serve(pipe):
    multiprocessing.set_start_method(None, force=True)  # spawned ones would spawn their loader workers too, which ranks do not
    while True:
        try:
            call = pipe.recv()
        except EOFError:
            return
        try:
            rank(*call)
            pipe.send(None)
        except Exception:  # noqa: BLE001 - reported, whatever it is
            pipe.send(traceback.format_exc())


def rank(number, size, folder, function, arguments):
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
    with join_world(device="cpu", timeout=60, init_method=f"file://{folder}/meet") as world:
        torch.save(function(world, *arguments), Path(folder) / f"rank-{number}.pt")
    gc.collect()  # the process group too
