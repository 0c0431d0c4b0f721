"""Values that must not change on the way: Parquet's types, columns of several types, lost keys and digits."""

import datetime as dt
import json
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from dataprep import convert, read_rows, write_rows
from dataprep.core.errors import FileError, InputError, RowError
from dataprep.core.io import read_row_blocks
from dataprep.core.jsonl import find_lost, parse_line
from dataprep.core.parallel import per_row, read_block
from dataprep.core.parallel.operators import CHECKED_BYTES
from tests.tables import table

UTC = dt.UTC
NOON = dt.datetime(2024, 5, 6, 12, 0, 0, 250000)

# A column's values, its type, and what JSON has for them; or a part of the message about the second row.
COLUMNS = [
    ([b"caf\xc3\xa9", None], pl.Binary, ["café", None]),
    ([b"text", b"\x89PNG"], pl.Binary, "column 'a': binary data: found binary data (byte 0x89 at byte 1)"),
    ([[b"x"], [b"\xff"]], pl.List(pl.Binary), "binary data"),
    ([[b"x", None], None], pl.List(pl.Binary), [["x", None], None]),
    ([{"b": b"x", "c": 1}, None], pl.Struct({"b": pl.Binary, "c": pl.Int64}), [{"b": "x", "c": 1}, None]),
    ([{"b": b"x"}, {"b": b"\xff"}], pl.Struct({"b": pl.Binary}), "binary data"),
    ([Decimal("1.50"), Decimal("-0.07")], pl.Decimal(18, 2), [1.5, -0.07]),
    ([Decimal("3"), Decimal("12345678901234567")], pl.Decimal(20, 0), [3, 12345678901234567]),
    ([Decimal("1.5"), Decimal("12345678901234567.8")], pl.Decimal(20, 1), "a number of too many digits"),
    ([1, 2**64 - 1], pl.UInt64, [1, 2**64 - 1]),
    ([-(2**63), 2**64 - 1], pl.Int128, [-(2**63), 2**64 - 1]),
    ([1, 2**64], pl.Int128, "a number of more than 64 bits: found 18446744073709551616"),
    ([0.1, -2.5], pl.Float64, [0.1, -2.5]),
    ([0.1, float("nan")], pl.Float64, "found nan; expected a number, or null for a missing one"),
    ([0.1, float("inf")], pl.Float32, "found inf"),
    ([[0.5], [float("-inf")]], pl.List(pl.Float64), "found -inf"),
    ([dt.date(2024, 5, 6), None], pl.Date, ["2024-05-06", None]),
    ([NOON, None], pl.Datetime("us"), ["2024-05-06T12:00:00.250000", None]),
    ([NOON.replace(tzinfo=UTC), None], pl.Datetime("ms", "UTC"), ["2024-05-06T12:00:00.250000+00:00", None]),
    ([NOON, None], pl.Datetime("ns"), ["2024-05-06T12:00:00.250000", None]),
    ([dt.time(1, 2, 3), None], pl.Time, ["01:02:03", None]),
    (
        [dt.timedelta(days=1, seconds=3723, milliseconds=500), dt.timedelta(seconds=-90)],
        pl.Duration,
        ["P1DT1H2M3.5S", "-PT1M30S"],
    ),
    ([dt.timedelta(0), dt.timedelta(days=2)], pl.Duration("ms"), ["PT0S", "P2D"]),
    (["a", "b"], pl.Categorical, ["a", "b"]),
    ([True, None], pl.Boolean, [True, None]),
    ([None, None], pl.Null, [None, None]),
    ([[1, 2], []], pl.List(pl.Int8), [[1, 2], []]),
    ([[1, 2], [3, 4]], pl.Array(pl.Int8, 2), [[1, 2], [3, 4]]),
]


@table(("values", "dtype", "expected"), COLUMNS)
def test_parquet_values_are_what_they_mean_in_json(tmp_path_factory, values, dtype, expected):
    """Bytes are text, decimals numbers, times ISO texts; the rest is an error with column and row."""
    path = str(tmp_path_factory.mktemp("parquet") / "a.parquet")
    pl.DataFrame({"a": pl.Series(values, dtype=dtype), "id": [1, 2]}).write_parquet(path)
    if isinstance(expected, str):
        for read in (lambda: list(read_rows(path)), lambda: list(read_row_blocks(path))):
            with pytest.raises(InputError) as caught:
                read()
            assert str(caught.value).startswith(f"{path}: row 2: column 'a': ")
            assert expected in str(caught.value)
        return
    rows = [{"a": value, "id": number} for number, value in enumerate(expected, 1)]
    assert [row for _, row in read_rows(path)] == rows
    # The engine reads the same rows.
    lines = b"\n".join(block.read() for block in read_row_blocks(path)).split(b"\n")
    assert [json.loads(line) for line in lines] == rows


def test_nanoseconds_are_not_cut_off(tmp_path):
    """Python counts in microseconds: a column that does not is an error, with the row that shows it."""
    path = str(tmp_path / "a.parquet")
    for dtype in (pl.Datetime("ns"), pl.Duration("ns"), pl.Time, pl.List(pl.Datetime("ns"))):
        values = pl.Series([1000, 2000, 3001], dtype=pl.Int64)
        series = values.implode().explode().cast(getattr(dtype, "inner", dtype))
        series = series.reshape((3, 1)).arr.to_list() if isinstance(dtype, pl.List) else series
        pl.DataFrame({"a": series}).write_parquet(path)
        with pytest.raises(InputError, match=r"a\.parquet: row 3: column 'a' holds nanoseconds"):
            list(read_rows(path))


def test_dates_that_python_does_not_have_are_errors(tmp_path):
    """Parquet has years before 1 and after 9999: an error with column and row."""
    path = str(tmp_path / "a.parquet")
    for dtype, value in (
        (pl.Datetime("us"), -(10**17)),
        (pl.Date, -(10**6)),
        (pl.Datetime("us"), 9 * 10**17),
    ):
        pl.DataFrame({"id": [1, 2], "a": pl.Series([0, value]).cast(dtype)}).write_parquet(path)
        for read in (read_rows, read_row_blocks):
            with pytest.raises(InputError, match=r"a\.parquet: row 2: column 'a': year .*from 1 to 9999"):
                list(read(path))


def test_parquet_text_in_bytes_is_converted_as_text(tmp_path):
    """Some writers mark texts as plain bytes; they are read as in any other file."""
    path = str(tmp_path / "a.parquet")
    pl.DataFrame({"question": [b"1 + 1?"], "answer": [b"1+1=2\n#### 2"]}).write_parquet(path)
    assert [row["messages"][1]["content"] for row in convert("gsm8k", path)] == ["1 + 1?"]


# Rows, and what is read back from Parquet; or a part of the message.
TABLES = [
    ([{"a": 1}, {"a": "1"}], "field 'a' holds an integer in row 1 and a text in row 2"),
    ([{"a": True}, {"a": 1}], "field 'a' holds a boolean in row 1 and an integer in row 2"),
    ([{"a": 2**53 + 1}, {"a": 0.5}], "field 'a' holds an integer in row 1 and a number in row 2"),
    ([{"a": -1}, {"a": 2**63}], "field 'a' holds -1 and 9223372036854775808"),
    ([{}], "a table needs a field"),
    ([{"a": 1}, {"a": 2.5}], [{"a": 1}, {"a": 2.5}]),
    ([{"a": 2**53}, {"a": 2.5}], [{"a": 2**53}, {"a": 2.5}]),
    ([{"a": 2**63}, {"a": 2**64 - 1}], [{"a": 2**63}, {"a": 2**64 - 1}]),
    ([{"a": -(2**63)}, {"a": None}], [{"a": -(2**63)}, {"a": None}]),
    ([{"a": "1"}, {"a": "2024-05-06"}], [{"a": "1"}, {"a": "2024-05-06"}]),
    ([{"a": []}, {"a": None}], [{"a": []}, {"a": None}]),
    ([{"a": None}], [{"a": None}]),
]
# Rows whose lists and objects have several types: JSON text keeps them.
NESTED = [
    [{"a": "x"}, {"a": {"b": 1}}],
    [{"a": [1]}, {"a": 1}],
    [{"a": [1, "x"]}],
    [{"a": {"b": 1}}, {"a": {"b": "1"}}],
    [{"a": [{"b": 1}]}, {}, {"a": [{"b": None}, {"b": [2]}]}],
    [{"a": None}, {"a": {"b": {}}}],
    [{"b": 1}, {"a": {"x": "1"}}],
    [{"a": [[1], []]}, {"a": [[2, 3]]}],
]


@table(("rows", "expected"), TABLES)
def test_a_column_of_several_types_is_an_error(tmp_path_factory, rows, expected):
    """Parquet holds one type per column: no number and no truth is turned into text to make it fit."""
    path = str(tmp_path_factory.mktemp("tables") / "a.parquet")
    if isinstance(expected, str):
        with pytest.raises(FileError) as caught:
            write_rows(rows, path)
        assert str(caught.value).startswith(f"{path}: cannot be written: ")
        assert expected in str(caught.value)
    else:
        write_rows(rows, path)
        assert [row for _, row in read_rows(path)] == expected


@table("rows", NESTED)
def test_lists_and_objects_of_several_types_come_back(tmp_path_factory, rows):
    """A list or an object is never forced into a column's type, and a field that a row lacks stays absent."""
    path = str(tmp_path_factory.mktemp("tables") / "a.parquet")
    write_rows(rows, path)
    assert [row for _, row in read_rows(path)] == rows


def test_delimited_tables_have_one_type_per_column_too(tmp_path):
    """In CSV, 1 and "1" would be the same cell; booleans are JSON's, not Python's."""
    path = tmp_path / "a.csv"
    for rows, found in (
        ([{"a": 1}, {"a": "1"}], "field 'a' holds an integer in row 1 and a text in row 2"),
        ([{"a": "true"}, {"a": True}], "field 'a' holds a text in row 1 and a boolean in row 2"),
    ):
        with pytest.raises(FileError, match=found):
            write_rows(rows, str(path))
    write_rows([{"a": True, "b": 1, "c": "x"}, {"a": None, "b": 0.5, "c": ""}], str(path))
    assert path.read_text() == "a,b,c\ntrue,1,x\n,0.5,\n"


class Odd:
    """A value of a program."""

    def __repr__(self):
        return "<odd>"


# Values in a row given to the library, and what JSON has for them; or a part of the message.
GIVEN = [
    (b"text", "text"),
    (b"\xff", "field 'a': found binary data"),
    (Decimal("0.5"), 0.5),
    (np.int64(3), 3),
    (np.float32(0.5), 0.5),
    (np.array([1, 2]), [1, 2]),
    ([np.array(["x"])], [["x"]]),
    (np.float64("nan"), "field 'a': found a number that is not finite"),
    (np.array([0.5, np.inf]), "field 'a': found a number that is not finite"),
    (float("nan"), "field 'a': found a number that is not finite"),
    ([{"b": float("inf")}], "field 'a': found a number that is not finite"),
    (2**64, "a number of more than 64 bits: field 'a': it cannot be written as JSON"),
    ({1: "x"}, "a key that is not a text: field 'a': it cannot be written as JSON"),
    (dt.date(2024, 5, 6), "2024-05-06"),
    (dt.timedelta(seconds=1), "PT1S"),
    (("x", "y"), ["x", "y"]),
    ({"x"}, "field 'a': found set {'x'}"),
    (Odd(), "field 'a': found Odd <odd>"),
    ("\ud800", "half of a surrogate pair: field 'a': it cannot be written as JSON"),
]


@table(("value", "expected"), GIVEN)
def test_values_of_a_program_are_held_exactly_or_refused(tmp_path_factory, value, expected):
    """Python's repr of a value never stands in its place, and nothing ends in a traceback."""
    path = str(tmp_path_factory.mktemp("given") / "a.jsonl")
    row = {"question": "1 + 1?", "answer": "#### 2", "a": value}
    if isinstance(expected, str) and "field 'a'" in expected:
        with pytest.raises(FileError) as caught:
            write_rows([{"a": 1}, row], path)
        assert str(caught.value).startswith(f"{path}: cannot be written: row 2: ")
        assert expected in str(caught.value)
        with pytest.raises(InputError) as refused:
            list(convert("gsm8k", [row]))
        assert str(refused.value).startswith("the given rows: row 1: ")
        assert expected in str(refused.value)
    else:
        write_rows([row], path)
        assert next(read_rows(path))[1]["a"] == expected
        assert len(list(convert("gsm8k", [row]))) == 1


# Lines of which a parser would lose a part, and what is said of them.
LOST = [
    ('{"a": 1, "a": 2}', "duplicate key: the key 'a' stands more than once"),
    ('{"a":"x","a":"x"}', "duplicate key: the key 'a'"),
    ('{"a" : 1, "b": {"c": [{"d": 1, "d": 2}]}}', "duplicate key: the key 'd'"),
    ('{"a": ":", "a": "x"}', "duplicate key: the key 'a'"),
    ('{"a": "\\u003a", "a": "x"}', "duplicate key: the key 'a'"),
    ('{"a": 1, "\\u0061": 2}', "duplicate key: the key 'a'"),
    (
        '{"a": 18446744073709551616}',
        "a number of more than 64 bits: the field 'a' holds 18446744073709551616",
    ),
    (
        '{"a": [0, [-9223372036854775809]]}',
        "a number of more than 64 bits: the field 'a' holds -9223372036854775809",
    ),
    ('{"a": ' + "9" * 5000 + "}", "not JSON"),
    ('{"a": 1' + "0" * 300 + "}", "a number of more than 64 bits: the field 'a' holds 1000"),
]
KEPT = [
    '{"a": 18446744073709551615, "b": -9223372036854775808}',
    '{"a": "18446744073709551616", "b": 0.12345678901234567890123}',
    '{"a": "\\"a\\": 1, \\"a\\": 2", "b": [{"a": 1}, {"a": 2}], "c": {"a": ": : :"}}',
    '{"a" : "x", "\\u003a": 1}',
]


@table(("line", "says"), LOST)
def test_what_a_parser_would_lose_is_an_error(run, tmp_path_factory, line, says):
    """In lines, in arrays, in every reader and before tables are written: with the place of the row."""
    folder = tmp_path_factory.mktemp("lost")
    good = {"question": "1 + 1?", "answer": "1+1=2\n#### 2"}
    row = json.dumps(good)[:-1] + ", " + line[1:]
    (folder / "a.jsonl").write_text(json.dumps(good) + "\n\n" + row + "\n")
    (folder / "a.json").write_text(f"[{json.dumps(good)},\n {row}]")
    for name, where in (("a.jsonl", "a.jsonl:3"), ("a.json", "a.json: row 2")):
        if says == "not JSON" and name == "a.json":
            continue
        for command in (("convert", "gsm8k", name), ("stats", name)):
            done = run(*command, cwd=folder)
            assert done.code == 1
            assert done.err.startswith(f"error: {where}: {says}"), (command, done.err)
    for out in ("out.parquet", "out.csv"):
        done = run("merge", "a.jsonl", "-o", out, cwd=folder)
        assert done.code == 1
        assert says.partition(":")[0] in done.err
    done = run("convert", "gsm8k", "a.jsonl", "-o", "out.jsonl", "--rejects", "bad.jsonl", cwd=folder)
    assert (done.code, done.err.count("2 in = 1 out + 1 failed")) == (0, 1), done.err
    with pytest.raises(RowError, match=r"duplicate|64 bits|not JSON"):
        raise next(find_lost(line.encode(), parse_line(line.encode())))


def test_what_a_parser_keeps_is_no_error():
    """Colons, quotes and digits in texts are not keys and numbers."""
    assert [line for line in KEPT if list(find_lost(line.encode(), parse_line(line.encode())))] == []


def test_operators_look_at_all_rows_of_small_files_and_batches(tmp_path):
    """`read_block` looks at every block, `per_row` at the beginning of a file; blank lines count."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' * (CHECKED_BYTES // 4) + b'{"a": 1, "a": 2}\n')
    for count, operator in (
        (1, lambda block: read_block(block, dict).outcome),
        (0, per_row(lambda _: b"{}")),
    ):
        failed = [failure for block in read_row_blocks(str(path)) for failure in operator(block).failures]
        assert len(failed) == count
    path.write_bytes(b'\n{"a": 1}\n \n{"a": 1, "a": 2}\n{"a": 3}\n')
    for operator in (lambda block: read_block(block, dict).outcome, per_row(lambda _: b"{}")):
        outcome = operator(next(iter(read_row_blocks(str(path)))))
        assert (outcome.rows_in, outcome.rows_out) == (3, 2)
        assert [(failure.line, failure.reason) for failure in outcome.failures] == [(4, "duplicate key")]
