"""The order of samples is a function of seed, epoch and position alone."""

import pytest

from ddpkit.sampler import Sampler, deal


def sampler(rank=0, n_ranks=1, n=21, **options):
    return Sampler(
        **{
            "indices": range(100, 100 + n),
            "batch_size": 4,
            "seed": 1,
            "shuffle": True,
            "keep_company": True,
            "rank": rank,
            "n_ranks": n_ranks,
        }
        | options
    )


@pytest.mark.parametrize("n_ranks", [1, 2, 4])
@pytest.mark.parametrize("n", [1, 4, 5, 21, 40])
def test_ranks_share_the_micro_batches_of_one_rank(n_ranks, n):
    alone = [batch.indices for batch in sampler(n=n).shares()]
    ranks = [sampler(rank, n_ranks, n).shares() for rank in range(n_ranks)]

    for number, batch in enumerate(alone):
        shares = [shares[number] for shares in ranks]
        assert [index for share in shares for index in share.indices[: share.n_real]] == batch
        assert {share.n_global for share in shares} == {len(batch)}


def test_a_rank_without_a_sample_repeats_one_that_does_not_count():
    share = deal([7], rank=1, n_ranks=2)

    assert (share.indices, share.n_real, share.n_global) == ([7], 0, 1)


def test_evaluation_leaves_out_what_does_not_count():
    shares = sampler(rank=1, n_ranks=2, n=5, keep_company=False).shares()

    assert [share.indices for share in shares] == [sampler(n=5).order()[2:4]]


def test_each_epoch_has_an_order_of_its_own():
    first, second = sampler(epoch=0), sampler(epoch=1)

    assert sorted(first.order()) == sorted(second.order()) == list(range(100, 121))
    assert first.order() != second.order()
    assert first.order() == sampler(epoch=0).order()


def test_the_epoch_travels_with_every_index():
    assert {epoch for batch in sampler(epoch=3) for epoch, _ in batch} == {3}


def test_without_shuffle_the_order_is_kept():
    assert sampler(shuffle=False).order() == list(range(100, 121))


def test_drop_last_leaves_out_the_short_batch():
    dropping = sampler(n=21, drop_last=True)

    assert len(dropping) == 5
    assert dropping.n_samples() == 20


@pytest.mark.parametrize(("n", "n_ranks", "smallest"), [(21, 2, 1), (22, 2, 1), (23, 2, 1), (24, 2, 2), (24, 1, 4)])
def test_the_last_share_has_the_fewest_samples(n, n_ranks, smallest):
    shares = [share for rank in range(n_ranks) for share in sampler(rank, n_ranks, n).shares()]
    last = [sampler(rank, n_ranks, n).last_share() for rank in range(n_ranks)]

    assert min(len(share.indices) for share in last) == min(len(share.indices) for share in shares) == smallest
    assert last[-1].n_real == shares[-1].n_real
    assert last[0].n_global == shares[-1].n_global


def test_limit_cuts_the_epoch():
    assert len(sampler(limit=2)) == 2
