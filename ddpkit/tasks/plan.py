"""Options and plan of a command."""

from pathlib import Path
from typing import Literal

import attrs

from ddpkit.checkpoint.resume import ResumePoint
from ddpkit.config import schema
from ddpkit.config.loading import Config, Override, named_overrides
from ddpkit.plugins.manager import Plugins
from ddpkit.runs.lookup import BEST, is_run_known

Task = Literal["train", "test", "predict"]
BITS: dict[int, Task] = {1: "train", 2: "test", 4: "predict"}
"""Bits of `private.mode` and their tasks, in the order of execution."""
MODES: dict[Task, int] = {"train": 3, "test": 2, "predict": 4}
"""Value of `private.mode` for each value of `--task`: a training ends with a test."""


@attrs.frozen(kw_only=True)
class RunOptions:
    """Options of a command, in addition to the TOML."""

    overrides: tuple[Override, ...] = ()
    """Values that replace those of the TOML."""
    task: Task | None = None
    """Task to run; None = the tasks of `private.mode`."""
    weights: str = BEST
    """Weights for a test or a prediction without training: `best`, `last`, a file, or a run folder."""
    nproc: int | None = None
    """Number of ranks; None = the number in the config."""
    limit_batches: int | None = None
    """Largest number of micro-batches per split and epoch, for a quick trial; None = no limit."""
    dry_run: bool = False
    """Build everything and run one step, without creating a run folder."""
    no_plugins: bool = False
    """Load only ddpkit's own plugins."""
    block: tuple[str, ...] = ()
    """Names of plugins that must not be imported."""
    locked: bool = False
    """Start only if the plugins are those of the config's lock file."""
    resume: str | None = None
    """Checkpoint or run to resume; `""` = the newest unfinished run; None = a new run, unless the TOML names a checkpoint."""
    allow_drift: tuple[str, ...] = ()
    """Keys that may differ from the config of the resumed run."""
    max_restarts: int = 0
    """Number of automatic restarts of a run with several ranks after one of them failed."""

    def to_argv(self) -> list[str]:
        """Return the command-line arguments that produce these options."""
        argv = [part for override in self.overrides for part in ("--set", override.text())]
        argv += [part for name in self.block for part in ("-p", f"no:{name}")]
        argv += [part for key in self.allow_drift for part in ("--allow-drift", key)]
        values = {"--task": self.task, "--nproc": self.nproc, "--limit-batches": self.limit_batches, "--resume": self.resume}
        if self.weights != BEST:
            values["--weights"] = self.weights
        if self.max_restarts:
            values["--max-restarts"] = self.max_restarts
        argv += [part for name, value in values.items() if value is not None for part in (name, str(value))]
        flags = {"--dry-run": self.dry_run, "--no-plugins": self.no_plugins, "--locked": self.locked}
        return argv + [name for name, is_set in flags.items() if is_set]


@attrs.frozen(kw_only=True)
class RunPlan:
    """Plan of a command whose config and options are valid; the same on every rank."""

    file: Path
    config: Config
    plugins: Plugins
    options: RunOptions
    tasks: tuple[Task, ...]
    """Tasks in order; () if nothing is left to do."""
    n_ranks: int
    resume_point: ResumePoint | None = None
    """Point where the training resumes; None for a new run."""
    weights: Path | None = None
    """Weights file for the test or the prediction; None = the best weights of the preceding training."""

    def rank_options(self, resolved: schema.Run) -> RunOptions:
        """Return the options of a rank: those of the command, with the open values of the config (run id, seed) filled in."""
        point = self.resume_point
        is_known = point is not None or (self.weights is not None and is_run_known(self.file, self.weights))
        drawn = ("seed",) if is_known else ("run_id", "seed")
        values = {key: getattr(resolved, key) for key in drawn if getattr(resolved, key) != getattr(self.config.run, key)}
        return attrs.evolve(
            self.options,
            overrides=(*self.options.overrides, *named_overrides(values)),
            resume=None if point is None else str(point.checkpoint.folder if point.checkpoint else point.folder),
            weights=BEST if self.weights is None else str(self.weights),
            nproc=None,
            max_restarts=0,
        )


def select_tasks(run: schema.Run, asked: Task | None) -> tuple[Task, ...]:
    """Return the tasks in order: those of `asked`, otherwise those of `private.mode`."""
    mode = MODES[asked] if asked else run.private.mode or MODES["train"]
    return tuple(task for bit, task in BITS.items() if mode & bit)
