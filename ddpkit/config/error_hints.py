"""Hints for torch errors that are caused by mistakes in the config. They occur in the check with the first samples."""

import contextlib
import re
from collections.abc import Iterator, Sequence

from ddpkit.config.loading import Config
from ddpkit.errors import ConfigError, DdpkitError, KeyPath, name_failure


@contextlib.contextmanager
def translate_first_errors(config: Config) -> Iterator[None]:
    """Convert a known error on the first samples to a ConfigError at the key to change.

    Any other error is a bug: it is re-raised with a note. A DdpkitError is re-raised unchanged.
    """
    try:
        yield
    except DdpkitError:
        raise
    except Exception as error:
        for pattern, path, advice in HINTS:
            if re.search(pattern, str(error)):
                raise ConfigError([config.problem(path, f"{advice} ({name_failure(error)})")]) from error
        error.add_note("This happened in the check of the model with the first samples, before training.")
        raise


CHANNELS = """\
the images do not have the number of channels that the model expects; 'dataset.config.mode = "L"' reads files as grayscale, \
"RGB" reads them with three channels (NORMALIZE with three means also expands one channel to three)"""
SINGLE_SAMPLE = """\
a rank would get a single sample, which BatchNorm cannot normalise; increase 'train.batch_size' or set \
'dataloader.drop_last = true'"""
HINTS: Sequence[tuple[str, KeyPath, str]] = (
    ("^the targets of one micro-batch differ", ("dataset", "name"), "the samples cannot be collated"),
    (
        "default_collate|collate expects image tensors",
        ("transform",),
        "samples are not tensors; add 'PIL_TO_TENSOR = []' to [transform]",
    ),
    (
        "expected scalar type Byte",
        ("transform",),
        "images are integers; add 'CONVERT_IMAGE_DTYPE = [\"float32\"]' to [transform]",
    ),
    (
        "stack expects each tensor to be equal size",
        ("transform",),
        "images differ in size; add 'RESIZE = [H, W]' to [transform]",
    ),
    ("Given groups=", ("model", "config", "n_channels"), CHANNELS),
    (r"size of tensor a \([134]\) must match .* at non-singleton dimension 0$", ("model", "config", "n_channels"), CHANNELS),
    (
        "shapes cannot be multiplied",
        ("model", "config"),
        "the images do not have the size that the model expects; set 'RESIZE = [H, W]' in [transform] to that size",
    ),
    (
        r"Target -?\d+ is out of bounds",
        ("model", "config", "n_classes"),
        "a target is not a valid class index of the model; increase 'n_classes' or correct the labels",
    ),
    (
        "more than 1 value per channel",
        ("train", "batch_size"),
        SINGLE_SAMPLE,
    ),
    (
        "targets should not be none",
        ("criterion",),
        "is not allowed, because the model computes its losses itself in training; remove it",
    ),
    (
        "must return a mapping of scalar losses",
        ("criterion",),
        "is required, because the model does not return its losses in training",
    ),
    ("must not contain the key 'loss'", ("model", "name"), "the losses of this model cannot be used"),
    ("^the (step|value '.*' of the step) ", ("train", "step"), "cannot use what the step returned"),
    (
        "^Trying to backward through the graph a second time",
        ("train", "step"),
        "the step must not call backward(); return the loss",
    ),
    ("^no helper is called ", ("train", "step"), "uses a model that is not configured; add it as [train.helpers.NAME]"),
    ("does not require grad", ("criterion",), "the loss does not depend on any trained parameter"),
    ("compiler|g\\+\\+|Inductor", ("train", "compile"), "torch.compile does not work on this machine; remove this key"),
    (
        "^criterion '.*does not accept",
        ("criterion",),
        "a criterion cannot be computed from the outputs of the model and the targets",
    ),
    ("^postprocess '.*does not accept", ("postprocess",), "cannot convert the outputs of the model"),
    ("^metric '.*does not accept", ("metrics",), "a metric cannot be computed from the predictions and the targets"),
    (r"compute\(\) must return", ("metrics",), "a metric does not return one number"),
)
"""Regular expression for an error message, key path to change, and advice for the user."""
