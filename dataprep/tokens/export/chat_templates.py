"""Write the named chat formats as Jinja, for programs that use a model directory's own template.

What is between ``{% generation %}`` and ``{% endgeneration %}`` is what the chat format trains on.
"""

from __future__ import annotations

from dataprep.tokens.formats.base import ChatFormat
from dataprep.tokens.formats.jinja import TemplateFormat
from dataprep.tokens.formats.named import DATE_LINES, Llama3


def chat_template(chat_format: ChatFormat) -> str:
    """A chat format's jinja template; a model directory's own is given as it is."""
    if isinstance(chat_format, TemplateFormat):
        return chat_format.template.text
    strip = " | trim" if getattr(chat_format, "strip", False) else ""
    if isinstance(chat_format, Llama3):
        return _llama3(chat_format.date, strip)
    write = {"chatml": _chatml, "llama2": _llama2}[chat_format.name]
    return write(strip)


def _quoted(text: str) -> str:
    """A text as jinja writes one."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def _answer(content: str, end: str, space: str) -> list[str]:
    before = f"{_quoted(space)} + " if space else ""
    return [
        "    {%- generation %}",
        f"        {{{{- {before}{content} + {_quoted(end)} }}}}",
        "    {%- endgeneration %}",
    ]


def _each_message(header: str, dated: bool, end: str, behind: str, strip: str) -> list[str]:
    """What ``llama3`` and ``chatml`` do alike: a header, the content, the end of the turn."""
    content = f"(message['content']{strip})"
    system = ["    {%- if message['role'] == 'system' %}{{- date_lines }}{% endif %}"] if dated else []
    return [
        "{%- for message in messages %}",
        f"    {{{{- {header} }}}}",
        *system,
        "    {%- if message['role'] == 'assistant' %}",
        *_answer(content, end, ""),
        "    {%- else %}",
        f"        {{{{- {content} + {_quoted(end)} }}}}",
        "    {%- endif %}",
        *([f"    {{{{- {_quoted(behind)} }}}}"] if behind else []),
        "{%- endfor %}",
    ]


def _llama3(date: str | None, strip: str) -> str:
    begin, end = "<|start_header_id|>", "<|end_header_id|>\n\n"
    dated = []
    if date:
        before, _, after = DATE_LINES.partition("{}")
        lines = f"{_quoted(before)} + date_string + {_quoted(after)}"
        dated = [
            f"{{%- if date_string is not defined %}}{{%- set date_string = {_quoted(date)} %}}{{%- endif %}}",
            f"{{%- set date_lines = {lines} %}}",
            "{%- if not messages or messages[0]['role'] != 'system' %}",
            f"    {{{{- {_quoted(begin + 'system' + end)} + date_lines + '<|eot_id|>' }}}}",
            "{%- endif %}",
        ]
    header = f"{_quoted(begin)} + message['role'] + {_quoted(end)}"
    lines_ = [
        "{{- '<|begin_of_text|>' }}",
        *dated,
        *_each_message(header, bool(date), "<|eot_id|>", "", strip),
        *_prompt(begin + "assistant" + end),
    ]
    return "\n".join(lines_) + "\n"


def _chatml(strip: str) -> str:
    begin = "<|im_start|>"
    header = f"{_quoted(begin)} + message['role'] + '\\n'"
    lines = [
        *_each_message(header, False, "<|im_end|>", "\n", strip),
        *_prompt(begin + "assistant\n"),
    ]
    return "\n".join(lines) + "\n"


def _prompt(text: str) -> list[str]:
    return ["{%- if add_generation_prompt %}", f"    {{{{- {_quoted(text)} }}}}", "{%- endif %}"]


def _llama2(strip: str) -> str:
    """Its answers begin with a space whatever the tokenizer does, and its prompt ends with the question."""
    content = f"(message['content']{strip})"
    lines = [
        "{%- for message in messages %}",
        "    {%- if message['role'] == 'user' %}",
        f"        {{{{- {_quoted('<s>[INST] ')} }}}}",
        "        {%- if loop.index0 == 1 and messages[0]['role'] == 'system' %}",
        f"            {{{{- '<<SYS>>\\n' + (messages[0]['content']{strip}) + '\\n<</SYS>>\\n\\n' }}}}",
        "        {%- endif %}",
        f"        {{{{- {content} + ' [/INST]' }}}}",
        "    {%- elif message['role'] == 'assistant' %}",
        *_answer(content, " </s>", " "),
        "    {%- elif not (message['role'] == 'system' and loop.first) %}",
        "        {{- raise_exception('expected roles system, user and assistant, system only first') }}",
        "    {%- endif %}",
        "{%- endfor %}",
    ]
    return "\n".join(lines) + "\n"
