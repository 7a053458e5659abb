"""Installed distributions, as pip leaves them in a folder of `sys.path`."""

import json
import shutil


def install(site, name, version="1.0", *, entry_point="", origin=None):
    """Write the metadata of a distribution with at most one plugin, whose module has the name of its entry point.

    An earlier version of the distribution is replaced. `origin`: content of `direct_url.json` (PEP 610).
    """
    remove(site, name)
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if entry_point:
        (info / "entry_points.txt").write_text(f"[ddpkit]\n{entry_point} = {entry_point}\n")
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps(origin))


def remove(site, name):
    for info in site.glob(f"{name.replace('-', '_')}-*.dist-info"):
        shutil.rmtree(info)
