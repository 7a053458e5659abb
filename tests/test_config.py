"""A file, its overrides, and the resolved config that repeats the run."""

from pathlib import Path

import pytest

from ddpkit import config

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.toml")), ids=lambda file: file.stem)
def test_shipped_configs_are_valid(file):
    assert config.load(file).run.device == "auto"


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("train.epoch=3", ("train", "epoch"), 3),
        ("task = x y", ("task",), "x y"),
        ("metrics=['a', {type = 'b'}]", ("metrics",), ["a", {"type": "b"}]),
        ('transform."a/B"=[1]', ("transform", "a/B"), [1]),
        ("task=", ("task",), ""),
    ],
)
def test_set_takes_toml_else_a_string(text, path, value):
    override = config.parse_override(text, "--set 1")

    assert (override.path, override.value) == (path, value)
    assert config.parse_override(override.text(), "") == config.Override("", path, value)


def test_an_override_makes_tables_and_the_last_one_wins(blobs):
    overrides = config.named_overrides({"valid.batch_size": 4, "train.lr_scheduler": {"type": "cosine"}, "seed": 1})
    overrides += config.parse_overrides(["seed=2"])

    run = config.load(blobs, overrides).run

    assert (run.valid.batch_size, run.train.lr_scheduler.type, run.seed) == (4, "cosine", 2)


def test_the_resolved_config_is_the_config_with_all_defaults(blobs):
    run = config.load(blobs, config.named_overrides({"run_id": "x", "train.lr_scheduler.type": "cosine"})).run
    resolved = blobs.with_name("resolved.toml")
    resolved.write_text(config.dump(run))

    again = config.load(resolved).run

    assert again.output_dir == str(blobs.parent / "runs")
    assert again.run_id == ""
    assert again.train == run.train
    assert again.dataset == run.dataset
    assert again.metrics == run.metrics


def test_an_empty_postprocess_is_none(blobs):
    assert config.load(blobs, config.parse_overrides(["postprocess=", "metrics=[]"])).run.postprocess is None


def test_base_dir_is_another_name_of_root_dir(blobs):
    run = config.load(blobs, config.named_overrides({"dataset.base_dir": "data"})).run

    assert (run.dataset.root_dir, run.dataset.base_dir) == ("data", "")
