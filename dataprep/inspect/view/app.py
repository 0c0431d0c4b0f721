"""The app behind the page: it answers with JSON, and with the page's own files.

========================  =========================================================
``GET /``                 the page
``GET /static/NAME``      its script and its style
``GET /api/files``        the files, which are known by their index from then on
``GET /api/page``         previews of the rows from a number on
``GET /api/row``          all of a row
``GET /api/raw``          a row as JSON text
``GET /api/values``       sources and statuses to choose from
``GET /api/same``         the lines of journals for the request of a row
``GET /api/find``         rows that match, some at a time
``POST /api/mark``        a person's mark
========================  =========================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files as resources
from typing import TYPE_CHECKING, Any

import orjson

from dataprep.core import html
from dataprep.core.errors import DataprepError, UsageError
from dataprep.core.jsonl import MAX_LINE
from dataprep.core.optional import require
from dataprep.inspect.view.opened import Opened
from dataprep.inspect.view.rows import CUT, raw
from dataprep.inspect.view.search import Query
from dataprep.inspect.view.security import App, Guard

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PAGE = 50
_MOST = 200
_BODY = 1 << 16
_TYPES = {"css": "text/css", "js": "text/javascript", "html": "text/html", "svg": "image/svg+xml"}
_STATIC = ("index.html", "view.css", "api.js", "draw.js", "page.js", "view.js", "icon.svg")


def make_app(opened: Sequence[Opened], token: str, *, host: str = "127.0.0.1") -> App:
    """Return the app over opened files, as ASGI servers call it.

    Args:
        opened: the files.
        token: the first part of every path, which must not be guessed.
        host: the address that the server listens at.

    Raises:
        MissingDependencyError: starlette is not installed.
    """
    require("starlette", extra="view", feature="dataprep view")
    from starlette.applications import Starlette
    from starlette.routing import Route

    pages = _Pages(opened)
    calls: Mapping[str, Callable[[Request], Any]] = {
        "files": pages.files,
        "page": pages.page,
        "row": pages.row,
        "raw": pages.raw,
        "find": pages.find,
        "same": pages.same,
        "values": pages.values,
    }
    routes = [
        Route("/", _static),
        Route("/static/{name}", _static),
        *(Route(f"/api/{name}", _answering(call)) for name, call in calls.items()),
        Route("/api/mark", pages.mark, methods=["POST"]),
    ]
    return Guard(Starlette(routes=routes), token, host)


def _json(value: Any, status: int = 200) -> Response:
    from starlette.responses import Response

    return Response(orjson.dumps(value), status, media_type="application/json")


def _answering(call: Callable[[Request], Any]) -> Callable[[Request], Response]:
    # No async function: files are read in threads, so that one request does not wait for another.
    def answer(request: Request) -> Response:
        try:
            return _json(call(request))
        except UsageError as error:
            return _json({"error": str(error)}, 400)
        except DataprepError as error:
            return _json({"error": str(error)}, 409)

    return answer


def _static(request: Request) -> Response:
    from starlette.responses import Response

    name = request.path_params.get("name", "index.html")
    # A list, so that no name leads to another file.
    if name not in _STATIC:
        return _json({"error": "not found"}, 404)
    text = (resources("dataprep.inspect.view") / "static" / name).read_text("utf-8")
    if name == "view.css":
        text = html.STYLE + text
    return Response(text, media_type=_TYPES[name.rpartition(".")[2]])


class _Pages:
    """The answers, as values of JSON."""

    def __init__(self, opened: Sequence[Opened]) -> None:
        self._opened = opened

    def files(self, _request: Request) -> list[dict[str, Any]]:
        return [file.state() | {"index": index} for index, file in enumerate(self._opened)]

    def _of(self, values: Mapping[str, Any]) -> Opened:
        index = _number(values, "file", 0)
        if not 0 <= index < len(self._opened):
            raise UsageError(f"file: found {index}; expected 0 to {len(self._opened) - 1}")
        return self._opened[index]

    def page(self, request: Request) -> dict[str, Any]:
        values = request.query_params
        file, count = self._of(values), _count(values)
        return file.page(_number(values, "at", 1), count) | {"state": file.state()}

    def row(self, request: Request) -> dict[str, Any]:
        values = request.query_params
        file, number = self._of(values), _number(values, "number", 1)
        row = file.row(number, whole=values.get("whole") == "1")
        return {"row": row, "state": file.state()}

    def same(self, request: Request) -> dict[str, Any]:
        values = request.query_params
        return self._of(values).same_request(_number(values, "number", 1), self._opened)

    def values(self, request: Request) -> dict[str, Any]:
        return self._of(request.query_params).values()

    def raw(self, request: Request) -> dict[str, Any]:
        values = request.query_params
        line = self._of(values).line(_number(values, "number", 1))
        whole = values.get("whole") == "1"
        return raw(line[1] if whole or line[0] <= MAX_LINE else line[1][:CUT], whole) if line else {}

    def find(self, request: Request) -> dict[str, Any]:
        values = request.query_params
        file = self._of(values)
        mark = values.get("mark", "")
        text, source, status = (values.get(name, "") for name in ("text", "source", "status"))
        flagged = mark == "flagged"
        query = Query(text, source, status, flagged, file.kind, file.mark_of, "" if flagged else mark)
        back = values.get("back") == "1"
        count = _count(values)
        start = _number(values, "at", 1)
        return file.find(query, start, back=back, count=count) | {"state": file.state()}

    async def mark(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _BODY:
                return _json({"error": f"a mark has at most {_BODY:,} bytes"}, 413)
        try:
            values = orjson.loads(body)
            if not isinstance(values, dict):
                raise UsageError("expected a JSON object with file, number, mark and note")
            file, number = self._of(values), _number(values, "number", 0)
            made = await run_in_threadpool(file.set_mark, number, values.get("mark"), values.get("note"))
            return _json({"mark": made, "state": file.state()})
        except (orjson.JSONDecodeError, UsageError) as error:
            return _json({"error": str(error)}, 400)
        except DataprepError as error:
            return _json({"error": str(error)}, 409)


def _count(values: Mapping[str, Any]) -> int:
    return max(1, min(_number(values, "count", PAGE), _MOST))


def _number(values: Mapping[str, Any], name: str, default: int) -> int:
    value = values.get(name, default)
    try:
        if isinstance(value, bool) or len(str(value)) > 18:
            raise ValueError
        return int(value)
    except (TypeError, ValueError):
        raise UsageError(f"{name}: expected a whole number") from None
