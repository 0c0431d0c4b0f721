"""Files of chat rows to token shards, on one process or several."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from dataprep import __version__
from dataprep.core import io as files
from dataprep.core.errors import DataprepError, InputError, UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.parallel import Outcome, run_into, workers_for
from dataprep.tokens.chats import Encoder, pad_id
from dataprep.tokens.documents import Documents, EncodedBlock
from dataprep.tokens.formats.loading import chat_format_for
from dataprep.tokens.inputs import Inputs
from dataprep.tokens.shards.buffer import Flat, check_place, open_flat
from dataprep.tokens.shards.manifest import MANIFEST, VERSION, sha256_of
from dataprep.tokens.shards.packing import pack, whole
from dataprep.tokens.shards.reading import Shards
from dataprep.tokens.shards.writing import finish
from dataprep.tokens.tokenizers import loading as tokenizers
from dataprep.tokens.truncation import TRUNCATIONS

if TYPE_CHECKING:
    from dataprep.tokens.formats.base import ChatFormat
    from dataprep.tokens.tokenizers.base import Tokenizer


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """What becomes of rows on their way into shards; in a manifest as they are here.

    Attributes:
        pack: tokens of a sequence that documents are packed into; ``None`` leaves them as they are.
        split_long: documents longer than that are divided.
        seed: of the sequences' order.
        max_length: tokens that a row may have; when packing without ``split_long``, ``pack`` at most.
        truncation: what becomes of longer rows: ``"error"``, ``"drop"`` or ``"truncate"``.
        strip: contents are stripped of white space around them.
        date: a date that the chat format names.
    """

    pack: int | None = None
    split_long: bool = False
    seed: int = 42
    max_length: int | None = None
    truncation: str = "error"
    strip: bool = False
    date: str | None = None

    def __post_init__(self) -> None:
        if self.truncation not in TRUNCATIONS:
            raise UsageError(f"--truncation {self.truncation}: expected one of {', '.join(TRUNCATIONS)}")
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


class Ready(NamedTuple):
    """A tokenizer and a chat format, loaded.

    Attributes:
        path: the tokenizer's path or name, where one was given.
        file: its file, where it has one.
        digest: the file's SHA-256 when it was loaded.
    """

    tokenizer: Tokenizer
    chat_format: ChatFormat
    path: str | None
    file: Path | None
    digest: str | None

    def check_unchanged(self) -> None:
        """Raise ``InputError`` where the file is no longer the one that was loaded."""
        if self.file is not None and sha256_of(self.file) != self.digest:
            raise InputError(
                self.file, "the tokenizer was changed while rows were read; run the command again"
            )

    @property
    def name(self) -> str | None:
        """What the tokenizer is called, without the folder that it lies in."""
        return None if self.path is None else files.printable(Path(self.path).name)


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
    chat_format: str | ChatFormat = "llama3",
    template: str | Path | None = None,
    options: ShardOptions | None = None,
    workers: int | None = 1,
    rejects: str | Path | files.Rejects | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tokenized:
    """Turn files of chat rows into token shards in the directory ``output``.

    Shards that are there already and were made of the same inputs, by their content, with the same
    tokenizer, chat format and options are left as they are. Others are replaced, whole or not at all.

    Args:
        inputs: files in any format that dataprep reads; ``-`` is standard input.
        output: a directory: a new one, an empty one, or one of shards.
        tokenizer: a tokenizer, or where its file or model directory is.
        chat_format: a chat format, or its name.
        template: for the name ``template``: a model directory or a jinja file; by default the tokenizer's.
        options: what becomes of the rows.
        workers: processes; ``None`` takes every core where the input is large enough to gain by it.
        rejects: where bad rows go; without it the first one raises.
        progress: called with the bytes that were read since the last call.

    Raises:
        InputError: a row is no chat row, is too long, or the linter finds a fault in it.
        TokenizerError: the tokenizer is damaged, or lacks what the chat format needs.
        UsageError: the output is no place for shards, or options contradict each other.
        FileError: a file cannot be read or written.
    """
    options = options or ShardOptions()
    paths = [str(inputs)] if isinstance(inputs, str | Path) else [str(path) for path in inputs]
    for path in paths:
        files.check_input(path)
    place = check_place(output)
    given = ready(tokenizer, chat_format, options, template)
    seen = Inputs(paths)
    facts = _facts(given, options)
    found = _finished(place, _key(facts, seen), given) if seen.known else None
    if found is not None:
        return found
    operator = Documents(Encoder(given.tokenizer, given.chat_format, options.limit, options.truncation))
    ledger = Ledger()
    with ExitStack() as stack:
        bad = stack.enter_context(files.open_rejects(rejects))
        flat = stack.enter_context(open_flat(place, operator.dtype))
        cut = _run(operator, seen, flat, ledger, bad, workers_for(paths, workers), progress)
        ledger.check()
        seen.check_unchanged()
        given.check_unchanged()
        order = whole(flat.lengths)
        if options.pack is not None:
            order = pack(flat.lengths, options.pack, seed=options.seed, split_long=options.split_long)
        facts |= {"key": _key(facts, seen), "inputs": seen.facts(), "rows": ledger.to_json(), "cut": cut}
        facts["tokenizer"] |= {"name": given.name}
        manifest = finish(flat, order, facts, tokenizer=given.file)
    return Tokenized(ledger, manifest)


def ready(
    tokenizer: str | Path | Tokenizer,
    chat_format: str | ChatFormat,
    options: ShardOptions,
    template: str | Path | None = None,
) -> Ready:
    """The tokenizer and the chat format, loaded where only their names are given."""
    path, file, digest, loaded = None, None, None, tokenizer
    if isinstance(loaded, str | Path):
        path, file = str(loaded), tokenizers.file_of(str(loaded))
        digest = None if file is None else sha256_of(file)  # before: what is loaded is this, or a newer one
        loaded = tokenizers.load_tokenizer(loaded)
    if not isinstance(chat_format, str) and (options.strip or options.date is not None):
        raise UsageError(
            "strip and date are the chat format's own: give them to chat_format_of, or a chat format's name"
        )
    if isinstance(chat_format, str):
        laid = {"template": template, "strip": options.strip, "date": options.date}
        chat_format = chat_format_for(chat_format, loaded, path, **laid)  # type: ignore[arg-type]
    return Ready(loaded, chat_format, path, file, digest)


def _run(
    operator: Documents,
    seen: Inputs,
    flat: Flat,
    ledger: Ledger,
    bad: files.Rejects,
    workers: int,
    progress: Callable[[int], None] | None,
) -> int:
    """Write all rows into ``flat``; return the number of truncated answers."""
    cut = 0

    def take(block: files.Block, outcome: Outcome) -> None:
        nonlocal cut
        made: EncodedBlock = outcome.payload
        if block.first:
            seen.rows.append(0)
        seen.rows[-1] += outcome.rows_in
        before = ledger.rows_in - outcome.rows_in
        flat.add(made.bits, made.lengths, before + made.numbers.astype(np.int64))
        cut += made.cut

    run_into(
        seen.blocks(),
        operator,
        flat,
        ledger,
        bad,
        paths=seen.paths,
        workers=workers,
        take=take,
        progress=progress,
    )
    flat.close()
    return cut


def _facts(given: Ready, options: ShardOptions) -> dict[str, Any]:
    """What shards depend on beside their inputs."""
    tokenizer, chat_format = given.tokenizer, given.chat_format
    return {
        "dataprep": __version__,
        "tokenizer": {
            "kind": tokenizer.kind,
            "fingerprint": tokenizer.fingerprint,
            "vocab_size": tokenizer.vocab_size,
        },
        "chat_format": {"name": chat_format.name, "fingerprint": chat_format.fingerprint},
        "options": {each.name: getattr(options, each.name) for each in fields(ShardOptions)},
        "pad_id": pad_id(tokenizer),
    }


def _key(facts: dict[str, Any], seen: Inputs) -> str:
    """SHA-256 of everything that the shards depend on."""
    everything = orjson.dumps([VERSION, facts, seen.contents()], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(everything).hexdigest()


def _finished(place: Path, key: str, given: Ready) -> Tokenized | None:
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
    made = manifest["tokenizer"]
    if made["file"] is None and given.path is not None and (given.file or made["name"] != given.name):
        return None  # made with a tokenizer that was no file: they hold no copy of it, nor its name
    ledger = Ledger(rows["in"], rows["out"])
    ledger.drop_all(rows["dropped"])
    return Tokenized(ledger, manifest, up_to_date=True)
