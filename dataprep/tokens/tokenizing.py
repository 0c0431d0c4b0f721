"""Files of chat rows to token shards, on one process or several."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataprep import __version__, engine, files, raw_rows
from dataprep.errors import DataprepError, InputError, TokenizerError, UsageError
from dataprep.ledger import Ledger
from dataprep.tokens import tokenizer as tokenizers
from dataprep.tokens.batches import Batch
from dataprep.tokens.chats import OVERFLOWS, Encoder, auto_workers, layout_of, pad_id, read_rows, settle
from dataprep.tokens.packing import pack, whole
from dataprep.tokens.shard_writing import Flat, check_place, finish, open_flat
from dataprep.tokens.shards import MANIFEST, VERSION, Shards, id_type, sha256_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.engine.outcome import LineBlock
    from dataprep.tokens.layouts import Layout
    from dataprep.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Options:
    """What becomes of rows on their way into shards; in a manifest as they are here.

    Attributes:
        pack: tokens of a sequence that documents are packed into; ``None`` leaves them as they are.
        split_long: documents longer than that are divided.
        seed: of the sequences' order.
        max_length: tokens that a row may have; when packing without ``split_long``, ``pack`` at most.
        overflow: what becomes of longer rows: ``"error"``, ``"drop"`` or ``"truncate"``.
        strip: contents are stripped of white space around them.
        date: a date that the layout names.
    """

    pack: int | None = None
    split_long: bool = False
    seed: int = 42
    max_length: int | None = None
    overflow: str = "error"
    strip: bool = False
    date: str | None = None

    def __post_init__(self) -> None:
        if self.overflow not in OVERFLOWS:
            raise UsageError(f"--overflow {self.overflow}: expected one of {', '.join(OVERFLOWS)}")
        for name, value in (("--pack", self.pack), ("--max-length", self.max_length)):
            if value is not None and value < 2:
                raise UsageError(f"{name} {value}: expected 2 or more tokens")
        if self.split_long and self.pack is None:
            raise UsageError("--split-long needs --pack N: it divides documents longer than a sequence")
        if self.pack and self.max_length and self.max_length > self.pack and not self.split_long:
            raise UsageError(
                f"--max-length {self.max_length} is more than a sequence has room for (--pack {self.pack}): "
                "give --split-long, or a shorter length"
            )

    @property
    def limit(self) -> int | None:
        """Tokens that a row may have."""
        return self.pack if self.max_length is None and not self.split_long else self.max_length


@dataclass(slots=True)
class Tokenized:
    """What ``tokenize_files`` did.

    Attributes:
        ledger: the rows.
        manifest: the shards' manifest.
        up_to_date: they were there already, made of the same inputs with the same options.
    """

    ledger: Ledger
    manifest: dict[str, Any]
    up_to_date: bool = False

    @property
    def fill(self) -> float | None:
        """The share of packed positions that hold a token; ``None`` without packing."""
        positions = self.manifest["sequences"] * (self.manifest["options"]["pack"] or 0)
        return self.manifest["tokens"] / positions if positions else None


def tokenize_files(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    tokenizer: str | Path | Tokenizer,
    layout: str | Layout = "llama3",
    options: Options | None = None,
    workers: int | None = 1,
    rejects: str | Path | files.Rejects | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tokenized:
    """Turn files of chat rows into token shards in the directory ``output``.

    Shards that are there already and were made of the same inputs, by their content, with the same
    tokenizer, layout and options are left as they are. Others are replaced, whole or not at all.

    Args:
        inputs: files in any format that dataprep reads; ``-`` is standard input.
        output: a directory: a new one, an empty one, or one of shards.
        tokenizer: a tokenizer, or where its file or model directory is.
        layout: a layout, or its name.
        options: what becomes of the rows.
        workers: processes; ``None`` takes every core where the input is large enough to gain by it.
        rejects: where bad rows go; without it the first one raises.
        progress: called with the bytes that were read since the last call.

    Raises:
        InputError: a row is no chat row, is too long, or the linter finds a fault in it.
        TokenizerError: the tokenizer is damaged, or lacks what the layout needs.
        UsageError: the output is no place for shards, or options contradict each other.
        FileError: a file cannot be read or written.
    """
    options = options or Options()
    paths = [str(inputs)] if isinstance(inputs, str | Path) else [str(path) for path in inputs]
    for path in paths:
        files.check_input(path)
    place = check_place(output)
    tokenizer, layout = ready(tokenizer, layout, options)
    seen = Inputs(paths)
    facts = _facts(tokenizer, layout, options)
    found = _finished(place, _key(facts, seen)) if seen.known else None
    if found is not None:
        return found
    operator = Documents(Encoder(tokenizer, layout, options.limit, options.overflow))
    ledger = Ledger()
    with ExitStack() as stack:
        bad = stack.enter_context(files.open_rejects(rejects))
        flat = stack.enter_context(open_flat(place, operator.dtype))
        cut = _run(operator, seen, flat, ledger, bad, auto_workers(workers, paths), progress)
        ledger.check()
        seen.check_unchanged()
        order = whole(flat.lengths)
        if options.pack is not None:
            order = pack(flat.lengths, options.pack, seed=options.seed, split_long=options.split_long)
        facts |= {"key": _key(facts, seen), "inputs": seen.facts(), "rows": ledger.to_json(), "cut": cut}
        manifest = finish(flat, order, facts)
    return Tokenized(ledger, manifest)


def ready(
    tokenizer: str | Path | Tokenizer, layout: str | Layout, options: Options
) -> tuple[Tokenizer, Layout]:
    """The tokenizer and the layout, loaded where only their names are given."""
    path, loaded = None, tokenizer
    if isinstance(loaded, str | Path):
        path, loaded = str(loaded), tokenizers.load_tokenizer(loaded)
    if isinstance(layout, str):
        own = layout == "template"  # a template is the model directory's, and may name its tokenizer's marks
        layout = layout_of(
            layout,
            strip=options.strip,
            date=options.date,
            path=path if own else None,
            specials=tuple(loaded.specials) if own else (),
        )
    return loaded, layout


@dataclass(slots=True)
class TokenOutcome(engine.Outcome):
    """What became of a block; ``data`` holds the ids.

    Attributes:
        lengths: tokens of each document.
        bits: their masks, one bit a token.
        cut: how many answers were cut.
    """

    lengths: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, dtype=np.uint32))
    bits: bytes = b""
    cut: int = 0


class Documents:
    """The row operator of ``tokenize``: blocks of chat rows to ids and masks; picklable."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.dtype = id_type(encoder.tokenizer.vocab_size)

    def __call__(self, row: dict[str, Any]) -> bytes:
        """Not used: blocks are worked on as a whole."""
        raise NotImplementedError

    def whole(self, block: LineBlock) -> TokenOutcome:
        """A block's documents."""
        self.encoder.cut = 0
        outcome, rows = read_rows(block, self.encoder.read)
        found = self.encoder(rows)
        if not isinstance(found, Batch):
            outcome, results = settle(block, outcome, self.encoder.read, found)
            found = Batch.of(results)
        vocab_size = self.encoder.tokenizer.vocab_size
        if found.ids.size and int(found.ids.max()) >= vocab_size:
            raise TokenizerError(
                f"the tokenizer gave id {int(found.ids.max()):,}, and says that it has {vocab_size:,} tokens"
            )
        data = found.ids.astype(self.dtype, copy=False).tobytes()
        made = {each.name: getattr(outcome, each.name) for each in fields(engine.Outcome)}
        return TokenOutcome(
            **made | {"data": data, "size": len(data)},
            lengths=found.lengths.astype(np.uint32),
            bits=np.packbits(found.mask).tobytes(),
            cut=self.encoder.cut,
        )


def _run(
    operator: Documents,
    seen: Inputs,
    flat: Flat,
    ledger: Ledger,
    bad: files.Rejects,
    workers: int,
    progress: Callable[[int], None] | None,
) -> int:
    """All rows into ``flat``; how many answers were cut."""
    cut = 0
    direct = {"output": str(flat.ids), "name": str(flat.folder.parent)} if workers > 1 else {}
    outcomes = raw_rows.run(
        operator, seen.blocks(), seen.paths, ledger, bad, progress=progress, workers=workers, **direct
    )
    with closing(outcomes):
        for outcome in outcomes:
            assert isinstance(outcome, TokenOutcome)
            ledger.rows_out += outcome.rows_out
            flat.add(outcome.data, outcome.bits, outcome.lengths)
            cut += outcome.cut
    flat.close()
    return cut


class Inputs:
    """The files to tokenize, with their SHA-256.

    Attributes:
        paths: the files.
        known: their content is known before they are read, as that of standard input is not.
    """

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self.known = all(Path(path).is_file() for path in paths)
        self._stamps = [_stamp(path) for path in paths]
        self._hashes = {number: sha256_of(path) for number, path in enumerate(paths) if Path(path).is_file()}

    def blocks(self) -> Iterator[files.Block]:
        """The rows of all files."""
        for number, path in enumerate(self.paths):
            found = raw_rows.blocks(path)
            yield from found if number in self._hashes else self._hashed(number, found)

    def _hashed(self, number: int, found: Iterable[files.Block]) -> Iterator[files.Block]:
        digest = hashlib.sha256()
        for block in found:
            digest.update(block.read())
            yield block
        self._hashes[number] = digest.hexdigest()

    def facts(self) -> list[dict[str, str]]:
        """What the manifest says about each: name, format and SHA-256."""
        return [
            {"name": files.printable(Path(path).name), "kind": files.format_of(path).kind, "sha256": digest}
            for path, (_, digest) in zip(self.paths, sorted(self._hashes.items()), strict=True)
        ]

    def check_unchanged(self) -> None:
        """Raise ``InputError`` where a file is no longer the one whose content was hashed."""
        for path, stamp in zip(self.paths, self._stamps, strict=True):
            if _stamp(path) != stamp:
                raise InputError(path, "the file was changed while it was read; run the command again")


def _stamp(path: str) -> tuple[int, int] | None:
    if not Path(path).is_file():
        return None
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns


def _facts(tokenizer: Tokenizer, layout: Layout, options: Options) -> dict[str, Any]:
    """What shards depend on beside their inputs."""
    return {
        "dataprep": __version__,
        "tokenizer": {
            "kind": tokenizer.kind,
            "fingerprint": tokenizer.fingerprint,
            "vocab_size": tokenizer.vocab_size,
        },
        "layout": {"name": layout.name, "fingerprint": layout.fingerprint},
        "options": {each.name: getattr(options, each.name) for each in fields(Options)},
        "pad_id": pad_id(tokenizer),
    }


def _key(facts: dict[str, Any], seen: Inputs) -> str:
    """SHA-256 of everything that the shards depend on."""
    contents = [(each["kind"], each["sha256"]) for each in seen.facts()]
    everything = orjson.dumps([VERSION, facts, contents], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(everything).hexdigest()


def _finished(place: Path, key: str) -> Tokenized | None:
    """The shards that are there already, where they are whole, of this key, and no row of them was bad."""
    if not (place / MANIFEST).is_file():
        return None
    try:
        manifest = dict(Shards.open(place).manifest)
    except DataprepError:  # damaged: made again
        return None
    rows = manifest["rows"]
    if manifest["key"] != key or rows["failed"]:
        return None
    ledger = Ledger(rows["in"], rows["out"])
    ledger.drop_all(rows["dropped"])
    return Tokenized(ledger, manifest, up_to_date=True)
