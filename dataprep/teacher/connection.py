"""Ask a teacher over HTTP, through the official ``openai`` client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from dataprep.core.errors import UsageError
from dataprep.core.optional import require
from dataprep.models.sampling import NEWER_FIELD
from dataprep.teacher.journal.line import is_known
from dataprep.teacher.likelihood import PromptLogprobs, log_likelihoods
from dataprep.teacher.pacing import retry_after
from dataprep.teacher.protocol import (
    Answer,
    Reply,
    RequestError,
    answers_of,
    error_body,
    error_of,
    parsed,
    scored_choices,
)
from dataprep.teacher.settings import Endpoint

if TYPE_CHECKING:
    import ssl

    import httpx2

LARGEST_BODY = 32 << 20
# Seconds until a connection must be open, at most: a server that can be reached accepts it at once.
LONGEST_CONNECT = 30.0
# Seconds until a server must have listed its models.
LONGEST_LISTING = 10.0
# Connections per client. Its pool looks at each of them for every request, so several small pools are faster:
# with 256 requests in flight, one took 1.3 ms of processor time instead of 4.0 ms.
POOL = 8
# The headers that a request needs. The client adds others from the environment, which can hold keys.
NEEDED_HEADERS = frozenset(
    [
        "accept",
        "accept-encoding",
        "api-key",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    ]
)


class Connection:
    """A connection to one endpoint; an async context manager."""

    def __init__(
        self, endpoint: Endpoint, *, timeout: float = 120.0, likelihoods: PromptLogprobs | None = None
    ) -> None:
        self.endpoint = endpoint
        self._likelihoods = likelihoods
        self._timeout = timeout
        self._newer_field = False
        self._clients: list[Any] = []
        self._load: list[int] = []
        self._context: ssl.SSLContext

    async def __aenter__(self) -> Connection:
        require("openai", extra="teacher", feature="asking a teacher")
        import httpx2

        self._context = httpx2.create_ssl_context()
        return self

    def _client(self) -> Any:
        import httpx2
        import openai

        endpoint = self.endpoint
        connect = min(LONGEST_CONNECT, 0.9 * self._timeout)
        hooks: dict[str, list[Any]] = {"response": [_limit_body]}
        if endpoint.from_file:
            hooks["request"] = [self._only_needed_headers]
        options: dict[str, Any] = {
            # Without a key the client would take that of the environment, which may be another host's.
            "api_key": endpoint.api_key or "none",
            # The client holds a connection while it waits for a retry, and does not report retries.
            "max_retries": 0,
            "timeout": httpx2.Timeout(self._timeout, connect=connect),
            # Uncompressed, so that the size of a reply can be limited while it is read.
            "default_headers": {"Accept-Encoding": "identity"},
            "http_client": httpx2.AsyncClient(
                verify=self._context,
                # Another host would be sent the key.
                follow_redirects=False,
                timeout=self._timeout,
                # A proxy cannot reach this machine's own servers, and need not see what they are sent.
                trust_env=not endpoint.is_loopback,
                limits=httpx2.Limits(max_connections=POOL, max_keepalive_connections=POOL),
                event_hooks=hooks,
            ),
        }
        if endpoint.azure:
            options |= {"azure_endpoint": endpoint.base_url, "api_version": endpoint.api_version}
            return openai.AsyncAzureOpenAI(**options)
        return openai.AsyncOpenAI(base_url=endpoint.base_url, **options)

    async def _only_needed_headers(self, request: httpx2.Request) -> None:
        for name in [name for name in request.headers if name not in NEEDED_HEADERS]:
            del request.headers[name]
        # OPENAI_CUSTOM_HEADERS can have replaced these two.
        request.headers.pop("authorization", None)
        request.headers.pop("api-key", None)
        key = self.endpoint.api_key or "none"
        name, value = ("api-key", key) if self.endpoint.azure else ("authorization", f"Bearer {key}")
        request.headers[name] = value

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            # Connections that are gone already.
            with suppress(Exception):
                await client.close()

    async def ask(self, body: dict[str, Any], choices: Sequence[str] = ()) -> Reply:
        """Return the answers to a request; raise ``RequestError``, without the API key, if there is none."""
        # A model's words stay as they are: a key such as `anything` would change what is learned from them.
        with self._redacting():
            if choices and self._likelihoods:
                answers, usage = await self._ask_with_choices(body, choices)
            else:
                answers, usage = answers_of(await self._content(body), tools=bool(body.get("tools")))
            return [self._without_key(answer) for answer in answers], usage

    async def complete(self, body: dict[str, Any]) -> Any:
        """Return a parsed reply of the older completions protocol; raise ``RequestError`` as ``ask`` does."""
        with self._redacting():
            return parsed(await self._content(body, "/completions"))

    @contextmanager
    def _redacting(self) -> Iterator[None]:
        """Turn every error into a ``RequestError``, without the key in it or in the server's own words."""
        try:
            yield
            return
        except RequestError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever a server sends, it is one failed row
            failure = RequestError("malformed_reply", f"{type(error).__name__}: {_reason(error)}")
        failure.message = self.endpoint.redact(failure.message)
        failure.type = self.endpoint.redact(failure.type)
        raise failure from None

    def _without_key(self, answer: Answer) -> Answer:
        reason = answer.finish_reason
        if reason is None or is_known(reason) or (shown := self.endpoint.redact(reason)) == reason:
            return answer
        return replace(answer, finish_reason=shown)

    async def _ask_with_choices(self, body: dict[str, Any], choices: Sequence[str]) -> Reply:
        """Return the answers with the likelihoods of the choices, which are a request each."""
        way = self._likelihoods
        assert way is not None
        content = await self._content(way.body_of_answer(body))
        answers, usage = answers_of(content, tools=bool(body.get("tools")))
        found = way.tokens_of_answer(content)
        # One after the other: the limit of requests in flight is that of all of them.
        for further in way.bodies(body, choices):
            reply = await self._content(further, way.path)
            found.append(way.tokens(reply))
            _, more = answers_of(reply)
            if usage and more:
                usage["prompt_tokens"] = usage.get("prompt_tokens", 0) + more.get("prompt_tokens", 0)
        scored = scored_choices(choices, log_likelihoods(found[0], found[1:]))
        return [replace(answer, choices=scored) for answer in answers], usage

    async def _content(self, body: dict[str, Any], path: str = "/chat/completions") -> bytes:
        """Return the body of the reply to a request."""
        import httpx2
        import openai

        if self._newer_field:
            body = {NEWER_FIELD if name == "max_tokens" else name: value for name, value in body.items()}
        renamed = NEWER_FIELD in body
        try:
            async with asyncio.timeout(self._timeout):
                return (await self._post(path, body)).content
        except openai.APIStatusError as error:
            raise self._status_error(error.response, renamed) from None
        except openai.APITimeoutError as error:
            if isinstance(error.__cause__, httpx2.ConnectTimeout):
                raise self._connection_error(error.__cause__) from None
            raise self._timed_out() from None
        except TimeoutError:
            raise self._timed_out() from None
        except openai.APIConnectionError as error:
            raise self._connection_error(error.__cause__ or error) from None
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise RequestError("malformed_reply", _reason(error)) from None

    async def models(self) -> list[str] | None:
        """Return the models that the endpoint lists; ``None`` if it lists none, or cannot be asked now."""
        import httpx2

        # Azure lists the models that a resource could deploy, not its deployments.
        if self.endpoint.azure:
            return None
        client = self._client()
        self._clients.append(client)
        self._load.append(0)
        # Whatever comes in place of a list: the requests will show what it means.
        with suppress(Exception):
            async with asyncio.timeout(min(LONGEST_LISTING, self._timeout)):
                reply = await client.get("/models", cast_to=httpx2.Response)
            assert isinstance(reply, httpx2.Response)
            return [str(model["id"]) for model in orjson.loads(reply.content)["data"]] or None
        return None

    async def _post(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        import httpx2

        if all(load >= POOL for load in self._load):
            self._clients.append(self._client())
            self._load.append(0)
        number = self._load.index(min(self._load))
        self._load[number] += 1
        try:
            # The body is sent and the reply returned as they are: the client's models would take most of the
            # time of a request.
            reply = await self._clients[number].post(path, cast_to=httpx2.Response, body=body)
            assert isinstance(reply, httpx2.Response)
            return reply
        finally:
            self._load[number] -= 1

    def _status_error(self, response: httpx2.Response, renamed: bool) -> RequestError:
        status, headers = response.status_code, response.headers
        if 300 <= status < 400:
            target = headers.get("location", "nowhere")
            message = f"the server redirects to {target}; give that address as --base-url if you trust it"
            return RequestError("redirect", message, status=status, retryable=False, fatal=True)
        body = error_body(response.content)
        if not renamed and NEWER_FIELD in str(body) and status in (400, 422):
            # OpenAI's newer models accept the limit only under this name.
            self._newer_field = True
            message = f"the server wants {NEWER_FIELD}"
            return RequestError("renamed_field", message, status=status, after=0.0, free=True)
        after = retry_after(dict(headers))
        return error_of(status, body, should_retry=headers.get("x-should-retry"), after=after)

    def _timed_out(self) -> RequestError:
        return RequestError("timeout", f"no whole answer within {self._timeout:g} s")

    def _connection_error(self, error: BaseException) -> RequestError:
        # A request that never reached the server costs nothing; one whose reply was lost may be charged.
        import httpx2

        if isinstance(error, httpx2.DecodingError):
            return RequestError("malformed_reply", _reason(error))
        unsent = httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol
        if not isinstance(error, unsent):
            return RequestError("connection_lost", _reason(error))
        return RequestError(
            "connection_error", f"{self.endpoint.shown_url} cannot be reached: {_reason(error)}"
        )


async def check_models(endpoints: Sequence[Endpoint], model: str, timeout: float = 120.0) -> None:
    """Raise ``UsageError`` if some endpoints list a model among theirs, and another one lists only others."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(Connection(each, timeout=timeout)) for each in endpoints]
        listed = await asyncio.gather(*(connection.models() for connection in opened))
    # A list that names it another way, as llama.cpp does with its file, says nothing by itself.
    if not any(_has(models, model) for models in listed):
        return
    for endpoint, models in zip(endpoints, listed, strict=True):
        if models is not None and not _has(models, model):
            found = f"found the models {endpoint.redact(', '.join(map(repr, models[:5])))}"
            raise UsageError(
                f"--base-url {endpoint.shown_url}: {found}, expected {model!r}, which other endpoints serve: "
                "give only endpoints of the same model"
            )


def _has(models: Sequence[str] | None, model: str) -> bool:
    # Ollama lists `llama3.2` with its tag, `llama3.2:latest`.
    return any(each == model or each.partition(":")[0] == model for each in models or ())


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _limit_body(response: httpx2.Response) -> None:
    """Limit the size of a reply; the client calls this before it reads the body."""
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
