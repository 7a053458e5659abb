"""The order of samples depends only on seed, epoch and position."""

from collections import Counter

import pytest

from ddpkit.data.sampler import Sampler, shard_batch


def sampler(rank=0, n_ranks=1, n=21, **options):
    return Sampler(
        **{
            "indices": range(100, 100 + n),
            "batch_size": 4,
            "seed": 1,
            "shuffle": True,
            "shards_in_turn": True,
            "shards": [rank],
            "n_shards": n_ranks,
        }
        | options
    )


@pytest.mark.parametrize("n_ranks", [1, 2, 4])
@pytest.mark.parametrize("n", [1, 4, 5, 21, 40])
def test_shards_of_all_ranks_make_up_each_micro_batch(n_ranks, n):
    alone = [batch.indices for batch in sampler(n=n).epoch_shards(0)]
    ranks = [sampler(rank, n_ranks, n).epoch_shards(0) for rank in range(n_ranks)]

    for number, batch in enumerate(alone):
        shards = [shards[number] for shards in ranks]
        assert [index for shard in shards for index in shard.indices[: shard.n_valid]] == batch
        assert {shard.n_total for shard in shards} == {len(batch)}


def test_an_empty_shard_gets_a_padding_sample():
    shard = shard_batch([7], shard=1, n_shards=2)

    assert (shard.indices, shard.n_valid, shard.n_total) == ([7], 0, 1)


def test_all_ranks_make_the_same_number_of_forwards_in_an_evaluation():
    order = sampler(n=5).order(0)
    shards = [sampler(rank=rank, n_ranks=2, n=5, shards_in_turn=False).epoch_shards(0) for rank in range(2)]

    assert [[shard.indices for shard in each] for each in shards] == [[order[:2], order[4:]], [order[2:4], order[4:]]]
    assert [[shard.n_valid for shard in each] for each in shards] == [[2, 1], [2, 0]]


def test_each_epoch_has_its_own_order():
    first, second = sampler().order(0), sampler().order(1)

    assert sorted(first) == sorted(second) == list(range(100, 121))
    assert first != second
    assert first == sampler().order(0)


def test_without_shuffle_the_order_is_kept():
    assert list(sampler(shuffle=False).order(3)) == list(range(100, 121))


def test_drop_last_drops_the_short_batch():
    dropping = sampler(n=21, drop_last=True)

    assert dropping.n_batches() == len(dropping.epoch_shards(0)) == 5
    assert dropping.n_samples() == 20


@pytest.mark.parametrize(("n", "n_ranks", "smallest"), [(21, 2, 1), (22, 2, 1), (23, 2, 1), (24, 2, 2), (24, 1, 4)])
def test_smallest_shard_has_the_fewest_samples(n, n_ranks, smallest):
    shards = [shard for rank in range(n_ranks) for shard in sampler(rank, n_ranks, n).epoch_shards(0)]
    last = [sampler(rank, n_ranks, n).smallest_shard() for rank in range(n_ranks)]

    assert min(len(shard.indices) for shard in last) == min(len(shard.indices) for shard in shards) == smallest
    assert last[-1].n_valid == shards[-1].n_valid
    assert last[0].n_total == shards[-1].n_total


def test_limit_shortens_the_epoch():
    assert sampler(limit=2).n_batches() == len(sampler(limit=2).epoch_shards(0)) == 2


LABELS = [7] * 15 + [3] * 4 + [5] * 2
"""Of the samples 100 to 120."""


def test_a_balanced_epoch_has_equal_class_counts():
    order = sampler(labels=LABELS).order(0)

    assert len(order) == 21
    assert Counter(LABELS[index - 100] for index in order) == {7: 7, 3: 7, 5: 7}
    assert all(count == 1 for index, count in Counter(order).items() if LABELS[index - 100] == 7)
    assert sorted(Counter(order)[index] for index in range(115, 119)) == [1, 2, 2, 2]  # no sample repeats before all were drawn


def test_extra_samples_of_balanced_epochs_rotate_between_classes():
    labels = [*LABELS[:-1], 9]
    counts = [Counter(labels[index - 100] for index in sampler(labels=labels).order(epoch)) for epoch in range(20)]

    assert all(sorted(count.values()) == [5, 5, 5, 6] for count in counts)
    assert len({max(count, key=count.get) for count in counts}) > 1


def test_a_balanced_order_depends_on_seed_and_epoch():
    balanced = sampler(labels=LABELS)

    assert balanced.order(2) == sampler(labels=LABELS, rank=1, n_ranks=2).order(2) != balanced.order(3)
    assert balanced.order(2) != sampler(labels=LABELS, seed=2).order(2)
