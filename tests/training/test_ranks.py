"""Training on N ranks gives the result of one rank."""

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
from ddpkit.distributed.stop_sync import StopSync
from ddpkit.distributed.sync_batchnorm import convert_to_sync_batchnorm
from ddpkit.distributed.world import World, init_distributed
from ddpkit.errors import ConfigError, NonFiniteError, PluginError, SampleError
from ddpkit.plugins import manager
from ddpkit.training import builder
from tests.helpers.configs import BLOBS
from tests.helpers.ranks import NoWeights, RowRecorder, StateRecorder, fit

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
UNFROZEN = {"model.freeze": [{"match": "0.*", "until": 1}, {"match": "1.*", "until": 2}], "train.epoch": 3}
WEIGHTED = {"criterion": [{"type": "cross_entropy", "config": {"weight": [1.0, 3.3]}}]}
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
UNREADABLE = {  # of 32, 8 and 13 samples; the last micro-batch of the test split contains only one
    "dataset.config": {"n_test": 13, "noise": 0.1, "unreadable": [0, 3, 4, 17, 30, 31, 35, 41, 52]},
    "dataset.on_error": "skip",
    "dataset.max_skipped": 0.2,
    "test.batch_size": 6,
}
CASES = {
    **GRID,
    "unreadable samples": UNREADABLE,
    "a repeated sample without a finite loss": {"criterion": [{"type": "acme/fragile"}], "valid.batch_size": 9, **ONE},
    "last batch dropped": {**ONE, "dataloader.drop_last": True},
    "layers unfrozen later": SYNC | UNEVEN | ACCUMULATED | EMA | UNFROZEN,
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
    "several optimizers": {
        "train.optimizer": [
            {"name": "hidden", "match": "1.*", "type": "sgd", "learning_rate": 0.1, "grad_clip_norm": 0.05},
            {"name": "rest", "type": "adamw", "learning_rate": 0.01, "lr_scheduler": "plateau"},
        ],
        **UNEVEN,
    },
}


OF_THREE = [
    name for name, case in CASES.items() if "test" in name or case.get("dataset.split") not in (None, EVEN["dataset.split"])
]
"""Cases in which three ranks shard differently than two: last batches of four samples and of one."""


def equal_cases(world, file, names=tuple(CASES)):
    return {name: fit(file, world, **(FLOAT64 | CASES[name])) for name in names}


def run_cases(world, file):
    results = equal_cases(world, file)
    results |= {"reductions": count_reductions(world, file), "batchnorm": fit(file, world, **{"model.name": "lazynet"})}
    results |= {"overflow": overflow(world, file), "poisoned": poisoned(world, file), "stopped": stopped(world, file)}
    results |= {"too many": too_many_unreadable(world, file)}
    results |= {"float32": fit(file, world, **{"train.epoch": 2, "train.batch_size": 6, **EVEN})["weights"]}
    results |= {"agreed": stop_requests(world), "normalised": normalised_layer(world), "forgetful": forgetful(world, file)}
    results |= {f"resumed, {name}": resumed(world, file, name) for name in RESUMED}
    results |= {f"virtual, {name}": fit(file, world, **VIRTUAL, **case) for name, case in IN_TURN.items()}
    results |= {"crossed": crossed(world, file), "helper": helper_digest(world, file)}
    return results | {"versions": with_version(world, Path(file).parent)}


def count_reductions(world, file):
    """Gradient reductions and optimizer steps of an epoch with four micro-batches a step."""
    loaded = loading.load(Path(file), loading.named_overrides({"train.grad_accumulation_steps": 4}))
    trainer = builder.build_trainer(loaded, manager.load().registry, world)
    calls = []

    def reduce(_, bucket):
        calls.append(bucket)
        return default_hooks.allreduce_hook(None, bucket)

    if world.size > 1:
        trainer.context.network.register_comm_hook(None, reduce)
    trainer.train_epoch([])
    made = {"reductions": len(calls), "steps": trainer.progress.step, "micro_batches": trainer.loader.sampler.n_batches()}
    return made | {"looks for unused": getattr(trainer.context.network, "find_unused_parameters", None)}


@pytest.fixture(scope="module")
def results(in_world, tmp_path_factory):
    """The results of each case on one rank, two and three."""
    folder = tmp_path_factory.mktemp("world")
    file = folder / "blobs.toml"
    file.write_text(BLOBS)
    (folder / "of-three").mkdir()
    three = in_world(3, folder / "of-three", equal_cases, str(file), OF_THREE)
    return run_cases(World(), str(file)), in_world(2, folder, run_cases, str(file)), three


@pytest.mark.parametrize(("case", "n_ranks"), [*((name, 2) for name in CASES), *((name, 3) for name in OF_THREE)])
def test_several_ranks_match_one_rank(results, case, n_ranks):
    alone, (first, *others) = results[0][case], [rank[case] for rank in results[n_ranks - 1]]

    assert alone["steps"] >= 6
    for name, tensor in alone["weights"].items():
        torch.testing.assert_close(first["weights"][name], tensor, rtol=1e-9, atol=1e-12)
        assert all(torch.equal(first["weights"][name], other["weights"][name]) for other in others)
    assert all(first["tested"] == other["tested"] for other in others)
    for mine, theirs in zip([*alone["rows"], alone["tested"]], [*first["rows"], first["tested"]], strict=True):
        assert theirs == pytest.approx(mine, rel=1e-9)


def overflow(world, file):
    """A step in float16 with an infinite image on the last rank, then one without: whether it was skipped, and the weights."""
    loaded = loading.load(Path(file), loading.named_overrides({"train.scaler.compute_type": "float16"}))
    trainer = builder.build_trainer(loaded, manager.load().registry, world)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    steps = trainer.steps()
    (images, targets, shard), *_ = next(steps)
    broken = images * float("inf") if world.rank == world.size - 1 else images
    trainer.train_step([(broken, targets, shard)])
    skipped = all(torch.equal(new, old) for new, old in zip(trainer.model.parameters(), before, strict=True))
    trainer.train_step(next(steps))
    return {
        "skipped": skipped,
        "weights": [parameter.detach().clone() for parameter in trainer.model.parameters()],
        "before": before,
    }


def test_a_step_that_overflows_on_one_rank_is_skipped_on_all(results):
    first, second = (rank["overflow"] for rank in results[1])

    assert [first["skipped"], second["skipped"]] == [True, True]
    assert all(torch.equal(*pair) for pair in zip(first["weights"], second["weights"], strict=True))
    assert not torch.equal(first["weights"][0], first["before"][0])


def poisoned(world, file):
    """Twenty steps with NaN images on one rank, in turn, each followed by a normal step: the samples that counted, and the weights."""
    skipping = {"train.on_nonfinite": "skip", "train.ema_decay": 0.5}
    trainer = builder.build_trainer(loading.load(Path(file), loading.named_overrides(skipping)), manager.load().registry, world)
    counted = []
    for epoch in range(10):
        for number, micro_batches in enumerate(trainer.steps()):
            is_poisoned = number % 2 == 0 and world.rank == epoch % world.size
            poisoned = [
                (images * math.nan if is_poisoned else images, targets, shard) for images, targets, shard in micro_batches
            ]
            counted.append(trainer.train_step(poisoned).n_total)
        trainer.progress.end_epoch()
    return {
        "counted": counted,
        "weights": [each.detach().clone() for made in trainer.evaluator.models for each in made.model.parameters()],
    }


def test_a_step_with_a_nan_on_one_rank_is_skipped_on_all(results):
    first, second = (rank["poisoned"] for rank in results[1])

    assert first["counted"] == second["counted"] == [0, 8] * 20
    assert all(torch.equal(*pair) and pair[0].isfinite().all() for pair in zip(first["weights"], second["weights"], strict=True))


def stopped(world, file):
    """The error of an epoch whose third step has a NaN on the last rank."""
    trainer = builder.build_trainer(loading.load(Path(file)), manager.load().registry, world)
    with torch.no_grad():
        index = trainer.loader.sampler.batches(0)[2][-1]  # the last sample of a micro-batch is the last rank's
        trainer.loader.samples.dataset.images[index] = math.nan
    try:
        trainer.train_epoch([])
    except NonFiniteError as error:
        return str(error)


def too_many_unreadable(world, file):
    """The error of an epoch with too many unreadable samples, the step at which the rank raised it, and the samples."""
    loaded = loading.load(Path(file), loading.named_overrides(UNREADABLE | {"dataset.max_skipped": 3 / 53}))
    trainer = builder.build_trainer(loaded, manager.load().registry, world)
    try:
        trainer.fit(NoWeights(), [])
    except SampleError as error:
        return str(error), trainer.progress.step, sorted(trainer.loader.unreadable.errors)


def test_too_many_unreadable_samples_end_the_run_at_one_step(results):
    alone, (first, second) = results[0]["too many"], [rank["too many"] for rank in results[1]]

    assert alone == first == second
    assert alone[1] == 4
    assert alone[0].startswith(
        "6 of 53 samples are unreadable, more than 'dataset.max_skipped = 0.0566038'; repair or remove them"
    )
    assert len(alone[2]) == 6


def test_a_nan_on_one_rank_ends_the_run_on_all(results):
    assert {rank["stopped"] for rank in [results[0], *results[1]]} == {
        "the loss of epoch 1 is nan at step 4; try a lower learning rate or a longer warm-up"
    }


def test_float32_ranks_differ_only_by_rounding(results):
    """Ten steps."""
    for name, tensor in results[0]["float32"].items():
        torch.testing.assert_close(results[1][0]["float32"][name], tensor, rtol=1e-5, atol=1e-6)


def normalised_layer(world):
    """A BatchNorm layer on this rank's shard of 7 samples: outputs, gradients, running statistics."""
    images = torch.randn(7, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 5 + 100
    wanted = torch.randn(7, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mine = slice(*((0, 7) if world.size == 1 else [(0, 4), (4, 7)][world.rank]))
    layer = nn.BatchNorm2d(3, dtype=torch.float64)
    layer = layer if world.size == 1 else convert_to_sync_batchnorm(layer, world.device)
    given = images[mine].requires_grad_()
    outputs = layer(given)
    (outputs * wanted[mine]).sum().backward()
    gradients = [world.sum(layer.weight.grad), world.sum(layer.bias.grad)]
    return {"parts": [outputs.detach(), given.grad], "whole": [*gradients, *layer.buffers()]}


def test_sync_batchnorm_matches_batchnorm_of_the_whole_batch(results):
    alone, (first, second) = results[0]["normalised"], [rank["normalised"] for rank in results[1]]

    for whole, *parts in zip(alone["parts"], first["parts"], second["parts"], strict=True):
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=1e-12)
    for whole, *same in zip(alone["whole"], first["whole"], second["whole"], strict=True):
        torch.testing.assert_close(same[0], whole, rtol=1e-12, atol=1e-12)
        assert torch.equal(*same)


def stop_requests(world):
    """What this rank receives in each of 60 steps if only the last rank has two requests, and from `sync_now`."""
    stop_sync, is_last, heard = StopSync(world), world.rank == world.size - 1, []
    for step in range(60):
        time.sleep(0.01)
        heard.append(list(stop_sync.poll(75 * is_last * (step > 2), is_last * (step > 4))))
    return {"heard": heard, "now": list(stop_sync.sync_now(130 * is_last, 0.0))}


def test_a_request_of_one_rank_reaches_all_at_the_same_step(results):
    first, second = (rank["agreed"] for rank in results[1])

    assert first == second
    assert [75.0, 1.0] in first["heard"]
    assert first["now"][0] == 130.0


def forgetful(world, file):
    """The error for a layer that is never called, and the steps and weights with `find_unused_parameters`."""
    try:
        fit(file, world, **{"model.name": "forgetful"})
        said = ""
    except ConfigError as error:
        said = str(error)
    told = {"model.name": "forgetful", "ddp.find_unused_parameters": True, "train.epoch": 1}
    sometimes = [fit(file, world, **told, **{"model.config.remembers": True, "seed": seed})["weights"] for seed in range(6)]
    return {"said": said, "steps": fit(file, world, **told)["steps"], "sometimes": sometimes}


def test_unused_parameters_are_named_on_several_ranks(results):
    assert results[0]["forgetful"]["said"] == ""
    for rank in results[1]:
        assert "2 trained parameters get no gradient (spare.weight, spare.bias); freeze them with" in rank["forgetful"]["said"]
        assert rank["forgetful"]["steps"] == 4


def test_ranks_using_different_layers_stay_in_sync(results):
    for mine, theirs in zip(*(rank["forgetful"]["sometimes"] for rank in results[1]), strict=True):
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


DROPOUT = {"model.config": {"n_pixels": 64, "dropout": 0.3}, "train.epoch": 2}
DRAWN = DROPOUT | UNEVEN | {"dataset.config.noise": 0.1, "train.batch_size": 6}
RESUMED = {
    "dropout, noise, sgd, bfloat16, loader workers": DRAWN
    | {"train.scaler.compute_type": "bfloat16", "dataloader.num_workers": 2},
    "dropout, noise, adamw, class weights": DRAWN | ADAMW | WEIGHTED,
    "each rank with statistics of its own": {"model.name": "normnet", "train.ema_decay": 0.9, "train.batch_size": 6, **UNEVEN},
    "layers unfrozen later": SYNC | CLIPPING | EMA | UNFROZEN | {"train.batch_size": 16},
    "statistics of all ranks": SYNC | ADAMW | ACCUMULATED | {"dataset.split": {"train": 35 / 40, "valid": 5 / 40}},
}


def resumed(world, file, name):
    """The final states of an uninterrupted run, and of runs resumed from each snapshot of rank 0."""
    trainer = builder.build_trainer(
        loading.load(Path(file), loading.named_overrides(RESUMED[name])), manager.load().registry, world
    )
    trainer.checkpointer = kept = StateRecorder()
    ends = [fit_on(trainer)]
    states = Path(file).with_name(f"{world.size}-{name}.pt")
    if world.is_main:
        torch.save(kept.states, states)
    world.barrier()
    for state in torch.load(states, weights_only=True):
        again = builder.build_trainer(
            loading.load(Path(file), loading.named_overrides(RESUMED[name])), manager.load().registry, world
        )
        trainer_state.restore_state(again, state)
        ends.append(fit_on(again))
    return ends


def fit_on(trainer):
    """The final weights, and the last row of history."""
    rows = RowRecorder()
    trainer.fit(NoWeights(), [rows])
    weights = [tensor.clone() for made in trainer.evaluator.models for tensor in made.model.state_dict().values()]
    return {"weights": weights, "row": repr(rows.seen[-1:])}


@pytest.mark.parametrize("name", RESUMED)
def test_resumed_ranks_are_bit_identical(results, name):
    for whole, *others in (rank[f"resumed, {name}"] for rank in results[1]):
        assert len(others) >= 5
        for end in others:
            assert end["row"] in (whole["row"], "[]")  # none if the run was already complete
            assert all(torch.equal(*pair) for pair in zip(whole["weights"], end["weights"], strict=True))


VIRTUAL = {"ddp.virtual_shards": 2, "train.batch_size": 6}
IN_TURN = {
    "adamw, uneven, accumulation, clipping, class weights": DROPOUT | ADAMW | UNEVEN | ACCUMULATED | CLIPPING | WEIGHTED,
    "bfloat16, ema, one, a layer unfrozen later": DROPOUT
    | ONE
    | EMA
    | {"train.scaler.compute_type": "bfloat16", "model.freeze": [{"match": "1.*", "until": 1}]},
    "float16, workers, plateau": DROPOUT
    | {
        "train.scaler.compute_type": "float16",
        "dataset.config.noise": 0.1,
        "dataloader.num_workers": 1,
        "train.lr_scheduler.type": "plateau",
    },
    "unreadable samples, workers": DROPOUT | UNREADABLE | {"dataloader.num_workers": 1},
}


@pytest.mark.parametrize("case", IN_TURN)
def test_virtual_shards_are_bit_identical_on_one_and_two_ranks(results, case):
    alone, pair = results[0][f"virtual, {case}"], [rank[f"virtual, {case}"] for rank in results[1]]

    assert (alone["rows"], alone["tested"]) == (pair[0]["rows"], pair[0]["tested"])
    assert all(torch.equal(tensor, rank["weights"][name]) for name, tensor in alone["weights"].items() for rank in pair)


def crossed(world, file):
    """The final states of a run with virtual shards, and of runs resumed from snapshots of another number of ranks."""
    overrides = loading.named_overrides(VIRTUAL | IN_TURN["adamw, uneven, accumulation, clipping, class weights"] | UNREADABLE)
    trainer = builder.build_trainer(loading.load(Path(file), overrides), manager.load().registry, world)
    trainer.checkpointer = kept = StateRecorder()
    ends = [fit_on(trainer)]
    if world.is_main:
        torch.save(kept.states, Path(file).with_name(f"virtual-{world.size}.pt"))
    others = Path(file).with_name(f"virtual-{3 - world.size}.pt")
    for state in torch.load(others, weights_only=True) if others.exists() else []:
        again = builder.build_trainer(loading.load(Path(file), overrides), manager.load().registry, world)
        trainer_state.restore_state(again, state)
        ends.append(fit_on(again))
    return ends


def test_virtual_shards_resume_on_another_number_of_ranks(results, tmp_path_factory):
    file = tmp_path_factory.getbasetemp().glob("world*/blobs.toml")
    whole, *from_two = crossed(World(), str(next(file)))

    for rank in results[1]:
        _, *from_one = rank["crossed"]
        assert min(len(from_one), len(from_two)) >= 5
        for end in [*from_one, *from_two]:
            assert end["row"] in (whole["row"], "[]")
            assert all(torch.equal(*pair) for pair in zip(whole["weights"], end["weights"], strict=True))


def helper_digest(world, file):
    """Build a frozen model whose initial weights differ between ranks."""
    config = loading.load(Path(file), loading.named_overrides({"train.helpers.own.name": "willful"}))
    return builder.build_trainer(config, manager.load().registry, world).context.helpers["own"].digest()


def test_a_helper_has_the_same_weights_on_all_ranks(results):
    first, second = results[1]

    assert first["helper"] == second["helper"]


def with_version(world, folder):
    """Join again with a plugin whose version differs between ranks; returns the error."""
    manifest = [
        {"name": "acme", "version": f"1.{world.rank}", "digest": "abcdef0123"},
        {"name": "same", "version": "1", "digest": ""},
    ]
    started = time.monotonic()
    try:
        with init_distributed(device="cpu", timeout=60, init_method=f"file://{folder}/other-plugins", manifest=manifest):
            return {}
    except PluginError as error:
        return {"said": str(error), "seconds": time.monotonic() - started}


def test_a_plugin_version_mismatch_is_named_on_all_ranks(results):
    for rank in results[1]:
        assert rank["versions"]["said"] == (
            "rank 1: the plugins differ: acme 1.1 (abcdef01) on this rank, acme 1.0 (abcdef01) on rank 0;"
            " install the same versions on all machines"
        )
        assert rank["versions"]["seconds"] < 5


@pytest.mark.parametrize(("asked", "threads"), [("2,1", 2), ("1", 1), ("nonsense", None), (None, None)])
def test_the_thread_count_is_set_for_the_world_and_restored(monkeypatch, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", asked) if asked else monkeypatch.delenv("OMP_NUM_THREADS")
    torch.set_num_threads(3)

    with init_distributed(device="cpu") as world:
        assert world.threads == torch.get_num_threads() == (threads or len(os.sched_getaffinity(0)))

    assert torch.get_num_threads() == 3
    torch.set_num_threads(1)


def test_ranks_evaluate_with_the_same_batchnorm_statistics(results):
    first, second = (rank["batchnorm"] for rank in results[1])

    assert first["tested"] == second["tested"]
    for name, tensor in first["weights"].items():
        assert torch.equal(tensor, second["weights"][name]), name


def test_gradients_are_reduced_once_per_optimizer_step(results):
    assert results[1][0]["reductions"] == {"reductions": 1, "steps": 1, "micro_batches": 4, "looks for unused": False}


def fit_chatty(world, file):
    """Train with 5 validation samples: in the last micro-batch of an evaluation, the second rank has none."""
    uneven = {"model.name": "chatty", "dataset.config": {"n": 37}, "dataset.split": {"train": 32 / 37, "valid": 5 / 37}}
    return fit(file, world, **uneven, **{"valid.batch_size": 4, "train.epoch": 1})["steps"]


def test_a_model_that_uses_collectives_does_not_hang_in_an_uneven_evaluation(in_world, tmp_path):
    (tmp_path / "blobs.toml").write_text(BLOBS)

    assert in_world(2, tmp_path, fit_chatty, str(tmp_path / "blobs.toml")) == [4, 4]
