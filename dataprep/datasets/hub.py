"""Download with the hub's own client: ``datasets`` finds a split's files, ``huggingface_hub`` gets them.

Downloads go into the client's cache, where a later call finds those that are finished. A download that broke
off continues after its last whole piece (10 MB).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any

from dataprep.core.errors import FetchError, first_line
from dataprep.core.ledger import advance
from dataprep.core.optional import require

# The libraries whose errors mean that the hub, or the connection to it, is at fault. Any other error is a bug
# of ours and must not look like a bad connection.
_CLIENTS = {"datasets", "huggingface_hub", "httpx", "httpx2", "httpcore", "requests", "fsspec", "pyarrow"}


@dataclass(frozen=True)
class Download:
    """One file of the hub: its path there, its size in bytes, and its SHA-256 as downloaded."""

    path: str
    size: int
    sha256: str


@contextmanager
def client(hub: str, progress: bool = False) -> Iterator[None]:
    """Turn the client's errors into one line and silence its log; ``progress`` shows its bars."""
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
        if library in _CLIENTS or isinstance(error, OSError | ValueError):
            raise FetchError(_message_of(hub, error)) from error
        if not _raised_in_clients(error):
            raise
        # A dataset's card of another shape makes the libraries raise whatever they stumble over.
        raise FetchError(
            f"{hub}: its card (README.md) or its files are not as the library `datasets` expects them: "
            f"{type(error).__name__}: {first_line(error)}; give another --revision, or tell its authors"
        ) from error


def _raised_in_clients(error: Exception) -> bool:
    place, modules = error.__traceback__, set()
    while place is not None:
        modules.add(str(place.tb_frame.f_globals.get("__name__", "")).partition(".")[0])
        place = place.tb_next
    return bool(modules & _CLIENTS)


@contextmanager
def _quiet(library: Any, show: bool) -> Iterator[None]:
    # The caller's own settings of the libraries come back afterwards.
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


def _message_of(hub: str, error: Exception) -> str:
    from huggingface_hub import constants
    from huggingface_hub.utils import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    # The client wraps errors several times over, and the outermost often says the least.
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    # By name: the libraries that define these classes change with the client's version.
    names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    endpoint = constants.ENDPOINT
    if isinstance(error, GatedRepoError):
        # A gated dataset needs both steps: accept the terms in a browser, and log in here.
        return f"{hub}: accept its terms at {endpoint}/datasets/{hub}, then `hf auth login`"
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
    """Return the commit that a revision names, and each file's checksum there (its kind and digits)."""
    from huggingface_hub import HfApi

    info = HfApi().dataset_info(hub, revision=revision, files_metadata=True, timeout=30)
    sums = {
        file.rfilename: ("sha256", file.lfs.sha256) if file.lfs else ("git", file.blob_id or "")
        for file in info.siblings or ()
    }
    return str(info.sha), sums


def builder_of(hub: str, config: str, commit: str, sums: Iterable[str]) -> Any:
    """Return the builder of a config, which knows its data files by split and how they are read."""
    import datasets

    # refs/convert/parquet, the branch that the hub makes for a dataset with a loading script, has no card
    # that names configs, but a folder for each.
    plain = "README.md" not in sums and any(path.startswith(f"{config}/") for path in sums)
    which = {"data_dir": config} if plain else {"name": config}
    return datasets.load_dataset_builder(hub, revision=commit, **which)


def download(
    hub: str, where: str, builder: Any, commit: str, sums: Mapping[str, tuple[str, str]]
) -> list[tuple[str, Download]]:
    """Download the files of ``config/split+split…`` into the client's cache, and return their paths there."""
    config, _, joined = where.partition("/")
    known = builder.config.data_files or {}
    downloads = []
    for split in joined.split("+"):
        if split not in known:
            splits = ", ".join(map(str, known)) or "none"
            raise FetchError(f"{hub}: config {config} has no split {split!r} at {commit}; it has {splits}")
        for url in known[split]:
            # Offline, `datasets` falls back on its own cache, which can hold another commit.
            if f"@{commit}/" not in url:
                raise FetchError(f"{hub}: expected a file of {commit}, found {url}")
            downloads.append(_downloaded(hub, url.partition(f"@{commit}/")[2], commit, sums))
    return downloads


def _downloaded(
    hub: str, path: str, commit: str, sums: Mapping[str, tuple[str, str]]
) -> tuple[str, Download]:
    from huggingface_hub import hf_hub_download

    # The client compares sizes only, so the checksums that the hub states are compared here.
    local = Path(hf_hub_download(hub, path, repo_type="dataset", revision=commit, **_reporting()))
    size = local.stat().st_size
    # Git's own checksum of a file covers a header with its size.
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with local.open("rb") as file:
        while piece := file.read(1 << 20):
            sha256.update(piece)
            git.update(piece)
    kind, expected = sums.get(path, ("", ""))
    actual = git.hexdigest() if kind == "git" else sha256.hexdigest()
    if actual != expected:
        # Remove the file behind the link too, or the next call would find it in the cache again.
        for copy in (local.resolve(), local):
            copy.unlink(missing_ok=True)
        raise FetchError(
            f"{hub}: {path} is damaged: its checksum is {actual}, the hub states {expected or 'none'}; "
            "nothing was written, run the command again"
        )
    return str(local), Download(path, size, sha256.hexdigest())


def _reporting() -> dict[str, Any]:
    """Return the setting with which the client calls ``advance`` where it shows no bars of its own."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import are_progress_bars_disabled
    from tqdm import tqdm

    class Reported(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **(settings | {"disable": True}))

        def update(self, n: float | None = 1) -> None:
            advance("bytes downloaded", int(n or 0), int(self.total or 0))

    # Clients before 1.0 do not have it.
    known = "tqdm_class" in signature(hf_hub_download).parameters
    return {"tqdm_class": Reported} if known and are_progress_bars_disabled() else {}


def read_downloads(hub: str, format_name: str, paths: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of downloaded files, as ``datasets`` reads them."""
    # Streaming, because the cache would hold a second copy of every row.
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
