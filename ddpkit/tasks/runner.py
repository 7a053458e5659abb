"""One command, from top to bottom. Read this first; train.py, test.py and predict.py are the tasks."""

import gc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ddpkit.checkpoint import resume
from ddpkit.config import diff, loading, schema
from ddpkit.config.check import check
from ddpkit.config.loading import Config
from ddpkit.config.plugin_policy import policy_of
from ddpkit.distributed import launcher, rank_process, slurm
from ddpkit.errors import ConfigError, Problem
from ddpkit.inference import inputs
from ddpkit.plugins import manager
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import folder as run_folder
from ddpkit.runs import log, lookup, plugin_manifest
from ddpkit.runs.folder import RunResult
from ddpkit.tasks import resources
from ddpkit.tasks.plan import Job, Options, Task, tasks_of
from ddpkit.tasks.resources import refuse_device

if TYPE_CHECKING:
    from ddpkit.distributed.world import World


def run(config: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> RunResult | None:
    """Do what the TOML file `config` says: train, and test the best weights, if `private.mode` says nothing else.

    Args:
        config: The TOML file; its paths are taken from the current folder.
        overrides: Dotted key -> value, laid over the file: `{"train.epoch": 3}`.

    Returns:
        The run's folder, history and test metrics; under torchrun None on all ranks but the first.

    Raises:
        ConfigError: The file, a name or a parameter is wrong; nothing was started or written.
        RankError: A rank failed; the text is its report.
    """
    return run_with(Path(config), Options(overrides=loading.named_overrides(overrides or {})))


def run_with(file: Path, options: Options) -> RunResult | None:
    """What `ddpkit run` does; None after a dry run."""
    os.environ |= slurm.torchrun_variables(os.environ)
    config = loading.read(file, options.overrides)
    found = manager.load(policy_of(config.run.plugins, options.block, no_plugins=options.no_plugins))
    tasks, n_ranks = tasks_of(config.run, options.task), resources.n_ranks(config, options.nproc)
    if rank_process.is_speaker():
        plugin_manifest.refuse_missing(lookup.recorded_plugins(file), found)
    verdict = check(config, found, n_ranks if "train" in tasks else None)
    if rank_process.is_speaker():
        log.warn([*found.warnings, *map(str, verdict.warnings)])
    job = job_of(config, found, options, tasks)
    if not job.tasks:
        log.say(f"{run_folder.path_of(job.config.run)} is finished; nothing is left to do")
        return run_folder.result(job.config.run)
    refuse_device(config, n_ranks)

    if rank_process.is_rank() or n_ranks == 1:
        result = work(job)
        gc.collect()  # the process group too: a thread of it that outlives the interpreter aborts the process
        return result
    settled = run_folder.settle(job.config.run)
    with loading.named_here(options.overrides):
        launcher.start_ranks(n_ranks, rank_arguments(file, job, settled), options.max_restarts)
    return None if options.dry_run else run_folder.result(settled, predicted="predict" in job.tasks)


def job_of(config: Config, found: Plugins, options: Options, tasks: tuple[Task, ...]) -> Job:
    """What is to be done, and with which run: a new one, one that goes on, or one that has its weights."""
    if "train" in tasks and options.weights != lookup.BEST:
        message = "goes with '--task test' and '--task predict'; a training begins with 'model.pretrained'"
        raise ConfigError([Problem("--weights", (), message)])
    job = Job(config=config, plugins=found, options=options, tasks=tasks)
    job = found_again(job) if "train" in tasks else with_weights(job)
    if "predict" in job.tasks:
        inputs.find(job.config)
    return job


def found_again(job: Job) -> Job:
    """The run that goes on, and from where; a new run as it is. Refuses what is no longer that run."""
    config, options = job.config, job.options
    option = resume.NEWEST if rank_process.is_restarted() else options.resume
    origin = resume.origin_of(config, option, options.allow_drift)
    if origin is None:
        run_folder.refuse_taken(config)
        if options.resume is not None and rank_process.is_speaker():
            log.say("there is no run to go on with: this one begins at step 0")
        return job
    config = resume.settled(config, origin)
    if origin.checkpoint:
        before = origin.checkpoint.plain["run"]
        plugin_manifest.refuse_missing(before["plugins"], job.plugins)
        diff.refuse(diff.changes(before["config"], config), options.allow_drift, config)
    job = attrs.evolve(job, config=config, origin=origin)
    return left_of(job) if resume.is_finished(config, origin) else job


def left_of(job: Job) -> Job:
    """What is left to do of a run that is trained and tested."""
    if "predict" not in job.tasks:
        return attrs.evolve(job, tasks=())
    options = attrs.evolve(job.options, task="predict", resume=None)
    return with_weights(attrs.evolve(job, options=options, tasks=tasks_of(job.config.run, "predict"), origin=None))


def with_weights(job: Job) -> Job:
    """The run whose weights are tested, or predict. Refuses options of training."""
    options = job.options
    given = {"--dry-run": options.dry_run, "--resume": options.resume is not None}
    if wrong := [name for name, is_given in given.items() if is_given]:
        message = f"goes with training, and this is to {' and '.join(job.tasks)}; leave it out"
        raise ConfigError([Problem(name, (), message) for name in wrong])
    config, weights = lookup.from_run(job.config, options.weights)
    return attrs.evolve(job, config=config, weights=weights)


def work(job: Job) -> RunResult | None:
    """What every rank does: join the others, then each task in turn."""
    from ddpkit.distributed.world import join_world  # noqa: PLC0415 - torch is for ranks alone
    from ddpkit.tasks import predict, test, train  # noqa: PLC0415
    from ddpkit.training.precision import kernels  # noqa: PLC0415

    run, used = job.config.run, plugin_manifest.plugins_of(job.config, job.plugins)
    joined = join_world(device=run.device, backend=run.ddp.backend, timeout=run.ddp.timeout, manifest=used)
    chosen = kernels(run.train.matmul_precision, deterministic=run.train.deterministic)
    with joined as world, log.messages(run, is_main=world.is_main), chosen:
        job = settled_together(job, world)
        weights = job.weights or lookup.best_file(job.config.run)
        if "train" in job.tasks:
            job = train.train(job, world)
        elif "test" in job.tasks:
            test.test(job, world, weights)
        if "predict" in job.tasks and not job.options.dry_run:
            world.barrier()  # rank 0 has written the best weights
            predict.predict(job, world, weights)
        if "train" in job.tasks and world.is_main:
            train.weights_of(job.config.run).close()
    is_told = world.is_main and not job.options.dry_run
    return run_folder.result(job.config.run, predicted="predict" in job.tasks) if is_told else None


def settled_together(job: Job, world: "World") -> Job:
    """The job with what its config left open filled in by rank 0."""
    settled = run_folder.settle(job.config.run)
    seed, _, run_id = world.share(f"{settled.seed} {settled.run_id}").partition(" ")
    with attrs.validators.disabled():  # as in `settle`
        run = attrs.evolve(job.config.run, seed=int(seed), run_id=run_id)
    return attrs.evolve(job, config=attrs.evolve(job.config, run=run))


def rank_arguments(file: Path, job: Job, settled: schema.Run) -> list[str]:
    """The command of a rank: the same file and options, with what was left open filled in."""
    options, origin = job.options, job.origin
    named = {} if job.weights and lookup.is_known(file, job.weights) else {"run_id": settled.run_id}
    sets = [*options.overrides, *loading.named_overrides({**named, "seed": settled.seed})]
    resumed = [] if origin is None else ["--resume", str(origin.checkpoint.folder if origin.checkpoint else origin.folder)]
    weights = [] if job.weights is None else ["--weights", str(job.weights)]
    task = [] if options.task is None else ["--task", options.task]
    allowed = [part for key in options.allow_drift for part in ("--allow-drift", key)]
    limit = [] if options.limit_batches is None else ["--limit-batches", str(options.limit_batches)]
    laid = [part for override in sets for part in ("--set", override.text())]
    blocked = [part for name in options.block for part in ("-p", f"no:{name}")]
    flags = ["--dry-run"] * options.dry_run + ["--no-plugins"] * options.no_plugins
    return ["run", str(file), *task, *weights, *limit, *flags, *blocked, *resumed, *allowed, *laid]
