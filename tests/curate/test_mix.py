"""Mixtures: exact shares, the order that the docs show, and the rows that are left out or repeated."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep import mix_files
from dataprep.core.errors import InputError, UsageError
from dataprep.curate.mixing import nearest
from tests.helpers import read_jsonl, write_jsonl
from tests.published import published_order

ORDER = published_order()


def _files(folder: Path, *counts: int) -> list[str]:
    paths = []
    for source, count in enumerate(counts):
        path = folder / f"{source}.jsonl"
        # Spaces that no encoder writes, and a last line without its end: rows keep their bytes.
        path.write_text("\n".join(f'{{"file":  {source}, "row":{row}}}' for row in range(count)))
        paths.append(str(path))
    return paths


@pytest.mark.parametrize("memory", [1, 1 << 30])
@pytest.mark.parametrize(
    ("weights", "total", "repeats", "temperature", "drawn"),
    [
        ([2, 1], None, 1, 1, [20, 10]),
        ([0.7, 0.3], 10, 1, 1, [7, 3]),
        ([1, 1], 50, 3, 1, [25, 25]),
        ([None, None], None, 1, 1, [20, 10]),
        ([4, 1], 15, 1, 2, [10, 5]),
        ([0, 1], None, 2, 1, [0, 20]),
    ],
)
def test_a_mixture_has_the_shares_and_the_order_of_the_docs(
    tmp_path: Path, memory: int, weights: Any, total: Any, repeats: int, temperature: float, drawn: list[int]
) -> None:
    """Rows keep their bytes, through memory or the disk, and the ledger balances."""
    paths, out = _files(tmp_path, 20, 10), tmp_path / "out.jsonl"
    shares = dict(zip(paths, weights, strict=True))
    options: dict[str, Any] = {"total": total, "temperature": temperature, "repeat_at_most": repeats}
    result = mix_files(shares, out, seed=7, memory=memory, **options)
    assert [source.drawn for source in result.sources] == drawn
    expected = ORDER([20, 10], drawn, 7)
    assert out.read_text() == "".join(f'{{"file":  {file}, "row":{row}}}\n' for file, row in expected)
    ledger = result.ledger
    assert ledger.rows_in + ledger.repeated == ledger.rows_out + ledger.dropped["not drawn"]


def test_too_large_a_total_says_the_largest_one_and_writes_nothing(tmp_path: Path) -> None:
    """The mixture is never silently smaller."""
    paths, out = _files(tmp_path, 20, 10), tmp_path / "out.jsonl"
    with pytest.raises(UsageError, match=r"largest --total in these shares is 41"):
        mix_files(dict.fromkeys(paths, 1), out, total=50, repeat_at_most=2)
    assert not out.exists()


def test_a_dry_run_counts_and_writes_nothing(tmp_path: Path) -> None:
    """The largest total with equal shares is one row more than twice the smaller file."""
    paths, out = _files(tmp_path, 20, 10), tmp_path / "out.jsonl"
    assert mix_files(dict.fromkeys(paths, 1), out, dry_run=True).ledger.rows_out == 21
    assert not out.exists()


def test_a_mixture_replaces_no_file_that_it_reads(tmp_path: Path) -> None:
    """Rows that are not drawn would be lost. A file under two names would have its rows twice."""
    paths = _files(tmp_path, 20, 10)
    with pytest.raises(UsageError, match="would replace an input"):
        mix_files(dict.fromkeys(paths, 1), paths[1])
    twice = f"{tmp_path}/./0.jsonl"
    with pytest.raises(UsageError, match=r"are one file: give it once, with the sum"):
        mix_files({paths[0]: 1, twice: 2}, tmp_path / "out.jsonl")
    assert len(read_jsonl(paths[1])) == 10


def _texts(folder: Path) -> tuple[list[str], list[list[int]]]:
    """Write two files of rows of chats and of texts; return their paths, and the words of each row."""
    paths, lengths = [], []
    for source, count in enumerate((30, 12)):
        words = [2 + (7 * row + source) % 11 * (1 + 3 * source) for row in range(count)]
        rows = [{"text": "w " * number, "row": row} for row, number in enumerate(words)]
        paths.append(str(write_jsonl(folder / f"{source}.jsonl", rows)))
        lengths.append(words)
    return paths, lengths


@pytest.mark.sampled(3)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("tokens", "repeats", "weights"), [(100, 1, [1, 1]), (700, 4, [1, 3]), (300, 1, [None, None])]
)
def test_shares_of_tokens_are_exact_within_one_row(
    tmp_path: Path, workers: int, tokens: int, repeats: int, weights: Any
) -> None:
    """No other number of rows comes nearer, in the order of the docs, with any number of workers."""
    paths, lengths = _texts(tmp_path)
    options: dict[str, Any] = {"tokens": tokens, "repeat_at_most": repeats, "workers": workers, "seed": 5}
    result = mix_files(
        dict(zip(paths, weights, strict=True)), tmp_path / "out.jsonl", encode=str.split, on="text", **options
    )
    drawn = [source.drawn for source in result.sources]
    expected = ORDER([30, 12], drawn, 5)
    found = [row["row"] for row in read_jsonl(tmp_path / "out.jsonl")]
    assert found == [row for _, row in expected]
    for number, source in enumerate(result.sources):
        rows = [row for _, row in ORDER([len(lengths[number])], [repeats * source.rows], 5)]
        sums = [0, *accumulate(lengths[number][row] for row in rows)]
        wanted = source.share * tokens
        assert source.tokens == sums[source.drawn]
        assert abs(source.tokens - wanted) <= min(abs(other - wanted) for other in sums) + 1
    assert sum(source.tokens or 0 for source in result.sources) == pytest.approx(tokens, abs=25)


def test_a_row_whose_tokens_cannot_be_counted_is_a_bad_row(tmp_path: Path) -> None:
    """It stops the command with its place, or goes to the rejects."""
    path, bad = tmp_path / "rows.jsonl", tmp_path / "bad.jsonl"
    path.write_text('{"text": "a b"}\n\n{"other": 1}\nno\n{"text": "c"}\n')
    options: dict[str, Any] = {"tokens": 3, "encode": str.split, "on": "text"}
    with pytest.raises(InputError, match=r"rows\.jsonl:3: no 'text'"):
        mix_files({str(path): 1}, tmp_path / "out.jsonl", **options)
    result = mix_files({str(path): 1}, tmp_path / "out.jsonl", rejects=bad, **options)
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 2
    assert [row["line"] for row in read_jsonl(bad)] == [3, 4]
    assert result.ledger.failed.total() == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 5}, "name a tokenizer with --tokenizer"),
        ({"tokens": 5, "total": 5}, "give one of them"),
        ({"tokens": 0, "encode": str.split}, "--tokens 0: must be 1 or more"),
        (
            {"tokens": 10**6, "encode": str.split, "on": "text"},
            "of .*1.jsonl are needed|of .*0.jsonl are needed",
        ),
        ({"tokens": 1, "encode": str.split, "on": "text", "seed": 2}, "no row is as short"),
    ],
)
def test_tokens_that_cannot_be_had_are_an_error(tmp_path: Path, options: Any, message: str) -> None:
    """With what to do, and nothing written."""
    paths, _ = _texts(tmp_path)
    with pytest.raises(UsageError, match=message):
        mix_files(dict.fromkeys(paths, 1), tmp_path / "out.jsonl", **options)
    assert not (tmp_path / "out.jsonl").exists()


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any),
    st.integers(0, 100),
    st.integers(0, 2**40),
    st.integers(0, 30),
)
def test_no_number_of_rows_is_nearer_to_a_quota(
    lengths: list[int], quota: int, seed: int, before: int
) -> None:
    """Also after rows of earlier epochs, and when all rows are taken again; fewer tokens of equals."""
    count, tokens = nearest(np.array(lengths), quota, seed, before=before)
    rounds = quota // sum(lengths) + 2
    order = [row for _, row in ORDER([len(lengths)], [before + rounds * len(lengths)], seed)]
    sums = [0, *accumulate(lengths[row] for row in order[before:])]
    distances = [abs(number - quota) for number in sums]
    assert tokens == sums[count] == sums[distances.index(min(distances))]
