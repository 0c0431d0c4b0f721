"""The ledger: every row that came in is accounted for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import LedgerError
from dataprep.core.ledger import Ledger

REASONS = st.dictionaries(
    st.sampled_from(("unanswerable", "in another split", "not JSON")), st.integers(0, 9)
)


@given(st.integers(0, 30), st.integers(0, 20), REASONS, REASONS)
def test_a_ledger_balances_only_where_every_row_is_accounted_for(rows_in, rows_out, dropped, failed):
    """Check raises unless rows in are rows out and dropped and failed, each counted once."""
    ledger = Ledger(rows_in, rows_out)
    ledger.drop_all(dropped)
    for reason, count in failed.items():
        ledger.fail(reason, count)
    if rows_in == rows_out + sum(dropped.values()) + sum(failed.values()):
        ledger.check()
    else:
        with pytest.raises(LedgerError, match=f"^{rows_in:,} rows came in"):
            ledger.check()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=30))
def test_reasons_are_counted_one_by_one(rows):
    """Rows are counted under their own reasons, drops and failures apart."""
    ledger = Ledger(rows_in=len(rows))
    for reason, sound in rows:
        if sound:
            ledger.drop(reason)
        else:
            ledger.fail(reason)
    for kind, counts in ((True, ledger.dropped), (False, ledger.failed)):
        found = [reason for reason, sound in rows if sound == kind]
        assert dict(counts) == {reason: found.count(reason) for reason in set(found)}
    ledger.check()


def test_a_reason_without_rows_is_not_shown():
    """Nothing is said about rows that were not dropped."""
    ledger = Ledger(2, 2)
    ledger.drop("unanswerable", 0)
    ledger.fail("not JSON", 0)
    assert str(ledger) == "2 in = 2 out"
    assert ledger.to_json() == {"in": 2, "out": 2, "dropped": {}, "failed": {}}


def test_the_summary_reads_as_a_sum():
    """The summary shows the equation, with the reasons and their counts."""
    ledger = Ledger(6078, 2909)
    ledger.drop("unanswerable", 3168)
    ledger.fail("not JSON")
    ledger.check()
    assert str(ledger) == (
        "6,078 in = 2,909 out + 3,168 dropped (unanswerable: 3,168) + 1 failed (not JSON: 1)"
    )
    assert json.loads(json.dumps(ledger.to_json())) == {
        "in": 6078,
        "out": 2909,
        "dropped": {"unanswerable": 3168},
        "failed": {"not JSON": 1},
    }
