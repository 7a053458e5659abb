"""Is this config right? Every key and name known, every value and parameter valid, the batch fit for the ranks.

Nothing is built. Parameters are read from their targets' source; only what that does not tell is imported, when a run is
about to begin or `ddpkit check --deep` asks for it.
"""

import importlib.metadata
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from ddpkit.config import schema
from ddpkit.config.component_refs import NEVER_IN_TOML, Reference, find, n_classes, references
from ddpkit.config.converter import Fault, covered, structure
from ddpkit.config.cross_field_rules import RULES, rank_faults, warnings_of
from ddpkit.config.loading import Config, sorted_problems
from ddpkit.errors import ConfigError, KeyPath, PluginError, Problem, closest, suggest
from ddpkit.plugins import signatures
from ddpkit.plugins.hookspecs import RUNTIME_VALUES
from ddpkit.plugins.manager import Plugins
from ddpkit.plugins.registry import Entry, Registry, UnknownNameError
from ddpkit.plugins.signatures import UNREAD, Signature


@attrs.frozen
class Verdict:
    """What is to be said of a config."""

    problems: tuple[Problem, ...]
    """Mistakes, in order of line."""
    needs_failed_plugin: bool = False
    warnings: tuple[Problem, ...] = ()
    policy_warnings: tuple[str, ...] = ()
    """Names of plugins in a policy that nothing has."""
    unchecked: tuple[Reference, ...] = ()
    """Components whose source does not tell all that they take."""


def check(config: Config, plugins: Plugins, n_ranks: int | None) -> Verdict:
    """Raise ConfigError with everything that keeps the config from running, PluginError if a plugin is why.

    What source does not tell is imported and judged too, but only when nothing else is wrong: that takes seconds.
    """
    verdict = judge(config, plugins, n_ranks)
    if not verdict.problems:
        verdict = deepened(verdict, config, plugins)
    if verdict.problems:
        raise (PluginError if verdict.needs_failed_plugin else ConfigError)(verdict.problems)
    return verdict


def judge(config: Config, plugins: Plugins, n_ranks: int | None) -> Verdict:
    """All that can be told by reading. `n_ranks`: None where that is for the machine to say."""
    wrong, references_, unchecked = list(config.faults), references(config.run), []
    for reference in references_:
        if not covered(reference.path, config.faults):
            found, is_complete = reference_faults(config.run, plugins, reference)
            wrong += [fault for fault in found if not covered(fault.path, config.faults)]
            unchecked += [] if is_complete else [reference]
    wrong += [fault for fault in prefer_faults(config.run, plugins.registry) if not covered(fault.path, wrong)]
    for reads, rule in RULES:
        if not any(touched(path, wrong) for path in reads):
            wrong += rule(config.run)
    if n_ranks is not None and not touched(("ddp",), wrong):
        wrong += [fault for fault in rank_faults(config.run, n_ranks) if not touched(fault.path, wrong)]
    return Verdict(
        problems=tuple(sorted_problems(map(config.placed, wrong))),
        needs_failed_plugin=any(fault.blames_plugin for fault in wrong),
        warnings=tuple(map(config.placed, [*warnings_of(config.run), *deprecated(references_, plugins.registry)])),
        policy_warnings=plugins.warnings,
        unchecked=tuple(unchecked),
    )


def ranks_in_file(run: schema.Run) -> int | None:
    """How many ranks the file itself asks for; None where that is for the machine to say."""
    if not run.ddp.enabled:
        return 1
    return run.ddp.nproc if isinstance(run.ddp.nproc, int) else None


def touched(path: KeyPath, faults: Iterable[Fault]) -> bool:
    """Whether something at, above or below a path is wrong."""
    faults = list(faults)
    return covered(path, faults) or any(fault.path[: len(path)] == path for fault in faults)


def deepened(verdict: Verdict, config: Config, plugins: Plugins) -> Verdict:
    """The verdict after importing what must be imported to be judged."""
    faults = [fault for each in verdict.unchecked for fault in reference_faults(config.run, plugins, each, deep=True)[0]]
    problems = sorted_problems([*verdict.problems, *map(config.placed, faults)])
    blames = verdict.needs_failed_plugin or any(fault.blames_plugin for fault in faults)
    return attrs.evolve(verdict, problems=tuple(problems), needs_failed_plugin=blames, unchecked=())


def reference_faults(run: schema.Run, plugins: Plugins, reference: Reference, *, deep: bool = False) -> tuple[list[Fault], bool]:
    """One component: its name, then its parameters; and whether all that the config gives it could be judged."""
    try:
        entry = find(reference, plugins.registry)
    except UnknownNameError as error:
        message, blames = str(error) + failed_note(plugins), plugin_failed(reference.name, plugins)
        return [Fault(reference.path, message, at_key=reference.is_key, blames_plugin=blames)], True
    if missing := missing_libraries(entry):
        message = f"{entry.qualified_name} needs a library: pip install {missing}"
        return [Fault(reference.path, message, at_key=reference.is_key, blames_plugin=True)], True
    try:
        signature = signature_of(entry, deep=deep)
    except Exception as error:  # noqa: BLE001 - a plugin's import may raise anything
        message = f"{entry.qualified_name} ({entry.distribution}) cannot be imported: {type(error).__name__}: {error}"
        return [Fault(reference.path, message, at_key=reference.is_key, blames_plugin=True)], True
    if signature is None:
        return [], False
    faults = list(parameter_faults(run, reference, signature))
    faults += group_faults(run, reference, signature) if reference.kind == "optimizer" else []
    unknown = UNREAD if signature.takes_any else None
    grouped = [name for group in run.train.optimizer.groups for name in group] if reference.kind == "optimizer" else []
    given = [signature.parameters.get(name, unknown) for name in [*reference.named_params(signature), *grouped]]
    return faults, deep or UNREAD not in given


def signature_of(entry: Entry, *, deep: bool) -> Signature | None:
    """What the target takes; None where that is not known without importing it."""
    return (signatures.inspected if deep else signatures.from_source)(entry.component.target)


def missing_libraries(entry: Entry) -> str:
    """What pip is to install before a component can be used; empty if it has all that it requires."""
    missing = []
    for requirement in entry.component.requires:
        try:
            importlib.metadata.distribution(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])
        except importlib.metadata.PackageNotFoundError:
            missing.append(requirement)
    return " ".join(shlex.quote(requirement) for requirement in missing)


def plugin_failed(name: str, plugins: Plugins) -> bool:
    """Whether a qualified name belongs to a plugin that did not load."""
    namespace, slash, _ = name.partition("/")
    return bool(slash) and any(plugin.name.partition(".")[0] == namespace for plugin in plugins.failed)


def failed_note(plugins: Plugins) -> str:
    """Which plugins did not load: one of them may have had the name."""
    notes = [f"plugin {each.name} ({each.distribution}) is {each.status}: {each.error}" for each in plugins.failed]
    return "".join(f"; note: {note}" for note in notes)


def deprecated(named: Iterable[Reference], registry: Registry) -> Iterator[Fault]:
    """Components that will not stay."""
    for reference in named:
        try:
            entry = find(reference, registry)
        except UnknownNameError:
            continue
        if entry.component.deprecated:
            yield Fault(
                reference.path, f"{reference.name!r} is deprecated: {entry.component.deprecated}", at_key=reference.is_key
            )


def prefer_faults(run: schema.Run, registry: Registry) -> Iterator[Fault]:
    """`[plugins.prefer]` names what there is."""
    for name, namespace in run.plugins.prefer.items():
        kind, dot, bare = name.partition(".")
        entries = [entry for entry in registry if not dot or entry.kind == kind]
        owners = {entry.namespace for entry in entries if (bare or name) in entry.bare_names}
        if namespace not in owners:
            yield Fault(("plugins", "prefer", name), f"{namespace!r} has no component {name!r}, {suggest(namespace, owners)}")


def parameter_faults(run: schema.Run, reference: Reference, signature: Signature) -> Iterator[Fault]:
    """Unknown keys, wrong types, missing ones."""
    named = reference.named_params(signature)
    never = NEVER_IN_TOML | RUNTIME_VALUES[reference.kind]
    known = [name for name in signature.parameters if name not in never]
    if isinstance(reference.params, list) and len(reference.params) > len(named):
        yield Fault(reference.params_path, f"takes at most {len(named)} values: {', '.join(known) or 'none'}")
        return
    for number, (name, value) in enumerate(named.items()):
        path = (*reference.params_path, name if isinstance(reference.params, Mapping) else number)
        if name in known:
            yield from value_faults(value, signature.parameters[name], path)
        elif name in never or not signature.takes_any:
            yield Fault(path, unknown_parameter(reference, name, known), at_key=True, meant=closest(name, known))
    missing = signature.required - named.keys() - {closest(name, known) for name in named if name not in known}
    yield from missing_faults(run, reference, missing)
    yield from arch_faults(reference, signature)


def arch_faults(reference: Reference, signature: Signature) -> Iterator[Fault]:
    """A model that takes no `arch` may be given its own name."""
    given = reference.params.get("arch") if reference.kind == "model" and isinstance(reference.params, Mapping) else None
    if given is not None and "arch" not in signature.parameters and given != reference.name.rpartition("/")[2]:
        yield Fault((*reference.params_path, "arch"), f"the model is {reference.name!r}; give that name, or leave this out")


def group_faults(run: schema.Run, reference: Reference, signature: Signature) -> Iterator[Fault]:
    """The keys of `optimizer.groups` are those of the optimizer's own table."""
    known = {"learning_rate": float, **{name: kind for name, kind in signature.parameters.items() if name not in NEVER_IN_TOML}}
    for number, group in enumerate(run.train.optimizer.groups):
        path = (*reference.params_path, "groups", number)
        if not isinstance(group.get("match"), str):
            yield Fault(path, "a group needs 'match', a pattern of parameter names as in \"backbone.*\"")
        for name, value in group.items():
            if name in known:
                yield from value_faults(value, known[name], (*path, name))
            elif name != "match" and not signature.takes_any:
                yield Fault((*path, name), unknown_parameter(reference, name, list(known)), at_key=True)
    if not run.train.optimizer.decay_norm_and_bias and not {"weight_decay"} & known.keys():
        message = f"optimizer {reference.name!r} knows no weight decay"
        yield Fault((*reference.params_path, "decay_norm_and_bias"), message)


def value_faults(value: Any, kind: Any, path: KeyPath) -> list[Fault]:
    """A parameter of the wrong type, as far as the type is known."""
    return [] if kind is UNREAD else structure(value, kind, path)[1]


def missing_faults(run: schema.Run, reference: Reference, missing: Iterable[str]) -> Iterator[Fault]:
    """Parameters without a default that neither the TOML nor the run gives."""
    for name in sorted(missing):
        if name == "n_classes" and reference.kind != "model":
            if n_classes(run) is None:
                message = f"{reference.name!r} needs to know the classes: set 'classes' or 'model.config.n_classes'"
                yield Fault(reference.path, message)
        elif name not in RUNTIME_VALUES[reference.kind]:
            yield Fault(reference.params_path, f"{reference.kind} {reference.name!r} needs {name!r}", at_key=True)


def unknown_parameter(reference: Reference, name: str, known: list[str]) -> str:
    """The message for a key that the target does not take."""
    hint = "did you mean 'learning_rate'?" if name == "lr" else suggest(name, [*reference.core_keys, *known])
    return f"{reference.kind} {reference.name!r} has no such key, {hint}"
