"""``dataprep trace``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dataprep.cli.console import print_json, say
from dataprep.cli.options import AsJson, argument

if TYPE_CHECKING:
    from dataprep.inspect.trace.tracing import Origin


def command(
    target: str = argument(..., "FILE:N, a row; or DIR:N, a document of shards.", "FILE:N"),
    as_json: AsJson = False,
) -> None:
    """Follow a row back to its source row, through the manifests.

    N is a line of JSON Lines, the number of a row of another format, or the number of a document of token
    shards or of a mixture of them, counted from 0. The order of a merge is computed again from its seed, and
    conversions are run again, so each step is exact. Where several rows are equal, all are named. A teacher's
    answer is shown with its request, its model, its tokens and what it cost, as far as the journal has them.

    \b
    Examples:
      dataprep trace mergedata/train.jsonl:17
      dataprep trace tokens:0 --json
    """
    from dataprep.inspect.trace.tracing import trace

    origin = trace(target)
    if as_json:
        print_json(origin.to_json())
    else:
        say(*_lines(origin, 0), file=sys.stdout)


def _lines(origin: Origin, depth: int) -> Iterator[str]:
    indent = "  " * depth
    made = f" ← {origin.command}" if origin.command else ""
    kinds = {"answer": "answer ", "request": "request ", "document": "document "}
    end = ", the source row" if origin.is_source else ""
    yield f"{indent}{kinds.get(origin.kind, '')}{origin.where}{end}{made}"
    if origin.facts:
        yield f"{indent}    {_facts(origin.facts)}"
    if origin.note:
        yield f"{indent}    ({origin.note})"
    for source in origin.sources:
        yield from _lines(source, depth + 1)


def _facts(facts: dict[str, Any]) -> str:
    parts = [f"{facts['teacher']} (model {facts['model']})" if facts.get("model") else str(facts["teacher"])]
    parts.append(f"{facts['outcome']}, sample {facts['sample']}")
    if "prompt_tokens" in facts:
        parts.append(f"{facts['prompt_tokens']:,} + {facts['completion_tokens']:,} tokens")
    if "cost" in facts:
        parts.append(f"${facts['cost']:.6f}")
    if facts["lines"] > 1:
        parts.append(f"{facts['lines']:,} lines with {facts['tokens_of_all_lines']:,} tokens in all")
    if "time" in facts:
        parts.append(str(facts["time"]))
    return ", ".join(parts)
