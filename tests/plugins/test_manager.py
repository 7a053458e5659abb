"""Plugins are discovered, named, and isolated from each other."""

import fnmatch
import importlib.metadata
import inspect
import json
import re
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import attrs
import pytest
import tomli
import tomli_w

from ddpkit import Component, PluginError, hookimpl
from ddpkit.cli import describe
from ddpkit.cli.list_plugins import describe_components
from ddpkit.cli.main import main
from ddpkit.config import schema
from ddpkit.config.check import check, validate
from ddpkit.config.loading import named_overrides, read
from ddpkit.config.plugin_policy import combine_policy
from ddpkit.plugins import hookspecs, manager
from ddpkit.plugins.component import RUNTIME_VALUES
from ddpkit.plugins.hookspecs import HOOKS
from ddpkit.plugins.manager import PluginSource, register
from ddpkit.plugins.registry import UnknownNameError
from ddpkit.testing import loaded, run_toml
from tests.helpers.configs import BLOBS
from tests.helpers.tables import table_rows

ROOT = Path(__file__).parents[2]


@pytest.fixture
def module(monkeypatch):
    """Creates a plugin module with hooks, importable under a name."""

    def make(name, **members):
        made = types.ModuleType(name)
        vars(made).update(members)
        monkeypatch.setitem(sys.modules, name, made)
        return name

    return make


def source(module, name, distribution="some-dist"):
    return PluginSource(importlib.metadata.EntryPoint(name, module, manager.GROUP), distribution, "1.0")


def hook_of(*names, **options):
    @hookimpl
    def ddpkit_models():
        for name in names:
            yield Component(name, "somewhere:Thing", **options)

    return ddpkit_models


def test_builtins_are_loaded_by_entry_points():
    found = manager.load()

    builtin = [plugin for plugin in found.plugins if plugin.name.startswith("builtin.")]
    assert {plugin.status for plugin in builtin} == {"ok"}
    assert {entry.kind for plugin in builtin for entry in plugin.provides} == set(HOOKS)
    assert found.registry.get("model", "resnet18").qualified_name == "builtin/resnet18"


def test_a_broken_plugin_does_not_affect_others(module):
    good = source(module("good_parts", ddpkit_models=hook_of("net")), "good")

    found = register([source("no_such_module", "bad", "bad-dist"), good])

    assert [(plugin.name, plugin.status) for plugin in found.plugins] == [("bad", "broken"), ("good", "ok")]
    assert "No module named 'no_such_module'" in found.plugins[0].error
    assert found.registry.get("model", "net").qualified_name == "good/net"


def no_marker():
    yield Component("net", "somewhere:Thing")


@hookimpl
def not_components():
    yield "net"


@hookimpl
def raises():
    yield Component("net", "somewhere:Thing")
    raise RuntimeError("oh no")


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"ddpkit_models": no_marker}, "ddpkit_models has no decorator; add @hookimpl"),
        ({"ddpkit_model": hook_of("net")}, "'ddpkit_model' is not a hook of ddpkit, did you mean 'ddpkit_models'?"),
        ({"ddpkit_models": not_components}, "ddpkit_models must yield Component records; got 'net'"),
        ({"ddpkit_models": raises}, "RuntimeError: oh no"),
        ({"ddpkit_models": hook_of("net", "net")}, "model acme/net is declared twice"),
    ],
)
def test_an_invalid_plugin_provides_nothing(module, members, error):
    found = register([source(module("invalid_parts", **members), "acme")])

    assert found.plugins[0].status == "invalid"
    assert error in found.plugins[0].error
    assert list(found.registry) == []


def test_two_distributions_with_one_name_are_rejected(module):
    name = module("parts", ddpkit_models=hook_of("net"))

    found = register([source(name, "acme", "one"), source(name, "acme.more", "two")])

    assert [plugin.status for plugin in found.plugins] == ["collision", "collision"]


def test_a_third_party_plugin_cannot_replace_a_builtin(module):
    evil = source(module("evil", ddpkit_models=hook_of("resnet18")), "builtin.evil", "evil")

    found = register([source("ddpkit_plugins.models", "builtin.models", "ddpkit"), evil])

    assert [plugin.status for plugin in found.plugins] == ["ok", "invalid"]
    assert found.registry.get("model", "resnet18").component.target.startswith("ddpkit_plugins")


def test_a_bare_name_resolves_to_the_builtin_or_only_match(module):
    shadow = source(module("shadow", ddpkit_models=hook_of("resnet18", "net")), "shadow", "shadow-dist")
    other = source(module("other", ddpkit_models=hook_of("net")), "other", "other-dist")
    registry = register([source("ddpkit_plugins.models", "builtin.models", "ddpkit"), shadow, other]).registry

    assert registry.get("model", "resnet18").qualified_name == "builtin/resnet18"
    assert registry.get("model", "shadow/resnet18").qualified_name == "shadow/resnet18"
    with pytest.raises(
        UnknownNameError, match=r"more than one plugin has the model 'net'; use one of 'other/net' .* 'shadow/net'"
    ):
        registry.get("model", "net")


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="no model is called 'resnet81', did you mean 'resnet18'"):
        manager.load().registry.get("model", "resnet81")


# --- status of faulty plugins -------------------------------------------------------------------------------------------

HOOK = """\
from ddpkit import Component, hookimpl
@hookimpl
def ddpkit_models():
    yield Component("net", "somewhere:Thing")
"""
PLUGINS = {
    "broken": ("import nothing_like_it\n", "broken", "ModuleNotFoundError: No module named 'nothing_like_it' ({file}:1)"),
    "syntax": ("def\n", "broken", "SyntaxError: "),
    "leaves": ("import sys\nsys.exit(3)\n", "broken", "SystemExit: 3 ({file}:2)"),
    "misspelt": (HOOK.replace("ddpkit_models", "ddpkit_model"), "invalid", "'ddpkit_model' is not a hook of ddpkit, did you mean 'ddpkit_models'?"),
    "misspelt_prefix": (HOOK.replace("ddpkit_models", "dppkit_models"), "invalid", "'dppkit_models' is not a hook of ddpkit, did you mean 'ddpkit_models'?"),
    "of_a_later_version": (HOOK + "@hookimpl(optionalhook=True)\ndef ddpkit_of_2030():\n    pass\n", "ok", ""),
    "unmarked": (HOOK.replace("@hookimpl", ""), "invalid", "ddpkit_models has no decorator; add @hookimpl"),
    "bad_name": (HOOK.replace('"net"', '"a net"'), "invalid", "the name of a component must be a letter, then letters, digits and '_.+-'; got 'a net' ({file}:4)"),
    "bad_target": (HOOK.replace("somewhere:Thing", "somewhere"), "invalid", "the target of a component must be 'package.module:callable'; got 'somewhere' ({file}:4)"),
    "newer": ("ddpkit_api = '9.0'\n" + HOOK, "incompatible", "requires version 9.0 of the hooks, but this ddpkit has version 1.0"),
    "odd_version": ("ddpkit_api = 'new'\n" + HOOK, "incompatible", "ddpkit_api must be a version such as '1.0'; got 'new'"),
    "bad_arguments": (HOOK.replace('Thing")', 'Thing", arguments={"n_classes": "num classes"})'), "invalid", "the arguments of a component must map run-time values to names of parameters or None; got {{'n_classes': 'num classes'}} ({file}:4)"),
    "double_arguments": (HOOK.replace('Thing")', 'Thing", arguments={"n_classes": "n", "classes": "n"})'), "invalid", "the arguments of a component must name each parameter once; got {{'n_classes': 'n', 'classes': 'n'}} ({file}:4)"),
    "bad_bound": (HOOK.replace('Thing")', 'Thing", bound={"n": object})'), "invalid", "the bound parameters of a component must map names of parameters to plain values; got {{'n': <class 'object'>}} ({file}:4)"),
    "bound_twice": (HOOK.replace('Thing")', 'Thing", bound={"n": 1}, arguments={"n_classes": "n"})'), "invalid", "the parameter 'n' of a component is both bound and in its arguments; remove one of them ({file}:4)"),
    "unknown_value": (HOOK.replace('Thing")', 'Thing", arguments={"n_clases": "n"})'), "invalid", "model 'net' gets no run-time value 'n_clases', did you mean 'n_classes'?"),
    "another_kind": (HOOK.replace('Thing")', 'Thing", higher_is_better=True)'), "invalid", "model 'net' cannot have the field 'higher_is_better', which is for a metric; remove it"),
    "half_family": (HOOK + "@hookimpl\ndef ddpkit_find(kind, name):\n    return None\n", "invalid", "ddpkit_find requires ddpkit_names; define both hooks"),
}  # fmt: skip


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    """Creates a plugin module from a text."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, text, distribution=None):
        (tmp_path / f"on_disk_{name}.py").write_text(text)
        return source(f"on_disk_{name}", name, distribution or f"{name}-dist")

    return make


@pytest.mark.parametrize("name", PLUGINS)
def test_each_plugin_has_its_status_and_error_line(on_disk, tmp_path, name):
    text, status, error = PLUGINS[name]

    (plugin,) = register([on_disk(name, text)]).plugins

    assert plugin.status == status
    assert error.format(file=tmp_path / f"on_disk_{name}.py") in plugin.error


def test_slow_and_heavy_plugins_are_reported(on_disk):
    slow = on_disk("slow", "import time\ntime.sleep(0.15)\n" + HOOK)
    heavy = on_disk("heavy", "import sys\nsys.modules['tensorflow'] = sys\n" + HOOK)
    try:
        found = register([slow, heavy])
    finally:
        sys.modules.pop("tensorflow", None)

    assert "takes 0.2 s to load" in describe_components(found.plugins[0])
    assert "imports tensorflow when it is loaded, which slows down every command" in describe_components(found.plugins[1])


def test_installation_order_does_not_matter(on_disk):
    sources = [on_disk(name, PLUGINS[name][0]) for name in PLUGINS] + [on_disk("good", HOOK), on_disk("other", HOOK)]
    there, back = register(sources), register(reversed(sources))

    assert {plugin.name: plugin.status for plugin in there.plugins} == {plugin.name: plugin.status for plugin in back.plugins}
    messages = []
    for found in (there, back):
        with pytest.raises(UnknownNameError) as raised:
            found.registry.get("model", "net")
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


def test_the_digest_changes_with_the_files(on_disk):
    first = register([on_disk("good", HOOK)]).plugins[0].digest
    sys.modules.pop("on_disk_good")
    second = register([on_disk("good", HOOK + "\n")]).plugins[0].digest

    assert len(first) == len(second) == 64
    assert first != second


# --- policy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["good", "good.models", "GOOD_dist", "ddpkit-good-dist", "good-dist"])
def test_a_plugin_is_blocked_by_any_name_before_its_import(on_disk, name):
    loud = on_disk("good.models".replace(".", "_"), "raise SystemExit('imported')\n")
    loud = attrs.evolve(loud, entry_point=importlib.metadata.EntryPoint("good.models", loud.entry_point.value, manager.GROUP))

    (plugin,) = register([attrs.evolve(loud, distribution="ddpkit-good-dist")], combine_policy(block=[name])).plugins

    assert (plugin.status, plugin.error) == ("blocked", f"blocked by -p no:{name}")


@pytest.mark.parametrize(
    ("options", "variable", "status", "error"),
    [
        ({}, None, "ok", ""),
        ({"no_plugins": True}, None, "blocked", "not in the list of allowed plugins (--no-plugins)"),
        ({}, "", "blocked", "not in the list of allowed plugins (DDPKIT_PLUGINS)"),
        ({}, "good, other", "ok", ""),
        ({"table": schema.Plugins(allow=["other"])}, None, "blocked", "not in the list of allowed plugins ([plugins] allow)"),
        ({"table": schema.Plugins(allow=["good"])}, "good", "ok", ""),
        ({"table": schema.Plugins(allow=["good"])}, "other", "blocked", "not in the list of allowed plugins (DDPKIT_PLUGINS)"),
        ({"table": schema.Plugins(block=["good"])}, "good", "blocked", "blocked by [plugins] block"),
    ],
)
def test_the_strictest_policy_wins_and_builtins_stay(on_disk, monkeypatch, options, variable, status, error):
    if variable is not None:
        monkeypatch.setenv("DDPKIT_PLUGINS", variable)
    builtin = source("ddpkit_plugins.models", "builtin.models", "ddpkit")

    found = register([builtin, on_disk("good", HOOK)], combine_policy(**options))

    assert [plugin.status for plugin in found.plugins] == ["ok", status]
    assert found.plugins[1].error == error


def test_an_unknown_name_in_the_policy_is_a_warning(on_disk):
    found = register([on_disk("good", HOOK)], combine_policy(block=["goood"]))

    assert found.warnings == ("-p no:goood lists 'goood', but no installed plugin has this name, did you mean 'good'?",)


def test_a_component_of_a_blocked_plugin_is_unknown(blobs, capsys):
    assert main(["check", blobs.name, "-p", "no:acme-parts"]) == 2
    assert "model.name: no model is called 'tinynet'" in (message := capsys.readouterr().err)
    assert "note: plugin acme (acme-parts) has the status 'blocked': blocked by -p no:acme-parts" in message

    assert main(["run", blobs.name, "--set", "model.name=acme/tinynet", "--no-plugins"]) == 3


# --- names -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_plugins(on_disk):
    """Two plugins with a `net` each, and the built-in models."""
    return [source("ddpkit_plugins.models", "builtin.models", "ddpkit"), on_disk("one", HOOK), on_disk("other", HOOK)]


@pytest.mark.parametrize("key", ["net", "model.net"])
def test_a_preference_resolves_an_ambiguous_name(two_plugins, key):
    registry = register(two_plugins, combine_policy(schema.Plugins(prefer={key: "other"}))).registry

    assert registry.get("model", "net").qualified_name == "other/net"


def test_a_preference_can_override_a_builtin(on_disk):
    mine = on_disk("mine", HOOK.replace('"net"', '"unet"'))
    builtin = source("ddpkit_plugins.models", "builtin.models", "ddpkit")

    assert register([builtin, mine]).registry.get("model", "unet").namespace == "builtin"
    preferring = register([builtin, mine], combine_policy(schema.Plugins(prefer={"unet": "mine"}))).registry
    assert preferring.get("model", "unet").namespace == "mine"
    assert preferring.is_shadowed(preferring.get("model", "builtin/unet"))


def test_a_preference_for_an_unknown_plugin_is_rejected(blobs, capsys):
    assert main(["check", blobs.name, "--set", "plugins.prefer.tinynet=acmee"]) == 2

    assert capsys.readouterr().err == (
        "--set 1: plugins.prefer.tinynet: plugin 'acmee' has no component 'tinynet', did you mean 'acme'?\n"
    )


def test_a_missing_library_is_named_with_its_pip_line(on_disk, blobs, monkeypatch):
    needy = on_disk("needy", HOOK.replace('Thing")', 'Thing", requires=("torch", "no-such-lib>=2", "other-lib"))'))
    found = register([*manager.list_installed(), needy])
    config = read(blobs, named_overrides({"model.name": "needy/net"}))

    with pytest.raises(
        PluginError, match=r"needy/net requires a library that is not installed; run: pip install 'no-such-lib>=2' other-lib"
    ):
        check(config, found, 1)
    assert found.registry.get("model", "needy/net")


FAMILY = (
    HOOK
    + """\
@hookimpl
def ddpkit_find(kind, name):
    return Component(name, "somewhere:Thing") if kind == "model" and name.startswith("big") else None
@hookimpl
def ddpkit_names(kind, pattern):
    return [name for name in ("big1", "big2") if kind == "model"]
"""
)


def test_an_open_family_covers_only_its_namespace(on_disk):
    registry = register([on_disk("family", FAMILY), on_disk("good", HOOK)]).registry

    assert registry.get("model", "family/big77").qualified_name == "family/big77"
    assert registry.matching("model", "*/big*") == ["family/big1", "family/big2"]
    for name in ("big1", "good/big1"):
        with pytest.raises(UnknownNameError):
            registry.get("model", name)
    with pytest.raises(UnknownNameError, match="did you mean 'family/big1'"):
        registry.get("model", "family/bgi1")


def test_a_family_that_fails_does_not_stop_the_others(on_disk, caplog):
    text = FAMILY.replace("return [name", "return 1 / 0 or [name").replace('(name, "somewhere:Thing")', '(name, "somewhere")')
    broken = on_disk("broken_family", text)

    found = register([broken, on_disk("family", FAMILY)])

    assert [entry.qualified_name for entry in found.registry.family_entries("model")] == ["family/big1", "family/big2"]
    assert (
        "plugin broken_family (broken_family-dist) cannot provide the names of the kind 'model': ZeroDivisionError" in caplog.text
    )
    with pytest.raises(UnknownNameError, match="no model is called 'broken_family/big1'"):
        found.registry.get("model", "broken_family/big1")
    assert "cannot provide the model 'big1': ValueError: the target of a component" in caplog.text


def test_list_plugins_shows_the_members_of_a_family(capsys):
    assert main(["list-plugins", "--json", "--no-plugins"]) == 0
    (family,) = (each for each in json.loads(capsys.readouterr().out) if each["name"] == "torchvision")
    assert {"kind": "model", "name": "torchvision/resnet101", "doc": "torchvision's resnet101"} in family["components"]

    assert main(["list-plugins", "--no-plugins"]) == 0
    (row,) = (row for row in table_rows(capsys.readouterr().out) if row[0] == "torchvision")
    assert re.match(r"model: alexnet, \S+, \S+ and \d+ more \(ddpkit list model 'torchvision/\*'\); dataset: ", row[3])


def test_the_torchvision_family_lists_all_models():
    from torchvision import models

    from ddpkit_plugins import torchvision as family_plugin

    families = (models, models.segmentation, models.detection)
    assert list(family_plugin.list_models()) == sorted(name for family in families for name in models.list_models(module=family))


def test_a_torchvision_classifier_trains(blobs, capsys):
    text = blobs.read_text().replace('"tinynet"', '"torchvision/shufflenet_v2_x0_5"\nconfig = { n_channels = 1, n_classes = 2 }')
    blobs.write_text(text)

    assert main(["run", blobs.name, "--limit-batches", "1", "--dry-run"]) == 0


# --- public helpers for testing plugins -----------------------------------------------------------------------------------


def test_loaded_loads_only_the_given_plugin(acme):
    registry = loaded(acme="acme.plugin").registry

    assert {entry.namespace for entry in registry} == {"acme"}
    with pytest.raises(AssertionError, match="bad is broken: ModuleNotFoundError"):
        loaded(bad="no_such_module")


def test_run_toml_applies_the_plugin_policy(acme, tmp_path):
    outcome = run_toml(BLOBS, tmp_path, "--set", "train.epoch=1", "-p", "no:acme.every", nproc=2).assert_done()

    assert [row["epoch"] for row in outcome.history] == [1]
    plugins_of_run = json.loads((outcome.folder / "plugins.json").read_text())["plugins"]
    assert {each["name"]: each["status"] for each in plugins_of_run}["acme.every"] == "blocked"
    with pytest.raises(AssertionError, match="unknown key"):
        run_toml(BLOBS, tmp_path, "--set", "x=1").assert_done()


# --- describe, list, which -----------------------------------------------------------------------------------------------

ENTRIES = list(manager.load().registry)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}-{entry.component.name}")
def test_the_example_of_each_builtin_is_valid(entry, tmp_path, capsys):
    assert main(["describe", entry.kind, entry.component.name, "--toml"]) == 0
    pasted = tomli.loads(capsys.readouterr().out)
    base = tomli.loads((ROOT / "configs/ddp_quick_test.toml").read_text()) | {"classes": []}
    (tmp_path / "x.toml").write_text(tomli_w.dumps(merge_tables(base, pasted)))

    read_back = validate(read(tmp_path / "x.toml"), manager.load(), 2)

    expected = ("the history already has a column", "returns PIL images")  # a name is used twice, or a transform is alone
    assert [problem for problem in read_back.problems if not any(text in problem.message for text in expected)] == []


def merge_tables(base, pasted):
    """Merge a table into another; a pasted component replaces the previous one of its kind."""
    result = dict(base)
    for key, value in pasted.items():
        is_open = isinstance(value, dict) and not ({"type", "name"} & value.keys() or key == "transform")
        result[key] = merge_tables(base.get(key, {}), value) if is_open else value
    if "model" in pasted:
        result["model"]["config"] = pasted["model"].get("config", {})
    return result


def test_describe_shows_source_parameters_and_an_example(acme, capsys):
    assert main(["describe", "model", "acme/tinynet"]) == 0

    text = capsys.readouterr().out
    assert text.startswith("model acme/tinynet: one hidden layer\nfrom: acme-parts 1.2.0\nsource: ")
    assert "A hidden layer and no BatchNorm: any split of a batch gives the same gradients." in text
    assert ["hidden", "an integer", "16"] in table_rows(text)
    assert text.endswith(
        '[model]\nname = "acme/tinynet"\n\n[model.config]\nn_pixels = 64\nhidden = 16\nn_classes = 2\ndropout = 0.0\n'
    )


def test_describe_prints_json(acme, capsys):
    assert main(["describe", "metric", "accuracy", "--json"]) == 0

    described = json.loads(capsys.readouterr().out)
    assert described["name"] == "builtin/accuracy"
    assert described["from_run"] == {"n_classes": "n_classes"}
    assert described["parameters"][:2] == [
        {"name": "n_classes", "type": "an integer", "default": "from the run"},
        {"name": "average", "type": "'micro' or 'macro'", "default": '"micro"'},
    ]


def test_which_shows_the_resolved_component(on_disk, acme, capsys):
    assert main(["which", "model", "resnet18"]) == 0

    assert table_rows(capsys.readouterr().out)[1][:3] == ["builtin/resnet18", "selected", "ddpkit 0.1.0"]
    assert main(["which", "model", "resnet81"]) == 2
    assert "NAME: no model is called 'resnet81', did you mean 'resnet18'?" in capsys.readouterr().err


def test_list_filters_components_by_pattern(acme, capsys):
    assert main(["list", "model", "*net18"]) == 0
    names = [row[0] for row in table_rows(capsys.readouterr().out)[1:]]
    assert names == ["builtin/resnet18", "torchvision/resnet18"]

    assert main(["list", "model", "acme/*", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)][:2] == ["acme/asking", "acme/chatty"]


def test_list_without_a_kind_shows_the_kinds(acme, capsys):
    assert main(["list"]) == 0

    header, *rows = table_rows(capsys.readouterr().out)
    kinds = {row[0]: row[1:] for row in rows if len(row) == 3}
    assert header == ["KIND", "COMPONENTS", "USE IN A CONFIG"]
    assert list(kinds) == list(HOOKS)
    assert int(kinds["split"][0]) >= 3
    assert kinds["optimizer"][1].startswith("`[train.optimizer] type` selects one")
    assert rows[-1] == ["To see the components of a kind: ddpkit list KIND, for example: ddpkit list model"]
    assert main(["list", "--json"]) == 0
    assert [each["kind"] for each in json.loads(capsys.readouterr().out)] == list(HOOKS)


def test_the_version_is_printed_without_an_import(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert ended.value.code == 0
    assert re.fullmatch(r"ddpkit \S+ \(Python \S+, torch \S+\)\n", capsys.readouterr().out)


def test_list_plugins_shows_versions_without_an_import(acme, capsys):
    code = "import sys, ddpkit.cli.main; ddpkit.cli.main.main(['list-plugins', '--no-import']); print('acme' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ["acme", "acme-parts", "1.2.0", "acme.plugin"] in table_rows(done.stdout)
    assert done.stdout.endswith("False\n")


@pytest.mark.parametrize("hook", [*HOOKS.values(), *hookspecs.FAMILY_HOOKS, *hookspecs.RUN_HOOKS])
def test_the_example_of_each_hook_is_a_valid_plugin(acme, hook, module):
    """The example as printed; its components can be described, so their targets exist."""
    text = inspect.cleandoc(getattr(hookspecs, hook).__doc__).partition("Example:\n")[2]
    names = {"hookimpl": hookimpl, "Component": Component, "fnmatch": fnmatch}
    exec(textwrap.dedent(text), names)  # noqa: S102 - trusted documentation
    hooks = {name: value for name, value in names.items() if name == hook}
    if hook == "ddpkit_find":
        hooks["ddpkit_names"] = hookimpl(lambda kind, pattern: [])
    if hook == "ddpkit_names":
        hooks["ddpkit_find"] = hookimpl(lambda kind, name: None)

    found = register([source(module("example_parts", **hooks), "example")])

    assert [plugin.status for plugin in found.plugins] == ["ok"], found.plugins
    for entry in found.registry:
        assert describe.describe_component(entry).source
    assert len(list(found.registry)) == (hook in HOOKS.values())


@pytest.mark.parametrize("kind", HOOKS)
def test_each_hook_docstring_lists_its_runtime_values(kind):
    text = inspect.getdoc(getattr(hookspecs, HOOKS[kind])).partition("Run-time values:")[2].partition("Returns")[0]
    hidden = {"lr"}  # the TOML's learning_rate

    assert set(re.findall(r"`(\w+)`", text)) - {"learning_rate", "step"} - hidden == RUNTIME_VALUES[kind] - hidden
