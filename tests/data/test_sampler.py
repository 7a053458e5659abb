"""The order of samples is a function of seed, epoch and position alone."""

from collections import Counter

import pytest

from ddpkit.data.sampler import Sampler, deal


def sampler(rank=0, n_ranks=1, n=21, **options):
    return Sampler(
        **{
            "indices": range(100, 100 + n),
            "batch_size": 4,
            "seed": 1,
            "shuffle": True,
            "keep_company": True,
            "shards": [rank],
            "n_shards": n_ranks,
        }
        | options
    )


@pytest.mark.parametrize("n_ranks", [1, 2, 4])
@pytest.mark.parametrize("n", [1, 4, 5, 21, 40])
def test_ranks_share_the_micro_batches_of_one_rank(n_ranks, n):
    alone = [batch.indices for batch in sampler(n=n).shares(0)]
    ranks = [sampler(rank, n_ranks, n).shares(0) for rank in range(n_ranks)]

    for number, batch in enumerate(alone):
        shares = [shares[number] for shares in ranks]
        assert [index for share in shares for index in share.indices[: share.n_real]] == batch
        assert {share.n_global for share in shares} == {len(batch)}


def test_a_rank_without_a_sample_repeats_one_that_does_not_count():
    share = deal([7], shard=1, n_shards=2)

    assert (share.indices, share.n_real, share.n_global) == ([7], 0, 1)


def test_evaluation_leaves_out_what_does_not_count():
    shares = sampler(rank=1, n_ranks=2, n=5, keep_company=False).shares(0)

    assert [share.indices for share in shares] == [sampler(n=5).order(0)[2:4]]


def test_each_epoch_has_an_order_of_its_own():
    first, second = sampler().order(0), sampler().order(1)

    assert sorted(first) == sorted(second) == list(range(100, 121))
    assert first != second
    assert first == sampler().order(0)


def test_without_shuffle_the_order_is_kept():
    assert sampler(shuffle=False).order(3) == list(range(100, 121))


def test_drop_last_leaves_out_the_short_batch():
    dropping = sampler(n=21, drop_last=True)

    assert dropping.n_batches() == len(dropping.shares(0)) == 5
    assert dropping.n_samples() == 20


@pytest.mark.parametrize(("n", "n_ranks", "smallest"), [(21, 2, 1), (22, 2, 1), (23, 2, 1), (24, 2, 2), (24, 1, 4)])
def test_the_last_share_has_the_fewest_samples(n, n_ranks, smallest):
    shares = [share for rank in range(n_ranks) for share in sampler(rank, n_ranks, n).shares(0)]
    last = [sampler(rank, n_ranks, n).last_share() for rank in range(n_ranks)]

    assert min(len(share.indices) for share in last) == min(len(share.indices) for share in shares) == smallest
    assert last[-1].n_real == shares[-1].n_real
    assert last[0].n_global == shares[-1].n_global


def test_limit_cuts_the_epoch():
    assert sampler(limit=2).n_batches() == len(sampler(limit=2).shares(0)) == 2


LABELS = [7] * 15 + [3] * 4 + [5] * 2
"""Of the samples 100 to 120."""


def test_a_balanced_epoch_is_as_long_and_has_each_class_as_often():
    order = sampler(labels=LABELS).order(0)

    assert len(order) == 21
    assert Counter(LABELS[index - 100] for index in order) == {7: 7, 3: 7, 5: 7}
    assert all(count == 1 for index, count in Counter(order).items() if LABELS[index - 100] == 7)
    assert sorted(Counter(order)[index] for index in range(115, 119)) == [1, 2, 2, 2]  # none again before all were seen


def test_the_extra_samples_of_a_balanced_epoch_go_to_other_classes_each_time():
    labels = [*LABELS[:-1], 9]
    counts = [Counter(labels[index - 100] for index in sampler(labels=labels).order(epoch)) for epoch in range(20)]

    assert all(sorted(count.values()) == [5, 5, 5, 6] for count in counts)
    assert len({max(count, key=count.get) for count in counts}) > 1


def test_a_balanced_order_is_of_its_seed_and_epoch():
    balanced = sampler(labels=LABELS)

    assert balanced.order(2) == sampler(labels=LABELS, rank=1, n_ranks=2).order(2) != balanced.order(3)
    assert balanced.order(2) != sampler(labels=LABELS, seed=2).order(2)
