"""Capture a teacher's likeliest tokens at each token in the loss of token shards."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep import __version__
from dataprep.core.errors import UsageError
from dataprep.core.io import check_local
from dataprep.core.ledger import Ledger, advance
from dataprep.core.optional import quiet, require
from dataprep.tokens.logits.reading import Logits
from dataprep.tokens.logits.writing import LogitsWriter, open_writer
from dataprep.tokens.shards.manifest import is_shards, sha256_of
from dataprep.tokens.shards.reading import Shards
from dataprep.train.capture.base import Teacher
from dataprep.train.capture.options import CaptureOptions

if TYPE_CHECKING:
    from dataprep.teacher.settings import Endpoint
    from dataprep.tokens.logits.coding import TopLogprobs

# Files that decide a model's numbers.
_WEIGHTS = ("config.json", "*.safetensors", "*.bin")


@dataclass(frozen=True, slots=True)
class Captured:
    """The outcome of a capture.

    Attributes:
        logits: what was written, opened for reading.
        resumed: number of documents that an earlier run had captured.
        seconds: how long this run took, loading of the teacher included.
    """

    logits: Logits
    resumed: int
    seconds: float

    @property
    def ledger(self) -> Ledger:
        """The documents."""
        return Ledger(rows_in=self.logits.documents, rows_out=self.logits.documents)


def capture(
    shards: str | Path,
    output: str | Path,
    teacher_model: str,
    *,
    options: CaptureOptions | None = None,
    endpoint: Endpoint | None = None,
    log: Callable[[str], None] | None = None,
) -> Captured:
    """Write a teacher's likeliest tokens at each token in the loss of shards into a directory.

    Documents attend only to themselves, packed or not. A call with the same arguments keeps the documents of
    an earlier one, even if that was killed; with all documents there, nothing is done but to verify them.

    Args:
        shards: a directory of token shards, or of a mixture.
        output: the directory of logits.
        teacher_model: a directory as `transformers` saves a model, or a name on the Hub; with `endpoint`,
            the model's name there.
        options: the options.
        endpoint: an OpenAI-compatible server that gives log-probabilities of prompts, as vLLM does.
        log: called with each message.

    Raises:
        UsageError: an option cannot be served, or the directory holds something else.
        InputError: it holds logits of another teacher, tokenizer, shards or options, or damaged ones; or
            shards are damaged.
        TokenizerError: the teacher has another tokenizer than the shards.
        FileError: a file cannot be read or written, or the server gives no log-probabilities.
        MissingDependencyError: the extra `train`, or `teacher` with `endpoint`, is not installed.
    """
    began = time.perf_counter()
    for path in (shards, output):
        check_local(path, "capturing logits")
    if not is_shards(shards):
        raise UsageError(f"{shards}: no token shards; make them of rows with `dataprep tokenize`")
    opened = Shards.open(shards)
    options = _settled(options or CaptureOptions(), opened, endpoint)
    with quiet():
        facts = _facts(opened, teacher_model, options, endpoint)
        with open_writer(output, facts) as writer:
            finished = writer.finished
            resumed = int(writer.done.sum()) if not finished else opened.documents
            if resumed and not finished and log is not None:
                log(f"{resumed:,} of {opened.documents:,} documents are taken from an earlier run")
            if not finished:
                if not writer.done.all():
                    _write(writer, opened, _teacher(teacher_model, opened, options, endpoint))
                writer.finish()
    # Logits of an earlier run can have been damaged since it finished them.
    logits = Logits.open(output, verify=finished)
    if finished and log is not None:
        log(f"all {resumed:,} documents are taken from an earlier run")
    return Captured(logits, resumed, time.perf_counter() - began)


def _write(writer: LogitsWriter, shards: Shards, teacher: Teacher) -> None:
    # Those of an earlier run took no time of this one.
    total = int((~writer.done).sum())

    def write(documents: Sequence[tuple[int, TopLogprobs]]) -> None:
        writer.write(documents)
        advance("documents captured", len(documents), total)

    teacher.capture(shards, writer.done, write)


def _settled(options: CaptureOptions, shards: Shards, endpoint: Endpoint | None) -> CaptureOptions:
    """Return the options with what their defaults mean here, as the manifest records them."""
    # A position cannot have more tokens than there are.
    options = replace(options, top_k=min(options.top_k, shards.vocab_size))
    if endpoint is not None:
        if options.temperatures not in (CaptureOptions().temperatures, (1.0,)):
            raise UsageError("--temperature: a server gives the mass of the other tokens at 1 only")
        return replace(options, temperatures=(1.0,), precision="auto")
    for package in ("torch", "transformers", "safetensors"):
        require(package, extra="train", feature="capturing a teacher")
    from dataprep.train.capture.from_model import precision_of

    return replace(options, precision=precision_of(options))


def _facts(shards: Shards, model: str, options: CaptureOptions, endpoint: Endpoint | None) -> dict[str, Any]:
    """Return the part of the manifest that is known before the teacher is asked."""
    teacher = {"kind": "server", "name": model, "sha256": hashlib.sha256(model.encode()).hexdigest()}
    if endpoint is None:
        from dataprep.models.student import model_directory

        folder = Path(model_directory(model, "--teacher-model"))
        teacher = {"kind": "model", "name": folder.resolve().name, "sha256": _digest(folder)}
    return {
        "dataprep": __version__,
        "teacher": teacher,
        "tokenizer": {"fingerprint": shards.fingerprint, "vocab_size": shards.vocab_size},
        "shards": {"checksum": shards.manifest["checksum"], "documents": shards.documents},
        "options": {
            "top_k": options.top_k,
            "temperatures": list(options.temperatures),
            "precision": "server" if endpoint is not None else options.precision,
        },
    }


def _digest(folder: Path) -> str:
    """Return the SHA-256 of a model's files: of their names and digests, in order."""
    paths = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))
    lines = [f"{path.name} {sha256_of(path)}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _teacher(model: str, shards: Shards, options: CaptureOptions, endpoint: Endpoint | None) -> Teacher:
    if endpoint is not None:
        from dataprep.train.capture.from_server import ServerTeacher

        return ServerTeacher(model, endpoint, shards, options)
    from dataprep.train.capture.from_model import ModelTeacher

    return ModelTeacher(model, shards, options)
