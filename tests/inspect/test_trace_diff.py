"""Differences that `diff` wrote, followed to the rows of both files."""

import json

from tests.helpers import write_jsonl


def test_differences_are_followed_into_both_files(tmp_path, run):
    """Also where both files have one name, and where a table has no lines."""
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
    old = [{"id": str(n), "a": n} for n in range(4)]
    write_jsonl(tmp_path / "old/a.jsonl", old)
    write_jsonl(tmp_path / "new/a.jsonl", [old[3], {"id": "1", "a": 9}, old[0]])
    assert run("merge", "new/a.jsonl", "--no-shuffle", "-o", "new/a.parquet").code == 0
    for name, unit in (("a.jsonl", "line"), ("a.parquet", "row")):
        assert run("diff", "old/a.jsonl", f"new/{name}", "-o", "d.jsonl", "-q").code == 0
        lost, changed = (json.loads(run("trace", f"d.jsonl:{n}", "--json").out) for n in (1, 2))
        assert [(each["path"], each["line"]) for each in lost["from"]] == [("old/a.jsonl", 3)]
        first, second = changed["from"]
        assert (first["path"], first["line"]) == ("old/a.jsonl", 2)
        assert (second["path"], second[unit]) == (f"new/{name}", 2)
        assert "note" not in changed
    write_jsonl(tmp_path / "old/a.jsonl", old[1:])
    assert "was changed since it was read" in json.loads(run("trace", "d.jsonl:1", "--json").out)["note"]
