"""Torch's words for what a config can cause, and the key to look at: the trial of the first samples finds such mistakes."""

import contextlib
import re
from collections.abc import Iterator, Sequence

from ddpkit.config.loading import Config
from ddpkit.errors import ConfigError, DdpkitError, KeyPath


@contextlib.contextmanager
def first_samples(config: Config) -> Iterator[None]:
    """The model meets its first samples: torch's words for a mistake of the config are shown at its key, a bug stays one."""
    try:
        yield
    except DdpkitError:
        raise
    except Exception as error:
        for words, path, advice in MISTAKES:
            if re.search(words, str(error)):
                raise ConfigError([config.problem(path, f"{advice} ({error})")]) from error
        error.add_note("This happened when the model was tried with the first samples, before training.")
        raise


CHANNELS = """\
the images have another number of channels than the model takes; 'dataset.config.mode' reads files as grey, "L", or as "RGB" \
(and NORMALIZE with three means makes three of one)"""
MISTAKES: Sequence[tuple[str, KeyPath, str]] = (
    ("default_collate|collate takes tensors", ("transform",), "the samples are no tensors; does 'PIL_TO_TENSOR = []' lack?"),
    ("expected scalar type Byte", ("transform",), "the images are integers; does 'CONVERT_IMAGE_DTYPE = [\"float32\"]' lack?"),
    (
        "stack expects each tensor to be equal size",
        ("transform",),
        "the images differ in size; give them one by 'RESIZE = [H, W]'",
    ),
    ("Given groups=", ("model", "config", "n_channels"), CHANNELS),
    (r"size of tensor a \([134]\) must match .* at non-singleton dimension 0$", ("model", "config", "n_channels"), CHANNELS),
    ("shapes cannot be multiplied", ("model", "config"), "the images have another size than the model takes"),
    (r"Target -?\d+ is out of bounds", ("model", "config", "n_classes"), "there are targets that the model has no output for"),
    (
        "more than 1 value per channel",
        ("train", "batch_size"),
        "a rank would get one sample alone, too few for BatchNorm: make it larger, or leave a short last one out by 'drop_last'",
    ),
    ("targets should not be none", ("criterion",), "is too much: the model makes its losses itself in training; leave it out"),
    ("the model gave no losses", ("criterion",), "is missing, or the model is to make its losses itself"),
    ("does not require grad", ("criterion",), "the loss depends on no trained parameter"),
    ("compiler|g\\+\\+|Inductor", ("train", "compile"), "torch.compile does not work here; leave it out"),
    ("^criterion '.*' refuses", ("criterion",), "one of them does not fit the model's outputs, or the targets"),
    ("^the postprocess refuses", ("postprocess",), "does not fit the model's outputs"),
    ("^metric '.*' refuses", ("metrics",), "one of them does not fit the predictions, or the targets"),
    ("one element tensors can be converted", ("metrics",), "a metric gives several numbers where one is wanted"),
)
"""Words of torch (a pattern) for what a config can cause, the key to look at, and what to say."""
