"""Export a trained model to a single file that runs without ddpkit.

The file gets its final name only after its outputs were compared with those of the model.
"""

import contextlib
import importlib.util
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import torch
from PIL import Image
from torch import Tensor, nn

from ddpkit.config import loading
from ddpkit.config.classes import class_names
from ddpkit.errors import ConfigError, DdpkitError, Diagnostic, PluginError
from ddpkit.inference.input_geometry import preprocess
from ddpkit.inference.predictor import color_mode, load_trained_model, open_run
from ddpkit.runs import folder as run_folder
from ddpkit.runs.files import check_run_folder, os_errors_as, read_json, reading
from ddpkit.runs.lookup import BEST
from ddpkit.training.model_builder import ModelBuilder
from ddpkit.training.precision import Precision

ALONE = {"device": "cpu", "ddp.backend": "auto"}
"""Overrides of the run's config: the export runs on the CPU and needs no GPU."""
MOST = 1e-4
"""Maximum difference between the outputs of the file and of the model, relative to the largest output."""
ANY_BATCH, TRACED = (1, 3, 8, 17), 2
"""Batch sizes of the comparison, and of the example that is traced.

They differ, so that the comparison fails if tracing turns the batch size into a constant.
"""
ANY_SIZE = ({0: torch.export.Dim("batch")},)
"""Dynamic shapes of an exported file: any number of images."""
SYMBOL = "n_images"
"""Symbolic batch size in `check_any_batch`. Messages of torch.export contain it if the forward depends on the batch size."""
BLANKS = ((64, 64), (200, 300))
"""Sizes (width, height) of blank images that test whether the transforms return the same shape for all images."""
REMEDY = "free disk space, or pass another path with --output FILE"


@attrs.frozen(kw_only=True)
class ExportOptions:
    """Options of `ddpkit export`."""

    format: str
    """Name of the format, a key of `FORMATS`."""
    weights: str = BEST
    output: Path | None = None
    """Path of the exported file. None: in the folder `exports` of the run."""
    size: Sequence[int] | None = None
    """Shape of an input image [C, H, W]. None: derived from the run."""
    batch: int | None = None
    """Fixed number of images per call. None: any number."""
    force: bool = False
    """Whether to replace an existing file."""


def export(run: Path, options: ExportOptions) -> Path:
    """Export the model of a run, and write a JSON file with its metadata next to it. Returns the path of the exported file.

    Args:
        run: Path that selects a run, see `ddpkit.load`.
        options: Format, weights and path of the exported file.

    Raises:
        ConfigError: The run or its weights do not exist, the file exists already, or the model cannot be exported.
        PluginError: A plugin of the run, or a library of the format, is not installed.
        DdpkitError: The format cannot represent the model, or the outputs of the file differ from those of the model.
    """
    config, registry, world, weights = open_run(run, options.weights, ALONE)
    check_libraries(options.format)
    folder = run_folder.run_path(config.run)
    file = (options.output or folder / "exports" / f"{options.format}.{FORMATS[options.format].ending}").absolute()
    check_output_path(file, force=options.force)
    if options.output is None:
        check_run_folder(folder)
    builder = ModelBuilder(config, registry, world)
    check_not_detector(builder)
    model = load_trained_model(builder, Precision.of("float32", world.device), weights)
    shape = options.size or input_shape(builder)
    with os_errors_as(file.parent, REMEDY):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=file.parent) as aside:
            made = Path(aside, "model").with_suffix(f".{FORMATS[options.format].ending}")
            difference = write_model(model, shape, made, options)
            metadata = export_metadata(builder, shape, options) | {"weights": str(weights), "largest_difference": difference}
            publish(made, file, json.dumps(metadata, indent=2, ensure_ascii=False) + "\n")
    return file


def check_libraries(name: str) -> None:
    """Raise PluginError if a library that the format needs is not installed."""
    missing = [each for each in FORMATS[name].libraries if importlib.util.find_spec(each) is None]
    if missing:
        message = f"the format {name!r} requires {', '.join(missing)}; install with: pip install 'ddpkit[{name}]'"
        raise PluginError([Diagnostic("--format", (), message)])


def check_output_path(file: Path, *, force: bool) -> None:
    """Raise ConfigError for a folder, and for an existing file or metadata file unless `force` is set."""
    if file.is_dir():
        raise ConfigError([Diagnostic("--output", (), f"{file} is a folder; pass the path of a file")])
    taken = [] if force else [each for each in (file, metadata_path(file)) if each.exists()]
    if taken:
        message = f"{taken[0]} already exists; use --force to replace it, or pass another path"
        raise ConfigError([Diagnostic("--output", (), message)])


def metadata_path(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def check_not_detector(builder: ModelBuilder) -> None:
    """Raise ConfigError if the postprocess returns boxes, because the outputs of a detector are not a single tensor."""
    if builder.gives == "boxes":
        raise not_a_tensor_error("boxes")


def not_a_tensor_error(what: str) -> ConfigError:
    message = f"only a model that returns a single tensor can be exported, but this model returns {what}"
    return ConfigError([Diagnostic("--format", (), message)])


def input_shape(builder: ModelBuilder) -> list[int]:
    """Return the shape [C, H, W] of an input image.

    It is derived from `input_sizes`, else from the transforms, else from the training sample that `model.json` records. Raises
    ConfigError if these sources do not define the shape.
    """
    sizes = builder.run.model.config.input_sizes
    found = sizes[0][1:] if sizes else transformed_shape(builder) or recorded_shape(builder)
    if not found:
        message = "the run does not define the shape of its images; pass it, as in --size 3x64x64 (channels, height, width)"
        raise ConfigError([Diagnostic("--size", (), message)])
    return found


def recorded_shape(builder: ModelBuilder) -> list[int]:
    """Return the shape of the training sample that `model.json` records; [] if there is no record."""
    file = run_folder.run_path(builder.run) / "model.json"
    with reading(file):
        inputs = read_json(file)["inputs"] if file.is_file() else []
        return list(inputs[0]["size"][1:]) if inputs else []


def transformed_shape(builder: ModelBuilder) -> list[int]:
    """Return the shape that the transforms return for images of any size; [] if the shape depends on the image."""
    per_sample, per_batch = builder.transforms(training=False)
    shapes = set()
    for size in BLANKS:
        try:
            images = preprocess(Image.new(color_mode(builder), size), per_sample)[0][None]
            for transform in per_batch:
                images = transform(images)
        except Exception:  # noqa: BLE001 - a transform may raise anything, and a dataset's own images may need no transform
            return []
        shapes.add(images.shape[1:])
    return list(shapes.pop()) if len(shapes) == 1 else []


def write_model(model: nn.Module, shape: Sequence[int], file: Path, options: ExportOptions) -> float:
    """Write the model to `file`, load the file again, and compare the outputs.

    Returns the largest difference, relative to the largest output. Raises ConfigError or DdpkitError.
    """
    draws = torch.Generator().manual_seed(0)
    batches = [torch.randn(n, *shape, generator=draws) for n in ((options.batch,) if options.batch else ANY_BATCH)]
    wanted = [run_model(model, images) for images in batches]
    kind, example = FORMATS[options.format], torch.zeros(options.batch or TRACED, *shape)
    dynamic = None if options.batch else ANY_SIZE
    if dynamic and kind.is_traced:
        check_any_batch(model, example)
    with quiet_export():
        with export_errors_as(f"the model cannot be exported as {options.format}"):
            content = kind.encode(model, example, dynamic)
        file.write_bytes(content)
        with export_errors_as(f"the {options.format} file cannot be read back"):
            call = kind.load(file)
        with export_errors_as(f"the {options.format} file does not accept the inputs that the model accepts"):
            found = [call(images) for images in batches]
    return compare_outputs(found, wanted, options.format)


def check_any_batch(model: nn.Module, example: Tensor) -> None:
    """Raise DdpkitError if the forward depends on the number of images: a trace would contain only one of its paths.

    torch.export finds this with a symbolic batch size. It does not support every model; then only the comparison of the outputs
    remains.
    """
    try:
        with quiet_export():
            torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim(SYMBOL)},))
    except Exception as error:  # torch.export may raise anything
        if SYMBOL not in str(error):
            return
        guards = [line.strip(" -") for line in str(error).splitlines() if line.startswith("  - ")]
        message = f"the model's forward depends on the batch size: {guards[0] if guards else error}"
        raise DdpkitError(f"{message}; export it for a fixed batch size, such as --batch 1") from error


@contextlib.contextmanager
def quiet_export() -> Iterator[None]:
    """Hide warnings and log messages of torch.export, which are meant for the author of the model."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def export_errors_as(what: str) -> Iterator[None]:
    """Raise an error of torch or of a library as a DdpkitError; an OSError of the disk is passed on."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise DdpkitError(f"{what}: {describe_failure(error)}; try another --format, or a fixed batch size: --batch 1") from error


def run_model(model: nn.Module, images: Tensor) -> Tensor:
    """Return the outputs that the file must reproduce.

    Raises ConfigError if the model does not accept the images or does not return a tensor.
    """
    try:
        with torch.no_grad():
            outputs = model(images)
    except (RuntimeError, ValueError, TypeError) as error:
        message = f"the model does not accept images of shape {list(images.shape)}: {describe_failure(error)}"
        raise ConfigError([Diagnostic("--size", (), message)]) from error
    if not isinstance(outputs, Tensor):
        raise not_a_tensor_error(f"a {type(outputs).__name__}")
    return outputs


def compare_outputs(found: Sequence[Tensor], wanted: Sequence[Tensor], name: str) -> float:
    """Return the largest difference, relative to the largest output.

    Raises DdpkitError if the shapes differ, or if the difference is above `MOST` or NaN.
    """
    shapes = [[list(each.shape) for each in some] for some in (found, wanted)]
    if shapes[0] != shapes[1]:
        message = f"the {name} file returns outputs of shapes {shapes[0]}, but the model returns {shapes[1]}"
        raise DdpkitError(f"{message}; try another --format")
    pairs = zip(found, wanted, strict=True)
    largest = torch.stack([each.double().abs().max() for each in wanted]).max().clamp(min=torch.finfo(torch.float32).tiny)
    difference = float(torch.stack([(mine - theirs.double()).abs().max() for mine, theirs in pairs]).max() / largest)
    if not difference <= MOST:  # also true for NaN
        message = f"the outputs of the {name} file differ by {difference:.1e} of the largest output, above the limit {MOST:.0e}"
        cause = "the forward may draw random numbers or depend on pixel values"
        raise DdpkitError(f"{message}; {cause}; try another --format")
    return difference


def describe_failure(error: Exception) -> str:
    """Return the first line of the message; for TorchScript the last line, because a traceback comes first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if "TorchScript" in lines[0] else lines[0]


def export_metadata(builder: ModelBuilder, shape: Sequence[int], options: ExportOptions) -> dict[str, Any]:
    """Return the metadata that a user of the file needs: input, classes, transforms, postprocess and versions."""
    tables = loading.to_tables(builder.run)
    return {
        "format": options.format,
        "input": {"name": "images", "shape": [options.batch or "N", *shape], "dtype": "float32", "mode": color_mode(builder)},
        "classes": class_names(builder.run),
        "transforms": tables["transform"],
        "postprocess": tables.get("postprocess"),
        "run": builder.run.run_id,
        "versions": {name: version(name) for name in ("ddpkit", "torch")},
    }


def publish(made: Path, file: Path, metadata: str) -> None:
    """Move the model and its metadata file to their final paths."""
    aside = metadata_path(made)
    aside.write_text(metadata, encoding="utf-8")
    metadata_path(file).unlink(missing_ok=True)  # first, so that old metadata is never next to a new file
    made.replace(file)
    aside.replace(metadata_path(file))


Dynamic = tuple[Mapping[int, Any]] | None
"""Dimensions of the image batch that may have any size. None: all dimensions are fixed."""


@attrs.frozen(kw_only=True)
class Format:
    """File format of an export."""

    ending: str
    encode: Callable[[nn.Module, Tensor, Dynamic], bytes]
    """Function that returns the content of the file. Python writes it, since the libraries report a full disk in other ways."""
    load: Callable[[Path], Callable[[Tensor], Tensor]]
    is_traced: bool = False
    """Whether the file contains only the operations of one forward with an example."""
    libraries: Sequence[str] = ()
    """Modules that the format needs in addition to torch."""


def encode_torchscript(model: nn.Module, images: Tensor, _: Dynamic) -> bytes:
    content = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, images, check_trace=False), content)  # type: ignore[no-untyped-call]
    return content.getvalue()


def encode_program(model: nn.Module, images: Tensor, dynamic: Dynamic) -> bytes:
    """Encode the graph that `torch.export` captures."""
    content = io.BytesIO()
    torch.export.save(torch.export.export(model, (images,), dynamic_shapes=dynamic), content)
    return content.getvalue()


def load_program(file: Path) -> Callable[[Tensor], Tensor]:
    return torch.export.load(file).module()


def encode_onnx(model: nn.Module, images: Tensor, dynamic: Dynamic) -> bytes:
    """Encode the model in ONNX, including the weights; such a file can have at most 2 GB."""
    program = torch.export.export(model, (images,), dynamic_shapes=dynamic)
    made: Any = torch.onnx.export(
        program, input_names=["images"], output_names=["outputs"], dynamic_shapes=dynamic, dynamo=True, verbose=False
    )
    return bytes(made.model_proto.SerializeToString())


def load_onnx(file: Path) -> Callable[[Tensor], Tensor]:
    """Load the file with ONNX Runtime on the CPU."""
    import onnxruntime  # noqa: PLC0415 - an optional library

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


FORMATS = {
    "torchscript": Format(ending="pt", encode=encode_torchscript, load=torch.jit.load, is_traced=True),
    "onnx": Format(ending="onnx", encode=encode_onnx, load=load_onnx, libraries=("onnx", "onnxscript", "onnxruntime")),
    "torch-export": Format(ending="pt2", encode=encode_program, load=load_program),
}
