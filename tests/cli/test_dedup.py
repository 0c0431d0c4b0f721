"""``dataprep dedup`` on the command line."""

import json

import pytest

from tests.helpers import chat, read_jsonl, write_jsonl

LONG = "Mira has 14 crates in her shop and each of them holds 6 jars of jam, which she sells for 3 dollars"


@pytest.fixture(autouse=True)
def files(tmp_path):
    """Two files: equal rows, similar ones, and clean ones."""
    (tmp_path / "a.jsonl").write_text('{"q":  "One", "n": 1.0}\n\n{"q": "two", "n": 5}\n')
    write_jsonl(tmp_path / "b.jsonl", [{"q": " one ", "n": 3}, {"q": LONG, "n": 1}])
    write_jsonl(tmp_path / "c.jsonl", [{"q": LONG + "!", "n": 9}, {"q": LONG.replace("jam", "tea"), "n": 2}])
    return tmp_path


def test_kept_rows_keep_their_bytes_in_the_order_of_paths(run):
    """The order in which files are named changes nothing."""
    done = run("dedup", "b.jsonl", "a.jsonl", "--on", "q")
    assert done.code == 0
    assert (
        done.out
        == b'{"q":  "One", "n": 1.0}\n{"q": "two", "n": 5}\n'
        + json.dumps({"q": LONG, "n": 1}).encode()
        + b"\n"
    )
    assert "4 in = 3 out + 1 dropped (duplicate: 1)" in done.err
    assert "1 rows have repeats; a.jsonl:1 has most, 1" in done.err
    assert run("dedup", "a.jsonl", "b.jsonl", "--on", "q").out == done.out


def test_each_drop_names_the_kept_row_and_the_similarity(run, tmp_path):
    """Exact and near repeats are counted apart."""
    done = run(
        "dedup",
        "b.jsonl",
        "c.jsonl",
        "--on",
        "q",
        "--near",
        "0.7",
        "--dropped",
        "d.jsonl",
        "--json",
        "-o",
        "o.jsonl",
    )
    (step,) = json.loads(done.err)["outputs"]
    assert (step["in"], step["out"], step["dropped"]) == (4, 2, {"near-duplicate": 2})
    first, second = read_jsonl(tmp_path / "d.jsonl")
    assert first == {
        "path": "c.jsonl", "line": 1, "reason": "near-duplicate",
        "other": {"path": "b.jsonl", "line": 2}, "similarity": 1.0, "row": {"q": LONG + "!", "n": 9},
    }  # fmt: skip
    assert second["similarity"] == round(17 / 23, 6)
    assert len(read_jsonl(tmp_path / "o.jsonl")) == 2


@pytest.mark.parametrize(("keep", "kept"), [("first", [1]), ("longest", [9]), ("best:n", [9])])
def test_the_rule_says_which_row_is_kept(run, keep, kept):
    """Of similar rows one is kept: the first, the longest, or the best."""
    done = run("dedup", "b.jsonl", "c.jsonl", "--on", "q", "--near", "0.7", "--keep", keep)
    rows = [json.loads(line)["n"] for line in done.out.splitlines()]
    assert rows[1:] == kept


def test_rows_of_other_files_are_dropped_and_named(run, tmp_path):
    """Training rows that repeat test rows are counted by test file."""
    done = run(
        "dedup",
        "c.jsonl",
        "a.jsonl",
        "--across",
        "b.jsonl",
        "--on",
        "q",
        "--near",
        "0.7",
        "--dropped",
        "d.jsonl",
    )
    assert done.out == b'{"q": "two", "n": 5}\n'
    assert "4 in = 1 out + 3 dropped (in b.jsonl: 3)" in done.err
    assert {drop["reason"] for drop in read_jsonl(tmp_path / "d.jsonl")} == {"in b.jsonl"}
    assert run("dedup", "a.jsonl", "--across", "./a.jsonl").code == 2


def test_a_chat_row_is_compared_by_all_its_messages(run, tmp_path):
    """By default two answers to one question are two rows."""
    write_jsonl(tmp_path / "chat.jsonl", [chat("Hi", "a"), chat("hi ", "A"), chat("Hi", "b")])
    assert len(run("dedup", "chat.jsonl").out.splitlines()) == 2
    assert len(run("dedup", "chat.jsonl", "--on", "user").out.splitlines()) == 1


def test_a_dry_run_writes_the_drops_only(run, tmp_path):
    """Before a file is made, one can look at what would be dropped; also of standard input."""
    flags = ["--dry-run", "-o", "o.jsonl", "--on", "q", "--dropped", "d.jsonl"]
    done = run("dedup", "-", *flags, input=(tmp_path / "a.jsonl").read_bytes() * 2)
    assert "nothing is written: 4 in = 2 out + 2 dropped" in done.err
    assert not (tmp_path / "o.jsonl").exists()
    assert [(drop["path"], drop["line"]) for drop in read_jsonl(tmp_path / "d.jsonl")] == [("-", 4), ("-", 6)]


def test_bad_rows_are_set_aside(run, tmp_path):
    """A row without the part is a bad row, with its place."""
    (tmp_path / "a.jsonl").write_text('{"q": "x"}\n{"p": 1}\nno\n{"q": "X"}\n{"q": "y"}\n')
    assert "a.jsonl:2" in run("dedup", "a.jsonl", "--on", "q").err
    done = run("dedup", "a.jsonl", "--on", "q", "--rejects", "r.jsonl")
    assert done.out == b'{"q": "x"}\n{"q": "y"}\n'
    assert [row["line"] for row in read_jsonl(tmp_path / "r.jsonl")] == [2, 3]


def test_workers_and_formats_change_nothing(run):
    """Arrays, tables and compressed files are read twice too, by any number of processes."""
    flags = ["--on", "q", "--near", "0.5", "--keep", "longest", "-q"]
    plain = run("dedup", "a.jsonl", "b.jsonl", "c.jsonl", *flags)
    assert run("dedup", "c.jsonl", "a.jsonl", "b.jsonl", *flags, "--workers", "2").out == plain.out
    run("merge", "a.jsonl", "b.jsonl", "c.jsonl", "--no-shuffle", "-o", "all.json.gz")
    packed = run("dedup", "all.json.gz", *flags).out
    assert list(map(json.loads, packed.splitlines())) == list(map(json.loads, plain.out.splitlines()))


@pytest.mark.parametrize(
    "words",
    [
        ["--near", "2"],
        ["--near", "0"],
        ["--keep", "best:"],
        ["--keep", "last"],
        ["--ngram", "0"],
        ["-o", "a.jsonl"],
        ["--dropped", "a.jsonl"],
    ],
)
def test_wrong_options(run, words):
    """Each is an error of the command line that names the option or path."""
    done = run("dedup", "a.jsonl", "--on", "q", *words)
    assert (done.code, done.out) == (2, b"")
    assert words[0] in done.err or words[1] in done.err


def test_similar_rows_are_in_one_part(run, tmp_path):
    """`split --by near-duplicates` divides groups of similar rows, not rows."""
    rows = [{"text": f"{LONG} {number // 4} {'z' * (number % 4)}"} for number in range(200)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    flags = ["--parts", "a=1/2,b=1/2", "--by", "near-duplicates", "-o", "out"]
    assert run("split", "rows.jsonl", *flags, "-q").code == 0
    sizes = [len(read_jsonl(path)) for path in (tmp_path / "out").glob("?.jsonl")]
    assert sorted(sizes) == [200] or sum(sizes) == 200
    assert run("split", "-", *flags, input=b"{}").code == 2
