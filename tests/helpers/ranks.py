"""Real ranks for tests: processes with the gloo backend and a file as rendezvous."""

import copy
import functools
import gc
import multiprocessing
import os
import traceback
from pathlib import Path

import torch

from ddpkit.checkpoint import trainer_state
from ddpkit.config import loading
from ddpkit.config.plugin_policy import combine_policy
from ddpkit.distributed.world import init_distributed
from ddpkit.plugins import manager
from ddpkit.tasks.train import load_best
from ddpkit.training import builder
from ddpkit.training.callbacks import Callback, CheckpointCallback

JOIN_SECONDS = 180


def fit(file, world, **overrides):
    """Build and train a config in a world; returns everything that must be equal, as plain data."""
    loaded = loading.load(Path(file), loading.named_overrides(overrides))
    trainer = builder.build_trainer(loaded, manager.load(combine_policy(loaded.run.plugins)).registry, world)
    rows = RowRecorder()
    trainer.fit(NoWeights(), [rows] if world.is_main else [])
    test = trainer.evaluator.test
    tested = trainer.evaluator.evaluate(trainer.model, test).values if test else {}
    weights = {
        each.prefix + name: tensor.clone()
        for each in trainer.evaluator.models
        for name, tensor in each.model.state_dict().items()
    }
    return {"rows": rows.seen, "tested": tested, "weights": weights, "steps": trainer.progress.step}


class RowRecorder(Callback):
    """Callback that records the rows of history."""

    def __init__(self):
        self.seen = []

    def on_epoch_end(self, row):
        self.seen.append({key: value for key, value in row.items() if "second" not in key})


class StateRecorder(CheckpointCallback):
    """Callback that records a snapshot after each step, evaluated micro-batch and epoch."""

    def __init__(self):
        self.states = []

    def on_step_end(self, trainer):
        self.states.append(copy.deepcopy(trainer_state.capture_state(trainer)))

    on_epoch_end = on_eval_batch_end = on_step_end


def evaluate_best(trainer, weights):
    """Return the values of the best weights on the test split."""
    return dict(trainer.evaluator.test_models(functools.partial(load_best, weights, trainer.world), lambda *_: None).values)


class NoWeights:
    """Weights folder that saves nothing."""

    def save_epoch(self, model, epoch, *, is_best, prefix=""):
        pass


class RankPool:
    """Pool of rank processes that are reused for many worlds, because a start takes seconds. Each world has its own process group."""

    def __init__(self):
        self.ranks = []

    def in_world(self, size, folder, function, *arguments):
        """Call `function(world, *arguments)` on `size` ranks; returns the results in rank order."""
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
    """Spawned process that executes calls from its pipe until the pipe is closed."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,))
        self.process.start()
        theirs.close()

    def wait(self):
        """Wait for a call to end; returns its traceback, or None."""
        if not self.pipe.poll(JOIN_SECONDS):
            raise TimeoutError(f"a rank did not end within {JOIN_SECONDS} s")
        return self.pipe.recv()


def serve(pipe):
    multiprocessing.set_start_method(None, force=True)  # a spawned process would spawn its loader workers too, unlike real ranks
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
    with init_distributed(device="cpu", timeout=60, init_method=f"file://{folder}/meet") as world:
        torch.save(function(world, *arguments), Path(folder) / f"rank-{number}.pt")
    gc.collect()  # frees the process group
