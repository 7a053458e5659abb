"""Hooks for one component of every kind, and for a run's events."""

import json
import os

from ddpkit import Component, hookimpl

ddpkit_api = "1.0"


@hookimpl
def ddpkit_models():
    yield Component("plainnet", "acme.every:PlainNet", aliases=("plain",))


@hookimpl
def ddpkit_criteria():
    yield Component("hinge", "acme.every:hinge")


@hookimpl
def ddpkit_transforms():
    yield Component("SHIFT", "acme.every:Shift")


@hookimpl
def ddpkit_postprocesses():
    yield Component("sharpened", "acme.every:sharpened")


@hookimpl
def ddpkit_metrics():
    yield Component("wrong", "acme.every:Wrong", takes="labels")


@hookimpl
def ddpkit_datasets():
    yield Component("dots", "acme.every:Dots")


@hookimpl
def ddpkit_splits():
    yield Component("thirds", "acme.every:thirds")


@hookimpl
def ddpkit_steps():
    yield Component("scaled", "acme.every:ScaledStep")


@hookimpl
def ddpkit_optimizers():
    yield Component("signs", "acme.every:Signs")


@hookimpl
def ddpkit_lr_schedulers():
    yield Component("halving", "acme.every:Halving", deprecated="until 2030; use 'cosine'")


@hookimpl
def ddpkit_loggers():
    yield Component("notes", "acme.every:Notes")


@hookimpl
def ddpkit_writers():
    yield Component("lines", "acme.every:Lines")


def note(run, event, **more):
    with (run.folder / f"events-{run.rank}.jsonl").open("a") as file:
        file.write(json.dumps({"event": event, "task": run.config["task"], **more}) + "\n")


@hookimpl
def ddpkit_run_start(run):
    note(run, "start", n_ranks=run.n_ranks, parameters=sum(1 for _ in run.model.parameters()))


@hookimpl
def ddpkit_step_end(run, epoch, step):
    note(run, "step", epoch=epoch, step=step)
    if os.environ.get("ACME_FAILS"):
        raise RuntimeError("a hook had enough")


@hookimpl
def ddpkit_epoch_end(run, row):
    note(run, "epoch", epoch=row["epoch"])


@hookimpl
def ddpkit_run_end(run, error):
    note(run, "end", error=repr(error))
