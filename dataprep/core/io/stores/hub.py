"""Files in repositories of the Hugging Face hub: ``hf://datasets/OWNER/NAME/rows.jsonl``.

A write is one commit, so it appears whole. Conditions hold exactly: a commit names the one that it follows,
and the hub refuses it if another one was made meanwhile.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from dataprep.core.errors import (
    DataprepError,
    FileError,
    MissingDependencyError,
    NotFoundError,
    UsageError,
    first_line,
)
from dataprep.core.io.stores.base import (
    TRIES,
    Stat,
    Unsendable,
    changed,
    denied,
    exists,
    no_object,
    replaced,
    unreachable,
)
from dataprep.core.io.unfinished import temporary_folder

_URL = re.compile(
    r"hf://(?:(?P<kind>datasets|models|spaces)/)?(?P<repo>[^/@]+/[^/@]+)"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+))?(?:/(?P<path>.*))?",
    re.IGNORECASE,
)
_KINDS = {"datasets": "dataset", "spaces": "space", "models": "model", None: "model"}
_STALE = 412  # the status for a commit that follows another one than the last
_BEHIND = 416  # the status for a range behind the end


class _File(NamedTuple):
    repo: str
    kind: str
    revision: str
    path: str

    @property
    def repository(self) -> dict[str, str]:
        """The arguments by which huggingface_hub names a repository."""
        return {"repo_id": self.repo, "repo_type": self.kind, "revision": self.revision}


class HubStore(Unsendable):
    """The repositories that the token in ``HF_TOKEN``, or of ``hf auth login``, may see."""

    shared = True

    def __init__(self) -> None:
        try:
            from huggingface_hub import HfApi
        except ImportError:
            raise MissingDependencyError("huggingface_hub", "hub", "a URL that begins with hf://") from None
        self._endpoint = os.environ.get("HF_ENDPOINT")
        self._api = HfApi(endpoint=self._endpoint, library_name="dataprep")

    def stat(self, url: str) -> Stat:
        """Return size of a file, and the digest of its content that the hub has."""
        file = _file_of(url)
        with _translated(url):
            return self._stat(url, file)

    def _stat(self, url: str, file: _File) -> Stat:
        found = [
            each
            for each in self._api.get_paths_info(paths=[file.path], **file.repository)
            if hasattr(each, "blob_id")
        ]
        if not found:
            raise no_object(url)
        return _stat_of(found[0])

    def read(self, url: str, start: int, end: int, etag: str | None = None) -> bytes:
        """Return a range of a file's bytes; see ``Store.read``."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

        if start >= end:
            return b""
        file = _file_of(url)
        headers = build_hf_headers(library_name="dataprep")
        headers |= {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        with _translated(url):
            address = hf_hub_url(filename=file.path, endpoint=self._endpoint, **file.repository)
            response = http_backoff("GET", address, headers=headers, max_retries=TRIES, timeout=30)
            if response.status_code == _BEHIND:
                return b""
            hf_raise_for_status(response)
            now = _etag_in([*response.history, response])
            if etag is not None and etag != (self._stat(url, file).etag if now is None else now):
                raise changed(url)
            data: bytes = response.content
        return data if response.status_code == 206 else data[start:end]

    def list(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield URL, size and etag of each file below a folder."""
        from huggingface_hub.errors import EntryNotFoundError

        file = _file_of(prefix, folder=True)
        top = prefix.rstrip("/").removesuffix(file.path).rstrip("/")
        with _translated(prefix):
            try:
                tree = self._api.list_repo_tree(
                    path_in_repo=file.path or None, recursive=True, **file.repository
                )
                for each in tree:
                    if hasattr(each, "blob_id"):
                        yield f"{top}/{each.path}", _stat_of(each)
            except EntryNotFoundError:
                return

    def put(self, url: str, data: bytes, *, new: bool = False, match: str | None = None) -> str:
        """Write a file as one commit, and return its etag; see ``Store.put``."""

        def check(at: _File) -> None:
            try:
                before = self._stat(url, at).etag
            except NotFoundError:
                before = None
            if new and before is not None:
                raise exists(url)
            if match is not None and before != match:
                raise replaced(url)

        self._add(url, data, check if new or match is not None else None)
        return self.stat(url).etag

    @contextmanager
    def writer(self, url: str) -> Iterator[IO[bytes]]:
        """Yield a stream for a file, which is committed when the ``with`` block ends without an error."""
        _file_of(url)
        with temporary_folder() as folder:
            path = folder / "object"
            with path.open("wb") as stream:
                yield stream
            self._add(url, path)

    def delete(self, url: str) -> None:
        """Remove a file by a commit, if it exists."""
        from huggingface_hub import CommitOperationDelete

        file = _file_of(url)
        try:
            self.stat(url)
        except NotFoundError:
            return
        self._commit(url, f"Delete {file.path}", lambda: CommitOperationDelete(file.path))

    def _add(self, url: str, content: bytes | Path, check: Callable[[_File], None] | None = None) -> None:
        from huggingface_hub import CommitOperationAdd

        path = _file_of(url).path
        self._commit(url, f"Add {path}", lambda: CommitOperationAdd(path, content), check)

    def _commit(
        self,
        url: str,
        message: str,
        operation: Callable[[], Any],
        check: Callable[[_File], None] | None = None,
    ) -> None:
        """Make a commit; ``check`` looks at the one that it follows, again if that was not the last."""
        from huggingface_hub.errors import HfHubHTTPError

        file = _file_of(url)
        with _translated(url), _without_bars():
            for remaining in reversed(range(TRIES)):
                parent = None
                if check is not None:
                    parent = self._api.repo_info(**file.repository).sha
                    check(file._replace(revision=parent or file.revision))
                try:
                    # An operation is used up by a commit.
                    self._api.create_commit(
                        operations=[operation()],
                        commit_message=message,
                        parent_commit=parent,
                        **file.repository,
                    )
                    return
                except HfHubHTTPError as error:
                    if error.response.status_code != _STALE or not remaining:
                        raise


def _file_of(url: str, *, folder: bool = False) -> _File:
    found = _URL.fullmatch(url)
    if found is None or url.lower().startswith("hf://buckets/"):
        raise UsageError(f"{url}: expected hf://datasets/OWNER/NAME/PATH, of a dataset, a model or a space")
    path = (found["path"] or "").strip("/")
    if not folder and (not path or url.endswith("/")):
        raise FileError(url, "is a folder; expected a file, such as data/rows.jsonl in it")
    kind = _KINDS[found["kind"] and found["kind"].lower()]
    revision = (found["revision"] or "main").replace("%2F", "/").replace("%2f", "/")
    return _File(found["repo"], kind, revision, path)


def _stat_of(found: Any) -> Stat:
    # Of a large file, git has a pointer: the digest of the file itself is what downloads name too.
    lfs = found.lfs
    return Stat(found.size, lfs.sha256 if lfs is not None else found.blob_id)


def _etag_in(responses: list[Any]) -> str | None:
    """Return the etag of a file in the answers that led to its bytes; ``None`` if the hub gives none."""
    linked = [each.headers["X-Linked-ETag"] for each in responses if "X-Linked-ETag" in each.headers]
    direct = [
        each.headers["ETag"]
        for each in responses
        if "X-Repo-Commit" in each.headers and "ETag" in each.headers
    ]
    return next((etag.removeprefix("W/").strip('"') for etag in [*linked, *direct]), None)


@contextmanager
def _without_bars() -> Iterator[None]:
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    before = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turn errors of huggingface_hub into dataprep's own."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    key = "HF_TOKEN to a token that may do this"
    try:
        yield
    except DataprepError:
        raise
    except GatedRepoError:
        raise denied(url, f"{key}, and accept the conditions on the repository's page") from None
    except RepositoryNotFoundError:
        raise FileError(url, f"no such repository; correct its name, or set {key}") from None
    except RevisionNotFoundError:
        raise FileError(url, "no such branch, tag or commit in the repository") from None
    except EntryNotFoundError:
        raise no_object(url) from None
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise denied(url, key) from None
        if error.response.status_code == _STALE:
            raise replaced(url) from None
        raise unreachable(url, first_line(error)) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "requests", "urllib3"):
            raise unreachable(url, first_line(error)) from None
        if isinstance(error, OSError):
            raise unreachable(url, first_line(error)) from None
        raise
