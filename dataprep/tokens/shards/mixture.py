"""Mix shards by weights without a copy of their tokens: an index that is read as shards are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataprep import __version__
from dataprep.core import provenance
from dataprep.core.errors import InputError, UsageError
from dataprep.core.io import new_folder, writing
from dataprep.core.ledger import Ledger
from dataprep.core.options import check_whole
from dataprep.curate.mixing import largest_total, mixed_order, quotas, shares_of
from dataprep.tokens.shards.manifest import MIXTURE, MIXTURE_VERSION, checksum
from dataprep.tokens.shards.packing import pack
from dataprep.tokens.shards.reading import Shards, number_type
from dataprep.tokens.shards.writing import check_directory, described, locked, put_in_place

if TYPE_CHECKING:
    from fractions import Fraction

    from numpy.typing import NDArray

# Options that decide ids and masks, besides the tokenizer: shards that are mixed must agree in them.
_SAME = ("pack", "strip", "date", "template_args", "loss", "split_thinking")
_BUSY = "another process is writing there; wait for it, or give another directory"


@dataclass(frozen=True, slots=True)
class MixedSource:
    """A directory of a mixture: its documents, and for each epoch its weight, its share and what is drawn."""

    path: str
    documents: int
    weights: list[float]
    shares: list[float]
    drawn: list[int]

    @property
    def times(self) -> float:
        """The number of times that all epochs together take a document, on average."""
        return sum(self.drawn) / self.documents if self.documents else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the entries as a JSON object."""
        entries = {"directory": self.path, "documents": self.documents, "weights": self.weights}
        return {**entries, "shares": self.shares, "drawn": self.drawn, "times": round(self.times, 6)}


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
    seed: int = 42,
    temperature: float = 1.0,
    repeat_at_most: int | None = None,
    dry_run: bool = False,
) -> MixedShards:
    """Write an index over directories of shards: their documents in exact shares, in a seeded order.

    ``Shards.open`` and ``train`` read the directory ``output`` as they read shards. It names the sources by
    relative paths and by the checksums of their manifests, so it moves with them, and notices new ones.
    Packed shards are packed again, as ``tokenize`` packs these documents in this order.

    Args:
        shards: the weight of each directory, or its weights in each epoch; the last one stays. ``None`` is
            the number of its documents.
        output: a directory: a new one, an empty one, or one of shards or a mixture. ``None`` in a dry run.
        total: number of documents in each epoch. Defaults to the largest number for which no document is
            taken more often than ``repeat_at_most``, or once.
        seed: seed of the order.
        temperature: weights are raised to ``1 / temperature``: above 1, small sources get larger shares.
        repeat_at_most: how often an epoch may take a document. Defaults to no limit if ``total`` is given.
        dry_run: whether to check and count only, and write nothing.

    Raises:
        UsageError: shards do not fit one another, or too few documents are there for these options.
        FileError: shards are missing, or the index cannot be written.
        InputError: shards are damaged.
    """
    check_whole("--seed", seed)
    for flag, value in (("--total", total), ("--repeat-at-most", repeat_at_most)):
        if value is not None and value < 1:
            raise UsageError(f"{flag} {value}: must be 1 or more")
    if not shards:
        raise UsageError("expected at least one directory of shards and its weight")
    folder = None if output is None else check_directory(output)
    sources = [_open(path, folder) for path in shards]
    _check_alike(sources)
    available = [source.documents for source in sources]
    weights = _by_epoch(shards, available)
    shares = [shares_of(epoch, temperature) for epoch in weights]
    counts = _counts([*shards], shares, available, total, repeat_at_most)
    if len(counts) > 1 and sources[0].size:
        raise UsageError(
            f"{sources[0].path}: shares by epoch are for shards that are not packed: their epochs would "
            "differ in the number of sequences"
        )
    by_source = (zip(*of_epochs, strict=True) for of_epochs in (weights, shares, counts))
    mixed = [
        MixedSource(str(path), count, [*of_source], [*map(float, share)], [*drawn])
        for path, count, of_source, share, drawn in zip(shards, available, *by_source, strict=True)
    ]
    if dry_run:
        return MixedShards(mixed, {})
    if folder is None:
        raise UsageError("there is no directory for the mixture: name one with --output")
    before = [[0] * len(sources)]
    for epoch in counts:
        before.append([old + new for old, new in zip(before[-1], epoch, strict=True)])
    order = np.concatenate(
        [mixed_order(available, epoch, seed, before=old) for epoch, old in zip(counts, before, strict=False)]
    )
    settings = {"weights": [source.weights for source in mixed], "counts": counts}
    settings |= {"total": sum(counts[0]), "temperature": temperature, "repeat_at_most": repeat_at_most}
    return MixedShards(mixed, _write(folder, sources, order, settings | {"seed": seed}, len(counts)))


def _open(path: str | Path, output: Path | None) -> Shards:
    source = Shards.open(path, verify=False)  # `train` verifies them before it begins
    if output is not None and output.resolve() == source.path.resolve():
        raise UsageError(f"{output}: is one of the sources; give another directory for the mixture")
    if source.epochs > 1:
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


def _counts(
    paths: Sequence[str | Path],
    shares: Sequence[Sequence[Fraction]],
    available: list[int],
    total: int | None,
    repeat_at_most: int | None,
) -> list[list[int]]:
    """Return the number of documents of each source in each epoch."""
    if total is None:
        total = min(largest_total(epoch, available, repeat_at_most or 1) for epoch in shares)
        if not total:
            raise UsageError("a source with a weight has no documents: leave it out, or give it the weight 0")
    counts = [quotas(epoch, total) for epoch in shares]
    for epoch in counts:
        for path, count, quota in zip(paths, available, epoch, strict=True):
            if quota and not count:
                raise UsageError(f"{path}: has no documents; leave it out, or give it the weight 0")
            if repeat_at_most and quota > count * repeat_at_most:
                most = min(largest_total(epoch, available, repeat_at_most) for epoch in shares)
                raise UsageError(
                    f"{path}: {quota:,} documents are needed, and {count:,} are there at most "
                    f"{repeat_at_most} times: give --total {most} or less, or a larger --repeat-at-most"
                )
    return counts


def _write(
    output: Path,
    sources: Sequence[Shards],
    order: NDArray[np.int64],
    settings: Mapping[str, Any],
    epochs: int,
) -> dict[str, Any]:
    """Write order and manifest in one step; return the manifest."""
    first = sources[0].manifest
    lengths = np.concatenate([source.lengths() for source in sources])[order]
    arrays = {"order": order.astype(number_type(sum(map(len, sources))))}
    size, sequences = sources[0].size, 0
    if size:
        packed = pack(lengths, size, seed=first["options"].get("seed", 42))
        order, lengths, sequences = order[packed.documents], packed.lengths, packed.sequences
        arrays = {"order": arrays["order"][packed.documents], "sequences": packed.offsets.astype("<u8")}
    manifest: dict[str, Any] = {
        "format": MIXTURE,
        "version": MIXTURE_VERSION,
        "dataprep": __version__,
        **{name: first[name] for name in ("dtype", "pad_id", "chat_format", "options")},
        "tokenizer": first["tokenizer"] | {"file": None},
        "mixture": settings,
        "epochs": epochs,
        "documents": int(order.size),
        "tokens": int(lengths.sum()),
        "longest": int(lengths.max(initial=0)),
        "sequences": sequences,
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
