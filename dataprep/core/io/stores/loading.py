"""Choose the store of a URL: one client for a bucket and process."""

from __future__ import annotations

import os
from threading import Lock

from dataprep.core.errors import NotFoundError
from dataprep.core.io.stores.base import Stat, Store, no_object
from dataprep.core.urls import is_url, joined, split_url

_OBJECTS = {"s3": "AWS_", "s3a": "AWS_", "gs": "GOOGLE_", "gcs": "GOOGLE_", "memory": "-"}
_OBJECTS |= dict.fromkeys(("az", "azure", "adl", "abfs", "abfss"), "AZURE_")

_stores: dict[tuple[object, ...], Store] = {}
_lock = Lock()


def store_of(url: str) -> Store:
    """Return the store of a URL or of a local path.

    Raises:
        MissingDependencyError: the package for this kind of URL is not installed.
        UsageError: no store has such URLs, or its settings are incomplete.
    """
    scheme, bucket, _ = split_url(url) if is_url(url) else ("file", "", "")
    # A forked process has no part in the threads of its parent's client. Variables can change in between.
    key = os.getpid(), scheme, bucket, _settings(scheme)
    with _lock:
        if key not in _stores:
            _stores[key] = _made(scheme, bucket, url)
        return _stores[key]


def _settings(scheme: str) -> int:
    prefix = _OBJECTS.get(scheme, "HF_" if scheme == "hf" else "-")
    return hash(tuple(sorted(pair for pair in os.environ.items() if pair[0].startswith(prefix))))


def _made(scheme: str, bucket: str, url: str) -> Store:
    if scheme == "file":
        from dataprep.core.io.stores.local import LocalStore

        return LocalStore()
    if scheme in _OBJECTS:
        from dataprep.core.io.stores.objects import ObjectStore

        return ObjectStore(scheme, bucket)
    if scheme == "hf":
        from dataprep.core.io.stores.hub import HubStore

        return HubStore()
    from dataprep.core.io.stores.others import FsspecStore

    return FsspecStore(url)


def stat(url: str) -> Stat:
    """Return size and etag of an object; those of its manifest for a folder of parts.

    Raises:
        NotFoundError: there is no such object.
    """
    place = joined(url, "manifest.json") if url.endswith("/") else url
    try:
        return store_of(url).stat(place)
    except NotFoundError:
        raise no_object(url) from None


def is_shared(path: str) -> bool:
    """Return whether other processes see the same file by this path or URL; ``memory://`` is per process."""
    return not is_url(path) or store_of(path).shared
