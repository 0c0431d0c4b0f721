"""Requests to teachers: their wording, and which worked examples they show."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.errors import InputError, RowError, UsageError
from dataprep.prompting import prompt_file
from dataprep.prompts import Prompter, Shot, ShotPool, shot_of
from dataprep.rationales import CUE
from dataprep.records import Example


def example(number, **fields):
    """A multiple-choice example with a rationale."""
    given = {
        "choices": ("iron", "tin"),
        "answer": "tin",
        "answer_label": "b",
        "solution": f"Because {number}.",
    }
    return Example(f"Question {number}?", "choice", **({"id": f"id{number}"} | given | fields))


def shots(count):
    """A pool of worked examples."""
    return [Shot(f"id{n}", example(n), f"Because {n}.") for n in range(count)]


def written(path, rows):
    """A JSON Lines file of Examples."""
    path.write_text("".join(json.dumps(row.to_json()) + "\n" for row in rows), encoding="utf-8")
    return path


def requests(path):
    """The requests in a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_forced_prompt_shows_question_options_letter_and_cue():
    """The teacher sees the gold letter and goes on from the cue."""
    (system, user) = Prompter(ShotPool([], 0, 1))(example(1))["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert user["content"] == (
        f"Question: Question 1?\n\nOptions:\n(a) iron\n(b) tin\n\nAnswer: b\n\nRationale: {CUE}"
    )


def test_worked_examples_come_first_with_their_rationales():
    """Each shot has the form of the question, and its rationale after the cue."""
    request = Prompter(ShotPool(shots(3), 2, 1))(example(9))
    content = request["messages"][1]["content"]
    assert len(request["shots"]) == 2
    for shot in request["shots"]:
        assert f"{CUE} Because {shot[2:]}." in content
    assert content.endswith(f"Answer: b\n\nRationale: {CUE}")
    assert content.count("Question:") == 3


def test_an_open_question_shows_its_answer_text():
    """Without choices the gold answer itself is shown."""
    request = Prompter(ShotPool([], 0, 1))(Example("1 + 1?", "math", answer="2"))
    assert "Answer: 2\n" in request["messages"][1]["content"]
    assert "Options" not in request["messages"][1]["content"]


def test_without_forcing_it_is_the_plain_question():
    """The teacher is told to reply with a letter, and sees no answer."""
    system, user = Prompter(ShotPool([], 0, 1), forcing=False)(example(1))["messages"]
    assert "letter" in system["content"]
    assert user["content"] == "Question 1?\n\n(a) iron\n(b) tin"


def test_without_forcing_shots_are_turns():
    """Worked examples are earlier questions with their letters."""
    roles = [m["role"] for m in Prompter(ShotPool(shots(3), 1, 1), forcing=False)(example(9))["messages"]]
    assert roles == ["system", "user", "assistant", "user"]


def test_forcing_without_a_gold_answer_is_an_error():
    """There is nothing to show, so the row is bad."""
    with pytest.raises(RowError, match="no gold answer"):
        Prompter(ShotPool([], 0, 1))(example(1, answer=None, answer_label=None))


@given(st.integers(1, 30), st.integers(0, 12), st.integers(), st.randoms(use_true_random=False))
def test_the_choice_depends_on_seed_and_id_alone(size, count, seed, shuffler):
    """Another order of the pool draws the same shots; they are distinct and never the row itself."""
    pool = shots(size)
    mixed = list(pool)
    shuffler.shuffle(mixed)
    if count > size - 1:
        with pytest.raises(UsageError, match="--shots"):
            ShotPool(pool, count, seed).for_row("id0")
        return
    drawn = [shot.id for shot in ShotPool(pool, count, seed).for_row("id0")]
    assert drawn == [shot.id for shot in ShotPool(mixed, count, seed).for_row("id0")]
    assert len(set(drawn)) == count
    assert "id0" not in drawn


def test_the_draw_can_be_reproduced_with_pythons_random():
    """Anyone can make the same choice: a sample of the pool sorted by id, without the row itself."""
    pool = sorted(shots(20), key=lambda shot: shot.id)
    drawn = random.Random("42:id3").sample(pool, 5)
    expected = [shot.id for shot in drawn if shot.id != "id3"][:4]
    assert [shot.id for shot in ShotPool(pool, 4, 42).for_row("id3")] == expected


def test_every_other_shot_can_be_drawn():
    """No shot is left out or preferred: over many rows all occur about equally often."""
    pool = ShotPool(shots(5), 2, 7)
    counts = {f"id{n}": 0 for n in range(5)}
    for number in range(2000):
        for shot in pool.for_row(f"row{number}"):
            counts[shot.id] += 1
    assert all(700 < count < 900 for count in counts.values())


def test_only_good_rationales_become_shots():
    """A truncated rationale is no example to follow; the next teacher's, or the solution, is taken."""
    row = {"status": {"a": "truncated", "b": "ok"}}
    plain = example(1, rationales={"a": "Cut off in", "b": "Whole."})
    assert shot_of(row, plain).rationale == "Whole."
    assert shot_of({"status": {"a": "truncated", "b": "runaway"}}, plain).rationale == "Because 1."
    assert shot_of({}, example(1, solution=None)) is None


def test_a_file_is_its_own_pool(tmp_path):
    """Rows draw from one another, in the order of the file, and each keeps its id."""
    source = written(tmp_path / "in.jsonl", [example(n) for n in range(6)])
    ledger = prompt_file(source, tmp_path / "out.jsonl", shots=2)
    found = requests(tmp_path / "out.jsonl")
    assert [request["id"] for request in found] == [f"id{n}" for n in range(6)]
    assert all(request["id"] not in request["shots"] for request in found)
    assert (ledger.rows_in, ledger.rows_out) == (6, 6)


def test_a_pool_of_its_own(tmp_path):
    """With --pool the shots come from there only."""
    source = written(tmp_path / "in.jsonl", [example(n) for n in range(3)])
    pool = written(tmp_path / "pool.jsonl", [example(n) for n in range(10, 14)])
    prompt_file(source, tmp_path / "out.jsonl", shots=2, pool=pool)
    for request in requests(tmp_path / "out.jsonl"):
        assert set(request["shots"]) <= {"id10", "id11", "id12", "id13"}


def test_part_of_a_file_gets_the_same_shots_from_the_same_pool(tmp_path):
    """A row's shots do not depend on the rows before it."""
    pool = written(tmp_path / "pool.jsonl", [example(n) for n in range(10, 20)])
    for name, numbers in (("all", range(6)), ("late", range(3, 6))):
        source = written(tmp_path / f"{name}.jsonl", [example(n) for n in numbers])
        prompt_file(source, tmp_path / f"{name}_out.jsonl", shots=3, pool=pool)
    assert requests(tmp_path / "all_out.jsonl")[3:] == requests(tmp_path / "late_out.jsonl")


def test_raw_rows_of_a_dataset(tmp_path):
    """With --dataset a set's raw rows are read, hidden answers too where none is shown."""
    rows = [
        {"question": "Which?", "choices": ["iron", "tin"], "answer": "tin", "id": "x"},
        {"question": "What?", "choices": ["iron", "tin"], "id": "y"},
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    prompt_file(source, tmp_path / "out.jsonl", dataset="obqa", forcing=False)
    assert [request["id"] for request in requests(tmp_path / "out.jsonl")] == ["x", "y"]
    ledger = prompt_file(source, tmp_path / "out.jsonl", dataset="obqa", shots=0)
    assert (ledger.rows_out, ledger.dropped) == (1, {"no gold answer": 1})


def test_bad_rows_stop_or_are_set_aside(tmp_path):
    """A row without an answer stops the command with its line, or goes to the rejects."""
    source = written(tmp_path / "in.jsonl", [example(1), example(2, answer=None, answer_label=None)])
    with pytest.raises(InputError, match=r"in\.jsonl:2: no gold answer"):
        prompt_file(source, tmp_path / "out.jsonl", shots=0)
    assert not (tmp_path / "out.jsonl").exists()
    ledger = prompt_file(source, tmp_path / "out.jsonl", shots=0, rejects=tmp_path / "bad.jsonl")
    assert (ledger.rows_in, ledger.rows_out, ledger.failed.total()) == (2, 1, 1)


def test_the_wording_can_be_replaced(run, tmp_path):
    """A template's system and user take the default's place; an assistant has none."""
    written(tmp_path / "in.jsonl", [example(1)])
    (tmp_path / "t.toml").write_text('system = "S"\nuser = "U {question}"', encoding="utf-8")
    done = run("prompt", "in.jsonl", "--template", "t.toml", "--shots", "0")
    messages = json.loads(done.out)["messages"]
    assert [message["content"] for message in messages] == ["S", "U Question 1?"]
    (tmp_path / "t.toml").write_text('assistant = "A"', encoding="utf-8")
    assert run("prompt", "in.jsonl", "--template", "t.toml").code == 2


def test_too_many_shots_are_a_usage_error(run, tmp_path):
    """More than the pool has is said at once, and nothing is written."""
    written(tmp_path / "in.jsonl", [example(n) for n in range(3)])
    done = run("prompt", "in.jsonl", "--shots", "3", "-o", "out.jsonl")
    assert done.code == 2
    assert "--shots 3" in done.err
    assert not (tmp_path / "out.jsonl").exists()


def test_rationales_flow_into_prompts(run, tmp_path):
    """Parsed rationales are a prompt's input, in a pipe."""
    string = "Tin melts. Thus, the answer is (b) tin\n\nQ: Which {}?\nAnswer Choices:\n(a) iron\n(b) tin"
    (tmp_path / "train_CoT_0.json").write_text(
        json.dumps([string.format(n) for n in range(4)]), encoding="utf-8"
    )
    parsed = run("parse-rationales", "train_CoT_0.json")
    done = run("prompt", "-", "--shots", "2", input=parsed.out)
    assert (done.code, done.out.count(b"\n")) == (0, 4)
    assert "Tin melts." in json.loads(done.out.splitlines()[0])["messages"][1]["content"]
