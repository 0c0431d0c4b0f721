"""Make shards on several machines: part files of ids and masks, which other tasks gather.

Workers write the tokens of each chunk of input as a part file beside the shards, with a record that holds
the lengths. This process packs the lengths, and ``gathering`` writes ids and masks of the shards. The rest is
small and written here, the manifest last. Records and part files stay until then, so that a run that was
killed continues where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprep.core import provenance
from dataprep.core.errors import FileError
from dataprep.core.io import Part, PartsOutput, PartTarget, read_bytes, writing
from dataprep.core.io.part_files import folder_at, located_file
from dataprep.core.io.parts import PartsFolder, at_once
from dataprep.core.io.paths import remove_manifest
from dataprep.core.io.stores import stat
from dataprep.core.ledger import advance
from dataprep.core.parallel import Backend
from dataprep.core.parallel.tasks import run
from dataprep.core.urls import is_url, joined
from dataprep.tokens.shards import writing as shard_writing
from dataprep.tokens.shards.collecting import Collected, EncodedBlock
from dataprep.tokens.shards.gathering import SPAN_BYTES, Placed, ShardWriter, Span, block_bytes, gather
from dataprep.tokens.shards.manifest import AGAIN, MANIFEST, content_digest, files_in, read_manifest
from dataprep.tokens.shards.packing import Packed

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TokenParts(PartsOutput):
    """The part files of a run, and what their records say; ``open_token_parts`` makes it.

    Attributes:
        documents: lengths and rows.
    """

    def __init__(self, where: str, dtype: np.dtype[Any]) -> None:
        self.output = folder_at(where)
        # A manifest that another run writes meanwhile is not replaced.
        before = self.output.read(MANIFEST)
        self._seen = None if before is None else before[1]
        super().__init__(where, PartsFolder(joined(where, shard_writing.PARTS)))
        self.documents = Collected(dtype)
        self._parts: list[Part] = []
        self._blocks: list[tuple[int, int]] = []  # for each block that has tokens, its part and their number

    def target(self, key: str) -> PartTarget:
        """Return where workers write the parts of a run over chunks."""
        return self.folder.target(key, ".bin")

    def add(self, part: Part) -> None:
        """Take a part that a worker has written; ``take`` is then called with its blocks."""
        super().add(part)
        self._parts.append(part)

    def take(self, encoded: EncodedBlock, before: int) -> None:
        """Take the documents of a block of the last part; ``before`` rows precede it."""
        self.documents.collect(encoded.lengths, encoded.rows(before), encoded.loss_tokens)
        if tokens := int(encoded.lengths.sum(dtype=np.int64)):
            self._blocks.append((len(self._parts) - 1, tokens))

    def close(self) -> None:
        """Take no more."""
        self.documents.close()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each document, once it is closed."""
        return self.documents.lengths

    def spans(self) -> list[Span]:
        """Return where the tokens of all blocks are, in order."""
        spans: list[Span] = []
        blocks = np.array(self._blocks, dtype=np.int64).reshape(-1, 2)
        dtype = self.documents.dtype
        bounds = np.searchsorted(blocks[:, 0], np.arange(len(self._parts) + 1)).tolist()
        for part, (first, last) in zip(self._parts, pairwise(bounds), strict=True):
            tokens = blocks[first:last, 1]
            ends = np.cumsum(block_bytes(tokens, dtype))
            assert not ends.size or ends[-1] == part.bytes, f"{part.name}: is not what its record says"
            numbers = (ends - 1) // SPAN_BYTES
            cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), tokens.size]
            path = located_file(self.folder.folder.path(part.name))
            for begin, end in pairwise(cuts):
                start = int(ends[begin - 1]) if begin else 0
                spans.append(Span(path, start, tokens[begin:end], dtype.str))
        return spans

    def finish(
        self, packed: Packed, facts: Mapping[str, Any], *, tokenizer: Path | None, backend: Backend
    ) -> dict[str, Any]:
        """Make the shards, and return the manifest, which is written last."""
        self.folder.beat()  # packing can take minutes
        cuts = shard_writing.cuts_of(packed, shard_writing.SHARD_TOKENS)
        tag = facts["key"][:16]
        with writing(self.path):
            written = self._gather(packed, cuts, tag, backend)
            shards = []
            for number, (begin, end) in enumerate(pairwise(cuts)):
                arrays = shard_writing.arrays_of(packed, self.documents.rows, begin, end)
                names = {kind: f"{tag}-{kind}-{number:05}.bin" for kind in arrays}
                files = self._put({names[kind]: array.tobytes() for kind, array in arrays.items()})
                described = dict(zip(arrays, files, strict=True))
                shards.append(shard_writing.entry_of(arrays, written[number] | described))
            copy = None
            if tokenizer is not None:
                content = read_bytes(str(tokenizer))
                (copy,) = self._put({shard_writing.copy_name(tag, content): content})
            manifest = shard_writing.manifest_of(self.documents, packed, facts, shards, copy)
            self.output.replace(MANIFEST, shard_writing.manifest_bytes(manifest), self._seen)
            self.folder.discard()
            shard_writing.remove_others(self.path, shard_writing.names_of(manifest))
        rows = int(packed.lengths.size)
        if is_url(self.path):
            url = self.path.rstrip("/") + "/"  # with it, the manifest stands for the folder
            remove_manifest(url)
            provenance.wrote_object(url, stat(url), rows=rows)
        else:
            provenance.wrote(self.path, rows=rows)
        return manifest

    def _gather(
        self, packed: Packed, cuts: list[int], tag: str, backend: Backend
    ) -> dict[int, dict[str, dict[str, Any]]]:
        """Write ids and masks of the shards; return what the manifest says about these files."""
        lengths = self.documents.lengths
        before = np.cumsum(lengths) - lengths
        ends = np.concatenate([[0], np.cumsum(packed.lengths)])
        shards = np.repeat(np.arange(len(cuts) - 1), np.diff(cuts))
        places = ends[:-1] - ends[cuts[:-1]][shards]
        placed = Placed(before[packed.documents] + packed.starts, packed.lengths, places, shards)
        tokens = np.diff(ends[cuts]).tolist()
        writer = ShardWriter(
            located_file(self.path),
            f"{tag}-{{}}-{{:05}}.bin",
            self.documents.dtype.str,
            tokens,
            PartTarget(located_file(self.folder.where), tag),
            self._fingerprint(),
        )
        written = {}
        for number, files in gather(writer, placed, self.spans(), backend=backend):
            written[number] = files
            self.folder.beat()
            advance("shards written", 1, len(tokens))
        return written

    def _fingerprint(self) -> str:
        """Return a digest of the parts, and of where documents begin in them."""
        digest = hashlib.sha256("".join(part.sha256 for part in self._parts).encode())
        digest.update(self.documents.lengths.data)
        return digest.hexdigest()

    def _put(self, files: Mapping[str, bytes]) -> list[dict[str, Any]]:
        """Write small files beside the manifest; return what it says about them."""

        def put(name: str) -> dict[str, Any]:
            self.output.put(name, files[name])
            sha256 = hashlib.sha256(files[name]).hexdigest()
            return {"name": name, "bytes": len(files[name]), "sha256": sha256}

        return [*at_once(put, files, self.output)]


def finished_at(place: str, key: str, backend: Backend) -> dict[str, Any]:
    """Return the manifest of the shards in a folder or at a URL, if they are of this key and whole.

    Raises:
        FileError: there are none, they are of another key, or a file is not what the manifest says.
    """
    manifest, folder = read_manifest(place), folder_at(place)
    if manifest["key"] != key:
        raise FileError(place, "holds shards of other rows or options")
    described, sizes = [*files_in(manifest)], folder.sizes()
    wrong = [file for file in described if sizes.get(file["name"]) != file["bytes"]]
    # An object is whole or not there, so its bytes need not be read again.
    if not wrong and not is_url(place):
        paths = [located_file(folder.path(file["name"])) for file in described]
        found = run(content_digest, paths, backend=backend)
        wrong = [described[number] for number, digest in found if digest != described[number]["sha256"]]
    if wrong:
        raise FileError(folder.path(wrong[0]["name"]), f"is not the file that was written; {AGAIN}")
    return manifest


@contextmanager
def open_token_parts(output: str | Path, dtype: np.dtype[Any]) -> Iterator[TokenParts]:
    """Open the part files of shards in a directory or at a URL; after an error, finished ones are kept."""
    where = str(output)
    new = not is_url(where) and not Path(where).exists()
    try:
        with ExitStack() as stack:
            with writing(where):
                if not is_url(where):
                    Path(where).mkdir(parents=True, exist_ok=True)
                    stack.enter_context(shard_writing.locked(Path(where), shard_writing.BUSY))
                parts = TokenParts(where, dtype)
            try:
                yield parts
            except BaseException:
                parts.folder.leave()
                raise
    finally:
        if new:
            with suppress(OSError):  # not empty: it holds the shards, or what a later run can use
                Path(where).rmdir()
