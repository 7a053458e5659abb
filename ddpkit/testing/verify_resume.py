"""A short run of a user's own config that is killed and goes on, beside the same run left alone (`ddpkit verify-resume`)."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from ddpkit.checkpoint.resume import FOLDER
from ddpkit.checkpoint.store import Store, step_of
from ddpkit.config import loading
from ddpkit.config.check import check
from ddpkit.config.loading import Config
from ddpkit.config.plugin_policy import policy_of
from ddpkit.errors import RankError
from ddpkit.plugins import manager
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import folder as run_folder
from ddpkit.runs import log
from ddpkit.tasks import resources
from ddpkit.tasks.plan import Options
from ddpkit.tasks.resources import refuse_device
from ddpkit.testing.checkpoint_comparison import Difference, first_difference

EPOCHS = 2
"""Of the short run, at most."""
POLL_SECONDS = 0.002


@attrs.frozen(kw_only=True)
class Report:
    """What was seen."""

    n_ranks: int
    kills: Sequence[int]
    """After which saved steps the run was killed, when steps were left."""
    n_steps: int
    """That were compared."""
    first: Difference | None
    causes: Sequence[str]
    """Why a run that goes on may be another, each shown by a trial of its own."""

    @property
    def is_equal(self) -> bool:
        """To the bit; a run that was over before a kill shows nothing."""
        return self.first is None and bool(self.kills)


def verify(file: Path, options: Options, n_kills: int, n_batches: int, seed: int) -> Report:
    """Train a short run of a config alone, and once more with kills at random instants; compare every step to the bit.

    Args:
        file: The config.
        options: As of `run`.
        n_kills: How often all processes of the run are killed (SIGKILL).
        n_batches: Micro-batches of each part an epoch.
        seed: Of the instants.

    Raises ConfigError for what `run` would refuse, RankError when the run fails by itself.
    """
    config, found, n_ranks = read(file, options)
    with tempfile.TemporaryDirectory(prefix="ddpkit-") as folder:
        command = command_of(file, options, config, n_ranks, n_batches, Path(folder))
        finish(command, "alone")
        alone, other = (Store(Path(folder) / "verified" / name / FOLDER) for name in ("alone", "killed"))
        instants = random.Random(seed)  # noqa: S311 - no secrets
        kills = [step for step in killed(command, Path(folder), n_kills, instants) if step < newest(alone)]
        finish([*command, "--resume"], "killed")
        first, n_steps = first_difference(alone, other)
    return Report(n_ranks=n_ranks, kills=kills, n_steps=n_steps, first=first, causes=causes(config, found) if first else [])


def read(file: Path, options: Options) -> tuple[Config, Plugins, int]:
    """As `run` reads them, with the number of ranks."""
    config = loading.read(file, options.overrides)
    found = manager.load(policy_of(config.run.plugins, options.block, no_plugins=options.no_plugins))
    n_ranks = resources.n_ranks(config, options.nproc)
    log.warn([*found.warnings, *map(str, check(config, found, n_ranks).warnings)])
    refuse_device(config, n_ranks)
    return attrs.evolve(config, run=run_folder.settle(config.run)), found, n_ranks


def causes(config: Config, found: Plugins) -> list[str]:
    """Trials in this process."""
    from ddpkit.testing import resume_causes  # noqa: PLC0415 - torch

    return resume_causes.found(config, found)


def command_of(file: Path, options: Options, config: Config, n_ranks: int, n_batches: int, folder: Path) -> list[str]:
    """Of the short run, which saves after every step and keeps all; the run id is still to be added."""
    values = {
        "output_dir": str(folder),
        "task": "verified",
        "seed": config.run.seed,
        "train.epoch": min(config.run.train.epoch, EPOCHS),
        "train.save_recovery_period": 1e-9,
        "train.save_recovery_keep": 10**9,
        "private.loggers": [],
        "private.wandb": False,
        "private.mode": 1,
    }
    sets = [*options.overrides, *loading.named_overrides(values)]
    laid = [part for override in sets for part in ("--set", override.text())]
    blocked = [part for name in options.block for part in ("-p", f"no:{name}")]
    more = ["--nproc", str(n_ranks), "--limit-batches", str(n_batches), *["--no-plugins"] * options.no_plugins, *blocked]
    return [sys.executable, "-P", "-m", "ddpkit", "run", str(file), *more, *laid]


def finish(command: Sequence[str], name: str) -> None:
    """Run to the end. Raises RankError with its messages when it fails."""
    done = subprocess.run([*command, "--set", f"run_id={name}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RankError(f"the run {name} ended with exit code {done.returncode}:\n{done.stderr}", done.returncode)


def killed(command: Sequence[str], folder: Path, n_kills: int, drawn: random.Random) -> list[int]:
    """Start the run, and kill all of its processes, at random instants; the newest step each time. Fewer if it ends before."""
    checkpoints, kills = Store(folder / "verified" / "killed" / FOLDER), []
    for _ in range(n_kills):
        before, more = newest(checkpoints), drawn.randint(1, 3)
        process = subprocess.Popen(
            [*command, "--resume", "--set", "run_id=killed"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(folder)},  # what is killed leaves its temporary files
        )
        while process.poll() is None and newest(checkpoints) < before + more:
            time.sleep(POLL_SECONDS)
        time.sleep(drawn.random() * 2 * POLL_SECONDS)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)  # ranks, which have sessions of their own, end with it
        process.wait()
        kills.append(newest(checkpoints))
    return kills


def newest(checkpoints: Store) -> int:
    """The last saved step; 0 before the first."""
    return max(map(step_of, checkpoints.folders()), default=0)
