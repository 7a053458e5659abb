"""N ranks against one on a user's own config, plugins and data (`ddpkit verify-ddp`). Nothing stays on the disk."""

import gc
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from ddpkit.config import loading
from ddpkit.config.check import check
from ddpkit.config.loading import Config
from ddpkit.config.plugin_policy import policy_of
from ddpkit.distributed import launcher
from ddpkit.errors import ConfigError
from ddpkit.plugins import manager
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import folder as run_folder
from ddpkit.runs import log
from ddpkit.tasks import resources
from ddpkit.tasks.plan import Options
from ddpkit.tasks.resources import refuse_device
from ddpkit.testing.ddp_comparison import DTYPES, Comparison, compare

UNREACHED = ("ddp", "find_unused_parameters")
"""Where a run on several ranks is refused for a parameter without a gradient."""


@attrs.frozen(kw_only=True)
class Report:
    """What was seen."""

    n_ranks: int
    comparison: Comparison
    causes: Sequence[str]
    """Why N ranks give something else, each shown by a trial of its own; the likely one first."""

    @property
    def is_equal(self) -> bool:
        """N ranks give what one gives, but for rounding."""
        return self.comparison.first is None and not self.causes


def verify(file: Path, options: Options, n_steps: int) -> Report:
    """Train the first steps of a config on one rank and on several, and compare.

    Raises ConfigError for what `run` would refuse, too.
    """
    config, found = read(file, options)
    ranks = options.nproc or max(2, resources.n_ranks(config))
    verdict = check(config, found, ranks)
    log.warn([*found.warnings, *map(str, verdict.warnings)])
    refuse_device(config, ranks)
    with tempfile.TemporaryDirectory(prefix="ddpkit-") as folder:
        seed = run_folder.settle(config.run).seed
        try:
            launcher.start_ranks(ranks, rank_arguments(file, options, seed, n_steps, folder))
        except ConfigError as error:
            if [problem.path for problem in error.problems] != [UNREACHED]:
                raise
            return Report(n_ranks=ranks, comparison=Comparison(()), causes=[error.problems[0].message])
        return compared(settled(config, seed), found, n_steps, Path(folder), ranks)


def compared(config: Config, found: Plugins, n_steps: int, folder: Path, n_ranks: int) -> Report:
    """One rank, here, beside what the others recorded."""
    from ddpkit.testing import ddp_causes, ddp_recording  # noqa: PLC0415 - torch

    alone = ddp_recording.record(config, found, n_steps)
    comparison = compare(alone, {dtype: ddp_recording.load(folder, dtype) for dtype in DTYPES})
    return Report(n_ranks=n_ranks, comparison=comparison, causes=ddp_causes.found(config, found) if comparison.first else [])


def record_here(file: Path, options: Options, n_steps: int, folder: Path) -> None:
    """What each of the N ranks does."""
    from ddpkit.testing import ddp_recording  # noqa: PLC0415 - torch

    config, found = read(file, options)
    check(config, found, resources.n_ranks(config))
    ddp_recording.save(ddp_recording.record(config, found, n_steps), folder)
    gc.collect()  # the process group too: a thread of it that outlives the interpreter aborts the process


def read(file: Path, options: Options) -> tuple[Config, Plugins]:
    """As `run` reads them."""
    config = loading.read(file, options.overrides)
    return config, manager.load(policy_of(config.run.plugins, options.block, no_plugins=options.no_plugins))


def settled(config: Config, seed: int) -> Config:
    """With the seed that was drawn, where the file leaves it open."""
    return attrs.evolve(config, run=attrs.evolve(config.run, seed=seed))


def rank_arguments(file: Path, options: Options, seed: int, n_steps: int, folder: str) -> list[str]:
    """The command of a rank."""
    overrides: Mapping[str, int] = {"seed": seed}
    sets = [*options.overrides, *loading.named_overrides(overrides)]
    blocked = [part for name in options.block for part in ("-p", f"no:{name}")]
    asked = ["--record", folder, "--steps", str(n_steps), *["--no-plugins"] * options.no_plugins, *blocked]
    return ["verify-ddp", str(file), *asked, *[part for each in sets for part in ("--set", each.text())]]
