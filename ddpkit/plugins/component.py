"""Component: what a plugin declares under a name, and what each kind of component may declare."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

import attrs
from attrs.validators import deep_iterable, in_, instance_of, optional

from ddpkit.errors import suggest


def check_name(pattern: str, words: str) -> Any:
    """Return a validator that accepts a text only if the pattern matches all of it."""

    def validator(_owner: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"the {field.name} of a component must be {words}; got {value!r}")

    return validator


def check_arguments(_owner: object, _field: object, value: object) -> None:
    """Accept a mapping from names of run-time values to different names of parameters, or to None."""
    if not isinstance(value, Mapping) or not all(map(is_identifier, [*value, *filter(None, value.values())])):
        raise ValueError(f"the arguments of a component must map run-time values to names of parameters or None; got {value!r}")
    names = [name for name in value.values() if name is not None]
    if len({*names}) < len(names):
        raise ValueError(f"the arguments of a component must name each parameter once; got {value!r}")


def check_bound(owner: "Component", _field: object, value: object) -> None:
    """Accept a mapping from names of parameters to plain values."""
    if not isinstance(value, Mapping) or not all(map(is_identifier, value)) or not is_plain_value([*value.values()]):
        raise ValueError(f"the bound parameters of a component must map names of parameters to plain values; got {value!r}")
    if both := sorted({*value} & {*owner.arguments.values()}):
        raise ValueError(f"the parameter {both[0]!r} of a component is both bound and in its arguments; remove one of them")


def is_identifier(name: object) -> bool:
    return isinstance(name, str) and name.isidentifier()


def is_plain_value(value: object) -> bool:
    """Return whether a value consists of texts, numbers, bools, None, lists and tuples, and dicts with texts as keys."""
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and is_plain_value([*value.values()])
    return all(map(is_plain_value, value)) if isinstance(value, list | tuple) else isinstance(value, str | int | float | None)


Gives = Literal["class", "labels", "mask", "boxes"]
"""Content of the predictions of a postprocess, see `Component.gives`."""
ImageType = Literal["pil", "tensor", "same"]
"""Type of the images that a dataset or a transform returns, see `Component.image_type`."""
Draws = Literal["torch", "numpy", "python"]
"""Global random generator, see `Component.draws`."""
AN_IMPORT_PATH = check_name(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", "'package.module:callable'")
A_TEXT, TEXTS = instance_of(str), deep_iterable(instance_of(str), instance_of(tuple))
GENERATORS = deep_iterable(in_(get_args(Draws)), instance_of(tuple))


@attrs.frozen
class Component:
    """Component that the hook of a kind yields: its name in TOML files, and the import path of its target.

    Raises ValueError or TypeError for an invalid field, at the line of the plugin that creates the component. A field that the
    kind of the component does not have is an error too.
    """

    name: str = attrs.field(validator=check_name(r"[A-Za-z][A-Za-z0-9_.+-]*", "a letter, then letters, digits and '_.+-'"))
    """Name without the plugin's namespace: a letter, then letters, digits and `_.+-`."""
    target: str = attrs.field(validator=AN_IMPORT_PATH)
    """Import path `package.module:callable`; imported when a run uses the component."""
    doc: str = attrs.field(default="", kw_only=True, validator=A_TEXT)
    """Description of one line, shown in lists."""
    aliases: tuple[str, ...] = attrs.field(default=(), kw_only=True, validator=TEXTS)
    """Other names of the component, without namespace."""
    requires: tuple[str, ...] = attrs.field(default=(), kw_only=True, validator=TEXTS)
    """Distributions that the component requires but its plugin does not install, in the syntax of pip: `("timm>=1.0",)`."""
    deprecated: str | None = attrs.field(default=None, kw_only=True, validator=optional(A_TEXT))
    """Deprecation notice: removal version and replacement; shown as a warning when a config uses the component."""
    example: str | None = attrs.field(default=None, kw_only=True, validator=optional(A_TEXT))
    """TOML that users can paste into a config."""
    arguments: Mapping[str, str | None] = attrs.field(factory=dict, kw_only=True, validator=check_arguments, hash=False)
    """Run-time value -> parameter of the target that gets it: `{"n_classes": "num_classes"}`. None: the target does not get the
    value, even if it has a parameter of this name. A value that is not listed goes to the parameter of its own name."""
    bound: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, validator=check_bound, hash=False)
    """Parameters with fixed values, which a config cannot set: `{"model_name": "resnet50"}`. Values are plain: texts, numbers,
    bools, None, lists, dicts. One target can so serve many names."""
    train_only: bool = attrs.field(default=False, kw_only=True, validator=instance_of(bool))
    """For transforms: augmentation that is used in training only, not in evaluation."""
    batchable: bool = attrs.field(default=False, kw_only=True, validator=instance_of(bool))
    """For transforms: accepts a whole batch of images, without targets. Must be false for a random transform."""
    image_only: bool = attrs.field(default=False, kw_only=True, validator=instance_of(bool))
    """For transforms: called with the image only; the target is kept. Must be false for a transform that moves pixels if targets
    are masks or boxes, because these would no longer fit the image."""
    takes: Literal["labels", "logits"] | None = attrs.field(default=None, kw_only=True, validator=in_([None, "labels", "logits"]))
    """For metrics: first argument of `update`. None: the predictions of the postprocess. `labels`: the most probable class in
    these predictions (int64 [B, ...]). `logits`: the unchanged outputs of the model."""
    higher_is_better: bool | None = attrs.field(default=None, kw_only=True, validator=optional(instance_of(bool)))
    """For metrics: whether a higher value is better, for the best weights and early stopping. None: the attribute
    `higher_is_better` of the metric decides."""
    gives: Gives | None = attrs.field(default=None, kw_only=True, validator=in_([None, *get_args(Gives)]))
    """For postprocesses: content of the predictions. `class`: probabilities [B, C], exactly one class is right. `labels`:
    probabilities [B, C], any number of labels may be right. `mask`: probabilities [B, C, H, W]. `boxes`: one dict per image,
    as torchvision's detectors return it. None: `ddpkit predict` writes the values without interpretation."""
    image_type: ImageType | None = attrs.field(default=None, kw_only=True, validator=in_([None, *get_args(ImageType)]))
    """For datasets and transforms: type of the images that the component returns. `pil`: PIL images, which a transform must
    convert. `tensor`: tensors. `same`: the type that the transform gets. None: unknown. If all are known, `ddpkit check` reports
    images that are not converted to tensors."""
    draws: tuple[Draws, ...] | None = attrs.field(default=None, kw_only=True, validator=optional(GENERATORS))
    """For models, criteria, steps, metrics and postprocesses: global random generators that a call draws from (`torch`, `numpy`,
    `python`). `()`: none, which saves their seeding in each step. None: unknown, all are seeded."""
    binary_outputs: Literal[1, 2] | None = attrs.field(default=None, kw_only=True, validator=in_([None, 1, 2]))
    """For criteria and postprocesses: number of outputs that the component requires for two classes. A model without `n_classes`
    gets this number. None: both are accepted."""
    starter: str | None = attrs.field(default=None, kw_only=True, validator=optional(AN_IMPORT_PATH))
    """For datasets: import path of a function `(path: Path) -> Starter | None`. `ddpkit init PATH` calls it with a file or a
    folder. It returns the config for data that the dataset reads, and None for other data; see `ddpkit.Starter`. It raises
    ValueError, with a message that says what to change, for data with a mistake. It must not import torch, and must read a
    bounded number of samples."""


RUNTIME_VALUES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "model": frozenset({"classes", "n_classes"}),
        "criterion": frozenset({"classes", "n_classes"}),
        "transform": frozenset(),
        "postprocess": frozenset({"classes", "n_classes"}),
        "metric": frozenset({"classes", "n_classes"}),
        "dataset": frozenset({"root_dir", "classes", "seed"}),
        "split": frozenset({"n_samples", "targets", "groups", "own_groups", "classes", "root_dir", "seed"}),
        "step": frozenset({"classes", "n_classes"}),
        "optimizer": frozenset({"params", "model", "lr", "fused"}),
        "lr_scheduler": frozenset({"optimizer", "total_steps", "epochs", "steps_per_epoch"}),
        "logger": frozenset({"folder", "config"}),
        "writer": frozenset({"folder", "classes"}),
    }
)
"""Kind of component -> run-time values that a target gets if its signature names them."""
ALSO_IN_TOML: Mapping[str, frozenset[str]] = MappingProxyType({"model": frozenset({"n_classes"})})
"""Kind of component -> run-time values that the TOML may set by this name, even if the target's parameter has another one."""
FIELD_KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "train_only": ("transform",),
        "batchable": ("transform",),
        "image_only": ("transform",),
        "takes": ("metric",),
        "higher_is_better": ("metric",),
        "gives": ("postprocess",),
        "image_type": ("dataset", "transform"),
        "draws": ("model", "criterion", "step", "metric", "postprocess"),
        "binary_outputs": ("criterion", "postprocess"),
        "starter": ("dataset",),
    }
)
"""Field of `Component` -> kinds of components that may set it. Every kind may set the other fields."""


def check_kind(kind: str, component: Component) -> None:
    """Raise ValueError if a component declares what its kind does not have: a field, or a run-time value in `arguments`."""
    for field in attrs.fields(Component):
        kinds = FIELD_KINDS.get(field.name, (kind,))
        if kind not in kinds and getattr(component, field.name) != field.default:
            raise ValueError(
                f"{kind} {component.name!r} cannot have the field {field.name!r}, which is for a {' or '.join(kinds)}; remove it"
            )
    for name in component.arguments:
        if name not in RUNTIME_VALUES[kind]:
            raise ValueError(f"{kind} {component.name!r} gets no run-time value {name!r}, {suggest(name, RUNTIME_VALUES[kind])}")
