"""Streams are read in an order that depends only on the seed and the slots, and resumed at any micro-batch."""

import itertools

import pytest
import torch

from ddpkit.data.loader import ReadFailure
from ddpkit.data.sampler import BatchSampler, Sampler
from ddpkit.data.stream import Position, ShardOrder, name_shards, shuffle_in_buffer
from ddpkit.data.stream_loader import EvalStreamLoader, RequestSampler, TrainStreamLoader
from ddpkit.data.stream_samples import Request, StreamSamples
from ddpkit.data.workers import make_loader
from ddpkit.distributed.world import World
from ddpkit.errors import CheckpointError, SampleError

SIZES = [7, 2, 5, 0, 3, 1]
"""Numbers of samples in the shards."""


class Numbers:
    """Stream whose sample number k of shard s is 100 * s + k; its target is random."""

    def __init__(self, sizes=SIZES, samples_per_epoch=18):
        shards = [str(number) for number in range(len(sizes))]
        self.sizes, self.samples_per_epoch = sizes, samples_per_epoch
        self.shards = {"train": shards, "valid": shards}

    def read_shard(self, shard):
        for number in range(self.sizes[int(shard)]):
            yield torch.tensor(100 * int(shard) + number), torch.rand(1)


def make_samples(stream, split="train", n_slots=1, *, buffer=3, transforms=()):
    shards = stream.shards[split]
    order = ShardOrder(n_shards=len(shards), n_slots=n_slots, seed=5, shuffle=split == "train")
    return StreamSamples(dataset=stream, transforms=transforms, seed=5, split=split, shards=shards, order=order, buffer=buffer)


def make_stream_loader(stream, split="train", *, workers=0, limit=None, world=None):
    n_workers, world = max(workers, 1), world or World()
    samples = make_samples(stream, split, world.size * n_workers)
    n = stream.samples_per_epoch if split == "train" else 0
    sampler = Sampler(indices=range(n), batch_size=4, shards=[world.rank], n_shards=world.size, seed=5, limit=limit)
    requests = RequestSampler(sampler, world=world, n_readers=n_workers)
    loader = make_loader(samples, requests, num_workers=workers, persistent=True, timeout=60)
    kind = TrainStreamLoader if split == "train" else EvalStreamLoader
    return kind(
        loader=loader,
        samples=samples,
        batch_sampler=requests,
        batch_transforms=[],
        device=world.device,
        shard_names=samples.shards,
    )


def plain(batches):
    return [(images.tolist(), targets.tolist(), shard.n_valid, shard.n_total) for images, targets, shard in batches]


def numbers(batches):
    return [number for images, _, _ in batches for number in images.tolist()]


ALL = [100 * shard + number for shard, size in enumerate(SIZES) for number in range(size)]


@pytest.mark.parametrize("epoch", [0, 1])
def test_each_shard_belongs_to_one_slot_in_an_epoch(epoch):
    order = ShardOrder(n_shards=11, n_slots=4, seed=1, shuffle=True)

    for lap in (0, 1):
        found = [order.shards(epoch, slot, lap) for slot in range(4)]
        assert sorted(itertools.chain.from_iterable(found)) == list(range(11))
    assert order.shards(0, 0, 0) != order.shards(1, 0, 0)
    assert sorted(order.shards(epoch, 2, 0)) == sorted(order.shards(epoch, 2, 1))


def test_shards_keep_their_order_without_shuffling():
    order = ShardOrder(n_shards=5, n_slots=2, seed=1, shuffle=False)

    assert [order.shards(3, slot, lap) for slot in (0, 1) for lap in (0, 7)] == [[0, 2, 4], [0, 2, 4], [1, 3], [1, 3]]


@pytest.mark.parametrize("size", [0, 1, 4, 100])
def test_the_shuffle_buffer_keeps_each_item(size):
    found = list(shuffle_in_buffer(range(30), size, seed=2))

    assert sorted(found) == list(range(30))
    assert found == list(shuffle_in_buffer(range(30), size, seed=2))
    assert (found == list(range(30))) == (size < 2)
    assert all(item <= place + max(size, 1) for place, item in enumerate(found))


def test_one_slot_reads_each_sample_once_in_an_epoch():
    loader = make_stream_loader(Numbers())

    first, second = list(loader.epoch(0)), list(loader.epoch(1))

    assert sorted(numbers(first)) == sorted(numbers(second)) == ALL
    assert numbers(first) != numbers(second) != ALL
    assert plain(loader.epoch(0)) == plain(first)


def test_a_slot_reads_its_shards_again_if_they_end_early():
    loader = make_stream_loader(Numbers([2, 1, 3], samples_per_epoch=16))

    found = numbers(loader.epoch(0))

    assert len(found) == 16
    assert sorted(found[:6]) == sorted(found[6:12]) == [0, 1, 100, 200, 201, 202]
    assert found[:6] != found[6:12]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", [1, 2, 3, 4])
def test_an_epoch_is_resumed_at_any_micro_batch(workers, start):
    whole = make_stream_loader(Numbers(), workers=workers)
    batches = whole.epoch(1)
    before = plain(itertools.islice(batches, start))
    saved = whole.gather_positions()
    rest = plain(batches)
    resumed = make_stream_loader(Numbers(), workers=workers)

    resumed.restore_positions(saved)

    assert plain(resumed.epoch(1, start)) == rest
    assert plain(resumed.epoch(1)) == before + rest  # the workers are used again
    assert sum(n_valid for _, _, n_valid, _ in before + rest) == 18


def test_a_request_does_not_depend_on_those_before_it():
    samples = make_samples(Numbers(), n_slots=2)
    requests = [Request(epoch, slot, Position(), n_before, 3) for epoch in (0, 1) for slot in (0, 1) for n_before in (0, 3, 6)]

    forwards = [samples.__getitems__([request]) for request in requests]
    backwards = [make_samples(Numbers(), n_slots=2).__getitems__([request]) for request in reversed(requests)]

    for one, other in zip(forwards, reversed(backwards), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)
        assert one.position == other.position


def test_another_number_of_readers_is_refused_within_an_epoch():
    loader = make_stream_loader(Numbers(), workers=2)

    with pytest.raises(CheckpointError, match=r"which 2 ranks with 1 loader workers each were reading; now there are 1 ranks"):
        loader.restore_positions([[[0, 0, 1]], [[0, 1, 0]]])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_evaluation_reads_each_sample_once(workers):
    loader = make_stream_loader(Numbers(), "valid", workers=workers)

    for _ in range(2):
        batches = list(loader.epoch(0))
        assert sorted(numbers(batches)) == ALL
        assert loader.sampler.n_samples() == len(ALL)
    assert workers or numbers(batches) == ALL


def test_a_worker_without_a_shard_is_no_problem_in_evaluation():
    assert numbers(make_stream_loader(Numbers([5]), "valid", workers=2).epoch(0)) == [0, 1, 2, 3, 4]


def evaluated_samples(world):
    """Return the counted samples of a rank in an evaluation, and their indices."""
    batches = list(make_stream_loader(Numbers(), "valid", world=world).epoch(0))
    return [
        (int(number), index)
        for images, _, shard in batches
        for number, index in itertools.islice(zip(images, shard.indices, strict=True), shard.n_valid)
    ]


def test_each_sample_of_an_evaluation_has_its_own_index(in_world, tmp_path):
    found = [each for rank in in_world(2, tmp_path, evaluated_samples) for each in rank]

    assert sorted(number for number, _ in found) == ALL
    assert len({index for _, index in found}) == len(ALL)


def test_an_evaluation_can_be_limited():
    loader = make_stream_loader(Numbers(), "valid", limit=2)

    assert numbers(loader.epoch(0)) == ALL[:8]
    assert loader.sampler.n_samples() == 8


def test_each_sample_is_transformed_with_its_own_seed():
    samples = make_samples(Numbers(), transforms=[lambda image, target: (torch.rand(()), image)])

    first = samples.__getitems__([Request(0, 0, Position(), 0, 18)])
    later = make_samples(Numbers(), transforms=samples.transforms).__getitems__([Request(0, 0, Position(), 5, 13)])

    assert len(set(first.images.tolist())) == 18
    assert torch.equal(first.images[5:], later.images)


class Incomplete(Numbers):
    def read_shard(self, shard):
        yield from super().read_shard(shard)
        yield None
        yield from super().read_shard(shard)


def halve(image, target):
    return image.repeat(1 + (image == 201)), target


@pytest.mark.parametrize(
    ("stream", "transforms", "message"),
    [
        (Numbers([0, 0]), (), "yields no sample for any shard of this reader"),
        (Incomplete([2]), (), "train sample 2 of shard '0': TypeError: cannot unpack"),
        (Numbers([1, 2, 3]), (halve,), "in one micro-batch with sample"),
        (Numbers([1, 2, 3]), (lambda _image, _target: 1 / 0,), "train sample 0 of shard"),
    ],
    ids=["no samples", "none", "other shape", "error"],
)
def test_a_failure_in_a_worker_is_described(stream, transforms, message):
    samples = make_samples(stream, transforms=transforms)

    found = samples.__getitems__([Request(0, 0, Position(), 0, 6)])

    assert isinstance(found, ReadFailure)
    assert message in found.message


def test_the_first_samples_are_those_of_the_first_shard_with_samples():
    samples = make_samples(Numbers([0, 0, 3, 2]))

    assert [int(image) for image, _ in samples.first(9)] == [200, 201, 202]
    assert samples[0, 1][0] == 201
    assert samples.name((0, 1)) == "train sample 1 of shard '2'"


def test_an_unreadable_sample_ends_the_epoch():
    class Damaged(Numbers):
        def read_shard(self, shard):
            yield from super().read_shard(shard)
            raise OSError("unexpected end of data")

    loader = make_stream_loader(Damaged([6, 6]))

    with pytest.raises(SampleError, match=r"train sample 6 of shard '.': OSError: unexpected end of data; repair the sample, or"):
        list(loader.epoch(0))


def test_shards_have_short_names_if_these_are_unique():
    stream = Numbers()
    stream.shards = {"train": ["a/0.tar", "a/1.tar"], "valid": ["b/2.tar"]}
    assert name_shards(stream) == {"train": ["0.tar", "1.tar"], "valid": ["2.tar"]}

    stream.shards["valid"] = ["b/0.tar"]
    assert name_shards(stream) == stream.shards


def test_the_digest_changes_with_the_shards_and_the_epoch():
    def digest(sizes, samples_per_epoch):
        return make_stream_loader(Numbers(sizes, samples_per_epoch)).digest()

    assert digest([1, 2], 3) == digest([5, 6], 3)
    assert len({each["sha256"] for each in (digest([1], 3), digest([1, 2], 3), digest([1, 2], 4))}) == 3


def test_a_map_style_sampler_of_a_range_stays_a_range():
    sampler = Sampler(indices=range(10**12), batch_size=10**9, shards=[0], n_shards=2, seed=0, limit=3)

    assert next(shard.indices for shard in BatchSampler(sampler).set_epoch(0)) == range(5 * 10**8)
