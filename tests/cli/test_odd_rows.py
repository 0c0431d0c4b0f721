"""Rows of another shape, in every command: an answer or an error with its place, never a traceback."""

import copy
import json
import random

import pytest

from tests.helpers import chat, run_here
from tests.journal_lines import line as response


class Raw(str):
    """JSON as it is written, for what Python's values cannot say."""


def deep(depth, opening="[", closing="]", inner=""):
    """Brackets in brackets."""
    return Raw(opening * depth + inner + closing * depth)


ODD = [
    None, True, 0, -1, 2.5, 1e308, [], {}, "", " ", "x" * 3000, "\x1b[31m", "a\nb\u2028", "[/red]", "\ud800",
    Raw('"\\ud800"'), Raw("NaN"), Raw("Infinity"), Raw("-0.0"), Raw("1" + "0" * 400), Raw("1e400"),
    Raw("18446744073709551616"),
    [None], [[]], [{}], {"a": None}, [1, 2], [True], [1.5, None], {"": ""}, "null",
    "[]", {"text": ["a"], "label": ["b"]}, {"text": None, "label": 1}, {"a": "x", "b": "y"}, {"text": "a"},
    Raw('{"a": 1, "a": 2}'), deep(60), deep(254), deep(300), deep(900), deep(1030),
    *(deep(depth, '{"a":', "}", "1") for depth in (253, 300, 1000)),
]  # fmt: skip
CHOICES = {"id": "q", "question": "Which?", "choices": ["tin", "iron"], "answer": "tin"}
EXAMPLE = CHOICES | {
    "source": "qa",
    "task": "choice",
    "answer": {"label": "a", "text": "tin"},
    "context": "c",
}
EXAMPLE |= {"rationales": {"t": "Tin."}, "solution": "s", "tests": ["assert 1"], "answers": ["tin"]}
LABELLED = {name: EXAMPLE[name] for name in ("id", "question", "choices", "answer")}
LABELLED |= {"rationales": {"flan-t5": "It is tin.", "llama-2": "It is."}, "status": {"flan-t5": "ok"}}
LABELLED |= {"teacher_answers": {"flan-t5": {"label": "a", "text": "tin"}}}
PUBLISHED = "Thus, the answer is (a) tin\n\nQ: ?\nAnswer Choices:\n(a) tin\n(b) iron\nA: llama rationale: It."
REQUEST = {"id": "q", "messages": [{"role": "user", "content": "Which? (a) tin (b) iron"}]}
RESPONSE = response(id="q", response="(a)", usage={"prompt_tokens": 3, "completion_tokens": 4}, sample=0)
CHAT = chat("Which? (a) tin (b) iron", "a", id="q", source="qa")
SOURCES = {
    "gsm8k": {"question": "1 + 1?", "answer": "So\n#### 2"},
    "mbpp": {"task_id": 5, "text": "f", "code": "f = 1", "test_list": ["assert f"], "test_setup_code": ""},
    "squad": {"context": "Blue.", "question": "?", "answers": {"text": ["Blue"], "answer_start": [0]}},
    "commonsense_qa": {
        "id": "c", "answerKey": "A",
        "question": {"stem": "?", "choices": [{"label": "A", "text": "tin"}, {"label": "B", "text": "iron"}]},
    },
    "arc": {"question": "?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "1"},
    "piqa": {"goal": "g", "sol1": "x", "sol2": "y", "label": 0},
    "pubmedqa": {"pubid": 1, "question": "?", "context": {"contexts": ["c"]}, "final_decision": "yes"},
    "bioasq": {"id": "b", "body": "?", "type": "yesno", "exact_answer": "yes", "snippets": [{"text": "t"}]},
    "aqua_rat": {"question": "?", "options": ["A)1", "B)2"], "rationale": "r", "correct": "A"},
    "qa": CHOICES,
}  # fmt: skip
OUT = ("-o", "out.jsonl")
PREDICTED = ("--predictions", "predictions.jsonl")
EXAMPLES = ("--examples", "examples.jsonl")
# A command, whose `ROWS` are replaced by the file, and a row that it takes.
CASES = [
    *((("convert", name, "ROWS", *OUT), row) for name, row in SOURCES.items()),
    *((("convert", name, "ROWS", *OUT, "--to", "example"), row) for name, row in SOURCES.items()),
    *((("evaluate", "ROWS", *PREDICTED, "--dataset", name), row) for name, row in SOURCES.items()),
    *((("merge", "ROWS", "-o", f"out.{suffix}"), CHAT) for suffix in ("jsonl", "json", "csv", "parquet")),
    (("validate", "ROWS"), CHAT), (("validate", "ROWS", "--json"), CHAT),
    (("stats", "ROWS"), CHAT), (("stats", "ROWS", "--json"), EXAMPLE),
    (("lint-tokens", "ROWS", "--tokenizer", "t.model", "--html", "p.html"), CHAT),
    (("tokenize", "ROWS", "--tokenizer", "t.model", "-o", "shards"), CHAT),
    (("parse-rationales", "ROWS", *OUT), PUBLISHED),
    (("parse-rationales", "ROWS", *OUT, "--gold", "examples.jsonl"), {"text": PUBLISHED, "id": "q"}),
    (("parse-rationales", "strings.jsonl", *OUT, "--gold", "ROWS"), EXAMPLE),
    (("export-rationales", "ROWS", "-o", "folder"), LABELLED),
    (("prompt", "ROWS", *OUT, "--shots", "0"), EXAMPLE),
    (("prompt", "examples.jsonl", *OUT, "--shots", "1", "--pool", "ROWS"), EXAMPLE),
    (("prompt", "ROWS", *OUT, "--dataset", "arc", "--no-teacher-forcing"), SOURCES["arc"]),
    (("generate", "ROWS", "-o", "journal.jsonl", "--model", "m", "--status"), REQUEST),
    (("generate", "ROWS", "-o", "journal.jsonl", "--model", "m", "--batch", "export"), REQUEST),
    (("generate", "requests.jsonl", "-o", "ROWS", "--model", "m", "--status"), RESPONSE),
    *((("collect", "ROWS", *EXAMPLES, *OUT, "--to", to), RESPONSE) for to in ("rationale", "chat", "qa")),
    (("collect", "responses.jsonl", "--examples", "ROWS", *OUT, "--to", "choice-probs"), EXAMPLE),
    (("collect", "responses.jsonl", "--examples", "ROWS", *OUT), EXAMPLE),
    (("review", "ROWS", "-o", "p.html"), RESPONSE), (("review", "ROWS"), LABELLED),
    (("review", "ROWS", "--json"), {"Question": "Which?", "Answer": "a"}),
    (("review", "responses.jsonl", "--gold", "ROWS"), EXAMPLE),
    (("evaluate", "ROWS", "--predictions", "predictions.jsonl", *OUT), CHAT),
    (("evaluate", "ROWS", "--predictions", "predictions.jsonl"), EXAMPLE),
    (("evaluate", "chat.jsonl", "--predictions", "ROWS"), {"id": "q", "prediction": "a"}),
    (("evaluate", "examples.jsonl", "--predictions", "ROWS"), RESPONSE),
    (("tokenizer", "train", "ROWS", "-o", "t2.model", "--vocab-size", "270"), CHAT),
]  # fmt: skip
SETS_ASIDE = {"convert", "merge", "tokenize", "parse-rationales", "prompt", "evaluate"}


def written(value):
    """The JSON of a value with raw parts in it."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value)


def changed(row, rng):
    """The row with one of its values, or a part of it, replaced, renamed or left out."""
    if isinstance(row, str):
        return rng.choice(ODD)
    row = copy.deepcopy(row)
    inside, name = row, None
    while isinstance(inside, dict | list) and inside:
        holder, name = inside, rng.choice([*inside] if isinstance(inside, dict) else range(len(inside)))
        inside = holder[name]
        if rng.random() < 0.5:
            break
    action = rng.random()
    if action < 0.1:
        del holder[name]
    elif action < 0.2 and isinstance(holder, dict):
        holder[rng.choice(["\x1b[31m", "k" * 3000, "a"])] = holder.pop(name)
    else:
        holder[name] = copy.deepcopy(rng.choice(ODD))
    return row


@pytest.mark.medium
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_no_row_ends_in_a_traceback(tmp_path, seed):
    """Every command, with rows in which something is of another type, too deep, too large or missing."""
    rng = random.Random(seed)
    files = {"examples": CHOICES, "responses": RESPONSE, "requests": REQUEST, "chat": CHAT}
    files |= {"predictions": {"id": "q", "prediction": "a"}, "strings": PUBLISHED}
    for name, row in files.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    texts = [{"text": f"tin and iron {number}"} for number in range(90)]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, texts)))
    made = run_here(
        ["tokenizer", "train", "texts.jsonl", "-o", "t.model", "--vocab-size", "290"], cwd=tmp_path
    )
    assert made.code == 0, made.err
    failures = []
    for command, row in CASES:
        for attempt in range(4):
            rows = [row, changed(row, rng)][attempt % 2 :]
            as_array = attempt % 4 == 3 and "RESPONSES" not in command
            text = written(rows) if as_array else "\n".join(map(written, rows)) + "\n"
            file = tmp_path / ("rows.json" if as_array and row is not RESPONSE else "rows.jsonl")
            file.write_text(text)
            line = [file.name if part == "ROWS" else part for part in command]
            line += ["--rejects", "bad.jsonl"] if command[0] in SETS_ASIDE and attempt % 3 == 2 else []
            done = run_here(line, cwd=tmp_path)
            several = done.err.startswith("error: ") and done.err.count("\n") > 1
            if done.code not in (0, 1, 2) or "Traceback" in done.err or several:
                failures.append(f"{line}: {done.err[-400:]}\n{text[:600]}")
    assert not failures, f"{len(failures)} commands failed:\n" + "\n\n".join(failures[:20])


DEEP_ROWS = {
    ("convert", "arc", "rows.json"): "rows.json: row 2: ",
    ("merge", "rows.jsonl", "-o", "out.parquet"): "out.parquet: cannot be written: nested too deeply",
    ("stats", "rows.jsonl"): "rows.jsonl:2: ",
    ("convert", "arc", "rows.jsonl"): "rows.jsonl:2: ",
    ("validate", "rows.jsonl"): "",
}


def test_a_row_that_is_nested_too_deeply_is_refused_with_its_place(run, tmp_path):
    """JSON can be read deeper than it can be written, and a table of hundreds of levels takes gigabytes."""
    rows = [SOURCES["arc"], SOURCES["arc"] | {"choices": deep(800)}]
    (tmp_path / "rows.json").write_text(written(rows))
    (tmp_path / "rows.jsonl").write_text("\n".join(map(written, rows)))
    for command, says in DEEP_ROWS.items():
        done = run(*command)
        assert done.code == 1, (command, done)
        assert says in done.err, (command, done.err)
        assert not (tmp_path / "out.parquet").exists()
    assert b"nested too deeply" in run("validate", "rows.jsonl").out
    # Texts at any depth are texts to learn from.
    (tmp_path / "texts.jsonl").write_text(written({"text": "tin iron " * 9, "a": deep(900, inner='"ab"')}))
    done = run("tokenizer", "train", "texts.jsonl", "-o", "t.model", "--vocab-size", "274")
    assert "Traceback" not in done.err, done.err
    # Set aside or merged, it is kept as it was.
    done = run("convert", "arc", "rows.json", "-o", "out.jsonl", "--rejects", "bad.jsonl")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "bad.jsonl").read_text())["text"].count("[") == 800
    assert run("merge", "rows.json", "-o", "out.jsonl").code == 0
    assert (tmp_path / "out.jsonl").read_text().count("[") == 800 + 2


@pytest.mark.parametrize("split", ["", "../train", "a/b", "a\0b", "\x1b[31m"])
def test_a_split_is_a_name(run, tmp_path, split):
    """`export-rationales` writes into its folder and nowhere else."""
    (tmp_path / "rows.jsonl").write_text(json.dumps(LABELLED))
    done = run("export-rationales", "rows.jsonl", "-o", "folder", "--split", split)
    assert (done.code, done.out) == (2, b""), done
    assert "expected a name" in done.err
