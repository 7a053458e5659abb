"""What a run says of the plugins that it began with."""

from ddpkit.plugins import manager
from ddpkit.runs.plugin_manifest import refuse_missing


def test_the_families_of_a_plugin_share_one_warning(acme, capsys):
    found = manager.load()
    used = [{"name": name, "version": "1.2.0", "digest": "another"} for name in ("acme", "acme.every")]

    refuse_missing(used, found)

    assert capsys.readouterr().err == "warning: plugin acme 1.2.0 has other code than when the run began\n"
