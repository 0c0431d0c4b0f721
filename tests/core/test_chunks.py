"""Chunks of a fixed size: each line in exactly one of them, whatever the bytes and the size."""

import gzip
from hashlib import sha256
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import InputError, UsageError
from dataprep.core.io import array_block, halves, in_chunks, pieces, read_blocks
from dataprep.core.io.part_files import CHUNK_VARIABLE, chunk_bytes
from dataprep.core.parallel import per_row
from dataprep.core.parallel.chunks import Chunk, outcomes_of

TEXTS = st.lists(st.sampled_from([b"\n", b"a", b"{}", b"\r", b"\xff", b"long line", b" "]), max_size=40)


def lines_of(data):
    """Return the lines of a text."""
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


@given(texts=TEXTS, size=st.integers(1, 50), piece=st.integers(1, 20))
def test_each_line_is_in_exactly_one_chunk(tmp_path_factory, texts, size, piece):
    """The lines of all chunks, in order, are those of the file."""
    data = b"{}\n" + b"".join(texts)
    path = tmp_path_factory.mktemp("chunks") / "rows.jsonl"
    path.write_bytes(data)
    with in_chunks(size):
        chunks = list(read_blocks(str(path)))
    assert [chunk.start for chunk in chunks] == list(range(0, len(data), size))
    assert [chunk.first for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    found = [whole for chunk in chunks for whole in pieces(chunk, piece)]
    assert b"".join(whole.read() for whole in found) == data
    for chunk in chunks:
        for whole in pieces(chunk, piece):
            # A chunk's lines begin in it, and a piece is whole lines.
            assert chunk.start <= whole.start < chunk.end
            assert whole.end == len(data) or data[whole.end - 1 : whole.end] == b"\n"


@given(texts=TEXTS, size=st.integers(1, 50))
def test_halves_have_the_lines_of_the_whole(tmp_path_factory, texts, size):
    """Halving ends at single lines, and loses none."""
    path = tmp_path_factory.mktemp("halves") / "rows.jsonl"
    path.write_bytes(b"{}\n" + b"".join(texts))

    def leaves(block):
        parts = halves(block)
        return [leaf for part in parts for leaf in leaves(part)] if parts else [block]

    with in_chunks(size):
        for chunk in read_blocks(str(path)):
            whole = b"".join(piece.read() for piece in pieces(chunk))
            single = [b"".join(piece.read() for piece in pieces(leaf)) for leaf in leaves(chunk)]
            assert b"".join(single) == whole
            assert all(len(lines_of(line)) <= 1 for line in single)


def test_a_byte_order_mark_is_no_part_of_a_line(tmp_path):
    """It is left out, as without chunks."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf{}\n{}\n")
    with in_chunks(4):
        assert [b.read() for chunk in read_blocks(str(path)) for b in pieces(chunk)] == [b"{}\n", b"{}\n"]


def test_a_compressed_file_is_one_chunk(tmp_path):
    """It cannot be read at an offset, so one worker reads it."""
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"n": 1}\n' * 1000))
    with in_chunks(100):
        (chunk,) = read_blocks(str(path))
        found = list(pieces(chunk, 200))
    assert chunk.first
    assert [block.first for block in found] == [True] + [False] * (len(found) - 1)
    assert b"".join(block.read() for block in found) == b'{"n": 1}\n' * 1000


def test_a_file_that_is_changed_between_chunks_is_an_error(tmp_path):
    """Its rows would be a mixture."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n' * 100)
    with in_chunks(400):
        chunks = list(read_blocks(str(path)))
    path.write_bytes(b'{"n": 2}\n' * 100)
    with pytest.raises(InputError, match="was changed while it was read"):
        [block.read() for block in pieces(chunks[1])]
    path.write_bytes(b"")
    with pytest.raises(InputError, match="was changed while it was read"):
        [block.read() for block in pieces(chunks[1])]


@pytest.mark.parametrize("value", ["0", "-1", "32M", "1.5", "١"])
def test_a_bad_chunk_size_in_the_environment_is_an_error(monkeypatch, value):
    """The message names the variable and what it was."""
    monkeypatch.setenv(CHUNK_VARIABLE, value)
    with pytest.raises(UsageError, match=rf"{CHUNK_VARIABLE}={value}"):
        chunk_bytes()


def test_lines_that_end_workers_leave_the_others_in_their_places(tmp_path):
    """Each file begins with its first block, and arrays and lines with a carriage return keep all rows."""
    paths = [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl", "c.json")]
    for path, data in zip(paths, (b'{"n":\r 1}\n0\n', b"0\n0\n{}\n0", b'[{"n": 1}, {"n": 2}]'), strict=True):
        Path(path).write_bytes(data)
    blocks = [*read_blocks(paths[0]), *read_blocks(paths[1]), array_block(paths[2])]
    operator = per_row(orjson.dumps)
    chunk = Chunk(0, tuple(blocks), without=frozenset({sha256(b"0").digest()}))
    found = [
        (block.path, block.first, outcome.rows_in, [failure.reason for failure in outcome.failures])
        for block, outcome in outcomes_of(operator, chunk)
    ]
    ends = ["ends its worker"]
    assert found == [
        (paths[0], True, 1, []),
        (paths[0], False, 1, ends),
        (paths[1], True, 1, ends),
        (paths[1], False, 1, ends),
        (paths[1], False, 1, []),
        (paths[1], False, 1, ends),
        (paths[2], True, 2, []),
    ]


def _counted(_block):
    from dataprep.core.parallel import Outcome

    return Outcome(1, 1, dropped={"seen": 1})


def test_files_are_read_as_ever_while_chunks_are_worked_on(tmp_path):
    """Who takes outcomes may read another file."""
    from dataprep.core.io import read_blocks
    from dataprep.core.parallel import Inline
    from dataprep.core.parallel.chunks import run_chunks

    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 10)
    outcomes = run_chunks(_counted, read_blocks(str(path)), backend=Inline())
    next(outcomes)
    assert not any(block.ragged for block in read_blocks(str(path)))
