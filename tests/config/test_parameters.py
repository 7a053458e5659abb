"""A parameter of a component is set by the TOML, else by the run; the plugin can rename, withhold and fix parameters."""

from pathlib import Path
from typing import Any, Literal

import pytest
import tomli

from ddpkit import Component, PluginError
from ddpkit.cli.describe import describe_component
from ddpkit.cli.main import main
from ddpkit.config.parameters import describe_parameter_type, fits, import_parameters, structure_parameter
from ddpkit.plugins.registry import Entry
from ddpkit.testing import run_toml

RUNTIME = {"classes": ["cat", "dog"], "n_classes": 2}
OPTIONAL_TEXT = str | None


def library_net(in_channels: int = 3, classes: int = 1):
    """Return its arguments, as all targets here. `classes` is a number, not the names of a run."""
    return in_channels, classes


def names_net(classes):
    return classes


def renamed_net(num_classes: int, depth: int | None = 2):
    return num_classes, depth


def any_net(name: str, **options: Any):
    return name, options


def shift(rows: int, columns: int = 0, *, filled: bool = False):
    return rows, columns, filled


def parameters_of(function, kind="model", **declared):
    component = Component("net", f"{__name__}:{function.__name__}", **declared)
    return import_parameters(Entry(kind, "acme", "acme 1.0", component))


def call(function, given, kind="model", **declared):
    return function(**parameters_of(function, kind, **declared).call_arguments(given, RUNTIME))


def test_a_key_wins_over_a_runtime_value():
    assert call(names_net, {}) == ["cat", "dog"]
    assert call(names_net, {"classes": ["a"]}) == ["a"]


def test_a_value_that_cannot_fit_is_not_injected():
    assert call(library_net, {}) == (3, 1)
    assert call(library_net, {"classes": 10}) == (3, 10)


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        ("classes", list[str], True),
        ("classes", tuple[str, ...] | None, True),
        ("classes", Any, True),
        ("classes", str, False),
        ("classes", int | None, False),
        ("n_classes", float, True),
        ("n_classes", list[int], False),
        ("root_dir", Path, True),
        ("seed", bool, False),
        ("optimizer", int, True),  # its type is not known without torch
    ],
)
def test_whether_a_value_fits_its_annotation(value, annotation, expected):
    assert fits(value, annotation) is expected


def test_a_runtime_value_is_renamed_or_withheld():
    assert call(renamed_net, {}, arguments={"n_classes": "num_classes"}) == (2, 2)
    assert call(renamed_net, {"num_classes": 7}, arguments={"n_classes": "num_classes"}) == (7, 2)
    assert call(library_net, {}, arguments={"n_classes": "classes"}) == (3, 2)
    assert call(names_net, {"classes": 4}, arguments={"classes": None}) == 4
    assert not parameters_of(renamed_net, arguments={"n_classes": "num_classes"}).required
    assert parameters_of(names_net, arguments={"classes": None}).required == {"classes"}


def test_the_name_n_classes_sets_the_renamed_parameter_of_a_model():
    renamed = {"n_classes": "num_classes"}

    assert call(renamed_net, {"n_classes": 5}, arguments=renamed) == (5, 2)
    assert "n_classes" in parameters_of(renamed_net, arguments=renamed).settable
    assert "n_classes" not in parameters_of(renamed_net, "criterion", arguments=renamed).settable


def test_a_value_can_be_renamed_into_kwargs():
    made = call(any_net, {}, bound={"name": "resnet"}, arguments={"n_classes": "num_classes"})

    assert made == ("resnet", {"num_classes": 2})


def test_a_list_sets_neither_bound_nor_injected_parameters():
    assert parameters_of(shift, "transform", bound={"rows": 2}).in_order == ["columns", "filled"]
    assert parameters_of(renamed_net, arguments={"n_classes": "num_classes"}).in_order == ["depth"]


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        ("none", int | None, None),
        ("none", str | None, None),
        ("none", Literal["none", "mean"] | None, "none"),
        ("none", str, "none"),
        ("none", Any, "none"),
        ("None", OPTIONAL_TEXT, "None"),
        ("none", bytes | None, None),
    ],
)
def test_none_is_the_null_of_optional_parameters(value, annotation, expected):
    assert structure_parameter(value, annotation) == (expected, [])


def test_none_is_wrong_for_a_parameter_that_is_not_optional():
    _, (issue,) = structure_parameter("none", int, ("depth",))

    assert issue.message == "expected an integer, got 'none'"
    assert call(renamed_net, {"num_classes": 3, "depth": "none"}) == (3, None)
    assert describe_parameter_type(int | None) == "an integer or 'none'"


# --- as a user sees it --------------------------------------------------------------------------------------------------

PARTS = """\
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

from ddpkit import Component, hookimpl


class Net(nn.Sequential):
    def __init__(self, variant: str, num_classes: int, n_pixels: int = 64, hidden: int | None = 4, **kwargs):
        sizes = [n_pixels, *([hidden] if hidden else []), num_classes]
        layers = [nn.Linear(*pair) for pair in zip(sizes, sizes[1:])]
        super().__init__(nn.Flatten(), *layers, **kwargs)


class Undirected(MulticlassAccuracy):
    higher_is_better = None

    def __init__(self, num_classes: int):
        super().__init__(num_classes, average="micro")


@hookimpl
def ddpkit_models():
    declared = {"bound": {"variant": "small"}, "arguments": {"n_classes": "num_classes", "classes": None}}
    yield Component("own", "MODULE:Net", **declared)
    yield Component("typo", "MODULE:Net", bound={"varant": "small"})
    yield Component("wrong", "acme.parts:TinyNet", arguments={"n_classes": "num_classes"})


@hookimpl
def ddpkit_metrics():
    declared = {"takes": "labels", "arguments": {"n_classes": "num_classes"}}
    yield Component("hits", "MODULE:Undirected", higher_is_better=True, **declared)
"""


@pytest.fixture
def own(blobs):
    """A config whose local plugin file has the model `own` and the metric `hits`."""
    name = f"{blobs.parent.name}_parts".replace("-", "_")
    (blobs.parent / f"{name}.py").write_text(PARTS.replace("MODULE", name))
    text = blobs.read_text().replace('"tinynet"', '"own"').replace('["accuracy"]', '["hits"]')
    blobs.write_text(f'{text}[plugins]\nfiles = ["{name}.py"]\n[output]\nmonitor = "hits"\n')
    return blobs


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('variant = "big"', "model.config.variant: model 'own' sets this key itself, to 'small'; remove it"),
        (
            "n_classes = 2, num_classes = 3",
            "model.config.n_classes: is the same parameter as 'num_classes'; set only one of them",
        ),
        ('num_classes = "none"', "model.config.num_classes: expected an integer, got 'none'"),
    ],
)
def test_a_wrong_parameter_is_reported_at_its_key(own, capsys, config, message):
    own.write_text(own.read_text().replace('name = "own"', f'name = "own"\nconfig = {{ {config} }}'))

    assert main(["check", own.name]) == 2
    assert message in capsys.readouterr().err


def test_a_declared_parameter_must_exist(own, capsys):
    assert main(["check", own.name, "--set", "model.name=wrong"]) == 3
    assert "model.name: " in (message := capsys.readouterr().err)
    assert "/wrong (" in message
    assert "declares the parameter 'num_classes', which its target lacks" in message


@pytest.mark.parametrize("deep", [[], ["--deep"]])
def test_a_key_for_kwargs_is_reported_as_not_checked(own, capsys, deep):
    arguments = ["check", own.name, "--set", "model.config.hiden=3", *deep]

    assert main(arguments) == 0
    assert capsys.readouterr().out == (
        "note: model.config.hiden: is not checked: model 'own' accepts any key (**kwargs), did you mean 'hidden'?\n"
        "blobs.toml: no mistake found in the parts that were checked; the data was not read, see --data\n"
    )
    assert main([*arguments, "--json"]) == 0
    assert '"key": "model.config.hiden"' in capsys.readouterr().out


def test_a_run_uses_own_names_and_the_declared_direction(own):
    text = own.read_text().replace('classes = ["left", "right"]\n', "").replace("epoch = 2", "epoch = 1")
    text = text.replace('name = "own"', 'name = "own"\nconfig = { num_classes = 3, hidden = "none" }')

    outcome = run_toml(text, own.parent).assert_done()

    resolved = tomli.loads((outcome.folder / "config.toml").read_text())
    assert resolved["model"]["config"] == {"num_classes": 3, "n_classes": 3, "hidden": "none", "input_sizes": [], "dtypes": []}
    assert "valid/hits" in outcome.history[-1]


def test_describe_names_a_target_that_cannot_be_imported():
    for target, reason in (("torch.nn:NoSuchLoss", "AttributeError"), ("no_such_library:Loss", "ModuleNotFoundError")):
        with pytest.raises(PluginError, match=rf"^{target}: acme/gone \(acme 1.0\) cannot be imported: {reason}") as raised:
            describe_component(Entry("criterion", "acme", "acme 1.0", Component("gone", target)))
        assert "\n" not in str(raised.value)
        assert raised.value.exit_code == 3


def test_describe_shows_what_the_run_provides():
    component = Component("net", f"{__name__}:renamed_net", arguments={"n_classes": "num_classes"}, bound={"depth": 3})

    described = describe_component(Entry("model", "acme", "acme 1.0", component))

    assert described.from_run == {"num_classes": "n_classes"}
    assert [(each.name, each.kind, each.default) for each in described.parameters] == [
        ("num_classes", "an integer", "from the run"),
        ("n_classes", "an integer", "from the run"),
    ]
