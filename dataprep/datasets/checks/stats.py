"""Describe files of rows: an operator that counts the rows of blocks, and the figures of all blocks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import RowError, UsageError, located
from dataprep.core.ledger import Ledger
from dataprep.datasets.checks.chat_counts import ChatCounts
from dataprep.datasets.checks.figures import (
    DIGEST_BYTES,
    Stats,
    by_bucket,
    count_repeated,
    histogram,
    lengths_of,
    tokens_of,
)
from dataprep.datasets.choice_order import label_of

if TYPE_CHECKING:
    from dataprep.core.parallel.records import Record

Encode = Callable[[str], Sequence[int]]
_NO_CONTENT = ("id", "source")
# On a cluster: bytes of input whose digests are compared together, and into how many parts the work on all
# chunks is put together, because each piece that is stored costs the calling process a few kilobytes.
BUCKET_BYTES, MOST_BUCKETS, TASKS = 1 << 30, 64, 512


class RowCounts:
    """Counts of rows that follow each other, from which their figures are made.

    Lengths are counted, not kept: there are few different ones, and their quantiles come out of the counts as
    exactly as out of the lengths themselves. Of each row 16 bytes are kept, its digest.

    Args:
        encode: encodes a text as a list of tokens; ``None`` counts no tokens.
    """

    def __init__(self, encode: Encode | None = None) -> None:
        self.encode = encode
        self.rows = 0
        self.sources: Counter[str] = Counter()
        self.chats = ChatCounts()
        self.digests = bytearray()
        self.row_lengths: Counter[int] = Counter()
        self.lengths: dict[str, Counter[int]] = defaultdict(Counter)
        self.tokens: dict[str, Counter[int]] = defaultdict(Counter)
        self.row_tokens: dict[str, Counter[int]] = defaultdict(Counter)
        self.labels: Counter[str] = Counter()

    def _texts_of(self, row: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Return the texts of a row by role (chat rows) or by field (other rows)."""
        if row.get("messages") is not None:
            return self.chats.add(row)
        return [(name, text) for name, text in row.items() if isinstance(text, str)]

    def add(self, row: Mapping[str, Any], default_source: str) -> None:
        """Count a row; raise ``RowError`` for one that has no figures, of which a part is counted then."""
        total = tokens = 0
        for role, text in self._texts_of(row):
            self.lengths[role][len(text)] += 1
            total += len(text)
            if self.encode is not None:
                count = len(self.encode(text))
                self.tokens[role][count] += 1
                tokens += count
        source = str(row.get("source") or default_source)
        if (label := label_of(row)) is not None:
            self.labels[label] += 1
        self.rows += 1
        self.sources[source] += 1
        self.row_lengths[total] += 1
        if self.encode is not None:
            self.row_tokens[source][tokens] += 1
        # Converted twice with other options, a row has another id and is still the same row to train on.
        content = {key: value for key, value in row.items() if key not in _NO_CONTENT}
        try:
            written = orjson.dumps(content, default=str, option=orjson.OPT_SORT_KEYS)
        # Nested too deeply, or lone surrogates, which only rows given by a program can have.
        except TypeError as error:
            raise RowError("a row that JSON cannot hold", str(error)) from None
        self.digests += blake2b(written, digest_size=DIGEST_BYTES).digest()

    def to_json(self) -> dict[str, Any]:
        """Return the counts as lists, objects and the bytes of the digests, for ``merge``."""
        return {
            "rows": self.rows,
            "sources": dict(self.sources),
            "labels": dict(self.labels),
            "chats": self.chats.to_json(),
            "row_lengths": _listed(self.row_lengths),
            "digests": bytes(self.digests),
            **{name: _all_listed(counts) for name, counts in self._by_name().items()},
        }

    def merge(self, counts: Mapping[str, Any]) -> None:
        """Add the counts of rows that follow."""
        self.rows += counts["rows"]
        self.sources.update(counts["sources"])
        self.labels.update(counts["labels"])
        self.chats.merge(counts["chats"])
        _add(self.row_lengths, counts["row_lengths"])
        self.digests += counts["digests"]
        for kind, mine in self._by_name().items():
            for name, listed in counts[kind].items():
                _add(mine[name], listed)

    def _by_name(self) -> dict[str, dict[str, Counter[int]]]:
        return {"lengths": self.lengths, "tokens": self.tokens, "row_tokens": self.row_tokens}

    def figures(self, duplicates: int | None = None) -> Stats:
        """Return the figures of all rows; ``duplicates`` is given if the digests are elsewhere."""
        sources = dict(self.sources.most_common())
        tokens = tokens_by_source = None
        if self.encode is not None:
            tokens = {role: tokens_of(counts) for role, counts in self.tokens.items()}
            tokens_by_source = {source: tokens_of(self.row_tokens[source]) for source in sources}
        return Stats(
            rows=self.rows,
            sources=sources,
            characters={role: lengths_of(counts) for role, counts in self.lengths.items()},
            duplicates=count_repeated(self.digests) if duplicates is None else duplicates,
            histogram=histogram(self.row_lengths),
            roles=self.chats.roles() or None,
            parts=self.chats.parts() or None,
            tokens=tokens,
            tokens_by_source=tokens_by_source,
            labels=dict(sorted(self.labels.items())) or None,
        )


# Lengths, and the number of texts that have each. They are no object, because keys of JSON cannot be numbers.
_Listed = tuple[list[int], list[int]]


def _listed(counts: Mapping[int, int]) -> _Listed:
    return list(counts), list(counts.values())


def _all_listed(counts: Mapping[str, Mapping[int, int]]) -> dict[str, _Listed]:
    return {name: _listed(lengths) for name, lengths in counts.items()}


def _add(counts: Counter[int], listed: _Listed) -> None:
    counts.update(dict(zip(*listed, strict=True)))


class CountRows:
    """Count the rows of a block: a picklable operator. The payload is that of ``RowCounts.to_json``.

    Args:
        encode: encodes a text as a list of tokens; ``None`` counts no tokens.
    """

    def __init__(self, encode: Encode | None = None) -> None:
        self._encode = encode

    def __call__(self, block: files.Block) -> engine.Outcome:
        """Return an outcome without output; rows without figures have failed."""
        counts, source = RowCounts(self._encode), files.printable(block.path)
        read = engine.read_block(block, partial(counts.add, default_source=source))
        read.outcome.payload = counts.to_json()
        return read.outcome


@dataclass(frozen=True, slots=True)
class _Divide:
    """Divide the digests of a chunk's rows among buckets; the note has all other counts."""

    buckets: int

    def __call__(
        self, _number: int, found: Sequence[tuple[int, Mapping[str, Any] | None]]
    ) -> tuple[dict[str, Any], list[bytes]]:
        counts = RowCounts()
        for _, payload in found:
            if payload is not None:  # there is none for a row that ended its worker
                counts.merge(payload)
        digests, counts.digests = bytes(counts.digests), bytearray()
        return counts.to_json(), by_bucket(digests, self.buckets)


def _repeated(_bucket: int, pieces: Iterator[bytes]) -> int:
    return count_repeated(b"".join(pieces))


def stats(rows: str | Path | Iterable[Mapping[str, Any]], encode: Encode | None = None) -> Stats:
    """Describe a file of rows, or the rows themselves.

    Args:
        rows: the file, or the rows.
        encode: encodes a text as a list of tokens; adds figures of tokens.
    """
    if isinstance(rows, str | Path):
        return stats_of_files([rows], encode)
    counts = RowCounts(encode)
    for number, row in enumerate(rows, 1):
        with located(f"row {number}"):
            counts.add(row, "the given rows")
    return counts.figures()


def stats_of_files(
    inputs: Sequence[str | Path], encode: Encode | None = None, *, workers: int | None = 1
) -> Stats:
    """Describe the rows of several files together, each in any format that dataprep reads.

    Args:
        inputs: the files.
        encode: encodes a text as a list of tokens; adds figures of tokens. Picklable if there are several
            workers.
        workers: number of processes; ``None`` decides by the input's size. It does not change the figures.

    Raises:
        InputError: a row is bad, or a file has none.
    """
    if not inputs:
        raise UsageError("there is nothing to describe: give at least one file")
    paths, counts = list(map(str, inputs)), RowCounts(encode)
    blocks, rejects = chain.from_iterable(map(files.read_row_blocks, paths)), files.Rejects(None, hint="")
    if engine.on_cluster():
        return counts.figures(_count_divided(counts, blocks, paths, rejects))
    engine.run_into(
        blocks,
        CountRows(encode),
        None,
        Ledger(),
        rejects,
        paths=paths,
        workers=engine.workers_for(paths, workers),
        take=lambda _, outcome: counts.merge(outcome.payload),
    )
    return counts.figures()


def _count_divided(
    counts: RowCounts, blocks: Iterable[files.Block], paths: Sequence[str], rejects: files.Rejects
) -> int:
    """Count the rows of blocks on a cluster, and return how many of them are duplicates.

    The digests stay on the workers: this process takes counts alone.
    """
    from dataprep.core.parallel.chunks import chunks_of
    from dataprep.core.parallel.exchanging import divided

    fold, numbers = engine.Fold(None, Ledger(), rejects, paths), engine.LineNumbers()

    def take(record: Record, told: Mapping[str, Any] | None) -> None:
        for block, outcome in record.outcomes:
            numbers.settle(block, outcome)
            fold.add(block, outcome)
            fold.count(block)
        if told is not None:
            counts.merge(told)

    size = sum(map(files.size_of, paths))
    divide, backend = _Divide(min(MOST_BUCKETS, 1 + size // BUCKET_BYTES)), engine.backend_for(1)
    batch = 1 + size // files.chunk_bytes() // TASKS
    chunks = chunks_of(blocks, files.chunk_bytes())
    operator = CountRows(counts.encode)
    with divided(operator, divide, chunks, backend=backend, take=take, stop=True, batch=batch) as pieces:
        fold.finish()
        return sum(repeated for _, repeated in pieces.join(_repeated, backend=backend))
