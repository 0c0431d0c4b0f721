"""What validate and stats find does not depend on how files are cut, nor on the number of workers."""

import gzip
import json
import random
from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep import write_rows
from dataprep.core import io as files
from dataprep.core.conversations import find_in
from dataprep.core.errors import InputError
from dataprep.core.io import blocks, rows
from dataprep.datasets.checks.figures import by_bucket, count_repeated
from dataprep.datasets.checks.stats import stats, stats_of_files
from dataprep.datasets.checks.validation import SHOWN_PER_KIND, Problem, validate, validate_files
from tests import strategies as some
from tests.helpers import chat

pytestmark = pytest.mark.usefixtures("forked")
BAD_LINES = (
    b"{", b"[]", b"7", b"null", b'{"messages": [], "messages": [1]}', b'{"n": 12345678901234567890123}',
    b'\xff{"a": 1}', b'{"x": ' + b"[" * 300 + b"]" * 300 + b"}", b'{"messages": [{"role": "user"}]}', b"",
    b" \t\r",
)  # fmt: skip


@pytest.fixture
def small_blocks(monkeypatch):
    """A function that sets the bytes of the blocks that files are cut into."""

    def cut(size):
        monkeypatch.setattr(rows, "read_blocks", partial(_read_blocks, size=size))

    return cut


_read_blocks = blocks.read_blocks


def random_row(chance):
    """A row: of a chat, most often, with and without what else a row can have, in any order."""
    if chance.random() < 0.2:
        return {"question": "x" * chance.randrange(9), "answer": {"label": chance.choice("ab"), "text": "y"}}
    row = chat("Hi " * chance.randrange(5) + "you", chance.choice(("(a) x", "ok", "")))
    for message in row["messages"]:
        if chance.random() < 0.3:
            message[chance.choice(("timestamp", "mood", "loss", "weight"))] = chance.choice((True, 3, None))
    if chance.random() < 0.3:
        row["source"] = chance.choice(("gsm8k", "squad", ""))
    if chance.random() < 0.2:
        row["tools"] = [{"type": "function", "function": {"name": "add"}}]
    if chance.random() < 0.2:
        row["messages"].insert(0, {"role": chance.choice(("system", "model")), "content": "Be kind."})
    return row


def random_lines(chance, count, bad=0.0):
    """Lines of rows, of which a share is bad or blank."""
    return [
        chance.choice(BAD_LINES) if chance.random() < bad else json.dumps(random_row(chance)).encode()
        for _ in range(count)
    ]


def expected_report(paths, **settings):
    """The report of a plain loop over the rows of files: its counts, and the problems that are shown."""
    counted, counts, unknown, shown = Counter(), Counter(), Counter(), []
    for path in map(str, paths):
        for where, item in files.read_items(path):
            counted[path] += 1
            for kind, detail in find_in(item, unknown=unknown, **settings):
                counts[kind] += 1
                if counts[kind] <= SHOWN_PER_KIND:
                    shown.append(str(Problem(str(where), kind, detail)))
    return {"rows": counted, "problems": counts, "unknown_keys": unknown}, shown


def assert_reported(paths, workers, **settings):
    """The report of validate_files is that of the plain loop, in the same order."""
    found = validate_files(paths, workers=workers, **settings).to_json()
    expected, shown = expected_report(paths, **settings)
    assert json.dumps({name: found[name] for name in expected}) == json.dumps(expected)
    assert found["shown"] == shown


@pytest.fixture
def inputs(tmp_path):
    """Files of every kind, with sound rows and others."""
    chance = random.Random(15)
    ugly, more = random_lines(chance, 400, 0.3), random_lines(chance, 200, 0.1)
    rows = [json.loads(line) for line in random_lines(chance, 300)]
    (tmp_path / "ugly.jsonl").write_bytes(b"\n".join(ugly) + b"\n")
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf\n" + b"\n".join(more))
    (tmp_path / "more.jsonl.gz").write_bytes(gzip.compress(b"\n".join(more)))
    (tmp_path / "rows.json").write_text(json.dumps([1, *rows, None, "x"]))
    (tmp_path / "wrapped.json").write_text(json.dumps({"version": 1, "data": rows}))
    chats = [row for row in rows if "messages" in row]
    write_rows(chats, str(tmp_path / "chats.parquet"))
    write_rows([{"messages": row["messages"], "n": 1} for row in chats], str(tmp_path / "chats.csv"))
    names = (
        "ugly.jsonl",
        "bom.jsonl",
        "more.jsonl.gz",
        "rows.json",
        "wrapped.json",
        "chats.parquet",
        "chats.csv",
    )
    return [tmp_path / name for name in names]


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("strict", [False, True])
def test_the_report_is_that_of_a_loop_over_rows(inputs, small_blocks, workers, strict):
    """The same problems, places, counts and unknown keys, in the same order, also of files given twice."""
    small_blocks(700)
    assert_reported([*inputs, inputs[0], inputs[3]], workers, strict=strict, strict_tools=strict)


@given(st.lists(st.sampled_from(BAD_LINES) | some.json_objects(("messages", "tools")).map(
    lambda row: json.dumps(row).encode()), min_size=1, max_size=60), st.integers(1, 300))  # fmt: skip
def test_any_lines_in_any_blocks_give_the_report_of_a_loop(tmp_path_factory, lines, size):
    """Where a file is cut changes nothing."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_bytes(b"\n".join([b"{}", *lines]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "read_blocks", partial(_read_blocks, size=size))
        assert_reported([path], 1)
        expected = [str(where) for where, item in files.read_items(str(path)) for _ in find_in(item)]
        assert [problem.where for problem in validate(path)] == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_the_figures_are_those_of_one_list_of_rows(tmp_path, small_blocks, workers):
    """All figures and their order are the same; duplicates are found across blocks and files."""
    small_blocks(500)
    chance = random.Random(7)
    paths = [tmp_path / f"rows{number}.jsonl" for number in range(3)]
    rows = [{**random_row(chance), "source": chance.choice("abc")} for _ in range(450)]
    for number, path in enumerate(paths):
        lines = [json.dumps(row).encode() for row in rows[number * 150 : (number + 1) * 150]]
        path.write_bytes(b"\n\n".join(lines))
    encode = partial(str.split)
    found, expected = stats_of_files(paths, encode, workers=workers), stats(rows, encode)
    assert found.duplicates > 10
    assert json.dumps(found.to_json()) == json.dumps(expected.to_json())


@pytest.mark.sampled(3)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("line", [line for line in BAD_LINES if line.strip()] + [b'{"messages": [7]}'])
def test_the_first_bad_row_is_named_wherever_it_is(tmp_path, small_blocks, workers, line):
    """The place and the reason are those of one block, with no hint at a flag that stats does not have."""
    lines = random_lines(random.Random(3), 60)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join([*lines[:40], b"", line, *lines[40:], line]))
    with pytest.raises(InputError) as whole:
        stats_of_files([path])
    small_blocks(300)
    with pytest.raises(InputError) as found:
        stats_of_files([path], workers=workers)
    assert str(found.value) == str(whole.value)
    assert str(found.value).startswith(f"{path}:42: ")
    assert "--rejects" not in str(found.value)


@pytest.mark.parametrize("workers", [1, 2])
def test_files_without_rows_are_errors_after_others(tmp_path, workers):
    """A file of blank lines holds no rows, whoever reads it."""
    for name, text in (("rows.jsonl", json.dumps(chat("Hi", "ok"))), ("blank.jsonl", "\n\n")):
        (tmp_path / name).write_text(text)
    paths = [tmp_path / "rows.jsonl", tmp_path / "blank.jsonl"]
    with pytest.raises(InputError, match=r"blank\.jsonl: the file is empty; expected chat rows"):
        validate_files(paths, workers=workers)
    with pytest.raises(InputError, match=r"blank\.jsonl: the file is empty; expected rows"):
        stats_of_files(paths, workers=workers)


@given(st.lists(st.binary(min_size=2, max_size=2), max_size=40), st.integers(1, 5))
def test_repeated_digests_are_counted_by_buckets_too(halves, buckets):
    """Equal digests are in one bucket, so the counts of the buckets add up to that of all."""
    digests = [half * 8 for half in halves]
    together, divided = b"".join(digests), by_bucket(b"".join(digests), buckets)
    assert count_repeated(together) == len(digests) - len({*digests})
    assert sum(map(count_repeated, divided)) == count_repeated(together)
    assert sorted(half for piece in divided for half in zip(*[iter(piece)] * 16, strict=True)) == sorted(
        map(tuple, digests)
    )
