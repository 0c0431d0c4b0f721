"""A model in this process as a teacher: against a plain loop over single prompts."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("transformers", reason="the extra `train` is not installed")

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from dataprep.collect.collector import collect_files
from dataprep.core.errors import FileError, MissingDependencyError, UsageError
from dataprep.models.decoding import Decoder, Decoding, Draw, Row, Stopped
from dataprep.models.loading import Model, load
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher import local
from dataprep.teacher.generate import status_of_requests
from dataprep.teacher.local import Answers, generate_locally, pieces_of
from dataprep.teacher.settings import Pacing
from tests import tiny_model
from tests.helpers import read_jsonl
from tests.tiny_model import END, KNOWN, messages

LETTER, BLUE, GREEN, HELLO = KNOWN
STRANGE = [f"{'What else is there? ' * (number % 5)}{number}" for number in range(9)]


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A directory with a small Llama that knows some answers by heart."""
    path = tmp_path_factory.mktemp("models") / "tiny-llama"
    words, model = tiny_model.tokenizer(), tiny_model.llama()
    tiny_model.train(model, words)
    return saved(path, model, words)


@pytest.fixture(scope="session")
def wild(tmp_path_factory):
    """A directory with a Llama that has learned nothing, and so says anything."""
    path = tmp_path_factory.mktemp("models") / "wild-llama"
    return saved(path, tiny_model.llama(), tiny_model.tokenizer())


@pytest.fixture(scope="session")
def unpadded(tmp_path_factory):
    """The same without a token for padding, so that the one that ends an answer fills up prompts."""
    words = tiny_model.tokenizer()
    words.pad_token = None
    path = tmp_path_factory.mktemp("models") / "unpadded-llama"
    return saved(path, tiny_model.llama(pad_token_id=None), words)


@pytest.fixture(scope="session")
def model(folder):
    """The first, loaded."""
    return load(str(folder))


def saved(path, weights, words):
    """The path, with a model and its tokenizer in it."""
    weights.save_pretrained(path)
    words.save_pretrained(path)
    return path


def requests_in(folder, questions, choices=(), name="requests.jsonl"):
    """A file of requests, each a question's text or a list of messages."""
    rows = [
        {
            "id": f"q{number}",
            "messages": messages(each) if isinstance(each, str) else each,
            **({"choices": list(choices)} if choices else {}),
        }
        for number, each in enumerate(questions)
    ]
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def ask(folder, questions, where, *, batch_size=4, choices=(), name="responses.jsonl", **settings):
    """The lines of a journal by id, after the model in ``folder`` was asked."""
    settings = {"max_tokens": 24, **settings}
    journal = where / name
    requests = requests_in(where, questions, choices)
    generate_locally(requests, journal, GenerationConfig(str(folder), **settings), batch_size=batch_size)
    lines = read_jsonl(journal)
    return {(line["id"], line["sample"]): line for line in lines}


def prompt_of(model, question):
    """A question as the tokens of a prompt, by transformers itself."""
    return model._tokenizer.apply_chat_template(messages(question), add_generation_prompt=True)["input_ids"]


def greedy(model, prompt, most):
    """The oracle: one prompt, no batch, no cache. The likeliest tokens, and all log-probabilities."""
    tokens, found = list(prompt), []
    with torch.inference_mode():
        for _ in range(most):
            found.append(model.weights(torch.tensor([tokens])).logits[0, -1].log_softmax(-1))
            tokens.append(int(found[-1].argmax()))
            if tokens[-1] == END:
                break
    return tokens[len(prompt) :], found


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["folder", "wild", "unpadded"])
def test_greedy_answers_are_those_of_a_plain_loop_whatever_the_batch(request, tmp_path, name):
    """Padding, masks and positions are right: an answer does not depend on what else is in its batch."""
    folder = request.getfixturevalue(name)
    model = load(str(folder))
    questions = [*KNOWN, *STRANGE]
    together = ask(folder, questions, tmp_path, batch_size=4, name="4.jsonl", max_tokens=16)
    alone = ask(folder, questions, tmp_path, batch_size=1, name="1.jsonl", max_tokens=16)
    reasons = set()
    for number, question in enumerate(questions):
        prompt = prompt_of(model, question)
        tokens, _ = greedy(model, prompt, 16)
        line = together[f"q{number}", 0]
        ended = tokens[-1] == END
        assert line["response"] == alone[f"q{number}", 0]["response"] == model.decode(tokens)
        assert line["finish_reason"] == ("stop" if ended else "length")
        assert line["usage"] == {
            "prompt_tokens": len(prompt),
            "completion_tokens": len(tokens),
            "total_tokens": len(prompt) + len(tokens),
        }
        reasons.add(line["finish_reason"])
    if name == "folder":
        known = [together[f"q{number}", 0] for number in range(len(KNOWN))]
        assert [line["response"] for line in known[:3]] == list(KNOWN.values())[:3]
        assert reasons == {"stop", "length"}


def test_log_probabilities_are_those_of_a_plain_loop(folder, model, tmp_path):
    """The numbers are the model's own, of the tokens that stand in the answer, and of their alternatives."""
    found = ask(folder, [*KNOWN, *STRANGE], tmp_path, logprobs=3)
    for number, question in enumerate([*KNOWN, *STRANGE]):
        tokens, likely = greedy(model, prompt_of(model, question), 24)
        line = found[f"q{number}", 0]
        said = tokens[:-1] if tokens[-1] == END else tokens
        assert len(line["logprobs"]) == len(said)
        assert "".join(entry["token"] for entry in line["logprobs"]) == line["response"]
        for place, (entry, token) in enumerate(zip(line["logprobs"], said, strict=True)):
            assert entry["logprob"] == pytest.approx(float(likely[place][token]), abs=1e-4)
            expected = Counter()
            for value, other in zip(*likely[place].topk(3), strict=True):
                text = entry["token"] if int(other) == token and entry["token"] else None
                expected[text or model.text_of(int(other), place == 0)] += math.exp(value)
            assert {text: math.exp(value) for text, value in entry["top"].items()} == pytest.approx(
                expected, abs=1e-4
            )


def test_multiple_choice_has_the_letters_at_the_first_token(folder, model, tmp_path):
    """Soft labels need each letter's probability, also of those that are not among the likeliest."""
    line = ask(folder, [LETTER], tmp_path, choices=["grass", "sky", "sand"])["q0", 0]
    _, likely = greedy(model, prompt_of(model, LETTER), 1)
    (entry,) = line["logprobs"]
    assert entry["token"] == "b" == line["response"]
    assert next(iter(entry["top"])) == "b"
    for letter in "abc":
        expected = sum(
            math.exp(likely[0][token])
            for token in range(len(likely[0]))
            if model.decode([token]).strip(" (").lower() == letter
        )
        mass = sum(
            math.exp(value) for text, value in entry["top"].items() if text.strip(" (").lower() == letter
        )
        assert mass == pytest.approx(expected, rel=1e-3)
    assert all(text.strip(" (").lower() in ("a", "b", "c") for text in entry["top"])


def test_a_letter_further_on_has_its_alternatives_too(folder, tmp_path):
    """In 'The answer is (b).' the letter is the sixth token, and that is where its alternatives are."""
    line = ask(folder, [BLUE], tmp_path, choices=["grass", "sky", "sand"])["q0", 0]
    assert [entry["token"] for entry in line["logprobs"]] == ["The", " answer", " is", " (", "b", ")."]
    assert [bool(entry["top"]) for entry in line["logprobs"]] == [True, False, False, False, True, False]
    top = line["logprobs"][4]["top"]
    assert {"a", "b", "c", "A"} <= top.keys()
    assert max(top, key=top.get) == "b"


@pytest.mark.parametrize("question", [LETTER, BLUE])
def test_collect_makes_soft_labels_of_it(folder, model, tmp_path, question):
    """From a local model to a probability a choice: those that the model gives to the letters' tokens."""
    choices = ["grass", "sky", "sand"]
    ask(folder, [question], tmp_path, choices=choices)
    example = {"id": "q0", "task": "choice", "question": question, "choices": choices, "answer_label": "b"}
    (tmp_path / "examples.jsonl").write_text(json.dumps(example | {"answer": "sky"}) + "\n")
    out = tmp_path / "probs.jsonl"
    collect_files([tmp_path / "responses.jsonl"], tmp_path / "examples.jsonl", out, to="choice-probs")
    (row,) = read_jsonl(out)
    tokens, likely = greedy(model, prompt_of(model, question), 24)
    place = [model.decode([token]) for token in tokens].index("b")
    masses = Counter()
    for token, value in enumerate(likely[place]):
        masses[model.decode([token]).strip(" (").lower()] += math.exp(value)
    total = sum(masses[letter] for letter in "abc")
    assert row["probs"] == pytest.approx({letter: masses[letter] / total for letter in "abc"}, rel=1e-3)
    assert row["outside"] == pytest.approx(1 - total, abs=1e-4)


def test_alternatives_and_letters_stand_together(folder, tmp_path):
    """With --logprobs every token has its alternatives, and the letters are added where one stands."""
    line = ask(folder, [GREEN], tmp_path, choices=["grass", "sky", "sand"], logprobs=2)["q0", 0]
    sizes = [len(entry["top"]) for entry in line["logprobs"]]
    place = [entry["token"] for entry in line["logprobs"]].index("a")
    assert "".join(entry["token"] for entry in line["logprobs"]) == KNOWN[GREEN]
    assert sizes[0] > 2 < sizes[place]
    assert {size for number, size in enumerate(sizes) if number not in (0, place)} <= {1, 2}


def test_a_token_without_choices_or_logprobs_has_none(folder, tmp_path):
    """What nobody asked for does not swell the journal."""
    assert ask(folder, [LETTER], tmp_path)["q0", 0]["logprobs"] is None


def test_pieces_join_to_the_text(model):
    """A character in several tokens comes with the last of them; nothing is lost or doubled."""
    for text in ("Hello, hé, 你好!", "你", " a  b\n", "né", ""):
        tokens = model._encode(text, special=False)
        pieces = pieces_of(model, tokens)
        assert "".join(pieces) == text
        assert len(pieces) == len(tokens)
    assert pieces_of(model, model._encode("你", special=False)[:2]) == ["", "\N{REPLACEMENT CHARACTER}"]


def test_letters_are_found_with_and_without_a_space(model):
    """Every token that is a letter is one of its letter's, and none is another's."""
    answers = Answers(model)
    assert sorted(model.decode([token]) for token in answers.naming("a")) == ["A", "a"]
    assert sorted(model.decode([token]) for token in answers.naming("b")) == ["B", "b"]
    assert not set(answers.naming("a")) & set(answers.naming("b"))


def test_a_tokenizer_that_marks_words_has_both_letters(model):
    """Those of Llama 2 and others have a token for a letter that begins a word, and one for another."""
    words = tiny_model.word_tokenizer(["▁a", "a", "▁A", "▁(", "a)", "▁an", "swer", ":", "▁"])
    marked = Model(model.weights, words)
    assert sorted(words.convert_ids_to_tokens(Answers(marked).naming("a"))) == ["a", "▁A", "▁a"]
    tokens = words.convert_tokens_to_ids(["▁an", "swer", ":", "▁a", "▁(", "a"])
    assert pieces_of(marked, tokens) == ["an", "swer", ":", " a", " (", "a"]


@pytest.mark.slow
def test_a_seed_makes_samples_reproducible_whatever_the_batch(wild, tmp_path):
    """The same command gives the same samples, resumed or not; another seed gives others."""
    settings = {"temperature": 1.3, "n": 3}
    first = ask(wild, STRANGE, tmp_path, name="1.jsonl", **settings, extra={"seed": 1})
    again = ask(wild, STRANGE, tmp_path, name="2.jsonl", batch_size=1, **settings, extra={"seed": 1})
    other = ask(wild, STRANGE, tmp_path, name="3.jsonl", **settings, extra={"seed": 2})
    texts = {key: line["response"] for key, line in first.items()}
    assert texts == {key: line["response"] for key, line in again.items()}
    assert texts != {key: line["response"] for key, line in other.items()}
    assert len(texts) == 3 * len(STRANGE)
    assert len({texts["q0", sample] for sample in range(3)}) == 3


def test_without_a_seed_samples_differ(wild, tmp_path):
    """Several answers are several, also in a second run."""
    runs = [ask(wild, STRANGE[:1], tmp_path, name=f"{n}.jsonl", temperature=1.3, n=8) for n in (1, 2)]
    first, again = ([line["response"] for line in run.values()] for run in runs)
    assert first != again
    # Two short answers may be the same by chance, eight are not.
    assert len(set(first)) > 1
    assert len(set(again)) > 1


def test_usage_counts_the_tokens_of_all_samples(folder, model, tmp_path):
    """The prompt is counted once, the answers all."""
    lines = ask(folder, STRANGE[:1], tmp_path, temperature=1.3, n=3, logprobs=1)
    usage = lines["q0", 0]["usage"]
    lengths = [len(line["logprobs"]) + (line["finish_reason"] == "stop") for line in lines.values()]
    assert usage["prompt_tokens"] == len(prompt_of(model, STRANGE[0]))
    assert usage["completion_tokens"] == sum(lengths)
    assert lines["q0", 1]["usage"] is None


def test_tokens_are_drawn_by_their_probability():
    """What is drawn has the distribution that it is drawn from, and a token without any is never drawn."""
    wanted, count = [0.5, 0.0, 0.3, 0.2], 4_000
    scores = torch.tensor([wanted]).log().repeat(count, 1)
    drawn = Draw([f"{number}" for number in range(count)])(None, scores)
    assert torch.isfinite(drawn).sum(-1).tolist() == [1] * count
    shares = torch.bincount(drawn.argmax(-1), minlength=4) / count
    assert shares.tolist() == pytest.approx(wanted, abs=0.03)
    assert shares[1] == 0


def test_top_k_and_top_p_narrow_the_choice(wild, tmp_path):
    """With one candidate left, config is greedy."""
    plain = ask(wild, STRANGE, tmp_path, name="plain.jsonl")
    for number, narrow in enumerate(({"top_k": 1}, {"top_p": 1e-6})):
        found = ask(wild, STRANGE, tmp_path, name=f"{number}.jsonl", temperature=2.0, extra=narrow)
        assert {key: line["response"] for key, line in found.items()} == {
            key: line["response"] for key, line in plain.items()
        }


@pytest.mark.slow
def test_a_penalty_for_repetition_does_not_depend_on_the_batch(wild, tmp_path):
    """The tokens that fill up a shorter prompt are not held against its answer."""
    extra = {"repetition_penalty": 1.5}
    alone = ask(wild, STRANGE, tmp_path, batch_size=1, name="1.jsonl", max_tokens=40, extra=extra)
    together = ask(wild, STRANGE, tmp_path, batch_size=9, name="9.jsonl", max_tokens=40, extra=extra)
    plain = ask(wild, STRANGE, tmp_path, name="plain.jsonl", max_tokens=40)
    for key, line in alone.items():
        assert line["response"] == together[key]["response"]
    assert any(alone[key]["response"] != plain[key]["response"] for key in alone)


def test_the_model_s_own_settings_hold_where_none_are_given(folder, tmp_path):
    """A temperature below 0 on the command line leaves it to generation_config.json."""
    drawing = tmp_path / "drawing"
    shutil.copytree(folder, drawing)
    settings = json.loads((drawing / "generation_config.json").read_text())
    (drawing / "generation_config.json").write_text(
        json.dumps(settings | {"do_sample": True, "temperature": 1.5, "top_k": 40, "num_beams": 3})
    )
    greedy_lines = ask(folder, STRANGE, tmp_path, name="1.jsonl", temperature=None)
    drawn = ask(drawing, STRANGE, tmp_path, name="2.jsonl", temperature=None, n=2)
    assert any(drawn[key]["response"] != line["response"] for key, line in greedy_lines.items())
    with pytest.raises(UsageError, match="--temperature"):
        ask(folder, STRANGE, tmp_path, name="3.jsonl", temperature=None, n=2)


def test_a_model_without_a_template_gets_plain_lines(model, tmp_path):
    """The documented layout, for models that were never taught a chat's."""
    folder = saved(tmp_path / "plain", model.weights, tiny_model.tokenizer(template=None))
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    plain = load(str(folder))
    assert plain.decode(plain.prompt(chat)) == "system: Be brief.\nuser: Why?\nassistant:"
    line = ask(folder, [chat], tmp_path)["q0", 0]
    assert line["usage"]["prompt_tokens"] == len(plain.prompt(chat))


def test_the_template_gets_its_variables(model, tmp_path):
    """What switches thinking off in some models reaches their template."""
    words = tiny_model.tokenizer("{{ messages[0].content }}{% if enable_thinking %}<think>{% endif %}")
    folder = saved(tmp_path / "thinking", model.weights, words)
    thinking = load(str(folder), {"enable_thinking": True})
    assert thinking.decode(thinking.prompt(messages("Why?"))) == "Why?<think>"


def test_the_template_gets_the_tools(model, tmp_path):
    """Those of all requests, or the request's own, in the prompt that transformers writes."""
    template = (
        "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}{{ messages[0].content }}"
        "{% if messages[1:] %}{{ messages[1].tool_calls[0].function.arguments }}{% endif %}"
    )
    words = tiny_model.tokenizer(template)
    folder = saved(tmp_path / "tools", model.weights, words)
    first, second = ({"type": "function", "function": {"name": name}} for name in ("first", "second"))
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": " {1}"}}]}
    rows = [
        {"id": "a", "messages": messages("Why?")},
        {"id": "b", "messages": messages("Why?"), "tools": [second]},
        {"id": "c", "messages": messages("Why?"), "tools": []},
        {"id": "d", "messages": [*messages("Why?"), call, {"role": "tool", "content": "x"}]},
    ]  # fmt: skip
    (tmp_path / "requests.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    config = GenerationConfig(str(folder), max_tokens=2, tools=[first])
    generate_locally(tmp_path / "requests.jsonl", tmp_path / "responses.jsonl", config)
    for line in read_jsonl(tmp_path / "responses.jsonl"):
        row = next(row for row in rows if row["id"] == line["id"])
        tools = row.get("tools", [first]) or None
        prompt = words.apply_chat_template(row["messages"], tools=tools, add_generation_prompt=True)
        assert line["usage"]["prompt_tokens"] == len(prompt["input_ids"])
    assert load(str(folder)).prompt(rows[3]["messages"], tools=[first]) == prompt["input_ids"]


def t5():
    """A model with an encoder, and relative positions."""
    sizes = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4}
    ids = {"pad_token_id": 0, "eos_token_id": END, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(T5Config(vocab_size=330, **sizes, **ids))


def bart():
    """A model with an encoder, and learned positions."""
    sizes = {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 128}
    layers = {
        f"{part}_{what}": 2 for part in ("encoder", "decoder") for what in ("layers", "attention_heads")
    }
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": END, "decoder_start_token_id": END}
    return BartForConditionalGeneration(BartConfig(vocab_size=330, **sizes, **layers, **ids))


@pytest.mark.parametrize("make", [t5, bart])
def test_an_encoder_and_decoder_answers_too(tmp_path, make):
    """Its answers, in batches, are those that transformers gives for single prompts."""
    torch.manual_seed(1)
    weights = make().eval()
    folder = saved(tmp_path / "model", weights, tiny_model.tokenizer(template=None))
    lines = ask(folder, STRANGE, tmp_path, logprobs=1, max_tokens=8)
    model = load(str(folder))
    assert model.context == (None if make is t5 else 128)
    for number, question in enumerate(STRANGE):
        prompt = torch.tensor([model.prompt(messages(question))])
        plain = {"do_sample": False, "num_beams": 1, "max_length": None, "max_new_tokens": 8}
        tokens = weights.generate(prompt, **plain)[0, 1:]
        line = lines[f"q{number}", 0]
        ended = int(tokens[-1]) == END
        assert line["response"] == model.decode(tokens[: len(tokens) - ended].tolist())
        assert line["finish_reason"] == ("stop" if ended else "length")
        start = torch.tensor([[weights.config.decoder_start_token_id]])
        with torch.inference_mode():
            likely = weights(prompt, decoder_input_ids=start).logits[0, -1].log_softmax(-1)
        if line["logprobs"]:
            assert line["logprobs"][0]["logprob"] == pytest.approx(float(likely.max()), abs=1e-4)


def test_a_prompt_that_does_not_fit_fails_and_an_answer_gets_what_is_left(tmp_path):
    """A model with learned positions would break past its context; others would babble."""
    torch.manual_seed(2)
    sizes = {"n_positions": 40, "n_embd": 32, "n_layer": 2, "n_head": 4}
    ids = {"eos_token_id": END, "bos_token_id": END, "pad_token_id": 0}
    weights = GPT2LMHeadModel(GPT2Config(vocab_size=330, **sizes, **ids))
    folder = saved(tmp_path / "gpt2", weights, tiny_model.tokenizer())
    questions = ["x" * 10, "x" * 30, "x" * 36, "x" * 37, "x" * 60]  # three tokens are the template's
    lines = ask(folder, questions, tmp_path, max_tokens=20)
    used = [lines[f"q{number}", 0]["usage"]["completion_tokens"] for number in range(3)]
    assert used == [20, 7, 1]
    for number in (3, 4):
        error = lines[f"q{number}", 0]["error"]
        assert error["type"] == "context_length_exceeded"
        assert not error["retryable"]
        assert "40" in error["message"]


def test_messages_that_the_template_refuses_are_a_failed_row(folder, tmp_path):
    """One odd request does not stop the others."""
    odd = [{"role": "developer", "content": "Be brief."}, *messages(LETTER)]
    lines = ask(folder, [LETTER, odd, LETTER], tmp_path)
    assert lines["q1", 0]["error"]["type"] == "chat_template"
    assert "no developers here" in lines["q1", 0]["error"]["message"]
    assert [lines[key, 0]["response"] for key in ("q0", "q2")] == ["b", "b"]


@pytest.mark.medium
@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 99 bytes"),
    ],
)
def test_out_of_memory_is_tried_one_by_one_and_then_a_failed_row(folder, tmp_path, monkeypatch, error):
    """A batch that is too large costs time, not answers; a request that is too large says what to do."""
    longest = max(STRANGE, key=len)
    sizes = []
    generate = Decoder._generate

    def tight(self, rows, watched):
        sizes.append(len(rows))
        if len(rows) > 1 or len(rows[0].prompt) == len(self._model.prompt(messages(longest))):
            raise error
        return generate(self, rows, watched)

    monkeypatch.setattr(Decoder, "_generate", tight)
    lines = ask(folder, STRANGE, tmp_path, batch_size=9)
    failed = [line for line in lines.values() if line["error"]]
    assert sizes[0] == 9
    assert sizes.count(1) == 9
    assert 1 <= len(failed) < len(STRANGE)
    assert failed[0]["error"]["type"] == "out_of_memory"
    assert "--batch-size" in failed[0]["error"]["message"]
    assert not failed[0]["error"]["retryable"]


def test_numbers_that_are_none_are_no_answer(folder, tmp_path):
    """Half-precision weights that overflow would otherwise answer with the first token, over and over."""
    broken = load(str(folder)).weights
    with torch.no_grad():
        broken.lm_head.weight[7] = torch.nan
    nan = saved(tmp_path / "nan", broken, tiny_model.tokenizer())
    line = ask(nan, [LETTER], tmp_path)["q0", 0]
    assert line["error"]["type"] == "generation_failed"
    assert "NaN" in line["error"]["message"]


def test_a_tokenizer_with_words_that_the_model_lacks_is_a_failed_row(tmp_path):
    """A tokenizer of another model is noticed before the model reads past its table."""
    folder = saved(tmp_path / "small", tiny_model.llama(vocab_size=290), tiny_model.tokenizer())
    lines = ask(folder, ["x", "Is it grass, green grass"], tmp_path)
    assert lines["q0", 0]["error"] is None
    assert lines["q1", 0]["error"]["type"] == "tokenizer"


def remove(*patterns):
    """Damage: files that are gone."""

    def damage(folder):
        for pattern in patterns:
            for path in folder.glob(pattern):
                path.unlink()

    return damage


def cut(folder):
    """Damage: half of the weights."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lack(folder):
    """Damage: a layer that is not in the file."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))


def garble(folder):
    """Damage: settings that are no JSON."""
    (folder / "config.json").write_text("{")


def other_kind(folder):
    """Damage: a model that looks at pictures."""
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))


@pytest.mark.medium
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("*"), "config.json"),
        (remove("tokenizer*"), "tokenizer"),
        (remove("*.safetensors"), "safetensors"),
        (cut, "the model in it cannot be loaded"),
        (lack, "lacks 9 of its weights, such as model.layers.2"),
        (garble, "cannot be loaded"),
        (other_kind, "does not generate text"),
    ],
)
def test_a_damaged_model_is_refused_before_anything_is_asked(folder, tmp_path, damage, message):
    """No answer is made of random numbers, nothing is written, and the message says what is wrong."""
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    damage(broken)
    journal = tmp_path / "responses.jsonl"
    with pytest.raises((FileError, UsageError), match=message) as caught:
        generate_locally(requests_in(tmp_path, STRANGE), journal, GenerationConfig(str(broken)))
    assert str(broken) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not journal.exists()


@pytest.mark.parametrize("name", ["./models/none", "models/a/b", "/none", "file.txt"])
def test_a_directory_that_is_not_there_is_named(tmp_path, monkeypatch, name):
    """A mistyped path is not looked for on the hub."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(FileError, match="expected"):
        generate_locally(requests_in(tmp_path, STRANGE), tmp_path / "r.jsonl", GenerationConfig(name))


@pytest.mark.slow
def test_a_name_that_the_hub_does_not_give_is_said_once(run, tmp_path):
    """Without a network, or with a mistyped name, the message says both that it may be."""
    requests_in(tmp_path, STRANGE)
    options = ("--engine", "transformers", "--model", "nobody/nothing")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = run("generate", "requests.jsonl", "-o", "responses.jsonl", *options, env=environment)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith(
        "error: --model nobody/nothing: no such directory, and not available on the Hub"
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"n": 2},
        {"extra": {"stop": ["x"]}},
        {"extra": {"top_p": 0}},
        {"extra": {"top_p": "0.5"}},
        {"extra": {"top_k": 1.5}},
        {"extra": {"top_k": True}},
        {"extra": {"seed": "1"}},
        {"extra": {"repetition_penalty": -1}},
        {"extra": {"chat_template_kwargs": []}},
    ],
)
def test_settings_that_cannot_be_served_are_refused(folder, tmp_path, settings):
    """Nothing is asked with a setting that would be ignored."""
    with pytest.raises(UsageError, match=r"--param|--n"):
        ask(folder, STRANGE, tmp_path, **settings)


def test_a_missing_package_names_its_extra(folder, tmp_path, monkeypatch):
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"dataprep\[train\]"):
        ask(folder, STRANGE, tmp_path)


def test_a_second_run_asks_nothing_and_loads_nothing(folder, tmp_path, monkeypatch):
    """The journal is the same as with a server: what it holds is not made again."""
    first = ask(folder, [*KNOWN], tmp_path)
    journal, requests = tmp_path / "responses.jsonl", tmp_path / "requests.jsonl"
    before = journal.read_bytes()
    monkeypatch.setattr(local, "load", lambda *_: pytest.fail("it was loaded"))
    report = generate_locally(requests, journal, GenerationConfig(str(folder), max_tokens=24))
    assert (report.progress.sent, report.ledger.rows_out) == (0, len(KNOWN))
    assert journal.read_bytes() == before
    assert first["q0", 0]["teacher"] == "tiny-llama"
    manifest = json.loads((tmp_path / "responses.manifest.json").read_text())
    assert manifest["endpoint"] == manifest["model"] == folder.name  # no absolute path


def test_a_limit_and_the_rest(folder, tmp_path):
    """--limit asks so many, and the next run the others."""
    requests, journal = requests_in(tmp_path, [*KNOWN]), tmp_path / "responses.jsonl"
    config = GenerationConfig(str(folder), max_tokens=24)
    report = generate_locally(requests, journal, config, pacing=Pacing(limit=3))
    assert report.progress.sent == 3
    assert status_of_requests(requests, journal, config).ledger.dropped["not asked yet"] == 1
    assert generate_locally(requests, journal, config).progress.sent == 1
    assert Counter(line["id"] for line in read_jsonl(journal)) == {f"q{number}": 1 for number in range(4)}


def sizes_of_batches(monkeypatch):
    """A list that every batch's size goes into."""
    sizes, generate = [], Decoder._generate

    def noted(self, rows, watched):
        sizes.append(len(rows))
        generate(self, rows, watched)

    monkeypatch.setattr(Decoder, "_generate", noted)
    return sizes


@pytest.mark.medium
def test_requests_are_answered_in_batches(folder, tmp_path, monkeypatch):
    """What is asked at the same time is generated together, and never more than --batch-size."""
    sizes = sizes_of_batches(monkeypatch)
    ask(folder, STRANGE * 3, tmp_path, batch_size=8)
    assert sizes == [8, 8, 8, 3]


def test_several_answers_count_towards_a_batch(folder, tmp_path, monkeypatch):
    """Memory is that of --batch-size answers, whatever --n says."""
    sizes = sizes_of_batches(monkeypatch)
    lines = ask(folder, STRANGE[:4], tmp_path, batch_size=4, temperature=1.0, n=5)
    assert len(lines) == 20
    assert max(sizes) <= 4


def test_the_command_asks_a_local_model(folder, run, tmp_path):
    """From the command line: answers in the journal, nothing of transformers on the terminal."""
    requests_in(tmp_path, [*KNOWN])
    options = ("--model", folder, "--engine", "transformers", "--max-tokens", 24)
    done = run("generate", "requests.jsonl", "-o", "responses.jsonl", *options)
    assert done.code == 0, done.err
    assert done.err.splitlines()[0] == "generate: 4 in = 4 out → responses.jsonl"
    assert [line["response"] for line in read_jsonl(tmp_path / "responses.jsonl")] == list(KNOWN.values())
    assert len(done.err.splitlines()) == 2


@contextmanager
def started(folder, where, *options):
    """The command in a process of its own, once its journal has a line; it does not outlive the test."""
    command = [sys.executable, "-m", "dataprep", "generate", "requests.jsonl", "-o", "responses.jsonl"]
    command += ["--engine", "transformers", "--model", str(folder), *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    journal, until = where / "responses.jsonl", time.monotonic() + 60
    with subprocess.Popen(command, cwd=where, stderr=subprocess.PIPE, env=environment) as process:
        try:
            while not (journal.exists() and journal.stat().st_size):
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < until
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_stopped(folder, tmp_path):
    """Ctrl-C waits for what is in flight; the next run makes no answer twice."""
    count = 300
    requests = requests_in(tmp_path, [f"{number}?" for number in range(count)])
    with started(folder, tmp_path, "--max-tokens", 100, "--batch-size", 4) as process:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert b"stopped: interrupted" in said
    journal = tmp_path / "responses.jsonl"
    before = read_jsonl(journal)
    assert 0 < len(before) < count
    report = generate_locally(requests, journal, GenerationConfig(str(folder), max_tokens=100), batch_size=32)
    assert report.progress.sent == count - len(before)
    assert Counter(line["id"] for line in read_jsonl(journal)) == {f"q{number}": 1 for number in range(count)}


@pytest.mark.slow
def test_a_second_interrupt_does_not_wait(tmp_path):
    """An answer of thousands of tokens is given up at the token it is at."""
    long = tiny_model.llama(max_position_embeddings=20_000)
    folder = saved(tmp_path / "long", long, tiny_model.tokenizer())
    requests_in(tmp_path, ["x" * 19_990, "What else?"])  # the first has room for a few tokens only
    with started(folder, tmp_path, "--max-tokens", 19_900, "--batch-size", 1) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, said = process.communicate(timeout=60)
    assert time.monotonic() - begun < 8
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    assert len(read_jsonl(tmp_path / "responses.jsonl")) == 1


def test_a_decoder_is_told_to_stop(model):
    """A second Ctrl-C does not wait for an answer of thousands of tokens."""
    asked = []
    decoder = Decoder(model, Decoding(max_tokens=200), 2, lambda: len(asked) > 3 or bool(asked.append(1)))
    row = Row(model.prompt(messages(GREEN)), 200, None, False)
    with pytest.raises(Stopped):
        decoder.decode([row])
    assert row.tokens == []
