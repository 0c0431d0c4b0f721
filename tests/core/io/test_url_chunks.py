"""Chunks of objects: the lines and requests of each, and what is read of a store by which request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import InputError
from dataprep.core.io import halves, in_chunks, pieces, read_blocks, read_lines
from dataprep.core.io.stores import store_of
from dataprep.core.io.stores.local import LocalStore

TEXTS = st.lists(st.sampled_from([b"\n", b"a", b"{}", b"\r", b"\xff", b"long line", b" "]), max_size=40)


def leaves(block):
    """The blocks of single lines that halving ends at."""
    parts = halves(block)
    return [leaf for part in parts for leaf in leaves(part)] if parts else [block]


@given(texts=TEXTS, size=st.integers(1, 50), piece=st.integers(1, 20))
def test_each_line_is_in_exactly_one_chunk(tmp_path_factory, texts, size, piece):
    """The lines of all chunks, in order, are those of the object; also with half a line at its end."""
    data = b"{}\n" + b"".join(texts)
    path = tmp_path_factory.mktemp("chunks") / "rows.jsonl"
    path.write_bytes(data)
    with in_chunks(size):
        chunks = list(read_blocks(f"file://{path}"))
    assert [chunk.start for chunk in chunks] == list(range(0, len(data), size))
    assert [chunk.first for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    assert b"".join(whole.read() for chunk in chunks for whole in pieces(chunk, piece)) == data
    for chunk in chunks:
        at = None
        for whole in pieces(chunk, piece):
            assert chunk.start <= whole.start < chunk.end
            assert at in (None, whole.start)
            at = whole.start + len(whole.read())
            assert at == len(data) or whole.read().endswith(b"\n")
        single = [b"".join(each.read() for each in pieces(leaf)) for leaf in leaves(chunk)]
        assert b"".join(single) == b"".join(whole.read() for whole in pieces(chunk))
        assert all(line.count(b"\n") <= 1 for line in single)


def test_a_chunk_is_asked_for_once(tmp_path, monkeypatch):
    """No byte is read twice, and little beyond its end."""
    line = b'{"text": "%b"}\n' % (b"x" * 1000)
    (tmp_path / "rows.jsonl").write_bytes(line * 20_000)
    with in_chunks(4 << 20):
        chunk = list(read_blocks(f"file://{tmp_path}/rows.jsonl"))[1]
    asked = []
    read = LocalStore.read
    monkeypatch.setattr(
        LocalStore,
        "read",
        lambda self, url, start, end, etag: asked.append(end - start) or read(self, url, start, end, etag),
    )
    assert sum(len(whole.read()) for whole in pieces(chunk)) in range((4 << 20) - 2000, (4 << 20) + 2000)
    assert len(asked) <= 8
    assert sum(asked) < (4 << 20) + (1 << 17)


def test_an_object_that_is_replaced_between_chunks_is_an_error():
    """Its rows would be a mixture."""
    pytest.importorskip("obstore")
    url = "memory://chunks/rows.jsonl"
    store_of(url).put(url, b'{"n": 1}\n' * 100)
    with in_chunks(400):
        chunks = list(read_blocks(url))
    store_of(url).put(url, b'{"n": 2}\n' * 100)
    with pytest.raises(InputError, match="was changed while it was read"):
        [block.read() for block in pieces(chunks[1])]


def test_an_object_that_is_replaced_while_it_is_read_is_an_error(tmp_path):
    """Also without chunks."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n' * 1_000_000)
    lines = read_lines(f"file://{path}")
    next(lines)
    path.write_bytes(b'{"n": 2}\n' * 1_000_000)
    with pytest.raises(InputError, match=r"rows\.jsonl: the file was changed while it was read"):
        list(lines)


def test_a_line_that_is_too_long_ends_the_chunk(tmp_path, monkeypatch):
    """And is not read to its end."""
    monkeypatch.setattr("dataprep.core.io.chunks.MAX_LINE", 1000)
    (tmp_path / "rows.jsonl").write_bytes(b"{}\n" + b"x" * 5000 + b"\n{}\n")
    with in_chunks(10_000):
        (chunk,) = read_blocks(f"file://{tmp_path}/rows.jsonl")
    first, last = pieces(chunk, 100)
    assert first.read() == b"{}\n"
    assert 1000 < len(last.read()) < 2000
