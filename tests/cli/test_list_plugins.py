"""`ddpkit list-plugins` shows what to install again, and what loading a plugin costs."""

import json
import re

import pytest

from ddpkit.cli.main import main
from ddpkit.plugins import manager
from tests.helpers.distributions import install
from tests.helpers.tables import table_rows

LOCAL = "which only this machine has; publish it to a package index"
ORIGINS = {
    "req-index": (None, "req-index==1.0"),
    "req-editable": (
        {"url": "file:///src/a", "dir_info": {"editable": True}},
        f"# req-editable==1.0 is installed in editable mode from file:///src/a, {LOCAL}",
    ),
    "req-folder": ({"url": "file:///src/b", "dir_info": {}}, f"# req-folder==1.0 is installed from file:///src/b, {LOCAL}"),
    "req-git": (
        {"url": "https://host/x.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b"}, "subdirectory": "py"},
        "req-git @ git+https://host/x.git@0a1b#subdirectory=py",
    ),
    "req-wheel": ({"url": "https://host/w.whl", "archive_info": {}}, "req-wheel @ https://host/w.whl"),
}
"""Distribution -> its origin as pip records it, and its line in the requirements."""


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_requirements_install_the_same_distributions(site, capsys):
    for name, (origin, _) in ORIGINS.items():
        install(site, name, entry_point=name.replace("-", "_"), origin=origin)

    assert main(["list-plugins", "--requirements"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "req-" in line] == [ORIGINS[name][1] for name in sorted(ORIGINS)]
    assert sum("ddpkit==" in line for line in lines) == 1
    assert main(["list-plugins", "--requirements", "--json"]) == 0
    listed = {each["distribution"]: each for each in json.loads(capsys.readouterr().out)}
    assert listed["req-index"] == {"distribution": "req-index", "version": "1.0", "requirement": "req-index==1.0", "reason": ""}
    assert listed["req-editable"]["requirement"] == ""


def test_verbose_lists_the_slowest_plugin_first(site, capsys):
    (site / "slow_and_broken.py").write_text("import time\ntime.sleep(0.3)\n1 / 0\n")
    install(site, "slow-parts", entry_point="slow_and_broken")

    assert main(["list-plugins", "-v"]) == 0

    rows = table_rows(capsys.readouterr().out)
    assert rows[1][0] == "slow_and_broken"
    times = [float(re.fullmatch(r"(\d+\.\d) ms", row[4])[1]) for row in rows[1:]]
    assert times[0] >= 300
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(("value", "is_on"), [("1", True), ("0", False), ("", False)])
def test_a_variable_traces_imports_and_hook_calls(monkeypatch, capsys, value, is_on):
    monkeypatch.setenv("DDPKIT_TRACE_PLUGINS", value)

    found = manager.load().registry.qualified("model", "torchvision/resnet101")

    lines = [re.sub(r"^trace: +\d+\.\d ms  ", "", line) for line in capsys.readouterr().err.splitlines()]
    assert len(found) == 1
    assert bool(lines) == is_on
    if is_on:
        assert lines.count("builtin.models: import ddpkit_plugins.models") == 1
        assert lines.count("builtin.models: ddpkit_models()") == 1
        assert lines[-1] == "torchvision: model 'resnet101'"
