"""`ddpkit compare` shows what differs between runs, which one is the best, and the mean over folds."""

import json
import statistics

import pytest

from ddpkit.cli.main import main
from ddpkit.runs.comparison.compared_run import add_values
from tests.helpers.small_runs import write_small_run
from tests.helpers.tables import table_rows

KFOLD = {"type": "kfold", "n_splits": 5, "random_state": 1}


def write_fold(folder, fold, losses, **config):
    return write_small_run(folder, {"dataset": {"split": {**KFOLD, "fold": fold}}, **config}, losses)


def compare(capsys, *runs):
    assert main(["compare", *map(str, runs)]) == 0
    return table_rows(capsys.readouterr().out)


def compare_as_json(capsys, *runs):
    assert main(["compare", *map(str, runs), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_keys_that_differ_and_results_are_shown(tmp_path, capsys):
    optimizer, same = {"type": "sgd", "learning_rate": 0.1}, {"run_id": "", "classes": ["cat", "dog"]}
    a = write_small_run(
        tmp_path / "pets/a",
        {**same, "task": "pets", "seed": 1, "train": {"epoch": 3, "optimizer": optimizer}},
        test_metrics={"loss": 0.3, "accuracy": 0.9},
    )
    b = write_small_run(
        tmp_path / "other/b",
        {**same, "task": "other", "seed": 1, "train": {"epoch": 5, "optimizer": {**optimizer, "learning_rate": 0.01}}},
        losses=(0.75, 0.125),
        test_metrics={"loss": 0.25, "accuracy": 0.8},
    )

    assert compare(capsys, a, b) == [
        ["KEY", "a", "b"],
        ["train.epoch", "3", "5"],
        ["train.optimizer.learning_rate", "0.1", "0.01"],
        [""],
        ["RESULT", "a", "b"],
        ["best epoch valid", "2", "2"],
        ["train/loss", "0.5000", "0.2500*"],
        ["valid/loss", "0.2500", "0.1250*"],
        ["valid/accuracy", "0.7500", "0.8750*"],
        ["test/loss", "0.3000", "0.2500*"],
        ["test/accuracy", "0.9000*", "0.8000"],
        ["epochs", "3/3", "2/5"],
        ["time", "6.0 s", "4.0 s"],
        [""],
        ["* best value of the row"],
    ]


def test_a_metric_without_a_known_direction_has_no_best_value(tmp_path, capsys):
    runs = [write_small_run(tmp_path / "pets" / name, losses=(loss,), summary={}) for name, loss in (("a", 0.25), ("b", 0.5))]
    for run, error in zip(runs, (2.0, 3.0), strict=True):
        (run / "test_metrics.json").write_text(json.dumps({"loss": error, "custom": error}))

    rows = {name: cells for name, *cells in compare(capsys, *runs)}

    assert rows["test/loss"] == ["2.0000*", "3.0000"]
    assert rows["test/custom"] == ["2.0000", "3.0000"]
    assert rows["the configs do not differ"] == []


def test_the_ema_has_the_values_of_its_own_best_epoch(tmp_path, capsys):
    runs = [write_small_run(tmp_path / "pets" / name) for name in "ab"]
    rows = [{"epoch": n, "valid/loss": loss, "ema/loss": 1 - loss} for n, loss in enumerate((0.5, 0.25, 0.75), 1)]
    best = {
        model: {"column": f"{model}/loss", "lower": True, "value": 0.25, "epoch": n} for model, n in (("valid", 2), ("ema", 3))
    }
    (runs[0] / "history.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (runs[0] / "summary.json").write_text(json.dumps({"best": best}))

    first, _ = compare_as_json(capsys, *runs)["runs"]

    assert first["best_epochs"] == {"valid": 2, "ema": 3}
    assert first["results"] == {"valid/loss": 0.25, "ema/loss": 0.25}


def test_folds_give_mean_and_sample_standard_deviation(tmp_path, capsys):
    losses = {"small": (0.5, 0.25, 0.75), "large": (0.5, 0.5, 0.125)}
    runs = [
        write_fold(tmp_path / "pets" / f"{model}{fold}", fold, (loss,), model={"name": model})
        for model, each in losses.items()
        for fold, loss in enumerate(each)
    ]
    (runs[2] / "test_metrics.json").write_text('{"loss": 0.5}')
    other = write_small_run(tmp_path / "pets/other", {"model": {"name": "small"}})

    folds = compare_as_json(capsys, *runs, other)["folds"]
    table = compare(capsys, *runs, other)

    for found, (model, each) in zip(folds, losses.items(), strict=True):
        assert found["runs"] == [f"{model}{fold}" for fold in range(3)]
        assert found["folds"] == [0, 1, 2]
        assert found["config"]["model.name"] == model
        assert found["results"]["valid/loss"] == {
            "mean": statistics.mean(each),
            "std": pytest.approx(statistics.stdev(each)),
            "n": 3,
        }
    assert folds[0]["results"]["test/loss"] == {"mean": 0.5, "std": None, "n": 1}
    assert ["MEAN OVER FOLDS", "small0 and 2 more", "large0 and 2 more"] in table
    assert ["valid/loss", "0.5000 ± 0.2500", "0.3750 ± 0.2165*"] in table
    assert ["test/loss", "0.5000 (n = 1)", "-"] in table
    assert ["mean ± sample standard deviation (n - 1)"] in table


@pytest.mark.parametrize(("fold", "seed"), [(0, 0), (1, 1)], ids=["the same fold", "another seed"])
def test_other_runs_are_no_folds(tmp_path, capsys, fold, seed):
    runs = [
        write_fold(tmp_path / "pets/a", 0, (0.5,), seed=0),
        write_fold(tmp_path / "pets/b", fold, (0.5,), seed=seed),
    ]

    assert compare_as_json(capsys, *runs)["folds"] == []


def test_runs_without_results_are_compared(tmp_path, capsys):
    running = write_small_run(tmp_path / "pets/running", losses=())
    old = write_small_run(tmp_path / "pets/old", test_metrics={"loss": None})
    (old / "summary.json").unlink()

    assert compare(capsys, running, old)[2:-2] == [
        ["RESULT", "running", "old"],
        ["test/loss", "-", "-"],
        ["epochs", "0/3", "3/3"],
        ["time", "0.0 s", "6.0 s"],
    ]


def test_a_default_that_an_older_run_lacks_is_not_a_difference(tmp_path, capsys):
    old = write_small_run(tmp_path / "pets/old", {"train": {"epoch": 3, "optimizer": {"type": "sgd"}}})
    new = write_small_run(
        tmp_path / "pets/new",
        {
            "metrics": [],
            "train": {"epoch": 3, "ema_decay": 0.0, "optimizer": {"type": "sgd", "momentum": 0.9}},
            "classes": ["a" * 99],
        },
    )

    assert compare(capsys, old, new)[:3] == [
        ["KEY", "old", "new"],
        ["classes", "[]", '["' + "a" * 58 + "..."],
        ["train.optimizer.momentum", "not set", "0.9"],
    ]


def test_keys_of_a_criterion_that_a_run_lacks_are_not_set(tmp_path, capsys):
    bce, dice = {"type": "bce", "on": ""}, {"type": "dice", "weight": 0.5, "on": ""}
    one = write_small_run(tmp_path / "pets/one", {"criterion": [bce]})
    two = write_small_run(tmp_path / "pets/two", {"criterion": [{**bce, "weight": 1.0}, dice]})

    assert compare(capsys, one, two)[:4] == [
        ["KEY", "one", "two"],
        ["criterion[1].type", "not set", '"dice"'],
        ["criterion[1].weight", "not set", "0.5"],
        ["criterion[1].on", "not set", '""'],
    ]


def test_labels_are_the_shortest_unique_ends_of_the_paths(tmp_path, capsys):
    runs = [write_small_run(tmp_path / path) for path in ("runs/pets/a", "runs/cars/a", "runs/cars/b")]

    assert [run["run"] for run in compare_as_json(capsys, *runs)["runs"]] == ["pets/a", "cars/a", "cars/b"]


def test_a_run_is_selected_in_the_same_ways_as_in_other_commands(tmp_path, capsys):
    a, b = (write_small_run(tmp_path / "pets" / name, finished={}) for name in "ab")

    assert len(compare_as_json(capsys, a / "config.toml", b, b)["runs"]) == 2
    assert main(["compare", str(b), str(tmp_path / "pets")]) == 2
    assert f"only one run was given: {b}; pass at least two runs" in capsys.readouterr().err
    assert main(["compare", str(a), str(tmp_path / "none")]) == 2
    assert "none was not found; pass a run folder" in capsys.readouterr().err


def test_a_damaged_file_is_named(tmp_path, capsys):
    a, b = (write_small_run(tmp_path / "pets" / name) for name in "ab")
    (b / "summary.json").write_text('{"best": {"valid": 3}}')

    assert main(["compare", str(a), str(b)]) == 2

    assert f"{b / 'summary.json'}: is damaged: AttributeError" in capsys.readouterr().err


def test_labels_contain_the_only_key_that_differs():
    labels = add_values(["a", "b"], {"train.optimizer.learning_rate": [0.1, 0.01]})

    assert labels == ["a (learning_rate 0.1)", "b (learning_rate 0.01)"]
    assert add_values(["a", "b"], {"seed": [0, 1], "task": ["x", "y"]}) == ["a", "b"]


def test_values_that_differ_only_by_rounding_have_no_best(tmp_path, capsys):
    a = write_small_run(tmp_path / "pets/a", losses=(0.5, 0.25))
    b = write_small_run(tmp_path / "pets/b", {"seed": 1}, losses=(0.5, 0.25 + 1e-12))
    c = write_small_run(tmp_path / "pets/c", {"seed": 2}, losses=(0.5, 0.75))

    assert main(["compare", str(a), str(b)]) == 0
    assert "0.2500*" not in capsys.readouterr().out
    assert main(["compare", str(a), str(b), str(c)]) == 0
    assert capsys.readouterr().out.count("0.2500*") >= 2
