"""Documents of token shards and of their mixtures, followed back to the rows that they were made of."""

from pathlib import Path

import pytest

from dataprep.core.errors import UsageError
from dataprep.inspect.trace.tracing import trace
from dataprep.tokens.shards.reading import Shards
from tests.helpers import chat, write_jsonl

ROWS = {name: [chat(f"The question {name}{n}", "The answer") for n in range(9)] for name in ("a", "b")}


@pytest.fixture
def shards(tmp_path, run, monkeypatch):
    """Packed shards of two files, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    for name, rows in ROWS.items():
        write_jsonl(f"{name}.jsonl", rows)
    assert run("tokenizer", "train", "a.jsonl", "b.jsonl", "-o", "t.model", "--vocab-size", "296").code == 0
    for name in ROWS:
        words = (f"{name}.jsonl", "-o", f"shards/{name}", "--tokenizer", "t.model", "--pack", "64")
        assert run("tokenize", *words).code == 0
    return tmp_path / "shards"


def test_documents_of_a_mixture_are_followed_into_their_shards(shards, run, monkeypatch):
    """In every epoch, and from any folder."""
    weights = ("shards/a=2,1", "shards/b=1,2")
    assert run("mix", *weights, "--total", "6", "-o", "shards/mixed").code == 0
    mixed, names = Shards.open(shards / "mixed"), []
    tokenizer = mixed.load_tokenizer()
    for number in range(12):
        origin = trace(f"shards/mixed:{number}")
        (document,) = origin.sources
        (row,) = document.sources
        assert [each.command for each in origin.all()] == ["mix", "tokenize", ""]
        name = Path(row.where.path).stem
        assert document.where.path == f"shards/{name}"
        question = ROWS[name][row.where.number - 1]["messages"][0]["content"]
        assert question in tokenizer.decode(mixed.document(number)[0].tolist())
        names.append(name)
    assert [names[:6].count("a"), names[6:].count("a")] == [4, 2]
    with pytest.raises(UsageError, match="no document 12"):
        trace("shards/mixed:12")
    monkeypatch.chdir("shards/mixed")
    document, row = [*trace("../mixed:0").all()][1:]
    assert (document.where.path, row.where.path) == (f"../{names[0]}", f"../../{names[0]}.jsonl")


def test_damaged_shards_are_not_followed(shards, run):
    """A changed number would name another row."""
    assert b"a.jsonl:5" in run("trace", "shards/a:0").out
    (rows,) = (shards / "a").glob("*-rows-*")
    rows.write_bytes(bytes([rows.read_bytes()[0] ^ 1]) + rows.read_bytes()[1:])
    done = run("trace", "shards/a:0")
    assert (done.code, done.out) == (1, b"")
    assert "its content is not what was written" in done.err
