"""Turn files of chat rows into token shards, in this process or on several."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from dataprep import __version__
from dataprep.core import io as files
from dataprep.core.errors import DataprepError, InputError, TokenizerError, UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.parallel import Outcome, read_block, run_into, workers_for
from dataprep.tokens.encoder import Batch, Encoder
from dataprep.tokens.formats.loading import chat_format_for
from dataprep.tokens.options import ShardOptions
from dataprep.tokens.shards.manifest import MANIFEST, VERSION, InputFiles, sha256_of
from dataprep.tokens.shards.packing import pack, whole
from dataprep.tokens.shards.reading import Shards, id_type
from dataprep.tokens.shards.writing import Buffer, check_directory, clear, finish, open_buffer
from dataprep.tokens.tokenizers import loading as tokenizers
from dataprep.tokens.tokenizers.base import pad_id

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.tokens.formats.base import ChatFormat
    from dataprep.tokens.tokenizers.base import Tokenizer


class Prepared(NamedTuple):
    """A tokenizer and a chat format, loaded."""

    tokenizer: Tokenizer
    chat_format: ChatFormat
    path: str | None  # the tokenizer's path or name, if one was given
    file: Path | None  # its file, if it has one
    digest: str | None  # the SHA-256 of the file when it was loaded

    def check_unchanged(self) -> None:
        """Raise ``InputError`` if the file was changed since it was loaded."""
        if self.file is not None and sha256_of(self.file) != self.digest:
            raise InputError(
                self.file, "the tokenizer was changed while rows were read; run the command again"
            )

    @property
    def name(self) -> str | None:
        """The name of the tokenizer, without its folder."""
        return None if self.path is None else files.printable(files.name_of(self.path))


@dataclass(slots=True)
class Tokenized:
    """The result of ``tokenize_files``."""

    ledger: Ledger
    manifest: dict[str, Any]
    up_to_date: bool = False  # whether the shards existed already, made from the same inputs and options

    @property
    def fill(self) -> float | None:
        """Share of packed positions that hold a token; ``None`` without packing."""
        positions = self.manifest["sequences"] * (self.manifest["options"]["pack"] or 0)
        return self.manifest["tokens"] / positions if positions else None


def tokenize_files(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    tokenizer: str | Path | Tokenizer,
    chat_format: str | ChatFormat | None = None,
    template: str | Path | None = None,
    options: ShardOptions | None = None,
    workers: int | None = 1,
    rejects: str | Path | files.Rejects | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tokenized:
    """Turn files of chat rows into token shards in the directory ``output``.

    Shards that exist already are kept if they were made from the same content with the same tokenizer, chat
    format and options. Otherwise they are replaced as a whole, or left as they were if there is an error.

    Args:
        inputs: files in any format that dataprep reads; ``-`` is standard input.
        output: a directory: a new one, an empty one, or one of shards.
        tokenizer: a tokenizer, or the path of its file or model directory.
        chat_format: a chat format, or its name. Defaults to the tokenizer's own template, if there is one in
            its directory, else to ``llama3``.
        template: for the name ``template``: a model directory or a Jinja file. Defaults to the tokenizer's.
        options: how rows become shards.
        workers: number of processes; ``None`` takes every core if the input is large enough to gain by it.
        rejects: a file for bad rows. Without it, the first bad row raises.
        progress: called with the bytes that were read since the last call.

    Raises:
        InputError: a row is not a chat row, is too long, or the linter finds a fault in it.
        TokenizerError: the tokenizer is damaged, or lacks what the chat format needs.
        UsageError: shards cannot be written to ``output``, or options contradict each other.
        FileError: a file cannot be read or written.
    """
    options = options or ShardOptions()
    paths = [str(inputs)] if isinstance(inputs, str | Path) else [str(path) for path in inputs]
    for path in paths:
        files.check_input(path)
    directory = check_directory(output)
    prepared = prepare(tokenizer, chat_format, options, template)
    input_files = InputFiles(paths)
    facts = _facts(prepared, options)
    if input_files.known:
        existing = _up_to_date(directory, _key(facts, input_files), prepared)
        if existing is not None:
            clear(directory, existing.manifest)
            return existing
    operator = Documents(
        Encoder(
            prepared.tokenizer,
            prepared.chat_format,
            options.limit,
            options.truncation,
            loss=options.loss,
            split_thinking=options.split_thinking,
        )
    )
    ledger = Ledger()
    with ExitStack() as stack:
        bad = stack.enter_context(files.open_rejects(rejects))
        buffer = stack.enter_context(open_buffer(directory, operator.dtype))
        left_out: Counter[str] = Counter()
        cut = _fill(
            buffer, operator, input_files, ledger, left_out, bad, workers_for(paths, workers), progress
        )
        ledger.check()
        input_files.check_unchanged()
        prepared.check_unchanged()
        order = whole(buffer.lengths)
        if options.pack is not None:
            order = pack(buffer.lengths, options.pack, seed=options.seed, split_long=options.split_long)
        facts |= {
            "key": _key(facts, input_files),
            "inputs": input_files.facts(),
            "rows": ledger.to_json(),
            "cut": cut,
            "left_out": dict(sorted(left_out.items())),
        }
        # Not part of the key: the same tokenizer under another name gives the same shards.
        facts["tokenizer"] |= {"name": prepared.name}
        manifest = finish(buffer, order, facts, tokenizer=prepared.file)
    return Tokenized(ledger, manifest)


def prepare(
    tokenizer: str | Path | Tokenizer,
    chat_format: str | ChatFormat | None,
    options: ShardOptions,
    template: str | Path | None = None,
) -> Prepared:
    """Load the tokenizer and the chat format if they are given by name; see ``tokenize_files``."""
    path, file, digest = None, None, None
    if isinstance(tokenizer, str | Path):
        path, file = str(tokenizer), tokenizers.file_of(str(tokenizer))
        # Hashed before it is loaded: if the file is changed in between, the difference is noticed later.
        digest = None if file is None else sha256_of(file)
        tokenizer = tokenizers.load_tokenizer(tokenizer)
    if chat_format is None or isinstance(chat_format, str):
        chat_format = chat_format_for(
            chat_format,
            tokenizer,
            path,
            template=template,
            strip=options.strip,
            date=options.date,
            template_args=options.template_args,
        )
    elif options.strip or options.date is not None or options.template_args:
        raise UsageError(
            "strip, date and template_args belong to the chat format: give them to chat_format_of, or give "
            "its name"
        )
    return Prepared(tokenizer, chat_format, path, file, digest)


@dataclass(frozen=True, slots=True)
class EncodedBlock:
    """The documents of a block, without their ids, which are the outcome's data."""

    lengths: NDArray[np.uint32]  # tokens of each document, shape (documents,)
    numbers: NDArray[np.uint32]  # the row of the block, from 0, of each document, same shape
    bits: bytes  # the loss masks, one bit for each token
    cut: int  # number of answers that were cut
    left_out: Counter[str]  # values that the chat format left out, by kind


class Documents:
    """Turns blocks of chat rows into documents of token ids; a picklable operator."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.dtype = id_type(encoder.tokenizer.vocab_size)

    def __call__(self, block: files.Block) -> Outcome:
        """Return the ids of a block's rows as data, and the rest as an ``EncodedBlock`` payload."""
        self.encoder.cut = 0
        self.encoder.left_out.clear()
        read = read_block(block, self.encoder.read)
        batch = self.encoder.encode_checked(read.rows)
        if batch.errors:
            batch = Batch.of(read.settle([*batch.results()]))
        # A tokenizer that breaks its own promise would be noticed only in training, as a wrong embedding.
        vocab_size = self.encoder.tokenizer.vocab_size
        if batch.ids.size and (largest := int(batch.ids.max())) >= vocab_size:
            raise TokenizerError(
                f"the tokenizer gave id {largest:,}, and says that it has {vocab_size:,} tokens"
            )
        read.outcome.put(batch.ids.astype(self.dtype, copy=False).tobytes())
        read.outcome.payload = EncodedBlock(
            lengths=batch.lengths.astype(np.uint32),
            numbers=np.array(read.numbers, dtype=np.uint32),
            bits=np.packbits(batch.mask).tobytes(),
            cut=self.encoder.cut,
            left_out=self.encoder.left_out.copy(),
        )
        return read.outcome


def _fill(
    buffer: Buffer,
    operator: Documents,
    input_files: InputFiles,
    ledger: Ledger,
    left_out: Counter[str],
    bad: files.Rejects,
    workers: int,
    progress: Callable[[int], None] | None,
) -> int:
    """Write all rows into the buffer and count what is left out; return the number of answers cut."""
    cut = 0

    def take(block: files.Block, outcome: Outcome) -> None:
        nonlocal cut
        encoded: EncodedBlock = outcome.payload
        if block.first:
            input_files.rows.append(0)
        input_files.rows[-1] += outcome.rows_in
        before = ledger.rows_in - outcome.rows_in
        buffer.add(encoded.bits, encoded.lengths, before + encoded.numbers.astype(np.int64))
        cut += encoded.cut
        left_out.update(encoded.left_out)

    blocks, paths = input_files.blocks(), input_files.paths
    run_into(
        blocks, operator, buffer, ledger, bad, paths=paths, workers=workers, take=take, progress=progress
    )
    buffer.close()
    return cut


def _facts(prepared: Prepared, options: ShardOptions) -> dict[str, Any]:
    """Return what shards depend on besides their inputs."""
    tokenizer, chat_format = prepared.tokenizer, prepared.chat_format
    return {
        "dataprep": __version__,
        "tokenizer": {
            "kind": tokenizer.kind,
            "fingerprint": tokenizer.fingerprint,
            "vocab_size": tokenizer.vocab_size,
        },
        "chat_format": {"name": chat_format.name, "fingerprint": chat_format.fingerprint},
        "options": {option.name: getattr(options, option.name) for option in fields(ShardOptions)},
        "pad_id": pad_id(tokenizer),
    }


def _key(facts: dict[str, Any], input_files: InputFiles) -> str:
    """Return the SHA-256 of everything that the shards depend on."""
    everything = orjson.dumps([VERSION, facts, input_files.contents()], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(everything).hexdigest()


def _up_to_date(directory: Path, key: str, prepared: Prepared) -> Tokenized | None:
    """Return the shards that exist already, if they are whole and of this key."""
    if not (directory / MANIFEST).is_file():
        return None
    try:
        manifest = dict(Shards.open(directory).manifest)
    except DataprepError:  # damaged, or of another version: they are made again
        return None
    rows = manifest.get("rows", {"failed": True})
    # With bad rows, the command must report them again, with or without a file of rejects.
    if manifest["key"] != key or rows["failed"]:
        return None
    made = manifest["tokenizer"]
    # A tokenizer that was not a file left no copy of itself in the shards. Given as a file now, it must.
    if (
        made["file"] is None
        and prepared.path is not None
        and (prepared.file or made["name"] != prepared.name)
    ):
        return None
    ledger = Ledger(rows["in"], rows["out"])
    ledger.drop_all(rows["dropped"])
    return Tokenized(ledger, manifest, up_to_date=True)
