"""Requests to teachers: their wording, and which worked examples they show."""

import io
import json
import multiprocessing
import pickle
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.answers.rationale import CUE
from dataprep.core.errors import InputError, RowError, UsageError
from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.core.records import Example
from dataprep.datasets.convert import Plan, convert_files
from dataprep.teacher.prompts import Prompter, prompt, prompt_file
from dataprep.teacher.shots import Shot, ShotPool, shot_of
from tests.engines import engine_on
from tests.helpers import write_jsonl


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
            ShotPool(pool, count, seed).for_row(example(0))
        return
    drawn = [shot.id for shot in ShotPool(pool, count, seed).for_row(example(0))]
    assert drawn == [shot.id for shot in ShotPool(mixed, count, seed).for_row(example(0))]
    assert len(set(drawn)) == count
    assert "id0" not in drawn


def test_the_draw_can_be_reproduced_with_pythons_random():
    """Anyone can make the same choice: a sample of the pool sorted by id, without the row itself."""
    pool = sorted(shots(20), key=lambda shot: shot.id)
    drawn = random.Random("42:id3").sample(pool, 5)
    expected = [shot.id for shot in drawn if shot.id != "id3"][:4]
    assert [shot.id for shot in ShotPool(pool, 4, 42).for_row(example(3))] == expected


def test_every_other_shot_can_be_drawn():
    """No shot is left out or preferred: over many rows all occur about equally often."""
    pool = ShotPool(shots(5), 2, 7)
    counts = {f"id{n}": 0 for n in range(5)}
    for number in range(2000):
        for shot in pool.for_row(example(5, id=f"row{number}")):
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


# Raw rows are read as convert reads them

PIQA = [{"goal": f"To do {n},", "sol1": f"first {n}", "sol2": f"second {n}"} for n in range(5)]
AQUA = [
    {
        "question": f"{n}+1?",
        "options": [f"A){n}", f"B){n + 1}"],
        "rationale": f"{n}+1={n + 1}",
        "correct": "B",
    }
    for n in range(5)
]
PUBMED = {
    str(n): {"QUESTION": f"Does {n}?", "CONTEXTS": ["We saw."], "final_decision": "no"} for n in range(5)
}


def lines(rows):
    """Rows as JSON Lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("dataset", "name", "content"),
    [
        ("piqa", "valid.jsonl", lines(PIQA)),
        ("piqa", "valid.json", lines(PIQA)),
        ("piqa", "valid.json", json.dumps(PIQA)),
        ("aqua", "dev.json", lines(AQUA)),
        ("aqua-rat", "dev.jsonl", lines(AQUA)),
        ("pubmedqa", "ori_pqal.json", json.dumps(PUBMED, indent=1)),
        (
            "csqa",
            "dev.csv",
            'question,choices,answer\nWhich?,"[""tin"", ""zinc""]",b\nWhat?,"[""x"", ""y""]",y\n',
        ),
    ],
)
@pytest.mark.parametrize("forcing", [True, False])
def test_raw_rows_are_read_as_convert_reads_them(tmp_path, dataset, name, content, forcing):
    """Labels in a second file, aliases, documents and tables: ids and answers are those of `convert`."""
    source, out = tmp_path / name, tmp_path / "out.jsonl"
    source.write_text(content, "utf-8")
    (tmp_path / "valid-labels.lst").write_text("0\n1\n1\n0\n1\n")
    convert_files(Plan(dataset, to="example"), [source], out)
    expected = [(row["id"], row["choices"], row["answer"]) for row in requests(out)]
    prompt_file(source, out, dataset=dataset, forcing=forcing, shots=0)
    assert [(row["id"], row["choices"], row["answer"]) for row in requests(out)] == expected
    assert expected


def test_labels_of_another_number_are_an_error(tmp_path):
    """A labels file that does not fit its rows stops prompt as it stops convert."""
    (tmp_path / "valid.jsonl").write_text(lines(PIQA))
    (tmp_path / "valid-labels.lst").write_text("0\n")
    with pytest.raises(InputError, match="found 1 labels for the 5 rows"):
        prompt_file(tmp_path / "valid.jsonl", tmp_path / "out.jsonl", dataset="piqa", shots=0)


def test_rows_of_a_set_are_their_own_pool(tmp_path):
    """Raw rows with solutions are worked examples for one another, also out of a stream."""
    (tmp_path / "dev.json").write_text(lines(AQUA))
    prompt_file(tmp_path / "dev.json", tmp_path / "out.jsonl", dataset="aqua", shots=2)
    for request in requests(tmp_path / "out.jsonl"):
        assert len(set(request["shots"]) - {request["id"]}) == 2


def test_labels_that_are_not_found_are_hinted_at(run, tmp_path):
    """Where every row lacks its label, the warning names the file that was looked for."""
    (tmp_path / "valid.jsonl").write_text(lines(PIQA))
    for command in (("prompt", "valid.jsonl", "--dataset", "piqa"), ("convert", "piqa", "valid.jsonl")):
        done = run(*command)
        assert (done.code, done.out) == (0, b"")
        assert "there is no valid-labels.lst" in done.err
    done = run("prompt", "-", "--dataset", "piqa", input=lines(PIQA).encode())
    assert "with NAME-labels.lst beside it" in done.err
    (tmp_path / "valid-labels.lst").write_text("-1\n" * 5)  # found, and hidden
    assert "labels" not in run("prompt", "valid.jsonl", "--dataset", "piqa").err


def test_raw_rows_are_not_replaced_by_requests(run, tmp_path):
    """With --dataset the input is raw data, which nothing could give back."""
    (tmp_path / "valid.jsonl").write_text(lines(PIQA))
    done = run("prompt", "valid.jsonl", "--dataset", "piqa", "-o", "valid.jsonl")
    assert done.code == 2
    assert (tmp_path / "valid.jsonl").read_text() == lines(PIQA)


# Rows that are no Examples


def test_rejects_go_on_after_any_bad_line(run, tmp_path):
    """Lines that do not parse, or hold no object, are set aside with line and reason, as convert does."""
    good = json.dumps(example(1).to_json())
    (tmp_path / "in.jsonl").write_text("\n".join([good, "[1]", '{"x', "", '{"a": 1}', good]) + "\n")
    done = run("prompt", "in.jsonl", "--shots", "0", "--rejects", "bad.jsonl")
    assert (done.code, done.out.count(b"\n")) == (0, 2)
    found = [(row["line"], row["reason"].partition(":")[0]) for row in requests(tmp_path / "bad.jsonl")]
    assert found == [(2, "not a JSON object"), (3, "not JSON"), (5, "missing field 'question'")]
    assert "5 in = 2 out + 3 failed" in done.err


@pytest.mark.parametrize("dataset", [(), ("--dataset", "obqa")])
def test_a_bad_line_of_standard_input_has_its_name(run, dataset):
    """The place is called as convert calls it, and the way out is said."""
    done = run("prompt", "-", *dataset, "--shots", "0", input=b"[1]\n")
    assert done.code == 1
    assert "standard input:1: not a JSON object" in done.err
    assert "--rejects FILE" in done.err


def test_a_document_on_standard_input_is_named_as_one(run):
    """A whole JSON document through a pipe is an error that says what to give instead."""
    for text in (json.dumps(PUBMED, indent=1), json.dumps(PUBMED)):
        for command in (("prompt", "-", "--dataset", "pubmedqa"), ("convert", "pubmedqa", "-")):
            done = run(*command, input=text.encode())
            assert done.code == 1
            assert "document" in done.err
            assert ".json file" in done.err


def test_a_flat_row_is_an_example(tmp_path):
    """Rows `{id, question, choices, answer: text}` need no --dataset; their answers get their letters."""
    rows = [{"id": 1, "question": "Which?", "choices": ["iron ", "tin"], "answer": "tin"}]
    rows += [{"question": "What?", "choices": ["iron", "tin"], "answer": "A"}]
    (tmp_path / "flat.json").write_text(json.dumps(rows, indent=1))
    prompt_file(tmp_path / "flat.json", tmp_path / "out.jsonl", shots=0)
    first, second = requests(tmp_path / "out.jsonl")
    assert (first["id"], first["choices"]) == ("1", ["iron", "tin"])
    assert (first["answer"], second["answer"]) == (
        {"label": "b", "text": "tin"},
        {"label": "a", "text": "iron"},
    )
    assert "Answer: b\n" in first["messages"][1]["content"]


@pytest.mark.parametrize("answer", ["zinc", {"label": "Z", "text": "tin"}])
def test_a_flat_row_whose_answer_is_no_choice_shows_the_choices(run, tmp_path, answer):
    """No request is made with an answer that is none of the choices."""
    row = {"question": "Which?", "choices": ["iron", "tin"], "answer": answer}
    (tmp_path / "in.jsonl").write_text(lines([row]))
    done = run("prompt", "in.jsonl", "--shots", "0")
    assert (done.code, done.out) == (1, b"")
    assert "in.jsonl:1: the answer is none of the choices" in done.err
    assert "(a) iron (b) tin" in done.err


# The pool


def test_a_row_is_not_its_own_shot_under_another_id():
    """The same question and choices are the same row, whatever their id, spaces and order."""
    pool = [Shot(f"other{n}", example(n, id=f"other{n}"), "Because.") for n in range(4)]
    row = replace(example(2), question="Question  2? ", choices=("tin", " iron"))
    for seed in range(20):
        drawn = [shot.id for shot in ShotPool(pool, 3, seed).for_row(row)]
        assert sorted(drawn) == ["other0", "other1", "other3"]
    with pytest.raises(UsageError, match="--shots 4: found 3 worked examples for 'id2'"):
        ShotPool(pool, 4, 1).for_row(row)


def test_both_copies_of_a_row_are_left_out():
    """A pool may have the row by its id and once more by its question; neither is drawn."""
    pool = [*shots(5), Shot("copy", example(2, id="copy"), "Because.")]
    for seed in range(20):
        assert not {"id2", "copy"} & {shot.id for shot in ShotPool(pool, 4, seed).for_row(example(2))}


def test_other_choices_make_another_question():
    """A question that is asked again with other choices can be a worked example."""
    pool = [Shot("other", example(2, id="other", choices=("tin", "lead"), answer_label="a"), "Because.")]
    assert [shot.id for shot in ShotPool(pool, 1, 1).for_row(example(2))] == ["other"]


def test_shots_with_one_id_do_not_depend_on_their_order():
    """Of two worked examples with the same id, the same one is taken in any order of the pool."""
    pool = [Shot("same", example(n), f"Because {n}.") for n in range(3)]
    (first,), (again,) = (ShotPool(each, 1, 1).for_row(example(9)) for each in (pool, pool[::-1]))
    assert first == again


def test_a_pool_that_cannot_be_used_says_why(run, tmp_path):
    """Too few shots: how many rows the pool has, how many of no use, and what is wrong with the first."""
    written(tmp_path / "in.jsonl", [example(1)])
    rows = [example(n, solution=None).to_json() for n in (2, 3)]
    rows += [example(4).to_json(), {"goal": "no Example"}, {"question": 5}]
    (tmp_path / "pool.jsonl").write_text(lines(rows))
    done = run("prompt", "in.jsonl", "--pool", "pool.jsonl", "-o", "out.jsonl")
    assert done.code == 2
    assert "--shots 2: found 1 worked examples" in done.err
    assert (
        "pool.jsonl, has 5 rows: 1 with an answer and a rationale or solution, 2 without, 2 that are"
        in done.err
    )
    assert "the first is line 4: missing field 'question'" in done.err
    assert not (tmp_path / "out.jsonl").exists()


def test_rows_of_a_pool_that_are_no_examples_are_not_passed_over_in_silence(run, tmp_path):
    """Where the pool is large enough all the same, a warning says what was left out of it."""
    written(tmp_path / "in.jsonl", [example(1)])
    rows = [*(example(n).to_json() for n in range(2, 6)), {"goal": "no Example"}]
    (tmp_path / "pool.jsonl").write_text(lines(rows))
    done = run("prompt", "in.jsonl", "--pool", "pool.jsonl")
    assert done.code == 0
    assert "warning: the pool, pool.jsonl, has 5 rows: 4 with" in done.err
    assert run("prompt", "in.jsonl", "--pool", "pool.jsonl", "--quiet").err == ""


def test_an_empty_pool_is_an_error(run, tmp_path):
    """A pool without rows is a mistake in its path, not a set without rationales."""
    written(tmp_path / "in.jsonl", [example(1)])
    (tmp_path / "pool.jsonl").write_text("")
    done = run("prompt", "in.jsonl", "--pool", "pool.jsonl")
    assert (done.code, done.out) == (1, b"")
    assert "pool.jsonl: the file is empty" in done.err


def test_a_row_without_an_answer_is_no_worked_example():
    """A worked example shows the way to an answer; without one, a turn of the teacher's would be empty."""
    assert shot_of({}, example(1, answer=None, answer_label=None)) is None


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


def test_a_set_without_rationales_is_asked_without_worked_examples(run, tmp_path):
    """By default a request has as many worked examples as there are, and a warning says how many."""
    bare = [example(n, solution=None) for n in range(3)]
    for rows, shown in (
        (bare, "no worked examples"),
        ([*bare, example(9)], "at most 1 of 2 worked examples"),
    ):
        written(tmp_path / "in.jsonl", rows)
        done = run("prompt", "in.jsonl")
        assert (done.code, done.out.count(b"\n")) == (0, len(rows)), done.err
        assert f"warning: the requests have {shown}: the pool, in.jsonl, has {len(rows)} rows" in done.err
        assert "give some with --pool" in done.err
        assert run("prompt", "in.jsonl", "--quiet").err == ""
        # What was asked for is not silently left out.
        assert run("prompt", "in.jsonl", "--shots", "2").code == 2
    (tmp_path / "in.jsonl").write_text(lines(AQUA))
    assert "warning" not in run("prompt", "in.jsonl", "--dataset", "aqua", "--shots", "1").err


def test_a_limit_makes_the_requests_of_the_first_rows(run, tmp_path):
    """The other rows are counted; the worked examples are drawn as without a limit."""
    written(tmp_path / "in.jsonl", [example(n) for n in range(6)])
    whole = run("prompt", "in.jsonl", "--shots", "2")
    done = run("prompt", "in.jsonl", "--shots", "2", "--limit", "2")
    assert done.out.splitlines() == whole.out.splitlines()[:2]
    assert "6 in = 2 out + 4 dropped (after the last one of --limit: 4)" in done.err
    assert run("prompt", "in.jsonl", "--limit", "9").out == run("prompt", "in.jsonl").out
    assert run("prompt", "in.jsonl", "--limit", "0").code == 2


def test_the_library_gives_requests_of_files_and_of_rows(tmp_path):
    """`dataprep.prompt` yields what `prompt_file` writes, and checks its options as the command does."""
    rows = [example(n).to_json() for n in range(4)]
    source = written(tmp_path / "in.jsonl", [example(n) for n in range(4)])
    prompt_file(source, tmp_path / "out.jsonl", shots=1)
    assert list(prompt(source, shots=1)) == list(prompt(rows, shots=1)) == requests(tmp_path / "out.jsonl")
    choices = [{"label": "A", "text": "wool"}, {"label": "B", "text": "tin"}]
    raw = {"id": "x", "question": {"stem": "Which?", "choices": choices}, "answerKey": "B"}
    assert [request["answer"]["label"] for request in prompt([raw], dataset="arc", shots=0)] == ["b"]
    for options in ({"shots": -1}, {"shots": "2"}, {"limit": 0}, {"limit": True}):
        with pytest.raises(UsageError, match="must be a whole number"):
            prompt(rows, **options)
    with pytest.raises(InputError, match="the given rows: row 2: no gold answer"):
        list(prompt([rows[0], {"question": "?"}], shots=0))


def drawn_by(pool, rows, sender=None):
    """The ids of the shots that are drawn for rows, or sent."""
    drawn = [[shot.id for shot in pool.for_row(row)] for row in rows]
    if sender is not None:
        sender.send(drawn)
    return drawn


def test_other_processes_draw_the_same_shots():
    """A pool that travelled, and one that came by a fork, have a database of their own."""
    rows = [example(number) for number in range(30)]
    pool = ShotPool(shots(20), 3, 42)
    copy = pickle.loads(pickle.dumps(pool))
    expected = drawn_by(pool, rows)
    assert drawn_by(copy, rows) == drawn_by(pickle.loads(pickle.dumps(copy)), rows) == expected
    with pytest.raises(UsageError, match="the pool has 20 worked examples"):
        pickle.loads(pickle.dumps(ShotPool(shots(20), 21, 42))).for_row(rows[0])
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe()
    process = context.Process(target=drawn_by, args=(pool, rows, sender))
    process.start()
    assert receiver.recv() == expected
    process.join()
    assert process.exitcode == 0
    assert drawn_by(pool, rows) == expected


@pytest.mark.parametrize("source", ["file", "pipe", "rows"])
@pytest.mark.parametrize("limit", [1, 7, 20, 99])
def test_the_limit_on_a_cluster(tmp_path, monkeypatch, source, limit):
    """It is that of one machine, although no worker knows what the others make."""
    monkeypatch.setenv(CHUNK_VARIABLE, "700")
    rows = [example(number).to_json() for number in range(20)]
    rows[3] = {"id": "no question"}
    path = write_jsonl(tmp_path / "rows.jsonl", rows)

    def made():
        if source == "rows":
            return list(prompt([*rows[:3], *rows[4:]], limit=limit, shots=1))
        out, bad = tmp_path / "out.jsonl", tmp_path / "rejects.jsonl"
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
        given = "-" if source == "pipe" else path
        ledger = prompt_file(given, out, limit=limit, rejects=bad, shots=0 if source == "pipe" else 1)
        return ledger.to_json(), out.read_bytes(), json.loads(bad.read_bytes() or "{}").get("line")

    expected = made()
    with engine_on("portable"):
        assert made() == expected
