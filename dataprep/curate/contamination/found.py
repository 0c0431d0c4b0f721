"""Recognise the test rows that ``decontaminate --found`` lists."""

from __future__ import annotations

from dataprep.core import io as files
from dataprep.core.errors import InputError


class FoundRows:
    """The test rows in a file of ``decontaminate --found``, or in any file of rows with an ``id``.

    Raises:
        InputError: a row has neither an id nor a digest.
    """

    def __init__(self, path: str) -> None:
        self._ids: dict[str, set[str | None]] = {}  # the digests of the rows with an id
        self._digests: set[str] = set()
        for where, row in files.read_rows(path):
            name, digest = row.get("id"), row.get("digest")
            if name is None and type(digest) is not str:
                problem = "no 'id' and no 'digest'; expected rows that `decontaminate --found` wrote"
                raise InputError(where, problem)
            if name is not None:
                self._ids.setdefault(str(name), set()).add(digest)
            if type(digest) is str:
                self._digests.add(digest)

    def __len__(self) -> int:
        return len(self._ids) + len(self._digests)

    def has(self, name: str | None, digest: str | None) -> bool:
        """Return whether a test row with an id and a digest of its question is listed."""
        if digest is not None and digest in self._digests:
            return True
        digests = self._ids.get(name) if name is not None else None
        if digests is None:
            return False
        # Sets that number their rows have the same ids; other ids name one row, however it is worded.
        return digest is None or None in digests or not str(name).isdecimal()
