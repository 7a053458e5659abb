"""The check of a resumed run that its plugins are present and unchanged."""

from ddpkit.plugins import manager
from ddpkit.runs.plugin_manifest import check_plugins_present


def test_plugins_of_one_distribution_share_one_warning(acme, capsys):
    found = manager.load()
    used = [{"name": name, "version": "1.2.0", "digest": "another"} for name in ("acme", "acme.every")]

    check_plugins_present(used, found)

    assert capsys.readouterr().err == "warning: plugin acme 1.2.0 has different code than at the start of the run\n"
