"""Tables of the report: classes, model, config, environment, plugins and events."""

import itertools
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpkit.config.diff import iterate_leaves
from ddpkit.config.toml import format_inline
from ddpkit.errors import format_key_path
from ddpkit.runs.events import EVENTS
from ddpkit.runs.folder import CLASS_COUNTS, GENERATED, GENERATED_ID, SKIPPED_SAMPLES
from ddpkit.runs.metric_tables import CONFUSION, PER_CLASS
from ddpkit.runs.record import RunRecord
from ddpkit.runs.report.facts import format_time
from ddpkit.runs.report.table import Table, make_table, to_number

DEFAULT, DATA = "default", "data"
"""Origins of values that the config does not set; `default of NAME` is one, too."""
SET_ID = re.compile(f'run_id="{GENERATED_ID.pattern}"')
LAYER = ("name", "type", "output", "parameters", "trained", "flops")


def class_tables(record: RunRecord) -> list[Table]:
    """Return the test metrics of each class, and the number of samples of each class in each split."""
    tables = []
    if record.per_class:
        columns = list(record.per_class[0])
        rows = [[row["class"], *(to_number(row[name]) for name in columns[1:])] for row in record.per_class]
        tables.append(make_table("Test metrics of each class", columns, rows, PER_CLASS))
    counts = {split: each["classes"] for split, each in record.class_counts.items() if each.get("classes")}
    if counts:
        names = dict.fromkeys(itertools.chain.from_iterable(counts.values()))
        rows = [[name, *(classes.get(name, 0) for classes in counts.values())] for name in names]
        tables.append(make_table("Samples of each class", ["class", *counts], rows, CLASS_COUNTS))
    return tables


def describe_model(record: RunRecord) -> str:
    """Return type and size of the model; "" if they are not known."""
    if not (model := record.model):
        return ""
    trained = f", {model['trained']:,} of them trainable" if model["trained"] != model["parameters"] else ""
    return f"{model['type']}: {model['parameters']:,} parameters{trained}."


def model_table(record: RunRecord) -> Table | None:
    """Return the layers of the model; None if they are not known."""
    layers = [[join_list(layer.get(column)) for column in LAYER] for layer in record.model.get("layers", [])]
    return make_table("Layers", ("layer", *LAYER[1:]), layers, "model.txt", long=0) if layers else None


def join_list(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def config_tables(record: RunRecord) -> list[Table]:
    """Return the values that the user set, and the other ones; in one table if the run did not record their origins."""
    if not record.origins:
        title = "Config; this run did not record the origins of its values"
        rows = [[format_key_path(path), join_list(value)] for path, value in iterate_leaves(record.config)]
        return [make_table(title, ("key", "value"), rows, "config.toml", 0)]
    columns = ("key", "value", "origin", "component")
    rows = [[each["key"], each["value"], each["origin"], each.get("meaning", "")] for each in record.origins]
    others = [
        [key, value, "taken from the data" if origin == DATA else origin, text]
        for key, value, origin, text in rows
        if not is_set(origin)
    ]
    mine = [row for row in rows if is_set(row[2])]
    return [
        make_table("Values that the config sets", columns, mine, "config.toml", 60),
        make_table("Values that the config does not set", columns, others, "config.toml", 0),
    ]


def is_set(origin: str) -> bool:
    """Return whether the config sets a value of this origin."""
    return origin.partition(" of ")[0] not in (DEFAULT, DATA, GENERATED)


def environment_facts(record: RunRecord) -> dict[str, Any]:
    """Return versions and machine: name -> text or number; the command is not one of them."""
    facts = {
        name: value for name, value in record.environment.items() if name not in ("command", "packages") and value is not None
    }
    return facts | dict(record.environment.get("packages", {}))


def describe_command(record: RunRecord) -> str:
    """Return the command of the run as users type it: with the name of the program, and without a generated run id."""
    program, *arguments = map(str, record.environment.get("command") or [""])
    if Path(program).parts[-2:] == ("ddpkit", "__main__.py") or Path(program).name == "ddpkit":
        program = "ddpkit"
    generated = {number for number, each in enumerate(arguments) if SET_ID.fullmatch(each)}
    typed = [each for number, each in enumerate(arguments) if not {number, number + 1} & generated]
    return shlex.join([program, *typed]) if program else ""


def plugin_tables(record: RunRecord) -> list[Table]:
    """Return the components that the run uses, and all plugins that were loaded."""
    used = [[each["name"], each["kind"], each["plugin"]] for each in record.plugins.get("used", [])]
    loaded = [[each["name"], each["distribution"], each["version"], each["status"]] for each in record.plugins.get("plugins", [])]
    return [
        make_table("Components of the run", ("name", "kind", "plugin"), used, "plugins.json", 60),
        make_table("Plugins", ("name", "distribution", "version", "status"), loaded, "plugins.json", 0),
    ]


def event_tables(record: RunRecord) -> list[Table]:
    """Return starts, resumes, warnings, errors and ends of the run, and the unreadable samples that were skipped."""
    events = [
        [format_time(event["time"]), *(event.get(key) for key in ("event", "epoch", "step", "message"))]
        for event in record.events
    ]
    skipped = [[str(each["sample"]), each["error"]] for each in record.skipped_samples]
    tables = [
        make_table("What happened to the run", ("time", "event", "epoch", "step", "message"), events, EVENTS, 40),
        make_table("Unreadable samples that were skipped", ("sample", "error"), skipped, SKIPPED_SAMPLES),
    ]
    return [table for table in tables if table.rows]


def confusion_hint(record: RunRecord) -> str | None:
    """Return the line of the config that makes the test write a confusion matrix; None for a run that cannot have one."""
    metrics = record.config.get("metrics", [])
    is_listed = any(metric["type"].rpartition("/")[2] == CONFUSION for metric in metrics)  # the test is still to come
    if record.confusion or is_listed or "class" not in record.gives:
        return None
    return f"metrics = {format_inline([*map(short_metric, metrics), CONFUSION])}"


def short_metric(metric: Mapping[str, Any]) -> str | Mapping[str, Any]:
    """Return a metric as users write it: its name alone if it has no other value."""
    values = {key: value for key, value in metric.items() if value}
    return str(metric["type"]) if [*values] == ["type"] else values
