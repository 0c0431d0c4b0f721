"""Mixtures: exact shares, the order that the docs show, and the rows that are left out or repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataprep import mix_files
from dataprep.core.errors import UsageError
from tests.published import published_order


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
    given = dict(zip(paths, weights, strict=True))
    options: dict[str, Any] = {"total": total, "temperature": temperature, "repeat_at_most": repeats}
    result = mix_files(given, out, seed=7, memory=memory, **options)
    assert [source.drawn for source in result.sources] == drawn
    expected = published_order()([20, 10], drawn, 7)
    assert out.read_text() == "".join(f'{{"file":  {file}, "row":{row}}}\n' for file, row in expected)
    ledger = result.ledger
    assert ledger.rows_in + ledger.repeated == ledger.rows_out + ledger.dropped["not drawn"]


def test_too_large_a_total_says_the_largest_one_and_writes_nothing(tmp_path: Path) -> None:
    """The mixture is never silently smaller."""
    paths, out = _files(tmp_path, 20, 10), tmp_path / "out.jsonl"
    with pytest.raises(UsageError, match=r"largest total in these shares is 41"):
        mix_files(dict.fromkeys(paths, 1), out, total=50, repeat_at_most=2)
    assert not out.exists()


def test_a_dry_run_counts_and_writes_nothing(tmp_path: Path) -> None:
    """The largest total with equal shares is one row more than twice the smaller file."""
    paths, out = _files(tmp_path, 20, 10), tmp_path / "out.jsonl"
    assert mix_files(dict.fromkeys(paths, 1), out, dry_run=True).ledger.rows_out == 21
    assert not out.exists()
