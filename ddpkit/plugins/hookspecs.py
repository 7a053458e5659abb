"""The extension points: one hook a kind of component. This file is the reference for plugin authors.

A hook takes no arguments and yields `Component` records. Records hold strings, so a plugin's module stays light:
nothing is imported until a run uses it. Every target is a callable. It takes the *run-time values* that its hook lists
here, as far as it names them in its signature, and the keys of its TOML table for all its other parameters.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

import attrs
import pluggy
from attrs.validators import deep_iterable, in_, instance_of, optional

hookspec = pluggy.HookspecMarker("ddpkit")
hookimpl = pluggy.HookimplMarker("ddpkit")

API_VERSION = (1, 0)
"""Of this file. A plugin says for which it was written, `ddpkit_api = "1.0"`; one for a newer version is not loaded."""


def spelt(pattern: str, words: str) -> Any:
    """Validator: a text that the pattern describes whole."""

    def validator(_owner: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"a component's {field.name} is {words}, not {value!r}")

    return validator


Gives = Literal["class", "labels", "mask", "boxes"]
"""What a postprocess gives of each image, see `Component.gives`."""
A_TEXT, TEXTS = instance_of(str), deep_iterable(instance_of(str), instance_of(tuple))


@attrs.frozen
class Component:
    """What a plugin yields: a name that a TOML may use and where the thing behind it lives.

    Raises ValueError or TypeError at the author's line for a record that cannot be right.
    """

    name: str = attrs.field(validator=spelt(r"[A-Za-z][A-Za-z0-9_.+-]*", "letters, digits and '_.+-', a letter first"))
    """Bare, without the plugin's: letters, digits and `_.+-`."""
    target: str = attrs.field(validator=spelt(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", "'package.module:callable'"))
    """`package.module:callable`, imported when a run uses it."""
    doc: str = attrs.field(default="", kw_only=True, validator=A_TEXT)
    """One line for lists."""
    aliases: tuple[str, ...] = attrs.field(default=(), kw_only=True, validator=TEXTS)
    """Other names of it."""
    requires: tuple[str, ...] = attrs.field(default=(), kw_only=True, validator=TEXTS)
    """Distributions that it needs and its plugin does not install, as pip takes them: `("timm>=1.0",)`."""
    deprecated: str | None = attrs.field(default=None, kw_only=True, validator=optional(A_TEXT))
    """Until when it is there and what to use instead; shown to who names it."""
    example: str | None = attrs.field(default=None, kw_only=True, validator=optional(A_TEXT))
    """TOML that can be pasted."""
    train_only: bool = attrs.field(default=False, kw_only=True, validator=instance_of(bool))
    """Transforms: augmentation, left out of evaluation."""
    batchable: bool = attrs.field(default=False, kw_only=True, validator=instance_of(bool))
    """Transforms: may be given a whole batch of images, without targets. Never a random one."""
    takes: Literal["labels", "logits"] | None = attrs.field(default=None, kw_only=True, validator=in_([None, "labels", "logits"]))
    """Metrics: what `update` is given in place of the postprocess's predictions: the most probable class (int64 [B, ...]), or
    the model's outputs as they are."""
    gives: Gives | None = attrs.field(default=None, kw_only=True, validator=in_([None, *get_args(Gives)]))
    """Postprocesses: what predictions are made of. `class`: probabilities [B, C] of which one is right; `labels`: [B, C] of which
    any may be; `mask`: [B, C, H, W]; `boxes`: torchvision's mapping an image. Else predictions are the values as they are."""


@hookspec
def ddpkit_models() -> Iterable[Component]:
    """Models, named by `[model] name`; the parameters are `[model.config]`.

    Run-time values: `classes` (list of names, may be empty).
    Returns an `nn.Module`, called with images [B, C, H, W], or what the dataset's `collate` makes. When the TOML has no
    `[[criterion]]` it is called with `(images, targets)` in training, and gives a mapping of its losses then: scalars, each the
    mean over the micro-batch, under the same names in every step.

    Example:
        @hookimpl
        def ddpkit_models():
            yield Component("tinynet", "acme.parts:TinyNet", doc="one hidden layer, for small images")
    """
    raise NotImplementedError


@hookspec
def ddpkit_criteria() -> Iterable[Component]:
    """Losses, named by `[[criterion]] type`; the parameters are its `config`.

    Run-time values: `classes`, `n_classes`.
    Returns a callable `(outputs, targets) -> scalar`, the mean over the micro-batch. A module is moved to the device.

    Example:
        @hookimpl
        def ddpkit_criteria():
            yield Component("hinge", "torch.nn:MultiMarginLoss", doc="a margin between the right class and the others")
    """
    raise NotImplementedError


@hookspec
def ddpkit_transforms() -> Iterable[Component]:
    """Transforms, named by the keys of `[transform]`; a list gives the parameters in order, a table by name.

    Run-time values: none.
    Returns a callable in the manner of `torchvision.transforms.v2`: called with `(image, target)`, returns both.
    A `batchable` one that ends the list is called with a batch of images alone, on the device.

    Example:
        @hookimpl
        def ddpkit_transforms():
            yield Component("SOLARIZE", "torchvision.transforms.v2:RandomSolarize", train_only=True)
    """
    raise NotImplementedError


@hookspec
def ddpkit_postprocesses() -> Iterable[Component]:
    """Postprocesses, named by `postprocess`; the parameters are its `config`.

    Run-time values: `classes`, `n_classes`.
    Returns a callable `outputs -> predictions`; predictions are what metrics take. `gives` says what of each image is in them.

    Example:
        @hookimpl
        def ddpkit_postprocesses():
            yield Component("sharpened", "acme.every:sharpened")
    """
    raise NotImplementedError


@hookspec
def ddpkit_metrics() -> Iterable[Component]:
    """Metrics, named in `metrics`; the parameters are its `config`.

    Run-time values: `classes`, `n_classes`.
    Returns a `torchmetrics.Metric`: `update(predictions, targets)` with the rank's own samples, `compute()` on all ranks, which
    gives one number, or a mapping whose first value is that number and that may have more for the tables of the test:
    `per_class` ([C]) and `confusion` ([C, C], a row a true class).

    Example:
        @hookimpl
        def ddpkit_metrics():
            yield Component("kappa", "torchmetrics.classification:MulticlassCohenKappa", takes="labels")
    """
    raise NotImplementedError


@hookspec
def ddpkit_datasets() -> Iterable[Component]:
    """Datasets, named by `[dataset] name`; the parameters are `[dataset.config]`.

    Run-time values: `root_dir` (absolute path, may be empty), `classes` (as the config names them, maybe none), `seed`.
    Returns a map-style dataset of `(image, target)`. Its method `collate(samples)`, if it has one, makes the images and the
    targets of a micro-batch; targets that are mappings need it, as in a detection. Its attribute `parts`, if it has one, maps
    `train`, `valid` or `test` to indices; the split divides the indices that `parts` leaves. `targets`, if it has them, is one
    label a sample; `groups` maps what samples may be grouped by (`file`, a column of a table) to one text a sample.

    Example:
        @hookimpl
        def ddpkit_datasets():
            yield Component("dots", "acme.every:Dots", doc="bright and dark images")
    """
    raise NotImplementedError


@hookspec
def ddpkit_splits() -> Iterable[Component]:
    """Splits, named by `[dataset.split] type`; the parameters are the other keys of that table.

    Run-time values: `n_samples` (how many are to be divided), `targets` (labels or None), `groups` (the dataset's own
    attribute, or None), `own_groups` (the same of the samples in each part of the dataset's own: part -> groups),
    `root_dir` (the dataset's), `seed`.
    Returns a mapping of `train`, `valid`, `test` to lists of positions 0..n_samples-1; the same on every rank.

    Example:
        @hookimpl
        def ddpkit_splits():
            yield Component("thirds", "acme.every:thirds", doc="equal parts")
    """
    raise NotImplementedError


@hookspec
def ddpkit_optimizers() -> Iterable[Component]:
    """Optimizers, named by `[train.optimizer] type`; the parameters are the other keys of that table.

    Run-time values: `params`. The TOML's `learning_rate` is passed as `lr`, as torch calls it; `fused = true` where the target
    has such a key and the table chooses no other way.
    Returns a `torch.optim.Optimizer`.

    Example:
        @hookimpl
        def ddpkit_optimizers():
            yield Component("rmsprop", "torch.optim:RMSprop")
    """
    raise NotImplementedError


@hookspec
def ddpkit_lr_schedulers() -> Iterable[Component]:
    """Learning rate schedules, named by `[train.lr_scheduler] type`; the parameters are the other keys of that table.

    Run-time values: `optimizer`, `total_steps` (how often `step()` will be called, warm-up left out), `epochs`,
    `steps_per_epoch`. The core does the warm-up.
    Returns a `torch.optim.lr_scheduler.LRScheduler`.

    Example:
        @hookimpl
        def ddpkit_lr_schedulers():
            yield Component("polynomial", "torch.optim.lr_scheduler:PolynomialLR")
    """
    raise NotImplementedError


@hookspec
def ddpkit_loggers() -> Iterable[Component]:
    """Loggers, named in `private.loggers`; the parameters are their `config`. Built and called on rank 0 alone.

    Run-time values: `folder` (`pathlib.Path` of the run), `config` (the resolved config as plain tables).
    Returns an object with `epoch_ended(row)`, called with each row of history, and `close()`. What it raises, when it is made
    too, becomes a warning, and it is not called again: no run ends for the sake of a logger.

    Example:
        @hookimpl
        def ddpkit_loggers():
            yield Component("notes", "acme.every:Notes", doc="a JSON line an epoch")
    """
    raise NotImplementedError


@hookspec
def ddpkit_writers() -> Iterable[Component]:
    """Writers of predictions, named by `predict.config.output_format`; the parameters are the other keys of that table.

    Run-time values: `folder` (`pathlib.Path` of the predictions), `classes`.
    Returns an object with `write(name, prediction)`, called for each input in order, and `close()`, on rank 0 alone. `name` is
    that of the input without its ending, safe for a file, and no other has it; `prediction` has `values`, as JSON has them,
    and `arrays`, the same as numpy arrays by name.

    Example:
        @hookimpl
        def ddpkit_writers():
            yield Component("lines", "acme.every:Lines", doc="a line a prediction")
    """
    raise NotImplementedError


# --- open families: only the plugin that owns a namespace is asked for the names in it --------------------------------


@hookspec
def ddpkit_find(kind: str, name: str) -> "Component | None":
    """The component `name` (bare) of a kind (`model`, ...), or None: for families too large to declare. Imports nothing heavy.

    Example:
        @hookimpl
        def ddpkit_find(kind, name):
            return Component(name, "torchvision.models:" + name) if kind == "model" and name == "resnet101" else None
    """
    raise NotImplementedError


@hookspec
def ddpkit_names(kind: str, pattern: str) -> Iterable[str]:
    """The bare names that `ddpkit_find` knows and that match a pattern (`*`, `?`), for lists; may take a while.

    Example:
        @hookimpl
        def ddpkit_names(kind, pattern):
            return [name for name in ("resnet101",) if kind == "model" and fnmatch.fnmatch(name, pattern)]
    """
    raise NotImplementedError


# --- run hooks: only of plugins that `[plugins] enable` names; on every rank, and they must not call collectives ------


@hookspec
def ddpkit_run_start(run: Any) -> None:
    """Before the first step; `run` has `folder`, `config` (plain tables), `rank`, `n_ranks`, `device`, `model`, `optimizer`.

    Example:
        @hookimpl
        def ddpkit_run_start(run):
            (run.folder / f"rank-{run.rank}.txt").write_text(f"{run.n_ranks} ranks on {run.device}")
    """
    raise NotImplementedError


@hookspec
def ddpkit_step_end(run: Any, epoch: int, step: int) -> None:
    """After an optimizer step of this epoch (both 1-based). In the hot loop: reads nothing from the device, changes nothing.

    Example:
        @hookimpl
        def ddpkit_step_end(run, epoch, step):
            watchdog.reset()
    """
    raise NotImplementedError


@hookspec
def ddpkit_epoch_end(run: Any, row: Mapping[str, float]) -> None:
    """After an epoch was trained and evaluated; `row` is its row of history, without the times on ranks but the first.

    Example:
        @hookimpl
        def ddpkit_epoch_end(run, row):
            print(run.rank, row["valid/loss"])
    """
    raise NotImplementedError


@hookspec
def ddpkit_checkpoint_save(run: Any) -> "Mapping[str, Any] | None":
    """What this plugin needs to go on from here: tensors and plain values, or None. Asked on rank 0, between two steps.

    Tensors are copied before the next step. Names are strings; another object is an error that names its place.

    Example:
        @hookimpl
        def ddpkit_checkpoint_save(run):
            return {"seen": 17}
    """
    raise NotImplementedError


@hookspec
def ddpkit_checkpoint_load(run: Any, state: Mapping[str, Any]) -> None:
    """What this plugin kept, on every rank, after `ddpkit_run_start` and before the first step; tensors are on the CPU.

    Example:
        @hookimpl
        def ddpkit_checkpoint_load(run, state):
            print("goes on from", state["seen"])
    """
    raise NotImplementedError


@hookspec
def ddpkit_run_end(run: Any, error: "BaseException | None") -> None:
    """After the last step and the test, and after a failure, which is `error`.

    Example:
        @hookimpl
        def ddpkit_run_end(run, error):
            print("done" if error is None else f"failed: {error}")
    """
    raise NotImplementedError


HOOKS: Mapping[str, str] = MappingProxyType(
    {
        "model": "ddpkit_models",
        "criterion": "ddpkit_criteria",
        "transform": "ddpkit_transforms",
        "postprocess": "ddpkit_postprocesses",
        "metric": "ddpkit_metrics",
        "dataset": "ddpkit_datasets",
        "split": "ddpkit_splits",
        "optimizer": "ddpkit_optimizers",
        "lr_scheduler": "ddpkit_lr_schedulers",
        "logger": "ddpkit_loggers",
        "writer": "ddpkit_writers",
    }
)
"""Kind of component -> the hook that declares it."""

FAMILY_HOOKS = ("ddpkit_find", "ddpkit_names")
RUN_HOOKS = (
    "ddpkit_run_start",
    "ddpkit_step_end",
    "ddpkit_epoch_end",
    "ddpkit_checkpoint_save",
    "ddpkit_checkpoint_load",
    "ddpkit_run_end",
)

RUNTIME_VALUES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "model": frozenset({"classes"}),
        "criterion": frozenset({"classes", "n_classes"}),
        "transform": frozenset(),
        "postprocess": frozenset({"classes", "n_classes"}),
        "metric": frozenset({"classes", "n_classes"}),
        "dataset": frozenset({"root_dir", "classes", "seed"}),
        "split": frozenset({"n_samples", "targets", "groups", "own_groups", "root_dir", "seed"}),
        "optimizer": frozenset({"params", "lr"}),
        "lr_scheduler": frozenset({"optimizer", "total_steps", "epochs", "steps_per_epoch"}),
        "logger": frozenset({"folder", "config"}),
        "writer": frozenset({"folder", "classes"}),
    }
)
"""Kind of component -> what its target may name beside the keys of its TOML table."""
