"""Inference with a trained model: `load` in Python, and the ranks of `ddpkit predict`."""

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
from ddpkit.config.classes import class_names, configured_outputs, foreground_names
from ddpkit.config.component_refs import history_columns
from ddpkit.config.loading import Config
from ddpkit.config.plugin_policy import combine_policy
from ddpkit.data.images import Mode, convert_mode, format_file, open_image
from ddpkit.distributed.world import World, choose_device
from ddpkit.errors import ComponentName, ConfigError, Diagnostic, failed_component, name_failure, named_errors
from ddpkit.inference.input_geometry import InputGeometry, preprocess
from ddpkit.inference.prediction import Prediction, PredictionDecoder
from ddpkit.plugins import manager
from ddpkit.plugins.registry import Registry
from ddpkit.runs import lookup, plugin_manifest
from ddpkit.training.model_builder import ModelBuilder
from ddpkit.training.precision import Precision, select_kernels
from ddpkit.training.pretrained import load_weights

ImageInput = str | os.PathLike[str] | Image.Image | np.ndarray
"""Path of an image file, a PIL image, or a uint8 array [H, W] or [H, W, C] with 1, 3 or 4 channels."""
BLANK = (64, 64)
"""Size (width, height) of the blank image that tests the transforms, in pixels."""


def load(run: str | os.PathLike[str], weights: str | os.PathLike[str] = "best", device: str = "auto") -> "Predictor":
    """Load the model of a run for inference. Its predictions are those of `ddpkit predict`.

    Args:
        run: Path of a run folder, of a weights file in it, or of the folder of a task: its newest finished run is used.
        weights: `best`, `last`, another name in the folder `weights` of the run, or a weights file.
        device: `auto` (CUDA if available), `cpu`, `cuda` or `cuda:N`.

    Returns:
        A predictor. Called with an image, it returns the prediction; called with a list of images, a list of predictions.

    Raises:
        ConfigError: The run, the weights or the device does not exist, or the weights do not fit the model.
        PluginError: A plugin that the run used is not installed.
    """
    return Predictor.of(*open_run(run, str(weights), {"device": device, "ddp.backend": "auto"}))


def open_run(run: str | os.PathLike[str], weights: str, values: Mapping[str, Any]) -> tuple[Config, Registry, World, Path]:
    """Return a run's config with `values` merged over it, the registry, the world of this single process, and the weights file.

    Raises the same errors as `load`.
    """
    folder, weights = lookup.locate_run(Path(run), weights, "run")
    file = (folder / "config.toml").absolute()
    config = lookup.without_helpers(lookup.without_initial_weights(loading.load(file, loading.named_overrides(values))))
    found = manager.load(combine_policy(config.run.plugins))
    plugin_manifest.check_plugins_present(lookup.read_recorded_plugins(file), found)
    check(config, found, None, is_new=False)
    config, chosen = lookup.find_run(config, weights)
    try:
        world = World(device=choose_device(config.run.device, 0, 1))
    except ValueError as error:
        raise ConfigError([Diagnostic("device", (), str(error))]) from error
    return config, found.registry, world, chosen


@attrs.frozen
class Input:
    """Image in the form that the model accepts, with its original."""

    name: str
    """Description of the image, for messages."""
    image: Tensor
    view: InputGeometry
    picture: Image.Image
    """Original image in RGB, on which the prediction is drawn."""


@attrs.frozen
class Reader:
    """Converter from an image to the model's input. It uses the transforms of an evaluation, which are not random."""

    mode: Mode
    transforms: Sequence[Callable[[Any, Any], tuple[Any, Any]]]
    names: Sequence[ComponentName] = ()
    """Names of the transforms, for messages."""

    def __call__(self, given: ImageInput) -> Input | str:
        """Return the input, or a message that says why the image cannot be used."""
        try:
            picture = open_image(Path(given)) if isinstance(given, str | os.PathLike) else to_image(given)
        except ValueError as error:
            return str(error)
        except OSError as error:  # a PIL image is decoded only now, even if it was opened earlier
            return f"{describe_input(given)} cannot be read: {error}"
        try:
            return Input(
                describe_input(given),
                *preprocess(convert_mode(picture, self.mode), self.transforms, self.names),
                convert_mode(picture, "RGB"),
            )
        except Exception as error:  # noqa: BLE001 - a transform may raise anything
            return f"{describe_input(given)} cannot be used: {name_failure(error)}"


@attrs.frozen(kw_only=True)
class Predictor:
    """Predictor of a trained model. Called with an image, it returns a prediction; called with a list, a list."""

    model: nn.Module
    """Model in evaluation mode, on `device`."""
    reader: Reader
    batch_transforms: Sequence[Callable[[Tensor], Tensor]]
    """Transforms of a whole batch of images, applied on the device."""
    batch_names: Sequence[ComponentName]
    """Names of the batch transforms, for messages."""
    postprocess: Callable[[Any], Any]
    postprocess_name: ComponentName | None
    """Name of the postprocess, for messages."""
    interpreter: PredictionDecoder
    precision: Precision
    device: torch.device
    train: schema.Train
    """Config section that selects the kernels: matmul precision and determinism."""
    batch_size: int
    """Number of images per call of the model."""
    has_heads: bool = False
    """Whether criteria or metrics of the run select entries of outputs or targets, so the postprocess was used for entries."""

    @classmethod
    def of(cls, config: Config, registry: Registry, world: World, weights: Path) -> "Predictor":
        """Build the predictor of a config, with the weights of a file.

        The batch size of the config is divided among the ranks of `world`; each rank gets at least one image at a time. Raises
        ConfigError if the transforms or the weights do not fit.
        """
        run, builder = config.run, ModelBuilder(config, registry, world)
        precision = builder.precision()
        per_sample, per_batch = builder.transforms(training=False)
        names = builder.transform_names(training=False)
        reader = Reader(color_mode(builder), per_sample, names[: len(per_sample)])
        check_transforms(reader, config)
        model = load_trained_model(builder, precision, weights)
        wanted, classes = run.predict.config, foreground_names(class_names(run), builder.gives, configured_outputs(run))
        return cls(
            model=model,
            reader=reader,
            batch_transforms=per_batch,
            batch_names=names[len(per_sample) :],
            postprocess=builder.postprocess(),
            postprocess_name=builder.postprocess_name,
            interpreter=PredictionDecoder(gives=builder.gives, classes=classes, threshold=wanted.threshold, top_k=wanted.top_k),
            precision=precision,
            device=world.device,
            train=run.train,
            batch_size=max(predict_batch_size(run) // world.size, 1),
            has_heads=any(each.on for each in history_columns(run)),
        )

    @property
    def transforms(self) -> list[Callable[..., Any]]:
        """All transforms of an evaluation: those of a sample, then those of a batch."""
        return [*self.reader.transforms, *self.batch_transforms]

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes; empty if the run has none."""
        return self.interpreter.classes

    def __call__(self, given: ImageInput | list[ImageInput] | tuple[ImageInput, ...]) -> Any:
        """Return the prediction of an image, or the list of predictions of several images, in the form of `predictions.json`.

        `file` is None for an image that is not a file. `mask` is an array [H, W]. Raises ValueError if an image cannot be read or
        used; the message names the image.
        """
        if not isinstance(given, list | tuple):
            return self([given])[0]
        found: list[dict[str, Any]] = []
        for start in range(0, len(given), self.batch_size):
            some = given[start : start + self.batch_size]
            outcomes = self.outcomes([self.reader(each) for each in some])
            found += [prediction_to_plain(each, outcome) for each, outcome in zip(some, outcomes, strict=True)]
        return found

    def outcomes(self, inputs: Sequence[Input | str]) -> list[Prediction | str]:
        """Predict one batch. Returns a prediction for each input, or an error message.

        Inputs of the same shape and dtype are passed to the model together.
        """
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
        """Predict images of one shape. Returns an error message for each image if the model does not accept the shape."""
        images = torch.stack([each.image for each in inputs])
        try:
            values = self.values(images)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:
            reason = f"{failed_component(error) or 'the model'} does not accept the shape {list(images.shape[1:])}: {error}"
            return [f"{each.name} cannot be used: {reason}" for each in inputs]
        return [self.interpreter(value, each.view) for value, each in zip(values, inputs, strict=True)]

    @torch.no_grad()
    def values(self, images: Tensor) -> list[Any]:
        """Return the output of the postprocess for each image of a batch."""
        with select_kernels(self.train.matmul_precision, deterministic=self.train.deterministic):
            images = images.to(self.device, non_blocking=True)
            for transform, name in zip(self.batch_transforms, self.batch_names, strict=True):
                with named_errors(name):
                    images = transform(images)
            outputs = self.precision(self.model, images)
            if self.has_heads:
                check_not_mapping(outputs)
            with named_errors(self.postprocess_name):
                predictions = self.postprocess(outputs)
            return list(check_not_mapping(predictions))


def check_not_mapping(value: Any) -> Any:
    """Return the outputs of a model, or its predictions. Raises ConfigError for a mapping: which entry to use is not defined."""
    if isinstance(value, Mapping):
        message = f"the model returns a mapping with the entries {', '.join(map(str, value))}, which cannot be predicted"
        raise ConfigError([Diagnostic("model", (), f"{message}; call it in Python: ddpkit.load(RUN).model(images)")])
    return value


def prediction_to_plain(given: ImageInput, outcome: Prediction | str) -> dict[str, Any]:
    """Return a prediction in the form of `predictions.json`, with the mask as an array.

    Raises ValueError if there is no prediction.
    """
    if isinstance(outcome, str):
        raise ValueError(outcome)  # noqa: TRY004 - the message is about the image, not about a type
    mask = {"mask": outcome.arrays["mask"]} if "mask" in outcome.arrays else {}
    return {"file": str(given) if isinstance(given, str | os.PathLike) else None, **outcome.values, **mask}


def describe_input(given: ImageInput) -> str:
    return format_file(Path(given)) if isinstance(given, str | os.PathLike) else "the image"


def to_image(given: Any) -> Image.Image:
    """Return a PIL image. A given PIL image is rotated upright by its EXIF orientation.

    Raises ValueError for an object or array of another kind.
    """
    if isinstance(given, Image.Image):
        return ImageOps.exif_transpose(given)
    if not isinstance(given, np.ndarray) or not is_image(given):
        kind = f"{given.dtype} {list(given.shape)}" if isinstance(given, np.ndarray) else type(given).__name__
        accepted = "a path, a PIL image, or a uint8 array [H, W] or [H, W, C] with 1, 3 or 4 channels"
        raise ValueError(f"an image must be {accepted}; got {kind}")
    return Image.fromarray(given[..., 0] if given.shape[2:] == (1,) else given)


def is_image(array: np.ndarray) -> bool:
    """Return whether an array is an image: not empty, uint8 [H, W] or [H, W, C] with 1, 3 or 4 channels."""
    return array.dtype == np.uint8 and array.size > 0 and array.ndim in (2, 3) and array.shape[2:] in ((), (1,), (3,), (4,))


def load_trained_model(builder: ModelBuilder, precision: Precision, weights: Path) -> nn.Module:
    """Return the model on the device, in evaluation mode, with the weights of a file.

    Raises ConfigError if the weights do not fit the model.
    """
    model = precision.prepare(builder.create_only("model", classes=class_names(builder.run)).to(builder.world.device))
    load_weights(model, weights)
    return model.eval()


def color_mode(builder: ModelBuilder) -> Mode:
    """Return the mode of input images: from the config, else from the dataset, else from the model's number of channels."""
    asked = builder.run.predict.config.mode or component_params(builder, "dataset").get("mode")
    if asked in ("RGB", "L"):  # in a third-party dataset, `mode` may mean something else
        return asked
    return "L" if component_params(builder, "model").get("n_channels") == 1 else "RGB"


def component_params(builder: ModelBuilder, kind: str) -> dict[str, Any]:
    """Return the parameters of the only component of a kind: the keys in the TOML file, and the defaults of the others."""
    return builder.params_of(builder.refs_of(kind)[0])


def check_transforms(reader: Reader, config: Config) -> None:
    """Raise ConfigError if the transforms do not return a tensor."""
    try:
        preprocess(Image.new(reader.mode, BLANK), reader.transforms)
    except TypeError as error:
        raise ConfigError([config.problem(("transform",), str(error))]) from error
    except Exception:  # noqa: BLE001, S110 - the blank image may be too small; each real image is checked later
        pass


def predict_batch_size(run: schema.Run) -> int:
    """Return the number of images per batch, over all ranks."""
    return run.predict.batch_size or run.test.batch_size or run.train.batch_size
