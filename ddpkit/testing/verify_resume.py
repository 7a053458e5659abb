"""Comparison of a short run that is killed and resumed with the same run uninterrupted (`ddpkit verify-resume`)."""

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

from ddpkit.checkpoint.resume import CHECKPOINTS_FOLDER
from ddpkit.checkpoint.store import Store, parse_step
from ddpkit.config import loading
from ddpkit.config.loading import Config
from ddpkit.errors import RankError
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import folder as run_folder
from ddpkit.tasks import resources
from ddpkit.tasks.plan import RunOptions
from ddpkit.tasks.resources import check_device
from ddpkit.tasks.runner import check_config, read_config
from ddpkit.testing.checkpoint_comparison import Difference, find_first_difference

EPOCHS = 2
"""Largest number of epochs of the short run."""
POLL_SECONDS = 0.002


@attrs.frozen(kw_only=True)
class ResumeReport:
    """Result of `verify_resume`: the first difference and its causes."""

    n_ranks: int
    kills: Sequence[int]
    """Newest saved step at each kill of the run; kills after its last step are not listed."""
    n_steps: int
    """Number of steps that were compared."""
    first: Difference | None
    causes: Sequence[str]
    """Causes of a difference, each confirmed by its own test."""

    @property
    def is_equal(self) -> bool:
        """Return whether both runs are bit-identical. False if no kill came before the end of the run: nothing was tested."""
        return self.first is None and bool(self.kills)


def verify_resume(file: Path, options: RunOptions, n_kills: int, n_batches: int, seed: int) -> ResumeReport:
    """Train a short run without interruption, and again with kills at random times; compare the checkpoints bit by bit.

    Args:
        file: Path of the config.
        options: Options of `ddpkit run`.
        n_kills: Number of times that all processes of the run are killed (SIGKILL).
        n_batches: Number of micro-batches per split and epoch.
        seed: Seed of the random times.

    Raises:
        ConfigError: The config has an error that `run` would report.
        RankError: The run failed without a kill.
    """
    config, found, n_ranks = prepare_run(file, options)
    with tempfile.TemporaryDirectory(prefix="ddpkit-") as folder:
        command = run_command(file, options, config, n_ranks, n_batches, Path(folder))
        finish_run(command, "uninterrupted")
        uninterrupted, resumed = (
            Store(Path(folder) / "verified" / name / CHECKPOINTS_FOLDER) for name in ("uninterrupted", "killed")
        )
        instants = random.Random(seed)  # noqa: S311 - not for secrets
        kills = [step for step in kill_run(command, Path(folder), n_kills, instants) if step < newest_step(uninterrupted)]
        finish_run([*command, "--resume"], "killed")
        first, n_steps = find_first_difference(uninterrupted, resumed)
    return ResumeReport(
        n_ranks=n_ranks, kills=kills, n_steps=n_steps, first=first, causes=find_resume_causes(config, found) if first else []
    )


def prepare_run(file: Path, options: RunOptions) -> tuple[Config, Plugins, int]:
    """Read and check the config as `run` does; return it with a seed, the plugins and the number of ranks."""
    config, plugins = read_config(file, options)
    n_ranks = resources.count_ranks(config, options.nproc)
    check_config(config, plugins, n_ranks)
    check_device(config, n_ranks)
    return attrs.evolve(config, run=run_folder.resolve_seed_and_id(config.run)), plugins, n_ranks


def find_resume_causes(config: Config, found: Plugins) -> list[str]:
    from ddpkit.testing import resume_causes  # noqa: PLC0415 - torch

    return resume_causes.find_causes(config, found)


def run_command(file: Path, options: RunOptions, config: Config, n_ranks: int, n_batches: int, folder: Path) -> list[str]:
    """Return the command of the short run, which saves a checkpoint at every step; the caller must add the run id."""
    freeze = [attrs.evolve(each, until=each.until and min(each.until, EPOCHS - 1)) for each in config.run.model.freeze]
    values = {
        "model.freeze": loading.to_tables(freeze),  # unfrozen within the short run
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
    overrides = (*options.overrides, *loading.named_overrides(values))
    options = attrs.evolve(options, overrides=overrides, nproc=n_ranks, limit_batches=n_batches)
    return [sys.executable, "-P", "-m", "ddpkit", "run", str(file), *options.to_argv()]


def finish_run(command: Sequence[str], name: str) -> None:
    """Run the command to its end. Raise RankError with its messages if it fails."""
    done = subprocess.run([*command, "--set", f"run_id={name}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RankError(f"run {name!r} of verify-resume failed with exit code {done.returncode}:\n{done.stderr}", done.returncode)


def kill_run(command: Sequence[str], folder: Path, n_kills: int, drawn: random.Random) -> list[int]:
    """Start the run and kill all its processes at random times, `n_kills` times or until it ends.

    Return the newest saved step at each kill.
    """
    checkpoints, kills = Store(folder / "verified" / "killed" / CHECKPOINTS_FOLDER), []
    for _ in range(n_kills):
        before, more = newest_step(checkpoints), drawn.randint(1, 3)
        process = subprocess.Popen(
            [*command, "--resume", "--set", "run_id=killed"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(folder)},  # killed processes leave temporary files
        )
        while process.poll() is None and newest_step(checkpoints) < before + more:
            time.sleep(POLL_SECONDS)
        time.sleep(drawn.random() * 2 * POLL_SECONDS)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)  # ranks are in other sessions, but the kernel kills them with their launcher
        process.wait()
        kills.append(newest_step(checkpoints))
    return kills


def newest_step(checkpoints: Store) -> int:
    """Return the newest saved step; 0 before the first save."""
    return max(map(parse_step, checkpoints.folders()), default=0)
