"""Each metric over ranks with uneven shards, some empty, is scikit-learn's over the whole."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from worlds import in_world

from ddpkit.dist import World
from ddpkit.measures import Measure
from ddpkit.sampler import Sampler
from ddpkit_plugins.metrics.classes import accuracy, auc, dice, f1, iou, precision, recall, specificity

BATCH = 6
SIZES = (2, 13)  # on three ranks one without a sample; uneven shards, and a tail of one


def scikit(name, *arguments, **options):
    """A score by scikit-learn, which the ranks need not import."""
    from sklearn import metrics

    return getattr(metrics, name)(*arguments, **options)


def scored(name, average, true, probabilities):
    """Of all labels at once."""
    found = probabilities.argmax(1)
    return scikit(name, true.ravel(), found.ravel(), average=average, zero_division=0)


def specificity_score(average, true, probabilities):
    """The recall of what is not of a class."""
    found = probabilities.argmax(1)
    if average == "micro":
        others = [(each.ravel()[:, None] != np.arange(probabilities.shape[1])).ravel() for each in (true, found)]
        return scikit("recall_score", *others, zero_division=0)
    classes = [1] if average == "binary" else np.union1d(true, found)
    return np.mean([scikit("recall_score", (true != c).ravel(), (found != c).ravel(), zero_division=0) for c in classes])


def area(true, probabilities):
    """One class against the rest; a class without both kinds counts 0."""
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    sides = [(true == each, probabilities[:, each]) for each in classes]
    return np.mean([scikit("roc_auc_score", *side) if 0 < side[0].sum() < len(true) else 0.0 for side in sides])


SCORES = {
    precision: partial(scored, "precision_score"),
    recall: partial(scored, "recall_score"),
    f1: partial(scored, "f1_score"),
    dice: partial(scored, "f1_score"),
    iou: partial(scored, "jaccard_score"),
    specificity: specificity_score,
}


CASES = {
    f"{make.__name__}, {n_classes} classes, {average}, {'masks' if shape else 'samples'}": (
        partial(make, n_classes, **({} if average == "binary" else {"average": average})),
        partial(score, average),
        n_classes,
        shape,
    )
    for make, score in SCORES.items()
    for n_classes, averages in ((2, ("binary", "macro", "micro")), (3, ("macro", "micro")))
    for average in averages
    for shape in ((), (3, 2))
}
CASES |= {
    "accuracy, 3 classes": (partial(accuracy, 3), lambda true, p: scikit("accuracy_score", true, p.argmax(1)), 3, ()),
    "accuracy, 3 classes, macro": (
        partial(accuracy, 3, average="macro"),
        lambda true, p: scikit("balanced_accuracy_score", true, p.argmax(1)),
        3,
        (),
    ),
    "accuracy, 4 classes, the best 2": (
        partial(accuracy, 4, top_k=2),
        lambda true, p: scikit("top_k_accuracy_score", true, p, k=2, labels=range(4)),
        4,
        (),
    ),
    "auc, 2 classes": (partial(auc, 2), area, 2, ()),
    "auc, 3 classes": (partial(auc, 3), area, 3, ()),
}


def data(n, n_classes, shape, *, perfect=False):
    """Targets of which each class is one, where there is room, and probabilities that are often wrong, or never."""
    generator = torch.Generator().manual_seed(n)
    targets = torch.arange(n * max(torch.tensor(shape).prod().int().item(), 1)).reshape(n, *shape) % n_classes
    logits = torch.rand(n, n_classes, *shape, generator=generator, dtype=torch.float64)
    right = torch.nn.functional.one_hot(targets, n_classes).movedim(-1, 1)
    return targets, (logits + right * (2 if perfect else 0.3)).softmax(1)


def measured(world, name, n, *, perfect=False):
    """As an evaluation does it: micro-batches are dealt, and a rank takes in what it has."""
    make, _, n_classes, shape = CASES[name]
    targets, probabilities = data(n, n_classes, shape, perfect=perfect)
    measure = Measure(make())
    sampler = Sampler(indices=range(n), batch_size=BATCH, shards=[world.rank], n_shards=world.size, seed=1)
    for share in sampler.shares(0):
        measure.update(probabilities[share.indices].log(), probabilities[share.indices], targets[share.indices])
    return measure.value()


def all_measured(world):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="auc: a class has no samples")
        values = {f"{name} {n}": measured(world, name, n) for name in CASES for n in SIZES}
        return values | {f"{name} perfect": measured(world, name, 13, perfect=True) for name in CASES}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """By number of ranks: what each rank has."""
    worlds = {n: in_world(n, tmp_path_factory.mktemp("metrics"), all_measured) for n in (2, 3)}
    return {1: [all_measured(World())], **worlds}


@pytest.mark.parametrize("name", CASES)
def test_a_metric_is_that_of_scikit_learn_on_any_number_of_ranks(results, name):
    _, score, n_classes, shape = CASES[name]

    for n in SIZES:
        wanted = score(*(each.numpy() for each in data(n, n_classes, shape)))
        values = [rank[f"{name} {n}"] for ranks in results.values() for rank in ranks]
        assert values == [pytest.approx(wanted, rel=1e-6)] * (1 + 2 + 3)


@pytest.mark.parametrize("name", CASES)
def test_who_is_always_right_scores_one(results, name):
    assert [rank[f"{name} perfect"] for ranks in results.values() for rank in ranks] == [1.0] * (1 + 2 + 3)
