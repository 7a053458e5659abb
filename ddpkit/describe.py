"""A component for people: its source, its parameters, how it is written in a TOML."""

import inspect
from typing import Any

import attrs

from ddpkit import signatures, toml
from ddpkit.hookspecs import RUNTIME_VALUES
from ddpkit.references import NEVER_IN_TOML
from ddpkit.registry import BUILTIN, Entry
from ddpkit.signatures import UNREAD, Signature
from ddpkit.structure import describe, stand_in

PLACES = {
    "model": "[model]\nname = {name}\n\n[model.config]\n{lines}",
    "criterion": "[[criterion]]\ntype = {name}\nweight = 1.0\nconfig = {table}\n",
    "transform": "[transform]\n{key} = {table}\n",
    "postprocess": "postprocess = {{ type = {name}, config = {table} }}\n",
    "metric": "metrics = [{{ type = {name}, config = {table} }}]\n",
    "dataset": '[dataset]\nname = {name}\nroot_dir = "./data"\n\n[dataset.config]\n{lines}',
    "split": "[dataset.split]\ntype = {name}\n{lines}",
    "optimizer": "[train.optimizer]\ntype = {name}\nlearning_rate = 0.001\n{lines}",
    "lr_scheduler": "[train.lr_scheduler]\ntype = {name}\n{lines}",
    "logger": "[private]\nloggers = [{{ type = {name}, config = {table} }}]\n",
    "writer": "[predict.config]\noutput_format = {name}\n{lines}",
}
"""Kind -> how it is written."""


@attrs.frozen
class Parameter:
    """A key of a component's table."""

    name: str
    kind: str
    """Its type in the words of TOML."""
    default: str
    """As TOML has it; `required`, `-` where leaving it out has a meaning of its own, `?` where source does not tell."""
    written: str
    """A value for an example; empty where it is better left out."""


@attrs.frozen
class Description:
    """All that is known of a component."""

    entry: Entry
    source: str
    """`file:line`."""
    help: str
    """The docstring of its target."""
    parameters: tuple[Parameter, ...]


def described(entry: Entry) -> Description:
    """From its source; its target is imported only if that does not tell what it takes."""
    target = entry.component.target
    signature = signatures.from_source(target) or signatures.inspected(target)
    hidden = NEVER_IN_TOML | RUNTIME_VALUES[entry.kind] - {"root_dir"}
    names = [name for name in signature.parameters if name not in hidden]
    parameters = tuple(parameter(signature, name) for name in names if name != "root_dir")
    return Description(entry, signatures.defined_at(target), inspect.cleandoc(signatures.docstring(target)), parameters)


def parameter(signature: Signature, name: str) -> Parameter:
    """One of them."""
    kind, is_required = signature.parameters[name], name not in signature.defaults
    text = "?" if kind is UNREAD else "anything" if kind is Any else describe(kind)
    if is_required:
        return Parameter(name, text, "required", toml.inline("" if text in ("?", "anything") else stand_in(kind)))
    default = signature.defaults[name]
    if default is UNREAD or default is None:
        return Parameter(name, text, "?" if default is UNREAD else "-", "")
    return Parameter(name, text, toml.inline(default), toml.inline(default))


def example(description: Description) -> str:
    """TOML that can be pasted: the author's, else every parameter with its default, or the emptiest value."""
    entry = description.entry
    if entry.component.example:
        return entry.component.example.rstrip("\n") + "\n"
    name = entry.component.name if entry.namespace == BUILTIN else entry.qualified_name
    pairs = [f"{each.name} = {each.written}" for each in description.parameters if each.written]
    inline, lines = "{ " + ", ".join(pairs) + " }" if pairs else "{}", "".join(f"{pair}\n" for pair in pairs)
    return PLACES[entry.kind].format(name=toml.inline(name), key=toml.dotted((name,)), table=inline, lines=lines)
