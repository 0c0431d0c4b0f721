"""Which rows two files share, lost, gained or changed, against dictionaries and counters of all rows."""

import json
from collections import Counter
from itertools import combinations

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dataprep
from dataprep.core.errors import InputError, UsageError
from dataprep.core.io import write_rows
from dataprep.core.records import id_text
from dataprep.inspect.diff.fields import changes_of, word_changes
from dataprep.inspect.diff.files import MAX_FIELDS, OTHERS
from dataprep.inspect.diff.matching import longest_rise
from dataprep.inspect.diff.rows import content_of
from tests.helpers import chat, read_jsonl, write_jsonl
from tests.strategies import json_values, texts

values = st.sampled_from([0, 1, 2.5, "x", "1", True, None, [1], {"a": 1}])
small_rows = st.lists(
    st.fixed_dictionaries({"q": values}, optional={"id": st.sampled_from([1, "1", "b"])}),
    min_size=1,
    max_size=8,
)


def strict(value):
    """A value as Python's json tells values apart, in which 1 and true differ; 1 and 1.0 do not."""
    if isinstance(value, bool):
        return f"bool {value}"
    if isinstance(value, dict):
        return tuple(sorted((key, strict(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("list", *map(strict, value))
    return value


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for the files of all examples of a property."""
    return tmp_path_factory.mktemp("diff")


def diff(folder, a, b, **options):
    """The result for two lists of rows, and the lines of differences."""
    paths = [write_jsonl(folder / f"{name}.jsonl", rows) for name, rows in (("a", a), ("b", b))]
    result = dataprep.diff_files(*paths, folder / "out.jsonl", **options)
    return result, read_jsonl(folder / "out.jsonl")


@given(small_rows, small_rows)
def test_by_content_it_is_the_difference_of_two_multisets(folder, a, b):
    """Each row of a file is shared or not as often as a counter of all rows says."""
    result, lines = diff(folder, a, b, by="content")
    ours, theirs = (Counter(map(strict, rows)) for rows in (a, b))
    assert result.shared == (ours & theirs).total()
    for kind, side, expected in (("lost", "a", ours - theirs), ("gained", "b", theirs - ours)):
        assert Counter(strict(line[side]["row"]) for line in lines if line["kind"] == kind) == expected
    for line in lines:
        for side, rows in (("a", a), ("b", b)):
            if side in line:
                assert strict(rows[line[side]["line"] - 1]) == strict(line[side]["row"]), (
                    "the place is the row's"
                )
    assert result.equal == (ours == theirs)
    assert result.copies == (
        sum(count for row, count in (ours - theirs).items() if row in theirs),
        sum(count for row, count in (theirs - ours).items() if row in ours),
    )


@given(small_rows, small_rows)
def test_by_id_rows_with_one_id_are_compared(folder, a, b):
    """Where ids are unique, two dictionaries say what is shared, changed, lost and gained."""
    a, b = (list({str(row["id"]): row for row in rows if "id" in row}.values()) for rows in (a, b))
    if not a or not b:
        return
    result, lines = diff(folder, a, b)
    ours, theirs = ({str(row["id"]): strict(row) for row in rows} for rows in (a, b))
    both = ours.keys() & theirs.keys()
    changed = {key for key in both if ours[key] != theirs[key]}
    assert result.by == "id"
    assert result.shared == len(both - changed)
    found = {
        kind: {line["id"] for line in lines if line["kind"] == kind} for kind in ("lost", "gained", "changed")
    }
    # An id that was a number and is a text now is a change too.
    assert found == {"lost": ours.keys() - both, "gained": theirs.keys() - both, "changed": changed}
    for line in (line for line in lines if line["kind"] == "changed"):
        assert id_text(line["a"]["row"]) == id_text(line["b"]["row"]) == line["id"]


@given(small_rows, small_rows)
def test_rows_with_the_same_id_are_matched_in_their_order(folder, a, b):
    """No row has two partners: of each id, pairs are as many as both files allow."""
    a, b = ([row for row in rows if "id" in row] for rows in (a, b))
    if not a or not b:
        return
    result, _ = diff(folder, a, b, by="id")
    ours, theirs = (Counter(str(row["id"]) for row in rows) for rows in (a, b))
    equal = (Counter(map(strict, a)) & Counter(map(strict, b))).total()
    assert result.shared == equal
    assert result.shared + result.changed == (ours & theirs).total()


@given(st.permutations(range(7)))
def test_moved_rows_are_the_fewest_that_explain_the_order(order):
    """The longest run that rises is the longest of all subsequences that do."""
    longest = max(
        size
        for size in range(len(order) + 1)
        for some in combinations(order, size)
        if list(some) == sorted(some)
    )
    assert longest_rise(np.array(order)) == longest


def test_the_order_is_reported_and_is_no_difference(folder):
    """A shuffled file is equal to itself; one row that went to the front is one that moved."""
    rows = [{"id": n} for n in range(100)]
    result, lines = diff(folder, rows, [rows[70], *rows[:70], *rows[71:]])
    assert (result.shared, result.moved, result.equal, lines) == (100, 1, True, [])


@given(json_values(), json_values())
def test_a_value_has_one_form(a, b):
    """Two values have the same bytes just if they are the same, however they are written."""
    again = json.loads(json.dumps(a, ensure_ascii=False, indent=1))
    assert content_of(a) == content_of(again)
    assert (content_of([a]) == content_of([b])) == (strict(a) == strict(b))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.0"),
        ("100", "1e2"),
        ("0", "-0.0"),
        ("10000000000000000", "1e16"),
        ('"é"', '"\\u00e9"'),
        ("1e30", "1.0E30"),
    ],
)
def test_notation_is_no_difference(folder, one, other):
    """Numbers and texts are compared by their values, also deep inside a row."""
    a, b = folder / "one.jsonl", folder / "other.jsonl"
    a.write_text(f'{{"a": {{"b": [{one}]}}, "c": 1}}\n', encoding="utf-8")
    b.write_text(f'{{"c":1,  "a": {{"b": [{other}]}}}}\n', encoding="utf-8")
    assert dataprep.diff_files(a, b).equal


@pytest.mark.parametrize(
    "row", ['{"a": 1, "a": 2}', '{"a": 18446744073709551617}', '{"a": [18446744073709551618]}']
)
def test_what_the_parser_loses_is_never_taken_for_equal(folder, row):
    """A key that stands twice, or digits too many, anywhere in a file, is a bad row with its place."""
    good = json.dumps({"a": "x" * 200}) + "\n"
    paths = [folder / "a.jsonl", folder / "b.jsonl"]
    for path in paths:
        path.write_text(good * 6000 + row + "\n")
    with pytest.raises(InputError, match=r"a\.jsonl:6001: "):
        dataprep.diff_files(*paths)


def test_changed_fields_are_named_by_path_and_role():
    """A message that was added is one change; the others are compared with those of their roles."""
    before = chat("Hi", "Hello", "Bye", meta={"x": 1, "gone": None}, tags=["a"], calls=[{"n": 1}, {"n": 2}])
    after = chat(
        "Hi!", "Hello", "Bye", "See you", system="Be kind", meta={"x": 1.0}, tags=["a", "b"], calls=[{"n": 2}]
    )
    found = [(change.name, change.kind) for change in changes_of(before, after)]
    assert found == [
        ("messages[0] (system)", "added"),
        ("messages[1].content (user)", "changed"),
        ("messages[4] (assistant)", "added"),
        ("meta.gone", "removed"),
        ("tags", "changed"),
        ("calls[0]", "removed"),
    ]


@given(json_values(), json_values())
def test_rows_have_changes_just_if_they_differ(a, b):
    """No difference is overlooked, and none is made up."""
    changes = list(changes_of({"row": a}, {"row": b}))
    assert bool(changes) == (strict(a) != strict(b))
    assert not list(changes_of(a, a))


@given(texts(), texts())
def test_marked_words_give_both_texts_back(before, after):
    """What is not marked as added is the first text, what is not marked as removed the second one."""
    pieces = word_changes(before, after)
    assert "".join(text for kind, text in pieces if kind != "added") == before
    assert "".join(text for kind, text in pieces if kind != "removed") == after


def test_long_texts_take_no_time():
    """Of 200,000 words the common beginning and end are left out; all the others would take hours."""
    words = " ".join(map(str, range(100_000)))
    pieces = word_changes(words, words.replace(" 500 ", " five ").replace(" 90000 ", " many "))
    assert [kind for kind, _ in pieces] == ["same", "removed", "added", "same"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_and_formats_change_nothing(tmp_path, workers):
    """Arrays, tables and compressed files have the same rows as lines, by any number of processes."""
    rows = [chat("Hi", f"Row {n}", id=f"r{n}", score=n / 2) for n in range(1500)]
    other = [row | {"score": -1.0} if n % 7 == 0 else row for n, row in enumerate(rows) if n % 11]
    write_jsonl(tmp_path / "a.jsonl", rows)
    write_rows(other, str(tmp_path / "b.jsonl"))
    plain = dataprep.diff_files(
        tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "plain.jsonl", workers=workers
    )
    assert (plain.changed, plain.lost, plain.moved) == (195, 137, 0)
    assert plain.fields == {"score": 195}
    for name in ("b.json", "b.jsonl.gz", "b.parquet"):
        write_rows(other, str(tmp_path / name))
        result = dataprep.diff_files(
            tmp_path / "a.jsonl", tmp_path / name, tmp_path / "out.jsonl", workers=workers
        )
        assert (result.to_json() | {"files": 0}) == (plain.to_json() | {"files": 0})
        for line, expected in zip(
            read_jsonl(tmp_path / "out.jsonl"), read_jsonl(tmp_path / "plain.jsonl"), strict=True
        ):
            assert line["changes"] == expected["changes"] if line["kind"] == "changed" else line == expected


def test_a_file_compared_with_itself(tmp_path):
    """Both names can be one file, with copies and blank lines in it."""
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n\n{"id": 1}\n{"id": 2}\r\n')
    result = dataprep.diff_files(tmp_path / "a.jsonl", tmp_path / "a.jsonl")
    assert (result.rows, result.shared, result.equal, result.by) == ((3, 3), 3, True, "content")
    assert result.why.endswith("a.jsonl:1 and " + f"{tmp_path / 'a.jsonl'}:3 have the same id")


def test_fields_without_end_take_no_memory(folder):
    """Rows whose keys are all different fill no table: the later ones are counted together."""
    rows = [{"id": n, "x": {f"k{n}-{m}": 1 for m in range(40)}} for n in range(60)]
    result, _ = diff(folder, rows, [row | {"x": {}} for row in rows])
    assert len(result.fields) == MAX_FIELDS + 1
    assert result.fields[OTHERS] == 35
    assert result.changed == 60


@pytest.mark.parametrize(("by", "error"), [("", UsageError), ("id", InputError), ("meta.x", InputError)])
def test_a_key_that_rows_lack(folder, by, error):
    """With --by each row must have the key; nothing is matched by something else."""
    with pytest.raises(error, match="expected"):
        diff(folder, [{"id": 1, "meta": {"x": 1}}], [{"q": 2}], by=by)


def test_keys_are_parts_of_rows(folder):
    """By a question, rows with other ids and answers are changed; case and white space make no difference."""
    result, (line,) = diff(
        folder, [chat("What is  it?", "a", id=1)], [chat("what is it?", "b", id=2)], by="question"
    )
    assert (result.changed, result.lost) == (1, 0)
    assert [change["path"] for change in line["changes"]] == [
        "messages[0].content",
        "messages[1].content",
        "id",
    ]
    result, _ = diff(folder, [{"meta": {"k": 7}, "x": 1}], [{"meta": {"k": 7}, "x": 2}], by="meta.k")
    assert dict(result.fields) == {"x": 1}


@pytest.mark.slow
def test_memory_is_flat(tmp_path):
    """Long rows that all changed are in memory one at a time."""
    import tracemalloc

    rows = [{"id": n, "text": f"{n} " * 20_000} for n in range(400)]
    for name, extra in (("a", ""), ("b", "!")):
        with (tmp_path / f"{name}.jsonl").open("wb") as out:
            out.writelines(orjson.dumps(row | {"text": row["text"] + extra}) + b"\n" for row in rows)
    del rows
    dataprep.diff_files(tmp_path / "a.jsonl", tmp_path / "a.jsonl")  # imports
    tracemalloc.start()
    result = dataprep.diff_files(tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "out.jsonl")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.changed == 400
    assert peak < 24e6, "the files have 44 MB each, and digests are read 16 MB at a time"
