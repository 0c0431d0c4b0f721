"""Objects in S3, in Google's and Microsoft's stores, and in memory, by obstore.

obstore takes credentials from the environment as each provider defines it, asks again after server errors
with growing pauses, and uploads large objects in parts: docs/decisions/0010-object-stores.md.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from dataprep.core.errors import DataprepError, FileError, MissingDependencyError, UsageError
from dataprep.core.io.stores.base import (
    TRIES,
    Stat,
    Unsendable,
    changed,
    denied,
    exists,
    no_bucket,
    no_object,
    replaced,
    unreachable,
)
from dataprep.core.urls import split_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

PART_BYTES = 32 << 20
"""A larger object is uploaded in parts of this size, of which S3 takes 10,000."""
_PARTS_AT_ONCE = 4
_PAUSE = 0.1  # seconds before the first repeated request; later pauses grow, by chance too

SCHEMES = {
    "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "memory": "memory",
    "az": "az", "azure": "az", "adl": "az", "abfs": "az", "abfss": "az",
}  # fmt: skip
VARIABLES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
"""How the environment variables begin by which a provider is set up."""
_KEYS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true for a public bucket",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
}
_BOTH_CASES = ("endpoint", "endpoint_url", "endpoint_url_s3", "base_url", "storage_endpoint")
# Without keys the libraries ask the machine for those of its role.
_ASKS_FOR_KEYS = (
    "/latest/api/token",
    "/latest/meta-data",
    "computeMetadata",
    "/metadata/identity",
    "redential",
)
_STATUS = re.compile(r"status code: (\d+ [A-Za-z ]+)")


class ObjectStore(Unsendable):
    """A bucket."""

    def __init__(self, scheme: str, bucket: str) -> None:
        self.shared = scheme != "memory"
        self._scheme = SCHEMES[scheme]
        self._client = _client_of(scheme, bucket)

    def stat(self, url: str) -> Stat:
        """Return size and etag of an object."""
        import obstore

        with self._translated(url):
            return _stat_of(obstore.head(self._client, _key_of(url)))

    def read(self, url: str, start: int, end: int, etag: str | None = None) -> bytes:
        """Return a range of an object's bytes; see ``Store.read``."""
        import obstore
        from obstore.exceptions import PreconditionError

        if start >= end:
            return b""
        with self._translated(url):
            try:
                options: Any = {"range": (start, end)} | ({"if_match": etag} if etag else {})
                return bytes(obstore.get(self._client, _key_of(url), options=options).bytes())
            except PreconditionError:
                raise changed(url) from None
            except Exception:
                # A range behind the end is an error with other words in each store.
                if start < self.stat(url).size:
                    raise
                return b""

    def list(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield URL, size and etag of each object below a folder."""
        import obstore

        _, bucket, key = split_url(prefix)
        scheme = prefix.partition("://")[0]  # as it was typed: `S3` too
        with self._translated(prefix):
            for objects in obstore.list(self._client, key.strip("/") or None):
                for found in objects:
                    yield f"{scheme}://{bucket}/{found['path']}", _stat_of(found)

    def put(self, url: str, data: bytes, *, new: bool = False, match: str | None = None) -> str:
        """Write an object and return its etag; see ``Store.put``."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create" if new else {"e_tag": match} if match is not None else "overwrite"
        with self._translated(url):
            try:
                result = obstore.put(
                    self._client,
                    _key_of(url),
                    bytes(data),
                    mode=mode,
                    chunk_size=PART_BYTES,
                    use_multipart=None,
                )
            except (AlreadyExistsError, PreconditionError):
                raise (exists if new else replaced)(url) from None
        return result["e_tag"] or ""

    @contextmanager
    def writer(self, url: str) -> Iterator[IO[bytes]]:
        """Yield a stream for an object, which appears when the ``with`` block ends without an error."""
        import obstore

        with self._translated(url):
            upload = obstore.open_writer(
                self._client, _key_of(url), buffer_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            )
        stream = _Upload(self, url, upload)
        # Without Python's buffer each line would be a call of the library.
        buffered = io.BufferedWriter(cast(io.RawIOBase, stream), 1 << 20)
        try:
            yield buffered
            buffered.flush()
        except BaseException as error:
            stream.discarded = True
            # With an error the library gives the upload up: no part of it stays in the bucket.
            with suppress(Exception):
                upload.__exit__(type(error), error, None)
            raise
        with self._translated(url):
            upload.__exit__(None, None, None)
        stream.discarded = True

    def delete(self, url: str) -> None:
        """Remove an object, if it exists."""
        import obstore

        with self._translated(url), suppress(FileNotFoundError):
            obstore.delete(self._client, _key_of(url))

    @contextmanager
    def _translated(self, url: str) -> Iterator[None]:
        """Turn errors of obstore into dataprep's own."""
        try:
            yield
        except DataprepError:
            raise
        except FileNotFoundError:
            raise (no_object if self._has_bucket() else no_bucket)(url) from None
        except Exception as error:
            # The end of an upload raises OSError where other calls raise errors of their own.
            if not (isinstance(error, OSError) or type(error).__module__.startswith("obstore")):
                raise
            raise self._error_of(url, error) from None

    def _error_of(self, url: str, error: Exception) -> FileError:
        name, text = type(error).__name__, str(error)
        status = _STATUS.search(text)
        if "NoSuchBucket" in text or "ContainerNotFound" in text:
            return no_bucket(url)
        if name in ("PermissionDeniedError", "UnauthenticatedError") or " 403 " in text or " 401 " in text:
            return denied(url, _KEYS.get(self._scheme, "credentials"))
        if "redirect" in text and self._scheme == "s3":
            return unreachable(url, "the bucket is in another region; set AWS_REGION to it")
        if any(words in text for words in _ASKS_FOR_KEYS):
            return denied(url, f"{_KEYS.get(self._scheme)}; no credentials were found")
        # The rest of the text is the library's own view of the request.
        reason = f"the store answers {status[1].strip()}" if status else _short(text)
        return unreachable(url, f"{reason}; {self._setting()}")

    def _setting(self) -> str:
        variables = [
            name for name in os.environ if name.startswith(VARIABLES.get(self._scheme, "-"))
            and name.lower().endswith(_BOTH_CASES)
        ]  # fmt: skip
        return f"check the network, and {' and '.join(sorted(variables)) or 'try again later'}"

    def _has_bucket(self) -> bool:
        """Return whether the bucket exists: obstore's error for an object without a bucket is the same."""
        import obstore

        if not self.shared:
            return True
        try:
            next(iter(obstore.list(self._client, chunk_size=1)), None)
        except Exception as error:  # noqa: BLE001 - without the right to list nothing can be said
            return not (isinstance(error, FileNotFoundError) or "404" in str(error))
        return True


class _Upload(io.RawIOBase):
    """A stream into an upload of obstore."""

    def __init__(self, store: ObjectStore, url: str, upload: Any) -> None:
        self.discarded = False  # what a buffer still holds goes nowhere
        self._store, self._url, self._upload = store, url, upload

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if not self.discarded:
            with self._store._translated(self._url):
                # A copy: the library keeps what it is given until it is sent, and a buffer is used again.
                self._upload.write(bytes(data))
        return len(data)


def _client_of(scheme: str, bucket: str) -> Any:
    try:
        from obstore import store
    except ImportError:
        raise MissingDependencyError("obstore", "cluster", f"a URL that begins with {scheme}://") from None
    if SCHEMES[scheme] == "memory":
        return store.MemoryStore()
    if not bucket:
        raise UsageError(f"{scheme}://: expected a bucket and a key, such as {scheme}://bucket/rows.jsonl")
    options: dict[str, Any] = {"client_options": _client_options(scheme), "retry_config": _retries()}
    try:
        if SCHEMES[scheme] == "s3":
            provider = _profile_of(os.environ)
            return store.S3Store(bucket, credential_provider=provider, **options)
        return store.from_url(f"{scheme}://{bucket}", **options)
    except Exception as error:  # noqa: BLE001 - of several libraries
        # Such as an account that no variable names, or a file of keys that cannot be read.
        raise UsageError(f"{scheme}://{bucket}: {_short(str(error))}; set {_KEYS[SCHEMES[scheme]]}") from None


def _client_options(scheme: str) -> ClientConfig:
    # Without encryption only where the user names such an endpoint. A part of 32 MiB may take its time.
    endpoints = (
        value for name, value in os.environ.items()
        if name.startswith(VARIABLES[SCHEMES[scheme]]) and name.lower().endswith(_BOTH_CASES)
    )  # fmt: skip
    return {
        "allow_http": any(value.startswith("http://") for value in endpoints),
        "timeout": timedelta(minutes=5),
        "read_timeout": timedelta(seconds=30),
    }


def _retries() -> RetryConfig:
    pauses = {"init_backoff": timedelta(seconds=_PAUSE), "max_backoff": timedelta(seconds=15), "base": 2}
    return cast("RetryConfig", {"max_retries": TRIES, "backoff": pauses})


def _profile_of(environment: Mapping[str, str]) -> Any:
    """Return what finds the keys of a profile; ``None`` if variables or a role of the machine have them."""
    if "AWS_PROFILE" not in environment:
        own = {"AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE"}
        files = environment.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
        if own & {*environment} or not Path(files).expanduser().is_file():
            return None
    if find_spec("boto3") is None:
        if "AWS_PROFILE" in environment:
            raise MissingDependencyError("boto3", "cluster", "AWS_PROFILE")
        return None
    from obstore.auth.boto3 import Boto3CredentialProvider

    return Boto3CredentialProvider()


def _key_of(url: str) -> str:
    key = split_url(url)[2]
    if not key or key.endswith("/"):
        raise FileError(url, "is a folder; expected an object, such as rows.jsonl in it")
    # obstore refuses them, and other tools write them by mistake.
    if "//" in key or {".", ".."} & {*key.split("/")} or key.startswith("/"):
        raise FileError(url, "empty, . and .. are no parts of a key here; rename the object")
    return key


def _stat_of(found: Any) -> Stat:
    return Stat(found["size"], found["e_tag"] or f"{found['last_modified']:%Y%m%dT%H%M%S.%f}")


def _short(text: str) -> str:
    """Return the part of an error's text that says what happened."""
    text = text.partition("\n\nDebug source")[0]
    return text.rpartition(" - ")[2].strip() or text.strip()
