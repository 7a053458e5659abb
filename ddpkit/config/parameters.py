"""Parameters of a component: which of them the TOML file may set, and which ones the run and the plugin provide."""

import functools
from collections.abc import Mapping
from typing import Any, get_args

import attrs

from ddpkit.config.converter import Issue, describe_type, is_literal, is_plain, is_union, plain_arms, structure
from ddpkit.errors import Diagnostic, KeyPath, PluginError
from ddpkit.plugins import signatures
from ddpkit.plugins.component import ALSO_IN_TOML, RUNTIME_VALUES, Component
from ddpkit.plugins.registry import Entry
from ddpkit.plugins.signatures import UNREAD, Signature

NONE = "none"
"""Spelling of None in a TOML file, for parameters that are annotated as `X | None`."""
NEVER_IN_TOML = frozenset({"params", "model", "optimizer", "lr"})
"""Run-time values that only the run can provide; the TOML key for `lr` is `learning_rate`."""
EXAMPLES: Mapping[str, Any] = {
    "classes": ["cat"],
    "config": {},
    "root_dir": "data",
    **dict.fromkeys(("n_classes", "n_samples", "seed", "total_steps", "epochs", "steps_per_epoch"), 2),
}
"""Run-time value -> example, to see whether it fits an annotation; other run-time values fit every parameter of their name."""


@attrs.frozen
class Parameters:
    """Parameters of the target of a component."""

    kind: str
    component: Component
    signature: Signature

    @functools.cached_property
    def from_run(self) -> Mapping[str, str]:
        """Run-time value -> parameter that gets it, unless the TOML sets this parameter."""
        renamed, bound = self.component.arguments, self.component.bound
        taken = {*bound, *renamed.values()}
        names = [name for name in self.signature.parameters if name in RUNTIME_VALUES[self.kind] - renamed.keys() - taken]
        same = {name: name for name in names if fits(name, self.signature.parameters[name])}
        return same | {value: name for value, name in renamed.items() if name is not None}

    @functools.cached_property
    def settable(self) -> Mapping[str, Any]:
        """Key that the TOML may set -> annotation, in the order of the target's parameters."""
        never = RUNTIME_VALUES[self.kind] & NEVER_IN_TOML
        hidden = {*self.component.bound, *never, *(self.from_run.get(value) for value in never)}
        parameters = {**self.signature.parameters, **{name: self.annotation(name) for name in self.from_run.values()}}
        own = {name: kind for name, kind in parameters.items() if name not in hidden}
        return own | {value: self.annotation(name) for value, name in self.aliases.items() if value not in own}

    @property
    def aliases(self) -> Mapping[str, str]:
        """Run-time value that the TOML may set by its own name -> parameter, such as `n_classes` of a model."""
        return {value: name for value, name in self.from_run.items() if value in ALSO_IN_TOML.get(self.kind, ())}

    @property
    def in_order(self) -> list[str]:
        """Names of the parameters that a list in the TOML sets, in order: those that the run does not provide."""
        return [name for name in self.settable if name not in {*self.from_run, *self.from_run.values()}]

    @property
    def in_toml(self) -> list[str]:
        """Names of the keys to offer to users: without the run-time values that a TOML rarely replaces."""
        return [*self.in_order, *self.aliases]

    @property
    def required(self) -> frozenset[str]:
        """Names of the keys that the TOML must set."""
        return self.signature.required - self.component.bound.keys() - {*self.from_run.values()}

    @property
    def missing_in_target(self) -> list[str]:
        """Parameters that the component declares, but that its target does not have: a mistake of the plugin."""
        declared = [*self.component.bound, *(name for name in self.component.arguments.values() if name is not None)]
        return [] if self.signature.takes_any else [name for name in declared if name not in self.signature.parameters]

    def takes_any_key(self, name: str) -> bool:
        """Return whether only the `**kwargs` of the target accept a key, so that no check can examine it."""
        never = RUNTIME_VALUES[self.kind] & NEVER_IN_TOML
        return self.signature.takes_any and name not in {
            *self.signature.parameters,
            *self.settable,
            *self.component.bound,
            *never,
        }

    def annotation(self, name: str) -> Any:
        """Return the annotation of a parameter; `UNREAD` if only the `**kwargs` of the target accept it."""
        return self.signature.parameters.get(name, UNREAD)

    def by_parameter(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys of a TOML table by the names of the target's parameters, with converted values."""
        unset = {value: name for value, name in self.aliases.items() if name not in given or name == value}
        named = {unset.get(key, key): value for key, value in given.items() if key in unset or key not in self.aliases}
        return {name: structure_parameter(value, self.signature.parameters.get(name, Any))[0] for name, value in named.items()}

    def call_arguments(self, given: Mapping[str, Any], runtime: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for a call of the target. The TOML wins over a run-time value.

        A run-time value `n_classes` that is None is unknown, and is left out.
        """
        injected = {self.from_run[value]: item for value, item in runtime.items() if value in self.from_run}
        if runtime.get("n_classes", 0) is None:
            injected.pop(self.from_run.get("n_classes", ""), None)
        return injected | self.by_parameter(given) | dict(self.component.bound)


def read_parameters(entry: Entry) -> Parameters | None:
    """Return the parameters of a component without an import; None if its source does not show them."""
    signature = signatures.read_from_source(entry.component.target)
    return None if signature is None else Parameters(entry.kind, entry.component, signature)


def import_parameters(entry: Entry) -> Parameters:
    """Import a component and return its parameters. Raises PluginError if it cannot be imported."""
    try:
        return Parameters(entry.kind, entry.component, signatures.inspect_target(entry.component.target))
    except Exception as error:
        message = f"{entry.qualified_name} ({entry.distribution}) cannot be imported: {type(error).__name__}: {error}"
        raise PluginError([Diagnostic(entry.component.target, (), message)]) from error


def fits(value: str, annotation: Any) -> bool:
    """Return whether a run-time value can be passed to a parameter with this annotation; true if that is not known."""
    is_known = value in EXAMPLES and annotation is not UNREAD and is_plain(annotation)
    return not (is_known and structure(EXAMPLES[value], annotation)[1])


def structure_parameter(value: Any, kind: Any, path: KeyPath = ()) -> tuple[Any, list[Issue]]:
    """Convert a TOML value to the type of a parameter, see `converter.structure`. `"none"` is None if the type allows both."""
    if kind is UNREAD:
        return value, []
    return (None, []) if value == NONE and accepts_none(kind) else structure(value, kind, path)


def accepts_none(kind: Any) -> bool:
    """Return whether `"none"` means None for a parameter: its type is `X | None`, and X is not a Literal with this text."""
    literals = [choice for arm in get_args(kind) if is_literal(arm) for choice in get_args(arm)]
    return is_union(kind) and type(None) in get_args(kind) and NONE not in literals


def describe_parameter_type(kind: Any) -> str:
    """Return the type of a parameter in TOML terms; `?` if the source does not show it."""
    if kind is UNREAD or kind is Any:
        return "?" if kind is UNREAD else "anything"
    arms = [describe_type(kind)] if not is_union(kind) or plain_arms(kind) else []
    return " or ".join([*arms, *([f"'{NONE}'"] if accepts_none(kind) else [])])
