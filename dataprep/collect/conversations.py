"""Make conversations of Examples or requests, and of teachers' answers to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from dataprep.collect.answers import Judged
from dataprep.core.errors import RowError
from dataprep.core.records import Example
from dataprep.datasets.templates import source_renderer
from dataprep.teacher.requests import request_of

# Fields that a chat template reads beside the messages.
_SHOWN = ("tools", "chat_template_kwargs")


def is_request(row: Mapping[str, Any]) -> bool:
    """Return whether a row in place of an Example is a request to a teacher."""
    return "messages" in row and "question" not in row


def example_of_request(row: Mapping[str, Any]) -> Example:
    """Return the Example of a request: its last question, with the choices and the answer of its row."""
    request = request_of(row)
    asked = [message["content"] for message in request.messages if message["role"] == "user"]
    texts = [text if type(text) is str else orjson.dumps(text).decode() for text in asked]
    question = texts[-1] if texts and texts[-1].strip() else "-"
    names = ("id", "source", "task", "choices", "answer", "answers", "tests")
    fields = {name: row[name] for name in names if row.get(name) is not None}
    return Example.from_json({"task": "choice" if request.choices else "qa", **fields, "question": question})


class Conversations:
    """Render the conversation that an Example or a request begins, and answers as its messages.

    Args:
        template: the messages ``system``, ``user`` and ``assistant`` in place of the default ones.
        tools: the tools of conversations whose request has none of its own.
    """

    def __init__(self, template: Mapping[str, str], tools: Sequence[Any] | None = None) -> None:
        self._render = source_renderer({"assistant": "{rationale}", **template}, with_id=True)
        self._tools = list(tools) if tools else None

    def row(
        self, example: Example, judged: Judged, request: Mapping[str, Any] | None
    ) -> dict[str, Any] | bytes:
        """Return the chat row of an answer; the Example has the answer's text and thinking."""
        if request is None and judged.tool_calls is None and self._tools is None:
            return self._render(example)
        asked, answer, others = self.parts(example, judged, request)
        return {"messages": [*asked, answer], **others, "id": example.identify(), "source": example.source}

    def parts(
        self, example: Example, judged: Judged, request: Mapping[str, Any] | None
    ) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
        """Return the messages before an answer, the answer's message, and what the row has beside them."""
        others: dict[str, Any] = {} if self._tools is None else {"tools": self._tools}
        if request is not None:
            others |= {name: request[name] for name in _SHOWN if request.get(name) is not None}
            return request["messages"], _message(example, judged), others
        if not judged.rationale:
            # The template of an assistant's message has no place for a call alone.
            example.rationales = {"": "-"}
        *asked, answer = orjson.loads(self._render(example))["messages"]
        if judged.tool_calls is not None:
            answer = _message(example, judged)
        return asked, answer, others


def _message(example: Example, judged: Judged) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": judged.rationale or None}
    if example.reasoning is not None:
        message["reasoning_content"] = example.reasoning
    if judged.tool_calls is not None:
        message["tool_calls"] = judged.tool_calls
    elif message["content"] is None:
        raise RowError("no text", "expected an answer with a text or a call of a tool")
    return message
