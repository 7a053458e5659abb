"""Validation of a config: keys, names, values, parameters, and whether the batch size fits the number of ranks.

No component is created. Parameters are read from the source code of their targets. A target is imported only if its source
does not show all of its parameters, and only before a run starts or for `ddpkit check --deep`.
"""

import importlib.metadata
import itertools
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Set

import attrs

from ddpkit.config import schema
from ddpkit.config.component_refs import ComponentRef, find_entry, optimizer_tables, references
from ddpkit.config.converter import Issue, is_covered, structure, table_keys
from ddpkit.config.cross_field_rules import NEW_RUN_RULES, RULES, WARNINGS, Rule, helper_issues, rank_issues
from ddpkit.config.loading import Config, sort_problems
from ddpkit.config.parameters import Parameters, import_parameters, read_parameters, structure_parameter
from ddpkit.config.plugin_params import failed_plugin_warnings, plugin_param_issues
from ddpkit.errors import ConfigError, Diagnostic, KeyPath, PluginError, closest, suggest
from ddpkit.plugins.component import ImageType
from ddpkit.plugins.manager import Plugins
from ddpkit.plugins.registry import Entry, Registry, UnknownNameError
from ddpkit.plugins.signatures import UNREAD


@attrs.frozen
class Unchecked:
    """Part of a config that is not checked."""

    reference: ComponentRef
    reason: str
    path: KeyPath
    """Key path of the component's name or, for a key that no check can examine, of this key."""
    needs_import: bool = False
    """Whether the part can be checked after an import of the component."""


@attrs.frozen
class CheckReport:
    """Result of validating a config."""

    problems: tuple[Diagnostic, ...]
    """Mistakes, sorted by file, line and column."""
    needs_failed_plugin: bool = False
    warnings: tuple[Diagnostic, ...] = ()
    policy_warnings: tuple[str, ...] = ()
    """Messages about names in the plugin policy that match no installed plugin."""
    unchecked: tuple[Unchecked, ...] = ()
    """Parts of the config that are not checked."""


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
            found, left = reference_issues(config.run, plugins, reference)
            wrong += [issue for issue in found if not is_covered(issue.path, config.issues)]
            unchecked += left
    wrong += [issue for issue in helper_issues(config.run) if not is_covered(issue.path, wrong)]
    wrong += [issue for issue in prefer_issues(config.run, plugins.registry) if not is_covered(issue.path, wrong)]
    if is_new or n_ranks is not None:  # a test or a prediction calls no run hooks
        wrong += [issue for issue in plugin_param_issues(config.run, plugins) if not is_covered(issue.path, wrong)]
    if not is_covered(("transform",), wrong):
        wrong += tensor_issues(config.run, plugins.registry)
    if not any(covers_path((key,), wrong) for key in ("metrics", "postprocess")):
        wrong += prediction_issues(config.run, plugins.registry)
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
    """Import the unchecked targets, and return the report with the issues found in them, and what is still not checked."""
    deferred = [each.reference for each in report.unchecked if each.needs_import]
    found = [reference_issues(config.run, plugins, reference, deep=True) for reference in deferred]
    issues = [issue for part, _ in found for issue in part]
    left = [each for each in report.unchecked if each.reference not in deferred]
    left += [each for _, part in found for each in part]
    problems = sort_problems([*report.problems, *map(config.placed, issues)])
    blames = report.needs_failed_plugin or any(issue.caused_by_plugin for issue in issues)
    return attrs.evolve(report, problems=tuple(problems), needs_failed_plugin=blames, unchecked=tuple(left))


def reference_issues(
    run: schema.Run, plugins: Plugins, reference: ComponentRef, *, deep: bool = False
) -> tuple[list[Issue], list[Unchecked]]:
    """Check the name of a component, then its parameters. Return the issues, and what is not checked."""
    try:
        entry = find_entry(reference, plugins.registry)
    except UnknownNameError as error:
        message, blames = str(error) + failed_plugin_note(plugins), is_plugin_failed(reference.name, plugins)
        return [Issue(reference.path, message, at_key=reference.is_key, caused_by_plugin=blames)], []
    if missing := missing_library_message(entry):
        message = f"{entry.qualified_name} requires a library that is not installed; run: pip install {missing}"
        return [Issue(reference.path, message, at_key=reference.is_key, caused_by_plugin=True)], []
    try:
        parameters = import_parameters(entry) if deep else read_parameters(entry)
    except PluginError as error:
        return [Issue(reference.path, error.problems[0].message, at_key=reference.is_key, caused_by_plugin=True)], []
    if parameters is None:
        return [], [Unchecked(reference, NEEDS_IMPORT, reference.path, needs_import=True)]
    if absent := parameters.missing_in_target:
        message = f"{entry.qualified_name} ({entry.distribution}) declares the parameter {absent[0]!r}, which its target lacks"
        return [Issue(reference.path, message, at_key=reference.is_key, caused_by_plugin=True)], []
    issues = list(parameter_issues(reference, parameters))
    if reference.kind == "optimizer":
        issues += group_issues(optimizer_tables(run.train)[reference.params_path], reference, parameters)
    return issues, list(unchecked_parts(run, reference, parameters))


NEEDS_IMPORT = "its source code does not show all parameters; use `ddpkit check --deep`, which imports the component"


def unchecked_parts(run: schema.Run, reference: ComponentRef, parameters: Parameters) -> Iterator[Unchecked]:
    """Yield what the parameters do not show: types that need an import, and keys for the `**kwargs` of the target."""
    named = reference.named_params(parameters)
    groups = optimizer_tables(run.train)[reference.params_path].groups if reference.kind == "optimizer" else []
    paths = {(*reference.params_path, name): name for name in named}
    paths |= {(*reference.params_path, "groups", n, name): name for n, group in enumerate(groups) for name in group}
    if any(parameters.settable.get(name) is UNREAD and name in parameters.signature.parameters for name in paths.values()):
        yield Unchecked(reference, NEEDS_IMPORT, reference.path, needs_import=True)
    for path, name in paths.items():
        if parameters.takes_any_key(name) and name not in ("match", "learning_rate"):
            hint = f", did you mean {meant!r}?" if (meant := closest(name, parameters.settable)) else ""
            yield Unchecked(reference, f"{reference.kind} {reference.name!r} accepts any key (**kwargs){hint}", path)


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


def prediction_issues(run: schema.Run, registry: Registry) -> Iterator[Issue]:
    """Yield an issue for the first metric that requires predictions, if the config has no postprocess to compute them."""
    metrics = [] if run.postprocess else [each for each in references(run) if each.kind == "metric"]
    needs_them = (each for each in metrics if find_entry(each, registry).component.takes != "logits")
    for reference in itertools.islice(needs_them, 1):
        remedy = "set 'postprocess', which computes them from the model's outputs"
        yield Issue(("metrics",), f"metric {reference.name!r} requires predictions; {remedy}", at_key=True)


def parameter_issues(reference: ComponentRef, parameters: Parameters) -> Iterator[Issue]:
    """Yield the issues of a component's parameters: unknown keys, wrong types, missing parameters."""
    named, known = reference.named_params(parameters), parameters.settable
    if isinstance(reference.params, list) and len(reference.params) > len(named):
        message = f"must have at most {len(named)} values: {', '.join(parameters.in_order) or 'none'}"
        yield Issue(reference.params_path, message)
        return
    for number, (name, value) in enumerate(named.items()):
        path = (*reference.params_path, name if isinstance(reference.params, Mapping) else number)
        if name in known:
            yield from structure_parameter(value, known[name], path)[1]
        elif name in parameters.component.bound:
            fixed = parameters.component.bound[name]
            message = f"{reference.kind} {reference.name!r} sets this key itself, to {fixed!r}; remove it"
            yield Issue(path, message, at_key=True)
        elif not parameters.takes_any_key(name):
            meant = closest(name, known)
            offered = known if meant else parameters.in_toml
            yield Issue(path, unknown_parameter_message(reference, name, offered), at_key=True, suggestion=meant)
            yield from structure_parameter(value, known.get(meant, UNREAD), path)[1]
    # A misspelt key is reported once, and not a second time as a missing parameter.
    missing = parameters.required - named.keys() - {closest(name, known) for name in named if name not in known}
    yield from missing_issues(reference, missing)
    yield from arch_issues(reference, parameters)
    yield from spelling_issues(reference, parameters)


def spelling_issues(reference: ComponentRef, parameters: Parameters) -> Iterator[Issue]:
    """Yield an issue for a parameter that is set twice: by its own name, and by that of its run-time value."""
    named = reference.named_params(parameters)
    for value, name in parameters.aliases.items():
        if value != name and value in named and named.get(name, named[value]) != named[value]:
            yield Issue((*reference.params_path, value), f"is the same parameter as {name!r}; set only one of them", at_key=True)


def arch_issues(reference: ComponentRef, parameters: Parameters) -> Iterator[Issue]:
    """Yield an issue if `arch` is not a parameter of the model, but is set to another name than the model's."""
    given = reference.params.get("arch") if reference.kind == "model" and isinstance(reference.params, Mapping) else None
    if given is not None and "arch" not in parameters.settable and given != reference.name.rpartition("/")[2]:
        yield Issue(
            (*reference.params_path, "arch"), f"must be {reference.name!r}, the name of the model; correct or remove this key"
        )


def group_issues(table: schema.Optimizer, reference: ComponentRef, parameters: Parameters) -> Iterator[Issue]:
    """Check `optimizer.groups`: allowed keys are `match` and those of the optimizer's own table.

    An optimizer that gets the model in place of the parameters has no such groups.
    """
    if "model" in parameters.from_run and "params" not in parameters.from_run:
        message = f"optimizer {reference.name!r} builds the groups of parameters itself; remove this key"
        names = ["groups"] * bool(table.groups) + ["decay_norm_and_bias"] * (not table.decay_norm_and_bias)
        yield from (Issue((*reference.params_path, name), message, at_key=True) for name in names)
        return
    known = {"learning_rate": float, **parameters.settable}
    for number, group in enumerate(table.groups):
        path = (*reference.params_path, "groups", number)
        if not isinstance(group.get("match"), str):
            yield Issue(path, "'match' is missing; set it to a pattern of parameter names, such as match = \"backbone.*\"")
        for name, value in group.items():
            if name in known:
                yield from [] if known[name] is UNREAD else structure(value, known[name], (*path, name))[1]
            elif name != "match" and not parameters.takes_any_key(name):
                yield Issue((*path, name), unknown_parameter_message(reference, name, known), at_key=True)
    if not table.decay_norm_and_bias and not {"weight_decay"} & known.keys():
        message = f"optimizer {reference.name!r} has no weight decay; remove this key"
        yield Issue((*reference.params_path, "decay_norm_and_bias"), message)


def missing_issues(reference: ComponentRef, missing: Set[str]) -> Iterator[Issue]:
    """Yield an issue for each parameter without a default that neither the TOML nor the run provides."""
    for name in sorted(missing):
        yield Issue(reference.params_path, f"{reference.kind} {reference.name!r} requires the key {name!r}", at_key=True)


def unknown_parameter_message(reference: ComponentRef, name: str, known: Iterable[str]) -> str:
    """Return the message for a key that the target does not accept."""
    if reference.kind == "optimizer" and name in {*table_keys(schema.OptimizerPart)} - {*reference.core_keys}:
        return "is allowed only for one of several optimizers; write [[train.optimizer]] in place of [train.optimizer]"
    hint = "did you mean 'learning_rate'?" if name == "lr" else suggest(name, [*reference.core_keys, *known])
    return f"{reference.kind} {reference.name!r} has no such key, {hint}"
