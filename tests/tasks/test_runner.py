"""Runs by the real command."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ddpkit import ConfigError, __version__, run
from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.distributed.world import World
from ddpkit.plugins import manager
from ddpkit.runs.comparison.comparison import compare_runs
from ddpkit.runs.record import RunRecord
from ddpkit.tasks.run_list import list_runs
from ddpkit.testing import ddpkit
from ddpkit.training import builder
from tests.helpers.tables import table_rows

ROOT = Path(__file__).parents[2]
QUICK = ROOT / "configs/ddp_quick_test.toml"
SMALL = ["--set", "train.epoch=2", "--set", "dataset.config.max_samples=64", "--set", "output.save_interval=2"]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The quick test on two ranks, reduced, in a folder with a file named like a module of the standard library."""
    folder = tmp_path_factory.mktemp("quick")
    (folder / "types.py").write_text("raise RuntimeError('nobody asked for this file')")
    return ddpkit("run", QUICK, *SMALL, cwd=folder).assert_done()


IN_A_CHECKPOINT = [
    *("manifest.json", "kept", "state.json", "model.safetensors", "optimizer.safetensors", "tally.safetensors"),
    "best.safetensors",
]


def test_two_ranks_write_a_complete_run_folder(quick):
    files = {str(file.relative_to(quick.folder)) for file in quick.folder.rglob("*") if file.is_file()}
    log = next(file for file in files if file.startswith("logs/"))

    assert files == {
        "config.toml", "environment.json", "plugins.json", "split.json", "history.jsonl", "history.csv", "test_metrics.json", "tested.json",
        "test_metrics_per_class.csv", "confusion_matrix.csv", "confusion_matrix.png", "curves.png", "report.html",
        "weights/best.safetensors", "weights/last.safetensors", "weights/epoch-0002.safetensors", log, "model.txt", "model.json",
        "config_origins.json", "class_counts.json", "summary.json", "events.jsonl",
        "test_samples.json", *(f"test_samples/{number:04}.png" for number in range(1, 17)),
        "finished.json", "run.lock", *(f"checkpoints/step-{2:012d}/{name}" for name in IN_A_CHECKPOINT),
    }  # fmt: skip
    assert re.fullmatch(r".*/runs/DDP_Quick_Test/\d{8}-\d{6}-[0-9a-f]{4}", str(quick.folder))


def test_a_run_records_what_happened_and_where_its_values_are_from(quick):
    record = RunRecord(quick.folder)
    origins = {row["key"]: row for row in record.origins}

    assert [each["event"] for each in record.events] == ["start", "test", "finish"]
    assert record.events[-1] | {"epoch": 2, "step": 2} == record.events[-1]
    assert record.summary["best"]["valid"].keys() == {"column", "lower", "epoch", "value"}
    best = record.summary["best"]["valid"]
    assert best["value"] == record.history[best["epoch"] - 1]["valid/loss"]
    assert record.summary["lower"].items() >= {"loss": True, "cross_entropy": True, "accuracy": False}.items()
    assert origins["train.epoch"] | {"value": "2", "origin": "--set 1"} == origins["train.epoch"]
    assert origins["seed"]["origin"] == f"{QUICK}:11:8"
    assert origins["model.name"]["meaning"].startswith("builtin/resnet18 of ddpkit ")
    assert origins["valid.every"]["origin"] == "default"
    assert origins["run_id"]["origin"] == "generated"
    assert sum(record.class_counts["train"]["classes"].values()) == record.class_counts["train"]["samples"]
    assert [each.sample for each in record.test_samples] != []


def test_the_list_and_the_comparison_of_runs_show_a_real_run(quick, tmp_path):
    other = shutil.copytree(quick.folder, tmp_path / "other", ignore=shutil.ignore_patterns("weights", "checkpoints"))
    record = RunRecord(quick.folder)

    (listed,) = list_runs(quick.folder.parent.parent)
    run, same = compare_runs([quick.folder, other]).runs

    best = record.summary["best"]["valid"]
    assert (listed.id, listed.state, listed.epoch, listed.epochs) == (quick.folder.name, "finished", 2, 2)
    assert (listed.best_value, listed.best_epoch, listed.error) == (best["value"], best["epoch"], None)
    assert run.results["valid/accuracy"] == record.history[best["epoch"] - 1]["valid/accuracy"]
    assert run.results["test/accuracy"] == record.test_metrics["accuracy"]
    assert run.results == same.results


def test_history_is_the_same_in_both_formats(quick):
    rows = [json.loads(line) for line in (quick.folder / "history.jsonl").read_text().splitlines()]
    with (quick.folder / "history.csv").open() as file:
        table = list(csv.DictReader(file))

    assert [row["epoch"] for row in rows] == [1, 2]
    assert list(rows[0]) == [
        "epoch", "step", "learning_rate", "seconds", "samples_per_second",
        "train/loss", "train/cross_entropy", "valid/loss", "valid/cross_entropy", "valid/accuracy", "valid/confusion_matrix",
    ]  # fmt: skip
    assert [{key: float(value) for key, value in row.items()} for row in table] == rows


def test_the_test_metrics_are_flat(quick):
    metrics = json.loads((quick.folder / "test_metrics.json").read_text())

    assert set(metrics) == {"loss", "accuracy", "confusion_matrix"}
    assert f"test accuracy {metrics['accuracy']:.4f}\n" in quick.stdout


def table(file):
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.reader(opened))


def test_per_class_test_metrics_have_one_row_per_class(quick):
    header, *rows = table(quick.folder / "test_metrics_per_class.csv")

    assert header == ["class", "accuracy"]
    assert [name for name, _ in rows] == [str(digit) for digit in range(10)]
    assert all(0 <= float(value) <= 1 for _, value in rows if value)


def test_a_test_writes_confusion_matrices(blobs):
    """For the weights and their moving average; each sample counts once."""
    result = run(blobs.name, {"metrics": ["f1", "confusion_matrix"], "train.ema_decay": 0.5})

    for prefix in ("", "ema-"):
        header, *rows = table(result.folder / f"{prefix}confusion_matrix.csv")
        assert (header, [name for name, *_ in rows]) == (["true", "left", "right"], ["left", "right"])
        assert sum(int(count) for _, *row in rows for count in row) == 7
    assert table(result.folder / "test_metrics_per_class.csv")[0] == ["class", "f1", "ema/f1"]
    assert result.test_metrics["confusion_matrix"] == pytest.approx(
        sum(int(row[place]) for place, row in enumerate(table(result.folder / "confusion_matrix.csv")[1:], start=1)) / 7
    )


def test_the_run_record_names_ranks_versions_and_components(quick):
    environment = json.loads((quick.folder / "environment.json").read_text())
    used = json.loads((quick.folder / "plugins.json").read_text())["used"]

    assert (environment["ranks"], environment["device"], environment["seed"]) == (2, "cpu", 42)
    assert "torch" in environment["packages"]
    assert {"kind": "model", "name": "builtin/resnet18", "plugin": "builtin.models"} in used


def test_the_split_and_its_class_counts_are_recorded(quick):
    parts = json.loads((quick.folder / "split.json").read_text())

    assert {part: len(indices) for part, indices in parts.items()} == {"train": 58, "valid": 6, "test": 64}
    assert sorted(parts["train"] + parts["valid"] + parts["test"]) == list(range(128))
    assert re.search(
        r"^classes train: 0 \d+, .*, 9 \d\nclasses valid: 0 \d, .*\nclasses test: 0 [67], 1 [67], ", quick.stderr, re.MULTILINE
    )


def test_the_split_is_the_same_as_on_one_rank(quick):
    trainer = builder.build_trainer(loading.read(QUICK, loading.parse_overrides(SMALL[1::2])), manager.load().registry, World())

    parts = {"train": trainer.loader, "valid": trainer.evaluator.valid, "test": trainer.evaluator.test}
    recorded = json.loads((quick.folder / "split.json").read_text())
    assert {part: list(batches.sampler.indices) for part, batches in parts.items()} == recorded


def test_stderr_has_only_the_expected_lines(quick):
    lines = quick.stderr.splitlines()

    first = ["loading", "reading", "config", "run", "plugins", "model", "data", *["classes"] * 3, "ranks", "batch"]
    assert f"plugins builtin {__version__}" in lines
    assert [line.split()[0] for line in lines] == [
        *first,
        "epoch",
        "1/2",
        "2/2",
        "best",
        "test",
        "class",
        "overall",
        *map(str, range(10)),
        "run",
        *["next"] * 3,
        "report",
    ]
    assert "\x1b" not in quick.stderr


def test_the_resolved_config_reproduces_the_run(quick, tmp_path):
    again = ddpkit("run", quick.folder / "config.toml", cwd=tmp_path).assert_done()

    assert again.folder != quick.folder
    first, second = (load_file(folder / "weights/last.safetensors") for folder in (quick.folder, again.folder))
    assert all(tensor.equal(second[name]) for name, tensor in first.items())
    assert (again.folder / "weights/last.safetensors").read_bytes() == (quick.folder / "weights/last.safetensors").read_bytes()


def test_torchrun_gives_the_same_run(quick, tmp_path):
    shutil.copy(ROOT / "main.py", tmp_path)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "main.py"]
    command = [*torchrun, "--config", str(QUICK), "--task", "train", *SMALL]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)

    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    assert (folder / "weights/last.safetensors").read_bytes() == (quick.folder / "weights/last.safetensors").read_bytes()
    assert (folder / "report.html").is_file()


def test_limit_batches_applies_to_every_split(blobs, capsys):
    assert main(["run", blobs.name, "--limit-batches", "1"]) == 0

    folder = Path(capsys.readouterr().out.splitlines()[-1])
    steps = [json.loads(line)["step"] for line in (folder / "history.jsonl").read_text().splitlines()]
    assert steps == [1, 2]
    assert json.loads((folder / "environment.json").read_text())["limit_batches"] == 1


def test_a_dry_run_leaves_no_files(blobs, capsys):
    assert main(["run", blobs.name, "--dry-run"]) == 0

    assert capsys.readouterr().out == "dry run passed: everything was built, and one training step was run\n"
    assert list(blobs.parent.iterdir()) == [blobs]


def test_a_script_gets_the_same_error_on_two_ranks(blobs):
    """The error of the optimizer is raised in the process of a rank."""
    with pytest.raises(ConfigError) as on_two:
        run(blobs.name, {"ddp.nproc": 2, "train.optimizer.momentum": -1})
    with pytest.raises(ConfigError) as on_one:
        run(blobs.name, {"ddp.nproc": 1, "train.optimizer.momentum": -1})

    assert on_two.value.problems == on_one.value.problems
    assert "optimizer 'sgd' does not accept these parameters" in (text := str(on_two.value))
    assert text.endswith(" (with overrides['train.optimizer.momentum'])")


def test_list_plugins_shows_a_third_party_plugin(acme, tmp_path):
    outcome = ddpkit("list-plugins", cwd=tmp_path).assert_done()

    listed = table_rows(outcome.stdout)
    assert [
        "acme",
        "acme-parts 1.2.0",
        "ok",
        "model: tinynet, normnet, convnet, forgetful, lazynet, sovereign, mute, tiny_detector, willful, chatty, asking, named, renamed, tired, heads, troubled, pixelnet; criterion: fragile, lopsided, deaf, moody, distance, first_pixel; metric: offset, counts, confidence; dataset: marks, restless, loose, blobs, masks",
    ] in listed
    assert any(row[0] == "builtin.models" and row[3].startswith("model: resnet18, ") for row in listed)
    listed = json.loads(ddpkit("list-plugins", "--json", cwd=tmp_path).stdout)
    assert listed[0]["components"][0] == {"kind": "model", "name": "acme/tinynet", "doc": "one hidden layer"}


def test_class_names_must_fit_the_outputs(blobs, capsys):
    outputs = ["--set", "model.config.n_classes=2"]

    assert main(["run", blobs.name, *outputs, "--set", "classes=['left']", "--dry-run"]) == 0
    assert (
        "the number of class names is 1, but the model has 2 outputs; outputs without a name are numbered\n"
        in capsys.readouterr().err
    )

    assert main(["check", blobs.name, *outputs, "--set", "classes=['left', 'right', 'up']"]) == 2
    message = "--set 1: model.config.n_classes: the model has 2 outputs, but 'classes' has 3 names; set n_classes = 3\n"
    assert capsys.readouterr().err == message


def test_run_without_a_config_explains_the_usage(tmp_path):
    outcome = ddpkit("run", cwd=tmp_path)

    assert outcome.exit_code == 2
    assert "exactly one config file is required, for example: ddpkit run x.toml" in outcome.stderr
