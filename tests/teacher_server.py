"""A chat-completions server on this machine that misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Reply:
    """What the server does with one request: wait, then send a status and a body, or worse.

    Attributes:
        status, headers, body: what is sent; a body that is no bytes is sent as JSON.
        delay: seconds before anything is sent.
        cut: send only so many bytes of the body, though all were announced, and close.
        reset: close the connection without a reply.
        hang: send nothing, ever.
        chunked: send the body in pieces without saying how long it is.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None
    reset: bool = False
    hang: bool = False
    chunked: bool = False


def completion(text: str | None, finish_reason: str = "stop", n: int = 1, **message: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    choice = {"finish_reason": finish_reason, "message": {"role": "assistant", "content": text, **message}}
    return {
        "id": "wrong-id",
        "object": "chat.completion",
        "created": 1,
        "model": "tiny",
        "choices": [{"index": number, **choice} for number in range(n)],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5 * n, "total_tokens": 10 + 5 * n},
    }


def error(message: str, kind: str = "server_error", code: str | None = None) -> dict[str, Any]:
    """The body of an error as OpenAI writes it."""
    return {"error": {"message": message, "type": kind, "code": code, "param": None}}


@dataclass
class Received:
    """One request as the server got it."""

    at: float
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def question(self) -> str:
        """The last message's text."""
        return self.body["messages"][-1]["content"]


class TeacherServer:
    """The server, in a thread of its own; a context manager.

    Attributes:
        received: all requests, in order.
        most: how many were in flight at once, at most.
        models: the ones it lists; without any it has no such list.
    """

    def __init__(
        self, behave: Callable[[Received, int], Reply], port: int = 0, models: Sequence[str] = ()
    ) -> None:
        self.models = models
        self.received: list[Received] = []
        self.most = 0
        self._now = 0
        self._behave = behave
        self._wanted_port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> TeacherServer:
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", self._wanted_port, limit=1 << 24), self._loop
        )
        self._server = starting.result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.01)

    def asked(self, question: str) -> int:
        """How often a question came."""
        return sum(1 for each in self.received if each.question == question)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if head[0].startswith("GET"):
            listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
            return await self._send(writer, Reply(body=listed) if self.models else Reply(404, error("no")))
        received = Received(time.monotonic(), head[0].split(" ")[1], headers, json.loads(body))
        self.received.append(received)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            reply = self._behave(received, len(self.received))
            if reply.hang:
                await asyncio.sleep(3600)
            await asyncio.sleep(reply.delay)
        finally:
            self._now -= 1
        return await self._send(writer, reply)

    async def _send(self, writer: asyncio.StreamWriter, reply: Reply) -> bool:
        if reply.reset:
            return False
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = {"content-type": "application/json", **reply.headers}
        if reply.chunked:
            headers["transfer-encoding"] = "chunked"
        else:
            headers["content-length"] = str(len(body))
        lines = [f"HTTP/1.1 {reply.status} Said", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if reply.chunked:
            for begin in range(0, len(body), 1 << 16):
                piece = body[begin : begin + (1 << 16)]
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(body if reply.cut is None else body[: reply.cut])
        await writer.drain()
        return reply.cut is None


def polite(received: Received, _: int) -> Reply:
    """Every question answered at once, with its own text."""
    return Reply(body=completion(f"answer to {received.question}", n=received.body.get("n", 1)))


def logprob_of(character: str) -> float:
    """The log-probability of a token of ``with_prompt_logprobs``, whatever is before it."""
    return -(1 + ord(character) % 7) / 10


def with_prompt_logprobs(received: Received, _: int) -> Reply:
    """A server that gives log-probabilities of prompts as vLLM documents it; a token is a character."""
    body = received.body
    if received.path.endswith("/completions") and "prompt" in body:
        return Reply(body=_echoed(body))
    goes_on, begins = body.get("continue_final_message", False), body.get("add_generation_prompt", True)
    if goes_on and begins:
        both = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
        return Reply(400, error(both, "BadRequestError"))
    text = "".join(f"<{message['role']}>{message['content']}</>" for message in body["messages"])
    text = text.removesuffix("</>") if goes_on else text + "<assistant>" * begins
    reply = completion("answer", n=body.get("n", 1))
    reply["usage"]["prompt_tokens"] = len(text)
    if body.get("prompt_logprobs") is not None:
        rest = [
            {str(ord(token)): {"logprob": logprob_of(token), "rank": 3, "decoded_token": token}}
            for token in text[1:]
        ]
        reply["prompt_logprobs"] = [None, *rest]
    return Reply(body=reply)


def _echoed(body: dict[str, Any]) -> dict[str, Any]:
    """A completion of one token, with its prompt and their log-probabilities as OpenAI documents them."""
    text = body["prompt"] + "!"
    logprobs = {
        "tokens": [*text],
        "token_logprobs": [None, *map(logprob_of, text[1:])],
        "text_offset": [*range(len(text))],
        "top_logprobs": [None, *({token: logprob_of(token)} for token in text[1:])],
    }
    choice = {"index": 0, "text": text, "logprobs": logprobs if body["echo"] else None}
    usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": 1}
    return {"choices": [choice | {"finish_reason": "length"}], "usage": usage}


def main(log: str, delay: str) -> None:
    """Serve in a process of its own, and write each question to a log when it comes and when it is answered.

    It prints its port, and ends with its standard input.
    """
    number = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    class Logging(TeacherServer):
        async def _send(self, writer: asyncio.StreamWriter, reply: Reply) -> bool:
            kept = await super()._send(writer, reply)
            if "choices" in (reply.body or {}):
                text = reply.body["choices"][0]["message"]["content"]
                os.write(number, f"{text}\n".encode())
            return kept

    def behave(received: Received, count: int) -> Reply:
        os.write(number, f"asked {received.question}\n".encode())
        return Reply(body=polite(received, count).body, delay=float(delay))

    with Logging(behave) as server:
        print(server.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
