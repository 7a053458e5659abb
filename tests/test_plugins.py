"""Every plugin by itself: found, named, and unable to harm the others."""

import importlib.metadata
import sys
import types

import pytest

from ddpkit import Component, hookimpl, plugins
from ddpkit.hookspecs import HOOKS
from ddpkit.plugins import Source, register
from ddpkit.registry import UnknownNameError


@pytest.fixture
def module(monkeypatch):
    """Makes a plugin module of hooks, importable under a name."""

    def make(name, **members):
        made = types.ModuleType(name)
        vars(made).update(members)
        monkeypatch.setitem(sys.modules, name, made)
        return name

    return make


def source(module, name, distribution="some-dist"):
    return Source(importlib.metadata.EntryPoint(name, module, plugins.GROUP), distribution, "1.0")


def hook_of(*names, **options):
    @hookimpl
    def ddpkit_models():
        for name in names:
            yield Component(name, "somewhere:Thing", **options)

    return ddpkit_models


def test_the_builtins_come_in_by_entry_points():
    found = plugins.load()

    builtin = [plugin for plugin in found.plugins if plugin.name.startswith("builtin.")]
    assert {plugin.status for plugin in builtin} == {"ok"}
    assert {entry.kind for plugin in builtin for entry in plugin.provides} == set(HOOKS) - {"logger", "writer"}
    assert found.registry.get("model", "resnet18").qualified_name == "builtin/resnet18"


def test_a_broken_plugin_leaves_the_others_alone(module):
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
        ({"ddpkit_models": no_marker}, "ddpkit_models lacks its @hookimpl"),
        ({"ddpkit_model": hook_of("net")}, "there is no hook 'ddpkit_model', did you mean 'ddpkit_models'?"),
        ({"ddpkit_models": not_components}, "ddpkit_models yields 'net', which is not a Component"),
        ({"ddpkit_models": raises}, "RuntimeError: oh no"),
        ({"ddpkit_models": hook_of("net", "net")}, "model acme/net is declared twice"),
    ],
)
def test_an_invalid_plugin_gives_nothing(module, members, error):
    found = register([source(module("invalid_parts", **members), "acme")])

    assert found.plugins[0].status == "invalid"
    assert error in found.plugins[0].error
    assert list(found.registry) == []


def test_two_distributions_with_one_name_are_both_refused(module):
    name = module("parts", ddpkit_models=hook_of("net"))

    found = register([source(name, "acme", "one"), source(name, "acme.more", "two")])

    assert [plugin.status for plugin in found.plugins] == ["collision", "collision"]


def test_nobody_elses_plugin_can_be_or_stop_a_builtin(module):
    evil = source(module("evil", ddpkit_models=hook_of("resnet18")), "builtin.evil", "evil")

    found = register([source("ddpkit_plugins.models", "builtin.models", "ddpkit"), evil])

    assert [plugin.status for plugin in found.plugins] == ["ok", "invalid"]
    assert found.registry.get("model", "resnet18").component.target.startswith("ddpkit_plugins")


def test_a_bare_name_means_the_builtin_then_the_only_other(module):
    shadow = source(module("shadow", ddpkit_models=hook_of("resnet18", "net")), "shadow", "shadow-dist")
    other = source(module("other", ddpkit_models=hook_of("net")), "other", "other-dist")
    registry = register([source("ddpkit_plugins.models", "builtin.models", "ddpkit"), shadow, other]).registry

    assert registry.get("model", "resnet18").qualified_name == "builtin/resnet18"
    assert registry.get("model", "shadow/resnet18").qualified_name == "shadow/resnet18"
    with pytest.raises(
        UnknownNameError, match=r"more than one plugin has a model 'net'; write one of 'shadow/net' .* 'other/net'"
    ):
        registry.get("model", "net")


def test_an_unknown_name_suggests_one():
    with pytest.raises(UnknownNameError, match="no model is called 'resnet81', did you mean 'resnet18'"):
        plugins.load().registry.get("model", "resnet81")
