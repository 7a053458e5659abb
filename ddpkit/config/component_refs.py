"""Where a config names components, and what it tells of the classes."""

from collections.abc import Container, Mapping
from typing import Any

import attrs

from ddpkit.config import schema
from ddpkit.config.converter import keys_of
from ddpkit.errors import KeyPath
from ddpkit.plugins.hookspecs import RUNTIME_VALUES
from ddpkit.plugins.registry import Entry, Registry
from ddpkit.plugins.signatures import Signature

PARTS = ("train", "valid", "test")
"""Of a dataset."""
WANDB = "wandb"
"""The logger that `private.wandb` is."""
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
        *([Reference("logger", WANDB, ("private", "wandb"), {}, ("private", "wandb"))] if run.private.wandb else []),
        writer_reference(run.predict.config),
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


def writer_reference(table: schema.PredictConfig) -> Reference:
    """`[predict.config]`, whose keys are the writer's but for the core's."""
    path = ("predict", "config")
    core_keys = tuple(keys_of(schema.PredictConfig))
    return Reference("writer", table.output_format, (*path, "output_format"), table.params, path, core_keys=core_keys)


def transform_reference(name: str, params: Any) -> Reference:
    """A key of `[transform]`; a single value is a list of one."""
    path = ("transform", name)
    return Reference("transform", name, path, params if isinstance(params, Mapping | list) else [params], path)


def n_classes(run: schema.Run) -> int | None:
    """How many classes the run tells apart: as many as it names or the model is asked for, whatever is more."""
    asked = run.model.config.params.get("n_classes")
    return max(len(run.classes), asked if isinstance(asked, int) else 0) or None


def fits(n_named: int, n_outputs: Any) -> bool:
    """Whether names of classes are as many as the model's outputs, where it tells; one logit tells two classes apart."""
    return n_outputs in (None, n_named) or (n_named, n_outputs) == (2, 1)


def class_names(run: schema.Run) -> list[str]:
    """The names of the classes; missing ones are numbered. Empty when the run names none."""
    n_missing = (n_classes(run) or 0) - len(run.classes) if run.classes else 0
    return [*run.classes, *(f"class_{len(run.classes) + number}" for number in range(n_missing))]


def columns_of(run: schema.Run) -> list[Reference]:
    """What has a column in history."""
    return [reference for reference in references(run) if reference.kind in ("metric", "criterion")]


def find(reference: Reference, registry: Registry) -> Entry:
    """The component that a reference names. Raises UnknownNameError."""
    return registry.get(reference.kind, reference.name)
