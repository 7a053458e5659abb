"""What a command is to do, and how."""

from pathlib import Path
from typing import Literal

import attrs

from ddpkit.checkpoint.resume import Origin
from ddpkit.config import schema
from ddpkit.config.loading import Config, Override
from ddpkit.plugins.manager import Plugins
from ddpkit.runs.lookup import BEST

Task = Literal["train", "test", "predict"]
BITS: dict[int, Task] = {1: "train", 2: "test", 4: "predict"}
"""Of `private.mode`, in the order in which they are done."""
MODES: dict[Task, int] = {"train": 3, "test": 2, "predict": 4}
"""What `--task` means: training ends with a test."""


@attrs.frozen(kw_only=True)
class Options:
    """How to run, beside what the TOML says."""

    overrides: tuple[Override, ...] = ()
    """Values laid over the file's."""
    task: Task | None = None
    """What to do; None = what `private.mode` says."""
    weights: str = BEST
    """What is tested, and predicts, where nothing is trained: `best`, `last`, a file, or a run's folder."""
    nproc: int | None = None
    """Ranks; None = as the config says."""
    limit_batches: int | None = None
    """At most so many micro-batches of each part an epoch, to try things out."""
    dry_run: bool = False
    """Build everything, try one step, leave no folder."""
    no_plugins: bool = False
    """ddpkit's own plugins alone."""
    block: tuple[str, ...] = ()
    """Plugins that are not even imported."""
    resume: str | None = None
    """Go on from this checkpoint or run; `""` = the newest that is unfinished; None = a new run, if the TOML says no other."""
    allow_drift: tuple[str, ...] = ()
    """Keys that may differ from those of the run that goes on."""
    max_restarts: int = 0
    """So often a run of several ranks goes on by itself after one of them failed."""


@attrs.frozen(kw_only=True)
class Job:
    """A command that is found right: the same on every rank."""

    config: Config
    plugins: Plugins
    options: Options
    tasks: tuple[Task, ...]
    """In order."""
    origin: Origin | None = None
    """Where the training goes on from; None for a new run."""
    weights: Path | None = None
    """What is tested, and predicts; None = the best of the training before."""


def tasks_of(run: schema.Run, asked: Task | None) -> tuple[Task, ...]:
    """What is to be done, in order: what was asked for, else what `private.mode` says."""
    mode = MODES[asked] if asked else run.private.mode or MODES["train"]
    return tuple(task for bit, task in BITS.items() if mode & bit)
