"""The report of a run shows what its folder contains: escaped, small, and without other files."""

import csv
import json
import logging
import resource
import signal
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from PIL import Image

from ddpkit.cli.main import main
from ddpkit.errors import ConfigError
from ddpkit.runs.events import EVENTS, record_event
from ddpkit.runs.folder import RunFolder
from ddpkit.runs.lock import hold_lock
from ddpkit.runs.record import RunRecord
from ddpkit.runs.report.chart import Marker
from ddpkit.runs.report.curves import run_charts
from ddpkit.runs.report.report import render_report
from ddpkit.runs.report.sections import config_tables, describe_command
from ddpkit.runs.report.writer import write_report, write_report_of_run
from tests.helpers.run_folders import dump, write_run

MEGABYTE = 1_000_000


class Page(HTMLParser):
    """Elements and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data.strip())

    def count(self, tag):
        return sum(name == tag for name, _ in self.elements)


def page_of(folder):
    return Page(render_report(RunRecord(folder)))


def text_of(folder):
    return " ".join(" ".join(page_of(folder).texts).split())


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "20261129-090000-ab12")


def test_all_parts_of_a_run_are_shown(run):
    text = text_of(run)

    for part in (
        "fruits finished", "12 of 12 epochs", "test accuracy 0.9321", "best ema loss 0.2100", "epoch 9, the lowest",
        "samples in train 800", "Wrong predictions, the most confident first lemon 98% , target apple sample apple/0.png", "Correct predictions", "Most frequent confusions",
        "ResNet: 11,175,370 parameters.", "processes (ranks) 2", "unreadable samples, skipped 1", "Layers (4 rows)", "layer1.0.conv1", "fruits.toml:3:8", "Decay of the EMA per step", "ddpkit run 'my fruits.toml'",
        "builtin/resnet18", "from checkpoint step 60", "apple/broken.png cannot identify image file", "2026-11-29 09:25:00 UTC",
    ):  # fmt: skip
        assert part in text, part


def test_the_charts_have_the_values_of_the_history(run):
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))

    charts = {chart.title: chart for chart in run_charts(RunRecord(run))}

    # the chart of the single term of the loss would be the same as that of the loss
    assert [*charts] == ["loss", "accuracy", "learning rate", "seconds per epoch", "samples per second"]
    for series in charts["loss"].series:
        cells = [row[f"{series.label}/loss"] for row in rows]
        assert series.values == [float(cell) if cell else None for cell in cells]
    resumed, best = Marker(3, "resumed"), Marker(9, "best, best ema", is_best=True)
    assert charts["loss"].markers == [resumed, best]
    assert all(charts[title].markers == [resumed] for title in ("learning rate", "seconds per epoch", "samples per second"))


def test_the_learning_rates_of_groups_are_one_chart(run):
    rows = [{"epoch": 1, "learning_rate/loss": 0.1, "learning_rate/head": 0.2, "valid/loss": 0.5}]
    (run / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    charts = {chart.title: [(each.label, each.color) for each in chart.series] for chart in run_charts(RunRecord(run))}

    assert charts == {"learning rate": [("loss", 0), ("head", 1)], "loss": [("valid", 1)]}


def test_test_metrics_come_before_losses_and_best_values(run):
    names = ["test accuracy", "test ema accuracy", "test loss", "test ema loss", "best valid loss", "training time"]
    text = text_of(run)

    places = [text.index(f" {name} ") for name in names]

    assert places == sorted(places)


def test_a_stopped_run_shows_the_cause_at_the_top(run):
    (run / "finished.json").unlink()
    assert "12 of 12 epochs so far. Written" in text_of(run)  # the last event is neither an error nor a stop

    message = "OutOfMemoryError: no memory.\n" + "more " * 100
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps({"time": "2026-11-29T10:31:00+00:00", "event": "error", "message": message}) + "\n")

    assert "epochs so far; error: OutOfMemoryError: no memory. more more" in text_of(run)
    assert "more ... (see Events). Written" in text_of(run)


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["/a/ddpkit/__main__.py", "run", "a.toml", "--set", 'run_id="20261129-114246-07b8"', "--resume", "x"], "ddpkit run a.toml --resume x"),
        (["/venv/bin/ddpkit", "run", "a.toml", "--set", "run_id=mine"], "ddpkit run a.toml --set run_id=mine"),
        (["my program.py", "run"], "'my program.py' run"),
        ([], ""),
    ],
)  # fmt: skip
def test_the_command_is_shown_as_users_type_it(run, command, shown):
    dump(run, "environment.json", {"command": command})

    assert describe_command(RunRecord(run)) == shown


def test_values_that_the_config_does_not_set_are_separate(run):
    origins = ("a.toml:1:1", "--set 1", "default", "default of builtin/adamw", "data")
    dump(run, "config_origins.json", [{"key": origin, "value": "1", "origin": origin, "meaning": ""} for origin in origins])

    mine, others = config_tables(RunRecord(run))

    assert [row[2] for row in mine.rows] == ["a.toml:1:1", "--set 1"]
    assert [row[2] for row in others.rows] == ["default", "default of builtin/adamw", "taken from the data"]


def test_masks_are_counted_in_pixels(run):
    plugins = json.loads((run / "plugins.json").read_text())
    plugins["used"][1]["gives"] = "mask"
    dump(run, "plugins.json", plugins)
    samples = json.loads((run / "test_samples.json").read_text())
    dump(run, "test_samples.json", [{**samples[0], "group": "worst", "error": 0.40625}])
    Image.new("L", (200, 100)).save(run / samples[0]["file"])

    text, page = text_of(run), page_of(run)

    for part in (
        "Number of pixels",
        "predicted class pixels share",
        "the share of wrong pixels",
        "sample apple/0.png, error 40.6%",
    ):
        assert part in text, part
    assert ("div", {"class": "samples wide"}) in page.elements


def test_the_error_of_a_label_is_shown(run):
    plugins = json.loads((run / "plugins.json").read_text())
    plugins["used"][1]["gives"] = "labels"
    dump(run, "plugins.json", plugins)

    assert "largest difference of a probability from its target" in text_of(run)
    assert "sample apple/0.png, error 0.9800" in text_of(run)


def test_names_are_shown_as_text(tmp_path):
    names = ["<script>alert(1)</script>", "a\u202eb", "{{ 7 * 7 }}", "\"'&lt;"]
    folder = write_run(tmp_path / 'it\'s "quoted" <b>&amp;', classes=names)

    page = page_of(folder)

    assert page.count("script") == 1 + len(run_charts(RunRecord(folder)))
    assert page.count("b") == 0
    for name in (names[0], "a\\u202eb", *names[2:], f"Run {folder.name}: 12 of 12 epochs"):
        assert any(name in text for text in page.texts), name
    assert not any("on" in attribute[:2] for _, attributes in page.elements for attribute in attributes)


def test_line_separators_in_names_and_events_damage_nothing(tmp_path):
    names = ["a\u2028b", "c\x85d", "e\x0bf", "g\rh"]
    run = write_run(tmp_path / "run", classes=names)
    record_event(run, "warning", "skipped im\udcff\u2028.png")

    record = RunRecord(run)

    assert [row["class"] for row in record.per_class] == names
    assert record.events[-1]["message"] == "skipped im\udcff\u2028.png"
    assert "skipped im" in text_of(run)


def test_an_event_that_a_full_disk_cuts_is_removed(run):
    before = (run / EVENTS).read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limit[1]))
    try:
        with pytest.raises(OSError, match="No space left"):
            record_event(run, "warning", "a message that is longer than the rest of the disk")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)

    assert (run / EVENTS).read_bytes() == before


def test_data_of_a_chart_cannot_end_their_element(run):
    rows = [{"epoch": 1, "valid/</script><b>": 0.5}]
    (run / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    assert page_of(run).count("b") == 0
    assert run_charts(RunRecord(run))[0].title == "</script><b>"


def test_the_page_refers_to_no_other_file(run):
    references = [
        value
        for _, attributes in page_of(run).elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data") and not value.startswith(("data:", "#"))
    ]

    assert references == []
    assert "default-src 'none'" in str(page_of(run).elements)


@pytest.mark.parametrize(("epochs", "n_classes", "n_layers"), [(300, 1000, 1000), (5000, 2, 4)])
def test_a_large_run_has_a_page_below_a_megabyte(tmp_path, epochs, n_classes, n_layers):
    folder = write_run(tmp_path / "run", epochs, [f"class number {number}" for number in range(n_classes)], n_layers)
    (folder / "test_samples.json").unlink()

    text = render_report(RunRecord(folder))

    assert len(text.encode()) < MEGABYTE
    shown = run_charts(RunRecord(folder))[0].x
    assert {epochs, epochs * 3 // 4} <= {*shown}
    assert (n_classes <= 40) or "The matrix of 1000 classes is in <code>confusion_matrix.csv</code>" in text


def test_a_run_that_has_just_begun_has_a_page(tmp_path):
    folder = write_run(tmp_path / "run")
    for file in folder.iterdir():
        if file.is_file() and file.name not in ("config.toml", "plugins.json"):
            file.unlink()

    with hold_lock(folder):
        text = text_of(folder)

    assert "fruits running" in text
    assert "No epoch has ended so far." in text
    assert write_report(folder).is_file()
    assert not (folder / "curves.png").exists()


def test_the_page_tells_how_to_get_a_confusion_matrix(run):
    (run / "confusion_matrix.csv").unlink()
    assert 'metrics = ["accuracy", "confusion_matrix"]' in text_of(run)

    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace('name = "", on = "", config = {}', 'name = "a", on = "", config = {k = 2}'))
    assert 'metrics = [{ type = "accuracy", name = "a", config = { k = 2 } }, "confusion_matrix"]' in text_of(run)

    (run / "config.toml").write_text(config.replace('type = "accuracy"', 'type = "confusion_matrix"'))
    assert "Write this line" not in text_of(run)  # the test has not ended

    (run / "config.toml").write_text(config)
    plugins = json.loads((run / "plugins.json").read_text())
    plugins["used"][1]["gives"] = "labels"
    dump(run, "plugins.json", plugins)
    assert "Write this line" not in text_of(run)


def test_a_picture_outside_of_the_run_folder_is_not_shown(run):
    outside = run.parent / "secret.png"
    Image.new("L", (2, 2)).save(outside)
    (run / "link.png").symlink_to(outside)
    samples = json.loads((run / "test_samples.json").read_text())
    dump(
        run,
        "test_samples.json",
        [{**samples[0], "file": file} for file in ("../secret.png", "link.png", "missing.png", samples[0]["file"])],
    )

    assert page_of(run).count("img") == 1


FILES = [
    *("config.toml", "plugins.json", "environment.json", "history.jsonl", "summary.json", "finished.json", "events.jsonl"),
    *("class_counts.json", "config_origins.json", "test_samples.json", "test_metrics.json", "tested.json", "model.json"),
    *("skipped_samples.json", "confusion_matrix.csv"),
]


@pytest.mark.parametrize(
    "content", [b'{"train": 3, "epoch": [], "used": 1, "event": 1}', b"[7]", b'{"a', b"\xff\x00{", b"a\n1,2\n"]
)
def test_a_damaged_file_is_named_or_does_not_matter(run, content):
    for name in FILES:
        before = (run / name).read_bytes()
        (run / name).write_bytes(content)
        assert error_of(run).startswith(("none", str(run))), name
        (run / name).write_bytes(before)


def error_of(run):
    try:
        render_report(RunRecord(run))
    except ConfigError as error:
        return str(error)
    return "none"


def test_a_damaged_run_gets_no_new_report(run):
    (run / "confusion_matrix.csv").write_text("true,a,b\na,1,2\n")

    with pytest.raises(ConfigError, match=r"confusion_matrix\.csv: is damaged: .*the matrix is not square: 1 rows, 2 columns"):
        write_report(run)
    assert not (run / "report.html").exists()


def test_pictures_show_any_name(tmp_path):
    folder = write_run(tmp_path / "run", classes=["$x^$", "_hidden", "line\nbreak", "\U0010fffd", "a" * 300])

    write_report(folder)

    for name in ("curves.png", "confusion_matrix.png"):
        with Image.open(folder / name) as picture:
            assert len(picture.convert("L").getcolors(maxcolors=256)) > 10
            assert max(picture.size) < 2500


def test_a_report_that_fails_is_a_warning(run, caplog):
    (run / "report.html").mkdir()

    with caplog.at_level(logging.WARNING):
        write_report_of_run(run)

    assert f"to write it later, use 'ddpkit report {run}'" in caplog.text


def test_a_resume_and_a_new_test_delete_the_report(run):
    write_report(run)

    RunFolder(run).remove_test()

    assert not {"report.html", "curves.png", "confusion_matrix.png"} & {file.name for file in run.iterdir()}


def test_the_command_writes_the_report_without_torch(run):
    code = f"import sys, ddpkit.cli.main as c; assert c.main(['report', {str(run)!r}]) == 0; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == f"{run}/report.html\n"
    assert {"report.html", "curves.png", "confusion_matrix.png"} <= {file.name for file in run.iterdir()}


def test_the_command_needs_a_run(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "is not the folder of a run or a task" in capsys.readouterr().err
