"""Which plugins may take part: said on the command line, in the environment, in the TOML."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from ddpkit.errors import suggest


@attrs.frozen(kw_only=True)
class Policy:
    """Who may take part. ddpkit's own plugins are blocked by name alone."""

    block: Mapping[str, str] = attrs.field(factory=dict)
    """Name -> who says so."""
    allow: tuple[str, ...] | None = None
    """None = all."""
    allowed_by: str = ""
    enable: tuple[str, ...] = ()
    prefer: Mapping[str, str] = attrs.field(factory=dict)
    """`name` or `kind.name` -> the namespace whose component it means."""
    files: tuple[Path, ...] = ()

    def reason_to_block(self, names: Iterable[str], *, is_builtin: bool) -> str:
        """Why a plugin with these names is not even imported; empty if it is."""
        known = set(map(normal, names))
        for name, who in self.block.items():
            if normal(name) in known:
                return f"blocked by {who}"
        is_allowed = self.allow is None or is_builtin or known & set(map(normal, self.allow))
        return "" if is_allowed else f"not among those that {self.allowed_by} allows"

    def enables(self, names: Iterable[str]) -> bool:
        """Whether the run hooks of a plugin with these names are called."""
        return bool(set(map(normal, names)) & set(map(normal, self.enable)))

    def unmatched(self, installed: Iterable[str]) -> list[str]:
        """Messages for names that no installed plugin has: a misspelt block blocks nothing."""
        known = {normal(name) for name in installed}
        allowed, enabled = dict.fromkeys(self.allow or (), self.allowed_by), dict.fromkeys(self.enable, "[plugins] enable")
        named = {**self.block, **allowed, **enabled}
        return [
            f"{who} names {name!r}, which no installed plugin is called, {suggest(normal(name), known)}"
            for name, who in named.items()
            if normal(name) not in known
        ]


def names_of(entry_point: str, distribution: str) -> set[str]:
    """By what a plugin may be called in a policy: its entry point, its namespace, its distribution, that without `ddpkit-`."""
    return {entry_point, entry_point.partition(".")[0], distribution, normal(distribution).removeprefix("ddpkit-")}


def normal(name: str) -> str:
    """Names as the package index compares them (PEP 503)."""
    return re.sub(r"[-_]+", "-", name).lower()
