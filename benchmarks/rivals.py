"""Do the work of ``dataprep convert`` and ``merge`` with other tools, each as its own process.

``python -m benchmarks.rivals NAME INPUT OUTPUT [PROCESSES] [CACHE]``. All contenders of ``convert``
write the same rows; ``orjson`` and ``json`` are hand-written loops.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SYSTEM = (
    "You are a helpful assistant that can solve math word problems, write Python functions, "
    "and answer reading comprehension questions."
)


def chat(row: dict[str, Any]) -> dict[str, Any]:
    """Return the chat row of a GSM8K row."""
    solution, _, answer = row["answer"].rpartition("####")
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": row["question"].strip()},
            {"role": "assistant", "content": f"{solution.strip()}\n\n#### {answer.strip()}"},
        ]
    }


def orjson_loop(source: str, target: str) -> None:
    """Convert GSM8K one line at a time, with orjson, in a carefully written loop."""
    import orjson

    loads, dumps, newline = orjson.loads, orjson.dumps, orjson.OPT_APPEND_NEWLINE
    system = {"role": "system", "content": SYSTEM}
    # Large buffers, everything inline, and the newline from orjson: Python's 8 KiB buffers and a function per
    # row took 1.4 times as long.
    with open(source, "rb", buffering=1 << 20) as lines, open(target, "wb", buffering=1 << 20) as out:
        write = out.write
        for line in lines:
            row = loads(line)
            solution, _, answer = row["answer"].rpartition("####")
            write(
                dumps(
                    {
                        "messages": [
                            system,
                            {"role": "user", "content": row["question"].strip()},
                            {
                                "role": "assistant",
                                "content": f"{solution.strip()}\n\n#### {answer.strip()}",
                            },
                        ]
                    },
                    option=newline,
                )
            )


def sharegpt_loop(source: str, target: str) -> None:
    """Write chat rows of texts as ShareGPT rows, one line at a time, checking nothing."""
    import orjson

    loads, dumps, newline = orjson.loads, orjson.dumps, orjson.OPT_APPEND_NEWLINE
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    with open(source, "rb", buffering=1 << 20) as lines, open(target, "wb", buffering=1 << 20) as out:
        for line in lines:
            messages = loads(line)["messages"]
            turns = [{"from": names[each["role"]], "value": each["content"]} for each in messages]
            out.write(dumps({"conversations": turns}, option=newline))


def json_loop(source: str, target: str) -> None:
    """Convert one line at a time, with the standard library."""
    with open(source, encoding="utf-8") as lines, open(target, "w", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps(chat(json.loads(line)), ensure_ascii=False) + "\n")


def polars_expressions(source: str, target: str) -> None:
    """Convert whole columns, with polars on all cores."""
    import polars as pl

    answer = pl.col("answer").str.split("####")
    content = answer.list.first().str.strip_chars() + "\n\n#### " + answer.list.last().str.strip_chars()

    def message(role: str, text: pl.Expr) -> pl.Expr:
        return pl.struct(role=pl.lit(role), content=text)

    messages = pl.concat_list(
        message("system", pl.lit(SYSTEM)),
        message("user", pl.col("question").str.strip_chars()),
        message("assistant", content),
    )
    pl.scan_ndjson(source).select(messages=messages).collect().write_ndjson(target)


def partition_loop(source: str, target: str) -> None:
    """Split each rationale string at its markers, and write the pieces without any check."""
    import orjson

    loads, dumps, newline = orjson.loads, orjson.dumps, orjson.OPT_APPEND_NEWLINE
    with open(source, "rb", buffering=1 << 20) as lines, open(target, "wb", buffering=1 << 20) as out:
        for line in lines:
            first, _, rest = loads(line).partition("Thus, the answer is")
            answer, _, rest = rest.partition("\n\nQ: ")
            question, _, rest = rest.partition("\nAnswer Choices:\n")
            listed, _, second = rest.partition(" llama rationale: ")
            row = {
                "question": question,
                "choices": listed.split("\n"),
                "answer": answer,
                "rationales": {"flan-t5": first, "llama-2": second},
            }
            out.write(dumps(row, option=newline))


def choices_loop(source: str, target: str) -> None:
    """Convert CommonsenseQA's rows to the same chat rows, one line at a time."""
    import orjson

    loads, dumps, newline = orjson.loads, orjson.dumps, orjson.OPT_APPEND_NEWLINE
    with open(source, "rb", buffering=1 << 20) as lines, open(target, "wb", buffering=1 << 20) as out:
        for line in lines:
            row = loads(line)
            question, key = row["question"], row["answerKey"]
            choices = question["choices"]
            listed = "\n".join(f"({choice['label'].lower()}) {choice['text']}" for choice in choices)
            text = next(choice["text"] for choice in choices if choice["label"] == key)
            messages = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": f"{question['stem']}\n\n{listed}"},
                {"role": "assistant", "content": f"({key.lower()}) {text}"},
            ]
            out.write(dumps({"messages": messages}, option=newline))


def strings_of(data: str, target: str) -> None:
    """Write all published rationale strings as JSON Lines, the input of a contender."""
    import orjson

    with open(target, "wb") as out:
        for path in sorted(Path(data).glob("tinyllm/*/llm/*.json")):
            for text in orjson.loads(path.read_bytes()):
                out.write(orjson.dumps(text) + b"\n")


def ngram_loop(source: str, target: str, tests: str) -> None:
    """Leave out the rows that have half of the 13-grams of a test row's question."""
    import orjson

    grams: dict[str, list[int]] = {}
    totals = []
    with open(tests, "rb") as file:
        for number, line in enumerate(file):
            words = orjson.loads(line)["question"].lower().split()
            own = {" ".join(words[at : at + 13]) for at in range(max(1, len(words) - 12))}
            totals.append(len(own))
            for gram in own:
                grams.setdefault(gram, []).append(number)
    with open(source, "rb") as rows, open(target, "wb") as out:
        for line in rows:
            counts: dict[int, int] = {}
            for message in orjson.loads(line)["messages"]:
                words = message["content"].lower().split()
                for gram in {" ".join(words[at : at + 13]) for at in range(max(1, len(words) - 12))}:
                    for number in grams.get(gram, ()):
                        counts[number] = counts.get(number, 0) + 1
            if all(count < totals[number] / 2 for number, count in counts.items()):
                out.write(line)


def datasets_map(source: str, target: str, processes: int, cache: str) -> None:
    """Convert with Hugging Face datasets: load, map, to_json."""
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.load_dataset("json", data_files=source, split="train", cache_dir=cache)
    rows = rows.map(chat, num_proc=processes, remove_columns=rows.column_names)
    rows.to_json(target, num_proc=processes, force_ascii=False)


def datasets_shuffle(source: str, target: str, processes: int, cache: str) -> None:
    """Shuffle with Hugging Face datasets: load, shuffle, to_json."""
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.load_dataset("json", data_files=source, split="train", cache_dir=cache)
    rows.shuffle(seed=42).to_json(target, num_proc=processes, force_ascii=False)


def openai_loop(source: str, target: str, url: str, in_flight: int) -> None:
    """Send requests from many tasks with the official client, without a journal or retries."""
    import asyncio

    import openai
    import orjson

    async def work(client: openai.AsyncOpenAI, lines: Any, out: Any) -> None:
        for line in lines:
            row = orjson.loads(line)
            reply = await client.chat.completions.create(
                model="tiny", messages=row["messages"], max_tokens=512, temperature=0.0
            )
            answer = {"id": row["id"], "response": reply.choices[0].message.content}
            out.write(orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE))

    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
            with open(source, "rb") as lines, open(target, "wb") as out:
                await asyncio.gather(*(work(client, lines, out) for _ in range(in_flight)))

    asyncio.run(run())


RIVALS = {
    "orjson": orjson_loop,
    "json": json_loop,
    "sharegpt": sharegpt_loop,
    "polars": polars_expressions,
    "partition": partition_loop,
    "choices": choices_loop,
    "strings": strings_of,
}


def main() -> None:
    """Run one contender."""
    name, source, target, *rest = sys.argv[1:]
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    if name == "openai":
        openai_loop(source, target, rest[0], int(rest[1]))
    elif name == "ngram_loop":
        ngram_loop(source, target, rest[0])
    elif rest:
        {"datasets_map": datasets_map, "datasets_shuffle": datasets_shuffle}[name](
            source, target, int(rest[0]), rest[1]
        )
    else:
        RIVALS[name](source, target)


if __name__ == "__main__":
    main()
