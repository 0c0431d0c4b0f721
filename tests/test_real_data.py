"""The published sets, where they lie on this machine: the promised figures, row by row."""

import json
import random
import re
import warnings
from collections import Counter

import pytest

from dataprep.answers.parse import export_rationales, parse_rationale_files
from dataprep.datasets.checks.stats import stats_of_files
from dataprep.datasets.checks.validation import validate_files
from dataprep.datasets.convert import Plan, convert_files
from dataprep.datasets.merge import merge_files
from dataprep.teacher.prompts import prompt_file
from tests.helpers import read_jsonl
from tests.real import DATA, needs_sets

pytestmark = needs_sets

# Output, dataset, input, what the plan adds to the dataset, rows in, rows out.
CONVERSIONS = [
    ("train/gsm8k_train_llama", "gsm8k", "gsm8k/train.jsonl", {"split": "train"}, 7473, 7473),
    ("test/gsm8k_test_llama", "gsm8k", "gsm8k/test.jsonl", {"split": "test"}, 1319, 1319),
    ("train/mbpp_train_sample_llama", "mbpp", "mbpp/mbpp.jsonl", {"split": "train"}, 974, 464),
    ("test/mbpp_test_sample_llama", "mbpp", "mbpp/mbpp.jsonl", {"split": "test"}, 974, 510),
    ("train/squad_train_sample_llama", "squad", "squad/dev-v2.0.json", {"sample": 1000}, 6078, 1000),
    ("test/squad_dev_llama", "squad", "squad/dev-v2.0.json", {}, 6078, 2910),
]
DROPPED = {
    "train/mbpp_train_sample_llama": {"in another split": 510},
    "test/mbpp_test_sample_llama": {"in another split": 464},
    "train/squad_train_sample_llama": {"unanswerable": 3168, "not sampled": 1910},
    "test/squad_dev_llama": {"unanswerable": 3168},
}


def texts(row):
    """The user's and the assistant's messages of a chat row."""
    assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
    return row["messages"][1]["content"], row["messages"][2]["content"]


def make_all(folder, workers):
    """Convert and merge everything into a folder; the ledgers by file."""
    ledgers = {}
    for stem, dataset, path, more, _, _ in CONVERSIONS:
        output = folder / f"{stem}.jsonl"
        output.parent.mkdir(parents=True, exist_ok=True)
        ledgers[stem] = convert_files(Plan(dataset, **more), [DATA / path], output, workers=workers)
    for split in ("train", "test"):
        output = folder / f"{split}.jsonl"
        ledgers[split] = merge_files([folder / split], output, seed=42, workers=workers)
    return ledgers


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every file of the whole job, made with one worker, and the ledgers."""
    folder = tmp_path_factory.mktemp("made")
    return folder, make_all(folder, 1)


@pytest.mark.parametrize(("stem", "rows_in", "rows_out"), [(c[0], c[4], c[5]) for c in CONVERSIONS])
def test_the_row_counts_are_the_promised_ones(made, stem, rows_in, rows_out):
    """Each published file gives as many rows as the authors count, the rest dropped for its reason."""
    folder, ledgers = made
    assert len(read_jsonl(folder / f"{stem}.jsonl")) == rows_out
    assert ledgers[stem].to_json() == {
        "in": rows_in,
        "out": rows_out,
        "dropped": DROPPED.get(stem, {}),
        "failed": {},
    }


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_gsm8k_row_is_divided_as_published(made, split):
    """Question, solution and final number of each row are those that splitting at #### gives."""
    rows = read_jsonl(made[0] / split / f"gsm8k_{split}_llama.jsonl")
    raw = read_jsonl(DATA / "gsm8k" / f"{split}.jsonl")
    for row, published in zip(rows, raw, strict=True):
        *solution, final = published["answer"].split("####")
        assert re.fullmatch(r" -?[\d,.]+", final)
        expected = "####".join(solution).strip() + "\n\n#### " + final.strip()
        assert texts(row) == (published["question"].strip(), expected)


def test_stripping_leaves_no_annotation_in_any_row(tmp_path):
    """--strip-calculator removes all annotations of the published set and changes nothing else."""
    plan = Plan("gsm8k", options={"strip_calculator": True})
    convert_files(plan, [DATA / "gsm8k/train.jsonl"], tmp_path / "out.jsonl")
    raw = read_jsonl(DATA / "gsm8k/train.jsonl")
    for row, published in zip(read_jsonl(tmp_path / "out.jsonl"), raw, strict=True):
        kept = "".join(piece.rpartition(">>")[2] for piece in published["answer"].split("<<"))
        solution, final = kept.split("####")
        assert texts(row)[1] == f"{solution.strip()}\n\n#### {final.strip()}"


@pytest.mark.parametrize(("split", "numbers"), [("train", range(511, 975)), ("test", range(1, 511))])
def test_every_mbpp_row_has_its_task_code_and_tests(made, split, numbers):
    """Each task of a split is there in order, with code that Python compiles and all of its assertions."""
    rows = read_jsonl(made[0] / split / f"mbpp_{split}_sample_llama.jsonl")
    raw = [row for row in read_jsonl(DATA / "mbpp/mbpp.jsonl") if row["task_id"] in numbers]
    for row, published in zip(rows, raw, strict=True):
        user, assistant = texts(row)
        code = published["code"].replace("\r\n", "\n").strip()
        assert "\r" not in assistant
        assert assistant == f"```python\n{code}\n```"
        with warnings.catch_warnings(action="ignore"):  # some published code has escapes that Python dislikes
            compile(assistant[len("```python\n") : -len("\n```")], "code", "exec", dont_inherit=True)
        assert user.startswith(published["text"].strip() + "\n\n")
        position = 0
        for test in published["test_list"]:
            position = user.index(test.replace("\r\n", "\n").strip(), position)
        assert published["test_setup_code"].replace("\r\n", "\n").strip() in user


def test_every_squad_row_has_its_passage_and_first_answer(made):
    """Each answerable question is there in order, its answer found in the passage where it was published."""
    document = json.loads((DATA / "squad/dev-v2.0.json").read_bytes())
    raw = [
        (paragraph["context"], question)
        for article in document["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
        if question["answers"]
    ]
    for row, (context, question) in zip(read_jsonl(made[0] / "test/squad_dev_llama.jsonl"), raw, strict=True):
        user, assistant = texts(row)
        first = question["answers"][0]
        start = first["answer_start"]
        assert assistant == first["text"].strip() == context[start : start + len(first["text"])].strip()
        assert context.strip() in user
        assert user.endswith(question["question"].strip())


def test_the_squad_sample_is_the_documented_reservoir(made):
    """--sample 1000 keeps the rows that Python's generator draws as documented."""
    rows = (made[0] / "test/squad_dev_llama.jsonl").read_bytes().splitlines(keepends=True)
    generator, kept = random.Random(42), rows[:1000]
    for i in range(1001, len(rows) + 1):
        j = generator.randrange(i)
        if j < 1000:
            kept[j] = rows[i - 1]
    assert (made[0] / "train/squad_train_sample_llama.jsonl").read_bytes() == b"".join(kept)


@pytest.mark.parametrize(("split", "count"), [("train", 8937), ("test", 4739)])
def test_the_merged_order_is_that_of_random_shuffle(made, split, count):
    """The merged file is the concatenation in sorted order, shuffled by random.seed(42); random.shuffle."""
    folder, ledgers = made
    lines = []
    for path in sorted((folder / split).iterdir()):
        lines += path.read_bytes().splitlines(keepends=True)
    state = random.getstate()
    random.seed(42)
    random.shuffle(lines)
    random.setstate(state)
    assert (folder / f"{split}.jsonl").read_bytes() == b"".join(lines)
    assert (len(lines), ledgers[split].rows_in, ledgers[split].rows_out) == (count, count, count)


def test_validate_finds_nothing(made):
    """Every row of every file is a well-formed conversation."""
    paths = sorted(made[0].rglob("*.jsonl"))
    report = validate_files(paths)
    assert (report.counts, report.shown) == ({}, [])
    assert sum(report.rows.values()) == 2 * (8937 + 4739)


def test_stats_count_the_published_rows(made):
    """The figures are those of a count by hand."""
    path = made[0] / "train.jsonl"
    found = stats_of_files([path])
    lengths = [len(texts(row)[1]) for row in read_jsonl(path)]
    figures = found.characters["assistant"]
    assert (found.rows, figures.min, figures.max) == (8937, min(lengths), max(lengths))
    assert found.duplicates == 8937 - len(set(path.read_bytes().splitlines()))
    assert sum(each.rows for each in found.histogram) == 8937


@pytest.mark.slow
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_another_run_gives_the_same_bytes(made, tmp_path, workers):
    """Two runs, and one worker and two, write identical files."""
    ledgers = make_all(tmp_path, workers)
    assert ledgers == made[1]
    paths = [path.relative_to(made[0]) for path in sorted(made[0].rglob("*.jsonl"))]
    assert len(paths) == 8
    for path in paths:
        assert (tmp_path / path).read_bytes() == (made[0] / path).read_bytes(), path


# The multiple-choice sets and the teachers' rationales

# Dataset, input, rows.
CHOICE_SETS = [
    ("commonsense_qa", "commonsense_qa/train_rand_split.jsonl", 9741),
    ("commonsense_qa", "commonsense_qa/dev_rand_split.jsonl", 1221),
    ("aqua_rat", "aqua_rat/dev.json", 254),
    ("aqua_rat", "aqua_rat/test.json", 254),
    ("piqa", "piqa/valid.jsonl", 1838),
    ("arc", "tinyllm/arc/arc_train.json", 1117),
    ("openbookqa", "tinyllm/obqa/obqa_test.json", 500),
    ("piqa", "tinyllm/piqa/piqa_valid.json", 919),
]
# Dataset and split, rows, rows in which the first teacher's answer is the gold one.
RATIONALES = [
    ("arc", "train", 1117, 1117),
    ("arc", "valid", 295, 295),
    ("arc", "test", 1165, 1165),
    ("obqa", "train", 4957, 4957),
    ("obqa", "valid", 500, 500),
    ("obqa", "test", 500, 500),
    ("piqa", "valid", 919, 919),
    ("piqa", "test", 919, 919),
]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def read_array(path):
    """The rows of a JSON array or of JSON Lines, read by Python's json."""
    text = path.read_text("utf-8")
    return json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]


def published_answer(dataset, row, number):
    """The text of a published row's gold answer, found without dataprep."""
    if "answer" in row:
        return row["answer"]
    if dataset == "piqa":
        label = (DATA / "piqa/valid-labels.lst").read_text().split()[number]
        return row["sol2" if label == "1" else "sol1"]
    if dataset == "aqua_rat":
        return next(option[2:] for option in row["options"] if option[0] == row["correct"])
    return next(each["text"] for each in row["question"]["choices"] if each["label"] == row["answerKey"])


@pytest.mark.parametrize(("dataset", "path", "count"), CHOICE_SETS)
def test_every_choice_row_has_its_published_answer(tmp_path, dataset, path, count):
    """Each published file gives all of its rows, in order, each with its gold answer's letter and text."""
    ledger = convert_files(Plan(dataset, to="example"), [DATA / path], tmp_path / "out.jsonl")
    assert ledger.to_json() == {"in": count, "out": count, "dropped": {}, "failed": {}}
    raw = read_array(DATA / path)
    found = read_jsonl(tmp_path / "out.jsonl")
    assert len(found) == len(raw) == count
    for number, (row, published) in enumerate(zip(found, raw, strict=True)):
        assert row["answer"]["text"] == published_answer(dataset, published, number).strip()
        assert row["choices"][LETTERS.index(row["answer"]["label"])] == row["answer"]["text"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("forcing", [True, False])
@pytest.mark.parametrize(("dataset", "path", "count"), CHOICE_SETS)
def test_requests_of_raw_rows_are_those_of_the_converted_ones(tmp_path, dataset, path, count, forcing):
    """`prompt --dataset` makes the same requests of a published file as `prompt` of its Examples."""
    convert_files(Plan(dataset, to="example"), [DATA / path], tmp_path / "examples.jsonl")
    ledger = prompt_file(DATA / path, tmp_path / "raw.jsonl", dataset=dataset, forcing=forcing, shots=0)
    prompt_file(tmp_path / "examples.jsonl", tmp_path / "out.jsonl", forcing=forcing, shots=0)
    assert (ledger.rows_in, ledger.rows_out) == (count, count)
    assert (tmp_path / "raw.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


def rationale_files_of(dataset, split):
    """The files of one split, in the order of their numbers."""
    folder = DATA / "tinyllm" / dataset / "llm"
    return sorted(folder.glob(f"{split}_CoT_*.json"), key=lambda path: int(path.stem.rpartition("_")[2]))


@pytest.fixture(scope="module")
def rationales(tmp_path_factory):
    """The labelled rows of every split that has gold rows, and the reports."""
    folder = tmp_path_factory.mktemp("rationales")
    made = {}
    for dataset, split, _, _ in RATIONALES:
        gold = DATA / "tinyllm" / dataset / f"{dataset}_{split}.json"
        out = folder / f"{dataset}_{split}.jsonl"
        report = parse_rationale_files(rationale_files_of(dataset, split), out, gold=gold)
        made[dataset, split] = (report, out, read_array(gold))
    return made


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("dataset", "split", "count", "agree"), RATIONALES)
def test_every_rationale_row_is_its_gold_row(rationales, dataset, split, count, agree):
    """Question, choices and answer of all strings are those of the gold row at the same place."""
    report, out, gold = rationales[dataset, split]
    rows = read_jsonl(out)
    assert report.ledger.to_json() == {"in": count, "out": count, "dropped": {}, "failed": {}}
    assert len(rows) == len(gold) == count
    agreeing = 0
    for row, published in zip(rows, gold, strict=True):
        choices = [choice.strip() for choice in published["choices"]]
        place = choices.index(published["answer"].strip())
        assert row["id"] == str(published["id"])
        assert (row["question"], row["choices"]) == (published["question"].strip(), choices)
        assert row["answer"] == {"label": LETTERS[place], "text": choices[place]}
        agreeing += row["teacher_answers"]["flan-t5"]["label"] == LETTERS[place]
    assert report.agree == agreeing == agree


@pytest.mark.parametrize(("dataset", "split", "count", "agree"), RATIONALES)
def test_every_rationale_is_a_piece_of_its_string(rationales, dataset, split, count, agree):
    """What a teacher says is kept to the letter, the teachers are the markers', and statuses add up."""
    report, out, _ = rationales[dataset, split]
    strings = [text for path in rationale_files_of(dataset, split) for text in json.loads(path.read_bytes())]
    for row, text in zip(read_jsonl(out), strings, strict=True):
        head, _, tail = text.partition(f"\n\nQ: {row['question']}")
        assert row["rationales"]["flan-t5"] in head
        said = tail.partition(" llama rationale: ")[2]
        assert list(row["rationales"]) == ["flan-t5"] + ["llama-2"] * (" llama rationale:" in tail)
        said = said.strip().removeprefix("Let's think step by step").removeprefix(".").lstrip()
        assert row["rationales"].get("llama-2", "") == said
    assert sum(report.statuses["flan-t5"].values()) == count >= agree


def test_the_train_file_without_gold_rows_is_parsed_too(tmp_path):
    """The 500 strings of piqa's train file have no gold rows here; all of them come out."""
    report = parse_rationale_files(rationale_files_of("piqa", "train"), tmp_path / "out.jsonl")
    assert report.ledger.to_json() == {"in": 500, "out": 500, "dropped": {}, "failed": {}}
    assert all(len(row["choices"]) == 2 for row in read_jsonl(tmp_path / "out.jsonl"))


@pytest.mark.parametrize(("dataset", "split"), [("arc", "test"), ("obqa", "valid"), ("piqa", "valid")])
def test_published_rationales_survive_the_way_back(rationales, tmp_path, dataset, split):
    """Exported and parsed again, the published strings give the same rows."""
    _, out, _ = rationales[dataset, split]
    paths = export_rationales(out, tmp_path / "llm", split=split)
    assert [path.name for path in paths] == [path.name for path in rationale_files_of(dataset, split)]
    gold = DATA / "tinyllm" / dataset / f"{dataset}_{split}.json"
    parse_rationale_files([tmp_path / "llm"], tmp_path / "again.jsonl", gold=gold)
    for row, again in zip(read_jsonl(out), read_jsonl(tmp_path / "again.jsonl"), strict=True):
        del row["source"], again["source"]
        assert row == again


@pytest.mark.parametrize(("dataset", "split"), [("arc", "test"), ("obqa", "valid")])
def test_trimmed_rationales_survive_the_way_back(rationales, tmp_path, dataset, split):
    """Cut where they run on, exported and parsed again, the strings give the same rows, and none runs on."""
    gold = DATA / "tinyllm" / dataset / f"{dataset}_{split}.json"
    strings, cut = rationale_files_of(dataset, split), tmp_path / "cut.jsonl"
    report = parse_rationale_files(strings, cut, gold=gold, trim=True)
    export_rationales(cut, tmp_path / "llm", split=split)
    again = parse_rationale_files([tmp_path / "llm"], tmp_path / "again.jsonl", gold=gold, trim=True)
    shorter = 0
    rows = read_jsonl(cut), read_jsonl(tmp_path / "again.jsonl"), read_jsonl(rationales[dataset, split][1])
    for row, back, whole in zip(*rows, strict=True):
        del row["source"], back["source"]
        assert row == back
        assert "runaway" not in row["status"].values()
        shorter += sum(row["rationales"][name] != text for name, text in whole["rationales"].items())
    assert report.trimmed == shorter >= rationales[dataset, split][0].statuses["llama-2"]["runaway"] > 0
    assert again.trimmed == 0


def test_missing_values_are_no_rationales(rationales):
    """The `nan` that 40 and 44 of the published texts are is nobody's rationale."""
    found = Counter()
    for _, out, _ in rationales.values():
        for row in read_jsonl(out):
            for teacher, text in row["rationales"].items():
                found[teacher] += text == "nan"
                assert text != "nan" or row["status"][teacher] == "empty"
    assert found == {"flan-t5": 40, "llama-2": 44}
