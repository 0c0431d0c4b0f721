"""Split: a row's part depends on its key alone, equal keys stay together, and that is checked."""

import hashlib
import json
import os
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import InputError, LedgerError, UsageError
from dataprep.core.io import Block
from dataprep.curate import split as module
from dataprep.curate.split import KeyOf, SplitRows, parse_parts, split_files
from tests.helpers import chat, listing, read_jsonl, run_here, write_jsonl


def part_of(key, parts, seed=42):
    """Return a row's part as the docs compute it: the oracle."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=16).digest()
    left = Fraction(int.from_bytes(digest[:8], "big"), 2**64)
    for name, share in parts.items():
        left -= Fraction(share)
        if left < 0:
            return name
    raise AssertionError


def split(folder, rows, parts="train=0.9,valid=0.1", **options):
    """Split rows, and return the ids by part."""
    write_jsonl(folder / "rows.jsonl", rows)
    split_files(folder / "rows.jsonl", folder / "parts", parts=parts, **options)
    return {
        name: [row["id"] for row in read_jsonl(folder / "parts" / f"{name}.jsonl")]
        for name in parse_parts(parts)
    }


def test_the_part_is_that_of_the_published_code(tmp_path):
    """Ids are in the part that the docs' plain Python computes, in their order."""
    rows = [{"id": f"r{n}", "q": n} for n in range(400)]
    found = split(tmp_path, rows, "train=0.8,valid=1/10,test=0.1", seed=7)
    shares = {"train": "0.8", "valid": "1/10", "test": "0.1"}
    for name, ids in found.items():
        assert ids == [row["id"] for row in rows if part_of(row["id"], shares, 7) == name]
    assert 290 < len(found["train"]) < 350


KEYS = st.lists(st.integers(0, 60), max_size=30)


def parts_of(keys, seed, shares):
    """Return the part of each key, as the operator gives it."""
    operator = SplitRows(KeyOf(), shares, seed)
    block = Block(
        "x.jsonl", data=b"\n".join(json.dumps({"id": key, "n": n}).encode() for n, key in enumerate(keys))
    )
    found = {}
    for part, (lines, _) in enumerate(operator(block).sides):
        for line in lines.splitlines():
            found.setdefault(json.loads(line)["id"], set()).add(part)
    return found


@given(KEYS, KEYS, st.integers(), st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_rows_that_are_added_move_none(before, after, seed, weights):
    """Each row keeps its part when others are added anywhere, and a key is in one part."""
    shares = [Fraction(weight, sum(weights)) for weight in weights]
    first, then = parts_of(before, seed, shares), parts_of(after + before, seed, shares)
    assert all(len(parts) == 1 for parts in then.values())
    assert all(then[key] == parts for key, parts in first.items())


def test_rows_with_the_same_key_stay_together(tmp_path):
    """By question, source, a nested field, or the content of rows without an id."""
    rows = [
        {
            **chat(f"Question {n % 50}?" + " " * (n % 3), f"answer {n}", id=n),
            "source": f"s{n % 9}",
            "meta": {"g": n % 20},
        }
        for n in range(300)
    ]
    for by, modulus in (("question", 50), ("source", 9), ("meta.g", 20)):
        found = split(tmp_path, rows, "a=0.5,b=0.5", by=by)
        assert not {n % modulus for n in found["a"]} & {n % modulus for n in found["b"]}
        assert found["a"]
        assert found["b"]
    without = [{"messages": chat(f"Q {n % 40}", "A").pop("messages"), "n": n} for n in range(120)]
    write_jsonl(tmp_path / "rows.jsonl", without)
    split_files(tmp_path / "rows.jsonl", tmp_path / "parts", parts="a=0.5,b=0.5")
    a, b = ({row["n"] % 40 for row in read_jsonl(tmp_path / "parts" / f"{name}.jsonl")} for name in "ab")
    assert a
    assert b
    assert not a & b


@pytest.mark.parametrize("workers", [1, 2])
def test_keys_can_be_given(tmp_path, workers):
    """Groups that were found elsewhere stay together, over several files with blank lines."""
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for offset, path in enumerate(paths):
        rows = [{"id": 1000 * offset + n, "pad": "x" * 4000} for n in range(300)]
        path.write_text("\n\n".join(map(json.dumps, rows)))
    keys = {str(path): [f"group {n % 7}" for n in range(300)] for path in paths}
    split_files(paths, tmp_path / "parts", parts="a=0.5,b=0.5", by="none", keys=keys, workers=workers)
    part = [part_of(f"group {n % 7}", {"a": "0.5", "b": "0.5"}) for n in range(300)]
    for name in "ab":
        wanted = [1000 * offset + n for offset in (0, 1) for n in range(300) if part[n] == name]
        assert [row["id"] for row in read_jsonl(tmp_path / "parts" / f"{name}.jsonl")] == wanted


def test_a_row_without_the_key_is_a_bad_row(tmp_path):
    """Rows without a question have no part by question."""
    with pytest.raises(InputError, match=r"rows.jsonl:2: no 'question'"):
        split(tmp_path, [{"id": 1, "question": "a"}, {"id": 2}], by="question")
    assert listing(tmp_path / "parts") == []


def test_similar_rows_are_not_looked_for_in_a_pipe(tmp_path):
    """The rows are read twice, and a pipe would have none the second time, or be waited for without end."""
    read, write = os.pipe()
    try:
        for path in ("-", f"/dev/fd/{read}"):
            with pytest.raises(UsageError, match=r"reads the rows twice, and .* can be read once"):
                split_files(path, tmp_path / "parts", parts="a=1", by="near-duplicates")
    finally:
        os.close(read)
        os.close(write)


def test_a_key_in_two_parts_is_found(tmp_path, monkeypatch):
    """The check does not trust the hash: rows that went astray, or bytes that changed, are an error."""
    rows = [{"id": n} for n in range(50)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    with monkeypatch.context() as patch:
        turns = iter(range(10**6))
        patch.setattr(module, "bisect_right", lambda *_: next(turns) % 2)
        write_jsonl(path, rows + rows[:1] * 2)
        with pytest.raises(LedgerError, match="1 keys are in two parts"):
            split_files(path, tmp_path / "parts", parts="a=0.5,b=0.5")
    opened = module._opened

    class Careless:
        def __init__(self, out):
            self.write = lambda lines, _rows: out.write(lines.replace(b"1", b"2"))

    monkeypatch.setattr(module, "_opened", lambda path, stack: Careless(opened(path, stack)))
    with pytest.raises(LedgerError, match="does not have the rows"):
        split_files(path, tmp_path / "parts", parts="a=0.5,b=0.5")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("train=0.9,valid=0.2", "have the sum 1.1; expected exactly 1"),
        ("train=90,valid=10", "above 0 and at most 1"),
        ("train=0.9,train=0.1", "named twice"),
        ("train", "expected NAME=SHARE"),
        ("train=1,valid=0", "above 0"),
        ("train=x,valid=0.1", "not a share"),
        ("../x=1", "letters, digits"),
        (".x=1", "letters, digits"),
        ("", "expected NAME=SHARE"),
    ],
)
def test_wrong_shares(parts, message):
    """Shares are exact, and names are file names."""
    with pytest.raises(UsageError, match=message):
        parse_parts(parts)


def test_ten_tenths_are_one():
    """Decimals are not rounded: ten times 0.1 is exactly 1."""
    assert sum(parse_parts(",".join(f"p{n}=0.1" for n in range(10))).values()) == 1


def test_the_command_says_what_was_checked(tmp_path):
    """Standard input, a path with {part}, other formats, --dry-run, --rejects and workers."""
    rows = [{"id": n, "text": "é" * 50} for n in range(500)]
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode() + b"[1]\n"
    flags = ["--parts", "a=0.5,b=0.5", "--rejects", "bad.jsonl"]
    ran = run_here(["split", "-", *flags, "-o", "x.{part}.parquet"], cwd=tmp_path, input=data)
    assert ran.code == 0, ran.err
    assert "no id is in two of them" in ran.err
    assert "501 in" in ran.err
    assert "1 failed (not a JSON object: 1)" in ran.err
    by_part = [pl.read_parquet(tmp_path / f"x.{name}.parquet")["id"].to_list() for name in "ab"]
    assert sorted(by_part[0] + by_part[1]) == list(range(500))
    (tmp_path / "rows.jsonl").write_bytes(data)
    for workers in ("1", "2"):
        run_here(["split", "rows.jsonl", *flags, "-o", "d", "--workers", workers], cwd=tmp_path)
        assert [row["id"] for row in read_jsonl(tmp_path / "d" / "a.jsonl")] == by_part[0]
    ran = run_here(["split", "rows.jsonl", *flags, "-o", "e", "--dry-run", "--json"], cwd=tmp_path)
    assert [out["out"] for out in json.loads(ran.err)["outputs"]] == [len(ids) for ids in by_part]
    assert not (tmp_path / "e").exists()
    for output in ("-", "rows.jsonl", "new.jsonl"):
        ran = run_here(["split", "rows.jsonl", *flags, "-o", output], cwd=tmp_path)
        assert (ran.code, "give a folder" in ran.err) == (2, True)


def test_a_huge_group_is_a_warning(tmp_path):
    """Shares far from those that were asked for are explained by the groups; shares by chance are not."""
    rows = [{"id": n, "source": "huge" if n < 700 else f"s{n}"} for n in range(1000)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    found = split_files(path, tmp_path / "p", parts="a=0.5,b=0.5", by="source", dry_run=True)
    assert len(found.warnings) == 2
    assert (
        "1,000 rows have 301 different keys, and 700 rows have the most frequent one" in found.warnings["a"]
    )
    assert not split_files(path, tmp_path / "p", parts="a=0.5,b=0.5", dry_run=True).warnings
    assert not split_files(
        write_jsonl(path, rows[:9]), tmp_path / "p", parts="a=0.9,b=0.1", dry_run=True
    ).warnings
