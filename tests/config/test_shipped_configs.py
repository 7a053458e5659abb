"""The shipped configs and the one of the specification are valid, and any changed key or type is reported."""

import json
import random
import shutil
from pathlib import Path

import pytest
import tomli
from PIL import Image

from ddpkit.cli.main import main
from ddpkit.config import loading, toml
from ddpkit.config.check import ranks_in_file, validate
from ddpkit.errors import ConfigError
from ddpkit.plugins import manager

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))
SPECIFICATION = Path(__file__).parent / "specification"


@pytest.fixture(scope="module")
def found():
    return manager.load()


def problems_of(text, folder, found):
    """The problems of a text, as `file.toml` in a folder."""
    file = folder / "file.toml"
    file.write_text(text)
    try:
        read = loading.read(file)
    except ConfigError as error:
        return error.problems
    return validate(read, found, ranks_in_file(read.run)).problems


def positions(problems):
    """`line:column` of each."""
    return [problem.where.partition("file.toml:")[2] for problem in problems]


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_a_shipped_config_passes_the_deep_check(file, capsys):
    assert main(["check", str(file), "--deep"]) == 0

    assert capsys.readouterr().out == f"{file}: no mistake found; the data was not read, see --data\n"
    assert loading.load(file).run.device == "auto"


SMALL = [
    "device=cpu",
    "train.epoch=1",
    "train.batch_size=4",
    "train.lr_scheduler.warmup=0",
    "test.batch_size=8",
    "dataloader.num_workers=0",
    "predict.input=images",
    "predict.config.output_format=json",
    "private.mode=7",
]


ON_TWO_RANKS = ("ddp_detection", "ddp_quick_test")
"""Configs that the default test run trains on two ranks: one with model-computed losses, one with criteria."""


def on_ranks(file, n_ranks):
    slow = n_ranks == 2 and file.stem not in ON_TWO_RANKS
    return pytest.param(file, n_ranks, marks=[pytest.mark.slow] if slow else [], id=f"{file.stem}-{n_ranks}")


@pytest.mark.parametrize(
    ("file", "n_ranks"),
    [on_ranks(file, n) for file in CONFIGS for n in (1, 2) if (n, file.stem) not in [(1, name) for name in ON_TWO_RANKS]],
)
def test_a_shipped_config_trains_tests_and_predicts(file, n_ranks, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for number, name in enumerate(["a.png", "b.png", "c.png"]):
        Image.new("L", (64, 64), number).save(tmp_path / "images" / name)
    options = [part for option in SMALL for part in ("--set", option)]

    assert main(["run", str(file), *options, "--limit-batches", "1", "--nproc", str(n_ranks)]) == 0

    (folder,) = (tmp_path / "runs").glob("*/*")
    assert ("test map" if "detection" in file.stem else "test loss") in capfd.readouterr().out
    assert loading.load(file).run.metrics[0].type in json.loads((folder / "test_metrics.json").read_text())
    predictions = json.loads((folder / "predictions/predictions.json").read_text())
    assert [Path(each["file"]).name for each in predictions] == ["a.png", "b.png", "c.png"]


def test_the_specification_config_passes_the_check(tmp_path, monkeypatch, capsys):
    shutil.copytree(SPECIFICATION, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    assert main(["check", "all.toml"]) == 0

    out = capsys.readouterr().out.splitlines()
    assert out[-1].startswith("all.toml: no mistake found")
    assert any(
        line.startswith("warning: all.toml:7:1: classes: the number of class names is 2, but the model has 10 outputs")
        for line in out
    )


def value_of_wrong_type(value):
    """A value of another type, as TOML."""
    return '["qz"]' if isinstance(value, str) else '"qz"'


def leaves(data, path=()):
    """Path and value of everything that is not a table."""
    if isinstance(data, dict) and (data or path[-1:] == ()):
        for key, value in data.items():
            yield from leaves(value, (*path, key))
    elif isinstance(data, list) and data and isinstance(data[0], dict):
        for index, item in enumerate(data):
            yield from leaves(item, (*path, index))
    else:
        yield path, data


def replace_value(document, path, text):
    """The text with another value at `path`."""
    start = document.spans[path].value
    for end in range(start + 1, len(document.text) + 1):  # the shortest text that is a value
        try:
            value = tomli.loads(f"x = {document.text[start:end]}\n")["x"]
        except tomli.TOMLDecodeError:
            continue
        if repr(value) == repr(value_at(document.data, path)):
            return document.text[:start] + text + document.text[end:]
    raise AssertionError(path)


def value_at(data, path):
    for part in path:
        data = data[part]
    return data


def test_each_value_of_the_wrong_type_is_found_at_its_position(tmp_path, found):
    shutil.copy(SPECIFICATION / "custom.yaml", tmp_path)
    document = toml.read(SPECIFICATION / "all.toml")
    seen = list(leaves(document.data))
    assert len(seen) > 60

    missed = []
    for path, value in seen:
        changed = replace_value(document, path, value_of_wrong_type(value))
        place = document.place(path).where.rpartition("all.toml:")[2]
        if not any(found_at.startswith(place) for found_at in positions(problems_of(changed, tmp_path, found))):
            missed.append((path, place, positions(problems_of(changed, tmp_path, found))))

    assert missed == []


def misspell(word, number):
    """A typo: a letter left out, doubled, or two letters exchanged."""
    at = random.Random(f"{word}{number}").randrange(len(word) - 1) if len(word) > 1 else 0
    slips = [
        word[:at] + word[at + 1 :],
        word[: at + 1] + word[at:],
        word[:at] + word[at + 1 : at + 2] + word[at : at + 1] + word[at + 2 :],
    ]
    return next(slip for slip in slips[number:] + slips if slip and slip != word)


def test_each_misspelt_key_gets_a_position_and_a_suggestion(tmp_path, found):
    total, named = 0, 0
    for file in CONFIGS:
        document = toml.read(file)
        keys = [path for path in document.spans if isinstance(path[-1], str) and path[-1:] != ("prefer",)]
        for path in keys:
            slip = misspell(path[-1], total % 3)
            start = document.spans[path].key
            text = document.text[:start] + document.text[start:].replace(path[-1], slip, 1)
            problems = problems_of(text, tmp_path, found)
            place = document.place(path, at_key=True).where.rpartition(f"{file.name}:")[2]
            at_place = [problem for problem in problems if problem.where.endswith(f"file.toml:{place}")]
            assert at_place, (file.name, path, slip, problems)
            total += 1
            named += any(f"did you mean {path[-1]!r}?" in problem.message for problem in at_place)

    assert total > 150
    assert named / total >= 0.95, f"{named} of {total}"


def test_each_misspelt_name_gets_a_position_and_a_suggestion(tmp_path, found):
    kinds = {"metric": "metrics", "model": "model.name", "criterion": "criterion", "postprocess": "postprocess"}
    total, named = 0, 0
    for entry in found.registry:
        if entry.kind not in kinds and entry.kind not in ("dataset", "split", "optimizer", "lr_scheduler"):
            continue
        name = entry.component.name
        slip = misspell(name, total % 3)
        others = {each.component.name for each in found.registry if each.kind == entry.kind}
        if slip in others:
            continue
        option = {
            "metric": f'metrics=["{slip}"]', "model": f"model.name={slip}", "postprocess": f"postprocess={slip}",
            "criterion": f'criterion=[{{type="{slip}"}}]', "dataset": f"dataset.name={slip}", "split": f"dataset.split.type={slip}",
            "optimizer": f"train.optimizer.type={slip}", "lr_scheduler": f"train.lr_scheduler.type={slip}",
        }[entry.kind]  # fmt: skip
        read = loading.read(ROOT / "configs/ddp_quick_test.toml", loading.parse_overrides([option]))
        problems = [each for each in validate(read, found, 2).problems if each.where == "--set 1"]
        assert any(f"no {entry.kind} is called {slip!r}" in each.message for each in problems), option
        total += 1
        named += any(f"did you mean {name!r}?" in each.message for each in problems)

    assert named / total >= 0.95, f"{named} of {total}"
