"""Is this config right? Every key and name known, every value and parameter valid, the batch fit for the ranks.

Nothing is built. Parameters are read from their targets' source; only what that does not tell is imported, when a run is
about to begin or `ddpkit check --deep` asks for it.
"""

import importlib.metadata
import re
import shlex
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ddpkit import local_files, schema, signatures
from ddpkit.config import Config, sorted_problems
from ddpkit.errors import ConfigError, KeyPath, PluginError, Problem
from ddpkit.hookspecs import RUNTIME_VALUES
from ddpkit.plugins import Plugins
from ddpkit.registry import Entry, Registry, UnknownNameError
from ddpkit.signatures import UNREAD, Signature
from ddpkit.structure import Fault, closest, covered, keys_of, structure, suggest

NEVER_IN_TOML = frozenset({"params", "optimizer", "lr"})
"""Parameters that only the run can give; the rate is `learning_rate` in the TOML."""
PARTS = ("train", "valid", "test")


@attrs.frozen
class Reference:
    """A place in the config that names a component."""

    kind: str
    name: str
    path: KeyPath
    """Of the name."""
    params: Mapping[str, Any] | list[Any]
    """By name, or in the order of the target's parameters."""
    params_path: KeyPath
    key: str = ""
    """What the component is called in history (criteria and metrics)."""
    core_keys: tuple[str, ...] = ()
    """Keys of the same table that are the core's."""

    @property
    def is_key(self) -> bool:
        """The name is the key of its table (`[transform]`)."""
        return self.path == self.params_path

    def named_params(self, signature: Signature) -> dict[str, Any]:
        """The parameters by name; a list is bound in order to what is no run-time value.

        A model's `arch` is the core's to judge where the model does not take it.
        """
        if isinstance(self.params, Mapping):
            return {name: value for name, value in self.params.items() if name in signature.parameters or name != "arch"}
        open_names = [name for name in signature.parameters if name not in RUNTIME_VALUES[self.kind]]
        return dict(zip(open_names, self.params, strict=False))


def references(run: schema.Run) -> list[Reference]:
    """Every component that the config names, in the order of the format."""
    taken = {metric.name or metric.type.rpartition("/")[2] for metric in run.metrics}
    return [
        *(table_reference("metric", metric, ("metrics", number)) for number, metric in enumerate(run.metrics)),
        *(table_reference("postprocess", table, ("postprocess",)) for table in [run.postprocess] if table),
        model_reference(run.model),
        *(criterion_reference(term, number, taken) for number, term in enumerate(run.criterion)),
        *(transform_reference(name, params) for name, params in run.transform.items()),
        Reference("dataset", run.dataset.name, ("dataset", "name"), run.dataset.config, ("dataset", "config")),
        open_reference("split", run.dataset.split, ("dataset", "split")),
        *(table_reference("logger", logger, ("private", "loggers", number)) for number, logger in enumerate(run.private.loggers)),
        open_reference("optimizer", run.train.optimizer, ("train", "optimizer")),
        *(open_reference("lr_scheduler", table, ("train", "lr_scheduler")) for table in [run.train.lr_scheduler] if table),
    ]


def model_reference(model: schema.Model) -> Reference:
    """`[model]`, whose config has keys of the core's."""
    core_keys = ("arch", *keys_of(schema.ModelConfig))
    return Reference("model", model.name, ("model", "name"), model.config.params, ("model", "config"), core_keys=core_keys)


def table_reference(kind: str, table: Any, path: KeyPath) -> Reference:
    """A table of `type` and `config`."""
    key = getattr(table, "name", "") or table.type.rpartition("/")[2]
    return Reference(kind, table.type, (*path, "type"), table.config, (*path, "config"), key)


def criterion_reference(term: schema.Criterion, number: int, taken: Container[str]) -> Reference:
    """An entry of `[[criterion]]`; one without a name that a metric has too is called `dice_loss`."""
    reference = table_reference("criterion", term, ("criterion", number))
    is_taken = not term.name and reference.key in taken
    return attrs.evolve(reference, key=f"{reference.key}_loss") if is_taken else reference


def open_reference(kind: str, table: Any, path: KeyPath) -> Reference:
    """A table of `type` and the component's own keys."""
    return Reference(kind, table.type, (*path, "type"), table.params, path, core_keys=tuple(keys_of(type(table))))


def transform_reference(name: str, params: Any) -> Reference:
    """A key of `[transform]`; a single value is a list of one."""
    path = ("transform", name)
    return Reference("transform", name, path, params if isinstance(params, Mapping | list) else [params], path)


def n_classes(run: schema.Run) -> int | None:
    """How many classes the run tells apart: as many as it names or the model is asked for, whatever is more."""
    asked = run.model.config.params.get("n_classes")
    return max(len(run.classes), asked if isinstance(asked, int) else 0) or None


def class_names(run: schema.Run) -> list[str]:
    """The names of the classes; missing ones are numbered. Empty when the run names none."""
    n_missing = (n_classes(run) or 0) - len(run.classes) if run.classes else 0
    return [*run.classes, *(f"class_{len(run.classes) + number}" for number in range(n_missing))]


@attrs.frozen
class Verdict:
    """What is to be said of a config."""

    problems: tuple[Problem, ...]
    """Mistakes, in order of line."""
    needs_failed_plugin: bool = False
    later: tuple[Problem, ...] = ()
    """Keys that are right and not built yet: no mistake of the file, but no run either."""
    warnings: tuple[Problem, ...] = ()
    policy_warnings: tuple[str, ...] = ()
    """Names of plugins in a policy that nothing has."""
    unchecked: tuple[Reference, ...] = ()
    """Components whose source does not tell all that they take."""


def check(config: Config, plugins: Plugins, n_ranks: int) -> None:
    """Raise ConfigError with everything that keeps the config from running, PluginError if a plugin is why.

    What source does not tell is imported and judged too, but only when nothing else is wrong: that takes seconds.
    """
    verdict = judge(config, plugins, n_ranks)
    problems = sorted_problems([*verdict.problems, *verdict.later]) or deep_problems(config, plugins, verdict.unchecked)
    if problems:
        raise (PluginError if verdict.needs_failed_plugin else ConfigError)(problems)


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
        needs_failed_plugin=any(plugin_failed(each, plugins) for each in references_),
        later=tuple(map(config.placed, not_built_yet(config.run, ()))),
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


def deep_problems(config: Config, plugins: Plugins, unchecked: Iterable[Reference]) -> list[Problem]:
    """What is wrong with components that must be imported to be judged."""
    faults = [fault for each in unchecked for fault in reference_faults(config.run, plugins, each, deep=True)[0]]
    return sorted_problems(map(config.placed, faults))


def reference_faults(run: schema.Run, plugins: Plugins, reference: Reference, *, deep: bool = False) -> tuple[list[Fault], bool]:
    """One component: its name, then its parameters; and whether all that the config gives it could be judged."""
    try:
        entry = find(reference, plugins.registry)
    except UnknownNameError as error:
        return [Fault(reference.path, str(error) + failed_note(plugins), at_key=reference.is_key)], True
    if missing := missing_libraries(entry):
        return [
            Fault(reference.path, f"{entry.qualified_name} needs a library: pip install {missing}", at_key=reference.is_key)
        ], True
    try:
        signature = signature_of(entry, deep=deep)
    except Exception as error:  # noqa: BLE001 - a plugin's import may raise anything
        message = f"{entry.qualified_name} ({entry.distribution}) cannot be imported: {type(error).__name__}: {error}"
        return [Fault(reference.path, message, at_key=reference.is_key)], True
    if signature is None:
        return [], False
    unknown = UNREAD if signature.takes_any else None
    given = [signature.parameters.get(name, unknown) for name in reference.named_params(signature)]
    return list(parameter_faults(run, reference, signature)), deep or UNREAD not in given


def find(reference: Reference, registry: Registry) -> Entry:
    """The component that a reference names. Raises UnknownNameError."""
    return registry.get(reference.kind, reference.name)


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


def plugin_failed(reference: Reference, plugins: Plugins) -> bool:
    """Whether a component cannot be used because its plugin did not load, or lacks a library."""
    try:
        return bool(missing_libraries(find(reference, plugins.registry)))
    except UnknownNameError:
        namespace, slash, _ = reference.name.partition("/")
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
    known = [name for name in signature.parameters if name not in NEVER_IN_TOML]
    if isinstance(reference.params, list) and len(reference.params) > len(named):
        yield Fault(reference.params_path, f"takes at most {len(named)} values: {', '.join(known) or 'none'}")
        return
    for number, (name, value) in enumerate(named.items()):
        path = (*reference.params_path, name if isinstance(reference.params, Mapping) else number)
        if name in known:
            yield from value_faults(value, signature.parameters[name], path)
        elif name in NEVER_IN_TOML or not signature.takes_any:
            yield Fault(path, unknown_parameter(reference, name, known), at_key=True, meant=closest(name, known))
    missing = signature.required - named.keys() - {closest(name, known) for name in named if name not in known}
    yield from missing_faults(run, reference, missing)
    yield from arch_faults(reference, signature)


def arch_faults(reference: Reference, signature: Signature) -> Iterator[Fault]:
    """A model that takes no `arch` may be given its own name."""
    given = reference.params.get("arch") if reference.kind == "model" and isinstance(reference.params, Mapping) else None
    if given is not None and "arch" not in signature.parameters and given != reference.name.rpartition("/")[2]:
        yield Fault((*reference.params_path, "arch"), f"the model is {reference.name!r}; give that name, or leave this out")


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


def not_built_yet(table: Any, path: KeyPath) -> Iterator[Fault]:
    """Values that ask for what the engine cannot do yet; what asks for nothing is accepted."""
    for field in attrs.fields(type(table)):
        value, default = getattr(table, field.name), field.default
        factory = getattr(default, "factory", None)
        nothing = factory() if factory else default
        if field.metadata.get("later"):
            if value != nothing and (value or nothing):
                yield Fault((*path, field.name), "is not supported yet; leave it out", at_key=True)
        elif value in field.metadata.get("later_values", ()):
            yield Fault((*path, field.name), f"{value!r} is not supported yet")
        elif attrs.has(type(value)):
            yield from not_built_yet(value, (*path, field.name))


def warnings_of(run: schema.Run) -> Iterator[Fault]:
    """What is allowed, and may not be meant."""
    n_named, n_outputs = len(run.classes), run.model.config.params.get("n_classes")
    is_binary = n_named == 2 and n_outputs == 1  # noqa: PLR2004 - one logit tells two classes apart
    if n_named and n_outputs not in (None, n_named) and not is_binary:
        message = f"{n_named} classes are named, the model has {n_outputs} outputs; missing names are numbered"
        yield Fault(("classes",), message, at_key=True)
    table = run.train.lr_scheduler
    if table and table.warmup > run.train.epoch:
        message = f"the warm-up of {table.warmup:g} epochs is longer than the run of {run.train.epoch}"
        yield Fault(("train", "lr_scheduler", "warmup"), message)


# --- rules that look at several keys; each fault is at the key to change ----------------------------------------------


def rank_faults(run: schema.Run, n_ranks: int) -> Iterator[Fault]:
    """`train.batch_size` is over all ranks, each takes an equal part; one device is for one rank."""
    size = run.train.batch_size
    if size % n_ranks:
        nearest = [whole for whole in (size - size % n_ranks, size - size % n_ranks + n_ranks) if whole]
        sizes = " or ".join(map(str, nearest))
        yield Fault(("train", "batch_size"), f"{size} samples cannot be shared by {n_ranks} ranks; use {sizes}")
    if ":" in run.device and n_ranks > 1:
        yield Fault(("device",), f"{run.device!r} is one GPU for {n_ranks} ranks; write 'cuda'")


def backend_faults(run: schema.Run) -> Iterator[Fault]:
    """Nccl is CUDA's."""
    if run.device == "cpu" and run.ddp.backend == "nccl":
        yield Fault(("ddp", "backend"), "'nccl' needs CUDA, and 'device' is cpu; leave it out")


def start_faults(run: schema.Run) -> Iterator[Fault]:
    """A run begins with weights, or goes on from a checkpoint."""
    if run.model.pretrained and run.model.continue_checkpoint:
        yield Fault(("model", "pretrained"), "goes with a new run, and 'continue_checkpoint' goes on with an old one; keep one")


def input_faults(run: schema.Run) -> Iterator[Fault]:
    """Inputs to try the model with: a dtype each."""
    sizes, dtypes = run.model.config.input_sizes, run.model.config.dtypes
    if dtypes and len(dtypes) != len(sizes):
        message = f"{len(dtypes)} dtypes for {len(sizes)} input_sizes; give one each"
        yield Fault(("model", "config", "dtypes"), message)
    for number, size in enumerate(sizes):
        if not size or min(size) < 1:
            yield Fault(("model", "config", "input_sizes", number), f"a shape has numbers from 1, got {size}")


def folder_faults(run: schema.Run) -> Iterator[Fault]:
    """`base_dir` became `root_dir` when the file was read, so two folders cannot be told from one here."""
    if run.dataset.base_dir:
        yield Fault(("dataset", "base_dir"), "'root_dir' is another folder; keep one of the two")


def fraction_faults(run: schema.Run) -> Iterator[Fault]:
    """Parts that are fractions are one whole at most."""
    given = {part: run.dataset.split.params.get(part) for part in PARTS}
    fractions = {part: value for part, value in given.items() if isinstance(value, float)}
    total = sum(value for value in given.values() if isinstance(value, int | float))
    outside = [part for part, value in fractions.items() if not 0 <= value <= 1]
    for part in outside:
        yield Fault(("dataset", "split", part), f"a fraction is from 0 to 1, not {fractions[part]:g}")
    if fractions and not outside and total > 1 + 1e-9:
        part = list(fractions)[-1]
        yield Fault(("dataset", "split", part), f"the fractions add up to {total:g}; lower one, so that they are 1 at most")


def key_faults(run: schema.Run) -> Iterator[Fault]:
    """Two columns of history cannot have one name."""
    columns = columns_of(run)
    counts = Counter(reference.key for reference in columns)
    for reference in columns:
        if counts[reference.key] > 1 or reference.key == "loss":
            yield Fault(reference.path, f"{reference.key!r} is taken in history; give this entry a 'name'")


def columns_of(run: schema.Run) -> list[Reference]:
    """What has a column in history."""
    return [reference for reference in references(run) if reference.kind in ("metric", "criterion")]


def monitor_faults(run: schema.Run) -> Iterator[Fault]:
    """What decides is measured."""
    known = ["loss", *(reference.key for reference in columns_of(run))]
    stopping = run.train.early_stopping
    monitors = {("output", "monitor"): run.output.monitor, ("train", "early_stopping", "monitor"): stopping and stopping.monitor}
    for path, monitor in monitors.items():
        if monitor and monitor not in known:
            yield Fault(path, f"nothing is measured as {monitor!r}, {suggest(monitor, known)}")


def criterion_faults(run: schema.Run) -> Iterator[Fault]:
    """What training cannot do without."""
    if not run.criterion:
        yield Fault(("criterion",), "is missing; models that bring their own loss are not supported yet", at_key=True)


def metric_faults(run: schema.Run) -> Iterator[Fault]:
    """Metrics take predictions."""
    if run.metrics and not run.postprocess:
        yield Fault(("metrics",), "metrics need a 'postprocess' that makes predictions of the model's outputs", at_key=True)


def warmup_faults(run: schema.Run) -> Iterator[Fault]:
    """By epoch, a warm-up cannot end within one, and its first epoch trains at `warmup_lr`."""
    table = run.train.lr_scheduler
    if table is None or not table.warmup or table.update_policy == "step":
        return
    if table.warmup % 1:
        message = f"{table.warmup:g} epochs are not whole, which needs update_policy = 'step'"
        yield Fault(("train", "lr_scheduler", "warmup"), message)
    if not table.warmup_lr:
        message = "the first epoch would train at rate 0; set it above, or use update_policy = 'step'"
        yield Fault(("train", "lr_scheduler", "warmup_lr"), message)


def file_faults(run: schema.Run) -> Iterator[Fault]:
    """Files of one's own parts are there and can be imported by their names."""
    for number, file in enumerate(run.plugins.files):
        if message := local_files.fault(Path(file)):
            yield Fault(("plugins", "files", number), message)


RULES: tuple[tuple[tuple[KeyPath, ...], Callable[[schema.Run], Iterable[Fault]]], ...] = (
    ((("device",), ("ddp", "backend")), backend_faults),
    ((("model", "pretrained"), ("model", "continue_checkpoint")), start_faults),
    ((("model", "config"),), input_faults),
    ((("dataset",),), folder_faults),
    ((("dataset", "split"),), fraction_faults),
    ((("metrics",), ("criterion",)), key_faults),
    ((("metrics",), ("criterion",), ("output", "monitor"), ("train", "early_stopping")), monitor_faults),
    ((("criterion",),), criterion_faults),
    ((("metrics",), ("postprocess",)), metric_faults),
    ((("train", "lr_scheduler"),), warmup_faults),
    ((("plugins", "files"),), file_faults),
)
"""Rules with the keys that they read: one with a mistake at such a key is passed over."""
