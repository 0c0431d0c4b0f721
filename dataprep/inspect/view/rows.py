"""Describe rows for the page: a preview for the list, and everything for the row that is read.

Descriptions are texts, never markup. Invisible characters come as escapes, and long texts are cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import orjson

from dataprep.core.conversations import Finding, find_in_row
from dataprep.core.errors import RowError, visible
from dataprep.core.jsonl import MAX_LINE, find_lost, parse_line
from dataprep.core.records import LETTERS, from_cell, is_example
from dataprep.inspect.blocks import TextBlock, blocks_of
from dataprep.teacher.journal.line import FLAGS, check_response, outcome_of

Kind = Literal["chat", "labelled", "journal", "example", "record", "bad"]

CUT = 20_000
"""Characters of a text until all of it is asked for."""
LONGEST = 4_000_000
"""Characters of a text that was asked for; no browser draws more in a useful time."""
MOST_BLOCKS = 300
PREVIEW_BYTES = 128 << 10
"""Bytes of a line up to which a preview parses it."""
_TITLE = 200
_LABEL = 60
_BY_TEACHER = ("rationales", "status", "teacher_answers", "reasoning")
_FIRST_TEXT = re.compile(rb'"(?:content|question|response|text)":\s*"((?:[^"\\]|\\.){1,200})')
_RANK = {"reasoning": 0, "text": 1, "call": 2, "field": 3}
_PLAIN_FIELDS = ("id", "source", "task", "file", "index", "name", "split")


def kind_of(row: Any) -> Kind:
    """Return how a row is drawn.

    >>> kind_of({"id": "7", "rationales": {"t": "Because."}})
    'labelled'
    """
    if not isinstance(row, dict):
        return "bad"
    if isinstance(row.get("messages"), list):
        return "chat"
    if {"key", "teacher", "response", "finish_reason"} <= row.keys():
        return "journal"
    if any(isinstance(from_cell(row.get(name)), dict) for name in _BY_TEACHER):
        return "labelled"
    return "example" if is_example(row) else "record"


def findings_of(line: bytes, *, chat: bool) -> tuple[Any, list[Finding]]:
    """Return the row on a line, ``None`` if it has none, and what is wrong with it.

    Args:
        line: the line.
        chat: rows of the file are chat rows, which ``validate`` checks.
    """
    try:
        row = parse_line(line)
    except RowError as error:
        return None, [Finding(error.reason, error.detail)]
    findings = [Finding(error.reason, error.detail) for error in find_lost(line, row)]
    if chat:
        findings += find_in_row(row)
    elif kind_of(row) == "journal":
        try:
            check_response(row)
        except RowError as error:
            findings.append(Finding(error.reason, error.detail))
        flags = row.get("flags")
        known = [flag for flag in flags if isinstance(flag, str)] if isinstance(flags, list) else []
        findings += [Finding(flag, FLAGS.get(flag, "")) for flag in known]
    return row, findings


def statuses_of(row: Any) -> dict[str, str]:
    """Return the status of each teacher's answer in a row, or under no name the status of the row itself."""
    kind = kind_of(row)
    if kind == "bad":
        return {}
    if kind == "journal":
        try:
            return {str(row["teacher"]): outcome_of(check_response(row))}
        except RowError:
            return {}
    status = from_cell(row.get("status"))
    if isinstance(status, dict):
        return {name: value for name, value in status.items() if isinstance(value, str)}
    return {"": status} if isinstance(status, str) else {}


def preview(number: int, line: bytes, size: int, *, chat: bool) -> dict[str, Any]:
    """Describe a row in a few words.

    Args:
        number: its number.
        line: its line, or the beginning of a long one.
        size: bytes of the whole line.
        chat: rows of the file are chat rows.
    """
    if len(line) < size:
        title = shown(_beginning_of(line), _TITLE)
        return {"number": number, "title": title, "size": size, "flagged": size > MAX_LINE}
    row, findings = findings_of(line, chat=chat)
    title = line[:_TITLE].decode("utf-8", "replace") if row is None else _title_of(row)
    source = row.get("source") if row is not None else None
    return {
        "number": number,
        "title": shown(title, _TITLE),
        "size": size,
        "source": label(source) if isinstance(source, str) else "",
        "statuses": [[shown(name, _LABEL), label(value)] for name, value in statuses_of(row).items()][:12],
        "flagged": bool(findings),
    }


def _beginning_of(line: bytes) -> str:
    """Return the first text of a long row of which only the beginning is known."""
    if found := _FIRST_TEXT.search(line, 0, 4096):
        try:
            return str(orjson.loads(b'"' + found[1] + b'"'))
        except orjson.JSONDecodeError:  # it was cut within an escape or a character
            pass
    return line[:_TITLE].decode("utf-8", "replace")


def _title_of(row: Mapping[str, Any]) -> str:
    if kind_of(row) == "journal":
        error = row.get("error")
        reason = error.get("message") or error.get("type") if isinstance(error, dict) else error
        return f"{row.get('id')}: {row.get('response') or reason or ''}"
    question = row.get("question")
    if isinstance(question, str) and not isinstance(row.get("messages"), list):
        return question
    first = ""
    for block in blocks_of(row):
        if block.role == "user" and block.kind == "text":
            return block.text
        if not first and block.kind in ("text", "field"):
            first = block.text
    return first


def describe(
    number: int, place: str, line: bytes, size: int, *, chat: bool, whole: bool = False
) -> dict[str, Any]:
    """Describe all of a row.

    Args:
        number: its number.
        place: where it is, for the title.
        line: its line.
        size: bytes of the whole line, which may be too long to be read.
        chat: rows of the file are chat rows.
        whole: do not cut long texts.
    """
    cut = _Cut(whole)
    made: dict[str, Any] = {"number": number, "place": place, "size": size, "choices": [], "columns": []}
    if size > MAX_LINE:
        text = line[:CUT].decode("utf-8", "replace")
        found = f"found {size:,} bytes; a row has at most {MAX_LINE:,}; the beginning of the line is shown"
        finding = Finding("too long a line", found)
        row, findings = None, [finding]
    else:
        row, findings = findings_of(line, chat=chat)
        text = line.decode("utf-8", "backslashreplace")
    kind = kind_of(row)
    made |= {
        "kind": kind,
        "findings": [[shown(name, 200), shown(detail, 1000)] for name, detail in findings],
        "facts": _facts(row),
        "messages": [],
        "fields": [],
    }
    if row is None:
        made["fields"] = [cut.block(TextBlock("", "field", "the line", text))]
    elif kind == "chat":
        made |= _chat(row, cut)
    elif kind == "journal":
        made["columns"] = [_journal_column(row, cut)]
    else:
        made |= _record(row, kind, cut)
    return made | {"cut": cut.happened, "more": cut.left_out}


def raw(line: bytes, whole: bool) -> dict[str, Any]:
    """Return a line as JSON text with indentation, or as it is if it is not JSON."""
    try:
        text = orjson.dumps(orjson.loads(line), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, TypeError):
        text = line.decode("utf-8", "backslashreplace")
    return _Cut(whole).block(TextBlock("", "field", "JSON", text))


def label(text: str) -> str:
    """Return a source or a status in one short line, as the page lists it; `search` finds it by that too."""
    return visible(text[:_LABEL])


def shown(text: str, limit: int) -> str:
    """Return a text with invisible characters as escapes, of at most ``limit`` characters before that."""
    return visible(text[:limit], lines=True)


class _Cut:
    """Cut the texts of one row, and remember that it was done."""

    def __init__(self, whole: bool) -> None:
        self.whole = whole
        self.limit = LONGEST if whole else CUT
        self.happened = False
        self.left_out = 0  # blocks

    def block(self, block: TextBlock) -> dict[str, Any]:
        length = len(block.text)
        self.happened |= length > self.limit
        return {
            "kind": block.kind,
            "title": shown(block.title, 200),
            "text": shown(block.text, self.limit),
            "length": length,
            "cut": max(length - self.limit, 0),
        }

    def blocks(self, blocks: Iterable[TextBlock]) -> list[TextBlock]:
        kept = []
        for count, block in enumerate(blocks):
            if count < MOST_BLOCKS or self.whole:
                kept.append(block)
            else:
                self.happened, self.left_out = True, self.left_out + 1
        return kept


def _facts(row: Any) -> list[list[str]]:
    if not isinstance(row, dict):
        return []
    facts = [(name, row.get(name)) for name in _PLAIN_FIELDS]
    return [
        [name, shown(str(value), 200)] for name, value in facts if type(value) in (str, int) and value != ""
    ]


def _is_fact(row: Mapping[str, Any], name: str) -> bool:
    value = row.get(name)
    return name in _PLAIN_FIELDS and type(value) in (str, int) and len(str(value)) <= 200


def _chat(row: Mapping[str, Any], cut: _Cut) -> dict[str, Any]:
    blocks = cut.blocks(blocks_of(row))
    # The tools come first, with no role, and the row's own fields last.
    rows_own = [block for block in blocks if not block.role and block.kind == "field"]
    fields = [block for block in rows_own if not _is_fact(row, block.title)]
    tools = [cut.block(block) for block in blocks if block.kind == "tools"]
    return {
        "messages": [
            {"role": shown(role, 40), "blocks": [cut.block(block) for block in group]}
            for role, group in _grouped(blocks)
        ],
        "fields": [*tools, *map(cut.block, fields)],
    }


def _grouped(blocks: Iterable[TextBlock]) -> Iterator[tuple[str, list[TextBlock]]]:
    """Divide the blocks of a chat row into messages."""
    group: list[TextBlock] = []
    for block in blocks:
        if block.kind == "tools" or (block.kind == "field" and not block.role):
            continue
        if group and (block.role != group[-1].role or _begins(block, group[-1])):
            yield group[0].role, group
            group = []
        group.append(block)
    if group:
        yield group[0].role, group


def _begins(block: TextBlock, before: TextBlock) -> bool:
    # A message has at most one reasoning and one text, in this order, before its calls and fields.
    rank, last = _RANK[block.kind], _RANK[before.kind]
    return rank < last or (rank == last and rank < _RANK["call"])


def _record(row: Mapping[str, Any], kind: Kind, cut: _Cut) -> dict[str, Any]:
    """Describe a row that is not a chat: its texts in the order of reading, a column per teacher."""
    drawn: set[str] = set()
    fields: list[dict[str, Any]] = []
    choices: list[dict[str, Any]] = []
    columns: list[dict[str, Any]] = []
    if kind in ("labelled", "example"):
        choices, label = _choices(row)
        columns = _teachers(row, label, cut)
        drawn = {"choices"} if choices else set()
        if label and choices:
            drawn.add("answer")
        drawn |= {name for name in _BY_TEACHER if isinstance(from_cell(row.get(name)), dict)}
    first = ("question", "context", "answer", "solution")
    order = [*(name for name in first if name in row), *(name for name in row if name not in first)]
    left = {name: row[name] for name in order if name not in drawn and not _is_fact(row, name)}
    # A field that says nothing says less than its absence.
    fields = [
        cut.block(block) for block in cut.blocks(blocks_of({n: v for n, v in left.items() if v is not None}))
    ]
    return {"fields": fields, "choices": choices, "columns": columns}


def _choices(row: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Return the choices of a row, and the label of the right one."""
    values = from_cell(row.get("choices"))
    texts = [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
    answer = from_cell(row.get("answer"))
    label = answer.get("label") if isinstance(answer, dict) else answer
    if isinstance(label, str) and label in texts:
        label = LETTERS[texts.index(label) % len(LETTERS)]
    right = label.strip().lower() if isinstance(label, str) else ""
    made = [
        {"label": letter, "text": shown(text, CUT), "right": letter == right}
        for letter, text in zip(LETTERS, texts, strict=False)
    ]
    return made, right if any(choice["right"] for choice in made) else ""


def _teachers(row: Mapping[str, Any], label: str, cut: _Cut) -> list[dict[str, Any]]:
    """Return a column per teacher of a labelled row: status, answer, rationale, reasoning."""
    parts = {}
    for name in _BY_TEACHER:
        value = from_cell(row.get(name))
        parts[name] = value if isinstance(value, dict) else {}
    columns = []
    for teacher in dict.fromkeys(name for part in parts.values() for name in part):
        answer = parts["teacher_answers"].get(teacher)
        letter = answer.get("label") if isinstance(answer, dict) else answer
        made = {
            "reasoning_content": parts["reasoning"].get(teacher),
            "content": parts["rationales"].get(teacher),
        }
        blocks = [*blocks_of({"messages": [made]})] if any(made.values()) else []
        facts = [["answer", shown(_answer_text(answer), 300)]] if answer is not None else []
        agrees = None if not label or not isinstance(letter, str) else letter.strip().lower() == label
        status = parts["status"].get(teacher)
        columns.append(
            {
                "name": shown(str(teacher), 100),
                "status": shown(status, 60) if isinstance(status, str) else "",
                "facts": facts,
                "agrees": agrees,
                "blocks": [cut.block(block) for block in blocks],
            }
        )
    return columns


def _answer_text(answer: Any) -> str:
    if isinstance(answer, dict):
        return f"({answer.get('label')}) {answer.get('text')}"
    return str(answer)


def journal_column(row: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a line of a journal: the answer or the error, its status, and what it used."""
    return _journal_column(row, _Cut(False))


def _journal_column(row: Mapping[str, Any], cut: _Cut) -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": row.get("response"),
        "reasoning_content": row.get("reasoning"),
        "tool_calls": row.get("tool_calls"),
    }
    answered = any(row.get(name) is not None for name in ("response", "tool_calls", "reasoning"))
    blocks = [*blocks_of({"messages": [message]})] if answered else []
    for name in ("error", "logprobs"):
        if row.get(name) is not None:
            blocks += blocks_of({name: row[name]})
    usage = row.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    facts = [(name, row.get(name)) for name in ("model", "sample", "finish_reason")]
    facts += [
        (name.replace("_", " "), f"{count:,}") for name, count in usage.items() if type(count) in (int, float)
    ]
    facts += [("max tokens", row.get("max_tokens")), ("attempts", row.get("attempts"))]
    facts += [("seconds", row.get("latency")), ("time", row.get("time")), ("key", row.get("key"))]
    return {
        "name": shown(str(row.get("teacher")), 100),
        "status": next(iter(statuses_of(row).values()), ""),
        "facts": [[shown(name, 60), shown(str(value), 200)] for name, value in facts if value is not None],
        "agrees": None,
        "blocks": [cut.block(block) for block in blocks],
    }
