"""Requirements: the distributions of the installed plugins, as lines of a file for `pip install -r`."""

import contextlib
import json
from collections.abc import Iterable
from importlib.metadata import Distribution
from typing import Any

import attrs

from ddpkit.plugins.manager import PluginSource
from ddpkit.terminal import escape


@attrs.frozen
class Requirement:
    """Distribution of at least one plugin."""

    distribution: str
    version: str
    requirement: str = ""
    """Line for pip that installs the same distribution; empty if pip cannot get it from a server."""
    reason: str = ""
    """Reason why there is no requirement."""

    def __str__(self) -> str:
        return self.requirement or f"# {self.distribution}=={self.version} {self.reason}"


def list_requirements(sources: Iterable[PluginSource]) -> list[Requirement]:
    """Return the requirement of each distribution, sorted by name. No plugin is imported."""
    found = {each.distribution: find_requirement(each) for each in sources}
    return [found[name] for name in sorted(found, key=str.lower)]


def find_requirement(source: PluginSource) -> Requirement:
    """Return the requirement of a plugin's distribution, from the record of its origin (PEP 610)."""
    name, version, origin = source.distribution, source.version, read_origin(source.entry_point.dist)
    url, commit = escape(origin.get("url", "")), origin.get("vcs_info", {}).get("commit_id")
    if commit:
        folder = f"#subdirectory={origin['subdirectory']}" if "subdirectory" in origin else ""
        return Requirement(name, version, f"{name} @ {origin['vcs_info'].get('vcs')}+{url}@{commit}{folder}")
    if url.startswith(("http://", "https://")):
        return Requirement(name, version, f"{name} @ {url}")
    if url:
        how = "in editable mode " * bool(origin.get("dir_info", {}).get("editable"))
        reason = f"is installed {how}from {url}, which only this machine has; publish it to a package index"
        return Requirement(name, version, reason=reason)
    if "?" in (name, version):
        return Requirement(name, version, reason="has no name or no version in its metadata; install it again")
    return Requirement(name, version, f"{name}=={version}")


def read_origin(distribution: Distribution | None) -> dict[str, Any]:
    """Return the origin that pip recorded; {} for a distribution from a package index."""
    with contextlib.suppress(ValueError):
        return dict(json.loads((distribution and distribution.read_text("direct_url.json")) or "{}"))
    return {}
