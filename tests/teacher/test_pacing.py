"""Pacing: rates that are kept, concurrency that yields and comes back, waits, budgets."""

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.teacher.pacing import (
    FEW_FAILURES,
    FIRST_ASIDE,
    FIRST_WAIT,
    LONGEST_ASIDE,
    LONGEST_RETRY_AFTER,
    LONGEST_WAIT,
    Breaker,
    Budget,
    ConcurrencyLimit,
    Rate,
    SameFailure,
    backoff,
    fewest_tokens,
    most_tokens,
    retry_after,
)


@given(st.integers(1, 500), st.lists(st.floats(0, 0.4), min_size=1, max_size=200))
def test_no_minute_has_more_than_the_rate(per_minute, pauses):
    """Whenever turns are asked for, any 60 seconds hold at most so many of them."""
    rate, now, taken = Rate(per_minute), 0.0, []
    for pause in pauses:
        now = max(now + pause, rate.ready_at)
        rate.spend(now)
        taken.append(now)
    for first in taken:
        assert sum(first <= each < first + 60 - 1e-6 for each in taken) <= per_minute


def test_tokens_put_the_next_request_off_by_their_share():
    """6,000 tokens a minute: after 1,000 there are ten seconds to wait, and less if fewer were used."""
    rate = Rate(6_000)
    rate.spend(100.0, 1_000)
    assert rate.ready_at == pytest.approx(110)
    rate.correct(-900)
    assert rate.ready_at == pytest.approx(101)


def test_without_a_limit_nothing_waits():
    """No rate, no wait."""
    rate = Rate(None)
    rate.spend(5.0, 1e9)
    assert rate.ready_at == 5.0


def test_a_window_halves_once_a_round_and_grows_back():
    """A burst of refusals of one round counts once; answers bring the window back to what it was."""
    window = ConcurrencyLimit(32)
    for _ in range(10):
        window.shrink(sent=1.0, now=2.0)
    assert window.size == 16
    window.shrink(sent=3.0, now=4.0)
    assert window.size == 8
    for _ in range(1_000):
        window.grow()
    assert window.size == 32


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 64))
def test_a_window_stays_between_one_and_its_most(events, most):
    """Whatever comes, something may be sent, and never too much."""
    window = ConcurrencyLimit(most)
    for number, good in enumerate(events):
        window.grow() if good else window.shrink(number, number)
        assert 1 <= window.size <= most


@given(st.integers(1, 10_000), st.integers())
def test_backoff_is_random_and_bounded(attempt, seed):
    """Full jitter: anything from nothing to the doubled wait."""
    assert 0 <= backoff(attempt, random.Random(seed)) <= min(LONGEST_WAIT, 0.5 * 2.0 ** min(attempt - 1, 30))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, LONGEST_RETRY_AFTER),
        ({"retry-after": "999999999"}, LONGEST_RETRY_AFTER),
    ],
)
def test_retry_after_is_read(headers, seconds):
    """Seconds, milliseconds, nonsense."""
    assert retry_after(headers) == seconds


def test_retry_after_may_be_a_date():
    """HTTP's other form."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    date = format_datetime(now + timedelta(seconds=90), usegmt=True)
    assert retry_after({"retry-after": date}, now) == 90


@given(st.text())
def test_any_retry_after_is_read_or_passed_over(text):
    """A header never raises, and the wait is bounded."""
    found = retry_after({"retry-after": text})
    assert found is None or 0 <= found <= LONGEST_RETRY_AFTER


@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 500)), max_size=50), st.floats(0.001, 0.1))
def test_a_budget_is_never_passed(calls, limit):
    """As long as nothing costs more than was reserved, what is spent stays within the budget."""
    budget = Budget(limit, 1.0, 4.0)
    flying = []
    for tokens_in, tokens_out in calls:
        most = budget.cost(tokens_in, tokens_out)
        if budget.fits(most):
            budget.reserve(most)
            flying.append(most)
        elif flying:
            most = flying.pop()
            budget.settle(most, most * 0.9)
        assert budget.spent <= limit
    for most in flying:
        budget.settle(most, most)
    assert budget.spent <= limit * (1 + 1e-9)


@given(st.text())
def test_the_bound_on_tokens_holds_for_bytes(text):
    """No tokenizer makes more tokens than bytes."""
    assert most_tokens([{"role": "user", "content": text}]) >= len(text.encode("utf-8", "replace"))


def test_failures_of_one_kind_in_a_row_stop_at_the_fifth():
    """Another kind begins a new row; those of one moment count once where that is wanted."""
    row = SameFailure()
    assert [row.add("a", 0, 1, once=False) for _ in range(5)] == [False] * 4 + [True]
    row = SameFailure()
    assert [row.add(kind, 0, 1, once=False) for kind in "aaaabaaaa"] == [False] * 9
    row = SameFailure()
    assert not any(row.add("a", 0, 1, once=True) for _ in range(50))
    assert [row.add("a", now - 0.5, now, once=True) for now in (2, 3, 4, 5)] == [False, False, False, True]


def test_no_more_are_in_flight_than_can_still_fail():
    """Until something is answered; after that nothing is counted any more."""
    row, rooms = SameFailure(), []
    for _ in range(4):
        rooms.append(row.room)
        row.add("a", 0, 1, once=False)
    assert rooms[1:] == [4, 3, 2]
    assert rooms[0] > 10**6
    row.answered()
    assert row.room > 10**6
    assert not any(row.add("a", 0, 1, once=False) for _ in range(9))


@given(st.lists(st.sampled_from(["word", "Wort", "字", "  ", "\n", "don't", "=" * 40]), max_size=40))
def test_a_prompt_has_more_tokens_than_the_lower_bound(parts):
    """It is below the words and the bytes of any text."""
    text = "".join(parts)
    bound = fewest_tokens([{"role": "user", "content": text}])
    assert bound <= max(len(text.split()), len(text.encode()) / 32)
    assert bound <= most_tokens([{"role": "user", "content": text}])


# Endpoints that are set aside


def test_failures_in_a_row_open_the_breaker_and_an_answer_closes_it():
    """Each wait is twice the one before; meanwhile one request at a time is let through."""
    breaker, chance, now = Breaker(), random.Random(1), 100.0
    for count in range(1, FEW_FAILURES + 1):
        assert not breaker.waits
        assert breaker.room >= FEW_FAILURES - count + 1
        breaker.failed(now, now + 0.5, chance)
        now += 1
    waits = []
    for _ in range(8):
        waits.append(breaker.ready_at - (now - 0.5))
        assert breaker.room == 1
        now = breaker.ready_at + 1
        breaker.failed(now, now + 0.5, chance)
        now += 1
    assert waits == [min(LONGEST_ASIDE, FIRST_ASIDE * 2**n) for n in range(8)]
    assert breaker.answered(now)
    assert (breaker.waits, breaker.count) == (0, 0)
    assert breaker.room > 1000
    assert breaker.ready_at <= now
    assert not breaker.answered(now)


def test_failures_of_one_moment_count_once():
    """Requests that were in flight together fail for one reason; only later ones count again."""
    breaker, chance = Breaker(), random.Random(1)
    for _ in range(50):
        breaker.failed(10.0, 11.0, chance)
    assert (breaker.count, breaker.waits) == (1, 0)
    assert breaker.ready_at == 0
    breaker.failed(11.5, 12.0, chance)
    assert breaker.count == 2
    assert 12.0 <= breaker.ready_at <= 12.0 + 2 * FIRST_WAIT


def test_an_answer_that_was_under_way_ends_no_wait():
    """It was asked before the failures; one that was asked after them ends the wait."""
    breaker, chance = Breaker(), random.Random(1)
    breaker.failed(10.0, 11.0, chance, at_once=True)
    assert not breaker.answered(10.5)
    assert breaker.waits == 1
    assert breaker.answered(30.0)


def test_a_request_that_fails_elsewhere_too_is_forgiven():
    """But no wait that has begun."""
    breaker, chance = Breaker(), random.Random(1)
    breaker.failed(1.0, 2.0, chance)
    breaker.forgive()
    breaker.forgive()
    assert breaker.count == 0
    breaker.failed(3.0, 4.0, chance, at_once=True)
    breaker.forgive()
    assert (breaker.count, breaker.waits) == (1, 1)
