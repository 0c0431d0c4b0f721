"""The multiple-choice converters and the generic one: every rule of their layouts, and their options."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep.core import io as files
from dataprep.core.errors import DataprepError, InputError, RowDropped, RowError, UsageError
from dataprep.datasets import registry as converters
from dataprep.datasets.convert import Plan, convert, convert_files
from dataprep.datasets.converters import aqua_rat, arc, bioasq, choices, piqa, pubmedqa, qa
from dataprep.datasets.templates import default_template
from tests import strategies as some
from tests.helpers import read_jsonl, write_jsonl

# Four sets have the same `convert`, which `arc` stands for here; each has a golden file of its own.
SHARED = ["arc", "commonsense_qa", "openbookqa", "riddlesense"]
CHOICE_SETS = ["aqua_rat", "arc", "bioasq", "piqa", "pubmedqa"]
FIELDS = (
    "id", "question", "question_stem", "stem", "choices", "answer", "answerKey", "text", "label", "goal",
    "sol1", "sol2", "options", "correct", "rationale", "QUESTION", "CONTEXTS", "LONG_ANSWER", "pubid",
    "final_decision", "context", "contexts", "long_answer", "body", "type", "snippets", "exact_answer",
    "ideal_answer", "solution", "questions",
)  # fmt: skip

TIN = [{"label": "A", "text": "wool"}, {"label": "B", "text": "tin"}, {"label": "C", "text": "silk"}]
OFFICIAL = {"id": "x-1", "question": {"stem": "Which melts?", "choices": TIN}, "answerKey": "B"}
HUB = {
    "id": "x-1",
    "question": "Which melts?",
    "choices": {"label": ["A", "B", "C"], "text": ["wool", "tin", "silk"]},
    "answerKey": "B",
}
FLAT = {"id": "x-1", "question": "Which melts?", "choices": ["wool", "tin", "silk"], "answer": "tin"}
# One sound row of each set in its own layout; the answer is always the second choice.
SOUND = {
    "arc": OFFICIAL,
    "piqa": {"goal": "To melt tin,", "sol1": "chill it", "sol2": "heat it", "label": 1},
    "pubmedqa": {
        "pubid": 7,
        "QUESTION": "Does tin sing?",
        "CONTEXTS": ["We listened."],
        "final_decision": "no",
    },
    "bioasq": {"id": "b", "type": "yesno", "body": "Does tin sing?", "exact_answer": "no"},
    "aqua_rat": {"question": "1+1?", "options": ["A)1", "B)2"], "rationale": "1+1=2", "correct": "B"},
}
# The field that holds the gold answer.
GOLD = {
    "arc": "answerKey", "piqa": "label", "pubmedqa": "final_decision", "bioasq": "exact_answer",
    "aqua_rat": "correct",
}  # fmt: skip


# All sets


def test_four_sets_share_one_converter_and_its_wording():
    """What is tested for `arc` below is true of all of them."""
    assert {converters.load(name).convert for name in SHARED} == {choices.choice_row}
    wording = {(template.user, template.assistant) for template in map(default_template, SHARED)}
    assert wording == {(choices.CHOICE_USER, choices.CHOICE_ASSISTANT)}


@pytest.mark.parametrize("name", CHOICE_SETS)
def test_an_example_has_label_and_text(name):
    """Every set's answer comes out as its letter and its text, whatever it was published as."""
    example = converters.load(name).convert(SOUND[name])
    assert example.task == "choice"
    assert example.answer_label == "b"
    assert example.answer == example.choices[1]


@pytest.mark.parametrize("name", CHOICE_SETS)
def test_the_flat_layout_is_read_by_every_set(name):
    """Rows `{id, question, choices, answer}` are read whichever set they are of."""
    row = FLAT | {"choices": ["maybe", "yes", "no"], "answer": "yes"}
    example = converters.load(name).convert(row)
    assert (example.id, example.question, example.choices) == ("x-1", "Which melts?", ("maybe", "yes", "no"))
    assert (example.answer_label, example.answer) == ("b", "yes")


@pytest.mark.parametrize("name", CHOICE_SETS)
def test_the_flat_layout_keeps_capitals(name):
    """Choices with capital letters are found by an answer that is spelled as they are."""
    example = converters.load(name).convert(FLAT | {"choices": ["No", "Yes"], "answer": "Yes"})
    assert (example.choices, example.answer_label, example.answer) == (("No", "Yes"), "b", "Yes")


def test_all_layouts_give_the_same_example():
    """The official, the hub's (OpenBookQA has a field `question_stem`) and the flat row are one Example."""
    stem = HUB | {"question": None, "question_stem": HUB["question"]}
    made = [arc.convert(row) for row in (OFFICIAL, HUB, stem, FLAT)]
    assert made == [made[0]] * 4


@pytest.mark.parametrize("name", CHOICE_SETS)
def test_a_hidden_answer_is_dropped_or_kept(name):
    """A row without a gold answer is dropped with that reason; `--unlabelled keep` keeps it, unanswered."""
    module = converters.load(name)
    absent = {field: value for field, value in SOUND[name].items() if field != GOLD[name]}
    for row in (absent, absent | {GOLD[name]: None}, absent | {GOLD[name]: ""}):
        with pytest.raises(RowDropped) as caught:
            module.convert(row)
        assert str(caught.value) == "no gold answer"
        kept = module.convert(row, unlabelled="keep")
        assert (kept.answer, kept.answer_label) == (None, None)
        assert kept.choices == module.convert(SOUND[name]).choices


@pytest.mark.parametrize("name", CHOICE_SETS)
def test_an_answer_that_is_no_choice_shows_the_choices(name):
    """A gold answer outside of the choices is an error that quotes it and lists them."""
    module = converters.load(name)
    for answer in ("Q", "9", "none of them"):
        with pytest.raises(RowError, match="the answer is none of the choices") as caught:
            module.convert(SOUND[name] | {GOLD[name]: answer})
        assert repr(answer).lower() in str(caught.value).lower()
        for text in module.convert(SOUND[name]).choices:
            assert f") {text}" in str(caught.value)


@pytest.mark.medium
@pytest.mark.parametrize("name", [*CHOICE_SETS, "qa"])
@settings(max_examples=25)
@given(row=some.json_objects(FIELDS))
def test_any_object_converts_or_raises_a_row_error(name, row):
    """No JSON object ends in anything but a sound Example or dataprep's own error."""
    module = converters.load(name)
    for options in ({}, {"unlabelled": "keep"}):
        found = some.result_or_error(module.convert, row, **options)
        if isinstance(found, DataprepError):
            assert str(found)
        else:
            assert found.question == found.question.strip() != ""
            if found.answer_label is not None:
                assert found.answer == found.choices["abcdefghijklmnopqrstuvwxyz".index(found.answer_label)]


@pytest.mark.medium
@pytest.mark.parametrize("name", CHOICE_SETS)
@given(data=st.data())
def test_any_value_in_one_field_converts_or_raises_a_row_error(name, data):
    """A sound row with one field of any type ends in an Example or dataprep's own error."""
    row = SOUND[name] | {data.draw(st.sampled_from([*SOUND[name], *FIELDS])): data.draw(some.json_values())}
    module = converters.load(name)
    found = some.result_or_error(module.convert, row)
    assert str(found) if isinstance(found, DataprepError) else found.question
    found = some.result_or_error(lambda: list(converters.rows_of(module, row)))
    assert str(found) if isinstance(found, DataprepError) else isinstance(found, list)


@given(texts=st.lists(some.stripped_texts(5), min_size=2, max_size=6, unique=True), data=st.data())
def test_question_choices_and_answer_survive_any_text(texts, data):
    """Any question and any choices come out as they are, and the label counts them."""
    place = data.draw(st.integers(0, len(texts) - 1))
    question = data.draw(some.stripped_texts())
    listed = [{"label": "ABCDEF"[n], "text": text} for n, text in enumerate(texts)]
    row = {"question": {"stem": question, "choices": listed}, "answerKey": "ABCDEF"[place]}
    example = arc.convert(row)
    assert (example.question, list(example.choices)) == (question, texts)
    assert (example.answer_label, example.answer) == ("abcdef"[place], texts[place])


@pytest.mark.parametrize("name", ["arc", "piqa", "bioasq"])
def test_choices_in_a_table_s_cell_are_json_for_every_set(tmp_path, name):
    """A CSV file whose cell of choices is a JSON text is read by each converter, not by qa alone."""
    path = tmp_path / "t.csv"
    path.write_text('id,question,choices,answer\nx-1,Which?,"[""wool"", ""tin, and lead""]",b\n')
    (row,) = convert(name, path, to="example")
    assert (row["choices"], row["answer"]["label"]) == (["wool", "tin, and lead"], "b")
    path.write_text("id,question,choices,answer\nx-1,Which?,wool|tin,b\n")
    with pytest.raises(InputError, match=r"row 1: malformed choices: .* as JSON in a table's cell"):
        list(convert(name, path))


def test_aqua_options_in_a_table_s_cell_are_json(tmp_path):
    """The options of AQuA stand in a cell as the list that its lines have."""
    path = tmp_path / "t.csv"
    path.write_text('question,options,rationale,correct\n1+1?,"[""A)1"", ""B)2""]",1+1=2,B\n')
    (row,) = convert("aqua", path, to="example")
    assert (row["choices"], row["answer"]) == (["1", "2"], {"label": "b", "text": "2"})


@pytest.mark.parametrize("name", CHOICE_SETS)
def test_choices_that_are_numbers_are_texts(name):
    """JSON numbers among the choices come out as their texts, and are found by an answer that is one."""
    example = converters.load(name).convert(FLAT | {"choices": [10, 20.5], "answer": "20.5"})
    assert (example.choices, example.answer_label) == (("10", "20.5"), "b")
    assert converters.load(name).convert(FLAT | {"choices": [10, 20], "answer": 20}).answer == "20"


# Wording

BOTH = "You are a helpful assistant that can solve"
LETTER = "You are a helpful assistant that answers multiple-choice questions. Reply with the letter"


@pytest.mark.parametrize(
    ("style", "system", "answer"),
    [(None, BOTH, "(b) tin"), ("both", BOTH, "(b) tin"), ("text", BOTH, "tin"), ("letter", LETTER, "b")],
)
def test_the_answer_style_changes_system_prompt_and_answer(style, system, answer):
    """`(b) text` by default, the letter alone with a system prompt to fit, or the text alone."""
    chat = next(convert("arc", [OFFICIAL], answer_style=style))["messages"]
    assert [message["role"] for message in chat] == ["system", "user", "assistant"]
    assert chat[0]["content"].startswith(system)
    assert chat[1]["content"] == "Which melts?\n\n(a) wool\n(b) tin\n(c) silk"
    assert chat[2]["content"] == answer


@pytest.mark.parametrize(
    ("style", "answer"), [("both", "1+1=2\n\n(b) 2"), ("text", "1+1=2\n\n2"), ("letter", "b")]
)
def test_aqua_answers_with_its_rationale_but_for_the_letter_style(style, answer):
    """A set with solutions gives them before the answer, unless only the letter is asked for."""
    chat = next(convert("aqua_rat", [SOUND["aqua_rat"]], answer_style=style))["messages"]
    assert chat[2]["content"] == answer


@pytest.mark.parametrize("name", ["pubmedqa", "bioasq"])
def test_the_context_precedes_the_question(name):
    """Abstract or snippets stand before the question, and the choices last."""
    row = {
        "pubmedqa": SOUND["pubmedqa"],
        "bioasq": SOUND["bioasq"] | {"snippets": [{"text": "We listened."}]},
    }[name]
    user = next(convert(name, [row]))["messages"][1]["content"]
    assert user.startswith("We listened.\n\nDoes tin sing?\n\n(a) yes\n(b) no")


def test_a_set_without_choices_has_no_answer_style():
    """`--answer-style` on a set that is no multiple-choice set is a usage error that says so."""
    with pytest.raises(UsageError, match="gsm8k is no multiple-choice set"):
        Plan("gsm8k", answer_style="letter")


def test_an_unknown_style_or_way_with_hidden_rows_is_a_usage_error():
    """Other values than the documented ones are refused before any row is read."""
    with pytest.raises(UsageError, match=r"--unlabelled sometimes: expected drop or keep"):
        Plan("arc", to="example", options={"unlabelled": "sometimes"})


def test_kept_rows_need_examples_as_target():
    """A chat row cannot do without its answer, so `--unlabelled keep` goes with `--to example` only."""
    with pytest.raises(UsageError, match="--to example"):
        Plan("arc", options={"unlabelled": "keep"})
    row = {key: value for key, value in OFFICIAL.items() if key != "answerKey"}
    found = list(convert("arc", [row], to="example", options={"unlabelled": "keep"}))
    assert [each["id"] for each in found] == ["x-1"]
    assert "answer" not in found[0]


# The command: aliases, splits, folders


def test_aliases_name_the_same_converter():
    """The short names of the field find the set; case and hyphens do not matter."""
    names = {"obqa": "openbookqa", "OBQA": "openbookqa", "riddle": "riddlesense", "aqua-rat": "aqua_rat",
             "CommonSense-QA": "commonsense_qa"}  # fmt: skip
    assert [
        alias for alias, name in names.items() if converters.load(alias) is not converters.load(name)
    ] == []


@pytest.mark.parametrize("folder", ["openbookqa", "obqa", "OpenBookQA"])
def test_an_alias_finds_its_folder_and_file(run, workspace, folder):
    """`convert obqa` reads raw/obqa or raw/openbookqa and writes the files under the set's own name."""
    for old in (workspace / "raw").iterdir():
        if old.name.lower() in ("obqa", "openbookqa"):
            for path in old.iterdir():
                path.unlink()
            old.rmdir()
    place = workspace / "raw" / folder
    place.mkdir()
    write_jsonl(place / "train.jsonl", [OFFICIAL])
    write_jsonl(place / "test.jsonl", [OFFICIAL, OFFICIAL])
    write_jsonl(place / "dev.jsonl", [OFFICIAL] * 3)
    ran = run("convert", "obqa", "--quiet", cwd=workspace)
    assert (ran.code, ran.err) == (0, "")
    assert len(read_jsonl(workspace / "pre_datasets/train/openbookqa_train_llama.jsonl")) == 1
    assert len(read_jsonl(workspace / "pre_datasets/test/openbookqa_test_llama.jsonl")) == 2
    assert not list(workspace.rglob("*dev*llama*"))


@pytest.mark.parametrize("place", ["raw/arc", "raw/ARC"])
def test_arc_writes_challenge_and_easy_to_their_files(run, workspace, place):
    """The Challenge and the Easy set each have a train and a test file, also when one command makes all."""
    for old in (workspace / "raw").iterdir():
        if old.name.lower() == "arc":
            for path in old.iterdir():
                path.unlink()
            old.rmdir()
    folder = workspace / place
    folder.mkdir()
    names = [
        "ARC-Challenge-Train",
        "ARC-Challenge-Test",
        "ARC-Challenge-Dev",
        "ARC-Easy-Train",
        "ARC-Easy-Test",
    ]
    for number, name in enumerate(names):
        row = OFFICIAL | {"id": name}
        write_jsonl(folder / f"{name}.jsonl", [row] * (number + 1))
    assert run("convert", "arc", "--with-id", "--quiet", cwd=workspace).code == 0
    written = {}
    for path in (workspace / "pre_datasets").rglob("*.jsonl"):
        rows = read_jsonl(path)
        assert len({row["id"] for row in rows}) == 1
        written[str(path.relative_to(workspace / "pre_datasets"))] = (rows[0]["id"], len(rows))
    assert written == {
        "train/arc_challenge_train_llama.jsonl": ("ARC-Challenge-Train", 1),
        "test/arc_challenge_test_llama.jsonl": ("ARC-Challenge-Test", 2),
        "train/arc_easy_train_llama.jsonl": ("ARC-Easy-Train", 4),
        "test/arc_easy_test_llama.jsonl": ("ARC-Easy-Test", 5),
    }


def test_a_split_without_a_place_needs_an_output(run, workspace):
    """A development set goes where -o says; without it the command tells so with exit code 2."""
    folder = workspace / "raw" / "riddlesense"
    folder.mkdir(exist_ok=True)
    write_jsonl(folder / "rs_test_hidden.jsonl", [OFFICIAL])
    ran = run("convert", "riddle", "--split", "hidden", cwd=workspace)
    assert ran.code == 2
    assert "-o" in ran.err


# PIQA and its second file


def piqa_rows(count):
    """As many rows, each with its number in its texts."""
    return [{"goal": f"goal {n}", "sol1": f"first {n}", "sol2": f"second {n}"} for n in range(count)]


def labelled(tmp_path, rows, labels, workers=1, **options):
    """The Examples of rows in one file and their labels in the other."""
    write_jsonl(tmp_path / "valid.jsonl", rows)
    (tmp_path / "valid-labels.lst").write_text(labels, "utf-8")
    plan = Plan("piqa", to="example", options=options)
    ledger = convert_files(plan, [tmp_path / "valid.jsonl"], tmp_path / "out.jsonl", workers=workers)
    return ledger, read_jsonl(tmp_path / "out.jsonl")


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("workers", "end"),
    [
        (1, "\n"), (2, "\r\n"), (2, ""),
        *(pytest.param(*rest, marks=pytest.mark.slow) for rest in ((2, "\n"), (1, "\r\n"), (1, ""))),
    ],
)  # fmt: skip
def test_piqa_takes_each_label_from_the_same_line(tmp_path, workers, end):
    """Row k has label k of the file beside it, over many blocks of lines, and however its lines end."""
    count = 30_000  # more than one block
    labels = [str(n * n % 3 % 2) for n in range(count)]
    _, found = labelled(tmp_path, piqa_rows(count), "\n".join(labels) + end, workers)
    assert len(found) == count
    for n, row in enumerate(found):
        text = f"{'second' if labels[n] == '1' else 'first'} {n}"
        assert row["answer"] == {"label": "ab"[int(labels[n])], "text": text}


@pytest.mark.parametrize(("labels", "count"), [("0\n1\n", 2), ("0\n1\n0\n1\n", 4), ("", 0)])
def test_piqa_refuses_another_number_of_labels(tmp_path, labels, count):
    """Labels that are too few or too many belong to another file: an error with both numbers, no output."""
    with pytest.raises(
        InputError, match=rf"valid-labels\.lst: found {count} labels for the 3 rows"
    ) as caught:
        labelled(tmp_path, piqa_rows(3), labels)
    assert "valid.jsonl" in str(caught.value)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("label", ["2", "x"])
def test_piqa_knows_no_label_but_0_and_1(tmp_path, label):
    """PIQA counts its labels from 0, so that 2 is no way to say the second solution."""
    with pytest.raises(RowError):
        piqa.convert(piqa_rows(1)[0] | {"label": label})
    with pytest.raises(InputError, match=r"valid\.jsonl:1"):
        labelled(tmp_path, piqa_rows(1), label + "\n")


@pytest.mark.parametrize("name", ["dev", "valid"])
def test_piqa_s_development_set_is_found_under_both_names(run, workspace, name):
    """The authors call it dev and the hub valid; its labels lie beside it under the same name."""
    folder = workspace / "raw" / "piqa"
    for path in folder.iterdir():
        path.unlink()
    write_jsonl(folder / f"{name}.jsonl", piqa_rows(3))
    (folder / f"{name}-labels.lst").write_text("0\n1\n0\n")
    assert run("convert", "piqa", cwd=workspace).code == 0
    rows = read_jsonl(workspace / "pre_datasets/test/piqa_valid_llama.jsonl")
    assert [row["messages"][2]["content"] for row in rows] == ["(a) first 0", "(b) second 1", "(a) first 2"]


@pytest.mark.parametrize("suffix", [".json", ".csv", ".jsonl.gz"])
def test_labels_lie_beside_files_of_any_format(tmp_path, suffix):
    """A document or table has its labels from the second file as lines have."""
    files.write_rows(piqa_rows(3), str(tmp_path / f"valid{suffix}"))
    (tmp_path / "valid-labels.lst").write_text("0\n1\n0\n")
    found = convert("piqa", tmp_path / f"valid{suffix}", to="example")
    assert [row["answer"]["label"] for row in found] == ["a", "b", "a"]


def test_piqa_labels_are_labels_even_where_the_ways_are_numbers():
    """A label says first or second; that a way is itself `1` or `a` does not move it."""
    for label in (1, "1", " 1 "):
        assert piqa.convert({"goal": "Count.", "sol1": "1", "sol2": "0", "label": label}).answer == "0"


def test_piqa_drops_hidden_labels(tmp_path):
    """The label -1 is none: the row is dropped with its reason, and counted."""
    ledger, found = labelled(tmp_path, piqa_rows(3), "1\n-1\n0\n")
    assert [row["answer"]["text"] for row in found] == ["second 0", "first 2"]
    assert ledger.to_json() == {"in": 3, "out": 2, "dropped": {"no gold answer": 1}, "failed": {}}


def test_piqa_without_the_second_file_has_no_labels(tmp_path):
    """Rows whose labels' file is not there are dropped as unlabelled, not guessed."""
    write_jsonl(tmp_path / "valid.jsonl", piqa_rows(2))
    plan = Plan("piqa", to="example")
    ledger = convert_files(plan, [tmp_path / "valid.jsonl"], tmp_path / "out.jsonl")
    assert ledger.to_json()["dropped"] == {"no gold answer": 2}


def test_a_blank_line_or_an_empty_object_moves_no_label(tmp_path):
    """Blank lines have no label; a row that is no PIQA row has one, and is named as what it is."""
    rows = piqa_rows(3)
    lines = [json.dumps(rows[0]), "", "{}", json.dumps(rows[1]), "  ", json.dumps(rows[2])]
    (tmp_path / "valid.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "valid-labels.lst").write_text("1\n0\n0\n1\n")
    plan, bad = Plan("piqa", to="example"), tmp_path / "bad.jsonl"
    convert_files(plan, [tmp_path / "valid.jsonl"], tmp_path / "out.jsonl", rejects=bad)
    found = read_jsonl(tmp_path / "out.jsonl")
    assert [row["answer"]["text"] for row in found] == ["second 0", "first 1", "second 2"]
    (reject,) = read_jsonl(bad)
    assert reject["line"] == 3
    assert "not JSON" not in reject["reason"]


# PubMedQA, BioASQ, AQuA


def test_pubmedqa_keys_are_the_ids(tmp_path):
    """The document's keys become the ids, the abstract the context, the long answer the solution."""
    row = {
        "QUESTION": "Does tin sing?",
        "CONTEXTS": ["We listened.", "It was quiet."],
        "LABELS": ["METHODS", "RESULTS"],
        "final_decision": "no",
        "LONG_ANSWER": "Tin does not sing.",
    }
    document = {"22": row, "11": row | {"final_decision": "maybe"}, "33": row | {"final_decision": None}}
    path = tmp_path / "ori_pqal.json"
    path.write_text(json.dumps(document), "utf-8")
    found = list(convert("pubmedqa", path, to="example"))
    assert [(each["id"], each["answer"]["text"]) for each in found] == [("22", "no"), ("11", "maybe")]
    assert found[0]["context"] == "We listened.\nIt was quiet."
    assert found[0]["solution"] == "Tin does not sing."
    assert found[0]["choices"] == ["yes", "no", "maybe"]


@pytest.mark.parametrize("answer", ["no", "No", " NO. "])
@pytest.mark.parametrize(
    "choices", [{}, {"choices": ["yes", "no", "maybe"]}, {"choices": ["Yes", "No", "Maybe"]}]
)
@pytest.mark.parametrize("field", ["final_decision", "answer"])
def test_pubmedqa_flat_rows_keep_all_they_have(answer, choices, field):
    """Contexts as a list, an object or a text, the long answer, and a decision in any case."""
    rest = {"id": "p", "question": "Does tin sing?", "long_answer": "It does not.", field: answer} | choices
    for context in (
        ["We listened.", "In vain."],
        {"contexts": ["We listened.", "In vain."]},
        "We listened.\nIn vain.",
    ):
        example = pubmedqa.convert(rest | {"context": context})
        assert (example.id, example.context) == ("p", "We listened.\nIn vain.")
        assert (example.answer_label, example.answer.lower(), example.solution) == ("b", "no", "It does not.")


@pytest.mark.parametrize("context", [3, [3], {"contexts": "a text"}])
def test_pubmedqa_contexts_of_another_type_are_an_error(context):
    """A context that cannot be read is never left out in silence."""
    with pytest.raises(RowError, match="context"):
        pubmedqa.convert({"question": "?", "context": context, "final_decision": "no"})


@pytest.mark.parametrize(
    ("module", "row"), [(pubmedqa, {"22": {"QUESTION": "?"}}), (bioasq, {"questions": []})]
)
def test_a_document_in_place_of_a_row_says_so(module, row):
    """A whole document on one line is named as what it is, with what to do."""
    with pytest.raises(RowError, match=r"a whole .* document: .* as a \.json file"):
        module.convert(row)


@pytest.mark.parametrize("document", ["a text", 3, None])
def test_a_document_of_another_kind_is_named(document):
    """A JSON document that holds neither rows nor questions is an error that says what was found."""
    for module in (pubmedqa, bioasq):
        with pytest.raises(RowError, match=r"not a .* document"):
            list(module.rows(document))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("factoid", "a question of type factoid"),
        ("list", "a question of type list"),
        ("summary", "a question of type summary"),
        ("essay", "another type"),
        (None, "another type"),
        (["yesno"], "another type"),
    ],
)
def test_bioasq_drops_other_types_with_their_reason(kind, reason):
    """Only yes/no questions have choices; what is dropped is counted by type, and types stay few."""
    with pytest.raises(RowDropped) as caught:
        bioasq.convert(SOUND["bioasq"] | {"type": kind})
    assert str(caught.value) == reason


def test_bioasq_answers_are_yes_or_no_however_spelled():
    """Rounds differ in capitals, full stops and lists; the answer does not."""
    answers = ["yes", "Yes", "YES.", ["Yes"], " no ", ["no"]]
    labels = [bioasq.convert(SOUND["bioasq"] | {"exact_answer": answer}).answer_label for answer in answers]
    assert labels == list("aaaabb")


def test_bioasq_joins_snippets_and_ideal_answers():
    """Each snippet is a line of the context; the ideal answer, a text or a list of texts, the solution."""
    more = {"snippets": [{"text": " Tin sinks. "}, {"text": ""}, {"text": "Cork floats."}]}
    for ideal in ("So it is.", ["So it is."]):
        example = bioasq.convert(SOUND["bioasq"] | more | {"ideal_answer": ideal})
        assert (example.context, example.solution) == ("Tin sinks.\nCork floats.", "So it is.")


def test_aqua_options_lose_their_letter_and_nothing_else():
    """`A)32400` is the choice 32400; what follows the first bracket is kept."""
    cases = [
        (["A)32400", "B)1,000"], ["32400", "1,000"]),
        (["A) 1/2", " B)2 "], ["1/2", "2"]),
        (["(A)1", "(B) 2"], ["1", "2"]),
        (["a)1", "b)2"], ["1", "2"]),
        (["A)A)1", "B)(x)"], ["A)1", "(x)"]),
        (["A)two\nlines", "B)x"], ["two\nlines", "x"]),
    ]
    for options, texts in cases:
        example = aqua_rat.convert({"question": "?", "options": options, "correct": "B"})
        assert (list(example.choices), example.answer) == (texts, texts[1]), options


def test_aqua_options_without_their_letters_are_malformed():
    """Options whose letters are missing, doubled or out of order are refused: no answer is guessed."""
    cases = [
        ["1", "2"], ["A.1", "B.2"], ["A)1", "2"], ["A)1", "A)2"], ["B)1", "A)2"], [], ["A)1"], None, "A)1",
        ["A)1", 2],
    ]  # fmt: skip
    rows = [{"question": "?", "options": options, "correct": "A"} for options in cases]
    found = [some.result_or_error(aqua_rat.convert, row) for row in rows]
    assert [str(result) for result in found if not isinstance(result, RowError)] == []


def test_an_empty_aqua_option_is_named():
    """A letter without a text is an error that says which, not a choice without words."""
    with pytest.raises(RowError, match="an empty option: nothing follows the letter B"):
        aqua_rat.convert({"question": "?", "options": ["A)1", "B) ", "C)2"], "correct": "A"})


def test_aqua_choices_of_flat_rows_lose_their_letters_too():
    """`A)32400` is the choice 32400 in the flat layout as well, and the answer may be spelled either way."""
    for answer in ("B", "b", "2", "B)2"):
        example = aqua_rat.convert({"question": "?", "choices": ["A)1", "B)2"], "answer": answer})
        assert (example.choices, example.answer_label, example.answer) == (("1", "2"), "b", "2")


def test_aqua_choices_of_flat_rows_without_letters_stay_as_they_are():
    """A bracket in one choice alone is no letter to be taken off."""
    example = aqua_rat.convert({"question": "?", "choices": ["a)x", "y"], "answer": "y"})
    assert example.choices == ("a)x", "y")


# qa, the generic one


def test_qa_maps_fields_dotted_fields_and_several_columns():
    """Fields are named as they are, inside of objects with dots, or as several columns with bars."""
    row = {"q": {"stem": "Which?"}, "x": "wool", "y": "tin", "z": "silk", "gold": "b", "meta": {"n": 4}}
    columns = {"question": "q.stem", "choices": "x|y|z", "answer": "gold", "id": "meta.n"}
    example = qa.convert(row, columns=columns)
    assert (example.question, example.choices, example.id) == ("Which?", ("wool", "tin", "silk"), "4")
    assert (example.answer_label, example.answer, example.task) == ("b", "tin", "choice")


def test_a_field_with_a_dot_in_its_name_goes_before_a_path():
    """A field that is really called `q.stem` is found under that name."""
    row = {"q.stem": "Itself?", "q": {"stem": "Inside?"}, "a": "x"}
    assert qa.convert(row, columns={"question": "q.stem", "answer": "a"}).question == "Itself?"


def test_an_empty_column_does_not_move_the_answer():
    """Where a column between others is empty, the third one's letter never means the fourth's text."""
    columns = {"question": "q", "choices": "x|y|z|w", "answer": "gold"}
    for answer in ("c", "3", "silk", "C"):
        row = {"q": "Which?", "x": "wool", "y": "", "z": "silk", "w": "clay", "gold": answer}
        found = some.result_or_error(qa.convert, row, columns=columns)
        assert isinstance(found, RowError) or found.answer == "silk"


def test_empty_columns_at_the_end_are_no_choices():
    """A table with room for four choices holds rows of two and three as well."""
    row = {"q": "Which?", "x": "wool", "y": "tin", "z": "", "w": None, "gold": "b"}
    example = qa.convert(row, columns={"question": "q", "choices": "x|y|z|w", "answer": "gold"})
    assert (example.choices, example.answer) == (("wool", "tin"), "tin")


def test_qa_without_choices_is_a_plain_question():
    """A row without choices keeps its answer as a text without a letter, and has the task qa."""
    example = qa.convert({"question": "How many?", "answer": 4, "context": "Four.", "solution": "Count."})
    assert (example.task, example.answer, example.answer_label, example.choices) == ("qa", "4", None, ())
    chat = next(convert("qa", [{"question": "How many?", "answer": 4, "context": "Four."}]))["messages"]
    assert [message["content"] for message in chat[1:]] == ["Four.\n\nHow many?", "4"]


NUMBERED = {"question": "Which?", "choices": ["x", "y", "z"]}


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
@pytest.mark.parametrize(("counted", "label"), [(0, "b"), (1, "a")])
def test_a_number_is_counted_as_it_is_told_in_every_format(tmp_path, suffix, counted, label):
    """`answer` 1 means the same in JSON and in CSV: nothing without --answers-from, else what that says."""
    row = {"question": "Which?", "x": "x", "y": "y", "z": "z", "answer": 1}
    path = tmp_path / f"t{suffix}"
    files.write_rows([row], str(path))
    columns = {"question": "question", "choices": "x|y|z", "answer": "answer"}
    with pytest.raises(InputError, match=r"the answer is a number: .*--answers-from 0 or 1"):
        list(convert("qa", path, to="example", options={"columns": columns}))
    (found,) = convert("qa", path, to="example", options={"columns": columns, "answers_from": counted})
    assert found["answer"]["label"] == label


@pytest.mark.parametrize("answer", [1, "1", " 1 ", "(1)", "1."])
def test_a_number_that_is_a_label_or_text_needs_no_counting(answer):
    """Digits that are published as a label, or are themselves a choice, say which one they mean."""
    labelled = [{"label": "2", "text": "x"}, {"label": "1", "text": "y"}]
    for counted in (None, 0, 1):
        row = {"question": "Which?", "choices": labelled, "answer": answer}
        assert qa.convert(row, answers_from=counted).answer == "y"
    row = {"question": "Which?", "choices": ["2", "1", "0"], "answer": answer}
    assert qa.convert(row).answer == "1"
    assert qa.convert(row, answers_from=1).answer == "2"  # told to count, it counts


@pytest.mark.parametrize(("answer", "counted"), [(3, 0), ("4", 1), (0, 1), ("0", 1), ("9" * 5000, 0)])
def test_a_number_beyond_the_choices_shows_them(answer, counted):
    """A number that no choice has, as it is counted, is none of the choices."""
    with pytest.raises(RowError, match=r"none of the choices.*\(a\) x \(b\) y \(c\) z"):
        qa.convert(NUMBERED | {"answer": answer}, answers_from=counted)


@pytest.mark.parametrize("answer", ["b", "(B)", "y"])
def test_letters_and_texts_need_no_counting(answer):
    """--answers-from is about numbers alone."""
    for counted in (None, 0, 1):
        assert qa.convert(NUMBERED | {"answer": answer}, answers_from=counted).answer == "y"


def test_answers_from_another_number_is_a_usage_error(run, tmp_path):
    """Choices are counted from 0 or from 1, and only qa has to be told."""
    files.write_rows([NUMBERED], str(tmp_path / "t.jsonl"))
    assert run("convert", "qa", "t.jsonl", "--answers-from", "2").code == 2
    assert run("convert", "arc", "t.jsonl", "--answers-from", "1").code == 2
    with pytest.raises(UsageError, match="--answers-from 2: expected 0 or 1"):
        Plan("qa", options={"answers_from": 2})


TABLE = [
    {"frage": "Which, please?", "a": "wool", "b": "tin", "c": "silk", "gold": "b"},
    {"frage": "Who is Renée 👩‍🚀?", "a": "x", "b": "y", "c": "z", "gold": "z"},
    {"frage": "By letter?", "a": "x", "b": "y", "c": "z", "gold": "A"},
    {"frage": "Hidden?", "a": "x", "b": "y", "c": "z", "gold": ""},
]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".csv.gz"])
def test_qa_reads_every_format(run, tmp_path, suffix):
    """The same rows give the same bytes from JSON Lines, JSON, CSV, TSV and Parquet."""
    path = tmp_path / f"table{suffix}"
    files.write_rows(TABLE, str(path))
    columns = "question=frage,choices=a|b|c,answer=gold"
    ran = run("convert", "qa", path, "--map", columns, "--to", "example", "--json")
    assert ran.code == 0, ran.err
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [row["question"] for row in found] == [row["frage"] for row in TABLE[:3]]
    answers = [("b", "tin"), ("c", "z"), ("a", "x")]
    assert [(row["answer"]["label"], row["answer"]["text"]) for row in found] == answers
    assert '"no gold answer": 1' in ran.err


def test_choices_in_a_cell_are_json(tmp_path):
    """A cell of a CSV file may hold the choices as a JSON list."""
    path = tmp_path / "t.csv"
    path.write_text('question,choices,answer\nWhich?,"[""wool"", ""tin, and lead""]",b\n')
    (row,) = convert("qa", path, to="example")
    assert row["answer"] == {"label": "b", "text": "tin, and lead"}


def test_a_map_that_cannot_be_read_is_a_usage_error(run, tmp_path):
    """`--map` without NAME=FIELD, or with a name that no Example has, ends with 2 and the known names."""
    files.write_rows(TABLE, str(tmp_path / "t.jsonl"))
    cases = ["frage", "question", "question=", "=frage", "frage=question", "question=frage,", "", "colour=x"]
    for columns in cases:
        ran = run("convert", "qa", "t.jsonl", "--map", columns)
        assert (ran.code, ran.out) == (2, b""), columns
        assert "--map" in ran.err
        assert "question, choices, answer, context, solution, id" in ran.err


def test_a_name_mapped_twice_is_a_usage_error(run, tmp_path):
    """Two fields for one name cannot both be meant, and the first is not forgotten in silence."""
    files.write_rows(TABLE, str(tmp_path / "t.jsonl"))
    ran = run("convert", "qa", "t.jsonl", "--map", "question=frage,question=a,answer=gold")
    assert (ran.code, ran.out) == (2, b"")


def test_a_map_for_another_set_names_the_flag(run, tmp_path):
    """`--map` belongs to qa: on another set the error names the flag that the user wrote."""
    files.write_rows([OFFICIAL], str(tmp_path / "t.jsonl"))
    ran = run("convert", "arc", "t.jsonl", "--map", "question=frage")
    assert ran.code == 2
    assert "--map" in ran.err


def test_a_mapped_field_that_is_not_there_is_named(run, tmp_path):
    """A question that is not where --map says is an error with that field's name, and those there are."""
    files.write_rows(TABLE, str(tmp_path / "t.jsonl"))
    ran = run("convert", "qa", "t.jsonl", "--map", "question=fragen,answer=gold")
    assert (ran.code, ran.out) == (1, b"")
    assert "t.jsonl:1" in ran.err
    assert "'fragen'" in ran.err
    assert "'frage'" in ran.err


@pytest.mark.parametrize(
    "columns",
    [
        "question=frage,choices=nope,answer=gold",
        "question=frage,answer=nope",
        "question=frage,id=frage.nope",
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_mapped_field_that_no_row_has_is_an_error(run, tmp_path, columns, suffix, workers):
    """A slip in --map never passes for a set without choices or answers: the fields there are, are named."""
    files.write_rows(TABLE, str(tmp_path / f"t{suffix}"))
    ran = run("convert", "qa", f"t{suffix}", "--map", columns, "-o", "out.jsonl", "--workers", workers)
    assert ran.code == 1
    assert "nope', which --map names" in ran.err
    assert "the fields of the first row are 'frage', 'a', 'b', 'c', 'gold'" in ran.err
    assert not (tmp_path / "out.jsonl").exists()
    columns = dict(part.split("=") for part in columns.split(","))
    with pytest.raises(InputError, match="no row has"):
        list(convert("qa", TABLE, options={"columns": columns}))


@pytest.mark.parametrize(
    ("choices", "gold", "place"),
    [("a|b|nope", "a", "t.jsonl"), ("a|b|nope", "c", r"t\.jsonl:1"), ("a|nope|c", "a", r"t\.jsonl:1")],
)
def test_one_of_several_fields_of_choices_that_is_not_there_is_named(tmp_path, choices, gold, place):
    """A missing last column never passes for fewer choices, nor one in the middle for an empty choice."""
    write_jsonl(tmp_path / "t.jsonl", [{"q": "Which?", "a": "x", "b": "y", "c": "z", "gold": gold}])
    columns = {"question": "q", "choices": choices, "answer": "gold"}
    with pytest.raises(InputError, match=rf"{place}: .*'nope', which --map names"):
        list(convert("qa", tmp_path / "t.jsonl", options={"columns": columns}))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mapped_field_that_some_row_has_is_a_matter_of_the_rows(tmp_path, workers):
    """A field that one row has, be it null and far into the file, is there."""
    rows = [{"q": f"Question {n}? {'x' * 100}", "a": "x"} for n in range(12_000)]
    rows[-1]["why"] = None
    write_jsonl(tmp_path / "t.jsonl", rows)
    columns = {"question": "q", "answer": "a", "solution": "why"}
    plan = Plan("qa", to="example", options={"columns": columns})
    ledger = convert_files(plan, [tmp_path / "t.jsonl"], tmp_path / "out.jsonl", workers=workers)
    assert ledger.rows_out == 12_000


@pytest.mark.medium
@given(
    st.dictionaries(st.sampled_from(qa.FIELDS), st.sampled_from(["a", "b", "a.b", "a|b", ".", "|", "a..b"])),
    st.data(),
)
def test_any_map_of_any_row_converts_or_raises_a_row_error(columns, data):
    """Whatever is mapped to whatever, qa ends in an Example or dataprep's own error."""
    inner = st.dictionaries(st.sampled_from("ab"), some.json_values(), max_size=2)
    row = data.draw(st.dictionaries(st.sampled_from(["a", "b", "a.b", ""]), some.json_values() | inner))
    found = some.result_or_error(qa.convert, row, columns=columns)
    assert str(found) if isinstance(found, DataprepError) else found.question
