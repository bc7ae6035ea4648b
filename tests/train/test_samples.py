"""Samples, their packing and their order."""

import numpy as np
import pytest

from openglm.train.samples import Batches, causal, join, order, pack


def sample(length: int, first: int = 0):
    return causal(list(range(first, first + length + 1)), [True] * (length + 1))


def test_a_token_predicts_the_next_one_where_the_mask_says_so():
    made = causal([10, 11, 12, 13, 14, 15], [False, False, True, True, False, False])
    assert made.tokens.tolist() == [10, 11, 12]  # what follows the last learnt token is left out
    assert made.targets.tolist() == [11, 12, 13]
    assert made.weight.tolist() == [0, 1, 1]
    assert made.positions.tolist() == [0, 1, 2]
    assert made.learnt == 2
    assert made.lengths == [3]


def test_a_cut_keeps_the_first_tokens():
    made = causal([10, 11, 12, 13, 14], [False, True, True, True, True], max_length=3)
    assert made.tokens.tolist() == [10, 11]
    assert made.targets.tolist() == [11, 12]
    assert len(causal([1, 2, 3], [False, False, True], max_length=2)) == 0


def test_joined_samples_keep_their_positions_and_get_documents_of_their_own():
    row = join([join([sample(2), sample(3, 10)]), sample(1, 20)])
    assert row.tokens.tolist() == [0, 1, 10, 11, 12, 20]
    assert row.positions.tolist() == [0, 1, 0, 1, 2, 0]
    assert row.documents.tolist() == [0, 0, 1, 1, 1, 2]
    assert row.lengths == [2, 3, 1]
    assert row.prefix_lengths == (0, 0, 0)


@pytest.mark.parametrize("room", [1, 7, 16, 1000])
def test_packing_loses_nothing_and_keeps_to_the_room(room):
    samples = [sample(length, 100 * length) for length in (5, 9, 1, 12, 3, 3, 8)]
    rows = pack(samples, room)
    assert sorted(np.concatenate([row.tokens for row in rows])) == sorted(
        np.concatenate([s.tokens for s in samples])
    )
    assert all(len(row) <= room or row.lengths == [len(row)] for row in rows)
    if room == 16:
        assert [row.lengths for row in rows] == [[12, 3, 1], [9, 5], [8, 3]]
    if room == 1000:
        assert len(rows) == 1


def test_the_order_is_a_permutation_that_seed_and_epoch_decide():
    first = order(1, 0, 50)
    assert sorted(first) == list(range(50))
    assert first == order(1, 0, 50) != order(1, 1, 50)
    assert order(2, 0, 50) != first
    assert order(0, 0, 6) == [3, 4, 2, 0, 1, 5]  # the same on every machine, and for ever


def test_every_epoch_takes_every_sample_once():
    samples = [sample(n + 1) for n in range(10)]
    batches = Batches(samples, 4, seed=3)
    assert batches.steps_per_epoch == 3
    for epoch in range(2):
        taken = [batches[3 * epoch + step] for step in range(3)]
        assert [len(batch) for batch in taken] == [4, 4, 2]
        assert sorted(len(s) for batch in taken for s in batch) == list(range(1, 11))
    assert [len(s) for s in batches[4]] == [len(s) for s in Batches(samples, 4, seed=3)[4]]
