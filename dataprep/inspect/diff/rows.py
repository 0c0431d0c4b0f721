"""Read the rows of two files once, and keep of each a digest of its content and one of its key."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import RowError
from dataprep.core.jsonl import has_long_number, loses_keys, not_writable
from dataprep.core.ledger import Ledger
from dataprep.core.records import id_text
from dataprep.curate.duplicates.rows import DIGEST_BYTES, Piece, Rows, Spool
from dataprep.curate.split import KeyOf

if TYPE_CHECKING:
    from numpy.typing import NDArray

ID, CONTENT = "id", "content"
_NESTED = frozenset({dict, list})
_NOTHING = bytes(DIGEST_BYTES)  # in place of the digest of a key that a row lacks


def content_of(value: Any) -> bytes:
    """Return a value of JSON in one form: equal values have equal bytes.

    The order of keys makes no difference, nor do white space, escapes and the notation of numbers.

    >>> content_of({"b": 1.0, "a": "\u00e9"}) == content_of({"a": "é", "b": 1})
    True

    Raises:
        RowError: the value is nested too deeply.
    """
    try:
        plain = _plain(value) if _has_float([value]) else value
        return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    except (TypeError, RecursionError) as error:
        raise not_writable(error) from None


def _has_float(values: Iterable[Any]) -> bool:
    """Return whether there is a float in values of JSON, or inside them."""
    # Level by level, because a loop over each value would take longer than to write them all.
    while values:
        kinds = set(map(type, values))
        if float in kinds or kinds.isdisjoint(_NESTED):
            return float in kinds
        inside = (
            value.values() if type(value) is dict else value for value in values if type(value) in _NESTED
        )
        values = [*chain.from_iterable(inside)]
    return False


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
        read: engine.ReadRows[dict[str, Any]] = engine.read_block(block, checked=False)
        has_float = _has_float(read.rows)
        contents = _contents_of(read.rows, has_float)
        if _loses(read.lines, contents, has_float):
            # Rows that differ in what the parser loses would be taken for equal.
            read = engine.read_block(block)
            contents = _contents_of(read.rows, has_float)
        keys = self._keys_of(read.rows)
        results = [
            content if isinstance(content, RowError) else key if isinstance(key, RowError) else (content, key)
            for content, key in zip(contents, keys, strict=True)
        ]
        pairs = read.settle(results)
        sound_keys = [key for _, key in pairs]
        read.outcome.payload = Digests(
            None if len(pairs) == read.outcome.lines else np.array(read.line_numbers, np.uint32),
            b"".join([_digest(content) for content, _ in pairs]),
            b"".join(sound_keys),
            sound_keys.index(_NOTHING) if _NOTHING in sound_keys else -1,
        )
        return read.outcome

    def _keys_of(self, rows: list[dict[str, Any]]) -> list[bytes | RowError]:
        if self.by == CONTENT:
            return [b""] * len(rows)
        keys: list[bytes | RowError] = []
        for row in rows:
            try:
                # Most ids are texts without white space around them, and done with here.
                key = row.get("id") if self._key_of is None else self._key_of(row)
                if self._key_of is None and (type(key) is not str or not key or key != key.strip()):
                    key = id_of(row) if self.by is None else _needed_id(row)
                keys.append(_NOTHING if key is None else _digest(key.encode("utf-8", "surrogatepass")))
            except RowError as error:
                keys.append(error)
        return keys


def _needed_id(row: dict[str, Any]) -> str:
    key = id_text(row)
    if key is None:
        raise RowError("no id", "expected a field 'id'; with --by content, rows need none")
    return key


def _contents_of(rows: list[dict[str, Any]], has_float: bool) -> list[bytes | RowError]:
    if not has_float:
        with suppress(TypeError):  # one of them is nested too deeply
            return [orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in rows]
    contents: list[bytes | RowError] = []
    for row in rows:
        try:
            contents.append(content_of(row))
        except RowError as error:
            contents.append(error)
    return contents


def _loses(lines: list[bytes], contents: list[bytes | RowError], has_float: bool) -> bool:
    """Return whether the parser may have lost a part of the rows."""
    # As ``core.jsonl.loses``, but with the contents, which are written anyway; what lost digits is a float.
    text = b"\n".join(lines)
    colons = sum([content.count(b":") for content in contents if type(content) is bytes])
    return loses_keys(text, colons) or (has_float and has_long_number(text))


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
    contents, keys = (
        Rows(paths, folder / name, rows_in=[0, 0], counters=np.empty(0, np.uint32))
        for name in ("contents", "keys")
    )
    read = TwoFiles(contents, None if by == CONTENT else keys)
    with ExitStack() as stack:
        out, out_keys = (stack.enter_context(rows.digests.open("wb")) for rows in (contents, keys))

        def take(number: int, lines: int, block: files.Block, outcome: engine.Outcome) -> None:
            if block.first:
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
            out.write(found.contents)
            out_keys.write(found.keys)

        spool.run(
            ReadDigests(by), paths, take, ledger=ledger, rejects=rejects, workers=workers, progress=progress
        )  # fmt: skip
    keys.count = contents.count
    return read
