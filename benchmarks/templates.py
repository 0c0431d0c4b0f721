"""Measure ``dataprep tokenize`` with a chat template: plain rows, reasoning, and tool calls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

from benchmarks.measure import Contender, claim, race, table

# Written as Llama 3's, with thoughts only in the last turn, tools in the system message and calls as JSON.
TEMPLATE = """\
{{- '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\\n\\nAnswer.' }}
{%- for tool in tools or [] %}{{- '\\n' + (tool | tojson) }}{%- endfor %}
{{- '<|eot_id|>' }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
    {%- if message.reasoning_content and loop.last %}
        {{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}
    {%- endif %}
    {{- message.content or '' }}
    {%- for call in message.tool_calls or [] %}
        {{- '{"name": "' + call.function.name + '", "parameters": ' }}
        {{- (call.function.arguments | tojson) + '}' }}
    {%- endfor %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""
CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculate",
        "description": "Compute a term.",
        "parameters": {"type": "object", "properties": {"term": {"type": "string"}}, "required": ["term"]},
    },
}
TIMES = 4
KINDS = ("plain", "reasoning", "tools")


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Compare with a loop over ``apply_chat_template``, which makes the same ids and no mask."""
    template = folder / "template.jinja"
    template.write_text(TEMPLATE, "utf-8")
    model = str(data / "tokenizers" / "llama3.model")
    ours, theirs = [], []
    for kind in KINDS:
        rows = folder / f"{kind}.jsonl"
        lines = [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in _rows(data, kind)]
        rows.write_bytes(b"".join(lines * TIMES))
        shards, ids = folder / f"{kind}-shards", folder / f"{kind}.ids"
        words = ["tokenize", str(rows), "-o", str(shards), "--tokenizer", model, "--workers", "1", "-q"]
        words += ["--chat-format", "template", "--template", str(template)]
        ours.append(
            Contender(f"dataprep tokenize, {kind}", [sys.executable, "-m", "dataprep", *words], [shards])
        )
        loop = [sys.executable, "-m", "benchmarks.token_rivals", "apply_template"]
        loop += [str(rows), str(ids), model, str(template)]
        theirs.append(Contender(f"apply_chat_template, {kind}", loop, [ids]))
    race([*ours, *theirs], rounds)
    count = TIMES * len(_rows(data, KINDS[0]))
    table(f"{count:,} rows with a chat template, 1 process", [*ours, *theirs], theirs[0].name)
    print()
    same = [sys.executable, "-m", "benchmarks.token_rivals", "same_template_ids"]
    claims = []
    for kind, one, other in zip(KINDS, ours, theirs, strict=True):
        done = subprocess.run(
            [*same, str(folder / f"{kind}-shards"), str(folder / f"{kind}.ids")], check=False
        )
        print(f"- {'met  ' if done.returncode == 0 else 'SHORT'} {kind}: ids are the same")
        print(f"- {kind}: {count / one.median:,.0f} rows a second with the start of the program")
        claims += [
            done.returncode == 0,
            claim(f"{kind}, apply_chat_template over dataprep", other.median / one.median, 1, at_least=True),
        ]
    return all(claims)


def _rows(data: Path, kind: str) -> list[dict[str, Any]]:
    """Return GSM8K's train split as chat rows: plain, with reasoning, or with a call and its result."""
    rows = []
    for line in (data / "gsm8k" / "train.jsonl").read_bytes().splitlines():
        source = orjson.loads(line)
        steps, _, answer = source["answer"].partition("\n#### ")
        question = {"role": "user", "content": source["question"]}
        if kind == "plain":
            rows.append({"messages": [question, {"role": "assistant", "content": source["answer"]}]})
        elif kind == "reasoning":
            final = {"role": "assistant", "content": answer, "reasoning_content": steps}
            rows.append({"messages": [question, final]})
        else:
            call = {"name": "calculate", "arguments": {"term": steps.split("\n")[0]}}
            asked = {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"type": "function", "function": call}],
            }
            told = {"role": "tool", "name": "calculate", "content": answer}
            final = {"role": "assistant", "content": source["answer"]}
            rows.append({"messages": [question, asked, told, final], "tools": [CALCULATOR]})
    return rows
