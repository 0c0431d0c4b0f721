"""Keep everybody out of the page but the one who was given its address.

A page on 127.0.0.1 can be reached by every program of the machine, and by the pages in the user's browser.
So the address has a random token, and these are refused:

- a request without the token: not found, whatever it asks for;
- a name in the header ``Host`` that is not this machine's: a page can make a name of its own lead here;
- a request that another page makes, by the headers ``Origin`` and ``Sec-Fetch-Site``;
- a mark that is not JSON: a form of another page can send everything else.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from hmac import compare_digest
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Only scripts and styles of the page itself, no frame around it, and nothing that tells its address.
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_LOCAL = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Pass requests to an app that have the token and come from the page itself.

    Args:
        app: the app, which sees paths without the token.
        token: the first part of every path.
        host: the address that the server listens at.
    """

    def __init__(self, app: App, token: str, host: str) -> None:
        self._app, self._token, self._host = app, token.encode(), host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":  # the server's own start and end
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        status, path = self._checked(scope["path"], scope["method"], headers)

        async def sent(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        if status == 200:
            inner = {**scope, "path": path, "raw_path": path.encode(), "root_path": ""}
            await self._app(inner, receive, sent)
            return
        text = {403: b"refused", 404: b"not found", 415: b"expected application/json"}[status]
        plain = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
        await sent({"type": "http.response.start", "status": status, "headers": plain})
        await sent({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else text})

    def _checked(self, path: str, method: str, headers: dict[str, str]) -> tuple[int, str]:
        """Return 200 and the path without the token, or the status of a refusal."""
        if not is_host(headers.get("host", ""), self._host):
            return 403, ""
        given, slash, rest = path.removeprefix("/").partition("/")
        # In constant time: how long a refusal takes says nothing about the token.
        if not compare_digest(given.encode("utf-8", "replace"), self._token) or not slash:
            return 404, ""
        # Other pages are refused by the browser too, by what is in the headers of the answer.
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, ""
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return 403, ""
        if method not in ("GET", "HEAD"):
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                return 415, ""
        return 200, f"/{rest}"


def is_local(host: str) -> bool:
    """Return whether an address can be reached from this machine alone."""
    return host in _LOCAL or (_ip(host) is not None and ipaddress.ip_address(host).is_loopback)


def is_host(header: str, host: str) -> bool:
    """Return whether a header ``Host`` names this machine, for a server that listens at ``host``."""
    try:
        name = urlsplit(f"//{header}").hostname
    except ValueError:
        return False
    if name is None:
        return False
    if name in _LOCAL or name == host.lower():
        return True
    # Who listens at all addresses cannot list them. A number is never somebody else's name.
    return not is_local(host) and (_ip(name) is not None or name == socket.gethostname().lower())


def _ip(name: str) -> object:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
