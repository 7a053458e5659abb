"""Metrics match pycocotools and scikit-learn on random data sets, on one rank and on two."""

import warnings

import numpy as np
import pytest
import torch

from ddpkit.data.sampler import Sampler
from ddpkit.distributed.world import World
from ddpkit.training.metrics import MetricAdapter
from ddpkit_plugins.metrics.auroc import auc
from ddpkit_plugins.metrics.confusion_matrix import confusion_matrix
from ddpkit_plugins.metrics.mean_ap import mean_average_precision
from ddpkit_plugins.metrics.stat_scores import accuracy, f1, iou, precision, recall
from tests.helpers.coco import coco_map

FEW, MANY = range(8), range(200)
IGNORED = 255
N_LABELS = 3
NAMES = {precision: "precision_score", recall: "recall_score", f1: "f1_score", iou: "jaccard_score"}


def masks(seed):
    """Class masks with ignored pixels, of which some classes are absent, and probabilities."""
    draws = np.random.default_rng(seed)
    n_classes, n = int(draws.integers(3, 7)), int(draws.integers(1, 12))
    present = draws.choice(n_classes, draws.integers(2, n_classes + 1), replace=False)
    truth = draws.choice(present, (n, 5, 4))
    truth[0, 0, :2] = present[:2]
    probabilities = draws.dirichlet(np.ones(n_classes), (n, 5, 4)).transpose(0, 3, 1, 2)
    truth[draws.random(truth.shape) < draws.random() * 0.5] = IGNORED
    truth[0, 0, :2] = present[:2]
    return n_classes, torch.tensor(truth), torch.tensor(probabilities)


def boxes(seed):
    """Images with crowds, without boxes, with more than 100 detections, and with labels that never occur."""
    draws = np.random.default_rng(seed)
    images = [some_boxes(draws, int(draws.choice([0, 1, 4]))) for _ in range(draws.integers(2, 8))]
    found = [detections(draws, image) for image in images]
    images[0] = some_boxes(draws, 2) | {"iscrowd": torch.tensor([0, 1])}
    return images, found


def some_boxes(draws, n):
    corners = draws.random((n, 2)) * 60
    sides = draws.random((n, 2)) * 30 + 5
    labels = torch.tensor(draws.integers(1, draws.integers(2, N_LABELS + 2), n))
    box = torch.tensor(np.concatenate([corners, corners + sides], 1).astype(np.float32)).reshape(-1, 4)
    return {"boxes": box, "labels": labels, "iscrowd": torch.tensor((draws.random(n) < 0.3).astype(np.int64))}


def detections(draws, image):
    others = some_boxes(draws, int(draws.choice([0, 3, 130])))
    moved = image["boxes"] + torch.tensor(draws.normal(size=image["boxes"].shape) * draws.choice([0, 2]), dtype=torch.float32)
    moved[:, 2:] = torch.maximum(moved[:, 2:], moved[:, :2] + 1)
    found = {"boxes": torch.cat([moved, others["boxes"]]), "labels": torch.cat([image["labels"], others["labels"]])}
    return found | {"scores": torch.tensor(draws.permutation(len(found["labels"])) / 200 + draws.random() / 200)}


def value_of(world, metric, predictions, targets):
    """Value over all ranks; each rank has its shards."""
    adapter = MetricAdapter(metric)
    sampler = Sampler(indices=range(len(targets)), batch_size=2, shards=[world.rank], n_shards=world.size, seed=1)
    for shard in [each for each in sampler.epoch_shards(0) if each.n_valid]:
        adapter.update(None, *(select(each, shard.indices) for each in (predictions, targets)))
    return adapter.compute().value


def select(samples, indices):
    return [samples[index] for index in indices] if isinstance(samples, list) else samples[indices]


def values(world, seeds):
    """Value of each metric on each data set."""
    found = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="auc: a class has no samples")
        for seed in seeds:
            n_classes, truth, probabilities = masks(seed)
            for metric in (*NAMES, accuracy):
                for average in ("macro", "micro"):
                    made = metric(n_classes, average=average, ignore_index=IGNORED)
                    found[f"{metric.__name__} {average} {seed}"] = value_of(world, made, probabilities, truth)
            found[f"confusion {seed}"] = value_of(world, confusion_matrix(n_classes, ignore_index=IGNORED), probabilities, truth)
            pixel = truth[:, 0, 0], probabilities[:, :, 0, 0]
            found[f"auc {seed}"] = value_of(world, auc(n_classes, ignore_index=IGNORED), pixel[1], pixel[0])
            images, detected = boxes(seed)
            found[f"map {seed}"] = value_of(world, mean_average_precision(N_LABELS), detected, images)
    return found


def references(seeds):
    """The same values from scikit-learn and pycocotools."""
    from sklearn import metrics

    found = {}
    for seed in seeds:
        _, truth, probabilities = masks(seed)
        kept = truth != IGNORED
        true, guess = truth[kept].numpy(), probabilities.argmax(1)[kept].numpy()
        for metric, name in NAMES.items():
            for average in ("macro", "micro"):
                score = getattr(metrics, name)(true, guess, average=average, zero_division=0)
                found[f"{metric.__name__} {average} {seed}"] = score
        found[f"accuracy micro {seed}"] = found[f"confusion {seed}"] = metrics.accuracy_score(true, guess)
        found[f"accuracy macro {seed}"] = found[f"recall macro {seed}"]
        found[f"auc {seed}"] = area(truth[:, 0, 0].numpy(), probabilities[:, :, 0, 0].numpy())
        found[f"map {seed}"] = coco_map(*boxes(seed), N_LABELS)
    return found


def area(true, probabilities):
    from sklearn.metrics import roc_auc_score

    true, probabilities = true[true != IGNORED], probabilities[true != IGNORED]
    sides = [(true == label, probabilities[:, label]) for label in range(probabilities.shape[1])]
    areas = [roc_auc_score(*side) for side in sides if 0 < side[0].sum() < len(true)]
    return np.mean(areas) if areas else np.nan


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seeds", [FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["few", "many"])
def test_metrics_match_the_reference_libraries(seeds, in_world, tmp_path):
    wanted = references(seeds)

    for found in (values(World(), seeds), *in_world(2, tmp_path, values, seeds)):
        for name, value in wanted.items():
            assert found[name] == pytest.approx(value, abs=1e-6, nan_ok=True), name
