"""Mix shards by weights without a copy of their tokens: an index that is read as shards are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataprep import __version__
from dataprep.core import provenance
from dataprep.core.errors import InputError, UsageError
from dataprep.core.io import check_local, new_folder, writing
from dataprep.core.io.part_files import MIXTURE
from dataprep.core.ledger import Ledger
from dataprep.core.options import check_whole
from dataprep.curate.mixing import (
    Unit,
    check_amounts,
    check_any,
    divided,
    largest_total,
    mixed_order,
    nearest,
    shares_of,
)
from dataprep.tokens.shards.manifest import MIXTURE_VERSION, checksum
from dataprep.tokens.shards.packing import pack
from dataprep.tokens.shards.reading import Shards, number_type
from dataprep.tokens.shards.writing import check_directory, described, locked, put_in_place

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Options that decide ids and masks, besides the tokenizer: shards that are mixed must agree in them.
_SAME = ("pack", "strip", "date", "template_args", "loss", "split_thinking")
_BUSY = "another process is writing there; wait for it, or give another directory"


@dataclass(frozen=True, slots=True)
class MixedSource:
    """A directory of a mixture: its documents, and for each epoch its weight, its share and what is drawn.

    Attributes:
        tokens: for each epoch, the tokens of the documents drawn; ``None`` if they were not counted.
    """

    path: str
    documents: int
    weights: list[float]
    shares: list[float]
    drawn: list[int]
    tokens: list[int] | None

    @property
    def times(self) -> float:
        """The number of times that all epochs together take a document, on average."""
        return sum(self.drawn) / self.documents if self.documents else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the entries as a JSON object."""
        entries = {"directory": self.path, "documents": self.documents, "weights": self.weights}
        entries |= {"shares": self.shares, "drawn": self.drawn, "times": round(self.times, 6)}
        return entries | ({} if self.tokens is None else {"tokens": self.tokens})


@dataclass(frozen=True, slots=True)
class MixedShards:
    """The result of ``mix_shards``.

    Attributes:
        sources: the directories in the order given.
        manifest: the mixture's manifest; empty if nothing was written.
    """

    sources: list[MixedSource]
    manifest: dict[str, Any]

    @property
    def counts(self) -> list[list[int]]:
        """For each epoch, the number of documents of each source."""
        return [[*counts] for counts in zip(*(source.drawn for source in self.sources), strict=True)]

    @property
    def ledger(self) -> Ledger:
        """The documents of all sources. An epoch continues after those that the epochs before it took."""
        ledger = Ledger(rows_in=sum(source.documents for source in self.sources))
        for source in self.sources:
            drawn = sum(source.drawn)
            ledger.rows_out += drawn
            ledger.drop("not drawn", max(source.documents - drawn, 0))
            ledger.repeated += max(drawn - source.documents, 0)
        return ledger


def mix_shards(
    shards: Mapping[str | Path, float | Sequence[float] | None],
    output: str | Path | None,
    *,
    total: int | None = None,
    tokens: int | None = None,
    seed: int = 42,
    temperature: float = 1.0,
    repeat_at_most: int | None = None,
    dry_run: bool = False,
) -> MixedShards:
    """Write an index over directories of shards: their documents in exact shares, in a seeded order.

    ``Shards.open`` and ``train`` read the directory ``output`` as they read shards. It names the sources by
    relative paths and by the checksums of their manifests, so it moves with them, and notices new ones.
    Packed shards are packed again, as ``tokenize`` packs documents that its shuffle has put into this order.

    Args:
        shards: the weight of each directory, or its weights in each epoch; the last one stays. ``None`` is
            the number of its documents, or of its tokens if ``tokens`` is given.
        output: a directory: a new one, an empty one, or one of shards or a mixture. ``None`` in a dry run.
        total: number of documents in each epoch. Defaults to the largest number for which no document is
            taken more often than ``repeat_at_most``, or once.
        tokens: number of tokens in each epoch, instead of ``total``: shares are then shares of tokens. Each
            source gives the documents that come nearest to its share.
        seed: seed of the order.
        temperature: weights are raised to ``1 / temperature``: above 1, small sources get larger shares.
        repeat_at_most: how often an epoch may take a document. Defaults to no limit with ``total`` or
            ``tokens``.
        dry_run: whether to check and count only, and write nothing.

    Raises:
        UsageError: shards do not fit one another, or too few documents are there for these options.
        FileError: shards are missing, or the index cannot be written.
        InputError: shards are damaged.
    """
    check_whole("--seed", seed)
    check_amounts({"--total": total, "--tokens": tokens, "--repeat-at-most": repeat_at_most})
    if not shards:
        raise UsageError("expected at least one directory of shards and its weight")
    if output is None and not dry_run:
        raise UsageError("there is no directory for the mixture: name one with --output")
    folder = None
    if output is not None:
        check_local(output, "an index over directories of shards")
        check_directory(output)
        folder = Path(output)
    sources = [_open(path, folder) for path in shards]
    _check_alike(sources)
    options: dict[str, Any] = {"total": total, "tokens": tokens, "temperature": temperature, "seed": seed}
    options["repeat_at_most"] = repeat_at_most
    mixed = MixedShards(_draw(sources, shards, **options), {})
    if dry_run or folder is None:
        return mixed
    documents, before = [source.documents for source in sources], [0] * len(sources)
    orders = []
    for epoch in mixed.counts:
        orders.append(mixed_order(documents, epoch, seed, before=before))
        before = [old + new for old, new in zip(before, epoch, strict=True)]
    options |= {"weights": [source.weights for source in mixed.sources], "counts": mixed.counts}
    return replace(mixed, manifest=_write(folder, sources, orders, options))


def _open(path: str | Path, output: Path | None) -> Shards:
    source = Shards.open(path, verify=False)  # `train` verifies them before it begins
    if output is not None and output.resolve() == source.path.resolve():
        raise UsageError(f"{output}: is one of the sources; give another directory for the mixture")
    if len(source.epochs) > 1:
        raise UsageError(f"{path}: a mixture with shares by epoch cannot be mixed again; mix its sources")
    return source


def _check_alike(sources: Sequence[Shards]) -> None:
    """Raise ``UsageError`` if the shards' ids or masks do not mean the same."""
    first = sources[0]
    for source in sources[1:]:
        pairs = [
            ("tokenizer", first.fingerprint, source.fingerprint),
            ("chat format", *(item.manifest["chat_format"] for item in (first, source))),
            ("padding id", first.pad_id, source.pad_id),
            *(
                (
                    f"--{name.replace('_', '-')}",
                    *(item.manifest["options"].get(name) for item in (first, source)),
                )
                for name in _SAME
            ),
        ]
        for name, expected, found in pairs:
            if found != expected:
                raise UsageError(
                    f"{source.path}: made with the {name} {_shown(found)}, and {first.path} with "
                    f"{_shown(expected)}: make them alike with `dataprep tokenize`"
                )


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "name" in value:
        return f"{value['name']} ({value['fingerprint'][:16]}…)"
    text = str(value)
    return f"{text[:16]}…" if len(text) == 64 else text


def _draw(
    sources: Sequence[Shards],
    shards: Mapping[str | Path, float | Sequence[float] | None],
    *,
    total: int | None,
    tokens: int | None,
    temperature: float,
    seed: int,
    repeat_at_most: int | None,
) -> list[MixedSource]:
    """Return the sources with what is drawn from them."""
    names = [*map(str, shards)]
    available = [source.documents if tokens is None else source.tokens for source in sources]
    weights = _by_epoch(shards, available)
    shares = [shares_of(epoch, temperature, names) for epoch in weights]
    amount = total if tokens is None else tokens
    if amount is None:  # the same in each epoch
        amount = min(largest_total(epoch, available, repeat_at_most or 1) for epoch in shares)
    unit: Unit = "documents" if tokens is None else "tokens"
    parts = [divided(names, epoch, available, amount, repeats=repeat_at_most, unit=unit) for epoch in shares]
    mixed = []
    for number, (name, source) in enumerate(zip(names, sources, strict=True)):
        drawn, counted = [epoch[number] for epoch in parts], None
        if tokens is not None:
            drawn, counted = _nearest(source.lengths(), drawn, seed)
        of_epochs = [epoch[number] for epoch in weights], [float(epoch[number]) for epoch in shares]
        mixed.append(MixedSource(name, source.documents, *of_epochs, drawn, counted))
    for epoch in zip(*(source.drawn for source in mixed), strict=True):
        check_any(tokens, epoch)
    return mixed


def _by_epoch(
    shards: Mapping[str | Path, float | Sequence[float] | None], available: list[int]
) -> list[list[float]]:
    """Return the weight of each source in each epoch."""
    listed: list[list[float]] = []
    for (path, weights), count in zip(shards.items(), available, strict=True):
        given = count if weights is None else weights
        listed.append([*given] if isinstance(given, Sequence) else [given])
        if not listed[-1]:
            raise UsageError(f"{path}: expected a weight, or one for each epoch")
    epochs = max(map(len, listed))
    return [[weights[min(epoch, len(weights) - 1)] for weights in listed] for epoch in range(epochs)]


def _nearest(lengths: NDArray[np.int64], quotas: Sequence[int], seed: int) -> tuple[list[int], list[int]]:
    """Return the documents of a source that come nearest to its tokens of each epoch, and their tokens."""
    drawn: list[int] = []
    counted: list[int] = []
    for quota in quotas:
        count, tokens = nearest(lengths, quota, seed, before=sum(drawn))
        drawn.append(count)
        counted.append(tokens)
    return drawn, counted


def _write(
    output: Path, sources: Sequence[Shards], orders: list[NDArray[Any]], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the orders of all epochs, and the manifest, in one step; return the manifest."""
    first = sources[0].manifest
    lengths = np.concatenate([source.lengths() for source in sources])
    mixed = [lengths[order] for order in orders]
    orders = [order.astype(number_type(lengths.size)) for order in orders]
    arrays: dict[str, NDArray[Any]] = {}
    epochs = [order.size for order in orders]
    if size := sources[0].size:
        packed = [pack(of_epoch, size, seed=settings["seed"], shuffle=False) for of_epoch in mixed]
        orders = [order[epoch.documents] for order, epoch in zip(orders, packed, strict=True)]
        epochs = [epoch.sequences for epoch in packed]
        # The documents of an epoch begin where those of the one before it end.
        counts = np.concatenate([[0], *(np.diff(epoch.offsets) for epoch in packed)])
        arrays["sequences"] = np.cumsum(counts).astype("<u8")
    order = orders[0] if len(orders) == 1 else np.concatenate(orders)
    arrays["order"] = order
    manifest: dict[str, Any] = {
        "format": MIXTURE,
        "version": MIXTURE_VERSION,
        "dataprep": __version__,
        **{name: first[name] for name in ("dtype", "pad_id", "chat_format", "options")},
        "tokenizer": first["tokenizer"] | {"file": None},
        "mixture": settings,
        "epochs": epochs,
        "documents": int(order.size),
        "tokens": sum(int(of_epoch.sum()) for of_epoch in mixed),
        "longest": max(int(of_epoch.max(initial=0)) for of_epoch in mixed),
        "sequences": sum(epochs) if size else 0,
        # Relative, so that a folder with the shards and their mixtures can be moved.
        "sources": [_source(source, output) for source in sources],
        "inputs": [file for source in sources for file in source.manifest["inputs"]],
    }
    facts = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)
    manifest["key"] = hashlib.sha256(facts).hexdigest()
    with writing(str(output)):
        output.mkdir(parents=True, exist_ok=True)
        with locked(output, _BUSY), new_folder(output / "shards") as scratch:
            for kind, array in arrays.items():
                path = scratch / f"{manifest['key'][:16]}-{kind}-00000.bin"
                path.write_bytes(array.data)
                manifest["sequence_starts" if kind == "sequences" else kind] = described(path)
            manifest["checksum"] = checksum(manifest)
            names = [manifest[kind]["name"] for kind in ("order", "sequence_starts") if kind in manifest]
            put_in_place(output, scratch, manifest, names)
    provenance.wrote(output, rows=int(order.size))
    return manifest


def _source(source: Shards, output: Path) -> dict[str, Any]:
    try:
        path = os.path.relpath(source.path.resolve(), output.resolve())
    except ValueError:  # on another drive of Windows
        raise InputError(source.path, f"is on another drive than {output}; put both on one") from None
    return {
        "path": Path(path).as_posix(),
        "checksum": source.manifest["checksum"],
        "documents": source.documents,
    }
