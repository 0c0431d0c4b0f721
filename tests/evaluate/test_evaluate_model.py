"""`dataprep evaluate` with a model in this process: its answers and its loss, against plain transformers."""

import json
import math
import shutil

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("transformers", reason="the extra `train` is not installed")
pytest.importorskip("jinja2", reason="the extra `tokens` is not installed")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, T5Config, T5ForConditionalGeneration

from dataprep.core.errors import FileError, TemplateError, UsageError
from dataprep.evaluate.evaluator import evaluate_file
from dataprep.evaluate.settings import Settings
from tests import tiny_model
from tests.helpers import read_jsonl, write_jsonl
from tests.tiny_model import END, KNOWN

LONG = "What else is there? " * 40
ROWS = [(question, answer) for question, answer in KNOWN.items()]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory with a small Llama that knows some answers by heart."""
    path = tmp_path_factory.mktemp("models") / "tiny-llama"
    words, model = tiny_model.tokenizer(), tiny_model.llama()
    tiny_model.train(model, words)
    words.save_pretrained(path)
    model.save_pretrained(path)
    return path


@pytest.fixture
def rows(tmp_path):
    """Chat rows with the known questions, one of them with another answer than the model's."""
    path = tmp_path / "rows.jsonl"
    lines = []
    for number, (question, answer) in enumerate(ROWS):
        user, assistant = {"role": "user", "content": question}, {"role": "assistant", "content": answer}
        lines.append({"messages": [user, assistant], "id": f"r{number}", "task": "reading"})
    lines[0]["messages"][1]["content"] = "something else"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.medium
def test_thinking_that_the_template_opens_is_no_answer(folder, rows, tmp_path):
    """The mark that the prompt ends with stands before the reply, so a reply without its end says nothing."""
    words = AutoTokenizer.from_pretrained(folder)
    words.chat_template += "{% if add_generation_prompt %}<think>\n{% endif %}"
    model = AutoModelForCausalLM.from_pretrained(folder)
    words.save_pretrained(tmp_path / "thinking")
    model.save_pretrained(tmp_path / "thinking")
    settings = Settings(max_tokens=8)
    evaluate_file(rows, model=tmp_path / "thinking", output=tmp_path / "out.jsonl", settings=settings)
    found = read_jsonl(tmp_path / "out.jsonl")
    assert found
    assert all(row["prediction"].startswith("<think>\n") and not row["extracted"] for row in found)


@pytest.mark.medium
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_model_answers_greedily_whatever_the_batch(folder, rows, tmp_path, batch_size):
    """Answers are those that it learned, in the rows' order, and the metric is theirs."""
    settings = Settings(max_tokens=24, batch_size=batch_size)
    done = evaluate_file(rows, model=folder, output=tmp_path / "out.jsonl", settings=settings)
    assert [row["prediction"] for row in read_jsonl(tmp_path / "out.jsonl")] == list(KNOWN.values())
    exact, _ = done.results[0].figures
    assert (exact.value, done.cut, done.ledger.rows_out) == (0.75, 0, 4)


def test_answers_that_were_cut_off_are_counted(folder, rows):
    """A low score for want of --max-tokens is told as such."""
    assert evaluate_file(rows, model=folder, settings=Settings(max_tokens=2)).cut > 0


def test_a_row_that_does_not_fit_is_failed_and_the_others_are_measured(folder, rows):
    """A prompt longer than the context is counted with its reason, and moves no figure."""
    user, assistant = {"role": "user", "content": LONG}, {"role": "assistant", "content": "x"}
    with rows.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"messages": [user, assistant], "task": "reading"}) + "\n")
    done = evaluate_file(rows, model=folder, settings=Settings(max_tokens=24))
    assert done.ledger.to_json() == {
        "in": 5,
        "out": 4,
        "dropped": {},
        "failed": {"context_length_exceeded": 1},
    }
    loss = evaluate_file(rows, model=folder, settings=Settings(metric="loss"))
    assert loss.ledger.to_json()["failed"] == {"longer than the model's context": 1}


def plain_loss(folder, path):
    """Each row's loss by plain transformers: one row at a time, ids by the template, the answer trained."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    words = AutoTokenizer.from_pretrained(folder)
    found = []
    for row in read_jsonl(path):
        asked = words.apply_chat_template(row["messages"][:-1], tokenize=False, add_generation_prompt=True)
        prompt = words(asked, add_special_tokens=False)["input_ids"]
        said = words(row["messages"][-1]["content"], add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*prompt, *said, END]])
        with torch.inference_mode():
            likely = model(ids).logits[0, :-1].double().log_softmax(-1)
        places = range(len(prompt) - 1, ids.shape[1] - 1)
        found.append((-sum(likely[place, ids[0, place + 1]].item() for place in places), len(places)))
    return found


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_loss_is_a_sum_over_all_trained_tokens(folder, rows, tmp_path, batch_size):
    """It is what plain transformers gives row by row: the mean over tokens, whatever the batch."""
    settings = Settings(metric="loss", batch_size=batch_size)
    done = evaluate_file(rows, model=folder, output=tmp_path / "out.jsonl", settings=settings)
    expected = plain_loss(folder, rows)
    out = read_jsonl(tmp_path / "out.jsonl")
    assert [row["tokens"] for row in out] == [count for _, count in expected]
    assert [row["loss"] for row in out] == pytest.approx(
        [total / count for total, count in expected], rel=1e-4
    )
    loss, perplexity = done.results[0].figures
    mean = sum(total for total, _ in expected) / sum(count for _, count in expected)
    assert loss.value == pytest.approx(mean, rel=1e-4)
    assert perplexity.value == pytest.approx(math.exp(mean), rel=1e-3)
    assert loss.low <= loss.value <= loss.high


def test_the_loss_needs_what_it_needs(rows, tmp_path):
    """A model without a template, with an encoder, or that is a name only, is refused with what to do."""
    bare = tmp_path / "bare"
    tiny_model.tokenizer(None).save_pretrained(bare)
    tiny_model.llama().save_pretrained(bare)
    settings = Settings(metric="loss")
    with pytest.raises(TemplateError, match="no chat template"):
        evaluate_file(rows, model=bare, settings=settings)
    with pytest.raises(UsageError, match="needs a model's directory"):
        evaluate_file(rows, model="no-such-org/no-such-model", settings=settings)
    t5 = tmp_path / "t5"
    tiny_model.tokenizer().save_pretrained(t5)
    sizes = {"d_model": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2, "d_kv": 8}
    T5ForConditionalGeneration(T5Config(vocab_size=330, decoder_start_token_id=0, **sizes)).save_pretrained(
        t5
    )
    with pytest.raises(UsageError, match="expected a causal model"):
        evaluate_file(rows, model=t5, settings=settings)
    assert evaluate_file(rows, model=t5, settings=Settings(max_tokens=4)).ledger.rows_out == 4


def test_a_model_that_is_not_there_is_named(rows, tmp_path):
    """A mistyped path is no download and no traceback."""
    with pytest.raises(FileError, match=r"no config.json in it"):
        evaluate_file(rows, model=tmp_path)
    with pytest.raises(FileError, match="no such directory"):
        evaluate_file(rows, model=tmp_path / "none")
    # Said before the rows are read: bad ones would be blamed.
    other = write_jsonl(tmp_path / "other.jsonl", [{"text": "a", "grade": 1}])
    with pytest.raises(FileError, match="none: no such directory; expected one"):
        evaluate_file(other, model="none")
    with pytest.raises(FileError, match="llama-tiny: the name of a preset, which has no weights"):
        evaluate_file(rows, model="llama-tiny")


def test_no_output_replaces_a_file_of_the_model(folder, rows, tmp_path):
    """Scores can be named as a tokenizer is. An earlier output in the directory may be replaced."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "metrics.jsonl").write_text("{}\n")  # the record of a run
    before = {path: path.read_bytes() for path in copy.iterdir()}
    settings = Settings(metric="loss")
    for name in ("tokenizer.json", "config.json", "metrics.jsonl"):
        with pytest.raises(UsageError, match=f"{name}: the output would replace an input"):
            evaluate_file(rows, model=copy, output=copy / name, settings=settings)
        with pytest.raises(UsageError, match=f"{name}: the rejects would replace an input"):
            evaluate_file(rows, model=copy, rejects=copy / name, settings=settings)
    assert {path: path.read_bytes() for path in copy.iterdir()} == before
    for _ in range(2):
        evaluate_file(rows, model=copy, output=copy / "scored.jsonl", settings=settings)


def test_examples_are_asked_as_convert_words_them(folder, tmp_path, run):
    """The same rows as Examples and as chat rows get the same answers and figures."""
    raw = {"question": "Which letter?", "answer": "It is.\n#### 2"}
    (tmp_path / "raw.jsonl").write_text(json.dumps(raw) + "\n", encoding="utf-8")
    reports = []
    for to in ("chat", "example"):
        made = run("convert", "gsm8k", "raw.jsonl", "--to", to, "--with-id", "-o", f"{to}.jsonl")
        assert made.code == 0, made.err
        settings = Settings(max_tokens=12)
        out = tmp_path / f"{to}.out.jsonl"
        reports.append(evaluate_file(tmp_path / f"{to}.jsonl", model=folder, output=out, settings=settings))
    assert [each.to_json()["results"] for each in reports[:1]] == [reports[1].to_json()["results"]]
    first, second = (read_jsonl(tmp_path / f"{to}.out.jsonl") for to in ("chat", "example"))
    assert first == second


def test_the_loss_without_rows_of_the_training_data(folder, rows, tmp_path):
    """Figures of a loss leave the rows of --contaminated out, too."""
    found = tmp_path / "found.jsonl"
    found.write_text('{"id": "r0"}\n{"id": "r2"}\n', encoding="utf-8")
    settings = Settings(metric="loss", contaminated=str(found))
    done = evaluate_file(rows, model=folder, output=tmp_path / "out.jsonl", settings=settings)
    clean = [row for row in read_jsonl(tmp_path / "out.jsonl") if not row["contaminated"]]
    assert [row["id"] for row in clean] == [f"r{n}" for n in range(len(ROWS)) if n not in (0, 2)]
    mean = sum(row["loss"] * row["tokens"] for row in clean) / sum(row["tokens"] for row in clean)
    assert done.clean[0].figures[0].value == pytest.approx(mean)
