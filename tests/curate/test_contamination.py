"""Decontamination: what is found, what is not, and what is said about it."""

import json
import random
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep import Overlap, Plan, convert_files, decontaminate_files, read_rows, write_rows
from dataprep.core.errors import InputError, UsageError
from dataprep.curate.contamination.matching import longest_common
from dataprep.curate.contamination.wording import question_digest, question_in
from tests.curate.contamination_texts import WAYS, changed, changed_otherwise, inside, invented, planted
from tests.helpers import chat, read_jsonl, write_jsonl
from tests.real import DATA, needs, needs_sets

pytestmark = pytest.mark.usefixtures("forked")
PASSAGE = " ".join(f"word{n}" for n in range(60))


def check(tmp_path, train, test, **settings):
    """Decontaminate rows; return the result, the lines kept, the drops and the test rows found."""
    paths = [
        tmp_path / name for name in ("train.jsonl", "test.jsonl", "out.jsonl", "drops.jsonl", "found.jsonl")
    ]
    write_jsonl(paths[0], train)
    write_jsonl(paths[1], test)
    done = decontaminate_files(
        paths[:1], paths[2], against=paths[1:2], dropped=paths[3], found=paths[4],
        settings=Overlap(**settings),
    )  # fmt: skip
    return done, *map(read_jsonl, paths[2:])


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_planted_questions_are_found(tmp_path, way):
    """Test questions are found however they were put into training rows, and clean rows are kept."""
    questions, clean = invented(300, 1), invented(300, 2)
    train = [*planted(questions, way), *planted(clean, inside)]
    done, kept, drops, found = check(tmp_path, train, [{"question": text} for text in questions])
    assert len(found) >= WAYS[way] * len(questions)
    assert sum(drop["line"] > len(questions) for drop in drops) <= 0.001 * len(clean)
    assert done.ledger.rows_in == len(kept) + len(drops) == 600


@pytest.mark.slow
@needs("gsm8k")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_planted_questions_of_gsm8k_are_found(tmp_path, way):
    """All 1,319 test questions of GSM8K, in each of the ways."""
    test = read_jsonl(DATA / "gsm8k" / "test.jsonl")
    *_, found = check(tmp_path, planted([row["question"] for row in test], way), test)
    assert len(found) >= WAYS[way] * len(test)


@pytest.fixture(scope="module")
def questions_of_sets():
    """150 questions of each published set, and 1,500 rows of another one, which are clean."""
    sets = {
        "squad": [
            asked["question"]
            for article in json.loads((DATA / "squad" / "dev-v2.0.json").read_text("utf-8"))["data"]
            for paragraph in article["paragraphs"]
            for asked in paragraph["qas"]
        ],
        "csqa": [row["question"]["stem"] for row in read_jsonl(DATA / "commonsense_qa/dev_rand_split.jsonl")],
        "arc": [
            row["question"] for row in json.loads((DATA / "tinyllm/arc/arc_test.json").read_text("utf-8"))
        ],
        "mbpp": [row["text"] for row in read_jsonl(DATA / "mbpp" / "mbpp.jsonl")],
        "aqua": [row["question"] for row in read_jsonl(DATA / "aqua_rat" / "test.json")],
    }
    clean = read_jsonl(DATA / "gsm8k" / "train.jsonl")[:1500]
    return {name: random.Random(1).sample(texts, 150) for name, texts in sets.items()}, clean


@pytest.mark.medium
@needs_sets
@pytest.mark.sampled(3)
@pytest.mark.parametrize("way", [*WAYS, changed_otherwise], ids=lambda way: way.__name__)
def test_planted_questions_of_published_sets_are_found(tmp_path, questions_of_sets, way):
    """Short questions too are found in each way, in every set; rows of another set are no false alarms."""
    sets, clean = questions_of_sets
    texts = [text for part in sets.values() for text in part]
    train = planted(texts, way)
    *_, drops, _ = check(tmp_path, train + clean, [{"question": text} for text in texts])
    lines = {drop["line"] - 1 for drop in drops}
    share = WAYS.get(way, WAYS[changed])
    for begin, name in zip(range(0, len(texts), 150), sets, strict=True):
        assert len(lines.intersection(range(begin, begin + 150))) >= share * 150, name
    other = {line for line, text in enumerate(texts) if train[line]["messages"][1]["content"] != text}
    assert len(lines & other) >= share * len(other)
    assert len([line for line in lines if line >= len(texts)]) <= 0.001 * len(clean)


def test_other_sums_are_not_a_test_answer_with_changes(tmp_path):
    """Any number stands for each, so it is the words of a text that tell it from other calculations."""
    answer = "Ben's phone is 1*2 = <<1*2=2>>2 years old.\nAnna's phone is 4*2 = <<4*2=8>>8 years old.\n#### 8"
    others = [
        "He is 112 years old.\nPeter is 112/7 = <<112/7=16>>16 years old.\n"
        "His son is 16+32 = <<16+32=48>>48 years old.\n#### 48",
        "So John is 74/2 = <<74/2=37>>37 years old.\nJames is 37-12 = <<37-12=25>>25 years old.\n#### 25",
    ]
    same = (
        "Each of {0} boxes has {1} red marbles, so all of them together have {2} red marbles, and without "
        "the {3} that Anna lost on her way to school there are {4} left."
    )
    test = [{"answer": answer}, {"answer": same.format(3, 4, 12, 2, 10)}]
    train = [chat("How old is it?", text) for text in [*others, same.format(7, 20, 140, 45, 95)]]
    *_, drops, _ = check(tmp_path, train, test, fields=("answer",))
    assert [(drop["line"], drop["reason"]) for drop in drops] == [(3, "a test row with changes")]


@pytest.mark.parametrize(
    ("train", "found"),
    [
        ("When did Lima become the largest port of Peru?", 1),
        ("Say: When did Sri Lanka become the largest port of Siam and Burma? Think.", 1),
        ("when did lima become the largest port of peru", 1),
        ("When did Lima’s become the largest port of Peru in 1999?", 1),
        ("When did Lima become the second largest port of Peru?", 0),
        ("When did everything become the largest port of Peru?", 0),
        ("When did become the largest port of Peru?", 0),
        ("When did the City That Nobody Knew Very Much About Today become the largest port of Peru?", 0),
        ("Where did Lima become the largest port of Peru?", 0),
        ("Was Lima founded?", 0),
        ("When was Lima founded?", 0),
        ("What was Kepler's contribution to optics?", 1),
        ("What was the Duke of Bedford contribution to optics?", 1),
        ("What was his contribution to optics?", 1),
        ("What was the contribution to optics?", 0),
        ("How many gold coins did 30 sailors hide?", 1),
        ("How many gold coins did twenty-five sailors hide?", 1),
        ("How many gold coins did the sailors hide?", 0),
        ("How many gold coins did Anna hide?", 0),
    ],
)
def test_short_questions_with_other_names_and_numbers(tmp_path, train, found):
    """All words but names and numbers are there in their order; words that fit too many names are no sign."""
    test = [
        "When did Warsaw become the largest port of Poland?", "What was Newton's contribution to optics?",
        "When was Rome founded?", "How many gold coins did 12 sailors hide?",
    ]  # fmt: skip
    rows = [{"question": text} for text in test]
    for settings, expected in (({}, found), ({"near": 0}, 0)):
        done, _, drops, _ = check(tmp_path, [{"question": train}], rows, **settings)
        assert done.ledger.dropped.total() == expected
        assert [drop["reason"] for drop in drops] == ["a test row with changes"] * expected


@pytest.mark.parametrize(
    "text", ["Polar bears live in cold places. ", "When did it become the oldest port of it "]
)
def test_a_row_with_many_places_takes_time_that_grows_with_its_length(tmp_path, text):
    """Places that are looked at and refused cost little each, also thousands of them in one long text."""
    test = [
        {"question": "Polar bears live in"},
        {"question": "When did Rome become the oldest port of Italy?"},
    ]
    begin = time.perf_counter()
    done, *_ = check(tmp_path, [chat("Say it.", text * 6000)], test)
    assert time.perf_counter() - begin < 20  # and not minutes
    assert not done.ledger.dropped


def test_a_question_of_a_few_words_that_some_rows_share_is_found(tmp_path):
    """Of many test rows, three can have the same goal; what one of a hundred has is no sign of any."""
    texts = ["sofa"] * 4 + ["yes"] * 9 + invented(600, 6)
    test = [{"question": text} for text in texts]
    *_, drops, _ = check(tmp_path, [{"question": "Sofa!"}, {"question": "Yes."}], test)
    assert [drop["row"]["question"] for drop in drops] == ["Sofa!"]


@pytest.mark.slow
@needs("gsm8k", "mbpp", "squad", "commonsense_qa")
def test_other_sets_hold_no_test_question_of_gsm8k(tmp_path):
    """At most one of a thousand rows of other published sets is dropped."""
    sets = {"squad": "squad/dev-v2.0.json", "mbpp": "mbpp/mbpp.jsonl"}
    sets["commonsense_qa"] = "commonsense_qa/train_rand_split.jsonl"
    for name, path in sets.items():
        convert_files(Plan(name), [DATA / path], str(tmp_path / "chat.jsonl"))
        done = decontaminate_files([tmp_path / "chat.jsonl"], None, against=[DATA / "gsm8k" / "test.jsonl"])
        assert done.ledger.dropped.total() <= 0.001 * done.ledger.rows_in


QUESTION = "A crate holds 6 jars and Mira has 14 crates in her shop. How many jars does she have?"


@pytest.mark.parametrize(
    "row",
    [
        chat("Hi", "Hello", QUESTION, "84"),
        chat("Solve it.", "Here: " + QUESTION + " It is 84."),
        {"question": QUESTION, "answer": "#### 84"},
        {"instruction": "x", "nested": {"deep": [{"text": QUESTION.upper()}]}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]},
    ],
    ids=["multi-turn", "assistant", "source row", "nested", "parts"],
)
@pytest.mark.parametrize(
    "test", [{"question": QUESTION}, chat("Hi", "Hello", QUESTION, "84")], ids=["source", "chat"]
)
def test_each_kind_of_row_is_searched(tmp_path, row, test):
    """A question is found in all texts of any kind of row."""
    _, kept, (drop,), _ = check(tmp_path, [row], [test])
    assert (kept, drop["reason"], drop["similarity"]) == ([], "a test row verbatim", 1.0)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json", ".jsonl.gz"])
def test_any_format_and_any_unicode_form_is_read(tmp_path, suffix):
    """Full-width letters, capitals, accents in two characters and other quotes are the same tokens."""
    question = "Where’s the café that sold 12 pies to Zoë’s 3 friends on the first of May last year?"
    strange = unicodedata.normalize("NFD", question.upper()).replace("S", "Ｓ").replace("’", " '")
    train, test = tmp_path / f"train{suffix}", tmp_path / f"test{suffix}"
    write_rows([{"question": "A clean one"}, {"question": strange}], str(train))
    write_rows([{"question": question, "id": "a"}], str(test))
    kept, dropped = tmp_path / f"out{suffix}", tmp_path / "drops.jsonl"
    done = decontaminate_files([train], kept, against=[test], dropped=dropped)
    assert [row["question"] for _, row in read_rows(str(kept))] == ["A clean one"]
    assert done.ledger.dropped == {"a test row verbatim": 1}
    (drop,) = read_jsonl(dropped)
    assert (drop.get("line"), drop.get("row_number")) == ((2, None) if "jsonl" in suffix else (None, 2))
    assert drop["row"] == {"question": strange}


def test_a_question_of_a_few_words_counts_with_its_choices_and_alone(tmp_path):
    """Where the question says little, its choices tell it from others."""
    test = [chat("What floats?\n\n(a) a stone\n(b) a cork", "b")]
    train = [{"question": "What floats?"}, chat("Say what floats? A stone or a cork?", "b"), *test]
    assert check(tmp_path, train, test)[1] == train[1:2]


def test_a_drop_names_the_test_row_and_shows_the_overlap(tmp_path):
    """Each drop has both places, the score, the overlapping characters and the row."""
    row = chat("A clean row that stays", "ok"), chat(f"Please: {QUESTION}", "84")
    _, kept, (drop,), (found,) = check(
        tmp_path, row, [{"question": "Why?", "id": "a"}, {"question": QUESTION, "id": "b"}]
    )
    assert kept == [row[0]]
    assert (drop["line"], drop["other"]["line"], drop["other"]["id"]) == (2, 2, "b")
    begin, end = drop["span"]
    assert row[1]["messages"][0]["content"][begin:end] == drop["text"] == QUESTION.rstrip("?")
    assert (drop["part"], drop["row"]) == ("messages.0.content", row[1])
    assert (found["id"], found["other"]["line"], found["rows"]) == ("b", 2, 1)
    assert found["digest"] == question_digest(chat(QUESTION, "84"))


def test_wording_that_all_prompts_share_is_no_overlap(tmp_path):
    """Rows of another tool with long instructions are told apart by the rest of their prompts."""
    long = "You are an expert. Think about it step by step and write the final result behind four marks."
    asked = [chat(f"{long}\n\n{text}\n\n{long}", "x", system=long) for text in invented(40, 3)]
    train, test = asked[:20], asked[20:]
    assert check(tmp_path, train, test)[0].ledger.dropped.total() == 0
    _, _, drops, found = check(tmp_path, [chat(text, "x") for text in invented(40, 3)], test)
    assert [drop["line"] for drop in drops] == list(range(21, 41))
    assert len(found) == 20


def test_a_shared_passage_is_no_overlap(tmp_path):
    """Another question about the same passage is kept, in chat rows of `convert` and in Examples."""
    worded = (
        "Read the passage and answer the question with the shortest span of it that is a full answer.\n\n"
        "Passage:\n%s\n\nQuestion: %s"
    )
    train = [chat(worded % (PASSAGE, "Who built the old bridge over the river?"), "x")]
    asked = "When did the second tower of the castle burn down?"
    for test in (chat(worded % (PASSAGE, asked), "x"), {"question": asked, "context": PASSAGE}):
        assert not check(tmp_path, train, [test])[0].ledger.dropped
        assert check(tmp_path, [{"question": asked}], [test])[0].ledger.dropped
    both = {"question": asked, "context": PASSAGE}
    assert check(tmp_path, train, [both], fields=("question", "context"))[0].ledger.dropped


@pytest.mark.parametrize(
    ("train", "test", "fields", "drops"),
    [
        ({"question": "Is it ice?", "choices": ["water"]}, {"question": "water"}, ("question",), 0),
        ({"question": "Water."}, {"question": "water"}, ("question",), 1),
        ({"question": "Why?", "answer": "18"}, {"question": "How old is it now then?", "answer": "18"},
         ("question", "answer"), 0),
        ({"question": "But where do old cats sleep? I ask."}, {"question": "Where do old cats sleep"},
         ("question",), 1),
        ({"text": "Where do old cats sleep at night? So: Where do old cats sleep"},
         {"question": "Where do old cats sleep?"}, ("question",), 1),
        ({"text": "and then Where do old cats sleep and then"}, {"question": "Where do old cats sleep"},
         ("question",), 1),
        ({"question": "Where do old cats sleep at night?"}, {"question": "Where do old cats sleep?"},
         ("question",), 0),
        ({"question": "Why?", "choices": ["polar bears live in ice houses"]},
         {"question": "Polar bears live in"}, ("question",), 0),
        ({"text": "water, which is a gas for some"}, {"question": "Which is a gas?"}, ("question",), 0),
        ({"text": "steam, which is a gas."}, {"question": "Which is a gas?"}, ("question",), 0),
        ({"text": "of these two, which is a gas?"}, {"question": "Which is a gas?"}, ("question",), 1),
        ({"question": "Where would you get a radio if you do not have one at all"},
         {"question": "Where would you get a pen if you do not have one at all"}, ("question",), 0),
    ],
)  # fmt: skip
def test_short_texts_need_all_their_tokens(tmp_path, train, test, fields, drops):
    """A short question counts whole, and not as a part of a sentence; a few words, if all that is asked."""
    assert check(tmp_path, [train], [test], fields=fields)[0].ledger.dropped.total() == drops


@given(st.integers(0, 10**6), st.sampled_from([0.2, 0.5, 0.8, 1.0]), st.integers(5, 8))
def test_the_overlap_is_the_share_of_n_grams(tmp_path_factory, seed, overlap, ngram):
    """The rows that a loop over sets of n-grams finds are dropped, and no others."""
    draw, folder = random.Random(seed), tmp_path_factory.mktemp("overlap")
    words = [f"v{n}" for n in range(400)]
    test = draw.sample(words, 20)
    cut = draw.randrange(21)
    train = [*test[:cut], *draw.sample(words, 20 - cut)]

    def grams(tokens):
        return {tuple(tokens[at : at + ngram]) for at in range(len(tokens) - ngram + 1)}

    share = len(grams(test) & grams(train)) / len(grams(test))
    done, *_ = check(
        folder, [{"question": " ".join(train)}], [{"question": " ".join(test)}],
        near=0, overlap=overlap, ngram=ngram,
    )  # fmt: skip
    assert done.ledger.dropped.total() == (share >= overlap)


@given(st.lists(st.integers(0, 4), max_size=80), st.lists(st.integers(0, 4), max_size=80))
def test_the_longest_common_subsequence_is_that_of_the_textbook(first, second):
    """The bit-parallel length is that of the usual table."""
    bits = {}
    for place, token in enumerate(first):
        bits[token] = bits.get(token, 0) | 1 << place
    row = [0] * (len(second) + 1)
    for token in first:
        before = row[:]
        for at, other in enumerate(second, 1):
            row[at] = before[at - 1] + 1 if token == other else max(before[at], row[at - 1])
    assert longest_common(bits, len(first), second) == row[-1]


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Where is ice made?\n\n(a) an oven\n(b) a freezer", "Where is ice made?"),
        ("Where is ice made?\nAnswer Choices:\n(a) an oven\n(b) a freezer", "Where is ice made?"),
        ("Write f.\n\nYour code should pass these tests:\n```python\nassert f()\n```", "Write f."),
        ("A. One line only", "A. One line only"),
    ],
)
def test_the_question_is_taken_out_of_its_prompt(text, question):
    """Choices and tests are no part of the question."""
    assert question_in(text) == question


def test_any_number_of_workers_gives_the_same_bytes(tmp_path):
    """Output, drops and found test rows do not depend on the number of workers."""
    questions = invented(200, 4)
    train = write_jsonl(
        tmp_path / "train.jsonl", planted(questions * 5, changed) + planted(questions, inside)
    )
    test = write_jsonl(tmp_path / "test.jsonl", [{"question": text} for text in questions])
    files = []
    for workers in (1, 2):
        paths = [tmp_path / f"{name}{workers}.jsonl" for name in ("out", "drops", "found")]
        decontaminate_files(
            [train], paths[0], against=[test], dropped=paths[1], found=paths[2], workers=workers
        )
        files.append([path.read_bytes() for path in paths])
    assert files[0] == files[1]
    assert len(files[0][1].splitlines()) > 1000


def test_bad_rows_and_paths_are_errors(tmp_path):
    """A test row without the part, and an output in the place of an input, are errors that say so."""
    train = write_jsonl(tmp_path / "train.jsonl", [{"question": "x"}])
    test = write_jsonl(tmp_path / "test.jsonl", [{"question": "x"}, {"text": "y"}])
    with pytest.raises(InputError, match=r"test.jsonl:2: no 'question'.*--fields"):
        decontaminate_files([train], None, against=[test])
    document = tmp_path / "squad.json"
    document.write_text('{"version": "2", "data": [{"title": "x", "paragraphs": []}]}')
    for train_path, test_path in ((document, train), (train, document)):
        with pytest.raises(InputError, match=r"squad.json: row 1: a document.*convert squad --to example"):
            decontaminate_files([train_path], None, against=[test_path])
    for output, dropped in ((None, test), (test, None), (train, None)):
        with pytest.raises(UsageError, match="replace an input"):
            decontaminate_files([train], output, against=[test], dropped=dropped)
    with pytest.raises(UsageError, match="names no part"):
        Overlap(fields=())
