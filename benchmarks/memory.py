"""Measure how the memory of each command grows with the number of its rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson

from benchmarks.measure import Contender, claim

ROWS = 200_000
TIMES = 5
# The most bytes that a row may add to the peak: digests of duplicates take 16 to 40. The rest is caches,
# which are limited but are not full with few rows.
ALLOWED = 150


def bench(_data: Path, folder: Path, _rounds: int) -> bool:
    """Return whether no command's memory grows by more than ``ALLOWED`` bytes a row."""
    print(f"\nmemory\n\n| | {ROWS:,} rows, MB | {ROWS * TIMES:,} rows, MB | bytes a row |")
    print("| --- | ---: | ---: | ---: |", flush=True)
    found = growth(folder, ROWS)
    print()
    # A list, so that every one of them is printed.
    met = [claim(f"{name}: bytes a row", grown, ALLOWED, at_least=False) for name, grown in found.items()]
    return all(met)


def growth(folder: Path, rows: int) -> dict[str, float]:
    """Return by how many bytes a row each command's peak memory grows from ``rows`` to ``TIMES`` as many."""
    peaks: dict[str, list[float]] = {}
    for count in (rows, rows * TIMES):
        _write_inputs(folder, count)
        for name, words in _commands(folder).items():
            contender = Contender(name, [sys.executable, "-m", "dataprep", *words], [folder / "out.jsonl"])
            contender.run()
            peaks.setdefault(name, []).append(contender.peak)
    grown = {}
    for name, (few, many) in peaks.items():
        grown[name] = (many - few) * 1e6 / (rows * (TIMES - 1))
        print(f"| {name} | {few:,.0f} | {many:,.0f} | {grown[name]:,.0f} |", flush=True)
    return grown


def _write_inputs(folder: Path, count: int) -> None:
    kinds = {"examples": _example, "journal": _line, "predictions": _prediction, "chat": _chat}
    for name, make in kinds.items():
        with (folder / f"{name}.jsonl").open("wb") as out:
            for number in range(count):
                out.write(orjson.dumps(make(number), option=orjson.OPT_APPEND_NEWLINE))


def _example(number: int) -> dict[str, Any]:
    return {
        "id": f"row-{number}",
        "source": "commonsense_qa",
        "task": "choice",
        "question": f"Which of these is number {number}?",
        "choices": ["tin", "iron", f"gold {number}"],
        "answer": {"label": "b", "text": "iron"},
        "solution": "Iron melts last.",
    }


def _line(number: int) -> dict[str, Any]:
    return {
        "id": f"row-{number}",
        "key": f"{number:016x}",
        "teacher": "t",
        "model": "t",
        "sample": 0,
        "max_tokens": 512,
        "response": "The answer is (b).",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
        "error": None,
    }


def _prediction(number: int) -> dict[str, Any]:
    return {"id": f"row-{number}", "prediction": "(b)"}


def _chat(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Say {number}."}, {"role": "assistant", "content": f"{number}."}]
    return {"messages": messages, "id": f"row-{number}", "source": "said"}


def _commands(folder: Path) -> dict[str, list[str]]:
    examples, journal, chat, out = (
        str(folder / f"{name}.jsonl") for name in ("examples", "journal", "chat", "out")
    )
    predictions = str(folder / "predictions.jsonl")
    table = str(folder / "out.parquet")
    return {
        "evaluate --predictions": ["evaluate", examples, "--predictions", predictions, "-o", out],
        "evaluate --predictions of a journal": ["evaluate", examples, "--predictions", journal],
        "prompt --pool": ["prompt", examples, "--pool", examples, "-o", out],
        "review --gold": ["review", journal, "--gold", examples],
        "collect": ["collect", journal, "--examples", examples, "-o", out],
        "stats": ["stats", chat],
        "validate": ["validate", chat],
        "prompt to Parquet": ["prompt", examples, "--shots", "0", "-o", table],
    }
