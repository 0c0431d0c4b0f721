"""Packing: every token once, no document divided, as full as best fit decreasing one document at a time."""

import time
from bisect import bisect_left, insort

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import UsageError
from dataprep.core.sampling import shuffled_order
from dataprep.tokens.shards.packing import _best_fit, pack, whole

LENGTHS = st.lists(st.integers(0, 40), max_size=60)


def one_by_one(lengths, size):
    """How many sequences best fit decreasing makes, by its definition."""
    rooms, count = [], 0
    for length in sorted(filter(None, lengths), reverse=True):
        place = bisect_left(rooms, length)
        if place == len(rooms):
            count += 1
            room = size
        else:
            room = rooms.pop(place)
        insort(rooms, room - length)
    return count


def tokens_of(packed):
    """Each token that came out, as (document, token)."""
    pieces = zip(packed.documents.tolist(), packed.starts.tolist(), packed.lengths.tolist(), strict=True)
    return [(document, start + n) for document, start, length in pieces for n in range(length)]


@given(LENGTHS, st.integers(1, 40), st.integers(0, 9))
def test_every_token_comes_out_once(lengths, size, seed):
    """No token is lost or repeated, and no sequence holds more than it has room for."""
    packed = pack(np.array(lengths, dtype=np.int64), size, seed=seed, split_long=True)
    assert sorted(tokens_of(packed)) == [(d, n) for d, length in enumerate(lengths) for n in range(length)]
    totals = [packed.lengths[a:b].sum() for a, b in zip(packed.offsets[:-1], packed.offsets[1:], strict=True)]
    assert all(0 < total <= size for total in totals)
    assert packed.offsets[-1] == packed.lengths.size


@given(LENGTHS, st.integers(1, 40), st.integers(0, 9))
def test_documents_that_are_shuffled_already_stay_in_their_order(lengths, size, seed):
    """The sequences are those of the same documents that are shuffled here."""
    lengths = np.minimum(np.array(lengths, dtype=np.int64), size)
    lengths = lengths[lengths > 0]
    order = shuffled_order(lengths.size, seed)
    packed, given_order = pack(lengths, size, seed=seed), pack(lengths[order], size, seed=seed, shuffle=False)
    assert packed.documents.tolist() == order[given_order.documents].tolist()
    assert packed.offsets.tolist() == given_order.offsets.tolist()
    sequences = zip(given_order.offsets[:-1], given_order.offsets[1:], strict=True)
    assert all((np.diff(given_order.documents[a:b]) > 0).all() for a, b in sequences)


@given(LENGTHS, st.integers(40, 90), st.integers(0, 9))
def test_it_is_best_fit_decreasing_or_better(lengths, size, seed):
    """Moving documents together makes exactly as many sequences as moving them one by one; never more."""
    counts = np.bincount([length for length in lengths if length], minlength=1)
    assert _best_fit(counts, size)[1] == one_by_one(lengths, size)
    packed = pack(np.array(lengths, dtype=np.int64), size, seed=seed)
    assert packed.sequences <= one_by_one(lengths, size)
    assert not packed.starts.any()


def test_documents_that_are_alike_fill_their_sequences():
    """Where best fit decreasing wastes more than a hundredth, all but the last sequence are filled up."""
    lengths = np.random.default_rng(0).normal(190, 45, 9_000).astype(int).clip(90, 800)
    assert lengths.sum() / one_by_one(lengths.tolist(), 2048) / 2048 < 0.991
    assert pack(lengths, 2048).fill > 0.998


def test_a_long_document_is_an_error_unless_it_may_be_split():
    """No document is divided in silence."""
    lengths = np.array([3, 25, 4])
    with pytest.raises(UsageError, match=r"document 1 has 25 tokens.*--split-long"):
        pack(lengths, 10)
    packed = pack(lengths, 10, split_long=True)
    pieces = sorted(zip(packed.documents.tolist(), packed.starts.tolist(), strict=True))
    assert pieces == [(0, 0), (1, 0), (1, 10), (1, 20), (2, 0)]


def test_the_seed_decides_the_order():
    """The same seed gives the same sequences, another one another order."""
    lengths = np.random.default_rng(0).integers(1, 100, 500)
    first, again, other = (pack(lengths, 256, seed=seed) for seed in (1, 1, 2))
    assert (first.documents == again.documents).all()
    assert (first.offsets == again.offsets).all()
    assert (first.documents != other.documents).any()
    assert first.sequences == other.sequences


@pytest.mark.parametrize("size", [0, -1])
def test_a_sequence_has_room(size):
    """A size that cannot be is said to be none."""
    with pytest.raises(UsageError):
        pack(np.array([1]), size)


def test_nothing_packs_into_nothing():
    """No documents are no sequences."""
    packed = pack(np.array([], dtype=np.int64), 8)
    assert (packed.sequences, packed.fill) == (0, 0.0)
    assert whole(np.array([2, 3])).documents.tolist() == [0, 1]


def test_a_million_documents_take_no_longer_than_ten_times_a_hundred_thousand():
    """Packing stays linear; the bound leaves room for a busy machine."""
    rng = np.random.default_rng(0)
    seconds = []
    for count in (100_000, 1_000_000):
        lengths = rng.integers(1, 2049, count)
        begin = time.perf_counter()
        packed = pack(lengths, 2048)
        seconds.append(time.perf_counter() - begin)
        assert packed.fill > 0.99
    assert seconds[1] < 30 * max(seconds[0], 0.02)
