"""A trained model that is asked about images: in Python by itself, and for each rank that predicts."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from ddpkit.config import loading, schema
from ddpkit.config.check import check
from ddpkit.config.component_refs import class_names, find
from ddpkit.config.loading import Config
from ddpkit.config.plugin_policy import policy_of
from ddpkit.data.images import Mode, converted, open_image, shown
from ddpkit.distributed.world import World, choose_device
from ddpkit.errors import ConfigError, Problem
from ddpkit.inference.input_geometry import View, seen
from ddpkit.inference.prediction import Interpreter, Prediction, names_of
from ddpkit.plugins import manager, signatures
from ddpkit.plugins.registry import Registry
from ddpkit.runs import lookup, plugin_manifest
from ddpkit.training.builder import Parts
from ddpkit.training.precision import Precision, kernels
from ddpkit.training.pretrained import fill

Given = str | os.PathLike[str] | Image.Image | np.ndarray
"""A file, a picture, or an array uint8 [H, W] or [H, W, C] with 1, 3 or 4 channels."""
BLANK = (64, 64)
"""A picture to try the transforms with."""


def load(run: str | os.PathLike[str], weights: str | os.PathLike[str] = "best", device: str = "auto") -> "Predictor":
    """The model of a run, ready to be asked: what `ddpkit predict` finds, it finds.

    Args:
        run: The folder of the run.
        weights: `best`, `last`, another name in the run's `weights`, or a file.
        device: `auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:N`.

    Raises:
        ConfigError: There is no such run, weights or device, or the weights are of another model.
        PluginError: A plugin that the run used is not installed.
    """
    return Predictor.of(*opened(run, str(weights), {"device": device, "ddp.backend": "auto"}))


def opened(run: str | os.PathLike[str], weights: str, values: Mapping[str, Any]) -> tuple[Config, Registry, World, Path]:
    """A run's config with values laid over it, the components there are, this process alone, and the file of the weights.

    Raises as `load` does.
    """
    file = Path(run).absolute() / "config.toml"
    if lookup.own_run(file) is None:
        raise ConfigError([Problem("run", (), f"{run} is no folder of a run: it has no config.toml and plugins.json")])
    config = lookup.without_start(loading.load(file, loading.named_overrides(values)))
    found = manager.load(policy_of(config.run.plugins))
    plugin_manifest.refuse_missing(lookup.recorded_plugins(file), found)
    check(config, found, None)
    config, chosen = lookup.from_run(config, weights)
    try:
        world = World(device=choose_device(config.run.device, 0, 1))
    except ValueError as error:
        raise ConfigError([Problem("device", (), str(error))]) from error
    return config, found.registry, world, chosen


@attrs.frozen
class Input:
    """An image as the model gets it."""

    name: str
    """For messages."""
    image: Tensor
    view: View
    picture: Image.Image
    """As it was given, RGB; what is found is drawn on it."""


@attrs.frozen
class Reader:
    """Makes of an image what the model gets, as in an evaluation: nothing is drawn at random."""

    mode: Mode
    transforms: Sequence[Callable[[Any, Any], tuple[Any, Any]]]

    def __call__(self, given: Given) -> Input | str:
        """An input, or why it is none."""
        try:
            picture = open_image(Path(given)) if isinstance(given, str | os.PathLike) else as_picture(given)
        except ValueError as error:
            return str(error)
        except OSError as error:  # a picture that was opened is read now
            return f"{called(given)} cannot be read: {error}"
        try:
            return Input(called(given), *seen(converted(picture, self.mode), self.transforms), converted(picture, "RGB"))
        except Exception as error:  # noqa: BLE001 - a transform may raise anything
            return f"{called(given)} cannot be used: {error}"


@attrs.frozen(kw_only=True)
class Predictor:
    """Called with an image, it gives its prediction; with a list of images, a list."""

    model: nn.Module
    """In evaluation mode, on `device`."""
    reader: Reader
    batch_transforms: Sequence[Callable[[Tensor], Tensor]]
    """What is done to a batch of images, on the device."""
    postprocess: Callable[[Any], Any]
    interpreter: Interpreter
    precision: Precision
    device: torch.device
    train: schema.Train
    """Whose kernels are chosen."""
    batch_size: int
    """Images that the model gets at once."""

    @classmethod
    def of(cls, config: Config, registry: Registry, world: World, weights: Path) -> "Predictor":
        """The model that the config names, with the weights of a file. Raises ConfigError."""
        run, parts = config.run, Parts(config, registry, world)
        precision = Precision.of(run.train.scaler.compute_type, world.device, channels_last=run.train.channels_last)
        per_sample, per_batch = parts.transforms(training=False)
        reader = Reader(mode_of(parts), per_sample)
        refuse_no_tensors(reader, config)
        model = trained(parts, precision, weights)
        named = parts.named("postprocess")
        gives = parts.component(named[0]).gives if named else None
        wanted, classes = run.predict.config, names_of(class_names(run), gives)
        return cls(
            model=model,
            reader=reader,
            batch_transforms=per_batch,
            postprocess=parts.postprocess(),
            interpreter=Interpreter(gives=gives, classes=classes, threshold=wanted.threshold, top_k=wanted.top_k),
            precision=precision,
            device=world.device,
            train=run.train,
            batch_size=max(batch_size(run) // world.size, 1),
        )

    @property
    def transforms(self) -> list[Callable[..., Any]]:
        """All of an evaluation: those of a sample, then those of a batch."""
        return [*self.reader.transforms, *self.batch_transforms]

    @property
    def classes(self) -> Sequence[str]:
        """Their names; empty where the run has none."""
        return self.interpreter.classes

    def __call__(self, given: Given | list[Given] | tuple[Given, ...]) -> Any:
        """Predictions as `predictions.json` has them; `file` is None for what is no file, `mask` an array [H, W].

        Raises ValueError for what cannot be read or used, naming it.
        """
        if not isinstance(given, list | tuple):
            return self([given])[0]
        found: list[dict[str, Any]] = []
        for start in range(0, len(given), self.batch_size):
            some = given[start : start + self.batch_size]
            outcomes = self.outcomes([self.reader(each) for each in some])
            found += [plain(each, outcome) for each, outcome in zip(some, outcomes, strict=True)]
        return found

    def outcomes(self, inputs: Sequence[Input | str]) -> list[Prediction | str]:
        """Of one batch: what was found in each, or why nothing was; those of one size go through the model together."""
        outcomes: list[Prediction | str] = [each if isinstance(each, str) else "" for each in inputs]
        sizes: dict[Any, list[int]] = {}
        for place, each in enumerate(inputs):
            if isinstance(each, Input):
                sizes.setdefault((each.image.shape, each.image.dtype), []).append(place)
        for places in sizes.values():
            together = [each for each in (inputs[place] for place in places) if isinstance(each, Input)]
            for place, outcome in zip(places, self.found(together), strict=True):
                outcomes[place] = outcome
        return outcomes

    def found(self, inputs: Sequence[Input]) -> list[Prediction | str]:
        """Of images of one size; why none, where the model refuses that size."""
        images = torch.stack([each.image for each in inputs])
        try:
            values = self.values(images)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:
            return [f"{each.name} is refused by the model, as {list(each.image.shape)}: {error}" for each in inputs]
        return [self.interpreter(value, each.view) for value, each in zip(values, inputs, strict=True)]

    @torch.no_grad()
    def values(self, images: Tensor) -> list[Any]:
        """What the postprocess makes of the model's outputs, an image each."""
        with kernels(self.train.matmul_precision, deterministic=self.train.deterministic):
            images = images.to(self.device, non_blocking=True)
            for transform in self.batch_transforms:
                images = transform(images)
            return list(self.postprocess(self.precision(self.model, images)))


def plain(given: Given, outcome: Prediction | str) -> dict[str, Any]:
    """As JSON has it, with the mask itself. Raises ValueError where there is none."""
    if isinstance(outcome, str):
        raise ValueError(outcome)  # noqa: TRY004 - it says what is wrong with an image
    mask = {"mask": outcome.arrays["mask"]} if "mask" in outcome.arrays else {}
    return {"file": str(given) if isinstance(given, str | os.PathLike) else None, **outcome.values, **mask}


def called(given: Given) -> str:
    """An image, for messages."""
    return shown(Path(given)) if isinstance(given, str | os.PathLike) else "the image"


def as_picture(given: Any) -> Image.Image:
    """A picture, upright. Raises ValueError for an array of another kind."""
    if isinstance(given, Image.Image):
        return ImageOps.exif_transpose(given)
    if not isinstance(given, np.ndarray) or not is_picture(given):
        kind = f"{given.dtype} {list(given.shape)}" if isinstance(given, np.ndarray) else type(given).__name__
        raise ValueError(f"an image is a path, a PIL image, or an array uint8 [H, W] or [H, W, 1, 3 or 4], got {kind}")
    return Image.fromarray(given[..., 0] if given.shape[2:] == (1,) else given)


def is_picture(array: np.ndarray) -> bool:
    """Whether an array holds pixels as pictures have them."""
    return array.dtype == np.uint8 and array.size > 0 and array.ndim in (2, 3) and array.shape[2:] in ((), (1,), (3,), (4,))


def trained(parts: Parts, precision: Precision, weights: Path) -> nn.Module:
    """The model on the device, with the weights of a file, in evaluation mode. Raises ConfigError where they are another's."""
    model = precision.prepare(parts.make_one("model", classes=class_names(parts.run)).to(parts.world.device))
    fill(model, weights)
    return model.eval()


def mode_of(parts: Parts) -> Mode:
    """How images are read: as the TOML says, else as the dataset has it, else as the model's channels need it."""
    asked = parts.run.predict.config.mode or given_to(parts, "dataset").get("mode")
    if asked in ("RGB", "L"):  # a stranger's dataset may mean anything by `mode`
        return asked
    return "L" if given_to(parts, "model").get("n_channels") == 1 else "RGB"


def given_to(parts: Parts, kind: str) -> dict[str, Any]:
    """What the only component of a kind is made with: the TOML's keys over its own defaults."""
    reference = parts.named(kind)[0]
    signature = signatures.inspected(find(reference, parts.registry).component.target)
    return {**signature.defaults, **reference.named_params(signature)}


def refuse_no_tensors(reader: Reader, config: Config) -> None:
    """Raise ConfigError where the transforms make no tensor of a picture."""
    try:
        seen(Image.new(reader.mode, BLANK), reader.transforms)
    except TypeError as error:
        raise ConfigError([config.problem(("transform",), str(error))]) from error
    except Exception:  # noqa: BLE001, S110 - a blank picture may be too small for them; each image tells for itself
        pass


def batch_size(run: schema.Run) -> int:
    """Images at once over all ranks."""
    return run.predict.batch_size or run.test.batch_size or run.train.batch_size
