"""Extension points for plugins: one hook per kind of component. This file is the reference for plugin authors.

The hook of a kind has no arguments and yields `Component` objects. A component contains the import path of its *target* as a
string. The target is the class or function that ddpkit calls. It is imported when a run uses it, so declaring a component imports
no heavy library. The docstring of the hook lists *run-time values*, such as the number of classes. A target gets those that are
parameters of its signature, if they fit their annotations. All parameters are keys of its TOML table; a key replaces a run-time
value.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import pluggy

from ddpkit.plugins.component import Component

hookspec = pluggy.HookspecMarker("ddpkit")
hookimpl = pluggy.HookimplMarker("ddpkit")

API_VERSION = (1, 0)
"""Version of the hooks: major, minor. A plugin declares the version that it requires: `ddpkit_api = "1.0"`. It is not
loaded if that version is newer or has another major number."""


@hookspec
def ddpkit_models() -> Iterable[Component]:
    """Declare models. `[model] name` selects one; the keys of `[model.config]` are its parameters.

    Run-time values: `classes` (list of names, may be empty), `n_classes` (number of outputs, from `[model.config]`, else from the
    data; a detector adds the background itself).
    Returns an `nn.Module`. It is called with images [B, C, H, W], with a dict of them if an image of the dataset is a dict, or
    with the images that the dataset's `collate` returns. If the TOML has no `[[criterion]]`, it is called with `(images,
    targets)` in training. It must then return a dict of its losses: scalars, each the mean over the micro-batch, with the same
    names in every step.

    Example:
        @hookimpl
        def ddpkit_models():
            yield Component("tinynet", "acme.parts:TinyNet", doc="one hidden layer, for small images")
    """
    raise NotImplementedError


@hookspec
def ddpkit_criteria() -> Iterable[Component]:
    """Declare losses. `[[criterion]] type` selects one; the keys of its `config` are its parameters.

    Run-time values: `classes`, `n_classes`.
    Returns a callable `(outputs, targets) -> scalar`, which computes the mean over the micro-batch. If it is an `nn.Module`, it
    is moved to the device. If outputs or targets are dicts, it gets the entry that `on` names in the TOML; else, the dict.
    It is called on every rank, also on a rank that only has a padding sample, whose value is not used.

    A mean over something other than samples, such as class weights or the pixels that are not ignored, requires a second method,
    `weight(targets) -> scalar`: the weight of a micro-batch's targets, as a tensor on the device, at least 0. The value must then
    be the mean over this weight. For a weight of 0, it is 0 instead of NaN, still computed from the outputs. ddpkit adds up the
    weights of the micro-batches and ranks of an optimizer step, so all of them together give the mean over the step. `weight`
    must be a function or method: the tensor of class weights that losses of torch have under this name does not count.

    Example:
        @hookimpl
        def ddpkit_criteria():
            yield Component("hinge", "torch.nn:MultiMarginLoss", doc="a margin between the right class and the others")
    """
    raise NotImplementedError


@hookspec
def ddpkit_transforms() -> Iterable[Component]:
    """Declare transforms. Each key of `[transform]` selects one; its value is a list of parameters in order, or a table by name.

    Run-time values: none.
    Returns a callable like those of `torchvision.transforms.v2`: it is called with `(image, target)` and returns both. With
    `image_only`, it is called with the image and returns the image; ddpkit keeps the target. A transform that returns only an
    image without this declaration is an error at the first sample: ddpkit cannot know whether a mask or boxes still fit.
    `image_type` of the component declares whether it returns tensors.
    `batchable` transforms at the end of `[transform]` are called with a batch of images only, on the device.
    Random numbers must come from the global generators of torch, numpy or `random`, which are seeded for each sample.

    Example:
        @hookimpl
        def ddpkit_transforms():
            yield Component("SOLARIZE", "torchvision.transforms.v2:RandomSolarize", train_only=True)
    """
    raise NotImplementedError


@hookspec
def ddpkit_postprocesses() -> Iterable[Component]:
    """Declare postprocesses. `postprocess` selects one; the keys of its `config` are its parameters.

    Run-time values: `classes`, `n_classes`.
    Returns a callable `outputs -> predictions`. Metrics get these predictions. The field `gives` of the
    component describes their content. If metrics select entries of the outputs (`on`), it is called with each of these entries.

    Example:
        @hookimpl
        def ddpkit_postprocesses():
            yield Component("sharpened", "acme.every:sharpened")
    """
    raise NotImplementedError


@hookspec
def ddpkit_metrics() -> Iterable[Component]:
    """Declare metrics. Each entry of `metrics` selects one; the keys of its `config` are its parameters.

    Run-time values: `classes`, `n_classes`.
    Returns a `torchmetrics.Metric`. `update(predictions, targets)` is called with the rank's own samples. `compute()` is called
    on all ranks. It returns one number, or a dict whose first value is that number. The dict may also have entries for the
    tables of the test: `per_class` ([C]) and `confusion` ([C, C], one row per true class).
    The terminal does not show the number if the class of the metric sets `is_shown = False`; the history always contains it.

    Example:
        @hookimpl
        def ddpkit_metrics():
            yield Component("kappa", "torchmetrics.classification:MulticlassCohenKappa", takes="labels")
    """
    raise NotImplementedError


@hookspec
def ddpkit_datasets() -> Iterable[Component]:
    """Declare datasets. `[dataset] name` selects one; the keys of `[dataset.config]` are its parameters.

    Run-time values: `root_dir` (absolute path, may be empty), `classes` (names in the config, may be empty), `seed`.
    Returns a map-style dataset of `(image, target)`; `image_type` of the component declares the type of the images. These
    attributes are optional:

    - `collate(samples)`: method that returns the images and the targets of a micro-batch. It is required if targets are dicts
      whose entries differ in shape between samples, as in detection. Other dicts are collated entry by entry.
    - `splits`: dict of the dataset's own splits, from `train`, `valid` or `test` to indices. The split component divides the
      other samples.
    - `targets`: one label per sample.
    - `classes`: names of the classes, in the order of the labels. For masks, the first is the background; for boxes, the
      background has no name. If the TOML has no `classes`, the run uses these names, and their number is the number of classes.
    - `distinct_labels`: the labels that occur, for a dataset without `targets` and `classes`, such as masks. It is read only if
      the classes are not known otherwise, so it may be a property that reads all files.
    - `groups`: dict from the name of a grouping (`file`, or a column of a table) to one text per sample. Samples with the same
      text belong to one group, such as a patient.

    In place of a map-style dataset, it may return a stream (docs/streams.md): an object with `shards` (dict from `train`, `valid`
    or `test` to names of shards), `read_shard(shard)`, which yields `(image, target)` always in the same order, and
    `samples_per_epoch` (number of training samples over all ranks). Of the attributes above, it may have `collate` and `classes`.

    Example:
        @hookimpl
        def ddpkit_datasets():
            yield Component("dots", "acme.every:Dots", doc="bright and dark images")
    """
    raise NotImplementedError


@hookspec
def ddpkit_splits() -> Iterable[Component]:
    """Declare splits. `[dataset.split] type` selects one; the other keys of that table are its parameters.

    Run-time values: `n_samples` (number of samples to divide), `targets` (their labels, or None), `groups` (the attribute
    `groups` of the dataset for these samples, or None), `own_groups` (the same for each of the dataset's own splits: split ->
    groups or None), `classes` (names of the classes, may be empty), `root_dir` (of the dataset), `seed`.
    Returns a dict from `train`, `valid`, `test` to lists of positions 0..n_samples-1. It must be identical on every rank.

    Example:
        @hookimpl
        def ddpkit_splits():
            yield Component("thirds", "acme.every:thirds", doc="three splits of equal size")
    """
    raise NotImplementedError


@hookspec
def ddpkit_steps() -> Iterable[Component]:
    """Declare training steps. `[train.step] type` selects one; the other keys of that table are its parameters.

    Run-time values: `classes`, `n_classes`.
    Returns a callable `(context, images, targets)`, which is called for each micro-batch, in training and in evaluation. It
    returns the loss, a scalar that is the mean over the samples; or `{name: loss}`, with a loss for each `[[train.optimizer]]`;
    or a `ddpkit.StepOutput`, which may also have outputs for the metrics, and values for the history. ddpkit runs the backward,
    averages the gradients over the ranks and makes the optimizer steps. docs/steps.md describes the attributes of `context`.

    Example:
        @hookimpl
        def ddpkit_steps():
            yield Component("scaled", "acme.every:ScaledStep", doc="the criteria times a factor")
    """
    raise NotImplementedError


@hookspec
def ddpkit_optimizers() -> Iterable[Component]:
    """Declare optimizers. `[train.optimizer] type` selects one; the other keys of that table are its parameters.

    Each of several tables `[[train.optimizer]]` creates an optimizer for the parameters that it matches.

    Run-time values: `params` (parameters to train, in groups), `model` (not wrapped by DDP), `lr` (the TOML's `learning_rate`),
    `fused` (true, unless the table selects another implementation or sets a momentum). The TOML cannot set `params`, `model` and
    `lr`.
    Returns a `torch.optim.Optimizer` with all parameters that the table matches and whose `requires_grad` is true. A target with
    `model` but without `params` builds the groups itself; then the TOML cannot set `groups` and `decay_norm_and_bias = false`.

    Example:
        @hookimpl
        def ddpkit_optimizers():
            yield Component("rmsprop", "torch.optim:RMSprop")
    """
    raise NotImplementedError


@hookspec
def ddpkit_lr_schedulers() -> Iterable[Component]:
    """Declare learning-rate schedules. `[train.lr_scheduler] type` selects one; the other keys of that table are its parameters.

    Run-time values: `optimizer`, `total_steps` (number of calls of `step()`, without the warm-up), `epochs`,
    `steps_per_epoch` (optimizer steps). ddpkit itself does the warm-up.
    Returns a `torch.optim.lr_scheduler.LRScheduler`, or an object with `step()`, `state_dict()` and `load_state_dict(state)`. A
    scheduler of timm also fits: with `update_policy = "epoch"`, `step(epoch)` is called, and with `"step"`,
    `step_update(num_updates)`. The number is the number of updates after the warm-up of ddpkit (1-based). If the scheduler has
    the attribute `t_in_epochs`, it must fit `update_policy`.

    Example:
        @hookimpl
        def ddpkit_lr_schedulers():
            yield Component("polynomial", "torch.optim.lr_scheduler:PolynomialLR")
    """
    raise NotImplementedError


@hookspec
def ddpkit_loggers() -> Iterable[Component]:
    """Declare loggers. Each entry of `private.loggers` selects one; the keys of its `config` are its parameters.

    Run-time values: `folder` (`pathlib.Path` of the run folder), `config` (the resolved config as plain tables).
    Returns an object with `on_epoch_end(row)`, called with each row of the history, and `close()`. It is created and called on
    global rank 0 only. It may also have `on_test_end(result)`, called once with a `ddpkit.TestResult` if the run tests its best
    weights: also in a resumed run that has trained all epochs before. An exception of the logger never ends a run: a warning is
    printed, and the logger is not called again. But a ValueError or TypeError of the target itself is reported as a mistake in
    its parameters.

    Example:
        @hookimpl
        def ddpkit_loggers():
            yield Component("notes", "acme.every:Notes", doc="one JSON line per epoch")
    """
    raise NotImplementedError


@hookspec
def ddpkit_writers() -> Iterable[Component]:
    """Declare writers of predictions. `predict.config.output_format` selects one; the other keys of the table are its parameters.

    Run-time values: `folder` (`pathlib.Path` of the folder for predictions), `classes`.
    Returns an object with `write(name, prediction)`, called for each input in order, and `close()`. It is created and called on
    global rank 0 only. `name` is the input's name without its suffix; it is unique and safe as a file name. `prediction` has the
    attributes `values` (plain values for JSON) and `arrays` (the same as numpy arrays, by name).

    Example:
        @hookimpl
        def ddpkit_writers():
            yield Component("lines", "acme.every:Lines", doc="one line per prediction")
    """
    raise NotImplementedError


# --- components that are not declared: only the plugin that owns a namespace is searched for names in it --------------


@hookspec
def ddpkit_find(kind: str, name: str) -> "Component | None":
    """Return the component of a kind (`model`, ...) with the name `name`, given without namespace; None if there is none.

    For a plugin with too many components to declare each of them. It must also implement `ddpkit_names`. The hook must not import
    heavy libraries. `Component.bound` lets all names share one target.

    Example:
        @hookimpl
        def ddpkit_find(kind, name):
            if kind == "model" and name in ("resnet34", "resnet101"):
                return Component(name, "torchvision.models:" + name, arguments={"n_classes": "num_classes"})
    """
    raise NotImplementedError


@hookspec
def ddpkit_names(kind: str, pattern: str) -> Iterable[str]:
    """Return the names that match a pattern (`*`, `?`) and that `ddpkit_find` accepts, without namespace.

    Called for lists, for the JSON Schema and for suggestions; it may be slow. A plugin must also implement `ddpkit_find`.

    Example:
        @hookimpl
        def ddpkit_names(kind, pattern):
            return fnmatch.filter(["resnet34", "resnet101"], pattern) if kind == "model" else []
    """
    raise NotImplementedError


# --- run hooks: called only for plugins in `[plugins] enable` and local `files`; they must not call collectives ---------


@hookspec
def ddpkit_run_start(run: Any) -> None:
    """Prepare for a run. Called on every rank before the first step; must not call collective operations.

    `run` has the attributes `folder`, `config` (plain tables), `rank`, `n_ranks`, `device`, `model` (not wrapped by DDP),
    `optimizer` and `optimizers`, and the method `stop()`, which other hooks may call: after the current epoch and its evaluation,
    the run ends on all ranks as by early stopping, and tests the best weights. One rank is enough. A checkpoint contains the
    request.

    `optimizers` contains all optimizers by name: `{"": optimizer}` for `[train.optimizer]`, one entry for each
    `[[train.optimizer]]`. `optimizer` is the first of them.

    A parameter that the hook unfreezes is trained only if an optimizer has it; otherwise, a warning names it.

    Example:
        @hookimpl
        def ddpkit_run_start(run):
            (run.folder / f"rank-{run.rank}.txt").write_text(f"{run.n_ranks} ranks on {run.device}")
    """
    raise NotImplementedError


@hookspec
def ddpkit_step_end(run: Any, epoch: int, step: int) -> None:
    """Observe the end of an optimizer step. Called on every rank; must not call collective operations.

    `epoch` and `step` (of this epoch) are 1-based. The hook is called in every step, so it must be fast: it must not read
    values from the device. It must not change anything.

    Example:
        @hookimpl
        def ddpkit_step_end(run, epoch, step):
            watchdog.reset()
    """
    raise NotImplementedError


@hookspec
def ddpkit_epoch_end(run: Any, row: Mapping[str, float]) -> "Mapping[str, float] | None":
    """Observe the end of an epoch, after its evaluation; return new columns of the history, or None.

    Called on every rank, before the row is written; must not call collective operations. `row` is a copy of the epoch's row of
    the history. A change of it has no effect. Each rank measures the times in it itself. The columns that rank 0 returns are
    written to `history.jsonl` and `history.csv`, and passed to the loggers; other ranks may return None. Values must be numbers.
    A name that the row has already is an error. The terminal does not show these columns.

    Example:
        @hookimpl
        def ddpkit_epoch_end(run, row):
            if row["valid/loss"] < 0.01:
                run.stop()
            return {"gap": row["valid/loss"] - row["train/loss"]}
    """
    raise NotImplementedError


@hookspec
def ddpkit_checkpoint_save(run: Any) -> "Mapping[str, Any] | None":
    """Return the state that this plugin needs to resume from here: tensors and plain values, or None.

    Called on rank 0 only, between two steps; must not call collectives. Tensors are copied before the next step. Keys must be
    strings. Any other object is an error; the message says where in the state the object is.

    Example:
        @hookimpl
        def ddpkit_checkpoint_save(run):
            return {"seen": 17}
    """
    raise NotImplementedError


@hookspec
def ddpkit_checkpoint_load(run: Any, state: Mapping[str, Any]) -> None:
    """Restore the state that `ddpkit_checkpoint_save` of this plugin returned. Its tensors are on the CPU.

    Called on every rank, after `ddpkit_run_start` and before the first step; must not call collectives.

    Example:
        @hookimpl
        def ddpkit_checkpoint_load(run, state):
            print("resuming after", state["seen"], "samples")
    """
    raise NotImplementedError


@hookspec
def ddpkit_run_end(run: Any, error: "BaseException | None") -> None:
    """Clean up after a run. Called on every rank after the last step and the test, and after a failure.

    `error` is the exception that ended the run, or None. The hook must not call collectives.

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
        "step": "ddpkit_steps",
        "optimizer": "ddpkit_optimizers",
        "lr_scheduler": "ddpkit_lr_schedulers",
        "logger": "ddpkit_loggers",
        "writer": "ddpkit_writers",
    }
)
"""Kind of component -> name of the hook that declares it."""

FAMILY_HOOKS = ("ddpkit_find", "ddpkit_names")
RUN_HOOKS = (
    "ddpkit_run_start",
    "ddpkit_step_end",
    "ddpkit_epoch_end",
    "ddpkit_checkpoint_save",
    "ddpkit_checkpoint_load",
    "ddpkit_run_end",
)
