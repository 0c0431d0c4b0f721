"""Check, before work begins, that every node of a cluster would write the same bytes to the same place."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from dataprep.core.errors import DataprepError, NotFoundError, UsageError, first_line
from dataprep.core.io import difference, versions
from dataprep.core.io.stores import joined, store_of
from dataprep.core.parallel.backends import Backend

HEAD_BYTES = 64 << 10  # of the first input, which every node hashes
_SEEN_SECONDS = 2.0  # some shared folders show a new file late


@dataclass(frozen=True, slots=True)
class _Question:
    source: str | None  # a file or URL
    place: str | None  # a folder or its URL
    name: str  # of a file in that folder, which the driver has written
    nonce: bytes  # its bytes


@dataclass(frozen=True, slots=True)
class _Answer:
    versions: dict[str, str]
    head: str | None  # SHA-256 of the beginning of the first input
    problem: str = ""


def check_nodes(backend: Backend, source: str | None = None, place: str | None = None) -> None:
    """Raise an error that names a node on which the work would fail, or write other bytes.

    Every node must have the same dataprep, Python and libraries that parse and write rows as this process,
    must read the same beginning of the first input, and must see and write the folder of the outputs.

    Args:
        backend: the cluster; a backend without other machines has nothing to check.
        source: the first input, a path or a URL.
        place: the folder that outputs go to, or its URL.

    Raises:
        UsageError: a node differs.
        FileError: this process itself cannot read the input, or write into the folder.
    """
    nonce = os.urandom(16)
    question = _Question(source, place, f".dataprep.{os.urandom(8).hex()}.partial", nonce)
    ours = _Answer(versions(), _head(source))
    with _written(place, question.name, nonce):
        answers = backend.on_nodes(_look, question)
    for name, answer in answers:
        problem = _difference(answer, ours)
        if problem:
            raise UsageError(f"node {name}: {problem}")


def _look(question: _Question) -> _Answer:
    """Answer for the node that runs it."""
    head, problem = None, ""
    try:
        head = _head(question.source)
        if question.place is not None:
            problem = _try_place(question.place, question.name, question.nonce)
    except DataprepError as error:
        problem = str(error)
    return _Answer(versions(), head, problem)


def _head(source: str | None) -> str | None:
    if source is None:
        return None
    return hashlib.sha256(store_of(source).read(source, 0, HEAD_BYTES)).hexdigest()


def _try_place(place: str, name: str, nonce: bytes) -> str:
    """Return what is wrong with a folder on this node, if anything is."""
    path, deadline = joined(place, name), time.monotonic() + _SEEN_SECONDS
    while True:
        try:
            if store_of(path).read(path, 0, len(nonce)) == nonce:
                break
        except NotFoundError:
            pass
        if time.monotonic() > deadline:
            return f"{place} is another folder there; outputs need a place that all nodes share"
        time.sleep(0.1)
    with _written(place, f".dataprep.{os.urandom(8).hex()}.partial", nonce):
        return ""


@contextmanager
def _written(place: str | None, name: str, data: bytes) -> Iterator[None]:
    """Write a file into a folder for the block."""
    if place is None:
        yield
        return
    path = joined(place, name)
    store = store_of(path)
    store.put(path, data)
    try:
        yield
    finally:
        with suppress(DataprepError):
            store.delete(path)


def _difference(answer: object, ours: _Answer) -> str:
    if not isinstance(answer, _Answer):
        return first_line(answer) if isinstance(answer, BaseException) else f"answered {answer!r}"
    if problem := difference(ours.versions, answer.versions) or answer.problem:
        return problem
    if answer.head != ours.head:
        return "reads another file as the first input; inputs need a place that all nodes share"
    return ""
