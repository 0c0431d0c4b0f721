"""Turn files of chat rows into token shards, in this process or on several."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from dataprep import __version__
from dataprep.core import io as files
from dataprep.core.errors import DataprepError, InputError, TokenizerError, UsageError
from dataprep.core.io.stores import is_shared
from dataprep.core.ledger import Ledger
from dataprep.core.parallel import Backend, Outcome, backend_for, by_chunks, read_block, run_into, workers_for
from dataprep.core.urls import is_url, name_of
from dataprep.tokens.encoder import Batch, Encoder
from dataprep.tokens.formats.loading import chat_format_for
from dataprep.tokens.options import ShardOptions
from dataprep.tokens.shards.collecting import Buffer, EncodedBlock
from dataprep.tokens.shards.distributed import TokenParts, finished_at, open_token_parts
from dataprep.tokens.shards.manifest import VERSION, InputFiles, sha256_of
from dataprep.tokens.shards.packing import pack, whole
from dataprep.tokens.shards.reading import Shards, id_type
from dataprep.tokens.shards.writing import check_directory, clear, finish, open_buffer
from dataprep.tokens.tokenizers import loading as tokenizers
from dataprep.tokens.tokenizers.base import pad_id
from dataprep.tokens.tokenizers.libraries import check_libraries, libraries_of

if TYPE_CHECKING:
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
        return None if self.path is None else files.printable(name_of(self.path))


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
    check_directory(output)
    prepared = prepare(tokenizer, chat_format, options, template)
    by_parts = is_url(output) or by_chunks(())
    # Of another process, `memory://` is another place.
    workers = workers_for(paths, workers) if is_shared(str(output)) else 1
    backend = backend_for(workers) if by_parts else None
    input_files = InputFiles(paths, backend)
    facts = _facts(prepared, options)
    if input_files.known:
        existing = _up_to_date(str(output), _key(facts, input_files), prepared, backend)
        if existing is not None:
            clear(output, existing.manifest)
            return existing
    operator = _operator(prepared, options, facts, by_parts=by_parts)
    ledger, left_out = Ledger(), Counter[str]()
    with (
        files.open_rejects(rejects) as bad,
        open_token_parts(output, operator.dtype)
        if by_parts
        else open_buffer(Path(output), operator.dtype) as out,
    ):
        cut = _fill(out, operator, input_files, ledger, left_out, bad, workers, progress)
        ledger.check()
        input_files.check_unchanged()
        prepared.check_unchanged()
        order = whole(out.lengths)
        if options.pack is not None:
            order = pack(out.lengths, options.pack, seed=options.seed, split_long=options.split_long)
        facts |= {
            "key": _key(facts, input_files),
            "inputs": input_files.facts(),
            "rows": ledger.to_json(),
            "cut": cut,
            "left_out": dict(sorted(left_out.items())),
        }
        # Not part of the key: the same tokenizer under another name gives the same shards.
        facts["tokenizer"] |= {"name": prepared.name}
        if isinstance(out, TokenParts):
            assert backend is not None
            manifest = out.finish(order, facts, tokenizer=prepared.file, backend=backend)
        else:
            manifest = finish(out, order, facts, tokenizer=prepared.file)
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


class Documents:
    """Turns blocks of chat rows into documents of token ids; a picklable operator.

    Args:
        encoder: encodes rows.
        key: of a run over chunks: what its part files depend on. These hold for each block the ids and then
            the mask bits. Without it, the bits are in the payload.
    """

    def __init__(self, encoder: Encoder, key: str | None = None) -> None:
        self.encoder = encoder
        self.dtype = id_type(encoder.tokenizer.vocab_size)
        self.key = key
        self._libraries = libraries_of(encoder.tokenizer) if key is not None else {}
        self._checked = True

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_checked": False}

    def __call__(self, block: files.Block) -> Outcome:
        """Return the ids of a block's rows as data, and the rest as the fields of ``EncodedBlock``."""
        if not self._checked:
            check_libraries(self._libraries)
            self._checked = True
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
        ids, bits = batch.ids.astype(self.dtype, copy=False).tobytes(), np.packbits(batch.mask).tobytes()
        read.outcome.put(ids if self.key is None else ids + bits)
        # Most often every row is a document. The numbers rise, so the last one tells.
        all_rows = not read.numbers or read.numbers[-1] == len(read.numbers) - 1
        encoded = EncodedBlock(
            lengths=batch.lengths.astype(np.uint32),
            numbers=None if all_rows else np.array(read.numbers, dtype=np.uint32),
            bits=bits if self.key is None else b"",
            loss_tokens=int(np.count_nonzero(batch.mask)),
            cut=self.encoder.cut,
            left_out=dict(self.encoder.left_out),
        )
        read.outcome.payload = tuple(encoded)
        return read.outcome


def _operator(
    prepared: Prepared, options: ShardOptions, facts: dict[str, Any], *, by_parts: bool
) -> Documents:
    encoder = Encoder(
        prepared.tokenizer,
        prepared.chat_format,
        options.limit,
        options.truncation,
        loss=options.loss,
        split_thinking=options.split_thinking,
    )
    if not by_parts:
        return Documents(encoder)
    # Packing comes later: with other options for it, the same part files serve.
    names = ("limit", "truncation", "loss", "split_thinking")
    known = [facts["tokenizer"], facts["chat_format"], [getattr(options, name) for name in names]]
    return Documents(encoder, hashlib.sha256(orjson.dumps(known)).hexdigest())


def _fill(
    out: Buffer | TokenParts,
    operator: Documents,
    input_files: InputFiles,
    ledger: Ledger,
    left_out: Counter[str],
    bad: files.Rejects,
    workers: int,
    progress: Callable[[int], None] | None,
) -> int:
    """Encode all rows and count what is left out; return the number of answers cut."""
    cut = 0

    def take(block: files.Block, outcome: Outcome) -> None:
        nonlocal cut
        if block.first:
            input_files.rows.append(0)
        input_files.rows[-1] += outcome.rows_in
        if outcome.payload is None:  # a row that ended its worker
            return
        encoded = EncodedBlock(*outcome.payload)
        out.take(encoded, ledger.rows_in - outcome.rows_in)
        cut += encoded.cut
        left_out.update(encoded.left_out)

    blocks, paths = input_files.blocks(), input_files.paths
    run_into(blocks, operator, out, ledger, bad, paths=paths, workers=workers, take=take, progress=progress)
    out.close()
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


def _up_to_date(output: str, key: str, prepared: Prepared, backend: Backend | None) -> Tokenized | None:
    """Return the shards that exist already, if they are whole and of this key."""
    try:
        manifest = (
            dict(Shards.open(output).manifest) if backend is None else finished_at(output, key, backend)
        )
    except DataprepError:  # none, damaged, or of another version: they are made again
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
