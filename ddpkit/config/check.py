"""Validation of a config: keys, names, values, parameters, and whether the batch size fits the number of ranks.

No component is created. Parameters are read from the source code of their targets. A target is imported only if its source
does not show all of its parameters, and only before a run starts or for `ddpkit check --deep`.
"""

import importlib.metadata
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Any

import attrs

from ddpkit.config import schema
from ddpkit.config.component_refs import NEVER_IN_TOML, ComponentRef, find_entry, only_from_run, references
from ddpkit.config.converter import Issue, is_covered, structure
from ddpkit.config.cross_field_rules import NEW_RUN_RULES, RULES, WARNINGS, Rule, rank_issues
from ddpkit.config.loading import Config, sort_problems
from ddpkit.config.plugin_params import failed_plugin_warnings, plugin_param_issues
from ddpkit.errors import ConfigError, Diagnostic, KeyPath, PluginError, closest, suggest
from ddpkit.plugins import signatures
from ddpkit.plugins.hookspecs import RUNTIME_VALUES, ImageType
from ddpkit.plugins.manager import Plugins
from ddpkit.plugins.registry import Entry, Registry, UnknownNameError
from ddpkit.plugins.signatures import UNREAD, Signature


@attrs.frozen
class CheckReport:
    """Result of validating a config."""

    problems: tuple[Diagnostic, ...]
    """Mistakes, sorted by file, line and column."""
    needs_failed_plugin: bool = False
    warnings: tuple[Diagnostic, ...] = ()
    policy_warnings: tuple[str, ...] = ()
    """Messages about names in the plugin policy that match no installed plugin."""
    unchecked: tuple[ComponentRef, ...] = ()
    """References to components whose parameters can be fully checked only after an import."""


def check(
    config: Config,
    plugins: Plugins,
    n_ranks: int | None,
    *,
    is_new: bool = True,
    before_imports: Callable[[], None] = lambda: None,
) -> CheckReport:
    """Validate the config fully, and return the report.

    `n_ranks`: None if it is not known yet. `is_new`: false for a run that exists, which is resumed, tested or used to predict.
    `before_imports`: called before components are imported, if the source code shows no mistake.
    Raises ConfigError with all mistakes, or PluginError if one of them is caused by a plugin that cannot be used.
    """
    report = validate(config, plugins, n_ranks, is_new=is_new)
    if not report.problems:  # imports take seconds, so they come last
        before_imports()
        report = validate_with_imports(report, config, plugins)
    if report.problems:
        raise (PluginError if report.needs_failed_plugin else ConfigError)(report.problems)
    return report


def validate(config: Config, plugins: Plugins, n_ranks: int | None, *, is_new: bool = True) -> CheckReport:
    """Return a report of all mistakes that can be found without an import; parameters: see `check`."""
    wrong, references_, unchecked = list(config.issues), references(config.run), []
    for reference in references_:
        if not is_covered(reference.path, config.issues):
            found, is_complete = reference_issues(config.run, plugins, reference)
            wrong += [issue for issue in found if not is_covered(issue.path, config.issues)]
            unchecked += [] if is_complete else [reference]
    wrong += [issue for issue in prefer_issues(config.run, plugins.registry) if not is_covered(issue.path, wrong)]
    if is_new or n_ranks is not None:  # a test or a prediction calls no run hooks
        wrong += [issue for issue in plugin_param_issues(config.run, plugins) if not is_covered(issue.path, wrong)]
    if not is_covered(("transform",), wrong):
        wrong += tensor_issues(config.run, plugins.registry)
    for rule in [*RULES, *(NEW_RUN_RULES if is_new else ())]:
        wrong += rule_issues(rule, config.run, wrong)
    if n_ranks is not None and not covers_path(("ddp",), wrong):
        wrong += [issue for issue in rank_issues(config.run, n_ranks) if not covers_path(issue.path, wrong)]
    warnings = [*WARNINGS, *(() if is_new else NEW_RUN_RULES)]
    warned = [issue for rule in warnings for issue in rule_issues(rule, config.run, wrong)]
    warned += failed_plugin_warnings(config.run, plugins)
    return CheckReport(
        problems=tuple(sort_problems(map(config.placed, wrong))),
        needs_failed_plugin=any(issue.caused_by_plugin for issue in wrong),
        warnings=tuple(map(config.placed, [*warned, *deprecation_warnings(references_, plugins.registry)])),
        policy_warnings=plugins.warnings,
        unchecked=tuple(unchecked),
    )


def rule_issues(rule: Rule, run: schema.Run, known: Iterable[Issue]) -> list[Issue]:
    """Return the issues of a rule; none if it reads a key that has an issue already."""
    reads, find_issues = rule
    return [] if any(covers_path(path, known) for path in reads) else list(find_issues(run))


def check_ranks(config: Config, n_ranks: int) -> None:
    """Raise ConfigError if the config does not fit the number of ranks, which was not known when it was validated."""
    if issues := list(rank_issues(config.run, n_ranks)):
        raise ConfigError(sort_problems(map(config.placed, issues)))


def ranks_in_file(run: schema.Run) -> int | None:
    """Return the number of ranks that the file requests; None if it depends on the machine."""
    if not run.ddp.enabled:
        return 1
    if isinstance(run.ddp.nproc, int):
        return run.ddp.nproc
    return 1 if run.device == "cpu" or ":" in run.device else None  # one device; otherwise one rank for each GPU


def covers_path(path: KeyPath, issues: Iterable[Issue]) -> bool:
    """Return whether there is an issue at, above or below a path."""
    issues = list(issues)
    return is_covered(path, issues) or any(issue.path[: len(path)] == path for issue in issues)


def validate_with_imports(report: CheckReport, config: Config, plugins: Plugins) -> CheckReport:
    """Import the unchecked targets, and return the report with the issues found in them."""
    issues = [issue for each in report.unchecked for issue in reference_issues(config.run, plugins, each, deep=True)[0]]
    problems = sort_problems([*report.problems, *map(config.placed, issues)])
    blames = report.needs_failed_plugin or any(issue.caused_by_plugin for issue in issues)
    return attrs.evolve(report, problems=tuple(problems), needs_failed_plugin=blames, unchecked=())


def reference_issues(
    run: schema.Run, plugins: Plugins, reference: ComponentRef, *, deep: bool = False
) -> tuple[list[Issue], bool]:
    """Check the name of a component, then its parameters. Return the issues, and whether all parameters were checked."""
    try:
        entry = find_entry(reference, plugins.registry)
    except UnknownNameError as error:
        message, blames = str(error) + failed_plugin_note(plugins), is_plugin_failed(reference.name, plugins)
        return [Issue(reference.path, message, at_key=reference.is_key, caused_by_plugin=blames)], True
    if missing := missing_library_message(entry):
        message = f"{entry.qualified_name} requires a library that is not installed; run: pip install {missing}"
        return [Issue(reference.path, message, at_key=reference.is_key, caused_by_plugin=True)], True
    try:
        signature = read_signature(entry, deep=deep)
    except Exception as error:  # noqa: BLE001 - a plugin's import may raise anything
        message = f"{entry.qualified_name} ({entry.distribution}) cannot be imported: {type(error).__name__}: {error}"
        return [Issue(reference.path, message, at_key=reference.is_key, caused_by_plugin=True)], True
    if signature is None:
        return [], False
    issues = list(parameter_issues(reference, signature))
    issues += group_issues(run, reference, signature) if reference.kind == "optimizer" else []
    unknown = UNREAD if signature.takes_any else None
    grouped = [name for group in run.train.optimizer.groups for name in group] if reference.kind == "optimizer" else []
    given = [signature.parameters.get(name, unknown) for name in [*reference.named_params(signature), *grouped]]
    return issues, deep or UNREAD not in given


def read_signature(entry: Entry, *, deep: bool) -> Signature | None:
    """Return the parameters of the target; None if they are unknown without an import."""
    return (signatures.inspect_target if deep else signatures.read_from_source)(entry.component.target)


def missing_library_message(entry: Entry) -> str:
    """Return the missing libraries of a component as arguments of `pip install`; empty if none is missing."""
    missing = []
    for requirement in entry.component.requires:
        try:
            importlib.metadata.distribution(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])
        except importlib.metadata.PackageNotFoundError:
            missing.append(requirement)
    return " ".join(shlex.quote(requirement) for requirement in missing)


def is_plugin_failed(name: str, plugins: Plugins) -> bool:
    """Return whether a qualified name belongs to a plugin that did not load."""
    namespace, slash, _ = name.partition("/")
    return bool(slash) and any(plugin.name.partition(".")[0] == namespace for plugin in plugins.failed)


def failed_plugin_note(plugins: Plugins) -> str:
    """Return a note that lists the plugins that did not load: one of them may define the unknown name."""
    notes = [f"plugin {each.name} ({each.distribution}) has the status {each.status!r}: {each.error}" for each in plugins.failed]
    return "".join(f"; note: {note}" for note in notes)


def deprecation_warnings(named: Iterable[ComponentRef], registry: Registry) -> Iterator[Issue]:
    for reference in named:
        try:
            entry = find_entry(reference, registry)
        except UnknownNameError:
            continue
        if entry.component.deprecated:
            yield Issue(
                reference.path, f"{reference.name!r} is deprecated: {entry.component.deprecated}", at_key=reference.is_key
            )


def prefer_issues(run: schema.Run, registry: Registry) -> Iterator[Issue]:
    """Yield an issue for each entry of `[plugins.prefer]` that matches no component."""
    for name, namespace in run.plugins.prefer.items():
        kind, dot, bare = name.partition(".")
        entries = [entry for entry in registry if not dot or entry.kind == kind]
        owners = {entry.namespace for entry in entries if (bare or name) in entry.bare_names}
        if namespace not in owners:
            message = f"plugin {namespace!r} has no component {name!r}, {suggest(namespace, owners)}"
            yield Issue(("plugins", "prefer", name), message)


def tensor_issues(run: schema.Run, registry: Registry) -> Iterator[Issue]:
    """Yield an issue if the images of the dataset are still PIL images after all transforms, as their components declare."""
    if image_type_of_samples(run, registry) == "pil":
        known = [entry.component for entry in registry if entry.kind == "transform" and entry.component.image_type == "tensor"]
        lines = " or ".join(f"'{each.name} = []' ({each.doc})" for each in known)
        message = f"dataset {run.dataset.name!r} returns PIL images, not tensors; add {lines} to [transform]"
        yield Issue(("transform",), message, at_key=True)


def image_type_of_samples(run: schema.Run, registry: Registry) -> ImageType | None:
    """Return the type of the dataset's images after all transforms; None if a component is unknown or does not declare it."""
    found = {kind: [each for each in references(run) if each.kind == kind] for kind in ("dataset", "transform")}
    image_type: ImageType | None = None
    try:
        for reference in (*found["dataset"], *found["transform"]):
            given = find_entry(reference, registry).component.image_type
            image_type = image_type if given == "same" else given
    except UnknownNameError:
        return None
    return image_type


def parameter_issues(reference: ComponentRef, signature: Signature) -> Iterator[Issue]:
    """Yield the issues of a component's parameters: unknown keys, wrong types, missing parameters."""
    named = reference.named_params(signature)
    never = only_from_run(reference.kind)
    known = [name for name in signature.parameters if name not in never]
    if isinstance(reference.params, list) and len(reference.params) > len(named):
        yield Issue(reference.params_path, f"must have at most {len(named)} values: {', '.join(known) or 'none'}")
        return
    for number, (name, value) in enumerate(named.items()):
        path = (*reference.params_path, name if isinstance(reference.params, Mapping) else number)
        if name in known:
            yield from value_issues(value, signature.parameters[name], path)
        elif name in never or not signature.takes_any:
            meant = closest(name, known)
            yield Issue(path, unknown_parameter_message(reference, name, known), at_key=True, suggestion=meant)
            yield from value_issues(value, signature.parameters.get(meant, UNREAD), path)
    # A misspelt key is reported once, and not a second time as a missing parameter.
    missing = signature.required - named.keys() - {closest(name, known) for name in named if name not in known}
    yield from missing_issues(reference, missing)
    yield from arch_issues(reference, signature)


def arch_issues(reference: ComponentRef, signature: Signature) -> Iterator[Issue]:
    """Yield an issue if the table of a model without the parameter `arch` sets `arch` to another name than the model's."""
    given = reference.params.get("arch") if reference.kind == "model" and isinstance(reference.params, Mapping) else None
    if given is not None and "arch" not in signature.parameters and given != reference.name.rpartition("/")[2]:
        yield Issue(
            (*reference.params_path, "arch"), f"must be {reference.name!r}, the name of the model; correct or remove this key"
        )


def group_issues(run: schema.Run, reference: ComponentRef, signature: Signature) -> Iterator[Issue]:
    """Check `optimizer.groups`: allowed keys are `match` and those of the optimizer's own table."""
    known = {"learning_rate": float, **{name: kind for name, kind in signature.parameters.items() if name not in NEVER_IN_TOML}}
    for number, group in enumerate(run.train.optimizer.groups):
        path = (*reference.params_path, "groups", number)
        if not isinstance(group.get("match"), str):
            yield Issue(path, "'match' is missing; set it to a pattern of parameter names, such as match = \"backbone.*\"")
        for name, value in group.items():
            if name in known:
                yield from value_issues(value, known[name], (*path, name))
            elif name != "match" and not signature.takes_any:
                yield Issue((*path, name), unknown_parameter_message(reference, name, list(known)), at_key=True)
    if not run.train.optimizer.decay_norm_and_bias and not {"weight_decay"} & known.keys():
        message = f"optimizer {reference.name!r} has no weight decay; remove this key"
        yield Issue((*reference.params_path, "decay_norm_and_bias"), message)


def value_issues(value: Any, kind: Any, path: KeyPath) -> list[Issue]:
    """Return the issues of a value; none if the type of the parameter is unknown without an import."""
    return [] if kind is UNREAD else structure(value, kind, path)[1]


def missing_issues(reference: ComponentRef, missing: Set[str]) -> Iterator[Issue]:
    """Yield an issue for each parameter without a default that neither the TOML nor the run provides."""
    for name in sorted(missing - RUNTIME_VALUES[reference.kind]):
        yield Issue(reference.params_path, f"{reference.kind} {reference.name!r} requires the key {name!r}", at_key=True)


def unknown_parameter_message(reference: ComponentRef, name: str, known: list[str]) -> str:
    """Return the message for a key that the target does not accept."""
    hint = "did you mean 'learning_rate'?" if name == "lr" else suggest(name, [*reference.core_keys, *known])
    return f"{reference.kind} {reference.name!r} has no such key, {hint}"
