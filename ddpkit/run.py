"""One run, from top to bottom. Read this first; the loop itself is in engine.py."""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import attrs

from ddpkit import config as config_file
from ddpkit import drift, launch, log, plugins, resume, run_folder, schema, slurm
from ddpkit.check import check
from ddpkit.checkpoint import lock
from ddpkit.config import Config, Override
from ddpkit.errors import ConfigError
from ddpkit.plugins import Plugins
from ddpkit.policy import policy_of
from ddpkit.protocols import Watcher
from ddpkit.references import class_names
from ddpkit.resume import Origin
from ddpkit.run_folder import RunFolder, RunResult

if TYPE_CHECKING:
    from ddpkit.checkpoint.weights import WeightsFolder
    from ddpkit.dist import World
    from ddpkit.engine import Engine


@attrs.frozen(kw_only=True)
class Options:
    """How to run, beside what the TOML says."""

    overrides: tuple[Override, ...] = ()
    """Values laid over the file's."""
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


def run(config: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> RunResult | None:
    """Train as the TOML file `config` says, and test the best weights.

    Args:
        config: The TOML file; its paths are taken from the current folder.
        overrides: Dotted key -> value, laid over the file: `{"train.epoch": 3}`.

    Returns:
        The run's folder, history and test metrics; under torchrun None on all ranks but the first.

    Raises:
        ConfigError: The file, a name or a parameter is wrong; nothing was started or written.
        RankError: A rank failed; the text is its report.
    """
    return run_with(Path(config), Options(overrides=config_file.named_overrides(overrides or {})))


def run_with(file: Path, options: Options) -> RunResult | None:
    """What `ddpkit run` does; None after a dry run."""
    os.environ |= slurm.torchrun_variables(os.environ)
    config = config_file.read(file, options.overrides)
    found = plugins.load(policy_of(config.run.plugins, options.block, no_plugins=options.no_plugins))
    n_ranks = launch.n_ranks(config, options.nproc)
    verdict = check(config, found, n_ranks)
    if launch.is_speaker():
        log.warn([*found.warnings, *map(str, verdict.warnings)])
    config, origin = found_again(config, found, options)
    if origin and resume.is_finished(config, origin):
        log.say(f"{origin.folder} is finished; nothing is left to do")
        return run_folder.result(config.run)
    refuse_device(config, n_ranks)

    if launch.is_rank() or n_ranks == 1:
        result = train(config, found, options, origin)
        gc.collect()  # the process group too: a thread of it that outlives the interpreter aborts the process
        return result
    settled = run_folder.settle(config.run)
    with config_file.named_here(options.overrides):
        launch.start_ranks(n_ranks, rank_arguments(file, options, settled, origin), options.max_restarts)
    return None if options.dry_run else run_folder.result(settled)


def found_again(config: Config, found: Plugins, options: Options) -> tuple[Config, Origin | None]:
    """The config of the run that goes on, and from where; of a new run as it is. Refuses what is no longer that run."""
    option = resume.NEWEST if launch.is_restarted() else options.resume
    origin = resume.origin_of(config, option, options.allow_drift)
    if origin is None:
        run_folder.refuse_taken(config)
        if options.resume is not None and launch.is_speaker():
            log.say("there is no run to go on with: this one begins at step 0")
        return config, None
    config = resume.settled(config, origin)
    if origin.checkpoint:
        before = origin.checkpoint.plain["run"]
        run_folder.refuse_missing(before["plugins"], found)
        drift.refuse(drift.changes(before["config"], config), options.allow_drift, config)
    return config, origin


def train(config: Config, found: Plugins, options: Options, origin: Origin | None) -> RunResult | None:
    """What every rank does: join, build, go on from where the run was, fit, test."""
    from ddpkit import build, dist  # noqa: PLC0415 - torch is for ranks alone
    from ddpkit.precision import kernels  # noqa: PLC0415
    from ddpkit.record import Record  # noqa: PLC0415
    from ddpkit.recovery import recovering  # noqa: PLC0415

    ddp, used = config.run.ddp, run_folder.plugins_of(config, found)
    joined = dist.join_world(device=config.run.device, backend=ddp.backend, timeout=ddp.timeout, manifest=used)
    chosen = kernels(config.run.train.matmul_precision, deterministic=config.run.train.deterministic)
    with joined as world, log.messages(config.run, is_main=world.is_main), chosen:
        config = settled_together(config, world)
        engine = build.engine(from_checkpoint(config, origin), found.registry, world, options.limit_batches)
        if options.dry_run:
            engine.train_step(next(engine.steps()))
            return None

        record = Record.of(config, found, engine, origin)
        with opened(config, found, environment_of(world, options), origin, is_main=world.is_main) as folder:
            world.barrier()  # from here on the folder is there for all
            introduce(config, used, engine, folder)
            weights = weights_of(config.run)
            with watchers_of(config, found, engine, folder) as watchers:
                with recovering(engine, record, found, weights, folder, origin):
                    engine.fit(weights, watchers)
                if engine.test is not None and config.run.private.mode == 0:
                    test_metrics = engine.test_best(weights)
                    if folder:
                        folder.write_test_metrics(test_metrics, class_names(config.run))
            if folder:
                weights.close()
                folder.finish({"epoch": engine.progress.epoch, "step": engine.progress.step, "is_over": engine.progress.is_over})
    return run_folder.result(config.run) if folder else None


def from_checkpoint(config: Config, origin: Origin | None) -> Config:
    """The config as it is built from: where a checkpoint has the weights, the file of `model.pretrained` is not read again."""
    if origin is None or origin.checkpoint is None:
        return config
    model = attrs.evolve(config.run.model, pretrained="")
    return attrs.evolve(config, run=attrs.evolve(config.run, model=model))


@contextlib.contextmanager
def opened(
    config: Config, found: Plugins, environment: Mapping[str, Any], origin: Origin | None, *, is_main: bool
) -> Iterator[RunFolder | None]:
    """The run's folder, new or as it was at its checkpoint, held against other processes; rank 0's alone."""
    if not is_main:
        yield None
    elif origin is None:
        folder = RunFolder.create(config, found, environment)
        with lock.held(folder.path):
            yield folder
    else:
        with lock.held(origin.folder):
            rows = origin.checkpoint.plain["run"]["history"] if origin.checkpoint else []
            yield RunFolder.reopen(config, found, environment, rows)


def introduce(config: Config, used: Sequence[Mapping[str, str]], engine: "Engine", folder: RunFolder | None) -> None:
    """The first screen, and what the run's folder tells of data and model."""
    from ddpkit import summary, terminal  # noqa: PLC0415

    terminal.announce(config, used, engine, run_folder.path_of(config.run))
    if folder:
        folder.write_split({"train": engine.train, "valid": engine.valid, "test": engine.test})
    summary.write(engine, config.run.model, folder)


def weights_of(run: schema.Run) -> "WeightsFolder":
    """What keeps the weights that the config asks for."""
    from ddpkit.checkpoint.weights import WeightsFolder  # noqa: PLC0415

    kept = run.output
    return WeightsFolder(run_folder.path_of(run) / "weights", kept.save_best, kept.save_last, kept.save_interval)


@contextlib.contextmanager
def watchers_of(config: Config, found: Plugins, engine: "Engine", folder: RunFolder | None) -> Iterator[list[Watcher]]:
    """What watches a run on this rank: files, terminal and loggers on the first, run hooks on every one."""
    from ddpkit import build, run_hooks, terminal  # noqa: PLC0415

    path = run_folder.path_of(config.run)
    with run_hooks.called(found, run_hooks.RunInfo.of(config, engine, path)) as hooks, terminal.watching(engine) as line:
        loggers = build.loggers(config, found.registry, engine.world, path)
        try:
            mine: list[Watcher] = [folder, line] if folder else []
            yield [*mine, *loggers, *hooks]
        finally:
            for logger in loggers:
                logger.close()


def settled_together(config: Config, world: "World") -> Config:
    """The config with what was left open filled in by rank 0."""
    settled = run_folder.settle(config.run)
    seed, run_id = world.share(f"{settled.seed} {settled.run_id}").split(" ")
    return attrs.evolve(config, run=attrs.evolve(config.run, seed=int(seed), run_id=run_id))


def environment_of(world: "World", options: Options) -> dict[str, Any]:
    """On what this run trains, for its record."""
    return {
        "device": str(world.device),
        "ranks": world.size,
        "threads": world.threads,
        "limit_batches": options.limit_batches,
    }


def refuse_device(config: Config, n_ranks: int) -> None:
    """Raise ConfigError when this machine lacks the device that the config asks for."""
    device, backend = config.run.device, config.run.ddp.backend
    if device in ("auto", "cpu") and backend != "nccl":
        return
    from ddpkit import dist  # noqa: PLC0415 - torch is for ranks, and for who asks for CUDA

    try:
        dist.choose_device("cuda" if backend == "nccl" and device == "auto" else device, 0, launch.local_ranks(n_ranks))
    except ValueError as error:
        raise ConfigError([config.problem(("device",), str(error))]) from error


def rank_arguments(file: Path, options: Options, settled: schema.Run, origin: Origin | None) -> list[str]:
    """The command of a rank: the same file and options, with what was left open filled in."""
    sets = [*options.overrides, *config_file.named_overrides({"run_id": settled.run_id, "seed": settled.seed})]
    resumed = [] if origin is None else ["--resume", str(origin.checkpoint.folder if origin.checkpoint else origin.folder)]
    allowed = [part for key in options.allow_drift for part in ("--allow-drift", key)]
    limit = [] if options.limit_batches is None else ["--limit-batches", str(options.limit_batches)]
    laid = [part for override in sets for part in ("--set", override.text())]
    blocked = [part for name in options.block for part in ("-p", f"no:{name}")]
    flags = ["--dry-run"] * options.dry_run + ["--no-plugins"] * options.no_plugins
    return ["run", str(file), *limit, *flags, *blocked, *resumed, *allowed, *laid]


class CallableModule(ModuleType):
    """`ddpkit.run` is this module as soon as anybody imported it, and has to be the function too."""

    def __call__(self, config: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> RunResult | None:
        """The function `run`."""
        return run(config, overrides)


sys.modules[__name__].__class__ = CallableModule
