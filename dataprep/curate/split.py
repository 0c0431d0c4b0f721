"""Divide rows into parts by a hash of their keys: the library behind ``dataprep split``.

A row's part depends on its key, the seed and the shares alone. So a row keeps its part when others are added,
and rows with the same key are in the same part.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import LedgerError, RowError, UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.options import check_whole
from dataprep.core.records import from_cell, id_text
from dataprep.curate.inputs import blocks_of, checked_inputs, read_once
from dataprep.curate.near import find_groups
from dataprep.curate.split_checks import KeyCounts, Keys, Written
from dataprep.curate.texts import TextOf, normalised

PART = "{part}"  # in an output's path
SIMILAR = "near-duplicates"  # in place of a key
ELSEWHERE = "in another part"
_FAR = 0.05  # a share this far from the one that was asked for is worth a warning


def parse_parts(text: str) -> dict[str, Fraction]:
    """Return the share of each part in a text such as ``train=0.9,valid=0.1``.

    A share is a decimal number or a fraction such as ``1/3``, and is taken exactly; their sum must be 1.
    """
    example = "for example train=0.9,valid=0.1"
    parts: dict[str, Fraction] = {}
    for given in text.split(","):
        name, equals, number = (piece.strip() for piece in given.partition("="))
        if not name or not equals:
            raise UsageError(f"--parts: expected NAME=SHARE, {example}; found {given.strip()!r}")
        if name[0] == "." or not all(c.isalnum() or c in "-_." for c in name):
            raise UsageError(f"--parts: {name!r} names a file: use letters, digits, '-', '_' and '.'")
        if name in parts:
            raise UsageError(f"--parts: {name!r} is named twice")
        try:
            parts[name] = Fraction(number)
        except (ValueError, ZeroDivisionError):
            raise UsageError(f"--parts: {number!r} is not a share; expected a number, {example}") from None
        if not 0 < parts[name] <= 1:
            raise UsageError(f"--parts: the share {number} of {name!r} must be above 0 and at most 1")
    if sum(parts.values()) != 1:
        total = float(sum(parts.values()))
        raise UsageError(f"--parts: the shares have the sum {total:g}; expected exactly 1, {example}")
    return parts


@dataclass(frozen=True, slots=True)
class KeyOf:
    """Return the key of a row, a text; a picklable callable.

    Attributes:
        by: ``"id"`` is the row's id, or its content if it has none. Anything else is a part of the row as
            ``curate.texts.TextOf`` takes it: ``"question"``, ``"source"`` or another field. Its text is
            compared without differences of case, white space and Unicode form.
    """

    by: str = "id"

    def __call__(self, row: dict[str, Any]) -> str:
        """Return the key; raise ``RowError`` for a row that has none."""
        if isinstance(row.get("messages"), str):  # in a table's cell
            row = row | {"messages": from_cell(row["messages"])}
        if self.by != "id":
            return normalised(TextOf(self.by)(row))
        name = row.get("id")
        if type(name) is not str or not name or name != name.strip():
            name = id_text(row)
        if name is not None:
            return name
        if row.get("messages") is not None:
            return normalised(TextOf("messages")(row))
        content = {key: value for key, value in row.items() if key not in ("id", "source")}
        return normalised(orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode())


class SplitRows:
    """Sort the lines of a block by part: a picklable operator.

    The sides of an outcome are the lines of each part. The payload has for each part 8 bytes for each of
    their keys, and the size and the checksum of the lines.

    Args:
        key_of: returns the key of a row.
        shares: the share of each part.
        seed: seed of the hash.
        keys: in place of ``key_of``, the keys of some rows of each file, and the number of the first of them,
            from 0.
        dry_run: whether nobody wants the lines.
    """

    def __init__(
        self,
        key_of: KeyOf,
        shares: Sequence[Fraction],
        seed: int,
        keys: Mapping[str, tuple[int, Sequence[str]]] | None = None,
        *,
        dry_run: bool = False,
    ) -> None:
        self.key_of, self.shares, self.seed, self.keys = key_of, tuple(shares), seed, keys
        self.dry_run = dry_run
        ends = [sum(self.shares[: count + 1], Fraction()) for count in range(len(self.shares))]
        # A hash is in the first part whose end it is below. As bytes, numbers have the same order.
        numbers = [-(-end.numerator * 2**64 // end.denominator) for end in ends[:-1]]
        self._ends = [min(number, 2**64 - 1).to_bytes(8, "big") for number in numbers]

    def of_chunk(self, keys: Mapping[str, tuple[int, Sequence[str]]]) -> SplitRows:
        """Return the operator for a chunk of which these are the keys."""
        return SplitRows(self.key_of, self.shares, self.seed, keys, dry_run=self.dry_run)

    def __call__(self, block: files.Block) -> engine.Outcome:
        """Return the lines by part."""
        read: engine.ReadRows[dict[str, Any]] = engine.read_block(block, checked=False)
        keys = self._given(block, read.numbers) if self.keys is not None else self._own(read.rows)
        lines: list[list[bytes]] = [[] for _ in self.shares]
        digests: list[list[bytes]] = [[] for _ in self.shares]
        prefix, ends = f"{self.seed}:".encode(), self._ends
        for key, line in zip(read.settle(keys), read.lines, strict=True):
            digest = blake2b(prefix + key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            part = bisect_right(ends, digest[:8])
            lines[part].append(line)
            digests[part].append(digest[8:])
        joined = [b"\n".join([*rows, b""]) for rows in lines]
        read.outcome.payload = [
            (b"".join(found), len(data), crc32(data)) for data, found in zip(joined, digests, strict=True)
        ]
        read.outcome.sides = [
            (None if self.dry_run else data, len(rows)) for data, rows in zip(joined, lines, strict=True)
        ]
        return read.outcome

    def _own(self, rows: Sequence[dict[str, Any]]) -> list[str | RowError]:
        keys: list[str | RowError] = []
        for row in rows:
            try:
                keys.append(self.key_of(row))
            except RowError as error:
                keys.append(error)
        return keys

    def _given(self, block: files.Block, numbers: Sequence[int]) -> list[str | RowError]:
        assert self.keys is not None
        assert block.rows_before is not None, "run the operator with numbered=True"
        first, keys = self.keys[block.path]
        before = block.rows_before - first
        return [keys[before + number] for number in numbers]


@dataclass
class Split:
    """The result of ``split_files``.

    Attributes:
        ledgers: the rows of each part; those of the other parts are dropped there.
        outputs: where each part was written.
        keys: the number of different keys in each part.
        largest: the number of rows that share the most frequent key.
        checked: whether the written files were read again, and no key was in two of them.
        warnings: for each part whose share is far from what was asked for, what it has.
    """

    ledgers: dict[str, Ledger]
    outputs: dict[str, str]
    keys: dict[str, int] = field(default_factory=dict)
    largest: int = 0
    checked: bool = False
    warnings: dict[str, str] = field(default_factory=dict)


def split_files(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    parts: str | Mapping[str, Any],
    by: str = "id",
    keys: Mapping[str, Sequence[str]] | None = None,
    seed: int = 42,
    workers: int | None = 1,
    rejects: str | Path | None = None,
    progress: engine.Progress | None = None,
    dry_run: bool = False,
) -> Split:
    """Divide rows into files, and check that no key is in two of them.

    Args:
        inputs: a file or several, in any format that dataprep reads; ``-`` is standard input.
        output: a folder, which gets ``NAME.jsonl`` for each part; or a path with ``{part}`` in it.
        parts: the share of each part, as in ``"train=0.9,valid=0.1"``; the sum must be 1.
        by: the key: ``"id"`` (without one, the row's content), ``"question"``, ``"source"``, or a field. With
            ``"near-duplicates"``, rows that are similar, or linked by similar ones, have one key.
        keys: in place of ``by``, a key for each row of each file, in their order, by the file's path. Blank
            lines are no rows.
        seed: seed of the hash.
        workers: number of processes; ``None`` decides by the input's size.
        rejects: file for bad rows, also those without a key. Without it the first one raises.
        progress: called with the bytes of input worked off since the last call.
        dry_run: write nothing.

    Raises:
        UsageError: the shares or the output are wrong.
        InputError: a row is bad, or has no key.
    """
    text = parts if isinstance(parts, str) else ",".join(f"{name}={share}" for name, share in parts.items())
    shares = parse_parts(text)
    check_whole("--seed", seed)
    outputs = output_paths(str(output), list(shares))
    paths = checked_inputs(inputs, outputs.values(), rejects, "split")
    if by == SIMILAR and keys is None:
        for path in paths:
            if read_once(path):  # a pipe would be empty, or wait for ever
                name = "standard input" if path == files.STDIO else path
                raise UsageError(f"--by {SIMILAR} reads the rows twice, and {name} can be read once")
        keys = find_groups(paths, workers=workers, rejects=rejects).names()
    total, written = Ledger(), [Written() for _ in shares]
    with Keys(len(shares)) as seen:
        with files.open_rejects(rejects) as bad, ExitStack() as stack:
            outs = [None if dry_run else _opened(path, stack) for path in outputs.values()]

            def take(_: files.Block, outcome: engine.Outcome) -> None:
                # Of a row that ends its worker there is no payload.
                for part, (digests, size, checksum) in enumerate(outcome.payload or ()):
                    if digests:
                        seen.add(part, digests)
                        written[part].add(len(digests) // 8, size, checksum)

            engine.run_into(
                blocks_of(paths),
                _operator(SplitRows(KeyOf(by), list(shares.values()), seed, dry_run=dry_run), keys, outs),
                None,
                total,
                bad,
                paths=paths,
                workers=engine.workers_for(paths, workers),
                numbered=keys is not None,
                sides=outs,
                take=take,
                progress=progress,
            )
            ledgers = _ledgers(total, dict(zip(shares, written, strict=True)))
            for out, ledger in zip(outs, ledgers.values(), strict=True):
                if isinstance(out, files.PartsOutput):
                    out.ledger = ledger
        result = Split(ledgers, outputs)
        counts = seen.count()
    if not dry_run:
        for part, path in zip(written, outputs.values(), strict=True):
            part.check(path)
        if counts.twice:
            raise LedgerError(f"{counts.twice:,} keys are in two parts: this is a bug in dataprep: report it")
        result.checked = True
    _describe(result, shares, counts)
    return result


def _operator(
    operator: SplitRows, keys: Mapping[str, Sequence[str]] | None, outs: Sequence[files.Output | None]
) -> engine.Operator | engine.Noted:
    """Return an operator with the keys that are given; on a cluster each chunk gets those of its rows."""
    if keys is None:
        return operator
    given = keys
    if not engine.by_chunks(outs):
        return operator.of_chunk({path: (0, given[path]) for path in given})

    def keys_of(chunk: Any) -> dict[str, tuple[int, Sequence[str]]]:
        spans: dict[str, tuple[int, int]] = {}
        for block, before, count in zip(chunk.blocks, chunk.rows_before, chunk.rows, strict=True):
            first, end = spans.get(block.path, (before, before))
            spans[block.path] = min(first, before), max(end, before + count)
        return {path: (first, given[path][first:end]) for path, (first, end) in spans.items()}

    return engine.Noted(operator, keys_of)


def output_paths(output: str, names: Sequence[str]) -> dict[str, str]:
    """Return the file of each part."""
    if PART in output:
        return {name: output.replace(PART, name) for name in names}
    if output == files.STDIO or (not files.is_folder(output) and _is_file_name(output)):
        raise UsageError(f"-o {output}: each part is a file: give a folder, or a path with {PART} in it")
    return {name: files.joined(output, f"{name}.jsonl") for name in names}


def _is_file_name(path: str) -> bool:
    return (not files.is_url(path) and Path(path).is_file()) or Path(files.name_of(path)).suffix in (
        ".jsonl",
        ".json",
        ".gz",
        ".zst",
        ".parquet",
        ".csv",
        ".tsv",
    )


def _opened(path: str, stack: ExitStack) -> files.Output:
    with files.writing(path):
        files.make_parent(path)
    return stack.enter_context(files.open_output(path))


def _ledgers(total: Ledger, routed: Mapping[str, Written]) -> dict[str, Ledger]:
    total.rows_out = sum(part.rows for part in routed.values())
    total.check()
    ledgers = {}
    for name, part in routed.items():
        ledgers[name] = Ledger(total.rows_in, part.rows, failed=Counter(total.failed))
        ledgers[name].drop(ELSEWHERE, total.rows_out - part.rows)
        ledgers[name].drop_all(total.dropped)
        ledgers[name].check()
    return ledgers


def _describe(result: Split, shares: Mapping[str, Fraction], counts: KeyCounts) -> None:
    result.keys, result.largest = dict(zip(shares, counts.of_parts, strict=True)), counts.largest
    rows = sum(ledger.rows_out for ledger in result.ledgers.values())
    for name, share in shares.items():
        found, asked = result.ledgers[name].rows_out / max(rows, 1), float(share)
        # Further away than chance takes rows that do not belong together.
        if abs(found - asked) > max(_FAR, 4 * (asked * (1 - asked) / max(rows, 1)) ** 0.5):
            different = sum(result.keys.values())
            result.warnings[name] = (
                f"{name} has {found:.1%} of the rows, and {asked:.1%} were asked for: the {rows:,} rows have "
                f"{different:,} different keys, and {result.largest:,} rows have the most frequent one"
            )
