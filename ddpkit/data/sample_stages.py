"""Stages of a sample: as the dataset returns it, then after each transform. They show which component fails or is not seeded."""

from collections.abc import Sequence

from ddpkit.config.instantiate import IMAGE_ONLY
from ddpkit.data.loader import SeededDataset, describe_value
from ddpkit.data.sample_facts import digest
from ddpkit.errors import ComponentName, find_name, named_errors


def read_stages(samples: SeededDataset, index: int) -> list[str]:
    """Return the digest of each stage of a sample; [] if the sample is unreadable and such samples are skipped.

    Raises ValueError if a transform does not return image and target.
    """
    try:
        sample = samples.load((0, index), index)
    except Exception:
        if samples.substitutes:
            return []
        raise
    stages = [digest(sample)]
    for transform in samples.transforms:
        with named_errors(find_name(transform, samples.transforms, samples.transform_names)):
            sample = check_pair(transform(*sample))
        stages.append(digest(sample))
    return stages


def check_pair(returned: object) -> tuple[object, object]:
    """Return what a transform returned. Raises ValueError if it is not a pair of image and target."""
    if isinstance(returned, tuple | list) and len(returned) == 2:  # noqa: PLR2004 - image and target
        image, target = returned
        return image, target
    raise ValueError(f"it returned {describe_value(returned)} instead of image and target; {IMAGE_ONLY}")


def find_unrepeatable(samples: SeededDataset, first: Sequence[str], second: Sequence[str]) -> ComponentName | None:
    """Return the component after which two reads of one sample differ; None if they are equal.

    `second` is empty if the sample was unreadable the second time.
    """
    if not second:
        return samples.dataset_name
    names = [samples.dataset_name, *samples.transform_names]
    return next((name for name, *stages in zip(names, first, second, strict=True) if stages[0] != stages[1]), None)
