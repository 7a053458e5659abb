"""Facts of a run at the top of its report: its state, its best values, what it trained and where."""

import textwrap
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import attrs

from ddpkit.runs.files import read_json, reading
from ddpkit.runs.folder import FINISHED
from ddpkit.runs.metric_tables import CONFUSION
from ddpkit.runs.record import RunRecord
from ddpkit.runs.screen.text_table import format_duration, format_value

MESSAGE_WIDTH = 200
"""Largest number of characters of the message of an error at the top of the page."""


@attrs.frozen
class Fact:
    """Important number of a run."""

    name: str
    value: str
    detail: str = ""


def describe_state(record: RunRecord) -> tuple[str, str]:
    """Return `finished`, `running` or `stopped`, and a sentence with the number of epochs."""
    epoch, planned = n_epochs(record), record.config["train"]["epoch"]
    if record.is_finished:
        with reading(record.folder / FINISHED):
            is_early = read_json(record.folder / FINISHED).get("is_over")
        return "finished", f"stopped early after epoch {epoch} of {planned}" if is_early else f"{epoch} of {planned} epochs"
    if record.test_metrics and not record.history:
        return "finished", "only a test, without training"
    progress = f"{epoch} of {planned} epochs so far"
    return ("running", progress) if record.is_running else ("stopped", "; ".join(filter(None, (progress, last_message(record)))))


def last_message(record: RunRecord) -> str:
    """Return the message of the error or signal that ended the run, as one short line; "" if it is not known."""
    last = record.events[-1] if record.events else {}
    if last.get("event") not in ("error", "stop"):
        return ""
    return textwrap.shorten(f"{last['event']}: {last.get('message', '')}", MESSAGE_WIDTH, placeholder=" ... (see Events)")


def n_epochs(record: RunRecord) -> int:
    return int(record.history[-1]["epoch"]) if record.history else 0


def best_values(record: RunRecord) -> list[Fact]:
    """Return the value that selected the best weights of each model, and its epoch."""
    best = record.summary.get("best", {})
    return [
        Fact(
            f"best {each['column'].replace('/', ' ')}",
            format_value(each["value"]),
            f"epoch {each['epoch']}, the {'lowest' if each['lower'] else 'highest'}",
        )
        for each in best.values()
        if each.get("value") is not None
    ]


def test_values(record: RunRecord) -> list[Fact]:
    """Return the results of the test: the metrics before the losses."""
    tested = {"": record.tested, "ema": record.tested.get("ema", {})}
    facts = []
    for key, value in sorted(record.test_metrics.items(), key=lambda each: each[0].rpartition("/")[2] == "loss"):
        model, _, _ = key.rpartition("/")
        epoch = tested.get(model, {}).get("epoch")
        if CONFUSION not in key:
            facts.append(Fact(f"test {key.replace('/', ' ')}", format_value(value), f"weights of epoch {epoch}" if epoch else ""))
    return facts


def time_fact(record: RunRecord) -> list[Fact]:
    """Return the training time of all epochs, with the means of an epoch; [] before the first epoch."""
    seconds, speeds = ([row[column] for row in record.history if row.get(column)] for column in ("seconds", "samples_per_second"))
    if not seconds or not speeds:
        return []
    speed = fmean(speeds)
    shown = f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"  # noqa: PLR2004 - two digits
    return [
        Fact("training time", format_duration(sum(seconds)), f"{format_duration(fmean(seconds))} per epoch, {shown} samples/s")
    ]


def describe_run(record: RunRecord) -> dict[str, Any]:
    """Return the known facts of the summary: name -> text or number."""
    config, environment, tested = record.config, record.environment, record.tested
    found = {
        "task": config["task"],
        "run": record.folder.name,
        "folder": str(record.folder.absolute()),
        "model": config["model"]["name"],
        "parameters": record.model.get("parameters"),
        "dataset": config["dataset"]["name"],
        **{f"samples in {split}": n for split, n in count_samples(record).items()},
        "processes (ranks)": environment.get("ranks"),
        "device": environment.get("device"),
        "seed": environment.get("seed"),
        "started": format_time(record.summary.get("started")),
        "last update": format_time(record.summary.get("updated")),
        "weights of the test": tested.get("weights"),
        "unreadable samples, skipped": len(record.skipped_samples) or None,
        "skipped in the test": tested.get("n_skipped") or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def format_time(time: str | None) -> str | None:
    """Return a time of the run folder (ISO 8601) as `2026-11-29 10:30:00 UTC`."""
    return time and datetime.fromisoformat(time).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def count_samples(record: RunRecord) -> dict[str, int]:
    """Return the number of samples of each split."""
    if record.class_counts:
        return {split: each["samples"] for split, each in record.class_counts.items()}
    return {split: len(samples) for split, samples in record.splits.items() if samples}
