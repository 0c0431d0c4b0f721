"""``dataprep diff`` on the command line."""

import json
import re

import pytest

from tests.helpers import chat, read_jsonl, write_jsonl

LONG = " ".join(f"word{n}" for n in range(300))


@pytest.fixture(autouse=True)
def files(tmp_path):
    """Two files: a shared row, changed ones, a lost one, a gained one, and one that moved."""
    rows = [
        chat("2 + 2?", "It is four, my friend.", id="1", n=1.0),
        chat("Hi", "Hello", id="2"),
        chat("Long?", f"{LONG} old {LONG}", id="3", tags=["x"]),
        chat("Bye", "See you", id="4"),
    ]
    write_jsonl(tmp_path / "a.jsonl", rows)
    changed = [
        chat("Hi", "Hello", id="2"),
        {"n": 1} | chat("2 + 2?", "It is five, my \x1b[31mfriend.", id="1", system="Be kind"),
        chat("Long?", f"{LONG} new {LONG}", id="3", tags=["x", "y"], meta={"a": 1}),
        chat("New?", "Yes", id="5"),
    ]
    write_jsonl(tmp_path / "b.jsonl", changed)
    return tmp_path


def test_the_report(run):
    """A person sees what changed, word by word, and the counts; no control character is printed."""
    done = run("diff", "a.jsonl", "b.jsonl")
    text = done.out.decode()
    assert (done.code, done.err) == (0, "")
    changed = "It is [-four-]{+five+}, my [-friend-]{+\\x1b[31mfriend+}."
    assert (
        "── changed: a.jsonl:1 → b.jsonl:2 · id 1 ──\nmessages[0] (system) added\n  {+Be kind+}\n"
        f"messages[2].content (assistant) changed\n  {changed}\n\n" in text
    )
    assert re.search(r"\n  … word.* \[-old-\]\{\+new\+\} word.* …\n", text), (
        "long texts are shown around changes"
    )
    assert "── lost: a.jsonl:4 · id 4 ──\n  user: Bye · assistant: See you · id: 4\n" in text
    assert "── gained: b.jsonl:4 · id 5 ──\n  user: New?" in text
    counts = dict(re.findall(r"^(shared|changed|lost|gained|rows) +([\d ]+)$", text, re.MULTILINE))
    assert {name: numbers.split() for name, numbers in counts.items()} == {
        "shared": ["1", "1"], "changed": ["2", "2"], "lost": ["1"], "gained": ["1"], "rows": ["4", "4"],
    }  # fmt: skip
    assert "rows are matched by id\n" in text
    assert "the order differs: 1 of the 3 rows in both files were moved" in text
    assert re.search(r"^messages\[2\]\.content \(assistant\) +1$", text, re.MULTILINE)
    assert re.search(r"^tags +1$", text, re.MULTILINE)
    assert "\x1b" not in text


def test_show_says_how_many_rows_are_printed(run):
    """Without rows, the counts alone remain; fields are counted all the same."""
    text = run("diff", "a.jsonl", "b.jsonl", "--show", "0").out.decode()
    assert "──" not in text
    assert "messages[1].content (assistant)" in text
    assert run("diff", "a.jsonl", "b.jsonl", "--show", "1").out.decode().count("── changed") == 1


def test_exit_codes(run, tmp_path):
    """Only --exit-code makes a difference an exit code, and the order of rows is no difference."""
    assert run("diff", "a.jsonl", "b.jsonl", "--exit-code").code == 1
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "c.jsonl").write_bytes(b"".join(reversed(lines)))
    done = run("diff", "a.jsonl", "c.jsonl", "--exit-code")
    assert done.code == 0
    assert "the files have the same rows in another order" in done.out.decode()
    assert "the files have the same rows in the same order" in run("diff", "a.jsonl", "a.jsonl").out.decode()
    done = run("diff", "a.jsonl", "b.jsonl", "--quiet", "--exit-code")
    assert (done.code, done.out, done.err) == (1, b"", "")


def test_lines_of_differences(run, tmp_path):
    """A script gets each difference with both places and rows, and the report stays out of its way."""
    done = run("diff", "a.jsonl", "b.jsonl", "-o", "d.jsonl")
    assert "8 in = 4 out + 4 dropped (shared: 2, on one line with another: 2) → d.jsonl" in done.err
    assert (tmp_path / "d.jsonl.manifest.json").is_file()
    lost, first, second, gained = read_jsonl(tmp_path / "d.jsonl")
    a, b = read_jsonl(tmp_path / "a.jsonl"), read_jsonl(tmp_path / "b.jsonl")
    assert lost == {"kind": "lost", "id": "4", "a": {"path": "a.jsonl", "line": 4, "row": a[3]}}
    assert gained == {"kind": "gained", "id": "5", "b": {"path": "b.jsonl", "line": 4, "row": b[3]}}
    assert (first["a"], first["b"]["row"]) == ({"path": "a.jsonl", "line": 1, "row": a[0]}, b[1])
    assert second["changes"] == [
        {"path": "messages[1].content", "role": "assistant", "kind": "changed"},
        {"path": "tags", "role": None, "kind": "changed"},
        {"path": "meta", "role": None, "kind": "added"},
    ]
    done = run("diff", "a.jsonl", "b.jsonl", "-o", "-")
    assert done.out == (tmp_path / "d.jsonl").read_bytes()
    assert "rows are matched by id" in done.err


def test_counts_as_json(run):
    """Numbers of the report come as one object."""
    done = run("diff", "a.jsonl", "b.jsonl", "--json")
    found = json.loads(done.out)
    assert found["files"] == [{"path": "a.jsonl", "rows": 4}, {"path": "b.jsonl", "rows": 4}]
    assert [found[name] for name in ("shared", "changed", "lost", "gained", "moved")] == [1, 2, 1, 1, 1]
    assert (found["by"], found["why"], found["equal"]) == ("id", None, False)
    assert found["fields"]["tags"] == 1


def test_how_rows_are_matched_is_said(run, tmp_path):
    """Without ids of their own rows are matched by content; which row has none is named."""
    write_jsonl(tmp_path / "c.jsonl", [{"q": "x"}, {"q": "x"}, {"q": "y", "id": 1}])
    write_jsonl(tmp_path / "d.jsonl", [{"q": "x"}])
    text = run("diff", "c.jsonl", "d.jsonl").out.decode()
    assert "rows are matched by content, because c.jsonl:1 has no id" in text
    assert "1 of the lost rows repeat a row that the second file has less often" in text
    write_jsonl(tmp_path / "e.jsonl", [{"id": 1}, {"id": 2}, {"id": "2", "q": 3}])
    text = run("diff", "a.jsonl", "e.jsonl").out.decode()
    assert "because e.jsonl:2 and e.jsonl:3 have the same id" in text
    write_jsonl(tmp_path / "f.jsonl", [{"id": "other"}])
    assert "no id is in both files; --by content" in run("diff", "a.jsonl", "f.jsonl").out.decode()


def test_a_pipe_and_a_table(run, tmp_path):
    """One file can come through a pipe, and the other one be of any format."""
    assert run("merge", "a.jsonl", "--no-shuffle", "-o", "a.parquet").code == 0
    done = run("diff", "-", "a.parquet", "--exit-code", input=(tmp_path / "a.jsonl").read_bytes())
    assert done.code == 0, done.out
    done = run("diff", "-", "a.parquet", "-o", "d.jsonl", input=(tmp_path / "b.jsonl").read_bytes())
    lines = {line["kind"]: line for line in read_jsonl(tmp_path / "d.jsonl")}
    assert (lines["lost"]["a"]["path"], lines["lost"]["a"]["line"]) == ("-", 4)
    assert (lines["gained"]["b"]["path"], lines["gained"]["b"]["row_number"]) == ("a.parquet", 4)
    assert "standard input" in run("diff", "-", "-").err


def test_bad_rows(run, tmp_path):
    """A bad row stops the command with its place, or is set aside and counted."""
    text = (tmp_path / "b.jsonl").read_text()
    (tmp_path / "b.jsonl").write_text("\n[1]\n" + text + '{"id": \n')
    done = run("diff", "a.jsonl", "b.jsonl", "-o", "d.jsonl")
    assert (done.code, done.out) == (1, b"")
    assert done.err.startswith("error: b.jsonl:2: not a JSON object")
    assert not (tmp_path / "d.jsonl").exists()
    done = run("diff", "a.jsonl", "b.jsonl", "-o", "d.jsonl", "--rejects", "r.jsonl")
    assert done.code == 0
    assert "bad rows that are left out: not a JSON object: 1, not JSON: 1" in done.out.decode()
    assert [row["line"] for row in read_jsonl(tmp_path / "r.jsonl")] == [2, 7]
    assert [line["b"]["line"] for line in read_jsonl(tmp_path / "d.jsonl") if "b" in line] == [4, 5, 6]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["a.jsonl", "-o", "a.jsonl"], 2),
        (["a.jsonl", "-o", "d.jsonl", "--rejects", "d.jsonl"], 2),
        (["a.jsonl", "--show", "-1"], 2),
        (["a.jsonl", "--by", ""], 2),
        (["a.jsonl", "--by", "level"], 1),
        (["none.jsonl"], 1),
        (["a.jsonl", "a.jsonl"], 2),
    ],
)
def test_wrong_command_lines(run, words, code):
    """Nothing is compared, and the message names the word."""
    done = run("diff", "b.jsonl", *words)
    assert (done.code, done.out) == (code, b"")
    assert words[-1] in done.err


def test_values_of_other_types_are_told_apart(run, tmp_path):
    """A number that became a text is shown as such, and an emptied field too."""
    write_jsonl(tmp_path / "c.jsonl", [{"id": 1, "n": 7, "t": "x", "l": [1, 2]}])
    write_jsonl(tmp_path / "d.jsonl", [{"id": "1", "n": "7", "t": "", "l": None}])
    text = run("diff", "c.jsonl", "d.jsonl").out.decode()
    assert 'n changed\n  [-7-]{+"7"+}\n' in text
    assert 'id changed\n  [-1-]{+"1"+}\n' in text
    assert "t changed\n  [-x-]\n" in text
    assert "l changed\n  [-[1,2]-]{+null+}\n" in text
