"""Save, stop and restore a run. All ranks save and stop at the same step."""

import contextlib
import logging
import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch

from ddpkit.checkpoint import trainer_state
from ddpkit.checkpoint.async_saver import Saver
from ddpkit.checkpoint.resume import CHECKPOINTS_FOLDER, ResumePoint
from ddpkit.checkpoint.run_metadata import RunMetadata
from ddpkit.checkpoint.save_policy import SavePolicy
from ddpkit.checkpoint.serialization import Staging, count_bytes, load_checkpoint
from ddpkit.checkpoint.store import Checkpoint, Store
from ddpkit.checkpoint.weights import BEST_FILE, WeightsFolder
from ddpkit.distributed import signal_forwarding
from ddpkit.distributed.signals import SignalState
from ddpkit.distributed.stop_sync import SYNC_INTERVAL_SECONDS, StopSync
from ddpkit.distributed.world import World
from ddpkit.errors import CheckpointError, ExitCode, RunStopped, SampleError
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import folder as run_folder
from ddpkit.runs import run_hooks
from ddpkit.runs.files import REMEDY, os_errors_as
from ddpkit.runs.folder import RunFolder
from ddpkit.runs.run_hooks import RunInfo
from ddpkit.training.callbacks import CheckpointCallback
from ddpkit.training.trainer import Trainer

LOGGER = logging.getLogger(__name__)
STOP = "STOP"
STATES = 4
"""Approximate size of a checkpoint in multiples of the model size: weights, two optimizer values per weight, best weights."""


@attrs.define(kw_only=True)
class Checkpointer(CheckpointCallback):
    """Callback that saves a run if a save is due or requested. Every rank has one."""

    folder: Path
    """Path of the run folder."""
    world: World
    saver: Saver | None
    """Writer of the checkpoints on rank 0; None on other ranks."""
    weights: WeightsFolder
    policy: SavePolicy
    signals: SignalState
    collect_metadata: Callable[[], Mapping[str, Any]]
    """Function that returns the state outside of the trainer, as tensors and plain data; only rank 0 calls it."""
    has_hooks: bool = False
    """Whether run hooks of plugins are called, which may replace signal handlers in each step."""
    save_is_due: bool = False
    """Whether a save is pending for the end of the current epoch."""
    stop_sync: StopSync = attrs.field(init=False)
    polled_at: float = attrs.field(factory=time.monotonic)
    saved_at: float = attrs.field(factory=time.monotonic)

    def __attrs_post_init__(self) -> None:
        self.stop_sync = StopSync(self.world)

    def on_step_begin(self) -> None:
        """Wait until the save in progress has copied the state, because the step changes its tensors."""
        if self.saver:
            self.saver.staged.wait()

    def on_step_end(self, trainer: Trainer) -> None:
        """Save if a save is due or requested. If a stop is requested, raise RunStopped on all ranks at the same step."""
        self.poll_requests()
        stop, requested = self.stop_sync.poll(self.signals.stop, self.signals.save)
        save = bool(requested) or self.policy.saves_step(trainer.progress.step)
        if self.policy.is_last_of_epoch(trainer.progress.step_in_epoch) and not stop:
            self.save_is_due, save = save, False  # save after the evaluation instead, so that the step is saved only once
        self.save_or_stop(trainer, stop, save=save)

    def on_eval_batch_end(self, trainer: Trainer) -> None:
        """Save or raise RunStopped if requested. The state is that of the last step: a resumed run repeats the evaluation."""
        self.poll_requests()
        stop, save = self.stop_sync.poll(self.signals.stop, self.signals.save)
        self.save_or_stop(trainer, stop, save=bool(save))

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Save if a save is due or requested. Raise RunStopped on all ranks if a stop is requested, except at the end of the run.

        At the end of the run, wait for the last save; raise CheckpointError if it failed.
        """
        self.poll_requests()
        self.sync_end(trainer)
        trainer.progress.is_over |= trainer.progress.is_ending
        stop, save = self.stop_sync.sync_now(self.signals.stop, self.signals.save)
        epoch = trainer.progress.epoch
        is_last = trainer.progress.is_over or epoch == trainer.options.epochs
        is_permanent = is_last or self.policy.is_permanent(epoch)
        if is_last:
            stop = 0  # nothing is left to stop
        is_due, self.save_is_due = self.save_is_due or bool(save) or self.policy.saves_epoch(epoch), False
        self.save_or_stop(trainer, stop, save=is_due or is_permanent, is_permanent=is_permanent)
        if is_last and self.saver:
            self.saver.finish(trainer.progress.step)

    def sync_end(self, trainer: Trainer) -> None:
        """Inform all ranks that a run hook of one rank asked for the end of the run. Every rank must call it."""
        if self.has_hooks:
            asked = torch.tensor(int(trainer.progress.is_ending), device=self.world.device)
            trainer.progress.is_ending = bool(self.world.sum(asked))

    def poll_requests(self) -> None:
        """Keep the signal handlers. On rank 0 also check for the file STOP, a due save, and an error of the last save."""
        now = time.monotonic()
        is_due = now - self.polled_at >= SYNC_INTERVAL_SECONDS
        if is_due or self.has_hooks:
            self.signals.restore_handlers()
        if not is_due:
            return
        self.polled_at = now
        if self.saver is None:
            return
        self.saver.raise_pending_error()
        if (self.folder / STOP).exists():
            self.signals.stop = self.signals.stop or ExitCode.REQUEUE
        if self.policy.seconds and now - self.saved_at >= self.policy.seconds:
            self.signals.save = True

    def save_or_stop(self, trainer: Trainer, stop: float, *, save: bool, is_permanent: bool = False) -> None:
        """Save if either is requested; `stop`: exit code for RunStopped, 0 to continue. Every rank must call it."""
        if save or stop:
            self.save(trainer, is_permanent=is_permanent)
        if stop:
            self.stop(trainer, ExitCode(int(stop)))

    def save(self, trainer: Trainer, *, is_permanent: bool) -> None:
        """Save the run. Every rank must call it."""
        self.sync_end(trainer)
        state = trainer_state.capture_state(trainer)
        self.signals.save, self.saved_at = False, time.monotonic()
        if self.saver:
            best = self.weights.best_files(each.prefix for each in trainer.evaluator.models)
            self.saver.save(trainer.progress.step, {**state, **self.collect_metadata()}, best, is_permanent=is_permanent)
            if trainer.step.name:  # a step of a plugin may change parameters earlier, such as those of a mean teacher
                self.saver.staged.wait()

    def stop(self, trainer: Trainer, code: ExitCode) -> None:
        """Raise RunStopped once the last save is safe on disk; raise CheckpointError if that save failed."""
        progress = trainer.progress
        if self.saver:
            self.saver.finish(progress.step)
            with os_errors_as(self.folder, REMEDY):
                (self.folder / STOP).unlink(missing_ok=True)
        where = f"stopped and saved at step {progress.step}, epoch {progress.epoch + 1}"
        command = shlex.join(["ddpkit", "run", str(self.folder / "config.toml"), "--resume"])
        raise RunStopped(f"{where}; to continue, use: {command}", code)


@contextlib.contextmanager
def attach_checkpointer(
    trainer: Trainer,
    metadata: RunMetadata,
    plugins: Plugins,
    weights: WeightsFolder,
    folder: RunFolder | None,
    resume_point: ResumePoint | None,
) -> Iterator[None]:
    """Restore the checkpoint of a resumed run; save the run and handle signals inside the context.

    Every rank must enter it. `folder`: run folder on rank 0, None on other ranks. Raise CheckpointError if the checkpoint does
    not fit the model, or if no checkpoint can be written.
    """
    config, newest = metadata.config, None
    info = RunInfo.of(config, trainer, run_folder.run_path(config.run))
    if resume_point and resume_point.checkpoint:
        newest = resume_point.checkpoint.step
        metadata = restore_checkpoint(trainer, resume_point.checkpoint, metadata, plugins, info)
        if folder:
            weights.rewind(trainer.progress.epoch, resume_point.checkpoint.ending(BEST_FILE))
        resume_point.checkpoint.release()

    def collect_metadata() -> dict[str, Any]:
        history = folder.history() if folder else []
        return {"run": metadata.to_plain(history), "plugins": run_hooks.collect_plugin_state(plugins, info)}

    with open_saver(folder, trainer, config.run.train.save_recovery_keep, newest) as saver, handle_signals() as signals:
        trainer.checkpointer = Checkpointer(
            folder=info.folder,
            world=trainer.world,
            saver=saver,
            weights=weights,
            policy=SavePolicy.of(config.run.train, trainer.steps_per_epoch),
            signals=signals,
            collect_metadata=collect_metadata,
            has_hooks=run_hooks.are_enabled(plugins),
        )
        yield
        trainer.checkpointer = CheckpointCallback()


@contextlib.contextmanager
def handle_signals() -> Iterator[SignalState]:
    """Record signals inside the context. Raise RunStopped in place of an error that a signal to another process caused."""
    signals = SignalState(signal_forwarding.stop_signals())
    with signals.handling(), signal_forwarding.announce_listener():
        try:
            yield signals
        except (RuntimeError, OSError, SampleError) as error:  # another rank or a loader worker got the signal first
            if not signals.stop:
                raise
            message = f"stopped by a signal, after another process of the run had ended: {error}"
            remedy = "repeat the command with '--resume' to continue from the newest checkpoint"
            raise RunStopped(f"{message}; {remedy}", ExitCode(signals.stop)) from error


@contextlib.contextmanager
def open_saver(folder: RunFolder | None, trainer: Trainer, n_rolling: int, newest: int | None) -> Iterator[Saver | None]:
    """Yield the writer of checkpoints on rank 0, None on other ranks; wait for the last save at the end.

    `newest`: step that the run resumes from. Raise CheckpointError if no checkpoint can be written.
    """
    if folder is None:
        yield None
        return
    store = Store(folder.path / CHECKPOINTS_FOLDER, n_rolling=n_rolling)
    store.check_writable(STATES * count_bytes(trainer.model.state_dict()))
    with os_errors_as(store.folder, REMEDY):
        store.clean_up(newest)
    with contextlib.closing(Saver(store, Staging(pinned=trainer.world.device.type == "cuda"))) as saver:
        yield saver


def restore_checkpoint(
    trainer: Trainer, checkpoint: Checkpoint, metadata: RunMetadata, plugins: Plugins, info: RunInfo
) -> RunMetadata:
    """Restore a checkpoint into a trainer that was just built; return the metadata with the changes since the checkpoint.

    Every rank must call it. Raise CheckpointError if the checkpoint does not fit the model.
    """
    state = load_checkpoint(checkpoint)
    before, plugin_state = state.pop("run"), state.pop("plugins")
    losses = [row.get("valid/loss", row["train/loss"]) for row in before["history"]]
    losses = [math.nan if loss is None else loss for loss in losses]
    try:
        trainer_state.restore_state(trainer, state, metadata.rescheduled_optimizers(before), losses)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{checkpoint.folder} does not fit the current model or optimizer: {error}") from error
    run_hooks.restore_plugin_state(plugins, info, plugin_state)
    where = f"step {trainer.progress.step}, epoch {trainer.progress.epoch + 1}"
    LOGGER.info("resumed from %s, %s", checkpoint.folder.name, where)
    differences = metadata.differences(before)
    for text in differences:
        LOGGER.warning("%s", text)
    return attrs.evolve(metadata, changes=[*before["changes"], *(f"{where}: {text}" for text in differences)])
