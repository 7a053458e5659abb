"""Comparison of N ranks with one rank on a user's config, plugins and data (`ddpkit verify-ddp`). It leaves no files."""

import gc
import tempfile
from collections.abc import Sequence
from pathlib import Path

import attrs

from ddpkit.config import loading
from ddpkit.config.check import check
from ddpkit.config.loading import Config
from ddpkit.distributed import launcher
from ddpkit.errors import ConfigError
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import folder as run_folder
from ddpkit.tasks import resources
from ddpkit.tasks.plan import RunOptions
from ddpkit.tasks.resources import check_device
from ddpkit.tasks.runner import check_config, read_config
from ddpkit.testing.ddp_comparison import DTYPES, Comparison, compare

UNUSED_PARAMETERS = ("ddp", "find_unused_parameters")
"""Config key of the ConfigError for a parameter that gets no gradient on several ranks."""


@attrs.frozen(kw_only=True)
class DdpReport:
    """Result of `verify_ddp`: the comparison and the causes of a difference."""

    n_ranks: int
    comparison: Comparison
    causes: Sequence[str]
    """Causes of a difference, each confirmed by its own test, the most likely one first."""

    @property
    def is_equal(self) -> bool:
        """Return whether N ranks produce the results of one rank, except for rounding."""
        return self.comparison.first is None and not self.causes


def verify_ddp(file: Path, options: RunOptions, n_steps: int) -> DdpReport:
    """Train the first steps of a config on one rank and on several ranks, and compare the results.

    Raise ConfigError for every error that `run` would report.
    """
    config, found = read_config(file, options)
    ranks = options.nproc or max(2, resources.count_ranks(config))
    check_config(config, found, ranks)
    check_device(config, ranks)
    with tempfile.TemporaryDirectory(prefix="ddpkit-") as folder:
        seed = run_folder.resolve_seed_and_id(config.run).seed
        try:
            launcher.run_ranks(ranks, rank_command(file, options, seed, n_steps, folder))
        except ConfigError as error:
            if [problem.path for problem in error.problems] != [UNUSED_PARAMETERS]:
                raise
            return DdpReport(n_ranks=ranks, comparison=Comparison(()), causes=[error.problems[0].message])
        return compare_with_ranks(config.with_run(seed=seed), found, n_steps, Path(folder), ranks)


def compare_with_ranks(config: Config, found: Plugins, n_steps: int, folder: Path, n_ranks: int) -> DdpReport:
    """Record one rank in this process, and compare it with the recording of N ranks in `folder`."""
    from ddpkit.testing import ddp_causes, ddp_recording  # noqa: PLC0415 - imports torch

    one_rank = ddp_recording.record(config, found, n_steps)
    comparison = compare(one_rank, {dtype: ddp_recording.load_recording(folder, dtype) for dtype in DTYPES})
    return DdpReport(
        n_ranks=n_ranks, comparison=comparison, causes=ddp_causes.find_causes(config, found) if comparison.first else []
    )


def record_rank(file: Path, options: RunOptions, n_steps: int, folder: Path) -> None:
    """Record the first steps as one of the N ranks; rank 0 saves its recording in `folder`. Every rank must call it."""
    from ddpkit.testing import ddp_recording  # noqa: PLC0415 - imports torch

    config, found = read_config(file, options)
    check(config, found, resources.count_ranks(config))
    ddp_recording.save_recordings(ddp_recording.record(config, found, n_steps), folder)
    gc.collect()  # free the process group: if its thread outlives the interpreter, the process aborts


def rank_command(file: Path, options: RunOptions, seed: int, n_steps: int, folder: str) -> list[str]:
    """Return the command line of a rank that records its results in `folder`."""
    overrides = (*options.overrides, *loading.named_overrides({"seed": seed}))
    options = attrs.evolve(options, overrides=overrides, nproc=None)
    return ["verify-ddp", str(file), "--record", folder, "--steps", str(n_steps), *options.to_argv()]
