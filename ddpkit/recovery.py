"""When a run is saved, and when it ends early: decided by all ranks at the same step."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
import torch.distributed
from torch import Tensor

from ddpkit import drift, launch, run_folder, snapshot
from ddpkit.checkpoint.saver import Saver
from ddpkit.checkpoint.state import Staging, load, size_of
from ddpkit.checkpoint.store import Checkpoint, Store
from ddpkit.checkpoint.weights import BEST, WeightsFolder
from ddpkit.config import Config, tables
from ddpkit.dist import World
from ddpkit.engine import Engine
from ddpkit.errors import CheckpointError, ExitCode, Stopped
from ddpkit.protocols import Recovery, Row
from ddpkit.resume import FOLDER, Origin
from ddpkit.run_folder import RunFolder
from ddpkit.signals import Wish

LOGGER = logging.getLogger(__name__)
LOOK_SECONDS = 0.2
"""So often ranks tell each other what is asked of them, and the first looks at the clock and for the file `STOP`."""
STOP = "STOP"
STATES = 4
"""A checkpoint is about so many times the model: its weights, two numbers of the optimizer for each, the best weights."""
RESCHEDULED = {("train", "epoch"), ("train", "optimizer"), ("train", "lr_scheduler")}
"""Tables that rates and the options of the optimizer come from."""


@attrs.frozen(kw_only=True)
class Periods:
    """`train.save_period`, `save_recovery_period` and `save_recovery_seconds`."""

    kept: float
    rolling: float
    seconds: float
    epochs: int
    """Of the whole run."""
    steps: int
    """Of the whole run."""

    def is_kept(self, epoch: int) -> bool:
        """Whether the checkpoint at the end of this epoch (from 1) stays for good."""
        return every(self.kept, self.epochs, epoch)

    def ends_with_save(self, epoch: int) -> bool:
        """Whether this epoch ends with a recovery point."""
        return self.rolling >= 1 and every(self.rolling, self.epochs, epoch)

    def saves_step(self, step: int) -> bool:
        """Whether this optimizer step of the run (from 1) ends with a recovery point."""
        return 0 < self.rolling < 1 and every(self.rolling, self.steps, step)


def every(period: float, total: int, number: int) -> bool:
    """Period: `>= 1` that many, between 0 and 1 that fraction of `total`, though at least one; else never."""
    size = round(period) if period >= 1 else max(1, round(period * total))
    return period > 0 and number % size == 0


@attrs.define
class Agreement:
    """Ranks tell each other what they wish while they work, and all hear it at the same step."""

    world: World
    began: float = attrs.field(factory=time.monotonic)
    steps: int = 0
    """Since then."""
    wait: int = 0
    """Steps until they tell each other again."""
    told: tuple[Any, Tensor] | None = None

    def heard(self, *wishes: float) -> Sequence[float]:
        """The largest of each wish over all ranks, as they were some steps ago; all 0 between. Every rank must call it."""
        if self.world.size == 1:
            return wishes
        self.steps += 1
        if self.told:
            *largest, seconds = self.result()
            self.wait = int(LOOK_SECONDS / max(seconds, 1e-6))
            return largest
        if self.wait <= 0:
            self.tell(wishes)
        self.wait -= 1
        return [0.0] * len(wishes)

    def now(self, *wishes: float) -> Sequence[float]:
        """The same at once; the ranks wait for each other. Every rank must call it."""
        if self.world.size == 1:
            return wishes
        earlier = self.result()[:-1] if self.told else [0.0] * len(wishes)
        self.steps += 1
        self.tell(wishes)
        return [max(pair) for pair in zip(earlier, self.result()[:-1], strict=True)]

    def tell(self, wishes: Sequence[float]) -> None:
        """Begin to, with the seconds of a step, so that all know when to do it again."""
        now = time.monotonic()
        mine = torch.tensor([*wishes, (now - self.began) / self.steps], dtype=torch.float64, device=self.world.device)
        self.told = (torch.distributed.all_reduce(mine, torch.distributed.ReduceOp.MAX, async_op=True), mine)
        self.began, self.steps = now, 0

    def result(self) -> list[float]:
        """Wait for what was begun."""
        if self.told is None:
            raise RuntimeError("nothing was told")
        work, values = self.told
        work.wait()
        self.told = None
        return [float(value) for value in values.tolist()]


@attrs.define(kw_only=True)
class Checkpoints(Recovery):
    """Saves a run when it is time or somebody asks for it. Every rank has one."""

    folder: Path
    """Of the run."""
    world: World
    saver: Saver | None
    """Rank 0's."""
    weights: WeightsFolder
    periods: Periods
    wish: Wish
    about: Callable[[], Mapping[str, Any]]
    """What a run is beside its engine: plain data."""
    agreement: Agreement = attrs.field(init=False)
    looked_at: float = attrs.field(factory=time.monotonic)
    saved_at: float = attrs.field(factory=time.monotonic)

    def __attrs_post_init__(self) -> None:
        self.agreement = Agreement(self.world)

    def step_ended(self, engine: Engine) -> None:
        """Save if it is due or asked for. Raises Stopped, on every rank alike."""
        self.look()
        stop, save = self.agreement.heard(self.wish.stop, self.wish.save)
        self.act(engine, stop, save=bool(save) or self.periods.saves_step(engine.progress.step))

    def epoch_ended(self, engine: Engine) -> None:
        """The same at the end of an epoch."""
        self.look()
        stop, save = self.agreement.now(self.wish.stop, self.wish.save)
        epoch = engine.progress.epoch
        is_last = engine.progress.is_over or epoch == engine.epochs
        is_kept = is_last or self.periods.is_kept(epoch)
        if is_last:
            stop = 0  # nothing is left to stop
        self.act(engine, stop, save=bool(save) or is_kept or self.periods.ends_with_save(epoch), is_kept=is_kept)
        if is_last and self.saver:
            self.saver.finish(engine.progress.step)

    def look(self) -> None:
        """Rank 0, every so often: for the file, and at the clock."""
        now = time.monotonic()
        if self.saver is None or now - self.looked_at < LOOK_SECONDS:
            return
        self.looked_at = now
        if (self.folder / STOP).exists():
            self.wish.stop = self.wish.stop or ExitCode.REQUEUE
        if self.periods.seconds and now - self.saved_at >= self.periods.seconds:
            self.wish.save = True

    def act(self, engine: Engine, stop: float, *, save: bool, is_kept: bool = False) -> None:
        """Save, and leave."""
        if save or stop:
            self.save(engine, is_kept=is_kept)
        if stop:
            self.stop(engine, ExitCode(int(stop)))

    def save(self, engine: Engine, *, is_kept: bool) -> None:
        """Every rank must call it."""
        state = snapshot.taken(engine)
        self.wish.save, self.saved_at = False, time.monotonic()
        if self.saver:
            best = self.weights.best_files(each.prefix for each in engine.candidates)
            self.saver.save(engine.progress.step, {**state, "run": dict(self.about())}, best, is_kept=is_kept)

    def stop(self, engine: Engine, code: ExitCode) -> None:
        """Raise Stopped when the last save is safe; CheckpointError if it failed."""
        progress = engine.progress
        if self.saver:
            self.saver.finish(progress.step)
            (self.folder / STOP).unlink(missing_ok=True)
        raise Stopped(
            f"stopped and saved at step {progress.step}, epoch {progress.epoch + 1}; '--resume' goes on from there", code
        )


@contextlib.contextmanager
def recovering(
    engine: Engine,
    config: Config,
    plugins: Sequence[Mapping[str, str]],
    weights: WeightsFolder,
    folder: RunFolder | None,
    origin: Origin | None,
) -> Iterator[None]:
    """Let a run that was built go on from where it was; save it, and listen to signals, while this lasts.

    Every rank must enter it. `folder`: rank 0's. Raises CheckpointError when none can be written.
    """
    checkpoint, run = origin.checkpoint if origin else None, config.run
    changes: list[str] = []
    if checkpoint:
        changes = go_on(engine, config, weights, checkpoint, is_main=engine.world.is_main)
    with contextlib.ExitStack() as stack:
        saver = None
        if folder:
            saver = Saver(Store(folder.path / FOLDER), Staging(pinned=engine.world.device.type == "cuda"))
            stack.callback(saver.close)
            saver.store.probe(STATES * size_of(engine.model.state_dict()))
            saver.store.tidy(checkpoint.step if checkpoint else None)
        wish = Wish()
        steps = run.train.epoch * math.ceil(engine.train.sampler.n_batches() / engine.accumulation)
        kept, rolling, seconds = run.train.save_period, run.train.save_recovery_period, run.train.save_recovery_seconds
        engine.recovery = Checkpoints(
            folder=run_folder.path_of(run),
            world=engine.world,
            saver=saver,
            weights=weights,
            periods=Periods(kept=kept, rolling=rolling, seconds=seconds, epochs=run.train.epoch, steps=steps),
            wish=wish,
            about=lambda: about(config, plugins, engine.world, folder.history() if folder else [], changes),
        )
        stack.enter_context(wish.listening())
        stack.enter_context(launch.listening())
        yield


def go_on(engine: Engine, config: Config, weights: WeightsFolder, checkpoint: Checkpoint, *, is_main: bool) -> list[str]:
    """Put the state of a checkpoint into a run that was built; returns what changed since then, for the record."""
    state = load(checkpoint)
    before = state.pop("run")
    found = drift.changes(before["config"], config)
    losses = [row.get("valid/loss", row["train/loss"]) for row in before["history"]]
    is_rescheduled = any(change.path[:2] in RESCHEDULED for change in found)
    try:
        snapshot.put_back(engine, state, [math.nan if loss is None else loss for loss in losses] if is_rescheduled else None)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{checkpoint.folder} does not fit the model that is built now: {error}") from error
    if is_main:
        weights.go_back(engine.progress.epoch, {name: data for name, data in checkpoint.files.items() if name.endswith(BEST)})
    where = f"step {engine.progress.step}, epoch {engine.progress.epoch + 1}"
    LOGGER.info("goes on from %s, %s", checkpoint.folder.name, where)
    said = [*map(str, found), *other_world(before["environment"], environment_of(engine.world), config)]
    for text in said:
        LOGGER.warning("%s", text)
    return [*before["changes"], *(f"{where}: {text}" for text in said)]


def other_world(before: Mapping[str, Any], now: Mapping[str, Any], config: Config) -> list[str]:
    """In what the machine differs, and that the bits may then differ too."""
    free = ("ranks",) if config.run.ddp.virtual_shards > 1 else ()
    return [
        f"{key} {now[key]}, and {before[key]} before: the same samples in the same order, but not the same bits from here on"
        for key in now
        if now[key] != before[key] and key not in free
    ]


def about(
    config: Config, plugins: Sequence[Mapping[str, str]], world: World, history: Sequence[Row], changes: Sequence[str]
) -> dict[str, Any]:
    """What a run is beside its engine."""
    return {
        "config": tables(config.run),
        "plugins": [dict(each) for each in plugins],
        "environment": environment_of(world),
        "history": [dict(row) for row in history],
        "changes": list(changes),
    }


def environment_of(world: World) -> dict[str, Any]:
    """What the bits of a run depend on, beside its config."""
    return {"torch": torch.__version__, "device": world.device.type, "ranks": world.size, "threads": world.threads}
