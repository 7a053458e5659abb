"""Each metric over ranks with uneven or empty shards matches scikit-learn, or pycocotools, over all samples."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from ddpkit.data.sampler import Sampler
from ddpkit.distributed.world import World
from ddpkit.training.metrics import MetricAdapter
from ddpkit_plugins.metrics.auroc import auc
from ddpkit_plugins.metrics.confusion_matrix import confusion_matrix
from ddpkit_plugins.metrics.mean_ap import mean_average_precision
from ddpkit_plugins.metrics.stat_scores import accuracy, dice, f1, iou, precision, recall, specificity, top_k_accuracy
from tests.helpers.coco import coco_map

BATCH = 6
N = 13  # gives uneven shards, and a last micro-batch of one


class Case(NamedTuple):
    """A metric, a reference for its value, and the data."""

    make: Callable[[], Any]
    score: Callable[..., float]
    """Of targets and predictions."""
    data: Callable[..., tuple[Any, Any]]
    """`data(n)`: n targets, and predictions that are often wrong; never if they are to be `perfect`."""
    tolerance: float = 1e-12


def scikit(name, *arguments, **options):
    """A score by scikit-learn, which the ranks need not import."""
    from sklearn import metrics

    return getattr(metrics, name)(*arguments, **options)


def scored(name, average, true, probabilities):
    """A score of scikit-learn over all classes."""
    found = probabilities.argmax(1)
    return scikit(name, true.ravel(), found.ravel(), average=average, zero_division=0)


def specificity_score(average, true, probabilities):
    """The recall of the negatives of a class."""
    found = probabilities.argmax(1)
    if average == "micro":
        others = [(each.ravel()[:, None] != np.arange(probabilities.shape[1])).ravel() for each in (true, found)]
        return scikit("recall_score", *others, zero_division=0)
    classes = [1] if average == "binary" else np.union1d(true, found)
    return np.mean([scikit("recall_score", (true != c).ravel(), (found != c).ravel(), zero_division=0) for c in classes])


def area(true, probabilities):
    """The mean AUC of each class against the rest; a class without positives or negatives is left out."""
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    sides = [(true == each, probabilities[:, each]) for each in classes]
    return np.mean([scikit("roc_auc_score", *side) for side in sides if 0 < side[0].sum() < len(true)])


def labels_scored(name, average, true, probabilities):
    """Of all labels that are there or found."""
    found = (probabilities > 0.5).astype(int)
    known = [each for each in range(true.shape[1]) if (true | found)[:, each].any()]
    return scikit(name, true, found, average=average, labels=known, zero_division=0)


def of_classes(n, n_classes=3, shape=(), *, perfect=False):
    """Targets that cover each class, if n allows it, and probabilities."""
    generator = torch.Generator().manual_seed(n)
    targets = torch.arange(n * max(torch.tensor(shape).prod().int().item(), 1)).reshape(n, *shape) % n_classes
    logits = torch.rand(n, n_classes, *shape, generator=generator, dtype=torch.float64)
    right = torch.nn.functional.one_hot(targets, n_classes).movedim(-1, 1)
    return targets, (logits + right * (2 if perfect else 0.3)).softmax(1)


def of_labels(n, *, perfect=False):
    """Four labels per sample; each of them is both present and absent in the data."""
    generator = torch.Generator().manual_seed(n)
    targets = torch.arange(n)[:, None] // torch.tensor([1, 2, 1, 3]) % 2
    noise = torch.rand(n, 4, generator=generator, dtype=torch.float64)
    return targets, targets * 0.6 + noise * 0.3 if perfect else targets * 0.2 + noise * 0.8


N_LABELS = 3


def of_boxes(n, *, perfect=False):
    """Images with up to four boxes of two labels; predictions are shifted, and some are false positives."""
    generator = torch.Generator().manual_seed(n)
    images = [some_boxes(number % 5, generator) for number in range(1, n + 1)]
    return images, [found_boxes(image, generator, perfect=perfect) for image in images]


def some_boxes(n, generator):
    corners = torch.rand(n, 2, generator=generator, dtype=torch.float64) * 60
    sizes = torch.rand(n, 2, generator=generator, dtype=torch.float64) * 30 + 10
    return {
        "boxes": torch.cat([corners, corners + sizes], dim=1),
        "labels": torch.randint(1, N_LABELS, (n,), generator=generator),
    }


def found_boxes(image, generator, *, perfect):
    others = some_boxes(0 if perfect else 2, generator)
    moved = image["boxes"] + torch.randn(image["boxes"].shape, generator=generator, dtype=torch.float64) * (0 if perfect else 3)
    found = {"boxes": torch.cat([moved, others["boxes"]]), "labels": torch.cat([image["labels"], others["labels"]])}
    return found | {"scores": torch.rand(len(found["labels"]), generator=generator, dtype=torch.float64)}


SCORES = {
    precision: partial(scored, "precision_score"),
    recall: partial(scored, "recall_score"),
    f1: partial(scored, "f1_score"),
    dice: partial(scored, "f1_score"),
    iou: partial(scored, "jaccard_score"),
    specificity: specificity_score,
}
CASES = {
    f"{make.__name__}, {n_classes} classes, {average}, {'masks' if shape else 'samples'}": Case(
        partial(make, n_classes, **({} if average == "binary" else {"average": average})),
        partial(score, average),
        partial(of_classes, n_classes=n_classes, shape=shape),
    )
    for make, score in SCORES.items()
    for n_classes, averages in ((2, ("binary", "macro", "micro")), (3, ("macro", "micro")))
    for average in averages
    for shape in ((), (3, 2))
}
CASES |= {
    f"{make.__name__}, labels, {average}": Case(
        partial(make, 4, average=average), partial(labels_scored, score, average), of_labels
    )
    for make, score in ((precision, "precision_score"), (recall, "recall_score"), (f1, "f1_score"), (iou, "jaccard_score"))
    for average in ("macro", "micro")
}
CASES |= {
    "accuracy": Case(partial(accuracy, 3), lambda true, p: scikit("accuracy_score", true, p.argmax(1)), of_classes),
    "accuracy, macro": Case(
        partial(accuracy, 3, average="macro"), lambda true, p: scikit("balanced_accuracy_score", true, p.argmax(1)), of_classes
    ),
    "accuracy, labels": Case(
        partial(accuracy, 4), lambda true, p: 1 - scikit("hamming_loss", true, (p > 0.5).astype(int)), of_labels
    ),
    "top 2 of 4": Case(
        partial(top_k_accuracy, 4, k=2),
        lambda true, p: scikit("top_k_accuracy_score", true, p, k=2, labels=range(4)),
        partial(of_classes, n_classes=4),
    ),
    "auc, 2 classes": Case(partial(auc, 2), area, partial(of_classes, n_classes=2)),
    "auc, 3 classes": Case(partial(auc, 3), area, of_classes),
    "auc, labels": Case(
        partial(auc, 4),
        lambda true, p: np.mean(
            [area(t, np.stack([1 - s, s], 1)) for t, s in zip(true.T, p.T, strict=True) if 0 < t.sum() < len(t)]
        ),
        of_labels,
    ),
    "auc, 3 classes, binned": Case(partial(auc, 3, thresholds=9), lambda true, p: area(true, np.floor(p * 8)), of_classes),
    "confusion_matrix": Case(
        partial(confusion_matrix, 3), lambda true, p: scikit("accuracy_score", true, p.argmax(1)), of_classes
    ),
    "map": Case(
        partial(mean_average_precision, N_LABELS), partial(coco_map, n_labels=N_LABELS - 1), of_boxes, tolerance=1e-6
    ),  # torchmetrics' float32
}


def evaluate_metric(world, name, *, last_alone=False, perfect=False):
    """Evaluate as the kit does it: each rank updates the metric with its shards of the micro-batches.

    `last_alone`: the last rank has all samples, the others none.
    """
    case = CASES[name]
    targets, predictions = case.data(N, perfect=perfect)
    measure = MetricAdapter(case.make())
    shards, n_shards = ([world.rank], world.size) if not last_alone else ([0], 1)
    sampler = Sampler(indices=range(N), batch_size=BATCH, shards=shards, n_shards=n_shards, seed=1)
    mine = [shard for shard in sampler.epoch_shards(0) if shard.n_valid]
    for shard in mine if world.rank == world.size - 1 or not last_alone else []:
        measure.update(None, select(predictions, shard.indices), select(targets, shard.indices))
    result = measure.compute()
    return [result.value, *result.per_class, *(count for row in result.confusion for count in row)]


def select(samples, indices):
    """Some of a batch."""
    return [samples[index] for index in indices] if isinstance(samples, list) else samples[indices]


def evaluate_all(world):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="auc: a class has no samples")
        values = {f"{name} dealt": evaluate_metric(world, name) for name in CASES}
        values |= {f"{name} uneven": evaluate_metric(world, name, last_alone=True) for name in CASES}
        return values | {f"{name} perfect": evaluate_metric(world, name, perfect=True) for name in CASES}


@pytest.fixture(scope="module")
def single_rank():
    """The values on one rank."""
    return evaluate_all(World())


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def ranks(request, in_world, tmp_path_factory):
    """The values on each of several ranks."""
    return in_world(request.param, tmp_path_factory.mktemp("metrics"), evaluate_all)


@pytest.mark.parametrize("name", CASES)
def test_a_metric_matches_the_reference_library(single_rank, name):
    case = CASES[name]
    data = [each if isinstance(each, list) else each.numpy() for each in case.data(N)]

    assert single_rank[f"{name} dealt"][0] == pytest.approx(case.score(*data), rel=case.tolerance)


@pytest.mark.parametrize("name", CASES)
def test_a_metric_is_the_same_on_several_ranks(single_rank, ranks, name):
    for what in ("dealt", "uneven"):
        wanted = pytest.approx(single_rank[f"{name} {what}"], rel=1e-12, nan_ok=True)
        assert [rank[f"{name} {what}"] for rank in ranks] == [wanted] * len(ranks)


@pytest.mark.parametrize("name", CASES)
def test_a_perfect_prediction_scores_one(single_rank, ranks, name):
    assert {rank[f"{name} perfect"][0] for rank in [single_rank, *ranks]} == {1.0}
