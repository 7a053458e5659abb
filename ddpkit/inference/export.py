"""A trained model as one file that runs without ddpkit; what the file says is compared with the model before it is there."""

import contextlib
import importlib.util
import json
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
from ddpkit.config.component_refs import class_names
from ddpkit.errors import ConfigError, DdpkitError, PluginError, Problem
from ddpkit.inference.input_geometry import seen
from ddpkit.inference.predictor import mode_of, opened, trained
from ddpkit.runs import folder as run_folder
from ddpkit.runs.files import explained
from ddpkit.runs.lookup import BEST
from ddpkit.training.builder import Parts
from ddpkit.training.precision import Precision

ALONE = {"device": "cpu", "ddp.backend": "auto"}
"""Laid over the run's config: nothing of a GPU is needed."""
MOST = 1e-4
"""What the file's outputs may differ from the model's, over the largest output."""
ANY_BATCH, TRACED = (1, 3), 2
"""Images at once in the comparison, and while the model is traced: a number that the trace keeps shows in both."""
BLANKS = ((64, 64), (200, 300))
"""Pictures to try with whether the transforms make one size of all."""
REMEDY = "make room, or name another place: --output FILE"


@attrs.frozen(kw_only=True)
class Wish:
    """What a user asks for."""

    format: str
    """A key of `FORMATS`."""
    weights: str = BEST
    output: Path | None = None
    """None: in the run's folder."""
    size: Sequence[int] | None = None
    """Shape of an image; None: as the run tells."""
    batch: int | None = None
    """Images at once; None: any number."""
    force: bool = False
    """A file that is there is replaced."""


def export(run: Path, wish: Wish) -> Path:
    """Write the file, and a JSON file about it beside it; returns the file.

    Raises:
        ConfigError: There is no such run or weights, the file is there already, or the model is none that can be exported.
        PluginError: A plugin of the run, or the format's library, is not installed.
        DdpkitError: The format cannot say what the model does, or the file gives something else than the model.
    """
    config, registry, world, weights = opened(run, wish.weights, ALONE)
    refuse_missing(wish.format)
    file = (wish.output or run / "exports" / f"{wish.format}.{FORMATS[wish.format].ending}").absolute()
    refuse_taken(file, force=wish.force)
    parts = Parts(config, registry, world)
    refuse_detectors(parts)
    model, shape = trained(parts, Precision.of("float32", world.device), weights), wish.size or shape_of(parts)
    with explained(file.parent, REMEDY):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=file.parent) as aside:
            made = Path(aside, "model").with_suffix(f".{FORMATS[wish.format].ending}")
            difference = write(model, shape, made, wish)
            facts = facts_of(parts, shape, wish) | {"weights": str(weights), "largest_difference": difference}
            put(made, file, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return file


def refuse_missing(name: str) -> None:
    """Raise PluginError where a format's library is not installed."""
    missing = [each for each in FORMATS[name].libraries if importlib.util.find_spec(each) is None]
    if missing:
        message = f"{name} needs {', '.join(missing)}: pip install 'ddpkit[{name}]'"
        raise PluginError([Problem("--format", (), message)])


def refuse_taken(file: Path, *, force: bool) -> None:
    """Raise ConfigError where the file, or the one about it, is there and is not to be replaced."""
    if file.is_dir():
        raise ConfigError([Problem("--output", (), f"{file} is a folder; name a file in it")])
    taken = [] if force else [each for each in (file, about(file)) if each.exists()]
    if taken:
        raise ConfigError([Problem("--output", (), f"{taken[0]} is there already; replace it with --force, or name another")])


def about(file: Path) -> Path:
    """The JSON file."""
    return file.with_name(f"{file.name}.json")


def refuse_detectors(parts: Parts) -> None:
    """Raise ConfigError where lists of boxes come of the model."""
    if any(parts.component(named).gives == "boxes" for named in parts.named("postprocess")):
        raise no_tensor("boxes")


def no_tensor(what: str) -> ConfigError:
    """What to raise for outputs that no file can give."""
    return ConfigError(
        [Problem("--format", (), f"only a model that gives one tensor can be exported, and this one gives {what}")]
    )


def shape_of(parts: Parts) -> list[int]:
    """Of an image as the model gets it: by `input_sizes`, the transforms or a sample of the training. Raises ConfigError."""
    sizes = parts.run.model.config.input_sizes
    found = sizes[0][1:] if sizes else transformed(parts) or recorded(parts)
    if not found:
        message = "the run does not tell the shape of its images; give it, as in --size 3x64x64 (channels, height, width)"
        raise ConfigError([Problem("--size", (), message)])
    return found


def recorded(parts: Parts) -> list[int]:
    """The shape of the sample that the model was counted with; empty where it was not."""
    file = run_folder.path_of(parts.run) / "model.json"
    inputs = json.loads(file.read_text(encoding="utf-8"))["inputs"] if file.is_file() else []
    return list(inputs[0]["size"][1:]) if inputs else []


def transformed(parts: Parts) -> list[int]:
    """The shape that pictures of any size have behind the transforms; empty where there is no such shape."""
    per_sample, per_batch = parts.transforms(training=False)
    shapes = set()
    for size in BLANKS:
        try:
            images = seen(Image.new(mode_of(parts), size), per_sample)[0][None]
            for transform in per_batch:
                images = transform(images)
        except Exception:  # noqa: BLE001 - a transform may raise anything, and a dataset may give what needs none
            return []
        shapes.add(images.shape[1:])
    return list(shapes.pop()) if len(shapes) == 1 else []


def write(model: nn.Module, shape: Sequence[int], file: Path, wish: Wish) -> float:
    """Write the model, read it again and compare; returns the largest difference. Raises ConfigError, DdpkitError."""
    draws = torch.Generator().manual_seed(0)
    batches = [torch.randn(n, *shape, generator=draws) for n in ((wish.batch,) if wish.batch else ANY_BATCH)]
    wanted = [outputs_of(model, images) for images in batches]
    kind, example = FORMATS[wish.format], torch.zeros(wish.batch or TRACED, *shape)
    dynamic = None if wish.batch else ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings(action="ignore"), torch.no_grad():  # they are for who wrote the model
        with explained_as(f"the model cannot be exported as {wish.format}"):
            kind.save(model, example, dynamic, file)
            call = kind.load(file)
        with explained_as(f"the {wish.format} file refuses what the model takes"):
            found = [call(images) for images in batches]
    return compared(found, wanted, wish.format)


@contextlib.contextmanager
def explained_as(what: str) -> Iterator[None]:
    """What torch or a library raises, as a DdpkitError; the disk's refusal stays OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise DdpkitError(f"{what}: {reason(error)}; try another --format, or a fixed number of images: --batch 1") from error


def outputs_of(model: nn.Module, images: Tensor) -> Tensor:
    """What is to be had of the file. Raises ConfigError where the model refuses the images, or gives no tensor."""
    try:
        with torch.no_grad():
            outputs = model(images)
    except (RuntimeError, ValueError, TypeError) as error:
        message = f"the model refuses images of the shape {list(images.shape)}: {reason(error)}"
        raise ConfigError([Problem("--size", (), message)]) from error
    if not isinstance(outputs, Tensor):
        raise no_tensor(f"a {type(outputs).__name__}")
    return outputs


def compared(found: Sequence[Tensor], wanted: Sequence[Tensor], name: str) -> float:
    """The largest difference over the largest output. Raises DdpkitError where it is too large, or no number."""
    shapes = [[list(each.shape) for each in some] for some in (found, wanted)]
    if shapes[0] != shapes[1]:
        raise DdpkitError(f"the {name} file gives outputs of the shapes {shapes[0]}, the model {shapes[1]}; try another --format")
    pairs = zip(found, wanted, strict=True)
    largest = torch.stack([each.double().abs().max() for each in wanted]).max().clamp(min=torch.finfo(torch.float32).tiny)
    difference = float(torch.stack([(mine - theirs.double()).abs().max() for mine, theirs in pairs]).max() / largest)
    if not difference <= MOST:  # nor is it where it is no number
        message = f"the {name} file differs from the model by {difference:.1e} of its largest output, above {MOST:.0e}"
        raise DdpkitError(f"{message}; does its forward draw, or depend on the values of an image? Try another --format")
    return difference


def reason(error: Exception) -> str:
    """What torch says on one line: the first, but for TorchScript, which has a traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if "TorchScript" in lines[0] else lines[0]


def facts_of(parts: Parts, shape: Sequence[int], wish: Wish) -> dict[str, Any]:
    """What one must know to use the file."""
    tables = loading.tables(parts.run)
    return {
        "format": wish.format,
        "input": {"name": "images", "shape": [wish.batch or "N", *shape], "dtype": "float32", "mode": mode_of(parts)},
        "classes": class_names(parts.run),
        "transforms": tables["transform"],
        "postprocess": tables.get("postprocess"),
        "run": parts.run.run_id,
        "versions": {name: version(name) for name in ("ddpkit", "torch")},
    }


def put(made: Path, file: Path, facts: str) -> None:
    """Both files in their places, so that no facts stand beside a file that they are not about."""
    aside = about(made)
    aside.write_text(facts, encoding="utf-8")
    about(file).unlink(missing_ok=True)
    made.replace(file)
    aside.replace(about(file))


Dynamic = tuple[Mapping[int, Any]] | None
"""Which dimensions of the images may have any size; None for none."""


@attrs.frozen(kw_only=True)
class Format:
    """A kind of file."""

    ending: str
    save: Callable[[nn.Module, Tensor, Dynamic, Path], None]
    load: Callable[[Path], Callable[[Tensor], Tensor]]
    libraries: Sequence[str] = ()
    """To import, beside torch."""


def save_torchscript(model: nn.Module, images: Tensor, _: Dynamic, file: Path) -> None:
    """A trace."""
    torch.jit.save(torch.jit.trace(model, images, check_trace=False), file)  # type: ignore[no-untyped-call]


def save_program(model: nn.Module, images: Tensor, dynamic: Dynamic, file: Path) -> None:
    """Torch's own graph."""
    torch.export.save(torch.export.export(model, (images,), dynamic_shapes=dynamic), file)


def load_program(file: Path) -> Callable[[Tensor], Tensor]:
    """Its module."""
    return torch.export.load(file).module()


def save_onnx(model: nn.Module, images: Tensor, dynamic: Dynamic, file: Path) -> None:
    """Weights included, which bounds them to 2 GB."""
    program = torch.export.export(model, (images,), dynamic_shapes=dynamic)
    made: Any = torch.onnx.export(
        program, input_names=["images"], output_names=["outputs"], dynamic_shapes=dynamic, dynamo=True, verbose=False
    )
    made.save(file, external_data=False)


def load_onnx(file: Path) -> Callable[[Tensor], Tensor]:
    """On the CPU."""
    import onnxruntime  # noqa: PLC0415 - an extra

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


FORMATS = {
    "torchscript": Format(ending="pt", save=save_torchscript, load=torch.jit.load),
    "onnx": Format(ending="onnx", save=save_onnx, load=load_onnx, libraries=("onnx", "onnxscript", "onnxruntime")),
    "torch-export": Format(ending="pt2", save=save_program, load=load_program),
}
