"""Estimate of the time that a run still needs, from the steps and evaluations of this process."""

import math
import time
from collections.abc import Collection

import attrs

from ddpkit.training.trainer import Trainer


@attrs.define
class Pace:
    """Mean duration of one kind of work."""

    seconds: float = 0.0
    n: int = 0

    def add(self, seconds: float, n: int) -> None:
        """Count `n` pieces of work that took `seconds` in total."""
        self.seconds += seconds
        self.n += n

    def mean(self, unknown: float) -> float:
        """Return the seconds per piece of work; `unknown` before the first one."""
        return self.seconds / self.n if self.n else unknown


class TimeLeft:
    """Measures training steps and evaluated micro-batches, and counts those that are left.

    Nothing is measured in each step: the trainer counts the steps. The first step of a process is not measured, because it
    often includes one-time work, such as starting workers and compiling the model.
    """

    def __init__(self, trainer: Trainer, tasks: Collection[str]) -> None:
        """Start before the first step of this process. `tasks`: tasks of the run, such as `train` and `test`."""
        self._trainer = trainer
        self._tasks = tasks
        self._step, self._evaluation = Pace(), Pace()
        self._measured_at = math.nan
        """Time of the last measurement; NaN before the first step or evaluation."""
        self._steps = 0
        """Number of optimizer steps at the last measurement."""
        self._evaluated = 0
        """Number of micro-batches evaluated since the last epoch."""

    def measure_steps(self) -> None:
        """Measure the steps since the last measurement."""
        now, steps = time.monotonic(), self._trainer.progress.step
        if not math.isnan(self._measured_at):
            self._step.add(now - self._measured_at, steps - self._steps)
        self._measured_at, self._steps = now, steps

    def measure_eval_batch(self, batch: int) -> None:
        """Measure an evaluated micro-batch; `batch`: its number (1-based) in the evaluation. The first ends a training."""
        if batch == 1:
            self.measure_steps()
        else:
            now = time.monotonic()
            self._evaluation.add(now - self._measured_at, 1)
            self._measured_at = now
        self._evaluated += 1

    def end_epoch(self) -> None:
        """Measure the end of an epoch, which includes its weights files."""
        self.measure_steps()
        self._evaluated = 0

    def seconds(self) -> float:
        """Return the time left for training, evaluations and test, if no early stopping ends the run; NaN if it is unknown."""
        steps, batches = self._steps_left(), self._eval_batches_left()
        step = self._step.mean(math.nan if steps else 0.0)
        return steps * step + batches * self._evaluation.mean(step)

    def _epochs_left(self) -> range:
        progress = self._trainer.progress
        is_over = progress.is_over or "train" not in self._tasks
        return range(0) if is_over else range(progress.epoch + 1, self._trainer.options.epochs + 1)

    def _steps_left(self) -> int:
        return len(self._epochs_left()) * self._trainer.steps_per_epoch - self._trainer.progress.step_in_epoch

    def _eval_batches_left(self) -> int:
        evaluator = self._trainer.evaluator
        n_validations = sum(map(evaluator.is_due, self._epochs_left()))
        n = evaluator.valid.sampler.n_forwards() * n_validations if evaluator.valid else 0
        if evaluator.test and "test" in self._tasks:
            n += evaluator.test.sampler.n_forwards()
        return max(n * len(evaluator.models) - self._evaluated, 0)  # the size of a stream may not be known
