"""The figures of review: against published tables, an integral, and counts by hand."""

import json
import math
import os
import re
from collections import Counter
from itertools import pairwise

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep import review_files, write_rows
from dataprep.collect.review.findings import fit, kappa, survival
from dataprep.collect.review.replies import why_unread
from dataprep.core.errors import DataprepError, FileError, InputError, UsageError, shortened, visible
from dataprep.core.html import escaped
from tests import journal_lines
from tests import strategies as some
from tests.tables import table

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def response(own, reply="b", teacher="gpt", key="k", **more):
    """A line of the journal; without a reply, one about a failure."""
    error = (
        {"status": 500, "type": "server_error", "message": "…", "retryable": True} if reply is None else None
    )
    line = {"id": own, "key": key, "teacher": teacher, "model": teacher, "sample": 0, "max_tokens": 512}
    line |= {"response": reply, "finish_reason": None if error else "stop", "error": error}
    return line | more


def gold_row(own, answer="b", choices=4):
    """A gold row with some choices."""
    texts = [f"choice {letter}" for letter in LETTERS[:choices]]
    return {"id": own, "question": f"Question {own}?", "choices": texts, "answer": answer}


def reviewed(folder, rows, gold=None, name="responses.jsonl"):
    """The review of some rows, written to a file first."""
    write_rows(rows, str(folder / name))
    if gold is not None:
        write_rows(gold, str(folder / "gold.jsonl"))
    return review_files([folder / name], gold=None if gold is None else folder / "gold.jsonl")


def of(found, name="gpt"):
    """What was found of one teacher."""
    return next(each for each in found.teachers if each.name == name)


# The chi-square test


@table(
    ("degrees", "critical"),
    [
        (1, (2.706, 3.841, 6.635, 10.828)), (2, (4.605, 5.991, 9.210, 13.816)),
        (3, (6.251, 7.815, 11.345, 16.266)), (4, (7.779, 9.488, 13.277, 18.467)),
        (5, (9.236, 11.070, 15.086, 20.515)), (10, (15.987, 18.307, 23.209, 29.588)),
        (15, (22.307, 24.996, 30.578, 37.697)), (20, (28.412, 31.410, 37.566, 45.315)),
        (25, (34.382, 37.652, 44.314, 52.620)), (30, (40.256, 43.773, 50.892, 59.703)),
    ],
)  # fmt: skip
def test_p_values_are_those_of_the_published_table(degrees, critical):
    """The critical values of NIST's table (Engineering Statistics Handbook, 1.3.6.7.4) give their levels."""
    for statistic, level in zip(critical, (0.1, 0.05, 0.01, 0.001), strict=True):
        assert survival(statistic, degrees) == pytest.approx(level, rel=1e-3)


@given(st.floats(0, 120), st.integers(1, 40))
def test_p_values_are_the_integral(statistic, degrees):
    """The closed form is the tail's integral, by Simpson's rule over the root of the variable."""
    begin = math.sqrt(statistic)
    root = numpy.linspace(begin, begin + 30, 20_001)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        density = numpy.where(root > 0, root ** (degrees - 1), float(degrees == 1)) * numpy.exp(
            -(root**2) / 2
        )
    weights = numpy.ones_like(root)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    scale = 2 ** (1 - degrees / 2) / math.gamma(degrees / 2)
    integral = scale * float((weights * density).sum()) * (root[1] - root[0]) / 3
    assert survival(statistic, degrees) == pytest.approx(integral, rel=1e-7, abs=1e-15)


@given(st.integers(1, 60))
def test_p_values_have_the_right_ends(degrees):
    """No deviation is certain, an infinite one impossible, and huge ones overflow nothing."""
    assert survival(0, degrees) == 1
    assert survival(math.inf, degrees) == 0
    assert survival(1e300, degrees) == 0
    assert 0 <= survival(5000, degrees) < 1e-300
    tail = [survival(number / 4, degrees) for number in range(200)]
    assert all(before >= after - 1e-12 for before, after in pairwise(tail))


def test_a_worked_example_of_the_test():
    """Mendel's peas (1866): 315, 101, 108 and 32 against 9:3:3:1 give 0.470 with 3 degrees, p = 0.925."""
    parts = {"a": 9, "b": 3, "c": 3, "d": 1}
    expected = {letter: 556 * part / 16 for letter, part in parts.items()}
    found = fit({"a": 315, "b": 101, "c": 108, "d": 32}, expected)
    assert found.statistic == pytest.approx(0.470, abs=5e-4)
    assert (found.degrees, found.means_little) == (3, False)
    assert found.p == pytest.approx(0.9254, abs=5e-4)


def test_where_there_is_no_test():
    """One letter alone, or one that was never to come, has no statistic; small expectations are marked."""
    assert fit({"a": 3}, {"a": 3.0}).statistic is None
    assert fit({}, {}).p is None
    impossible = fit({"a": 1, "b": 2, "c": 0}, {"a": 3.0, "b": 0.0, "c": 0.0})
    assert (impossible.statistic, impossible.never) == (None, ["b"])
    small = fit({"a": 4, "b": 5, "z": 0}, {"a": 4.5, "b": 4.5, "z": 0.0})
    assert (small.degrees, small.least, small.means_little) == (1, 4.5, True)


def test_kappa_of_a_worked_example():
    """Of 50 grants two readers take 20 and refuse 15 together: kappa is 0.4."""
    said = {("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}
    assert kappa(said) == pytest.approx(0.4)
    assert kappa({("a", "a"): 2, ("b", "b"): 1}) == 1
    assert kappa({("a", "b"): 1, ("b", "a"): 1}) == -1
    assert kappa({("a", "a"): 7}) is None
    assert kappa({}) is None


# What counts


def test_outcomes_and_letters_are_counted(tmp_path):
    """Each line is what it amounts to; only whole replies are read."""
    rows = [
        response("1", "B"), response("2", "(a) wool"), response("3", "A plant"), response("4", None),
        response("5", "b", finish_reason="length"), response("6", "b", finish_reason="content_filter"),
        response("7", " \n"), response("8", "The answer is C."),
        response("9", None, error={"type": "content_filter", "status": 400}),
    ]  # fmt: skip
    found = reviewed(tmp_path, rows)
    each = of(found)
    assert each.outcomes == {"ok": 4, "length": 1, "refused": 2, "empty": 1, "failed": 1}
    assert (each.read, each.read_share) == (3, 0.75)
    assert [(reply.id, reply.reply) for reply in each.unread] == [("3", "A plant")]
    assert each.answers == {"a": 1, "b": 1, "c": 1}
    assert (found.questions, found.letters, found.gold, found.pairs) == (9, ["a", "b", "c"], None, [])


def test_the_latest_key_counts_and_an_answer_beats_a_failure(tmp_path):
    """Changed prompts take the earlier ones' place; a failure never hides an answer to the same prompt."""
    rows = [
        response("1", "a", key="old"), response("1", None, key="new"), response("1", "b", key="new"),
        response("1", None, key="new"),
        response("2", "a", key="old"), response("2", None, key="new"),
        response("3", "a", finish_reason="length"), response("3", "c"), response("3", " "),
        response("4", "a", key="old"), response("4", "b", key="new"), response("4", None, key="old"),
        response("5", "a"), response("5", "d"),
    ]  # fmt: skip
    each = of(reviewed(tmp_path, rows))
    assert each.outcomes == {"ok": 4, "length": 0, "refused": 0, "empty": 0, "failed": 1}
    assert each.answers == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert (each.lines, each.superseded) == (14, 9)


def test_several_answers_to_one_question_each_count(tmp_path):
    """Samples stand beside each other, and two teachers' are compared one by one."""
    rows = [response("1", reply, sample=number) for number, reply in enumerate("aab")]
    rows += [response("1", reply, "llama", sample=number) for number, reply in enumerate("abb")]
    found = reviewed(tmp_path, rows)
    assert found.questions == 1
    assert of(found).answers == {"a": 2, "b": 1}
    assert [(pair.both, pair.same) for pair in found.pairs] == [(3, 2)]


def test_several_files_are_one_journal(tmp_path):
    """Teachers in files of their own, and a teacher whose answers are in two, are taken together."""
    for name, rows in {
        "one.jsonl": [response("1", None), response("2")],
        "two.jsonl.gz": [response("1", "a"), response("1", "b", "llama")],
    }.items():
        write_rows(rows, str(tmp_path / name))
    found = review_files([tmp_path / "one.jsonl", str(tmp_path / "two.jsonl.gz")])
    assert [(each.name, each.answers, each.lines) for each in found.teachers] == [
        ("gpt", {"a": 1, "b": 1}, 3),
        ("llama", {"a": 0, "b": 1}, 1),
    ]
    assert found.files == [str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl.gz")]


def test_only_the_first_unread_replies_are_listed(tmp_path):
    """Twenty are shown with their ids, the rest counted; long ones keep their beginning and end."""
    long = "It may be " + "so " * 500 + "in the end."
    rows = [response("1")] + [response(f"u{number}", long) for number in range(25)]
    each = of(reviewed(tmp_path, rows))
    assert [reply.id for reply in each.unread] == [f"u{number}" for number in range(20)]
    assert each.unread_more == 5
    said = each.unread[0].reply
    assert len(said) < 260
    assert said.startswith("It may be so")
    assert said.endswith("so in the end.")


# Gold


def test_agreement_with_gold(tmp_path):
    """The confusion matrix, and the share of the right ones of what was read, replied to, and asked."""
    said = {
        "1": "b",
        "2": "a",
        "3": "who knows",
        "4": None,
        "5": "c",
        "6": "b",
        "7": "The answer is choice c.",
    }
    gold = [
        gold_row("1"),
        gold_row("2"),
        gold_row("3"),
        gold_row("4"),
        gold_row("5", "c"),
        gold_row("7", "c"),
    ]
    found = reviewed(tmp_path, [response(own, reply) for own, reply in said.items()], gold)
    assert (found.gold.rows, found.gold.found, found.gold.missing, found.gold.missing_ids) == (6, 6, 1, ["6"])
    right = of(found).agreement
    nothing = {"a": 0, "b": 0, "c": 0, "d": 0, "unread": 0}
    assert right.matrix == {
        "a": nothing,
        "b": nothing | {"a": 1, "b": 1, "unread": 1},
        "c": nothing | {"c": 2},
        "d": nothing,
    }
    assert (right.asked, right.replies, right.read, right.right) == (6, 5, 4, 3)
    assert right.shares() == {"of_read": 3 / 4, "of_replies": 3 / 5, "of_asked": 3 / 6}
    assert right.by_letter() == {"a": (0, 0), "b": (3, 1), "c": (2, 2), "d": (0, 0)}
    assert of(found).answers == {"a": 1, "b": 2, "c": 2, "d": 0}


def test_examples_and_official_layouts_are_gold(tmp_path):
    """Gold rows come as Examples with their labels, or in a set's own layout."""
    texts = ["wool", "tin"]
    official = {
        "stem": "Which melts?",
        "choices": [{"label": "A", "text": "wool"}, {"label": "B", "text": "tin"}],
    }
    gold = [
        {
            "id": "1",
            "task": "choice",
            "question": "Which?",
            "choices": texts,
            "answer": {"label": "b", "text": "tin"},
        },
        {"id": 2, "question": official, "answerKey": "B"},
    ]
    found = reviewed(tmp_path, [response("1", "tin is it. The answer is tin."), response("2", "B")], gold)
    assert of(found).agreement.right == 2


def test_equal_shares_know_how_many_choices_each_question_had(tmp_path):
    """A letter that a question does not have is not expected of it."""
    gold = [gold_row("1", "a", 2), gold_row("2", "a", 2), gold_row("3", "a", 4), gold_row("4", "a", 5)]
    rows = [response(own, "a") for own in "123"] + [response("4", "who knows")]
    each = of(reviewed(tmp_path, rows, gold))
    assert each.uniform.expected == {"a": 1.25, "b": 1.25, "c": 0.25, "d": 0.25, "e": 0}
    assert (each.uniform.degrees, each.uniform.means_little) == (3, True)
    assert each.uniform.statistic == pytest.approx(1.75**2 / 1.25 + 1.25 + 0.25 + 0.25)
    assert each.gold.expected == {"a": 3, "b": 0, "c": 0, "d": 0, "e": 0}
    assert each.gold.statistic is None


def test_where_choices_are_not_known_all_letters_are_taken_to_be_some(tmp_path):
    """A letter in between that nobody answers is a choice all the same, and other teachers' letters count."""
    rows = [response("1", "a"), response("2", "a"), response("1", "d", "llama")]
    each = of(reviewed(tmp_path, rows))
    assert each.answers == {"a": 2, "b": 0, "c": 0, "d": 0}
    assert each.uniform.expected == dict.fromkeys("abcd", 0.5)
    each = of(reviewed(tmp_path, rows, [gold_row("2", "a", 5)]))
    assert each.uniform.expected == dict.fromkeys("abcde", 0.4)


def test_a_letter_that_the_question_does_not_have_is_not_read(tmp_path):
    """With the gold rows, ``The answer is D`` names none of three choices."""
    each = of(
        reviewed(tmp_path, [response("1", "D"), response("2", "D")], [gold_row("1", "a", 3), gold_row("2")])
    )
    assert (each.read, each.unread[0].id) == (1, "1")


def test_gold_against_a_letter_that_is_never_gold(tmp_path):
    """Where gold never is what was answered there is no test against it, and that is said."""
    found = reviewed(
        tmp_path, [response("1", "c"), response("2", "b")], [gold_row("1", "a"), gold_row("2", "b")]
    )
    assert (of(found).gold.statistic, of(found).gold.never) == (None, ["c"])


@given(
    st.dictionaries(st.integers(0, 30), st.tuples(st.integers(2, 26), st.integers(0, 25)), min_size=1),
    st.lists(
        st.tuples(
            st.integers(0, 30),
            st.sampled_from(("x", "y", "z")),
            st.sampled_from(("ok", "unread", "length", "empty", "failed")),
            st.integers(0, 25),
        ),
        min_size=1,
        max_size=60,
    ),
)
def test_the_figures_are_a_count_by_hand(tmp_path_factory, gold, lines):
    """Outcomes, letters, expectations, matrix and agreement are what a few loops over the lines give."""
    folder = tmp_path_factory.mktemp("review")
    rows, best = [], {}
    rank = {"failed": 0, "empty": 1, "length": 2, "unread": 3, "ok": 3}
    for own, teacher, kind, place in lines:
        size = gold.get(own, (26, 0))[0]
        letter = LETTERS[place % size]
        reply = {"ok": letter, "length": letter, "empty": "", "unread": "?", "failed": None}[kind]
        rows.append(
            response(f"q{own}", reply, teacher, finish_reason="length" if kind == "length" else "stop")
        )
        if rank[kind] >= rank[best.get((teacher, own), ("failed",))[0]]:
            best[teacher, own] = kind, letter
    places = {own: place % size for own, (size, place) in gold.items()}
    gold_rows = [gold_row(f"q{own}", LETTERS[places[own]], size) for own, (size, _) in gold.items()]
    asked = {own for own, *_ in lines}
    found = some.result_or_error(reviewed, folder, rows, gold_rows)
    if isinstance(found, DataprepError):
        nothing_read = not any(kind == "ok" for kind, _ in best.values())
        assert not asked & set(gold) or (nothing_read and any(kind == "unread" for kind, _ in best.values()))
        return
    assert (found.questions, found.gold.missing) == (len(asked), len(asked - set(gold)))
    for each in found.teachers:
        mine = {own: told for (teacher, own), told in best.items() if teacher == each.name}
        read = {own: letter for own, (kind, letter) in mine.items() if kind == "ok"}
        assert sum(each.outcomes.values()) + each.superseded == each.lines
        assert each.outcomes["ok"] == sum(kind in {"ok", "unread"} for kind, _ in mine.values())
        assert {k: v for k, v in each.answers.items() if v} == Counter(read.values())
        assert sum(each.uniform.expected.values()) == pytest.approx(len(read))
        matrix = Counter(
            (LETTERS[places[own]], letter if kind == "ok" else "unread")
            for own, (kind, letter) in mine.items()
            if own in gold and kind in {"ok", "unread"}
        )
        counted = {(one, two): n for one, row in each.agreement.matrix.items() for two, n in row.items() if n}
        assert counted == matrix
        assert each.agreement.right == sum(n for (one, two), n in matrix.items() if one == two)
    for pair in found.pairs:
        both = [
            (best[pair.first, own][1], best[pair.second, own][1])
            for own in asked
            if best.get((pair.first, own), "-")[0] == best.get((pair.second, own), "-")[0] == "ok"
        ]
        assert (pair.both, pair.same) == (len(both), sum(one == two for one, two in both))
        assert pair.kappa is None or -1 <= pair.kappa <= 1


# Other rows


def labelled(own, answers=None, **more):
    """A row as ``parse-rationales`` writes them."""
    row = {"id": own, "question": f"Question {own}?", "choices": [f"choice {letter}" for letter in "abcd"]}
    row |= {"answer": None, "rationales": {"flan": "It melts.", "llama": "It may."}}
    row |= {"status": {"flan": "ok", "llama": "no_answer"}}
    if answers is not None:
        row["teacher_answers"] = {name: {"label": label, "text": "…"} for name, label in answers.items()}
    return row | more


def test_labelled_rows_have_their_answers(tmp_path):
    """The letters are those of ``teacher_answers``; statuses give the outcomes of the others."""
    rows = [
        labelled("1", {"flan": "b", "llama": "C"}),
        labelled("2", {"flan": "z"}),
        labelled(
            "3", {}, status={"flan": "truncated", "llama": "empty"}, rationales={"flan": "It", "llama": ""}
        ),
        labelled(
            "4", {}, status={"flan": "failed", "llama": "refused"}, rationales={"flan": None, "llama": None}
        ),
        labelled("5", {"flan": "a"}, status={"flan": "empty", "llama": None}, rationales=None),
        labelled("6", {"flan": "a"}, status={"flan": "length"}, rationales={"flan": "b"}),
    ]
    found = reviewed(tmp_path, rows, [gold_row(own) for own in "123456"])
    flan, llama = of(found, "flan"), of(found, "llama")
    assert flan.outcomes == {"ok": 3, "length": 2, "refused": 0, "empty": 0, "failed": 1}
    assert flan.answers == {"a": 1, "b": 1, "c": 0, "d": 0}
    assert [reply.reply for reply in flan.unread] == ["(z) …"]
    assert llama.outcomes == {"ok": 2, "length": 0, "refused": 1, "empty": 1, "failed": 0}
    assert [reply.reply for reply in llama.unread] == ["It may."]
    assert flan.agreement.right == 1


def test_rationales_alone_are_read(tmp_path):
    """Rows without ``teacher_answers`` have their letters in the rationales, and know their own choices."""
    rows = [
        labelled(
            "1", rationales={"flan": "It is b. Thus, the answer is (b).", "llama": "The answer is choice d."}
        )
    ]
    found = reviewed(tmp_path, rows)
    assert [each.answers for each in found.teachers] == [
        {"a": 0, "b": 1, "c": 0, "d": 0},
        {"a": 0, "b": 0, "c": 0, "d": 1},
    ]


def test_what_parse_rationales_writes_is_read(run, workspace):
    """Labelled rows come through a pipe, as lines and as a table."""
    folder = workspace / "raw" / "rationales" / "arc"
    gold = folder / "arc_train.json"
    assert run("parse-rationales", folder / "llm", "-o", "rows.parquet", "--gold", gold).code == 0
    lines = run("parse-rationales", folder / "llm", "--gold", gold).out
    piped = run("review", "-", "--gold", gold, "--json", input=lines)
    table = run("review", "rows.parquet", "--gold", gold, "--json")
    assert (piped.code, piped.err, table.code) == (0, "", 0)
    one, two = json.loads(piped.out), json.loads(table.out)
    assert one["files"] == ["-"]
    assert one["teachers"] == two["teachers"]
    statuses = [row["status"] for row in map(json.loads, lines.splitlines())]
    for each in one["teachers"]:
        assert each["outcomes"]["empty"] <= sum(status[each["name"]] == "empty" for status in statuses)
        assert each["read"] >= sum(status[each["name"]] in {"ok", "answer_mismatch"} for status in statuses)


@table("suffix", ["jsonl", "json", "csv"])
def test_rows_of_two_fields_are_read(tmp_path, suffix):
    """The file stands for the teacher, and each row counts, the same question twice too."""
    rows = [
        {"Question": question, "Answer": answer}
        for question, answer in (("One?", "a"), ("Two?", "(b)"), ("Two?", "The answer is C."), ("Three?", ""))
    ]
    write_rows(rows, str(tmp_path / f"two.{suffix}"))
    write_rows(rows[1:2], str(tmp_path / f"one.{suffix}"))
    found = review_files([tmp_path / f"two.{suffix}", tmp_path / f"one.{suffix}"])
    assert [(each.name, each.answers, each.outcomes["empty"]) for each in found.teachers] == [
        (str(tmp_path / f"two.{suffix}"), {"a": 1, "b": 1, "c": 1}, 1),
        (str(tmp_path / f"one.{suffix}"), {"a": 0, "b": 1, "c": 0}, 0),
    ]
    assert [(pair.both, pair.same) for pair in found.pairs] == [(1, 1)]


def test_rows_of_two_fields_with_ids_have_gold(tmp_path):
    """An id makes them joinable."""
    rows = [{"id": "1", "Question": "One?", "Answer": "b"}, {"id": 2, "Question": "Two?", "Answer": "b"}]
    assert reviewed(tmp_path, rows, [gold_row("1"), gold_row("2", "a")]).teachers[0].agreement.right == 1


# Errors


@table(
    ("row", "says"),
    [
        (
            {"question": "What?"},
            r"not a teacher's response: the row's fields are 'question'; expected a line",
        ),
        ({"id": 1, "key": "k", "teacher": "t"}, r"not a response: expected a text in 'id'"),
        (response("1") | {"response": 7}, r"expected str or null in 'response', found a number 7"),
        (response("1", sample="x"), r"expected a number from 0 on in 'sample'"),
        (response("1") | {"response": None, "finish_reason": None}, "neither a response nor an error"),
        ({"Question": "One?", "Answer": 7}, "'Question' and 'Answer' are not texts"),
        (labelled("1", status=[]), "field 'status' is not an object"),
        (labelled("1", rationales={"flan": 7}), "'flan' said is not a text: found a number 7"),
        (labelled("1") | {"teacher_answers": {"flan": "b"}}, "malformed teacher's answer"),
        (labelled("1") | {"teacher_answers": {"flan": {"label": None}}}, "malformed teacher's answer"),
        (labelled("1", {"flan": "b"}, choices="abc"), "malformed choices"),
        (labelled("1", {"flan": "b"}, choices=list(map(str, range(27)))), "too many choices: found 27"),
        (
            labelled("1", {"flan": "b"}, choices=["x", "y"]),
            r"not the gold row: its choices are a list \['x', 'y'\]",
        ),
        ({}, "the row's fields are none"),
    ],
)
def test_a_bad_row_names_its_line(tmp_path, row, says):
    """What is no answer is an error with file and line, what was found and what was expected."""
    with pytest.raises(InputError, match=r"responses\.jsonl:2: .*" + says):
        reviewed(tmp_path, [response("1"), row], [gold_row("1")])


def test_an_empty_file_is_an_error(tmp_path):
    """A file without a row says what was expected."""
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    with pytest.raises(InputError, match=r"empty\.jsonl: the file is empty; expected teachers' responses"):
        review_files([tmp_path / "empty.jsonl"])
    with pytest.raises(FileError, match="no such file"):
        review_files([tmp_path / "missing.jsonl"])
    with pytest.raises(UsageError, match="at least one file"):
        review_files([])


def test_answers_to_other_questions_are_an_error(tmp_path):
    """Where no reply names a letter these are no multiple-choice questions, and the first reply is shown."""
    with pytest.raises(InputError, match=r"no reply names a letter; the first is '72 eggs' \(1\); expected"):
        reviewed(tmp_path, [response("1", "72 eggs"), response("2", None), response("3", "no")])


def test_failures_alone_are_no_error(tmp_path):
    """A journal of an outage has outcomes all the same."""
    each = of(reviewed(tmp_path, [response("1", None), response("2", "")]))
    assert (each.outcomes["failed"], each.outcomes["empty"], each.read_share) == (1, 1, None)
    assert (each.answers, each.uniform.statistic) == ({}, None)


@table(
    ("gold", "says"),
    [
        ([gold_row("x"), gold_row("y")], r"gold\.jsonl: none of its 2 ids is one of the answers' \('1', …\)"),
        ([gold_row("1"), gold_row("1", "a")], r"gold\.jsonl: the id '1' has two different rows"),
        ([{k: v for k, v in gold_row("1").items() if k != "id"}], r"gold\.jsonl: no row has an id"),
        ([gold_row("1"), gold_row("2", "z")], r"gold\.jsonl:2: the answer is none of the choices"),
        ([response("1")], r"gold\.jsonl:1: missing field 'choices'"),
        (
            [gold_row("1") | {"choices": list(map(str, range(27))), "answer": 26}],
            r"gold\.jsonl:1: too many choices",
        ),
    ],
)
def test_a_gold_file_that_does_not_fit_is_an_error(tmp_path, gold, says):
    """Gold rows of other questions, or none at all, are never passed over."""
    with pytest.raises(InputError, match=says):
        reviewed(tmp_path, [response("1")], gold)


def test_the_same_gold_row_twice_is_fine(tmp_path):
    """Joined files may repeat themselves, as long as they agree."""
    assert of(reviewed(tmp_path, [response("1")], [gold_row("1"), gold_row("1")])).agreement.right == 1


FIELDS = ("id", "key", "teacher", "response", "finish_reason", "error", "rationales", "teacher_answers")
FIELDS += ("status", "choices", "Question", "Answer")


@given(st.lists(some.json_objects(FIELDS), max_size=4))
def test_any_rows_are_reviewed_or_refused(tmp_path_factory, rows):
    """No JSON objects end in anything but figures or dataprep's own error."""
    found = some.result_or_error(reviewed, tmp_path_factory.mktemp("any"), rows)
    assert str(found) if isinstance(found, DataprepError) else json.dumps(found.to_json())


# The command


def test_the_tables_show_the_figures(run, tmp_path):
    """The terminal has outcomes, letters, bars, tests, matrix, other replies and the teachers' agreement."""
    rows = [response(f"q{number}", "abbbc"[number % 5]) for number in range(50)]
    rows += [response(f"q{number}", "abbcc"[number % 5], "llama [bold]") for number in range(50)]
    rows += [
        response("q50", "[red]no[/red] \x1b[31m\u202e:smile:\nmore"),
        response("q51", None),
        response("q51", None),
    ]
    write_rows(rows, str(tmp_path / "r.jsonl"))
    write_rows(
        [gold_row(f"q{number}", "abbbd"[number % 5]) for number in range(51)], str(tmp_path / "g.jsonl")
    )
    done = run("review", "r.jsonl", "--gold", "g.jsonl", env=os.environ | {"COLUMNS": "100"})
    assert (done.code, done.err) == (0, "")
    text = done.out.decode()
    for line in (
        r"52 questions, 2 teachers, 103 lines",
        r"51 of 52 ids have a gold row; 1 without: q51",
        r"gpt +52 +51 +0 +0 +0 +1 +98\.0% +78\.4%",
        r"llama \[bold\] +50 +50 +0 +0 +0 +0 +100\.0% +60\.0%",
        r"50 of 51 replies name one letter \(98\.0%\)",
        r"40 are the gold letter: 80\.0% of 50 letters read, 78\.4% of 51 replies, 78\.4% of 51 questions.*",
        r"1 of 53 lines gave way to others about the same questions",
        r"b +30 +60\.0% +12\.5 +30 +█{30}",
        r"d +0 +0\.0% +12\.5 +10 *",
        r"Against equal shares: χ² = 38\.00, 3 degrees of freedom, p < 0\.0001",
        r"Against the gold answers: no test, since c is answered and never expected",
        r"d +· +· +10 +· +· +10 +0\.0%",
        r"q50 +no letter +\[red\]no\[/red\] \\x1b\[31m\\u202e:smile:\\nmore",
        r"gpt +llama \[bold\] +50 +40 +80\.0% +0\.688",
    ):
        assert re.search(rf"^{line} *$", text, re.MULTILINE), f"{line}\n{text}"
    assert "\x1b" not in text


def test_a_narrow_terminal_cuts_no_matrix(run, tmp_path):
    """Twenty-six letters have their columns, whatever the terminal's width."""
    write_rows([response(f"q{n}", letter) for n, letter in enumerate(LETTERS)], str(tmp_path / "r.jsonl"))
    write_rows([gold_row(f"q{n}", letter, 26) for n, letter in enumerate(LETTERS)], str(tmp_path / "g.jsonl"))
    text = run("review", "r.jsonl", "--gold", "g.jsonl", env=os.environ | {"COLUMNS": "40"}).out.decode()
    assert re.search(r"^gold +" + " +".join(LETTERS) + r" +unread +replies +right$", text, re.MULTILINE)
    assert "the least expected count is 1.0, and below 5 the p-value means little" in text


def test_json_has_every_figure(run, tmp_path):
    """A script reads counts, shares, tests, matrix and agreement from one document on stdout."""
    rows = [response(str(number), "b") for number in range(4)] + [response("0", "a", "llama")]
    write_rows(rows, str(tmp_path / "r.jsonl"))
    write_rows([gold_row(str(number)) for number in range(3)], str(tmp_path / "g.jsonl"))
    done = run("review", "r.jsonl", "--gold", "g.jsonl", "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert list(found) == ["files", "questions", "letters", "gold", "teachers", "pairs"]
    assert found["gold"] == {"rows": 3, "found": 3, "missing": 1, "missing_ids": ["3"]}
    gpt = found["teachers"][0]
    assert (gpt["read_share"], gpt["answers"]) == (1.0, {"a": 0, "b": 4, "c": 0, "d": 0})
    assert gpt["uniform"] == {
        "expected": dict.fromkeys("abcd", 1.0), "statistic": 12.0, "degrees": 3, "least": 1.0, "never": [],
        "p": pytest.approx(0.00738, abs=1e-5), "means_little": True,
    }  # fmt: skip
    assert gpt["agreement"]["right_share"] == {"of_read": 1.0, "of_replies": 1.0, "of_asked": 1.0}
    assert gpt["agreement"]["by_letter"]["b"] == {"replies": 3, "right": 3, "right_share": 1.0}
    assert gpt["agreement"]["by_letter"]["a"]["right_share"] is None
    assert found["pairs"] == [
        {"first": "gpt", "second": "llama", "both": 1, "same": 0, "kappa": 0.0, "same_share": 0.0}
    ]


@table(
    ("text", "shown"),
    [
        ("plain é 𝔘 👩‍🚀", "plain é 𝔘 👩‍🚀"), ("\x1b[31m\x00\x7f\x9b", r"\x1b[31m\x00\x7f\x9b"),
        ("a\r\nb\tc", r"a\r\nb\tc"), ("\ud800\u202e\u2028\ufeff", r"\ud800\u202e\u2028\ufeff"),
        ("\ufffe\U0001ffff", r"\ufffe\U0001ffff"), ("\U000e0041", r"\U000e0041"),
    ],
)  # fmt: skip
def test_what_would_not_be_seen_is_written_out(text, shown):
    """Control characters, invisible marks, lone surrogates and noncharacters become escapes."""
    assert visible(text) == shown


@given(st.text(), st.integers(12, 60))
def test_shown_texts_are_safe_and_short(text, limit):
    """Whatever is shown can be printed and encoded; newlines stay only where they are wanted."""
    assert len(visible(text).encode()) >= len(text)
    assert not set(visible(text)) & set("\n\r\t\x1b")
    assert visible(text, lines=True).count("\n") == text.count("\n")
    assert len(shortened(text, limit)) <= limit


@table(
    ("reply", "why"),
    [
        ("(a) tin or (b) iron", "several letters: a, b"), ("A. No, B.", "several letters: a, b"),
        ("(e) all of them", "e is not one of the choices a to c"), ("Hard to say.", "no letter"),
        ("Perhaps tin, I think", "no letter, but the words of a"),
        ("tin and iron", "no letter, but the words of a, b"),
        ("One could say (b)", "b is mentioned, but it is not clear that it is the answer"),
        ("<think>It is (b).</think>", "nothing is said after the thinking"),
        ("<think>It is (b).", "nothing is said after the thinking"),
        ("It is (b).</think>", "nothing is said after the thinking"),
        ("A plant grows", "no letter"),
        ("The answer is (a) iron.", "a letter beside the text of another choice"),
    ],
)  # fmt: skip
def test_an_unread_reply_has_a_reason(reply, why):
    """Whoever looks through the replies sees what stood in the way."""
    assert why_unread(reply, ["tin", "iron", "gold"]) == why


def test_letters_are_read_behind_the_thinking_and_not_beside_a_call(run, tmp_path):
    """A call of a tool is an answer, but its words name no choice."""
    lines = [
        journal_lines.line(id="1", response="<think>(a)?</think>B"),
        journal_lines.line(id="2", response="(a)?</think>B"),
        journal_lines.line(id="3", response="B", reasoning="(a)?"),
        journal_lines.line(id="4", response="<think>(a)"),
        journal_lines.line(
            id="5", response="I ask (a).", finish_reason="tool_calls", tool_calls=[{"id": "c"}]
        ),
        journal_lines.line(id="6", response=None, finish_reason="stop", tool_calls=[{"id": "c"}]),
    ]
    write_rows(lines, str(tmp_path / "r.jsonl"))
    (teacher,) = json.loads(run("review", "r.jsonl", "--json").out)["teachers"]
    assert (teacher["read"], teacher["answers"]) == (3, {"a": 0, "b": 3})
    reasons = {each["id"]: each["reason"] for each in teacher["unread"]}
    assert reasons == {
        "4": "nothing is said after the thinking", "5": "it calls a tool", "6": "it calls a tool"
    }  # fmt: skip
    pairs = [{"Question": "Q1", "Answer": "<think>A?</think>B"}]
    pairs.append({"Question": "Q2", "Answer": None, "reasoning_content": "A?"})
    write_rows(pairs, str(tmp_path / "pairs.jsonl"))
    (teacher,) = json.loads(run("review", "pairs.jsonl", "--json").out)["teachers"]
    assert (teacher["read"], teacher["outcomes"]["empty"]) == (1, 1)


def test_reasons_are_on_the_terminal_in_the_json_and_on_the_page(run, tmp_path):
    """Beside each reply that is listed."""
    labelled = {"id": "z", "rationales": {"t": "x"}, "teacher_answers": {"t": {"label": "zz", "text": "x"}}}
    labelled["choices"] = ["tin", "iron"]
    write_rows(
        [response("1", "(a) or (b)", "t"), response("2", teacher="t"), labelled], str(tmp_path / "r.jsonl")
    )
    done = run("review", "r.jsonl", "-o", "page.html")
    found = json.loads(run("review", "r.jsonl", "--json").out)["teachers"][0]["unread"]
    reasons = ["several letters: a, b", "'zz' is not one of the choices a to b"]
    assert [reply["reason"] for reply in found] == reasons
    page = (tmp_path / "page.html").read_text()
    for reason in reasons:
        assert reason in done.out.decode()
        assert escaped(reason) in page
