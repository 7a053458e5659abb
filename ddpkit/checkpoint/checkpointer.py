"""When a run is saved, and when it ends early: decided by all ranks at the same step. And how it goes on."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ddpkit.checkpoint import trainer_state
from ddpkit.checkpoint.async_saver import Saver
from ddpkit.checkpoint.resume import FOLDER, Origin
from ddpkit.checkpoint.run_metadata import Record
from ddpkit.checkpoint.save_policy import Periods
from ddpkit.checkpoint.serialization import Staging, load, size_of
from ddpkit.checkpoint.store import Checkpoint, Store
from ddpkit.checkpoint.weights import BEST, WeightsFolder
from ddpkit.distributed import signal_forwarding
from ddpkit.distributed.signals import Wish
from ddpkit.distributed.stop_sync import LOOK_SECONDS, Agreement
from ddpkit.distributed.world import World
from ddpkit.errors import CheckpointError, ExitCode, SampleError, Stopped
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import folder as run_folder
from ddpkit.runs import run_hooks
from ddpkit.runs.folder import RunFolder
from ddpkit.runs.run_hooks import RunInfo
from ddpkit.training.callbacks import Recovery
from ddpkit.training.trainer import Engine

LOGGER = logging.getLogger(__name__)
STOP = "STOP"
STATES = 4
"""A checkpoint is about so many times the model: its weights, two numbers of the optimizer for each, the best weights."""


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
    """What a run is beside its engine: tensors and plain data. Rank 0's is asked."""
    is_due: bool = False
    """The epoch ends with a save."""
    agreement: Agreement = attrs.field(init=False)
    looked_at: float = attrs.field(factory=time.monotonic)
    saved_at: float = attrs.field(factory=time.monotonic)

    def __attrs_post_init__(self) -> None:
        self.agreement = Agreement(self.world)

    def step_begins(self) -> None:
        """Wait for the copy of a save that is under way."""
        if self.saver:
            self.saver.copied.wait()

    def step_ended(self, engine: Engine) -> None:
        """Save if it is due or asked for. Raises Stopped, on every rank alike."""
        self.look()
        stop, heard = self.agreement.heard(self.wish.stop, self.wish.save)
        save = bool(heard) or self.periods.saves_step(engine.progress.step)
        if self.periods.is_last_of_epoch(engine.progress.step_in_epoch) and not stop:
            self.is_due, save = save, False  # once it is evaluated: a step is saved once
        self.act(engine, stop, save=save)

    def batch_evaluated(self, engine: Engine) -> None:
        """The same if it is asked for: the run is where it was after its last step, and will evaluate again."""
        self.look()
        stop, save = self.agreement.heard(self.wish.stop, self.wish.save)
        self.act(engine, stop, save=bool(save))

    def epoch_ended(self, engine: Engine) -> None:
        """The same at the end of an epoch."""
        self.look()
        stop, save = self.agreement.now(self.wish.stop, self.wish.save)
        epoch = engine.progress.epoch
        is_last = engine.progress.is_over or epoch == engine.epochs
        is_kept = is_last or self.periods.is_kept(epoch)
        if is_last:
            stop = 0  # nothing is left to stop
        is_due, self.is_due = self.is_due or bool(save) or self.periods.ends_with_save(epoch), False
        self.act(engine, stop, save=is_due or is_kept, is_kept=is_kept)
        if is_last and self.saver:
            self.saver.finish(engine.progress.step)

    def look(self) -> None:
        """Rank 0, every so often: for the file, at the clock, and at what became of the last save."""
        now = time.monotonic()
        if self.saver is None or now - self.looked_at < LOOK_SECONDS:
            return
        self.looked_at = now
        self.saver.surface()
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
        state = trainer_state.taken(engine)
        self.wish.save, self.saved_at = False, time.monotonic()
        if self.saver:
            best = self.weights.best_files(each.prefix for each in engine.candidates)
            self.saver.save(engine.progress.step, {**state, **self.about()}, best, is_kept=is_kept)

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
    record: Record,
    plugins: Plugins,
    weights: WeightsFolder,
    folder: RunFolder | None,
    origin: Origin | None,
) -> Iterator[None]:
    """Let a run that was built go on from where it was; save it, and listen to signals, while this lasts.

    Every rank must enter it. `folder`: rank 0's. Raises CheckpointError when the checkpoint does not fit, or none can be written.
    """
    config, newest = record.config, None
    info = RunInfo.of(config, engine, run_folder.path_of(config.run))
    if origin and origin.checkpoint:
        newest = origin.checkpoint.step
        record = gone_on(engine, origin.checkpoint, record, plugins, info)
        if folder:
            weights.go_back(engine.progress.epoch, origin.checkpoint.ending(BEST))
        origin.checkpoint.release()
    wish = Wish(signal_forwarding.stop_signals())
    with (
        saving(folder, engine, config.run.train.save_recovery_keep, newest) as saver,
        wish.listening(),
        signal_forwarding.listening(),
    ):
        engine.recovery = Checkpoints(
            folder=info.folder,
            world=engine.world,
            saver=saver,
            weights=weights,
            periods=Periods.of(config.run.train, math.ceil(engine.train.sampler.n_batches() / engine.accumulation)),
            wish=wish,
            about=lambda: {"run": record.plain(folder.history() if folder else []), "plugins": run_hooks.kept(plugins, info)},
        )
        try:
            yield
        except (RuntimeError, OSError, SampleError) as error:  # a rank that is gone, a loader worker that got the signal too
            if not wish.stop:
                raise
            raise Stopped(f"ended by a signal, as others were before: {error}", ExitCode(wish.stop)) from error
        engine.recovery = Recovery()


@contextlib.contextmanager
def saving(folder: RunFolder | None, engine: Engine, n_rolling: int, newest: int | None) -> Iterator[Saver | None]:
    """What writes the checkpoints of a run that begins after step `newest`; rank 0's alone. Waits for the last one."""
    if folder is None:
        yield None
        return
    store = Store(folder.path / FOLDER, n_rolling=n_rolling)
    store.probe(STATES * size_of(engine.model.state_dict()))
    store.tidy(newest)
    with contextlib.closing(Saver(store, Staging(pinned=engine.world.device.type == "cuda"))) as saver:
        yield saver


def gone_on(engine: Engine, checkpoint: Checkpoint, record: Record, plugins: Plugins, info: RunInfo) -> Record:
    """Put the state of a checkpoint into a run that was built; returns its record, with what changed since then."""
    state = load(checkpoint)
    before, kept = state.pop("run"), state.pop("plugins")
    losses = [row.get("valid/loss", row["train/loss"]) for row in before["history"]]
    losses = [math.nan if loss is None else loss for loss in losses]
    try:
        trainer_state.put_back(engine, state, losses if record.is_rescheduled(before) else None)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{checkpoint.folder} does not fit the model that is built now: {error}") from error
    run_hooks.give_back(plugins, info, kept)
    where = f"step {engine.progress.step}, epoch {engine.progress.epoch + 1}"
    LOGGER.info("goes on from %s, %s", checkpoint.folder.name, where)
    said = record.differences(before)
    for text in said:
        LOGGER.warning("%s", text)
    return attrs.evolve(record, changes=[*before["changes"], *(f"{where}: {text}" for text in said)])
