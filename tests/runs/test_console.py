"""What a run shows: the table of epochs, progress lines, and the result at its end."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.distributed.world import World
from ddpkit.plugins import manager
from ddpkit.runs.screen import time_left
from ddpkit.runs.screen.start_report import summarise_counts
from ddpkit.runs.screen.time_left import TimeLeft
from ddpkit.training import builder


def sets(**values):
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={json.dumps(value)}")]


def rows_of(text):
    """The cells of each line that is a row of the table of epochs, and the header."""
    return [re.split(r" {2,}", line) for line in text.splitlines() if re.match(r"epoch  |\d+/\d+ ", line)]


def test_the_table_has_one_header_and_no_value_twice(blobs, capsys):
    metrics = ["accuracy", "confusion_matrix"]
    assert (
        main(["run", blobs.name, *sets(metrics=metrics, train__ema_decay=0.5, output__monitor="accuracy", train__epoch=4)]) == 0
    )

    lines = capsys.readouterr().err.splitlines()
    header, *rows = rows_of("\n".join(lines))
    of_valid = ["train loss", "valid loss", "valid accuracy", "ema loss", "ema accuracy"]
    assert header == ["epoch", *of_valid, "learning rate", "time", "time left"]
    assert [row[0] for row in rows] == ["1/4", "2/4", "3/4", "4/4"]
    (folder,) = Path("runs/blobs").iterdir()
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    best = 0.0
    for row, recorded in zip(rows, history, strict=True):
        mark, best = "*" * (recorded["valid/accuracy"] > best), max(best, recorded["valid/accuracy"])
        assert row[1:4] == [f"{recorded['train/loss']:.4f}", f"{recorded['valid/loss']:.4f}", f"{best:.4f}{mark}"] or not mark
        assert row[3].endswith("*") == bool(mark)
    place = {line.index(" loss") for line in lines if line.startswith("epoch  ")}
    assert len(place) == 1


def test_terms_of_the_loss_are_shown_if_there_are_several(blobs, capsys):
    blobs.write_text(blobs.read_text() + '[[criterion]]\ntype = "focal"\nweight = 0.5\n')

    assert main(["run", blobs.name, *sets(train__epoch=1)]) == 0

    header, _ = rows_of(capsys.readouterr().err)
    assert header[1:4] == ["train loss", "train cross_entropy", "train focal"]


def test_progress_lines_cover_training_evaluation_and_test(blobs, capsys):
    quick = sets(private__log__every_seconds=1e-9, valid__batch_size=4, test__batch_size=4)

    assert main(["run", blobs.name, *quick]) == 0

    err = capsys.readouterr().err
    left = r"  [\d.]+ (s|min) left$"
    assert re.search(r"^epoch 1/2  step 2/4  loss [\d.]+" + left, err, re.MULTILINE)
    assert re.search(r"^epoch 2/2  valid 1/2" + left, err, re.MULTILINE)
    assert re.search(r"^test 2/2  0\.0 s left$", err, re.MULTILINE)
    assert "\x1b" not in err


def test_a_short_run_has_no_progress_lines(blobs, capsys):
    assert main(["run", blobs.name]) == 0

    assert " left\n" not in capsys.readouterr().err.replace("time left\n", "")


def test_the_end_names_best_epoch_test_and_next_commands(blobs, capsys):
    output = sets(output_dir="my runs", run_id="a", output__monitor="accuracy", train__epoch=9)
    stop = sets(train__early_stopping__patience=1, train__early_stopping__monitor="accuracy")
    assert main(["run", blobs.name, *output, *stop]) == 0

    out, err = capsys.readouterr()
    folder = Path("my runs/blobs/a").absolute()
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    best = max(history, key=lambda row: row["valid/accuracy"])
    assert f"stopped early after epoch {len(history)} of 9: valid accuracy has not improved since epoch {best['epoch']} (" in err
    why = f"valid accuracy {best['valid/accuracy']:.4f}, the highest"
    assert f"best    epoch {best['epoch']} of {len(history)}: {why}\n" in err
    assert f"test    weights of epoch {best['epoch']}, the best valid accuracy: weights/best.safetensors\n" in err
    assert re.search(r"^class +loss +accuracy\noverall +[\d.]+ +[\d.]+\nleft +[\d.]+\nright +[\d.]+\nrun     ", err, re.MULTILINE)
    assert f"next    ddpkit predict '{folder}' images/ --save-images\n" in err
    assert out.splitlines()[0].startswith("test loss ")
    assert out.splitlines()[-1] == str(folder)


def test_a_run_without_a_test_split_ends_with_its_best_epoch(blobs, capsys):
    blobs.write_text(blobs.read_text().replace("n_test = 7", "n_test = 0"))

    assert main(["run", blobs.name, *sets(output__save_best=False)]) == 0

    err = capsys.readouterr().err
    assert re.search(r"^best    epoch 2 of 2: valid loss [\d.e-]+, the lowest\nrun     ", err, re.MULTILINE)
    assert " images/ --save-images --weights last\n" in err


WITHOUT_TORCH = """
import sys

def stop(event, arguments):
    if event == "import" and arguments[0] == "torch":
        sys.exit("torch is imported")

sys.addaudithook(stop)
from ddpkit.cli.main import main
sys.exit(main(["run", *sys.argv[1:]]))
"""


def test_mistakes_and_the_announcement_come_before_torch_is_imported():
    quick = Path(__file__).parents[2] / "configs/ddp_quick_test.toml"

    def run(*options):
        command = [sys.executable, "-c", WITHOUT_TORCH, str(quick), "--set", "ddp.nproc='auto'", *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "80"})

    assert run().stderr == "loading torch and the plugins ...\ntorch is imported\n"
    wrong = run("--set", "train.epohc=3")
    assert (wrong.returncode, wrong.stderr) == (2, "--set 2: train.epohc: unknown key, did you mean 'epoch'?\n")


def test_counts_of_many_classes_are_summarised():
    few = {f"class {number}": number for number in range(10)}

    assert summarise_counts(few).endswith("class 8 8, class 9 9")
    assert summarise_counts({"rose": 10, **few, "tulip": 258}) == "12 classes, 0 to 258 samples each (class 0 0, ... tulip 258)"


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until a test advances it."""
    now = [0.0]
    monkeypatch.setattr(time_left.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_counts_epochs_validations_and_test(blobs, clock):
    """One epoch: 4 steps of 2 s after a slow first one, 2 validation batches of 1 s; then a test of 2 batches."""
    overrides = loading.named_overrides({"train.epoch": 3, "valid.batch_size": 4, "test.batch_size": 4})
    trainer = builder.build_trainer(loading.load(blobs, overrides), manager.load().registry, World())
    estimate = TimeLeft(trainer, ("train", "test"))

    for seconds in (90, 2, 2, 2):
        clock[0] += seconds
        trainer.progress.end_step(0.1)
        estimate.measure_steps()
    assert estimate.seconds() == 2 * 4 * 2 + (3 * 2 + 2) * 2  # an evaluated batch counts as a step until one is measured

    for batch in (1, 2):
        clock[0] += 1
        estimate.measure_eval_batch(batch)
    trainer.progress.end_epoch()
    estimate.end_epoch()
    step = (3 * 2 + 1) / 3  # the first evaluated batch counts to the training
    assert estimate.seconds() == pytest.approx(2 * 4 * step + 2 * 2 + 2)

    trainer.progress.is_over = True
    assert estimate.seconds() == 2  # only the test
