"""Report of one run: what the page `report.html` shows."""

import shlex
import time
from collections.abc import Callable
from typing import TypeVar

from ddpkit.runs.epoch_recorder import SUMMARY
from ddpkit.runs.events import EVENTS
from ddpkit.runs.files import reading
from ddpkit.runs.folder import CLASS_COUNTS, ORIGINS, TEST_METRICS
from ddpkit.runs.history import JSONL
from ddpkit.runs.record import PLUGINS, RunRecord
from ddpkit.runs.report import facts, sections
from ddpkit.runs.report.curves import run_charts
from ddpkit.runs.report.matrix import read_matrices
from ddpkit.runs.report.page import render
from ddpkit.runs.report.samples import describe_texts, group_pictures
from ddpkit.runs.test_samples import TEST_SAMPLES

Part = TypeVar("Part")
CONFIG, MODEL, ENVIRONMENT = "config.toml", "model.json", "environment.json"


def render_report(record: RunRecord) -> str:
    """Return the page. Raise ConfigError if a file of the run folder is damaged."""

    def part(make: Callable[[RunRecord], Part], file: str) -> Part:
        with reading(record.folder / file):
            return make(record)

    state, progress = part(facts.describe_state, CONFIG)
    return render(
        "report.html",
        run_id=record.folder.name,
        state=state,
        progress=progress,
        written=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        facts=[*part(facts.test_values, TEST_METRICS), *part(facts.best_values, SUMMARY), *part(facts.time_fact, JSONL)],
        summary=part(facts.describe_run, CONFIG),
        charts=part(run_charts, JSONL),
        matrices=read_matrices(record),
        confusion_hint=(hint := part(sections.confusion_hint, PLUGINS)),
        test_command=f"ddpkit test {shlex.quote(str(record.folder))} --set {shlex.quote(hint or '')}",
        samples=part(group_pictures, TEST_SAMPLES),
        samples_note=describe_texts(record),
        class_tables=part(sections.class_tables, CLASS_COUNTS),
        model=part(sections.describe_model, MODEL),
        layers=part(sections.model_table, MODEL),
        config_tables=part(sections.config_tables, ORIGINS),
        environment=part(sections.environment_facts, ENVIRONMENT),
        command=part(sections.describe_command, ENVIRONMENT),
        plugin_tables=part(sections.plugin_tables, PLUGINS),
        event_tables=part(sections.event_tables, EVENTS),
    )
