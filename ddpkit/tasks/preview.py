"""Preview of the training data: a picture of the first training samples, as the model gets them."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ddpkit.config.check import ranks_in_file
from ddpkit.config.loading import Config
from ddpkit.plugins.registry import Registry
from ddpkit.runs import log
from ddpkit.runs.output_file import OutputFile
from ddpkit.tasks.plan import RunOptions
from ddpkit.tasks.runner import check_config, read_config

if TYPE_CHECKING:
    from PIL import Image

    from ddpkit.data.loader import SplitLoader

SOFTWARE = "ddpkit preview"
"""Entry `Software` of the picture files, so that only these are overwritten."""


@attrs.frozen(kw_only=True)
class Preview:
    """Picture that `preview` wrote."""

    file: Path
    n_samples: int
    images: str
    """Dtype and shape of the first image, and the range of the pixels of all images."""


def preview(file: Path, options: RunOptions, n_samples: int, output: Path | None) -> Preview:
    """Draw the first samples of the first epoch of a config, and write the picture.

    The transforms, their random numbers and the order of the samples are those of a run. Raise ConfigError for every mistake in
    the config that `run` would report, or if `output` cannot be written.
    """
    picture = OutputFile(
        path=output or Path(f"{file.stem}-preview.png"),
        option="--output",
        suffix=".png",
        command=SOFTWARE,
        mark=f"Software\0{SOFTWARE}".encode(),
    )
    picture.check()
    config, plugins = read_config(file, options)
    check_config(config, plugins, ranks_in_file(config.run))
    with log.log_messages(config.run, is_main=True):
        return write_preview(in_one_process(config), plugins.registry, n_samples, picture)


def in_one_process(config: Config) -> Config:
    """Return the config without loader workers, which do not change the samples, and with a fixed seed if it would be drawn."""
    run = config.run
    loader = attrs.evolve(run.dataloader, num_workers=0, pin_memory=False)
    return config.with_run(dataloader=loader, seed=max(run.seed, 0))


def write_preview(config: Config, registry: Registry, n_samples: int, output: OutputFile) -> Preview:
    """Read, draw and write the samples."""
    from ddpkit.data.classes import ClassInference  # noqa: PLC0415 - imports torch
    from ddpkit.distributed.world import World  # noqa: PLC0415
    from ddpkit.inference.sample_drawing import SampleDrawer, describe_images, draw_grid  # noqa: PLC0415
    from ddpkit.training.builder import build_loaders  # noqa: PLC0415

    loaders = build_loaders(config, registry, World(), None, None)
    loader, run = loaders["train"], ClassInference.of(config, registry, loaders).with_classes().run
    drawer = SampleDrawer.of(run, loader)
    samples = list(first_samples(loader, n_samples))
    grid = draw_grid([drawer.draw(*sample) for sample in samples])
    output.write(encode_picture(grid))
    return Preview(file=output.path, n_samples=len(samples), images=describe_images([sample[0] for sample in samples]))


def first_samples(loader: "SplitLoader", n_samples: int) -> Iterator[tuple[Any, Any, str]]:
    """Yield image, target and caption of the first samples of the first epoch.

    Whole micro-batches are read, because the dataset's `collate` may combine the samples of one.
    """
    from ddpkit.inference.sample_drawing import split_batch  # noqa: PLC0415 - imports torch

    for images, targets, shard in loader.epoch(0):
        samples = split_batch(images, targets)[: min(shard.n_valid, n_samples)]
        yield from ((*sample, describe_sample(loader, index)) for sample, index in zip(samples, shard.indices, strict=False))
        n_samples -= len(samples)
        if not n_samples:
            return


def describe_sample(loader: "SplitLoader", index: int) -> str:
    """Return the index of a sample, and the end of its file name if it is known."""
    files = loader.samples.info.samples
    return f"sample {index}" if files is None else f"{index}: {'/'.join(Path(files[index][0]).parts[-2:])}"


def encode_picture(picture: "Image.Image") -> bytes:
    """Return a PNG file."""
    from PIL.PngImagePlugin import PngInfo  # noqa: PLC0415 - imported only if the command is used

    data, info = io.BytesIO(), PngInfo()
    info.add_text("Software", SOFTWARE)
    picture.save(data, "PNG", pnginfo=info)
    return data.getvalue()
