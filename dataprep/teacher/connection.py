"""A teacher over HTTP, through the official ``openai`` client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

import orjson

from dataprep.core.optional import require
from dataprep.teacher.pacing import retry_after
from dataprep.teacher.protocol import Answer, RequestError, answers_of, error_of
from dataprep.teacher.settings import Endpoint

if TYPE_CHECKING:
    import ssl

    import httpx2

LARGEST_BODY = 32 << 20
LARGEST_ERROR = 100_000
POOL = 8
"""Connections a client: its pool looks at each of them for every request."""
NEWER_FIELD = "max_completion_tokens"


class Connection:
    """A connection to one endpoint; an async context manager.

    Retries are not left to the client: it would keep a slot while it waits. Redirects are not followed, so
    that no other host is sent the key. Replies must come as they are, uncompressed, so that
    their size can be limited while they are read.
    """

    def __init__(self, endpoint: Endpoint, *, timeout: float = 120.0) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._newer_field = False
        self._clients: list[Any] = []
        self._load: list[int] = []
        self._context: ssl.SSLContext

    async def __aenter__(self) -> Connection:
        # Asked for here, before anything is set up.
        require("openai", extra="teacher", feature="asking a teacher")
        import httpx2

        self._context = httpx2.create_ssl_context()
        return self

    def _client(self) -> Any:
        """A client with a pool of its own."""
        import httpx2
        import openai

        endpoint = self.endpoint
        options: dict[str, Any] = {
            "api_key": endpoint.api_key or "none",  # never the environment's, which may be another host's
            "max_retries": 0,
            "timeout": httpx2.Timeout(self._timeout),
            "default_headers": {"Accept-Encoding": "identity"},
            "http_client": httpx2.AsyncClient(
                verify=self._context,
                follow_redirects=False,
                timeout=self._timeout,
                limits=httpx2.Limits(max_connections=POOL, max_keepalive_connections=POOL),
                event_hooks={"response": [_limit_body]},
            ),
        }
        if endpoint.azure:
            return openai.AsyncAzureOpenAI(
                azure_endpoint=endpoint.base_url, api_version=endpoint.api_version, **options
            )
        return openai.AsyncOpenAI(base_url=endpoint.base_url, **options)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            with suppress(Exception):  # connections that are gone already
                await client.close()

    async def ask(
        self,
        body: dict[str, Any],
        choices: Sequence[str] = (),  # noqa: ARG002 - a server makes no use of them
    ) -> tuple[list[Answer], dict[str, Any] | None]:
        """The answers to a request, and their usage.

        Raises:
            RequestError: none came. Its message holds no key.
        """
        try:
            return await self._ask(body)
        except RequestError as error:
            found = error
        except Exception as error:  # noqa: BLE001 - whatever a server sends, it is one failed row
            found = RequestError("malformed_reply", f"{type(error).__name__}: {_reason(error)}")
        found.message = self.endpoint.redact(found.message)
        found.type = self.endpoint.redact(found.type)
        raise found from None

    async def _ask(self, body: dict[str, Any]) -> tuple[list[Answer], dict[str, Any] | None]:
        import httpx2
        import openai

        renamed = self._newer_field
        if renamed:
            body = {NEWER_FIELD if name == "max_tokens" else name: value for name, value in body.items()}
        try:
            async with asyncio.timeout(self._timeout):
                return answers_of((await self._post(body)).content)
        except openai.APIStatusError as error:
            raise self._status_error(error.response, renamed) from None
        except (TimeoutError, openai.APITimeoutError):
            raise RequestError("timeout", f"no whole answer within {self._timeout:g} s") from None
        except openai.APIConnectionError as error:
            raise _connection_error(error.__cause__ or error) from None
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise RequestError("malformed_reply", _reason(error)) from None

    async def _post(self, body: dict[str, Any]) -> httpx2.Response:
        """The server's reply, through the client that has the least to do.

        The body goes as it is, and the reply comes back as it is: turning them into the client's models
        and back would take most of a request's time.
        """
        import httpx2

        if all(load >= POOL for load in self._load):  # made as they are needed
            self._clients.append(self._client())
            self._load.append(0)
        number = self._load.index(min(self._load))
        self._load[number] += 1
        try:
            reply = await self._clients[number].post("/chat/completions", cast_to=httpx2.Response, body=body)
            assert isinstance(reply, httpx2.Response)
            return reply
        finally:
            self._load[number] -= 1

    def _status_error(self, response: httpx2.Response, renamed: bool) -> RequestError:
        status, headers = response.status_code, response.headers
        if 300 <= status < 400:
            place = headers.get("location", "nowhere")
            message = f"the server redirects to {place}; give that address as --base-url if you trust it"
            return RequestError("redirect", message, status=status, retryable=False, fatal=True)
        try:
            body = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            body = response.content[:LARGEST_ERROR].decode("utf-8", "replace")
        if not renamed and NEWER_FIELD in str(body) and status == 400:
            self._newer_field = True  # OpenAI's newer models know the limit by this name only
            wanted = f"the server wants {NEWER_FIELD}"
            return RequestError("renamed_field", wanted, status=status, after=0.0, free=True)
        return error_of(
            status, body, should_retry=headers.get("x-should-retry"), after=retry_after(dict(headers))
        )


def _connection_error(error: BaseException) -> RequestError:
    """Whether there was no connection, it was lost, or what came through it was refused."""
    import httpx2

    if isinstance(error, httpx2.DecodingError):
        return RequestError("malformed_reply", _reason(error))
    never = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.UnsupportedProtocol)
    return RequestError("connection_error" if never else "connection_lost", _reason(error))


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _limit_body(response: httpx2.Response) -> None:
    """Have a reply read only as far as it may go. The client calls it before it reads any of the body."""
    import httpx2

    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise httpx2.DecodingError(f"the reply is compressed ({encoding}) though that was not asked for")
    stream = response.stream

    class Limited(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            assert isinstance(stream, httpx2.AsyncByteStream)
            async for piece in stream:
                size += len(piece)
                if size > LARGEST_BODY:
                    raise httpx2.DecodingError(f"the reply is larger than {LARGEST_BODY >> 20} MiB")
                yield piece

        async def aclose(self) -> None:
            assert isinstance(stream, httpx2.AsyncByteStream)
            await stream.aclose()

    response.stream = Limited()
