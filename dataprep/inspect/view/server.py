"""Serve the page until somebody ends it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_urlsafe

from dataprep.core.errors import FileError, UsageError
from dataprep.core.optional import require
from dataprep.inspect.view.app import make_app
from dataprep.inspect.view.opened import opened_files
from dataprep.inspect.view.security import is_local

HOST = "127.0.0.1"


def view(
    paths: str | Path | Sequence[str | Path],
    *,
    host: str = HOST,
    port: int = 0,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a page over files of rows, until Ctrl-C or a signal.

    Args:
        paths: the files, of any size and format.
        host: the address to listen at. With any other than the default, other machines can read the files
            if they know the page's address.
        port: the port to listen at; 0 is any free one.
        on_ready: called with the page's address when it can be opened.

    Raises:
        MissingDependencyError: starlette or uvicorn is not installed.
        UsageError: a path is standard input, or host and port cannot be listened at.
        FileError: a file cannot be opened.
        InputError: a file is of another kind than its name says.
    """
    for package in ("starlette", "uvicorn"):
        require(package, extra="view", feature="dataprep view")
    import uvicorn

    names = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    with _listening(host, port) as listener, opened_files(names) as opened:
        token = token_urlsafe(24)
        # Nothing is logged: the token is in every path.
        config = uvicorn.Config(
            make_app(opened, token, host=host),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        if on_ready is not None:
            on_ready(address_of(listener, token))
        uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise UsageError(f"--host {host}: not an address of this machine: {error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise FileError(f"{host}:{port}", f"cannot be listened at: {reason}; choose another --port") from None
    return listener


def address_of(listener: socket.socket, token: str) -> str:
    """Return the page's address, as a browser on this machine opens it."""
    host, port = listener.getsockname()[:2]
    # All addresses of a machine are listened at, and one can be opened.
    name = {"0.0.0.0": HOST, "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{port}/{token}/"


def warning_of(host: str) -> str:
    """Return what to say about an address that other machines can reach; empty for this machine alone."""
    if is_local(host):
        return ""
    return (
        f"other machines can reach {host}: whoever gets the page's address can read the files and mark rows"
    )
