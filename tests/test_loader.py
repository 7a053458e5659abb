"""Loader workers end with their rank, and only then."""

import multiprocessing

import pytest

from ddpkit.loader import end_with_rank


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_worker_lives_while_its_rank_does_however_it_was_started(method):
    worker = multiprocessing.get_context(method).Process(target=end_with_rank, args=(0,))
    worker.start()
    worker.join(30)

    assert worker.exitcode == 0
