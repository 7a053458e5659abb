"""Policy for plugins, as set on the command line, in the environment and in the TOML."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from ddpkit.errors import suggest


@attrs.frozen(kw_only=True)
class Policy:
    """Rules for the plugins that may be used. `allow` has no effect on ddpkit's own plugins; only `block` excludes them."""

    block: Mapping[str, str] = attrs.field(factory=dict)
    """Name of a blocked plugin -> source of the block, for messages."""
    allow: tuple[str, ...] | None = None
    """Names of the allowed third-party plugins; None allows all."""
    allowed_by: str = ""
    """Source of `allow`, for messages."""
    enable: tuple[str, ...] = ()
    prefer: Mapping[str, str] = attrs.field(factory=dict)
    """`name` or `kind.name` -> namespace of the component that this name refers to."""
    files: tuple[Path, ...] = ()

    def reason_to_block(self, names: Iterable[str], *, is_builtin: bool) -> str:
        """Return the reason why a plugin with these names is not imported; empty if it is imported."""
        known = set(map(normalise_name, names))
        for name, source in self.block.items():
            if normalise_name(name) in known:
                return f"blocked by {source}"
        is_allowed = self.allow is None or is_builtin or known & set(map(normalise_name, self.allow))
        return "" if is_allowed else f"not in the list of allowed plugins ({self.allowed_by})"

    def enables(self, names: Iterable[str]) -> bool:
        """Return whether the run hooks of a plugin with these names are called."""
        return bool(set(map(normalise_name, names)) & set(map(normalise_name, self.enable)))

    def unmatched(self, installed: Iterable[str]) -> list[str]:
        """Return messages for names that no installed plugin has, because a misspelt name in `block` has no effect."""
        known = {normalise_name(name) for name in installed}
        allowed, enabled = dict.fromkeys(self.allow or (), self.allowed_by), dict.fromkeys(self.enable, "[plugins] enable")
        listed = {**self.block, **allowed, **enabled}
        return [
            f"{source} lists {name!r}, but no installed plugin has this name, {suggest(normalise_name(name), known)}"
            for name, source in listed.items()
            if normalise_name(name) not in known
        ]


def policy_names(entry_point: str, distribution: str) -> set[str]:
    """Return the names of a plugin in a policy: entry point, namespace, distribution, distribution without `ddpkit-`."""
    return {entry_point, entry_point.partition(".")[0], distribution, normalise_name(distribution).removeprefix("ddpkit-")}


def normalise_name(name: str) -> str:
    """Return a name in the normalised form of PEP 503, except that dots stay."""
    return re.sub(r"[-_]+", "-", name).lower()
