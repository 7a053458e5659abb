"""N ranks give what one gives."""

import math
import os
import time
from pathlib import Path

import pytest
import torch
from blobs import BLOBS
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from worlds import fit, in_world

from ddpkit import build, config, dist, plugins
from ddpkit.dist import World
from ddpkit.errors import PluginError

FLOAT64 = {"train.scaler.compute_type": "float64", "train.epoch": 3}
CASES = {
    "even": {"dataset.config.n": 40},
    "uneven last batch": {"dataset.split": {"train": 35 / 40, "valid": 5 / 40}},  # 3 samples: 2 and 1
    "last batch of one sample": {"dataset.split": {"train": 33 / 40, "valid": 7 / 40}},
    "a repeated sample without a finite loss": {
        "criterion": [{"type": "acme/fragile"}],
        "dataset.split": {"train": 33 / 40, "valid": 7 / 40},
    },
    "last batch dropped": {"dataset.split": {"train": 33 / 40, "valid": 7 / 40}, "dataloader.drop_last": True},
    "uneven test set": {"dataset.config.n_test": 13, "test.batch_size": 4},
    "fewer test samples than ranks": {"dataset.config.n_test": 1},
    "accumulation with a tail": {"train.grad_accumulation_steps": 3, "dataset.split": {"train": 33 / 40, "valid": 7 / 40}},
    "two criteria": {
        "criterion": [
            {"type": "cross_entropy"},
            {"type": "cross_entropy", "name": "smooth", "weight": 0.3, "config": {"label_smoothing": 0.1}},
        ]
    },
    "clipping": {"train.grad_clip_norm": 0.05, "dataset.split": {"train": 35 / 40, "valid": 5 / 40}},
    "groups": {
        "train.optimizer.groups": [{"match": "4.*", "learning_rate": 0.01}],
        "train.optimizer.decay_norm_and_bias": False,
        "train.optimizer.weight_decay": 0.1,
        "train.lr_scheduler.type": "linear",
    },
    "noise and loader workers": {"dataset.config.noise": 0.1, "dataloader.num_workers": 1},
    "adamw and a schedule": {
        "train.optimizer": {"type": "adamw", "learning_rate": 0.01},
        "train.lr_scheduler": {"type": "cosine", "warmup": 1, "update_policy": "step"},
    },
}


def run_cases(world, file):
    results = {name: fit(file, world, **FLOAT64, **case) for name, case in CASES.items()}
    results |= {"reductions": count_reductions(world, file), "batchnorm": fit(file, world, **{"model.name": "lazynet"})}
    results |= {"overflow": overflow(world, file), "poisoned": poisoned(world, file)}
    return results | {"versions": with_version(world, Path(file).parent)}


def count_reductions(world, file):
    """Gradient reductions and optimizer steps of an epoch with four micro-batches a step."""
    loaded = config.load(Path(file), config.named_overrides({"train.grad_accumulation_steps": 4}))
    engine = build.engine(loaded, plugins.load().registry, world)
    calls = []

    def reduce(_, bucket):
        calls.append(bucket)
        return default_hooks.allreduce_hook(None, bucket)

    if world.size > 1:
        engine.network.register_comm_hook(None, reduce)
    engine.train_epoch([])
    return {"reductions": len(calls), "steps": engine.progress.step, "micro_batches": len(engine.train.sampler)}


@pytest.fixture(scope="module")
def results(acme, tmp_path_factory):
    """Each case on one rank and, in one spawned world, on two."""
    folder = tmp_path_factory.mktemp("world")
    file = folder / "blobs.toml"
    file.write_text(BLOBS)
    return run_cases(World(), str(file)), in_world(2, folder, run_cases, str(file))


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_give_what_one_gives(results, case):
    alone, (first, second) = results[0][case], [rank[case] for rank in results[1]]

    assert alone["steps"] >= 6
    for name, tensor in alone["weights"].items():
        torch.testing.assert_close(first["weights"][name], tensor, rtol=1e-9, atol=1e-12)
        assert torch.equal(first["weights"][name], second["weights"][name])
    assert first["tested"] == second["tested"]
    for mine, theirs in zip([*alone["rows"], alone["tested"]], [*first["rows"], first["tested"]], strict=True):
        assert theirs == pytest.approx(mine, rel=1e-9)


def overflow(world, file):
    """A step in float16 with an infinite image on the last rank, then one without: how far the weights went, and what they are."""
    loaded = config.load(Path(file), config.named_overrides({"train.scaler.compute_type": "float16"}))
    engine = build.engine(loaded, plugins.load().registry, world)
    before = [parameter.detach().clone() for parameter in engine.model.parameters()]
    steps = engine.steps()
    (images, targets, share), *_ = next(steps)
    broken = images * float("inf") if world.rank == world.size - 1 else images
    engine.train_step([(broken, targets, share)])
    skipped = all(torch.equal(new, old) for new, old in zip(engine.model.parameters(), before, strict=True))
    engine.train_step(next(steps))
    return {
        "skipped": skipped,
        "weights": [parameter.detach().clone() for parameter in engine.model.parameters()],
        "before": before,
    }


def test_a_step_that_overflows_on_one_rank_is_skipped_on_all(results):
    first, second = (rank["overflow"] for rank in results[1])

    assert [first["skipped"], second["skipped"]] == [True, True]
    assert all(torch.equal(*pair) for pair in zip(first["weights"], second["weights"], strict=True))
    assert not torch.equal(first["weights"][0], first["before"][0])


def poisoned(world, file):
    """Twenty steps, one image of the last rank being no number in every second: which counted, and the weights."""
    skipping = {"train.on_nonfinite": "skip", "train.epoch": 5, "train.batch_size": 8}
    engine = build.engine(config.load(Path(file), config.named_overrides(skipping)), plugins.load().registry, world)
    counted = []
    for epoch in range(5):
        engine.progress.epoch = epoch
        for micro_batches in engine.steps():
            is_poisoned = len(counted) % 2 and world.rank == world.size - 1
            engine_steps = [
                (images * math.nan if is_poisoned else images, targets, share) for images, targets, share in micro_batches
            ]
            counted.append(engine.train_step(engine_steps).n_global)
    return {"counted": counted, "weights": [parameter.detach().clone() for parameter in engine.model.parameters()]}


def test_a_step_with_a_nan_on_one_rank_is_left_out_by_all(results):
    first, second = (rank["poisoned"] for rank in results[1])

    assert first["counted"] == second["counted"] == [8, 0] * 10
    assert all(torch.equal(*pair) and pair[0].isfinite().all() for pair in zip(first["weights"], second["weights"], strict=True))


def with_version(world, folder):
    """Join again with a plugin whose version differs from rank to rank; what is said."""
    manifest = [
        {"name": "acme", "version": f"1.{world.rank}", "digest": "abcdef0123"},
        {"name": "same", "version": "1", "digest": ""},
    ]
    started = time.monotonic()
    try:
        with dist.join_world(device="cpu", timeout=60, init_method=f"file://{folder}/other-plugins", manifest=manifest):
            return {}
    except PluginError as error:
        return {"said": str(error), "seconds": time.monotonic() - started}


def test_a_rank_with_another_version_of_a_plugin_is_named_by_all(results):
    for rank in results[1]:
        assert rank["versions"]["said"] == (
            "rank 1: acme 1.1 (abcdef01) here, and acme 1.0 (abcdef01) on rank 0; install the same on all"
        )
        assert rank["versions"]["seconds"] < 5


@pytest.mark.parametrize(("asked", "threads"), [("2,1", 2), ("1", 1), ("nonsense", None), (None, None)])
def test_a_rank_has_its_threads_while_it_lasts(monkeypatch, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", asked) if asked else monkeypatch.delenv("OMP_NUM_THREADS")
    torch.set_num_threads(3)

    with dist.join_world(device="cpu") as world:
        assert world.threads == torch.get_num_threads() == (threads or len(os.sched_getaffinity(0)))

    assert torch.get_num_threads() == 3
    torch.set_num_threads(1)


def test_ranks_evaluate_with_the_same_batchnorm_statistics(results):
    first, second = (rank["batchnorm"] for rank in results[1])

    assert first["tested"] == second["tested"]
    for name, tensor in first["weights"].items():
        assert torch.equal(tensor, second["weights"][name]), name


def test_gradients_are_reduced_once_an_optimizer_step(results):
    assert results[1][0]["reductions"] == {"reductions": 1, "steps": 1, "micro_batches": 4}
