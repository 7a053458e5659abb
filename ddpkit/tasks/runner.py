"""One command, from start to finish. Read this module first; train.py, test.py and predict.py contain the tasks."""

import gc
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ddpkit.checkpoint import inspection, resume
from ddpkit.config import diff, loading
from ddpkit.config.check import check, check_ranks
from ddpkit.config.loading import Config
from ddpkit.config.plugin_policy import combine_policy
from ddpkit.distributed import launcher, rank_process, slurm
from ddpkit.errors import ConfigError, Diagnostic
from ddpkit.inference import inputs
from ddpkit.plugins import manager
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import folder as run_folder
from ddpkit.runs import log, lookup, plugin_manifest
from ddpkit.runs.files import check_run_folder, os_errors_inside
from ddpkit.runs.folder import RunResult
from ddpkit.tasks import plugin_lock
from ddpkit.tasks.plan import RunOptions, RunPlan, select_tasks
from ddpkit.tasks.resources import check_device, count_gpus, known_ranks

if TYPE_CHECKING:
    from ddpkit.distributed.world import World


def run(
    config: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None, *, options: RunOptions | None = None
) -> RunResult | None:
    """Run the TOML file `config`: train, and test the best weights, unless `private.mode` selects other tasks.

    Args:
        config: Path of the TOML file; relative paths in it start at the current folder.
        overrides: Values that replace those of the file, by dotted key: `{"train.epoch": 3}`.
        options: Options of `ddpkit run`.

    Returns:
        Folder, history and test metrics of the run; None after a dry run, and under torchrun on all ranks except rank 0.

    Raises:
        ConfigError: The file, a name or a parameter is wrong; nothing was started or written.
        RankError: A rank failed; the message is its report.
    """
    options = options or RunOptions()
    options = attrs.evolve(options, overrides=(*options.overrides, *loading.named_overrides(overrides or {})))
    plan = prepare(Path(config), options)
    if not plan.tasks:
        log.print_message(f"{run_folder.run_path(plan.config.run)} is already finished; there is nothing to do")
        return run_folder.read_result(plan.config.run)
    if rank_process.is_rank() or plan.n_ranks == 1:
        result = run_rank(plan)
        gc.collect()  # free the process group: if its thread outlives the interpreter, the process aborts
        return result
    return launch_ranks(plan)


def prepare(file: Path, options: RunOptions) -> RunPlan:
    """Read the config, load its plugins, check everything, and return the plan. Nothing is started or written."""
    os.environ |= slurm.torchrun_variables(os.environ)
    config, plugins = read_config(file, options)
    tasks, known = select_tasks(config.run, options.task), known_ranks(config, options.nproc)
    if "train" not in tasks:  # files that only a training reads may be missing
        config = lookup.without_initial_weights(config)
    if tasks == ("predict",):
        config = lookup.without_helpers(config)
    check_plugins(file, config, plugins, options)
    is_resumed = rank_process.is_restarted() or resume.requested_resume(config, options.resume) is not None
    is_new = "train" in tasks and not is_resumed
    check_config(config, plugins, known if "train" in tasks else None, is_new=is_new)
    n_ranks = known or count_gpus()  # may import torch, so mistakes and the announcement come first
    if "train" in tasks:
        check_ranks(config, n_ranks)
    if "train" in tasks and options.weights != lookup.BEST:
        message = "requires '--task test' or '--task predict'; use 'model.pretrained' to set the initial weights of a training"
        raise ConfigError([Diagnostic("--weights", (), message)])
    plan = RunPlan(file=file, config=config, plugins=plugins, options=options, tasks=tasks, n_ranks=n_ranks)
    plan = resolve_resume(plan) if "train" in tasks else resolve_weights(plan)
    if "predict" in plan.tasks:
        inputs.find_inputs(plan.config)
    if plan.tasks:
        check_device(config, n_ranks)
    return plan


def read_config(file: Path, options: RunOptions) -> tuple[Config, Plugins]:
    """Read the config, and load the plugins that config and options allow."""
    config = loading.read(file, options.overrides)
    return config, manager.load(combine_policy(config.run.plugins, options.block, no_plugins=options.no_plugins))


def check_plugins(file: Path, config: Config, plugins: Plugins, options: RunOptions) -> None:
    """Raise PluginError if a plugin of the config's run is missing or, with `--locked`, if a plugin is not the locked one."""
    if options.locked and not rank_process.is_own_rank():  # the launcher of such a rank has checked it
        plugin_lock.check_lock(file, config, plugins, options)
    if rank_process.is_output_process():
        plugin_manifest.check_plugins_present(lookup.read_recorded_plugins(file), plugins)


def check_config(config: Config, plugins: Plugins, n_ranks: int | None, *, is_new: bool = True) -> None:
    """Raise ConfigError with all errors; print warnings.

    `n_ranks`: number of ranks of the training; None = no training. `is_new`: whether the run starts at its first step.
    """
    report = check(config, plugins, n_ranks, is_new=is_new, before_imports=announce_loading)
    if rank_process.is_output_process():
        log.print_warnings([*plugins.warnings, *map(str, report.warnings)])


def announce_loading() -> None:
    """Print that the command is busy: the imports that follow take seconds."""
    if rank_process.is_output_process():
        log.print_message("loading torch and the plugins ...")


def resolve_resume(plan: RunPlan) -> RunPlan:
    """Attach the checkpoint to resume from, or return the plan unchanged for a new run.

    Raise ConfigError if the config no longer matches the run, PluginError if a plugin of the run is missing.
    """
    config, options = plan.config, plan.options
    option = resume.NEWEST if rank_process.is_restarted() else options.resume
    resume_point = resume.find_resume_point(config, option, options.allow_drift)
    if resume_point is None:
        run_folder.check_run_id_free(config)
        if options.resume is not None and rank_process.is_output_process():
            log.print_message("no run to resume was found; a new run starts at step 0")
        suggest_resume(plan)
        return plan
    config = resume.resolve_config(config, resume_point)
    if before := resume_point.metadata:
        plugin_manifest.check_plugins_present(before["plugins"], plan.plugins)
        diff.check_changes(diff.find_changes(before["config"], config), options.allow_drift, config)
    plan = attrs.evolve(plan, config=config, resume_point=resume_point)
    return remaining_tasks(plan) if resume.is_finished(config, resume_point) else plan


def suggest_resume(plan: RunPlan) -> None:
    """Print the command that resumes the newest unfinished run of the task, if a new run starts although there is one."""
    if plan.config.run.run_id or plan.options.dry_run or rank_process.is_rank():
        return
    if found := inspection.inspect_unfinished(plan.config):
        progress, run, folder = found.state["progress"], found.state["run"]["config"], found.folder.parent.parent
        command = shlex.join(["ddpkit", "run", str(plan.file), *plan.options.to_argv(), "--resume", str(folder)])
        done = f"{progress['epoch']} of {run['train']['epoch']} epochs"
        log.print_message(f"{folder} is not finished ({done}); a new run starts; to resume, use: {command}")


def remaining_tasks(plan: RunPlan) -> RunPlan:
    """Return the plan of a run that is already trained and tested: predict, or nothing."""
    if "predict" not in plan.tasks:
        return attrs.evolve(plan, tasks=())
    options = attrs.evolve(plan.options, task="predict", resume=None)
    tasks = select_tasks(plan.config.run, "predict")
    return resolve_weights(attrs.evolve(plan, options=options, tasks=tasks, resume_point=None))


def resolve_weights(plan: RunPlan) -> RunPlan:
    """Attach the run and the weights to test or predict with. Raise ConfigError for options that need a training."""
    options = plan.options
    are_set = {"--dry-run": options.dry_run, "--resume": options.resume is not None}
    if wrong := [name for name, is_set in are_set.items() if is_set]:
        message = f"requires a training, but the task is {' and '.join(plan.tasks)}; remove this option"
        raise ConfigError([Diagnostic(name, (), message) for name in wrong])
    config, weights = lookup.find_run(plan.config, options.weights)
    if (path := run_folder.run_path(config.run)).is_dir():
        check_run_folder(path)
    return attrs.evolve(plan, config=config, weights=weights)


def run_rank(plan: RunPlan) -> RunResult | None:
    """Join the other ranks, then run each task in order. Every rank must call it."""
    from ddpkit.distributed.world import init_distributed  # noqa: PLC0415 - only ranks import torch
    from ddpkit.tasks import predict, test, train  # noqa: PLC0415
    from ddpkit.training.precision import select_kernels  # noqa: PLC0415

    run, used = plan.config.run, plugin_manifest.list_used_plugins(plan.config, plan.plugins)
    joined = init_distributed(device=run.device, backend=run.ddp.backend, timeout=run.ddp.timeout, manifest=used)
    kernels = select_kernels(run.train.matmul_precision, deterministic=run.train.deterministic)
    with joined as world, log.log_messages(run, is_main=world.is_main), kernels:
        plan = broadcast_resolved(plan, world)
        weights = plan.weights or lookup.best_weights_path(plan.config.run)
        with os_errors_inside(run_folder.run_path(plan.config.run)):
            if "train" in plan.tasks:
                plan = train.train(plan, world)
            elif "test" in plan.tasks:
                test.test(plan, world, weights)
            if "predict" in plan.tasks and not plan.options.dry_run:
                world.barrier()  # rank 0 has written the best weights
                predict.predict(plan, world, weights)
            if "train" in plan.tasks and world.is_main:
                train.create_weights_folder(plan.config.run).close()
    if not world.is_main or plan.options.dry_run:
        return None
    return run_folder.read_result(plan.config.run, predicted="predict" in plan.tasks)


def broadcast_resolved(plan: RunPlan, world: "World") -> RunPlan:
    """Return the plan with rank 0's run id and seed, which it draws if the config has none. Every rank must call it."""
    resolved = run_folder.resolve_seed_and_id(plan.config.run)
    seed, _, run_id = world.broadcast_str(f"{resolved.seed} {resolved.run_id}").partition(" ")
    return attrs.evolve(plan, config=plan.config.with_run(seed=int(seed), run_id=run_id))


def launch_ranks(plan: RunPlan) -> RunResult | None:
    """Start the same command once per rank, with run id and seed filled in, and wait for all ranks."""
    options, resolved = plan.options, run_folder.resolve_seed_and_id(plan.config.run)
    with loading.rename_overrides(options.overrides):
        launcher.run_ranks(plan.n_ranks, ["run", str(plan.file), *plan.rank_options(resolved).to_argv()], options.max_restarts)
    return None if options.dry_run else run_folder.read_result(resolved, predicted="predict" in plan.tasks)
