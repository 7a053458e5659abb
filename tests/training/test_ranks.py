"""N ranks give what one gives."""

import math
import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

from ddpkit.checkpoint import trainer_state
from ddpkit.config import loading
from ddpkit.distributed.stop_sync import Agreement
from ddpkit.distributed.sync_batchnorm import Counted, synchronise
from ddpkit.distributed.world import World, join_world
from ddpkit.errors import ConfigError, NonFiniteError, PluginError
from ddpkit.plugins import manager
from ddpkit.training import builder
from tests.helpers.configs import BLOBS
from tests.helpers.ranks import Kept, Nowhere, Rows, fit

FLOAT64 = {"train.scaler.compute_type": "float64", "train.epoch": 3, "train.batch_size": 6}
SYNC = {"model.name": "convnet", "ddp.sync_batchnorm": True}
ADAMW = {"train.optimizer": {"type": "adamw", "learning_rate": 0.01, "weight_decay": 0.1}}
EVEN = {"dataset.split": {"train": 30 / 40, "valid": 10 / 40}}
UNEVEN = {"dataset.split": {"train": 34 / 40, "valid": 6 / 40}}  # a last batch of 4: 2 and 2, or 2, 1 and 1
ONE = {"dataset.split": {"train": 31 / 40, "valid": 9 / 40}}
CLIPPING = {"train.grad_clip_norm": 0.05}
EMA = {"train.ema_decay": 0.9}
GROUPS = {"train.optimizer.groups": [{"match": "*.bias", "learning_rate": 0.02}, {"match": "1.*", "learning_rate": 0.03}]}
ACCUMULATED = {"train.grad_accumulation_steps": 3}
GRID = {  # each two values of {BatchNorm over ranks, none}, {SGD, AdamW}, tails, {clipping, EMA, groups}, accumulation meet
    "sync, uneven, ema, accumulation": SYNC | UNEVEN | EMA | ACCUMULATED,
    "adamw, even, groups": ADAMW | EVEN | GROUPS,
    "one": ONE,
    "sync, adamw, one, clipping, accumulation": SYNC | ADAMW | ONE | CLIPPING | ACCUMULATED,
    "uneven, clipping": UNEVEN | CLIPPING,
    "sync, adamw, even, accumulation": SYNC | ADAMW | EVEN | ACCUMULATED,
    "even, ema": EVEN | EMA,
    "sync, one, groups, accumulation": SYNC | ONE | GROUPS | ACCUMULATED,
    "adamw, uneven, accumulation": ADAMW | UNEVEN | ACCUMULATED,
    "sync, adamw, one, ema": SYNC | ADAMW | ONE | EMA,
    "sync, even, clipping, accumulation": SYNC | EVEN | CLIPPING | ACCUMULATED,
    "adamw, uneven, groups": ADAMW | UNEVEN | GROUPS,
}
CASES = {
    **GRID,
    "a repeated sample without a finite loss": {"criterion": [{"type": "acme/fragile"}], "valid.batch_size": 9, **ONE},
    "last batch dropped": {**ONE, "dataloader.drop_last": True},
    "uneven test set": {"dataset.config.n_test": 13, "test.batch_size": 4},
    "fewer test samples than ranks": {"dataset.config.n_test": 1},
    "two criteria": {
        "criterion": [
            {"type": "cross_entropy"},
            {"type": "cross_entropy", "name": "smooth", "weight": 0.3, "config": {"label_smoothing": 0.1}},
        ]
    },
    "no decay on biases": {
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


OF_THREE = [
    name for name, case in CASES.items() if "test" in name or case.get("dataset.split") not in (None, EVEN["dataset.split"])
]
"""Where three ranks share what two do not: tails of four samples and of one."""


def equal_cases(world, file, names=tuple(CASES)):
    return {name: fit(file, world, **(FLOAT64 | CASES[name])) for name in names}


def run_cases(world, file):
    results = equal_cases(world, file)
    results |= {"reductions": count_reductions(world, file), "batchnorm": fit(file, world, **{"model.name": "lazynet"})}
    results |= {"overflow": overflow(world, file), "poisoned": poisoned(world, file), "stopped": stopped(world, file)}
    results |= {"float32": fit(file, world, **{"train.epoch": 2, "train.batch_size": 6, **EVEN})["weights"]}
    results |= {"agreed": agreed(world), "normalised": normalised_layer(world), "forgetful": forgetful(world, file)}
    results |= {f"resumed, {name}": resumed(world, file, name) for name in RESUMED}
    results |= {f"virtual, {name}": fit(file, world, **VIRTUAL, **case) for name, case in IN_TURN.items()}
    results |= {"crossed": crossed(world, file)}
    return results | {"versions": with_version(world, Path(file).parent)}


def count_reductions(world, file):
    """Gradient reductions and optimizer steps of an epoch with four micro-batches a step."""
    loaded = loading.load(Path(file), loading.named_overrides({"train.grad_accumulation_steps": 4}))
    engine = builder.engine(loaded, manager.load().registry, world)
    calls = []

    def reduce(_, bucket):
        calls.append(bucket)
        return default_hooks.allreduce_hook(None, bucket)

    if world.size > 1:
        engine.network.register_comm_hook(None, reduce)
    engine.train_epoch([])
    made = {"reductions": len(calls), "steps": engine.progress.step, "micro_batches": engine.train.sampler.n_batches()}
    return made | {"looks for unused": getattr(engine.network, "find_unused_parameters", None)}


@pytest.fixture(scope="module")
def results(in_world, tmp_path_factory):
    """Each case on one rank and, in one spawned world each, on two and three."""
    folder = tmp_path_factory.mktemp("world")
    file = folder / "blobs.toml"
    file.write_text(BLOBS)
    (folder / "of-three").mkdir()
    three = in_world(3, folder / "of-three", equal_cases, str(file), OF_THREE)
    return run_cases(World(), str(file)), in_world(2, folder, run_cases, str(file)), three


@pytest.mark.parametrize(("case", "n_ranks"), [*((name, 2) for name in CASES), *((name, 3) for name in OF_THREE)])
def test_ranks_give_what_one_gives(results, case, n_ranks):
    alone, (first, *others) = results[0][case], [rank[case] for rank in results[n_ranks - 1]]

    assert alone["steps"] >= 6
    for name, tensor in alone["weights"].items():
        torch.testing.assert_close(first["weights"][name], tensor, rtol=1e-9, atol=1e-12)
        assert all(torch.equal(first["weights"][name], other["weights"][name]) for other in others)
    assert all(first["tested"] == other["tested"] for other in others)
    for mine, theirs in zip([*alone["rows"], alone["tested"]], [*first["rows"], first["tested"]], strict=True):
        assert theirs == pytest.approx(mine, rel=1e-9)


def overflow(world, file):
    """A step in float16 with an infinite image on the last rank, then one without: how far the weights went, and what they are."""
    loaded = loading.load(Path(file), loading.named_overrides({"train.scaler.compute_type": "float16"}))
    engine = builder.engine(loaded, manager.load().registry, world)
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
    """Twenty steps whose images are no numbers on one rank, in turn, a good one after each: which counted, and the weights."""
    skipping = {"train.on_nonfinite": "skip", "train.ema_decay": 0.5}
    engine = builder.engine(loading.load(Path(file), loading.named_overrides(skipping)), manager.load().registry, world)
    counted = []
    for epoch in range(10):
        for number, micro_batches in enumerate(engine.steps()):
            is_poisoned = number % 2 == 0 and world.rank == epoch % world.size
            poisoned = [
                (images * math.nan if is_poisoned else images, targets, share) for images, targets, share in micro_batches
            ]
            counted.append(engine.train_step(poisoned).n_global)
        engine.progress.epoch_ended()
    return {
        "counted": counted,
        "weights": [each.detach().clone() for made in engine.candidates for each in made.model.parameters()],
    }


def test_a_step_with_a_nan_on_one_rank_is_left_out_by_all(results):
    first, second = (rank["poisoned"] for rank in results[1])

    assert first["counted"] == second["counted"] == [0, 8] * 20
    assert all(torch.equal(*pair) and pair[0].isfinite().all() for pair in zip(first["weights"], second["weights"], strict=True))


def stopped(world, file):
    """What an epoch says whose third step has a NaN on the last rank."""
    engine = builder.engine(loading.load(Path(file)), manager.load().registry, world)
    with torch.no_grad():
        index = engine.train.sampler.batches(0)[2][-1]  # the last sample of a micro-batch is the last rank's
        engine.train.samples.dataset.images[index] = math.nan
    try:
        engine.train_epoch([])
    except NonFiniteError as error:
        return str(error)


def test_a_nan_on_one_rank_ends_the_run_on_all(results):
    assert {rank["stopped"] for rank in [results[0], *results[1]]} == {
        "the loss of epoch 1 is nan at step 4; try a lower learning rate, or a warm-up"
    }


def test_in_float32_a_small_net_differs_by_rounding_alone(results):
    """Ten steps."""
    for name, tensor in results[0]["float32"].items():
        torch.testing.assert_close(results[1][0]["float32"][name], tensor, rtol=1e-5, atol=1e-6)


def normalised_layer(world):
    """A BatchNorm layer on this rank's part of 7 samples: outputs, gradients, running statistics."""
    images = torch.randn(7, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 5 + 100
    wanted = torch.randn(7, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mine = slice(*((0, 7) if world.size == 1 else [(0, 4), (4, 7)][world.rank]))
    layer = nn.BatchNorm2d(3, dtype=torch.float64)
    layer = layer if world.size == 1 else synchronise(layer, Counted(), world.device)
    given = images[mine].requires_grad_()
    outputs = layer(given)
    (outputs * wanted[mine]).sum().backward()
    gradients = [world.sum(layer.weight.grad), world.sum(layer.bias.grad)]
    return {"parts": [outputs.detach(), given.grad], "whole": [*gradients, *layer.buffers()]}


def test_batchnorm_over_ranks_is_batchnorm_of_the_whole(results):
    alone, (first, second) = results[0]["normalised"], [rank["normalised"] for rank in results[1]]

    for whole, *parts in zip(alone["parts"], first["parts"], second["parts"], strict=True):
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=1e-12)
    for whole, *same in zip(alone["whole"], first["whole"], second["whole"], strict=True):
        torch.testing.assert_close(same[0], whole, rtol=1e-12, atol=1e-12)
        assert torch.equal(*same)


def agreed(world):
    """What this rank hears in each of 60 steps, when the last rank alone has two wishes, and what it hears of two more."""
    agreement, is_last, heard = Agreement(world), world.rank == world.size - 1, []
    for step in range(60):
        time.sleep(0.01)
        heard.append(list(agreement.heard(75 * is_last * (step > 2), is_last * (step > 4))))
    return {"heard": heard, "now": list(agreement.now(130 * is_last, 0.0))}


def test_what_one_rank_wishes_all_hear_at_the_same_step(results):
    first, second = (rank["agreed"] for rank in results[1])

    assert first == second
    assert [75.0, 1.0] in first["heard"]
    assert first["now"][0] == 130.0


def forgetful(world, file):
    """What is said of a layer that is never called, and how many steps it does when told."""
    try:
        fit(file, world, **{"model.name": "forgetful"})
        said = ""
    except ConfigError as error:
        said = str(error)
    told = {"model.name": "forgetful", "ddp.find_unused_parameters": True, "train.epoch": 1}
    sometimes = [fit(file, world, **told, **{"model.config.remembers": True, "seed": seed})["weights"] for seed in range(6)]
    return {"said": said, "steps": fit(file, world, **told)["steps"], "sometimes": sometimes}


def test_parameters_without_a_gradient_are_named_where_ranks_would_wait(results):
    assert results[0]["forgetful"]["said"] == ""
    for rank in results[1]:
        assert "no gradient reaches 2 trained parameters (spare.weight, spare.bias); freeze them by" in rank["forgetful"]["said"]
        assert rank["forgetful"]["steps"] == 4


def test_ranks_that_use_other_layers_stay_alike(results):
    for mine, theirs in zip(*(rank["forgetful"]["sometimes"] for rank in results[1]), strict=True):
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


DROPOUT = {"model.config": {"n_pixels": 64, "dropout": 0.3}, "train.epoch": 2}
DRAWN = DROPOUT | UNEVEN | {"dataset.config.noise": 0.1, "train.batch_size": 6}
RESUMED = {
    "dropout, noise, sgd, bfloat16, loader workers": DRAWN
    | {"train.scaler.compute_type": "bfloat16", "dataloader.num_workers": 2},
    "dropout, noise, adamw": DRAWN | ADAMW,
    "each rank with statistics of its own": {"model.name": "normnet", "train.ema_decay": 0.9, "train.batch_size": 6, **UNEVEN},
    "statistics of all ranks": SYNC | ADAMW | ACCUMULATED | {"dataset.split": {"train": 35 / 40, "valid": 5 / 40}},
}


def resumed(world, file, name):
    """The ends of a run that was left alone, and of those that went on from what rank 0 kept after each of its steps."""
    engine = builder.engine(loading.load(Path(file), loading.named_overrides(RESUMED[name])), manager.load().registry, world)
    engine.recovery = kept = Kept()
    ends = [fit_on(engine)]
    states = Path(file).with_name(f"{world.size}-{name}.pt")
    if world.is_main:
        torch.save(kept.states, states)
    world.barrier()
    for state in torch.load(states, weights_only=True):
        again = builder.engine(loading.load(Path(file), loading.named_overrides(RESUMED[name])), manager.load().registry, world)
        trainer_state.put_back(again, state)
        ends.append(fit_on(again))
    return ends


def fit_on(engine):
    """The state at the end, and the last row of history."""
    rows = Rows()
    engine.fit(Nowhere(), [rows])
    weights = [tensor.clone() for made in engine.candidates for tensor in made.model.state_dict().values()]
    return {"weights": weights, "row": repr(rows.seen[-1:])}


@pytest.mark.parametrize("name", RESUMED)
def test_ranks_go_on_to_the_bit(results, name):
    for whole, *others in (rank[f"resumed, {name}"] for rank in results[1]):
        assert len(others) >= 5
        for end in others:
            assert end["row"] in (whole["row"], "[]")  # none where nothing was left to do
            assert all(torch.equal(*pair) for pair in zip(whole["weights"], end["weights"], strict=True))


VIRTUAL = {"ddp.virtual_shards": 2, "train.batch_size": 6}
IN_TURN = {
    "adamw, uneven, accumulation, clipping": DROPOUT | ADAMW | UNEVEN | ACCUMULATED | CLIPPING,
    "bfloat16, ema, one": DROPOUT | ONE | EMA | {"train.scaler.compute_type": "bfloat16"},
    "float16, workers, plateau": DROPOUT
    | {
        "train.scaler.compute_type": "float16",
        "dataset.config.noise": 0.1,
        "dataloader.num_workers": 1,
        "train.lr_scheduler.type": "plateau",
    },
}


@pytest.mark.parametrize("case", IN_TURN)
def test_virtual_shards_give_the_same_bits_on_one_rank_and_on_two(results, case):
    alone, pair = results[0][f"virtual, {case}"], [rank[f"virtual, {case}"] for rank in results[1]]

    assert (alone["rows"], alone["tested"]) == (pair[0]["rows"], pair[0]["tested"])
    assert all(torch.equal(tensor, rank["weights"][name]) for name, tensor in alone["weights"].items() for rank in pair)


def crossed(world, file):
    """The end of a run with virtual shards, and the ends of those that went on from what a world of another size left."""
    overrides = loading.named_overrides(VIRTUAL | IN_TURN["adamw, uneven, accumulation, clipping"])
    engine = builder.engine(loading.load(Path(file), overrides), manager.load().registry, world)
    engine.recovery = kept = Kept()
    ends = [fit_on(engine)]
    if world.is_main:
        torch.save(kept.states, Path(file).with_name(f"virtual-{world.size}.pt"))
    others = Path(file).with_name(f"virtual-{3 - world.size}.pt")
    for state in torch.load(others, weights_only=True) if others.exists() else []:
        again = builder.engine(loading.load(Path(file), overrides), manager.load().registry, world)
        trainer_state.put_back(again, state)
        ends.append(fit_on(again))
    return ends


def test_with_virtual_shards_a_run_goes_on_in_a_world_of_another_size(results, tmp_path_factory):
    file = tmp_path_factory.getbasetemp().glob("world*/blobs.toml")
    whole, *from_two = crossed(World(), str(next(file)))

    for rank in results[1]:
        _, *from_one = rank["crossed"]
        assert min(len(from_one), len(from_two)) >= 5
        for end in [*from_one, *from_two]:
            assert end["row"] in (whole["row"], "[]")
            assert all(torch.equal(*pair) for pair in zip(whole["weights"], end["weights"], strict=True))


def with_version(world, folder):
    """Join again with a plugin whose version differs from rank to rank; what is said."""
    manifest = [
        {"name": "acme", "version": f"1.{world.rank}", "digest": "abcdef0123"},
        {"name": "same", "version": "1", "digest": ""},
    ]
    started = time.monotonic()
    try:
        with join_world(device="cpu", timeout=60, init_method=f"file://{folder}/other-plugins", manifest=manifest):
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

    with join_world(device="cpu") as world:
        assert world.threads == torch.get_num_threads() == (threads or len(os.sched_getaffinity(0)))

    assert torch.get_num_threads() == 3
    torch.set_num_threads(1)


def test_ranks_evaluate_with_the_same_batchnorm_statistics(results):
    first, second = (rank["batchnorm"] for rank in results[1])

    assert first["tested"] == second["tested"]
    for name, tensor in first["weights"].items():
        assert torch.equal(tensor, second["weights"][name]), name


def test_gradients_are_reduced_once_an_optimizer_step(results):
    assert results[1][0]["reductions"] == {"reductions": 1, "steps": 1, "micro_batches": 4, "looks for unused": False}
