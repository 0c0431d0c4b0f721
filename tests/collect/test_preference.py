"""Pairs of a better and a worse answer: which ones, in which order, and why some requests have none."""

import json
import re
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.collect.collector import collect_files
from dataprep.core import io as files
from dataprep.core.errors import InputError, UsageError
from dataprep.core.records import Example
from tests.helpers import read_jsonl
from tests.journal_lines import journal, line
from tests.real import SMOLLM2, needs_smollm2
from tests.tables import table
from tests.teacher_server import Reply, TeacherServer, completion

CHOICES = ("iron", "tin", "wool")


def example(name="x", **fields):
    """A multiple-choice Example whose answer is b."""
    given = {"choices": CHOICES, "answer": "tin", "answer_label": "b", "source": "arc"}
    return Example(f"Question {name}?", "choice", **({"id": name} | given | fields)).to_json()


def reply(text, sample=0, **more):
    """A journal's line with this reply."""
    return line(response=text, sample=sample, **more)


@pytest.fixture
def pairs(tmp_path):
    """Collect lines for Examples to pairs; the rows that were written, and the report."""

    def collected(lines, examples=None, judgements=None, **options):
        (tmp_path / "responses.jsonl").write_bytes(journal(*lines))
        rows = [example()] if examples is None else examples
        (tmp_path / "examples.jsonl").write_bytes(journal(*rows))
        if judgements is not None:
            (tmp_path / "judged.jsonl").write_bytes(journal(*judgements))
            options["judgements"] = tmp_path / "judged.jsonl"
        out = tmp_path / "out.jsonl"
        report = collect_files(
            [tmp_path / "responses.jsonl"], tmp_path / "examples.jsonl", out, to="preference", **options
        )
        return read_jsonl(out), report

    return collected


def said(rows):
    """The contents of chosen and rejected messages."""
    return [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows]


def test_a_pair_is_a_conversation_with_two_ends(pairs):
    """The prompt as `convert` words it, an answer each, and whose answers they are."""
    rows, report = pairs([reply("<think>Tin?</think>B"), reply("C", 1, reasoning="Wool."), reply("A", 2)])
    (row,) = rows
    assert [message["role"] for message in row["prompt"]] == ["system", "user"]
    assert row["prompt"][1]["content"].startswith("Question x?\n\n(a) iron")
    assert {name: row[name] for name in row if name != "prompt"} == {
        "chosen": [{"role": "assistant", "content": "B", "reasoning_content": "Tin?"}],
        "rejected": [{"role": "assistant", "content": "C", "reasoning_content": "Wool."}],
        "id": "x", "source": "arc",
        "chosen_by": {"teacher": "t", "sample": 0}, "rejected_by": {"teacher": "t", "sample": 1},
    }  # fmt: skip
    assert str(report.ledger) == "1 in = 1 out"
    assert dict(report.statuses["t"]) == {"ok": 1, "answer_mismatch": 2}


@table(
    ("place", "chosen", "left_out"),
    [
        ("as-reasoning", {"content": "B", "reasoning_content": "Tin?"}, 0),
        ("as-rationale", {"content": "Tin?\n\nB"}, 0),
        ("drop", {"content": "B"}, 1),
    ],
)
def test_the_thinking_of_a_pair_has_a_place(pairs, place, chosen, left_out):
    """The same as in chat rows."""
    rows, report = pairs([reply("<think>Tin?</think>B"), reply("C", 1)], reasoning=place)
    assert rows[0]["chosen"] == [{"role": "assistant", **chosen}]
    assert report.thinking == left_out


@table(
    ("replies", "reason"),
    [
        ([], "no answer"),
        ([line("failed"), line("refused", sample=1), line("empty", sample=2)], "no answer"),
        ([reply("B")], "one answer only"),
        ([reply("B"), reply("b", 1)], "no wrong answer"),
        ([reply("A"), reply("C", 1)], "no right answer"),
        ([reply("Hm"), reply("Metal", 1)], "no answer was judged"),
        ([reply("B"), reply("Hm", 1)], "no wrong answer"),
        ([reply("B"), line("length", sample=1, response="The answer is (c)")], "no wrong answer"),
        ([reply("<think>B"), reply("C", 1)], "one answer only"),
    ],
)
def test_requests_without_a_pair_are_counted_by_reason(pairs, replies, reason):
    """What is cut off or names no choice is neither right nor wrong."""
    rows, report = pairs([*replies, reply("B", id="y"), reply("C", 1, id="y")], [example(), example("y")])
    assert len(rows) == 1
    assert dict(report.ledger.dropped) == {reason: 1}


def test_teachers_are_compared_with_each_other(pairs):
    """Those of all journals, and those whose rationales the Examples have; or one teacher's own samples."""
    lines = [
        reply("C", teacher="t"),
        reply("A", 1, teacher="t"),
        reply("B", teacher="u"),
        reply("C", 1, teacher="u"),
    ]
    rows, report = pairs(lines)
    assert (rows[0]["chosen_by"]["teacher"], rows[0]["rejected_by"]["teacher"]) == ("u", "t")
    assert set(report.statuses) == {"t", "u"}
    rows, _ = pairs(lines, teacher="u")
    assert rows[0]["rejected_by"] == {"teacher": "u", "sample": 1}
    _, report = pairs(lines, sample=0, teacher="u")
    assert dict(report.ledger.dropped) == {"one answer only": 1}
    labelled = example() | {"rationales": {"old": "It is iron."}, "status": {"old": "answer_mismatch"}}
    rows, _ = pairs([reply("B")], [labelled])
    assert (said(rows), rows[0]["rejected_by"]["teacher"]) == ([("B", "It is iron.")], "old")


def test_several_pairs_use_no_answer_twice_as_long_as_they_can(pairs):
    """Their number is bounded, no pair comes twice, and a pair of equal texts is none."""
    lines = [reply("B"), reply("(b)", 1), reply("C", 2), reply("A", 3), reply("A", 4)]
    every = [("B", "C"), ("(b)", "A"), ("B", "A"), ("(b)", "C")]
    for count in range(1, 6):
        rows, report = pairs(lines, pairs=count)
        assert said(rows) == every[:count]
        assert (report.ledger.rows_in, report.ledger.rows_out) == (len(rows), len(rows))
    rows, report = pairs([reply("Tin"), reply("Tin", 1)], keep=["ok"], reject=["ok"])
    assert (rows, dict(report.ledger.dropped)) == ([], {"the answers are the same": 1})


@table(
    ("options", "expected"),
    [
        ({"keep": ["unjudged", "ok"], "reject": ["no_answer"]}, [("B", "Hm")]),
        ({"keep": "no_answer", "reject": "answer_mismatch"}, [("Hm", "C")]),
        ({"reject": ["length"]}, [("B", "It is (c)")]),
    ],
)
def test_other_statuses_can_be_chosen_and_rejected(pairs, options, expected):
    """For example answers that are cut off, to teach a student brevity."""
    lines = [reply("B"), reply("C", 1), reply("Hm", 2), line("length", sample=3, response="It is (c)")]
    assert said(pairs(lines, **options)[0]) == expected


# Judgements

OPEN = [{"id": name, "question": f"Why {name}?", "task": "qa"} for name in "xy"]
ANSWERS = [reply("short", 0, teacher="t"), reply("long", 1, teacher="t"), reply("kind", 0, teacher="u")]
ABSENT = "the judgement names an answer without a text"


@table(
    ("judgements", "expected"),
    [
        ([{"chosen": "u"}], [("kind", "short"), ("kind", "long")]),
        ([{"chosen": "u", "rejected": {"teacher": "t", "sample": 1}}], [("kind", "long")]),
        ([{"chosen": {"teacher": "t", "sample": 1}, "rejected": {"teacher": "t"}}], [("long", "short")]),
        ([{"chosen": {"teacher": "t", "sample": "1"}, "rejected": "u"}], [("long", "kind")]),
        ([{"chosen": None}], "tie"),
        ([{"chosen": "tie", "rejected": None}], "tie"),
        ([{"chosen": "v"}], ABSENT),
        ([{"chosen": "u", "rejected": {"teacher": "u", "sample": 7}}], ABSENT),
        ([{"chosen": "u", "rejected": "u"}], "no answer to reject"),
        ([{"teacher": "t", "rating": 3}, {"teacher": "u", "rating": 8.5}], [("kind", "short")]),
        (
            [{"teacher": "t", "sample": 0, "rating": 3}, {"teacher": "t", "sample": 1, "rating": "9"},
             {"teacher": "u", "sample": None, "rating": 8}],
            [("long", "short"), ("kind", "short"), ("long", "kind")],
        ),
        ([{"teacher": "t", "rating": 3}, {"teacher": "u", "rating": 3}], "tie"),
        ([{"teacher": "t", "rating": 3}], "fewer than two rated answers"),
        ([{"teacher": "t", "rating": 3}, {"teacher": "v", "rating": 4}], "fewer than two rated answers"),
    ],
)  # fmt: skip
def test_judgements_choose(pairs, judgements, expected):
    """By name, or by ratings; ties and answers that are not there are counted."""
    given = [{"id": "x", **each} for each in judgements]
    rows, report = pairs(ANSWERS, OPEN[:1], given, pairs=9)
    if isinstance(expected, str):
        assert (rows, dict(report.ledger.dropped)) == ([], {expected: 1})
    else:
        assert said(rows) == expected


def test_the_order_of_a_file_of_judgements_does_not_matter(pairs):
    """The pairs are those of the answers' order."""
    ratings = [("t", 0, 3), ("t", 1, 9), ("u", 0, 3)]
    found = set()
    for order in permutations(ratings):
        rows = [{"id": "x", "teacher": name, "sample": n, "rating": rating} for name, n, rating in order]
        found.add(json.dumps(pairs(ANSWERS, OPEN[:1], rows)[0]))
    assert len(found) == 1


def test_a_judge_and_the_references_must_not_contradict_each_other(pairs):
    """A chosen answer that is wrong is counted; so are requests and judgements that have no other side."""
    lines = [reply("B"), reply("C", 1), reply("B", id="y"), reply("A", 1, id="y")]
    judged = [{"id": "x", "chosen": 1}, {"id": "z", "chosen": 0}]
    rows, report = pairs(lines, [example(), example("y")], judged)
    assert (rows, report.unjudged) == ([], 1)
    reasons = {"chosen, but the status is answer_mismatch": 1, "no judgement": 1}
    assert dict(report.ledger.dropped) == reasons
    rows, _ = pairs(lines, [example(), example("y")], judged, keep=["answer_mismatch"])
    assert said(rows) == [("C", "B")]
    rated = [{"id": "x", "sample": 0, "rating": 1}, {"id": "x", "sample": 1, "rating": 2}]
    _, report = pairs(lines, [example()], rated)
    assert dict(report.ledger.dropped) == {"no answer to choose": 1}


@table(
    ("judgements", "message"),
    [
        ([{"id": "x"}], "not a judgement"),
        ([{"chosen": "t"}], "not a judgement"),
        ([{"id": "x", "chosen": "t"}, {"id": "x", "chosen": "u"}], "a second judgement about 'x'"),
        ([{"id": "x", "chosen": "t"}, {"id": "x", "teacher": "t", "rating": 1}], "a second judgement"),
        ([{"id": "x", "teacher": "t", "rating": 1}, {"id": "x", "chosen": "t"}], "a second judgement"),
        ([{"id": "x", "teacher": "t", "rating": 1}] * 2, "a second rating"),
        ([{"id": "x", "teacher": "t", "rating": "good"}], "malformed rating"),
        ([{"id": "x", "teacher": "t", "rating": float("nan")}], "malformed rating|not JSON"),
        ([{"id": "x", "rating": 1}], "the teachers are t, u"),
        ([{"id": "x", "chosen": 1}], "the teachers are t, u"),
        ([{"id": "x", "chosen": {"teacher": "t", "sample": -1}}], "no answer is named"),
        ([{"id": "q", "chosen": "t"}], "none of the 1 ids is one of the Examples': found 'q'"),
        ([], "the file is empty"),
    ],
)
def test_judgements_that_are_none(pairs, judgements, message):
    """With their place, and what was expected."""
    with pytest.raises(InputError, match=message) as raised:
        pairs(ANSWERS, OPEN[:1], judgements)
    assert "judged.jsonl" in str(raised.value)


def test_judgements_are_read_from_a_table(pairs, tmp_path):
    """It has a column for each field of each row, and nulls in it."""
    rows = [
        {"id": "x", "chosen": None, "rejected": None, "teacher": "t", "sample": 0, "rating": 1.0},
        {"id": "x", "chosen": None, "rejected": None, "teacher": "u", "sample": 0, "rating": 2.0},
        {"id": "y", "chosen": {"teacher": "t", "sample": 1}, "rejected": {"teacher": "t", "sample": 0},
         "teacher": None, "sample": None, "rating": None},
    ]  # fmt: skip
    with files.open_output(str(tmp_path / "judged.parquet")) as out:
        out.write(journal(*rows))
    lines = [*ANSWERS, *({**each, "id": "y"} for each in ANSWERS)]
    found, _ = pairs(lines, OPEN, judgements=None)
    assert found == []
    report = collect_files(
        [tmp_path / "responses.jsonl"], tmp_path / "examples.jsonl", tmp_path / "o.jsonl", to="preference",
        judgements=tmp_path / "judged.parquet",
    )  # fmt: skip
    assert str(report.ledger) == "2 in = 2 out"
    assert said(read_jsonl(tmp_path / "o.jsonl")) == [("kind", "short"), ("long", "short")]


RATING = st.tuples(st.sampled_from("tu"), st.integers(0, 3))


@given(st.dictionaries(RATING, st.integers(0, 4), max_size=6), st.integers(1, 4))
def test_ratings_hold_in_every_pair(tmp_path_factory, ratings, count):
    """The better one has the higher rating, and the first pair differs most."""
    folder = tmp_path_factory.mktemp("ratings")
    lines = [reply(f"{name}{n}", n, teacher=name) for name in "tu" for n in range(4)]
    rows = [
        {"id": "x", "teacher": name, "sample": n, "rating": rating} for (name, n), rating in ratings.items()
    ]
    rows.append({"id": "y", "teacher": "t", "rating": 1})
    for name, content in (("r", lines), ("e", OPEN), ("j", rows)):
        (folder / f"{name}.jsonl").write_bytes(journal(*content))
    report = collect_files(
        [folder / "r.jsonl"], folder / "e.jsonl", folder / "o.jsonl", to="preference", pairs=count,
        judgements=folder / "j.jsonl",
    )  # fmt: skip
    report.ledger.check()
    found = [
        [ratings[row[name]["teacher"], row[name]["sample"]] for name in ("chosen_by", "rejected_by")]
        for row in read_jsonl(folder / "o.jsonl")
    ]
    assert all(better > worse for better, worse in found)
    spread = max(ratings.values(), default=0) - min(ratings.values(), default=0)
    assert [better - worse for better, worse in found][:1] == ([spread] if spread else [])


@pytest.mark.medium
def test_the_judge_of_the_documentation(run, tmp_path):
    """Its programs and commands run, and the pairs are the judge's."""
    page = (Path(__file__).parents[2] / "docs/commands/collect.md").read_text("utf-8")
    ask, read = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    rows = [{"id": f"r{n}", "messages": [{"role": "user", "content": f"Why {n}?"}]} for n in range(3)]
    (tmp_path / "requests.jsonl").write_bytes(journal(*rows))

    def behave(received, _):
        if "Rate" in received.question:
            return Reply(body=completion(str(len(re.search(r"Answer: (x*)", received.question)[1]))))
        body = completion("", n=received.body["n"])
        for number, choice in enumerate(body["choices"], 1):
            count = number if "Why 1" in received.question else 4 - number
            choice["message"] = {"role": "assistant", "content": "x" * count}
        return Reply(body=body)

    with TeacherServer(behave) as server:
        asked = ("--base-url", server.url, "--model")
        run(
            "generate",
            "requests.jsonl",
            "-o",
            "responses.jsonl",
            *asked,
            "t",
            "--n",
            "3",
            "--temperature",
            "1",
        )
        subprocess.run([sys.executable, "-c", ask], cwd=tmp_path, check=True)
        done = run("generate", "judge.jsonl", "-o", "judged.jsonl", *asked, "judge", "--max-tokens", "5")
        assert done.code == 0, done.err
    subprocess.run([sys.executable, "-c", read], cwd=tmp_path, check=True)
    done = run(
        "collect", "responses.jsonl", "--examples", "requests.jsonl", "--to", "preference", "--judgements",
        "judgements.jsonl",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = list(map(json.loads, done.out.splitlines()))
    assert said(found) == [("xxx", "x")] * 3, done.err
    assert [row["chosen_by"]["sample"] for row in found] == [0, 2, 0]


def test_requests_and_tools_are_in_a_pair(pairs):
    """The prompt is what the teachers were asked."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    calls = [{"id": "c", "function": {"name": "f", "arguments": " {}"}}]
    asked = {"id": "x", "messages": [{"role": "user", "content": "Why x?"}], "tools": tools}
    lines = [reply("Because.", 0), reply(None, 1, finish_reason="tool_calls", tool_calls=calls)]
    rows, _ = pairs(lines, [asked], [{"id": "x", "chosen": 1}], keep=["tool_calls"])
    assert (rows[0]["prompt"], rows[0]["tools"]) == (asked["messages"], tools)
    assert rows[0]["chosen"] == [{"role": "assistant", "content": None, "tool_calls": calls}]
    assert rows[0]["rejected"] == [{"role": "assistant", "content": "Because."}]


@table(
    ("options", "message"),
    [
        ({"to": "chat", "reject": ["ok"]}, "--reject is for --to preference"),
        ({"to": "chat", "judgements": "j.jsonl"}, "--judgements is for --to preference"),
        ({"to": "qa", "pairs": 2}, "--pairs is for --to preference"),
        ({"pairs": 0}, "--pairs 0"),
        ({"reject": ["wrong"]}, "--reject wrong: an answer with a text is one of"),
        ({"to": "qa", "tools": [{}]}, "--tools is for --to chat and preference"),
    ],
)
def test_options_that_have_no_effect(tmp_path, options, message):
    """They are mistakes."""
    with pytest.raises(UsageError, match=message):
        collect_files(
            [tmp_path / "r"], tmp_path / "e", tmp_path / "o.jsonl", **{"to": "preference", **options}
        )


def test_the_command_makes_pairs(run, tmp_path):
    """With a summary that says why some requests have none."""
    lines = [reply("B"), reply("C", 1), reply("B", id="y"), reply("b", 1, id="y")]
    (tmp_path / "r.jsonl").write_bytes(journal(*lines))
    (tmp_path / "e.jsonl").write_bytes(journal(example(), example("y")))
    (tmp_path / "j.jsonl").write_bytes(journal({"id": "x", "chosen": 0}, {"id": "q", "chosen": 0}))
    done = run("collect", "r.jsonl", "--examples", "e.jsonl", "--to", "preference", "-o", "p.jsonl")
    assert done.code == 0
    assert done.err.splitlines() == [
        "collect: 2 in = 1 out + 1 dropped (no wrong answer: 1) → p.jsonl",
        "  t: ok: 3, answer_mismatch: 1",
    ]
    options = ("--judgements", "j.jsonl", "--pairs", "3", "--reject", "ok,answer_mismatch", "--json")
    done = run("collect", "r.jsonl", "--examples", "e.jsonl", "--to", "preference", *options)
    assert json.loads(done.err)["judgements_about_no_example"] == 1
    assert said(map(json.loads, done.out.splitlines())) == [("B", "C")]


@pytest.mark.models
@needs_smollm2
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_pairs_of_a_small_real_model_train_it(run, tmp_path):
    """From its own samples, with tools in its prompt: TRL's DPOTrainer takes the pairs as they are."""
    asked = [
        {"id": f"r{n}", "messages": [{"role": "user", "content": f"Say {word} in another language."}]}
        for n, word in enumerate(["hello", "thanks", "water", "night"])
    ]
    (tmp_path / "requests.jsonl").write_bytes(journal(*asked))
    tools = [{"type": "function", "function": {"name": "add"}}]
    (tmp_path / "tools.json").write_text(json.dumps(tools), encoding="utf-8")
    settings = ("--n", "3", "--temperature", "1", "--param", "seed=1", "--max-tokens", "12")
    local = ("--engine", "transformers", "--model", SMOLLM2, "--tools", "tools.json")
    for count in (4, 0):
        done = run("generate", "requests.jsonl", "-o", "r.jsonl", *local, *settings, "--json")
        assert json.loads(done.err)["sent"] == count
    lines = read_jsonl(tmp_path / "r.jsonl")
    judged = [{"id": each["id"], "sample": each["sample"], "rating": len(each["response"])} for each in lines]
    (tmp_path / "j.jsonl").write_bytes(journal(*judged))
    done = run(
        "collect", "r.jsonl", "--examples", "requests.jsonl", "--to", "preference", "--judgements", "j.jsonl",
        "--keep", "unjudged,length", "--reject", "unjudged,length", "--tools", "tools.json",
        "-o", "pairs.jsonl",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = read_jsonl(tmp_path / "pairs.jsonl")
    assert found, done.err
    for row in found:
        (better,), (worse,) = row["chosen"], row["rejected"]
        assert row["tools"] == tools
        assert len(better["content"]) > len(worse["content"])

    from datasets import load_dataset
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer

    rows = load_dataset(
        "json", data_files=str(tmp_path / "pairs.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    config = DPOConfig(
        str(tmp_path / "run"), max_steps=1, per_device_train_batch_size=1, report_to=[], use_cpu=True
    )
    model = AutoModelForCausalLM.from_pretrained(SMOLLM2)
    trainer = DPOTrainer(str(SMOLLM2), model, config, train_dataset=rows)
    assert trainer.train().training_loss > 0
