"""Is this config right? Every name known, every parameter valid, the batch fit for the ranks.

Nothing is built, and nothing is imported unless a target's source cannot tell what it takes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from ddpkit import schema, signatures
from ddpkit.config import Config, sorted_problems
from ddpkit.errors import ConfigError, KeyPath, PluginError, Problem
from ddpkit.hookspecs import RUNTIME_VALUES
from ddpkit.plugins import Plugins
from ddpkit.registry import Entry, Registry, UnknownNameError
from ddpkit.signatures import UNREAD, Signature
from ddpkit.structure import Fault, structure, suggest

NEVER_IN_TOML = frozenset({"params", "optimizer", "lr"})
"""Parameters that only the run can give; the rate is `learning_rate` in the TOML."""


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

    @property
    def is_key(self) -> bool:
        """The name is the key of its table (`[transform]`)."""
        return self.path == self.params_path

    def named_params(self, signature: Signature) -> dict[str, Any]:
        """The parameters by name; a list is bound in order to what is no run-time value."""
        if isinstance(self.params, Mapping):
            return dict(self.params)
        open_names = [name for name in signature.parameters if name not in RUNTIME_VALUES[self.kind]]
        return dict(zip(open_names, self.params, strict=False))


def references(run: schema.Run) -> list[Reference]:
    """Every component that the config names, in the order of the file."""
    return [
        *(table_reference("metric", metric, ("metrics", number)) for number, metric in enumerate(run.metrics)),
        *(table_reference("postprocess", table, ("postprocess",)) for table in [run.postprocess] if table),
        Reference("model", run.model.name, ("model", "name"), run.model.config, ("model", "config")),
        *(table_reference("criterion", term, ("criterion", number)) for number, term in enumerate(run.criterion)),
        *(transform_reference(name, params) for name, params in run.transform.items()),
        Reference("dataset", run.dataset.name, ("dataset", "name"), run.dataset.config, ("dataset", "config")),
        open_reference("split", run.dataset.split, ("dataset", "split")),
        open_reference("optimizer", run.train.optimizer, ("train", "optimizer")),
        *(open_reference("lr_scheduler", table, ("train", "lr_scheduler")) for table in [run.train.lr_scheduler] if table),
    ]


def table_reference(kind: str, table: Any, path: KeyPath) -> Reference:
    """A table of `type` and `config`."""
    key = getattr(table, "name", "") or table.type.rpartition("/")[2]
    return Reference(kind, table.type, (*path, "type"), table.config, (*path, "config"), key)


def open_reference(kind: str, table: Any, path: KeyPath) -> Reference:
    """A table of `type` and the component's own keys."""
    return Reference(kind, table.type, (*path, "type"), table.params, path)


def transform_reference(name: str, params: Any) -> Reference:
    """A key of `[transform]`; a single value is a list of one."""
    path = ("transform", name)
    return Reference("transform", name, path, params if isinstance(params, Mapping | list) else [params], path)


def n_classes(run: schema.Run) -> int | None:
    """How many classes the run tells apart: as many as it names or the model is asked for, whatever is more."""
    asked = run.model.config.get("n_classes")
    return max(len(run.classes), asked if isinstance(asked, int) else 0) or None


def class_names(run: schema.Run) -> list[str]:
    """The names of the classes; missing ones are numbered. Empty when the run names none."""
    n_missing = (n_classes(run) or 0) - len(run.classes) if run.classes else 0
    return [*run.classes, *(f"class_{len(run.classes) + number}" for number in range(n_missing))]


def check(config: Config, plugins: Plugins, n_ranks: int) -> None:
    """Raise ConfigError with everything that is wrong, PluginError if a plugin is why.

    First by reading alone; only when that finds nothing, the targets that source does not tell are imported too.
    """
    for deep in (False, True):
        problems = sorted_problems(problems_of(config, plugins, n_ranks, deep=deep))
        if problems:
            needs_failed = any(plugin_failed(reference.name, plugins) for reference in references(config.run))
            raise (PluginError if needs_failed else ConfigError)(problems)


def problems_of(config: Config, plugins: Plugins, n_ranks: int, *, deep: bool) -> Iterator[Problem]:
    """All that is wrong; with `deep`, after importing what source does not tell."""
    for reference in references(config.run):
        yield from reference_problems(config, plugins, reference, deep=deep)
    run = config.run
    faults = [*batch_faults(run, n_ranks), *key_faults(run), *criterion_faults(run), *warmup_faults(run)]
    for fault in faults:
        yield config.problem(fault.path, fault.message, at_key=fault.at_key)


def reference_problems(config: Config, plugins: Plugins, reference: Reference, *, deep: bool) -> Iterator[Problem]:
    """One component: its name, then its parameters."""
    try:
        entry = find(reference, plugins.registry)
    except UnknownNameError as error:
        message = str(error) + failed_note(plugins)
        yield config.problem(reference.path, message, at_key=reference.is_key)
        return
    try:
        signature = signature_of(entry, deep=deep)
    except Exception as error:  # noqa: BLE001 - a plugin's import may raise anything
        message = f"{entry.qualified_name} ({entry.distribution}) cannot be imported: {type(error).__name__}: {error}"
        yield config.problem(reference.path, message, at_key=reference.is_key)
        return
    if signature is not None:
        for fault in parameter_faults(config.run, reference, signature):
            yield config.problem(fault.path, fault.message, at_key=fault.at_key)


def find(reference: Reference, registry: Registry) -> Entry:
    """The component that a reference names. Raises UnknownNameError."""
    return registry.get(reference.kind, reference.name)


def signature_of(entry: Entry, *, deep: bool) -> Signature | None:
    """What the target takes; None where that is not known without importing it."""
    signature = signatures.from_source(entry.component.target)
    if deep and (signature is None or not signature.is_complete):
        return signatures.inspected(entry.component.target)
    return signature


def plugin_failed(name: str, plugins: Plugins) -> bool:
    """Whether a qualified name belongs to a plugin that did not load."""
    namespace, slash, _ = name.partition("/")
    return bool(slash) and any(plugin.name.partition(".")[0] == namespace for plugin in plugins.failed)


def failed_note(plugins: Plugins) -> str:
    """Which plugins did not load: one of them may have had the name."""
    notes = [f"plugin {each.name} ({each.distribution}) is {each.status}: {each.error}" for each in plugins.failed]
    return "".join(f"; note: {note}" for note in notes)


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
            yield Fault(path, unknown_parameter(reference, name, known), at_key=True)
    yield from missing_faults(run, reference, signature.required - named.keys())


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
    names = ["learning_rate", *known] if reference.kind == "optimizer" else known
    hint = "did you mean 'learning_rate'?" if name == "lr" else suggest(name, names)
    return f"{reference.kind} {reference.name!r} has no such key, {hint}"


def batch_faults(run: schema.Run, n_ranks: int) -> Iterator[Fault]:
    """`train.batch_size` is over all ranks, each takes an equal part."""
    size = run.train.batch_size
    if size % n_ranks:
        nearest = [whole for whole in (size - size % n_ranks, size - size % n_ranks + n_ranks) if whole]
        sizes = " or ".join(map(str, nearest))
        yield Fault(("train", "batch_size"), f"{size} samples cannot be shared by {n_ranks} ranks; use {sizes}")


def key_faults(run: schema.Run) -> Iterator[Fault]:
    """Two columns of history cannot have one name."""
    columns = [reference for reference in references(run) if reference.kind in ("metric", "criterion")]
    counts = Counter(reference.key for reference in columns)
    for reference in columns:
        if counts[reference.key] > 1 or reference.key == "loss":
            yield Fault(reference.path, f"{reference.key!r} is taken in history; give this entry a 'name'")


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


def criterion_faults(run: schema.Run) -> Iterator[Fault]:
    """What training cannot do without."""
    if not run.criterion:
        yield Fault(("criterion",), "is missing; models that bring their own loss are not supported yet", at_key=True)
    if run.metrics and not run.postprocess:
        yield Fault(("metrics",), "metrics need a 'postprocess' that makes predictions of the model's outputs", at_key=True)
