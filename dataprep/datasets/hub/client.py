"""The hub's own client: ``datasets`` finds the files of a split, ``huggingface_hub`` downloads them.

Downloads go into the client's cache, where a second call finds those that the first one had finished; a
connection that drops is taken up where the last whole piece (10 MB) ended. The client compares sizes only, so
the checksums that the hub states are compared here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from dataprep.core.errors import FetchError, first_line
from dataprep.core.optional import require
from dataprep.datasets.hub.manifest import Download

# The libraries whose errors say that the hub, or the way to it, is at fault.
_CLIENTS = {"datasets", "huggingface_hub", "httpx", "httpx2", "httpcore", "requests", "fsspec", "pyarrow"}


@contextmanager
def client(hub: str, progress: bool = False) -> Iterator[None]:
    """Whatever the client raises, as one line; its log silent, and its bars only where they are wanted.

    Raises:
        FetchError: in place of an error of the client's libraries, or of the connection.
        MissingDependencyError: they are not installed.
    """
    require("datasets", extra="hub", feature="fetching a dataset")
    import datasets
    import huggingface_hub

    try:
        with _quiet(datasets, show=False), _quiet(huggingface_hub, show=progress):
            yield
    except FetchError:
        raise
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        if library not in _CLIENTS and not isinstance(error, OSError | ValueError):
            raise
        raise FetchError(_said(hub, error)) from error


@contextmanager
def _quiet(library: Any, show: bool) -> Iterator[None]:
    """One of the two libraries without its log, and without its progress bars unless they are to show."""
    level, hidden = library.utils.logging.get_verbosity(), library.utils.are_progress_bars_disabled()
    library.utils.logging.set_verbosity_error()
    if not show:
        library.utils.disable_progress_bars()
    try:
        yield
    finally:
        library.utils.logging.set_verbosity(level)
        if not hidden:
            library.utils.enable_progress_bars()


def _said(hub: str, error: Exception) -> str:
    """What an error of the client means, in one line."""
    from huggingface_hub import constants
    from huggingface_hub.utils import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    names = {kind.__name__ for each in causes for kind in type(each).__mro__}
    endpoint = constants.ENDPOINT
    if isinstance(error, GatedRepoError):
        return f"{hub}: its terms have to be accepted at {endpoint}/datasets/{hub}, then `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return f"{hub}: {endpoint} has no such dataset, or it is private (`hf auth login`)"
    if isinstance(error, RevisionNotFoundError):
        return f"{hub}: there is no such revision; give another with --revision"
    if "OfflineModeIsEnabled" in names:
        return f"{hub}: HF_HUB_OFFLINE is set, so nothing is downloaded; unset it and try again"
    if names & {"TransportError", "ConnectionError", "LocalEntryNotFoundError"}:
        return f"{hub}: {endpoint} cannot be reached, or broke off; try again when the network is there"
    return f"{hub}: the download failed: {first_line(error)}"


def commit_of(hub: str, revision: str) -> tuple[str, dict[str, tuple[str, str]]]:
    """The commit that a revision names, and the checksum of each file there: its kind and digits."""
    from huggingface_hub import HfApi

    info = HfApi().dataset_info(hub, revision=revision, files_metadata=True, timeout=30)
    sums = {
        each.rfilename: ("sha256", each.lfs.sha256) if each.lfs else ("git", each.blob_id or "")
        for each in info.siblings or ()
    }
    return str(info.sha), sums


def builder_of(hub: str, config: str, commit: str, sums: Iterable[str]) -> Any:
    """What ``datasets`` knows of a config: its data files by split, and how they are read.

    The branch that the hub makes of a dataset with a loading script (``refs/convert/parquet``) has no card
    that names configs, but a folder for each.
    """
    import datasets

    plain = "README.md" not in sums and any(path.startswith(f"{config}/") for path in sums)
    which = {"data_dir": config} if plain else {"name": config}
    return datasets.load_dataset_builder(hub, revision=commit, **which)


def download(
    hub: str, where: str, builder: Any, commit: str, sums: Mapping[str, tuple[str, str]]
) -> list[tuple[str, Download]]:
    """The files of ``config/split`` (or ``config/split+split``) in the client's cache, each with what came.

    Raises:
        FetchError: there is no such split, or a file is damaged.
    """
    config, _, joined = where.partition("/")
    known = builder.config.data_files or {}
    found = []
    for split in joined.split("+"):
        if split not in known:
            has = ", ".join(map(str, known)) or "none"
            raise FetchError(f"{hub}: config {config} has no split {split!r} at {commit}; it has {has}")
        for url in known[split]:
            if f"@{commit}/" not in url:  # `datasets` falls back on its own cache when it is offline
                raise FetchError(f"{hub}: expected a file of {commit}, found {url}")
            found.append(_downloaded(hub, url.partition(f"@{commit}/")[2], commit, sums))
    return found


def _downloaded(
    hub: str, path: str, commit: str, sums: Mapping[str, tuple[str, str]]
) -> tuple[str, Download]:
    from huggingface_hub import hf_hub_download

    local = Path(hf_hub_download(hub, path, repo_type="dataset", revision=commit))
    size = local.stat().st_size
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with local.open("rb") as file:
        while piece := file.read(1 << 20):
            sha256.update(piece)
            git.update(piece)
    kind, expected = sums.get(path, ("", ""))
    found = git.hexdigest() if kind == "git" else sha256.hexdigest()
    if found != expected:
        for copy in (local.resolve(), local):  # the next call is to download it again
            copy.unlink(missing_ok=True)
        raise FetchError(
            f"{hub}: {path} is damaged: its checksum is {found}, the hub states {expected or 'none'}; "
            "nothing was written, run it again to download it anew"
        )
    return str(local), Download(path, size, sha256.hexdigest())


def read_downloads(hub: str, format_name: str, paths: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of downloaded files, as ``datasets`` reads them; nothing is copied into its cache."""
    with client(hub):
        import datasets

        rows: Iterator[dict[str, Any]] = iter(
            datasets.load_dataset(format_name, data_files={"rows": paths}, split="rows", streaming=True)
        )
    while True:
        with client(hub):
            block = list(islice(rows, 1024))
        if not block:
            return
        yield from block
