"""What a run of `train` records about its student, and how `evaluate` asks and reads the student by it."""

import json

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("transformers", reason="the extra `train` is not installed")
pytest.importorskip("jinja2", reason="the extra `tokens` is not installed")

import torch

from dataprep.core.errors import InputError
from dataprep.core.ledger import Ledger
from dataprep.datasets.templates import LETTER_SYSTEM
from dataprep.evaluate.evaluator import evaluate_file
from dataprep.evaluate.items import Training, read_items, read_training
from dataprep.evaluate.local_model import encoder_of, template_options
from dataprep.evaluate.settings import Settings
from dataprep.models import loading
from dataprep.models.loading import load
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from tests import tiny_model
from tests.helpers import read_jsonl, write_jsonl

QUESTIONS = [
    ("Which is blue?", ["grass", "sky"], "b"),
    ("Which melts?", ["ice", "iron", "salt"], "a"),
    ("Which flies?", ["owl", "cow"], "a"),
    ("Which is hot?", ["snow", "fire"], "b"),
]
DATED = (
    "{%- if date_string is not defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
    "{{- '<|system|>Today Date: ' + date_string + '<|end|>' }}"
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def examples(path):
    """The questions as Examples."""
    rows = [
        {"id": f"q{n}", "source": "arc", "task": "choice", "question": question, "choices": choices,
         "answer": {"label": label, "text": choices["abc".index(label)]}}
        for n, (question, choices, label) in enumerate(QUESTIONS)
    ]  # fmt: skip
    return write_jsonl(path, rows)


def chats(path, style):
    """The questions as chat rows in an answer style of `convert`."""
    rows = []
    for number, (question, choices, label) in enumerate(QUESTIONS):
        listed = [f"({letter}) {text}" for letter, text in zip("abc", choices, strict=False)]
        place = "abc".index(label)
        answer = {"letter": label, "text": choices[place], "both": listed[place]}[style]
        messages = [
            {"role": "user", "content": question + "\n\n" + "\n".join(listed)},
            {"role": "assistant", "content": answer},
        ]
        if style == "letter":
            messages.insert(0, {"role": "system", "content": LETTER_SYSTEM})
        rows.append({"messages": messages, "id": f"q{number}", "source": "arc"})
    return write_jsonl(path, rows)


def student(path):
    """A small Llama with random weights, its tokenizer and template."""
    tiny_model.tokenizer().save_pretrained(path)
    tiny_model.llama().save_pretrained(path)
    return str(path)


def test_the_record_of_a_run_is_read(tmp_path):
    """Runs of earlier versions, other models and other programs' files say nothing; damage is named."""
    assert read_training(str(tmp_path)) == read_training("owner/name") == Training()
    facts = tmp_path / "facts.json"
    for content, expected in (
        ({"dataprep": "0.1.0", "chat_format": "llama3"}, Training(recorded=True)),
        (
            {"dataprep": "0.1.0", "answer_style": "text", "strip": True},
            Training(style="text", strip=True, recorded=True),
        ),
        (
            {"dataprep": "0.1.0", "answer_style": "new", "date": "1 Jan 2025"},
            Training(date="1 Jan 2025", recorded=True),
        ),
        (
            {"dataprep": "0.1.0", "parts": {"answer": {"prefix": "predict: "}}},
            Training("predict: ", "text", recorded=True),
        ),
        ({"facts": 3}, Training()),
    ):
        facts.write_text(json.dumps(content), encoding="utf-8")
        assert read_training(str(tmp_path)) == expected
    for content in ("{", "\udc80", '{"dataprep": "0", "parts": []}', '{"dataprep": "0", "strip": "yes"}'):
        facts.write_bytes(content.encode("utf-8", "surrogateescape"))
        with pytest.raises(InputError, match=r"facts.json: damaged"):
            read_training(str(tmp_path))


def asked(path, **training):
    """The messages before each answer."""
    ledger = Ledger()
    return [item.asked for item in read_items(str(path), ledger, None, training=Training(**training))]


def test_questions_are_worded_as_in_training(tmp_path):
    """Chat rows and Examples are asked in the same words; without a record as `convert` words them."""
    expected = "predict: Which is blue?\nAnswer Choices:\n(a) grass\n(b) sky"
    rows, chat = examples(tmp_path / "examples.jsonl"), chats(tmp_path / "chat.jsonl", "letter")
    for path in (rows, chat):
        assert asked(path, prefix="predict: ")[0] == [{"role": "user", "content": expected}]
    given = [{"messages": [{"role": "user", "content": expected}, {"role": "assistant", "content": "sky"}]}]
    path = write_jsonl(tmp_path / "asked.jsonl", [given[0] | {"task": "choice"}])
    assert asked(path, prefix="predict: ")[0] == [{"role": "user", "content": expected}]
    assert asked(rows, style="letter")[0][0] == {"role": "system", "content": LETTER_SYSTEM}
    assert asked(rows, style="letter") == asked(chat)
    assert asked(rows, style="text") == asked(rows) != asked(rows, style="letter")
    stripped = Training(strip=True).given([{"role": "user", "content": " a\n"}])
    assert stripped == [{"role": "user", "content": "a"}]


@pytest.mark.medium
def test_a_student_of_texts_is_asked_and_read_as_it_was_trained(tmp_path):
    """With `--answer-style text` a right student scores 100 %, on chat rows and on Examples."""
    rows = chats(tmp_path / "rows.jsonl", "text")
    options = TrainOptions(
        model=student(tmp_path / "model"), steps=120, batch_size=4, learning_rate=0.01, save_every=0
    )
    run = train(rows, output=tmp_path / "run", options=options).path
    facts = json.loads((run / "facts.json").read_text("utf-8"))
    assert {"answer_style": "text", "strip": False, "date": None}.items() <= facts.items()
    done = evaluate_file(rows, model=run, settings=Settings(max_tokens=8), output=tmp_path / "out.jsonl")
    assert [row["extracted"] for row in read_jsonl(tmp_path / "out.jsonl")] == ["b", "a", "a", "b"]
    assert (done.results[0].figures[0].value, done.warnings()) == (1.0, [])
    # Pieces of prompt that the student has not learnt do not matter here: a system message of `convert`.
    assert evaluate_file(examples(tmp_path / "e.jsonl"), model=run, settings=Settings(max_tokens=8)).results


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["decoder", pytest.param("encoder-decoder", marks=pytest.mark.slow)])
def test_a_student_of_rationales_is_asked_with_its_prefix(tmp_path, monkeypatch, kind):
    """It answers after `predict: ` only: chat rows and Examples give the same answers, all of them right."""
    judged = {"rationales": {"t": "Because."}, "status": {"t": "ok"}}
    examples(tmp_path / "examples.jsonl")
    rows = [row | judged for row in read_jsonl(tmp_path / "examples.jsonl")]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    if kind == "decoder":
        model = student(tmp_path / "model")
    else:
        sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
        monkeypatch.setitem(loading._T5, "t5-tiny", sizes)
        model = "t5-tiny"
    options = TrainOptions(model=model, steps=150, batch_size=4, learning_rate=0.01, save_every=0)
    run = train(data, output=tmp_path / "run", options=options).path
    for path in (tmp_path / "examples.jsonl", chats(tmp_path / "chat.jsonl", "both")):
        done = evaluate_file(path, model=run, settings=Settings(max_tokens=8), output=tmp_path / "out.jsonl")
        assert done.results[0].figures[0].value == 1.0, read_jsonl(tmp_path / "out.jsonl")


def test_a_template_that_writes_today_s_date_gets_that_of_the_training(tmp_path):
    """The student is asked with the date that it learnt, in its answers and its loss; a flag wins."""
    folder = tmp_path / "model"
    tiny_model.tokenizer(DATED).save_pretrained(folder)
    tiny_model.llama().save_pretrained(folder)
    rows = chats(tmp_path / "rows.jsonl", "both")
    (folder / "facts.json").write_text('{"dataprep": "0.1.0", "date": "26 Jul 2024"}', encoding="utf-8")
    recorded = read_training(str(folder))
    model = load(str(folder), template_options(recorded))
    prompt = model.decode(model.prompt([{"role": "user", "content": "Hi"}]), special=True)
    assert "Today Date: 26 Jul 2024" in prompt
    encoder = encoder_of(str(folder), "template", recorded)
    (encoded,) = encoder.encode_messages(
        [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "x"}]]
    )
    assert model.decode(encoded.ids, special=True).startswith(prompt)
    for settings in (
        Settings(metric="loss"),
        Settings(metric="loss", date="1 Jan 2025"),
        Settings(max_tokens=2),
    ):
        assert evaluate_file(rows, model=folder, settings=settings).ledger.rows_out == 4
    own = DATED.replace(
        "strftime_now('%d %b %Y')", "strftime_now('%d %b %Y') if strftime_now is defined else '1 Jan 2000'"
    )
    (folder / "chat_template.jinja").write_text(own, encoding="utf-8")
    for record, date in (
        ('{"dataprep": "0.1.0"}', "1 Jan 2000"),
        ('{"dataprep": "0.1.0", "date": "2 Feb 2024"}', "2 Feb 2024"),
    ):
        (folder / "facts.json").write_text(record, encoding="utf-8")
        model = load(str(folder), template_options(read_training(str(folder))))
        prompt = model.decode(model.prompt([{"role": "user", "content": "Hi"}]), special=True)
        assert f"Today Date: {date}" in prompt
    (folder / "facts.json").unlink()
    assert evaluate_file(rows, model=folder, settings=Settings(metric="loss", date="1 Jan 2025")).results


def test_a_template_with_the_clock_alone_gets_the_date_too():
    """A template without `date_string` asks for the time by `strftime_now`."""
    options = template_options(Training(date="26 Jul 2024"))
    assert options["date_string"] == options["strftime_now"]("%d %b %Y") == "26 Jul 2024"
    assert template_options(Training()) == {}
