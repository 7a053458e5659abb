"""References to components in a config."""

from collections.abc import Container, Mapping
from typing import Any

import attrs

from ddpkit.config import schema
from ddpkit.config.converter import table_keys
from ddpkit.config.parameters import Parameters
from ddpkit.errors import KeyPath
from ddpkit.plugins.registry import Entry, Registry

SPLITS = ("train", "valid", "test")
"""Names of the splits of a dataset."""
WANDB = "wandb"
"""Logger that `private.wandb = true` adds."""


@attrs.frozen
class ComponentRef:
    """Reference to a component: its name, its parameters, and their place in the config."""

    kind: str
    name: str
    path: KeyPath
    """Key path of the component's name."""
    params: Mapping[str, Any] | list[Any]
    """Parameters by name, or in the order of the target's parameters."""
    params_path: KeyPath
    key: str = ""
    """Column name in history (criteria and metrics)."""
    core_keys: tuple[str, ...] = ()
    """Keys of the same table that belong to the core, not to the component."""
    on: str = ""
    """Entry of the outputs and targets that the component gets (criteria and metrics); empty: all of them."""

    @property
    def is_key(self) -> bool:
        """Whether the name is the key of its table, as in `[transform]`."""
        return self.path == self.params_path

    def named_params(self, parameters: Parameters) -> dict[str, Any]:
        """Return the values by key. A list has the values of the parameters that the run does not provide, in order."""
        if isinstance(self.params, Mapping):  # the core checks `arch` if the config cannot set it
            return {name: value for name, value in self.params.items() if name in parameters.settable or name != "arch"}
        return dict(zip(parameters.in_order, self.params, strict=False))


def references(run: schema.Run) -> list[ComponentRef]:
    """Return every component reference of a config, in the order of the TOML format."""
    taken = {metric.name or metric.type.rpartition("/")[2] for metric in run.metrics}
    return [
        *(table_reference("metric", metric, ("metrics", number)) for number, metric in enumerate(run.metrics)),
        *(table_reference("postprocess", table, ("postprocess",)) for table in [run.postprocess] if table),
        model_reference(run.model),
        *(criterion_reference(term, number, taken) for number, term in enumerate(run.criterion)),
        *(transform_reference(name, params) for name, params in run.transform.items()),
        ComponentRef("dataset", run.dataset.name, ("dataset", "name"), run.dataset.config, ("dataset", "config")),
        open_reference("split", run.dataset.split, ("dataset", "split")),
        *(table_reference("logger", logger, ("private", "loggers", number)) for number, logger in enumerate(run.private.loggers)),
        *([ComponentRef("logger", WANDB, ("private", "wandb"), {}, ("private", "wandb"))] if run.private.wandb else []),
        writer_reference(run.predict.config),
        open_reference("step", run.train.step, ("train", "step")),
        *(open_reference("optimizer", table, path) for path, table in optimizer_tables(run.train).items()),
        *(open_reference("lr_scheduler", table, path) for path, table in scheduler_tables(run.train).items()),
        *helper_references(run.train).values(),  # after the model: it is the first reference of its kind
    ]


def optimizer_tables(train: schema.Train) -> dict[KeyPath, schema.Optimizer]:
    """Return the tables of the optimizers by path: `[train.optimizer]`, or each `[[train.optimizer]]`."""
    path, found = ("train", "optimizer"), train.optimizer
    return {(*path, number): table for number, table in enumerate(found)} if isinstance(found, list) else {path: found}


def scheduler_tables(train: schema.Train) -> dict[KeyPath, schema.LrScheduler]:
    """Return the tables of the learning-rate schedules by path: `[train.lr_scheduler]`, then those of single optimizers."""
    tables = {("train",): train, **optimizer_tables(train)}
    found = {(*path, "lr_scheduler"): getattr(table, "lr_scheduler", None) for path, table in tables.items()}
    return {path: table for path, table in found.items() if table}


def scheduler_path(train: schema.Train, optimizer: KeyPath) -> KeyPath | None:
    """Return the path of the schedule table that the optimizer at a path uses; None for a constant learning rate."""
    found, wanted = scheduler_tables(train), ((*optimizer, "lr_scheduler"), ("train", "lr_scheduler"))
    return next((path for path in wanted if path in found), None)


def model_reference(model: schema.Model) -> ComponentRef:
    """Return the reference of `[model]`; some keys of `[model.config]` belong to the core."""
    core_keys = ("arch", *table_keys(schema.ModelConfig))
    return ComponentRef("model", model.name, ("model", "name"), model.config.params, ("model", "config"), core_keys=core_keys)


def table_reference(kind: str, table: Any, path: KeyPath) -> ComponentRef:
    """Return the reference of a table with the keys `type` and `config`."""
    key = getattr(table, "name", "") or table.type.rpartition("/")[2]
    on = getattr(table, "on", "")
    return ComponentRef(kind, table.type, (*path, "type"), table.config, (*path, "config"), key, on=on)


def helper_references(train: schema.Train) -> dict[str, ComponentRef]:
    """Return the reference of each `[train.helpers.NAME]`, by name; their components are models."""
    return {name: helper_reference(table, ("train", "helpers", name)) for name, table in train.helpers.items()}


def helper_reference(table: schema.Helper, path: KeyPath) -> ComponentRef:
    return ComponentRef("model", table.name, (*path, "name"), table.config, (*path, "config"), core_keys=("arch",))


def criterion_reference(term: schema.Criterion, number: int, taken: Container[str]) -> ComponentRef:
    """Return the reference of a `[[criterion]]`. Without a `name`, `dice` becomes `dice_loss` if a metric is called `dice`."""
    reference = table_reference("criterion", term, ("criterion", number))
    is_taken = not term.name and reference.key in taken
    return attrs.evolve(reference, key=f"{reference.key}_loss") if is_taken else reference


def open_reference(kind: str, table: Any, path: KeyPath) -> ComponentRef:
    """Return the reference of a table with `type` and the component's own keys."""
    return ComponentRef(kind, table.type, (*path, "type"), table.params, path, core_keys=tuple(table_keys(type(table))))


def writer_reference(table: schema.PredictConfig) -> ComponentRef:
    """Return the reference of `[predict.config]`; keys that do not belong to the core belong to the writer."""
    path = ("predict", "config")
    core_keys = tuple(table_keys(schema.PredictConfig))
    return ComponentRef("writer", table.output_format, (*path, "output_format"), table.params, path, core_keys=core_keys)


def transform_reference(name: str, params: Any) -> ComponentRef:
    """Return the reference of a key of `[transform]`; a single value counts as a list with one item."""
    path = ("transform", name)
    return ComponentRef("transform", name, path, params if isinstance(params, Mapping | list) else [params], path)


def history_columns(run: schema.Run) -> list[ComponentRef]:
    """Return the references that have a column in history: metrics and criteria."""
    return [reference for reference in references(run) if reference.kind in ("metric", "criterion")]


def find_entry(reference: ComponentRef, registry: Registry) -> Entry:
    """Return the registry entry of a reference. Raises UnknownNameError."""
    return registry.get(reference.kind, reference.name)
