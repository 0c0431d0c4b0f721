"""Lines of journals of responses, one for each outcome."""

import json

ENDINGS = {
    "ok": {"response": "(b)", "finish_reason": "stop", "error": None},
    "unknown": {"response": "(b) per", "finish_reason": "unknown", "error": None},
    "length": {"response": "(b) be", "finish_reason": "length", "error": None},
    "refused": {"response": None, "finish_reason": "refusal", "error": None},
    "empty": {"response": " ", "finish_reason": "stop", "error": None},
    "failed": {"response": None, "finish_reason": None, "error": {"status": 500, "type": "server_error"}},
}


def line(outcome="ok", *, id="x", key="k", teacher="t", **more):
    """A line of a journal with the given outcome."""
    return {"id": id, "key": key, "teacher": teacher, **ENDINGS[outcome], **more}


def journal(*rows):
    """The bytes of a journal."""
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
