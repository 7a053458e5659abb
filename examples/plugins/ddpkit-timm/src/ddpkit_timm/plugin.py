"""Declarations of the components. ddpkit imports this file in every command, so it does not import timm or torch."""

import fnmatch
import functools
import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from ddpkit import Component, hookimpl

ddpkit_api = "1.0"

REGISTERED = re.compile(r"^@register_model\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)

OPTIMIZERS = {
    "adabelief": ("AdaBelief", "Adam with the belief in the gradient, Zhuang et al. 2020"),
    "adafactor": ("Adafactor", "Adam with factored second moments, Shazeer and Stern 2018"),
    "adafactor_bv": ("AdafactorBigVision", "Adafactor as in Big Vision, Zhai et al. 2022"),
    "adamp": ("AdamP", "Adam without the growth of scale-invariant weights, Heo et al. 2021"),
    "adan": ("Adan", "Adam with Nesterov's momentum of differences, Xie et al. 2022"),
    "adopt": ("Adopt", "Adam that converges with any beta2, Taniguchi et al. 2024"),
    "lamb": ("Lamb", "Adam with a trust ratio per layer, for large batches, You et al. 2020"),
    "laprop": ("LaProp", "Adam with momentum and adaptation separated, Ziyin et al. 2020"),
    "lars": ("Lars", "SGD with a trust ratio per layer, for large batches, You et al. 2017"),
    "lion": ("Lion", "steps that use only the sign of a momentum, Chen et al. 2023"),
    "madgrad": ("MADGRAD", "dual averaging with adaptive steps, Defazio and Jelassi 2021"),
    "mars": ("Mars", "AdamW with reduced variance, Yuan et al. 2024"),
    "muon": ("Muon", "momentum with orthogonal steps for matrices, Jordan 2024"),
    "nadamw": ("NAdamW", "AdamW with Nesterov's momentum"),
    "nvnovograd": ("NvNovoGrad", "one second moment per layer, Ginsburg et al. 2019"),
    "rmsprop_tf": ("RMSpropTF", "RMSprop as in TensorFlow"),
    "sgdp": ("SGDP", "SGD without the growth of scale-invariant weights, Heo et al. 2021"),
    "sgdw": ("SGDW", "SGD with decoupled weight decay, Loshchilov and Hutter 2019"),
}
"""Name -> class of timm.optim, description."""

SCHEDULERS = {
    "cosine": ("CosineLRScheduler", "half a cosine from the rate to lr_min, in one or more cycles"),
    "tanh": ("TanhLRScheduler", "hyperbolic tangent from the rate to lr_min"),
    "poly": ("PolyLRScheduler", "polynomial from the rate to lr_min"),
    "step": ("StepLRScheduler", "times decay_rate after every decay_t"),
    "multistep": ("MultiStepLRScheduler", "times decay_rate at each number in decay_t"),
}
"""Name -> class of timm.scheduler, description."""


@hookimpl
def ddpkit_find(kind: str, name: str) -> Component | None:
    """Return the component of a model of timm, with or without the tag of its weights; None if timm has none of this name."""
    if kind != "model" or name.partition(".")[0] not in list_models():
        return None
    return Component(name, "ddpkit_timm.model:create", doc=f"timm's {name}", bound={"arch": name}, draws=("torch",))


@hookimpl
def ddpkit_names(kind: str, pattern: str) -> Iterable[str]:
    """Return the names of timm's models that match a pattern, without tags."""
    return fnmatch.filter(list_models(), pattern) if kind == "model" else []


@functools.cache
def list_models() -> tuple[str, ...]:
    """Return the names of all models, read from timm's source, because importing it takes seconds."""
    spec = find_spec("timm")
    roots = spec.submodule_search_locations if spec else None
    files = (file for root in roots or () for file in Path(root, "models").glob("*.py"))
    return tuple(sorted(name for file in files for name in REGISTERED.findall(file.read_text(encoding="utf-8"))))


@hookimpl
def ddpkit_optimizers() -> Iterator[Component]:
    """Declare the optimizers that torch does not have."""
    for name, (target, doc) in OPTIMIZERS.items():
        yield Component(name, f"timm.optim:{target}", doc=doc)


@hookimpl
def ddpkit_lr_schedulers() -> Iterator[Component]:
    """Declare the schedulers. `total_steps` counts calls, so it is right for both update policies."""
    for name, (target, doc) in SCHEDULERS.items():
        yield Component(name, f"timm.scheduler:{target}", doc=doc, arguments={"total_steps": "t_initial"})


@hookimpl
def ddpkit_transforms() -> Iterator[Component]:
    """Declare the data configuration of a model, and timm's policies of augmentation."""
    here = "ddpkit_timm.transform"
    yield Component(
        "MODEL_RESIZE", f"{here}:ModelResize", doc="resize and crop to the size of a model of timm", image_type="same"
    )
    yield Component(
        "MODEL_NORMALIZE",
        f"{here}:ModelNormalize",
        doc="normalise a float tensor with mean and std of a model of timm",
        image_type="same",
    )
    yield Component(
        "AUTO_AUGMENT",
        f"{here}:AutoAugment",
        doc="RandAugment, AutoAugment or AugMix by a policy of timm, for PIL images",
        image_type="same",
        train_only=True,
    )
