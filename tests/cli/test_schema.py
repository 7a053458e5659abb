"""The JSON Schema accepts the same configs as the kit."""

import json
from pathlib import Path

import pytest
import tomli
from jsonschema import Draft4Validator

from ddpkit.cli.main import main
from ddpkit.cli.schema import json_schema
from ddpkit.plugins import manager
from tests.helpers.configs import BLOBS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def validator(acme):
    schema = json_schema(manager.load())
    Draft4Validator.check_schema(schema)
    return Draft4Validator(schema)


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.toml")), ids=lambda file: file.stem)
def test_shipped_configs_match_the_schema(validator, file):
    assert list(validator.iter_errors(tomli.loads(file.read_text()))) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("epoch = 2", 'epoch = "2"'),
        ("epoch = 2", "epoch = 0"),
        ("epoch = 2", "epohc = 2"),
        ('name = "tinynet"', 'name = "tinnet"'),
        ('name = "tinynet"', 'name = "tinynet"\nconfig = { hiden = 3 }'),
        ('name = "tinynet"', 'name = "tinynet"\nconfig = { hidden = "3" }'),
        ("momentum", "momentun"),
        ('["accuracy"]', '["acuracy"]'),
        ('["accuracy"]', '[{ type = "accuracy", config = { average = "none" } }]'),
        ("[train]", "[transform]\nROTATE = [3]\n[train]"),
        ("[train]", '[transform]\nROTATION = ["3"]\n[train]'),
        ("[train]", "[transform]\nROTATION = [3, 4]\n[train]"),
        ("[train]", '[train.helpers.teacher]\nname = "tinnet"\n[train]'),
        ("[train]", '[train.helpers.teacher]\nname = "tinynet"\nconfig = { input_sizes = [] }\n[train]'),
    ],
)
def test_a_mistake_fails_the_schema(validator, right, wrong):
    assert validator.is_valid(tomli.loads(BLOBS))
    assert right in BLOBS

    assert not validator.is_valid(tomli.loads(BLOBS.replace(right, wrong)))


def test_every_component_notation_matches_the_schema(validator):
    more = 'postprocess = { type = "classification" }\nmetrics = ["accuracy", { type = "acme/confidence" }]\n'
    text = BLOBS.replace('postprocess = "classification"\n', "").replace('metrics = ["accuracy"]\n', more)
    text += '[transform]\nROTATION = 3\nNORMALIZE = { mean = [0.5], std = [0.5] }\nPIL_TO_TENSOR = []\n"builtin/NORMALIZE" = [[1], [1]]\n'
    text += '[train.helpers.teacher]\nname = "tinynet"\nconfig = { hidden = 3 }\n'

    assert [error.message for error in validator.iter_errors(tomli.loads(text))] == []


def test_several_optimizers_match_the_schema(validator):
    single = 'optimizer = { type = "sgd", learning_rate = 0.1, momentum = 0.9 }'
    head = 'name = "head", type = "adamw", betas = [0.9, 0.99], grad_clip_norm = 1.0, lr_scheduler = { type = "cosine", min_lr = 0.1 }'
    text = BLOBS.replace(
        single, f'optimizer = [{{ {head}, match = ["4.*"] }}, {{ name = "rest", type = "sgd", momentum = 0.9 }}]'
    )

    assert [error.message for error in validator.iter_errors(tomli.loads(text))] == []
    for right, wrong in (
        ("momentum", "momentun"),
        ("min_lr", "min_lrr"),
        ('name = "rest", ', ""),
        ('["4.*"]', "3"),
        ('"head"', '"a/b"'),
    ):
        assert right in text
        assert not validator.is_valid(tomli.loads(text.replace(right, wrong)))


def test_a_name_in_place_of_a_table_matches_the_schema(validator):
    text = BLOBS.replace('["accuracy"]', '"accuracy"\ncriterion = "cross_entropy"').replace("[[criterion]]", "")
    text = text.replace('type = "cross_entropy"\n', "").replace('{ type = "sgd", learning_rate = 0.1, momentum = 0.9 }', '"adam"')

    assert [error.message for error in validator.iter_errors(tomli.loads(text + 'lr_scheduler = "cosine"\n'))] == []
    assert not validator.is_valid(tomli.loads(text.replace('"adam"', '"adma"')))
    assert not validator.is_valid(tomli.loads(text.replace('"cross_entropy"', '"cross_entrpy"')))


@pytest.mark.parametrize(
    ("model", "config", "is_valid"),
    [
        ("torchvision/alexnet", "n_channels = 1", True),
        ("torchvision/alexnet", "n_chanels = 1", False),
        ("torchvision/alexnet", 'arch = "alexnet"', True),
        ("alexnet", "n_channels = 1", False),
        ("torchvision/vit_b_16", 'n_classes = "none"', True),
        ("acme/renamed", "n_classes = 3", True),
        ("acme/renamed", "width = 3", True),
        ("acme/renamed", 'width = "none"', False),
    ],
)
def test_the_schema_has_the_keys_that_check_accepts(validator, blobs, capsys, model, config, is_valid):
    text = BLOBS.replace('"tinynet"', f'"{model}"\nconfig = {{ {config} }}')
    blobs.write_text(text)

    assert validator.is_valid(tomli.loads(text)) is is_valid
    assert (main(["check", blobs.name]) == 0) is is_valid


def test_the_schema_command_prints_help_in_both_languages(acme, capsys):
    assert main(["schema"]) == 0

    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["train"]["properties"]["epoch"]["description"] == "Passes over the training split.\n训练轮数。"
    assert "tinynet" in schema["properties"]["model"]["properties"]["name"]["enum"]
