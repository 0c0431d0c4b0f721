"""Filter: the rows for which an SQL condition holds, whatever their types and however the file is cut."""

import random

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import InputError, UsageError
from dataprep.core.io import Block
from dataprep.curate.filter import FilterRows, filter_files
from dataprep.curate.marks import Marks
from dataprep.curate.sql import FUNCTIONS
from dataprep.curate.where import Condition
from tests.helpers import chat, read_jsonl, run_here, write_jsonl

ROWS = [
    chat("Hi", "Hello there", id=1, score=0.5, meta={"topic": "x"}, tags=["a", "b"], source="web"),
    chat("Hi", "As an AI, no", "Why?", "So.", id=2, score=None, meta={"topic": "y"}, tags=[]),
    {"id": 3, "score": 3, "question": "q", "answer": {"label": "b", "text": "tin"}, "odd name": "é"},
    {
        "id": 4,
        "status": {"gpt-4o": "ok", "llama-2": "truncated"},
        "rationales": {"gpt-4o": "long"},
        "flag": True,
    },
    {"id": 5, "flag": False, "a.b": 7, "large": 2**63, "note": "own"},
]


@pytest.fixture
def path(tmp_path):
    """Return a file of rows of several kinds."""
    return write_jsonl(tmp_path / "rows.jsonl", ROWS)


def kept(path, where, **options):
    """Return the ids of the rows that are kept."""
    out = path.with_name("out.jsonl")
    filter_files(path, out, where=where, **options)
    return [row["id"] for row in read_jsonl(out)]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("chars(assistant) > 11", [2]),
        ("chars(assistant) BETWEEN 1 AND 11", [1]),
        ("chars(messages) IS NULL", [3, 4, 5]),
        ("chars(question) = 1", [3]),
        ("chars(rationales.gpt-4o) = 4", [4]),
        ("text(assistant) LIKE '%as an AI%' OR text( assistant ) ILIKE '%as an ai%'", [2]),
        ("text(user) ~ '^Hi$'", [1]),
        ("REGEXP_LIKE(text(user), 'Why')", [2]),
        ("text(answer) = 'tin'", [3]),
        ("turns >= 2", [2]),
        ("source = 'web'", [1]),
        ("source LIKE '%rows.jsonl'", [2, 3, 4, 5]),
        ("status(gpt-4o) = 'ok'", [4]),
        ("status('llama-2') IN ('truncated', 'empty')", [4]),
        ("score > 0.4", [1, 3]),
        ("NOT score > 1", [1]),
        ("score IS NULL", [2, 4, 5]),
        ("meta.topic = 'x' OR answer.label = 'b'", [1, 3]),
        ("\"odd name\" = 'é' OR meta.\"topic\" = 'y'", [2, 3]),
        ('"a.b" = 7', [5]),
        ("a.b = 7", [5]),
        ("flag", [4]),
        ("flag IS FALSE", [5]),
        ("large > 9223372036854775807", [5]),
        ("ARRAY_LENGTH(tags) >= 0", [1, 2]),
        ("ARRAY_CONTAINS(tags, 'b')", [1]),
        ("CASE WHEN score > 1 THEN TRUE WHEN id = 4 THEN TRUE ELSE FALSE END", [3, 4]),
        ("id % 2 = 1 AND id <> 3", [1, 5]),
        ("COALESCE(score, 9) = 9 -1 + 1", [2, 4, 5]),
        ('meta LIKE \'%"topic":"y"%\'', [2]),
        ("1 = 1", [1, 2, 3, 4, 5]),
        ("note = 'own'", [5]),
    ],
)
def test_the_rows_for_which_the_condition_holds(path, where, ids):
    """Fields, nested fields, derived values, patterns, nulls and functions; the rows keep their order."""
    assert kept(path, where) == ids


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("scor > 1", "no row has the field 'scor'; the nearest is 'score'; known are .*meta.topic"),
        ("chars(asistant) > 1", "no row has the role or field 'asistant'; the nearest is 'assistant'"),
        ("status(gpt) = 'ok'", "no row has a status of 'gpt'; the nearest is 'gpt-4o'"),
        ('source = "web"', "no row has the field 'web'.*a text is in single quotes"),
        ("tokens(user) > 1", "needs a tokenizer"),
        ("mark = 'good'", "view. writes marks to .*rows.jsonl.marks.jsonl, which does not exist"),
        ("lenght(id) > 1", r"lenght\(\) is not a function .* nearest is length\(\)"),
        ("score > AVG(score)", r"avg\(\) is not a function of the values of one row"),
        ("COUNT(*) > 1", r"count\(\) is not"),
        ("id IN (SELECT a FROM read_csv('/etc/passwd'))", "'SELECT' cannot stand here"),
        ("EXISTS (SELECT 1)", "exists"),
        ('"sum"(score) > 1', "cannot be called"),
        ("`count` (*) > 1", "cannot be called"),
        ("a.sum(score) > 1", "cannot be called"),
        ("values > 1", "a field of this name is in double quotes"),
        ("RANK() OVER (ORDER BY id) > 1", "rank"),
        ("read_csv('/etc/passwd')", "read_csv"),
        ("id > CURRENT_DATE", "cannot stand here"),
        ("text(user) ~ '('", "a regular expression is wrong: unclosed group"),
        ("chars(user)", "not true or false but a number"),
        ("chars(user) = 'x'", "cannot compare string with numeric type"),
        ("chars() > 1", "takes the name of a role"),
        ("GREATEST() > 1", "lacks its arguments"),
        ("id > 1 AND", "not an SQL condition"),
        ("id > 1 id", "not an SQL condition"),
        ("id = 1) OR (id = 2", r"without its '\('"),
        ("(id = 1", r"without its '\)'"),
        ("id = 1; DROP TABLE x", "'; DROP TAB' is not part"),
        ("id = 1 -- x", "not part"),
        ("id = 'x", "not part"),
        ("id = E'\\x41'", "cannot stand here"),
        ("id = $$x$$", "not part"),
        ("'x' LIKE note", "LIKE/ILIKE pattern must be a string literal"),
        ("  ", "expected an SQL condition"),
    ],
)
def test_a_wrong_condition_is_a_usage_error(path, where, message):
    """What is wrong is said in a line, without the insides of Polars; nothing is written."""
    with pytest.raises(UsageError, match=message) as error:
        kept(path, where)
    assert not {"Ident {", "col(", "dyn"} & {*str(error.value).split()}
    assert not path.with_name("out.jsonl").exists()


def test_a_value_of_another_type_is_a_bad_row(path, tmp_path):
    """A row in which the condition cannot be evaluated is named, and never taken for one that differs."""
    write_jsonl(path, [{"id": 1}, {"id": "2"}, {"id": None}, {"id": [3]}, {"id": 4}])
    with pytest.raises(
        InputError, match=r"rows.jsonl:2: the expression cannot be evaluated: id is the string '2'"
    ):
        kept(path, "id > 0")
    rejects = tmp_path / "rejects.jsonl"
    assert kept(path, "id > 0", rejects=rejects) == [1, 4]
    assert [row["line"] for row in read_jsonl(rejects)] == [2, 4]
    write_jsonl(path, [{"id": 1}, {"id": "2"}, {"id": "x"}, {"id": "4"}])
    assert kept(path, "TRY_CAST(id AS INT) > 1") == ["2", "4"]
    # A conversion that fails is one row's fault.
    with pytest.raises(InputError, match=r"rows.jsonl:3: .*'x'"):
        kept(path, "CAST(id AS INT) > 1")


def test_many_fields_that_are_null_have_types_that_fit(path):
    """A row without any of ten fields of several types is judged as well as one that has them all."""
    names = "abcdefghij"
    where = " AND ".join(
        f"({name} IS NULL OR {name} LIKE 'x%')" if number % 3 else f"({name} IS NULL OR {name} > 1)"
        for number, name in enumerate(names)
    )
    full = {name: "xy" if number % 3 else 2.5 for number, name in enumerate(names)}
    rows = [{"id": 1}, {"id": 2, **full}, {"id": 3, **full, "a": 1}, {"id": 4, "j": None, "b": "x"}]
    write_jsonl(path, rows)
    assert kept(path, where) == [1, 2, 4]


def test_a_bad_chat_row_is_a_bad_row(path):
    """A derived value of a row that is no chat row is not null."""
    write_jsonl(path, [chat("a", "b", id=1), {"id": 2, "messages": "text"}])
    with pytest.raises(InputError, match=r"rows.jsonl:2: not a chat row"):
        kept(path, "chars(user) IS NULL")


def test_marks_of_view(path):
    """Marks and notes are those of the file beside, by the bytes of the rows."""
    lines = path.read_bytes().splitlines()
    marks = Marks(path)
    marks.set(1, lines[0], "bad", "too short")
    marks.set(5, lines[4], "good")
    assert kept(path, "mark = 'good'") == [5]
    assert kept(path, "mark IS NULL OR mark <> 'bad'") == [2, 3, 4, 5]
    # The row's own field comes first.
    assert kept(path, "note LIKE '%short' OR note = 'own'") == [1, 5]
    path.write_bytes(b"\n".join(lines[::-1]))
    assert kept(path, "mark = 'bad'") == [1]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json", "jsonl.gz"])
def test_objects_in_tables_are_objects(path, suffix):
    """Nested fields, statuses and parts are the same in every format."""
    row = chat("Hi", "Hello there", id=1, meta={"topic": "x"}, status={"gpt-4o": "ok"})
    write_jsonl(path, [row, {**row, "id": 2, "meta": {"topic": "y"}, "status": {"gpt-4o": "empty"}}])
    other = path.with_name(f"rows.{suffix}")
    filter_files(path, other, where="1 = 1")
    wheres = {"meta.topic = 'x'": "1", "status(gpt-4o) = 'ok'": "1", "chars(meta.topic) = 1": "12"}
    for where, ids in wheres.items():
        assert "".join(str(number) for number in kept(other, where)) == ids


def test_tokens_are_counted_by_the_tokenizer(path):
    """`tokens(…)` is the number of tokens of a part."""
    assert kept(path, "tokens(assistant) = 5", encode=str.split) == [2]


def test_bytes_formats_and_the_ledger(tmp_path):
    """Rows of JSON Lines keep their bytes; other formats are read and written; --dry-run writes nothing."""
    lines = ['{"a": 1.0,  "b":"\\u00e9"}', '{"a" : 2}', ""]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    ran = run_here(["filter", "in.jsonl", "--where", "a < 2"], cwd=tmp_path)
    assert ran.out == (lines[0] + "\n").encode()
    assert "2 in = 1 out + 1 dropped (does not match: 1)" in ran.err
    ran = run_here(
        ["filter", "-", "--where", "a > 1", "-o", "x.parquet"], cwd=tmp_path, input="\n".join(lines).encode()
    )
    assert (ran.code, pl.read_parquet(tmp_path / "x.parquet")["a"].to_list()) == (0, [2])
    ran = run_here(
        ["filter", "x.parquet", "in.jsonl", "--where", "a > 1", "-o", "y.csv", "--dry-run"], cwd=tmp_path
    )
    assert "nothing is written: 3 in = 2 out" in ran.err
    assert not (tmp_path / "y.csv").exists()
    ran = run_here(["filter", "in.jsonl", "--where", "a > 1", "-o", "in.jsonl"], cwd=tmp_path)
    assert (ran.code, "would replace an input" in ran.err) == (2, True)
    assert run_here(["filter", "in.jsonl", "--where", "b > 1"], cwd=tmp_path).code == 1


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, -1.0, 2.0]), st.text("ab", max_size=3)
)
OPERATORS = {"=": "__eq__", "<>": "__ne__", "<": "__lt__", ">=": "__ge__"}
COMPARISONS = st.tuples(
    st.sampled_from("xy"), st.sampled_from([*OPERATORS]), st.integers(-3, 3) | st.text("ab", max_size=2)
)
TREES = st.recursive(
    COMPARISONS | st.tuples(st.sampled_from("xy"), st.just("IS NULL"), st.none()),
    lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR"]), inner) | st.tuples(st.just("NOT"), inner),
    max_leaves=4,
)


def written(tree):
    """Return the SQL of a generated condition."""
    if tree[0] == "NOT":
        return f"NOT ({written(tree[1])})"
    if tree[1] in ("AND", "OR"):
        return f"({written(tree[0])}) {tree[1]} ({written(tree[2])})"
    value = "" if tree[2] is None else f"'{tree[2]}'" if isinstance(tree[2], str) else tree[2]
    return f"{tree[0]} {tree[1]} {value}"


def expected(tree, row):
    """The oracle: three-valued logic in Python; raises TypeError for a comparison of two types."""
    if tree[0] == "NOT":
        inner = expected(tree[1], row)
        return None if inner is None else not inner
    if tree[1] in ("AND", "OR"):
        both = (expected(tree[0], row), expected(tree[2], row))
        decides = tree[1] == "OR"
        return decides if decides in both else None if None in both else not decides
    value = row.get(tree[0])
    if tree[1] == "IS NULL":
        return value is None
    if value is None:
        return None
    if isinstance(value, bool) or isinstance(value, str) is not isinstance(tree[2], str):
        raise TypeError
    return getattr(float(value) if not isinstance(value, str) else value, OPERATORS[tree[1]])(
        tree[2] if isinstance(tree[2], str) else float(tree[2])
    )


@given(TREES, st.lists(st.dictionaries(st.sampled_from("xy"), VALUES), min_size=1, max_size=12))
def test_a_condition_is_the_predicate_that_it_says(tree, rows):
    """On rows of any types: as Python with SQL's three values, and never another answer for a bad type."""
    try:
        operator = FilterRows(written(tree))
    except UsageError:  # no type of a field fits, for example in x = 1 AND x = 'a'
        return
    data = [orjson.dumps(row) for row in rows]
    wanted = set()
    bad = set()
    for number, row in enumerate(rows):
        try:
            if expected(tree, row):
                wanted.add(number)
        except TypeError:
            bad.add(number)
    whole = operator(Block("x.jsonl", data=b"\n".join(data)))
    out, failures = set(), set()
    for number, line in enumerate(data):
        outcome = operator(Block("x.jsonl", data=line))
        out |= {number} if outcome.data else set()
        failures |= {number} if outcome.failures else set()
    # Cut into single rows or not, the rows have the same results.
    assert (whole.data or b"").splitlines() == [data[number] for number in sorted(out)]
    assert {failure.line - 1 for failure in whole.failures} == failures
    # A boolean compared with a number or text is Polars' affair; all else is the oracle's.
    asked = {number for number, row in enumerate(rows) if not any(isinstance(v, bool) for v in row.values())}
    assert out & asked - bad == wanted & asked
    assert failures & asked <= bad


def test_workers_and_blocks_do_not_change_the_result(tmp_path):
    """Rows whose types change far into the file have the same results on several processes."""
    chance = random.Random(3)
    rows = [
        {"id": n, "x": chance.choice([n, float(n), None]), "t": "w " * chance.randrange(40), "pad": "p" * 200}
        for n in range(6000)
    ]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    wanted = [row["id"] for row in rows if len(row["t"]) > 20 and (row["x"] or 0) > 2000]
    for workers in (1, 3):
        assert kept(path, "chars(t) > 20 AND x > 2000", workers=workers) == wanted


ARGUMENTS = [
    "x",
    "x, 'a'",
    "x, 1",
    "x, x",
    "x, 1, 2",
    "x, 'a', 'b'",
    "x, 'a', 1",
    "DATE(x), '%Y'",
    "'year', DATE(x)",
]


def test_the_functions_are_those_of_one_row():
    """Each function that is let through exists in Polars, and does not look at other rows."""
    missing = []
    for name in sorted(FUNCTIONS - {"cast", "try_cast", "extract", "position", "pi"}):
        for arguments in ARGUMENTS:
            try:
                plain = str(Condition(f"{name}({arguments}) IS NULL")._expression).replace(".list.", "")
            except UsageError:
                continue
            assert not any(word in plain for word in (".sum()", ".first()", ".len()", ".over(")), plain
            break
        else:
            missing.append(name)
    assert not missing
