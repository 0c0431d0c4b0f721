"""Read the rows of two files once, and keep of each a digest of its content and one of its key."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import RowError
from dataprep.core.jsonl import not_writable
from dataprep.core.ledger import Ledger
from dataprep.core.records import id_text
from dataprep.curate.duplicates.rows import DIGEST_BYTES, Piece, Rows, Spool
from dataprep.curate.split import KeyOf

if TYPE_CHECKING:
    from numpy.typing import NDArray

ID, CONTENT = "id", "content"
_NOTHING = bytes(DIGEST_BYTES)  # in place of the digest of a key that a row lacks
# How the writer ends a float without a fraction, with what can follow in a row; from 1e16 on, it writes an
# exponent.
_WHOLE = (b".0,", b".0}", b".0]")
_ONE_DIGIT = bytes.maketrans(b"123456789", b"0" * 9)


def content_of(value: Any) -> bytes:
    """Return a value of JSON in one form: equal values have equal bytes.

    The order of keys makes no difference, nor do white space, escapes and the notation of numbers.

    >>> content_of({"b": 1.0, "a": "\u00e9"}) == content_of({"a": "é", "b": 1})
    True

    Raises:
        RowError: the value is nested too deeply.
    """
    try:
        data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        # Of rows, which are mostly texts, few need the second, slow way.
        if (
            any(mark in data for mark in _WHOLE)
            or b"0e0" in data.translate(_ONE_DIGIT)
            or type(value) is float
        ):
            return orjson.dumps(_plain(value), option=orjson.OPT_SORT_KEYS)
        return data
    except (TypeError, RecursionError) as error:
        raise not_writable(error) from None


def _plain(value: Any) -> Any:
    """Return a value whose floats without a fraction are whole numbers."""
    if type(value) is float:
        # Larger ones have no other notation, because a whole number of more than 64 bits is a bad row.
        return int(value) if value.is_integer() and -(2.0**63) <= value < 2.0**64 else value
    if type(value) is dict:
        return {key: _plain(item) for key, item in value.items()}
    return [*map(_plain, value)] if type(value) is list else value


def id_of(row: dict[str, Any]) -> str | None:
    """Return the id of a row as a text; ``None`` if it has none that can be one."""
    try:
        return id_text(row)
    except RowError:
        return None


@dataclass(slots=True)
class Digests:
    """Digests of the sound rows of a block, ``DIGEST_BYTES`` of each."""

    lines: NDArray[np.uint32] | None  # their lines in the block, counted from 1; None if all lines are rows
    contents: bytes
    keys: bytes  # empty if rows have no keys
    without_id: int  # the first row without an id, counted from 0; -1 if there is none


class ReadDigests:
    """Read the digests of a block's rows: a picklable operator.

    The payload of an outcome is a ``Digests``.

    Args:
        by: ``"id"``, ``"content"`` or a part of the row, as for ``diff_files``; ``None`` reads ids where
            rows have them.
    """

    def __init__(self, by: str | None) -> None:
        self.by = by
        self._key_of = None if by in (None, ID, CONTENT) else KeyOf(str(by))

    def __call__(self, block: files.Block) -> engine.Outcome:
        """Return an outcome without output."""
        # Checked: rows that differ in what the parser loses would be taken for equal.
        read: engine.ReadRows[dict[str, Any]] = engine.read_block(block)
        results: list[tuple[bytes, bytes] | RowError] = []
        for row in read.rows:
            try:
                results.append((_digest(content_of(row)), self._key(row)))
            except RowError as error:
                results.append(error)
        pairs = read.settle(results)
        keys = [key for _, key in pairs]
        read.outcome.payload = Digests(
            None if len(pairs) == read.outcome.lines else np.array(read.line_numbers, np.uint32),
            b"".join([content for content, _ in pairs]),
            b"".join(keys),
            keys.index(_NOTHING) if _NOTHING in keys else -1,
        )
        return read.outcome

    def _key(self, row: dict[str, Any]) -> bytes:
        if self.by == CONTENT:
            return b""
        if self._key_of is not None:
            return _digest(self._key_of(row).encode("utf-8", "surrogatepass"))
        key = id_of(row) if self.by is None else id_text(row)
        if key is not None:
            return _digest(key.encode())
        if self.by is None:
            return _NOTHING
        raise RowError("no id", "expected a field 'id'; with --by content, rows need none")


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


@dataclass
class TwoFiles:
    """The sound rows of two files, those of the first one before those of the second.

    Attributes:
        contents: their places, and the digests of their contents.
        keys: the digests of their keys; ``None`` if they are compared by content.
        begin: the number of the first row of the second file.
        without_id: the first row without an id, if it need not have one.
    """

    contents: Rows
    keys: Rows | None
    begin: int = 0
    without_id: int | None = None


def read_files(
    paths: list[str],
    by: str | None,
    spool: Spool,
    folder: Path,
    rejects: files.Rejects,
    *,
    ledger: Ledger,
    workers: int | None,
    progress: engine.Progress | None,
) -> TwoFiles:
    """Return what is kept of the rows of two files; the digests are in ``folder``."""
    for name in ("contents", "keys"):
        (folder / name).mkdir()
    contents, keys = Rows(paths, folder / "contents", rows_in=[0, 0]), Rows(paths, folder / "keys")
    read = TwoFiles(contents, None if by == CONTENT else keys)
    with ExitStack() as stack:
        out, out_keys = (stack.enter_context(rows.digests.open("wb")) for rows in (contents, keys))
        number, lines = -1, 0

        def take(block: files.Block, outcome: engine.Outcome) -> None:
            nonlocal number, lines
            # Both can be the same file, so they are told apart by which block is the first.
            if block.first:
                number, lines = number + 1, 0
                read.begin = contents.count
            found: Digests = outcome.payload
            count = len(found.contents) // DIGEST_BYTES
            if found.without_id >= 0 and read.without_id is None:
                read.without_id = contents.count + found.without_id
            contents.pieces.append(
                Piece(number, block.unit, lines, 0, contents.count, count, found.lines, None)
            )
            contents.count += count
            contents.rows_in[number] += outcome.rows_in
            lines += outcome.lines
            out.write(found.contents)
            out_keys.write(found.keys)

        with files.writing(str(folder)):
            engine.run_into(
                spool.blocks(paths),
                ReadDigests(by),
                None,
                ledger,
                rejects,
                paths=paths,
                workers=engine.workers_for(paths, workers),
                take=take,
                progress=progress,
            )
    keys.count = contents.count
    return read
