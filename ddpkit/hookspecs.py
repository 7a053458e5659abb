"""The extension points: one hook a kind of component. This file is the reference for plugin authors.

A hook takes no arguments and yields `Component` records. Records hold strings, so a plugin's module stays light:
nothing is imported until a run uses it. Every target is a callable. It takes the *run-time values* that its hook lists
here, as far as it names them in its signature, and the keys of its TOML table for all its other parameters.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import attrs
import pluggy

hookspec = pluggy.HookspecMarker("ddpkit")
hookimpl = pluggy.HookimplMarker("ddpkit")


@attrs.frozen
class Component:
    """What a plugin yields: a name that a TOML may use and where the thing behind it lives."""

    name: str
    target: str
    """`package.module:callable`, imported when a run uses it."""
    doc: str = attrs.field(default="", kw_only=True)
    train_only: bool = attrs.field(default=False, kw_only=True)
    """Transforms: augmentation, left out of evaluation."""
    batchable: bool = attrs.field(default=False, kw_only=True)
    """Transforms: may be given a whole batch of images, without targets. Never a random one."""


@hookspec
def ddpkit_models() -> Iterable[Component]:
    """Models, named by `[model] name`; the parameters are `[model.config]`.

    Run-time values: `classes` (list of names, may be empty).
    Returns an `nn.Module`, called with images [B, C, H, W]; called with `(images, targets)` in training when the TOML
    has no `[[criterion]]`.
    """
    raise NotImplementedError


@hookspec
def ddpkit_criteria() -> Iterable[Component]:
    """Losses, named by `[[criterion]] type`; the parameters are its `config`.

    Run-time values: `classes`, `n_classes`.
    Returns a callable `(outputs, targets) -> scalar`, the mean over the micro-batch. A module is moved to the device.
    """
    raise NotImplementedError


@hookspec
def ddpkit_transforms() -> Iterable[Component]:
    """Transforms, named by the keys of `[transform]`; a list gives the parameters in order, a table by name.

    Run-time values: none.
    Returns a callable in the manner of `torchvision.transforms.v2`: called with `(image, target)`, returns both.
    A `batchable` one that ends the list is called with a batch of images alone, on the device.
    """
    raise NotImplementedError


@hookspec
def ddpkit_postprocesses() -> Iterable[Component]:
    """Postprocesses, named by `postprocess`; the parameters are its `config`.

    Run-time values: `classes`, `n_classes`.
    Returns a callable `outputs -> predictions`; predictions are what metrics take.
    """
    raise NotImplementedError


@hookspec
def ddpkit_metrics() -> Iterable[Component]:
    """Metrics, named in `metrics`; the parameters are its `config`.

    Run-time values: `classes`, `n_classes`.
    Returns a `torchmetrics.Metric`: `update(predictions, targets)` with the rank's own samples, `compute()` on all ranks.
    """
    raise NotImplementedError


@hookspec
def ddpkit_datasets() -> Iterable[Component]:
    """Datasets, named by `[dataset] name`; the parameters are `[dataset.config]`.

    Run-time values: `root_dir` (absolute path, may be empty), `classes` (as the config names them, maybe none), `seed`.
    Returns a map-style dataset of `(image, target)`. Its attribute `parts`, if it has one, maps `train`, `valid` or
    `test` to indices; the split divides the indices that `parts` leaves. `targets`, if it has them, is one label a sample.
    """
    raise NotImplementedError


@hookspec
def ddpkit_splits() -> Iterable[Component]:
    """Splits, named by `[dataset.split] type`; the parameters are the other keys of that table.

    Run-time values: `n_samples` (how many are to be divided), `targets` (labels or None), `seed`.
    Returns a mapping of `train`, `valid`, `test` to lists of positions 0..n_samples-1; the same on every rank.
    """
    raise NotImplementedError


@hookspec
def ddpkit_optimizers() -> Iterable[Component]:
    """Optimizers, named by `[train.optimizer] type`; the parameters are the other keys of that table.

    Run-time values: `params`. The TOML's `learning_rate` is passed as `lr`, as torch calls it.
    Returns a `torch.optim.Optimizer`.
    """
    raise NotImplementedError


@hookspec
def ddpkit_lr_schedulers() -> Iterable[Component]:
    """Learning rate schedules, named by `[train.lr_scheduler] type`; the parameters are the other keys of that table.

    Run-time values: `optimizer`, `total_steps` (how often `step()` will be called, warm-up left out), `epochs`,
    `steps_per_epoch`. The core does the warm-up.
    Returns a `torch.optim.lr_scheduler.LRScheduler`.
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
    }
)
"""Kind of component -> the hook that declares it."""

RUNTIME_VALUES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "model": frozenset({"classes"}),
        "criterion": frozenset({"classes", "n_classes"}),
        "transform": frozenset(),
        "postprocess": frozenset({"classes", "n_classes"}),
        "metric": frozenset({"classes", "n_classes"}),
        "dataset": frozenset({"root_dir", "classes", "seed"}),
        "split": frozenset({"n_samples", "targets", "seed"}),
        "optimizer": frozenset({"params", "lr"}),
        "lr_scheduler": frozenset({"optimizer", "total_steps", "epochs", "steps_per_epoch"}),
    }
)
"""Kind of component -> what its target may name beside the keys of its TOML table."""
