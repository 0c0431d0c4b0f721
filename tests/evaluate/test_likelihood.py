"""`dataprep evaluate --by likelihood`, against plain transformers with one forward pass for each choice."""

import json

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("transformers", reason="the extra `train` is not installed")
pytest.importorskip("jinja2", reason="the extra `tokens` is not installed")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    Llama4TextConfig,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    PhimoeConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from dataprep.core.errors import UsageError
from dataprep.evaluate.evaluator import evaluate_file
from dataprep.evaluate.likelihood import BY_LENGTH, BY_LETTER, BY_TEXT, NAMES
from dataprep.evaluate.settings import Settings
from dataprep.models import likelihood
from dataprep.models.likelihood import Candidates, Likelihoods
from dataprep.models.loading import GenerationError, Model, load
from tests import tiny_model
from tests.helpers import read_jsonl, write_jsonl
from tests.real import DATA, SMOLLM2, needs, needs_smollm2

LIKELIHOOD = Settings(by="likelihood")
QUESTIONS = [
    ("Which is blue?", ["grass", "the sky in the morning", "sand"], "b"),
    ("Which melts?", ["ice", "ice and salt", "an iron bar", "salt", "a"], "a"),
    ("Which flies? " * 3, ["owl", "cow"], "a"),
    ("Which is hot?", ["snow", "雪の中の火"], "b"),
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def saved(path, weights, words):
    """The path, with a model and its tokenizer in it."""
    weights.save_pretrained(path)
    words.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory with a small Llama of random weights that are far from uniform."""
    weights = tiny_model.llama(initializer_range=0.5)
    return saved(tmp_path_factory.mktemp("models") / "llama", weights, tiny_model.tokenizer())


def chats(path, style="text"):
    """The questions as chat rows in an answer style of `convert`."""
    rows = []
    for number, (question, choices, label) in enumerate(QUESTIONS):
        listed = [f"({letter}) {text}" for letter, text in zip("abcde", choices, strict=False)]
        place = "abcde".index(label)
        answer = {"letter": label, "text": choices[place], "both": listed[place]}[style]
        messages = [
            {"role": "user", "content": question + "\n\n" + "\n".join(listed)},
            {"role": "assistant", "content": answer},
        ]
        rows.append({"messages": messages, "id": f"q{number}", "source": "arc"})
    return write_jsonl(path, rows)


def one_by_one(folder, path):
    """The oracle: log-likelihoods of texts and letters by row, each by one pass of plain transformers."""
    words = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for row in read_jsonl(path):
        asked = words.apply_chat_template(row["messages"][:-1], tokenize=False, add_generation_prompt=True)
        lines = row["messages"][-2]["content"].split("\n\n")[-1].split("\n")
        texts = [line[4:] for line in lines]
        found.append(
            [
                [plain(model, words, asked, answer) for answer in answers]
                for answers in (texts, [line[1] for line in lines])
            ]
        )
    return found


@torch.no_grad()
def plain(model, words, asked, answer):
    """The log-likelihood of a text behind another one, as lm-evaluation-harness computes it."""
    prompt = words(asked, add_special_tokens=False)["input_ids"]
    whole = words(asked + answer, add_special_tokens=False)["input_ids"]
    assert whole[: len(prompt)] == prompt
    likely = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    return sum(likely[at - 1, whole[at]].item() for at in range(len(prompt), len(whole)))


def check_figures(path, out, done, expected):
    """Compare an evaluation with the log-likelihoods of the oracle, and acc and acc_norm made of them."""
    right = dict.fromkeys(NAMES, 0)
    rows = read_jsonl(path)
    for row, made, (texts, letters) in zip(rows, read_jsonl(out), expected, strict=True):
        found = made["log_likelihoods"]
        assert found["text"] == pytest.approx(texts, abs=1e-4)
        assert found["letter"] == pytest.approx(letters, abs=1e-4)
        listed = row["messages"][-2]["content"].split("\n\n")[-1].split("\n")
        lengths = [len(line[4:]) for line in listed]
        answer = row["messages"][-1]["content"]
        gold = next(at for at, line in enumerate(listed) if answer in (line[1], line[4:], line))
        # As `process_results` of lm-evaluation-harness: argmax of the sums, and of the sums by characters.
        by_length = [value / length for value, length in zip(texts, lengths, strict=True)]
        for name, values in zip(NAMES, (texts, by_length, letters), strict=True):
            right[name] += values.index(max(values)) == gold
            assert made["chosen"][name] == "abcde"[values.index(max(values))]
    figures = {figure.name: figure for figure in done.results[0].figures}
    assert {name: round(figure.value * len(rows)) for name, figure in figures.items()} == right
    assert all(figure.low <= figure.value <= figure.high for figure in figures.values())


@pytest.mark.parametrize("batch_size", [1, 3])
def test_figures_are_those_of_one_pass_for_each_choice(folder, tmp_path, batch_size):
    """Log-likelihoods, acc and acc_norm are those of plain transformers on the same prompts."""
    path, out = chats(tmp_path / "rows.jsonl"), tmp_path / "out.jsonl"
    options = Settings(by="likelihood", batch_size=batch_size)
    done = evaluate_file(path, model=folder, output=out, settings=options)
    check_figures(path, out, done, one_by_one(folder, path))
    assert done.ledger.to_json() == {"in": 4, "out": 4, "dropped": {}, "failed": {}}


@pytest.mark.models
@pytest.mark.slow
@needs("commonsense_qa")
@needs_smollm2
def test_figures_of_a_real_model(tmp_path, run):
    """The same with SmolLM2 and rows of CommonsenseQA."""
    source = DATA / "commonsense_qa" / "dev_rand_split.jsonl"
    made = run("convert", "commonsense_qa", source, "--answer-style", "text", "--with-id", "-o", "all.jsonl")
    assert made.code == 0, made.err
    path, out = (
        write_jsonl(tmp_path / "rows.jsonl", read_jsonl(tmp_path / "all.jsonl")[:6]),
        tmp_path / "o.jsonl",
    )
    done = evaluate_file(path, model=SMOLLM2, output=out, settings=LIKELIHOOD)
    check_figures(path, out, done, one_by_one(SMOLLM2, path))


SIZES = {"vocab_size": 330, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "initializer_range": 0.5}
IDS = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
CLASSES = {
    "llama": lambda: tiny_model.llama(initializer_range=0.5),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=330, n_embd=16, n_layer=2, n_head=2, initializer_range=0.5, **IDS)
    ),
    "window": lambda: MistralForCausalLM(MistralConfig(sliding_window=6, **SIZES, **IDS)),
    # These two need their own attention: scores that are capped, and positions as biases.
    "capped": lambda: Gemma2ForCausalLM(Gemma2Config(sliding_window=6, **SIZES, **IDS)),
    "alibi": lambda: BloomForCausalLM(
        BloomConfig(vocab_size=330, hidden_size=16, n_layer=2, n_head=2, **IDS)
    ),
}


@torch.no_grad()
def sums(weights, rows):
    """The oracle for tokens: the log-likelihood of each answer in a pass of its own."""
    found = []
    for prompt, answers in rows:
        found.append([])
        for answer in answers:
            ids = torch.tensor([[*prompt, *answer]])
            if weights.config.is_encoder_decoder:
                start = torch.tensor([[weights.config.decoder_start_token_id, *answer[:-1]]])
                likely = (
                    weights(input_ids=ids[:, : len(prompt)], decoder_input_ids=start)
                    .logits[0]
                    .log_softmax(-1)
                )
            else:
                likely = weights(input_ids=ids).logits[0, len(prompt) - 1 :].log_softmax(-1)
            found[-1].append(sum(likely[at, token].item() for at, token in enumerate(answer)))
    return found


ROWS = [
    ([7, 8, 9, 10, 11, 12, 13, 14, 15], [[3], [4, 5, 6, 7], [4, 5]]),
    ([20, 21], [[9, 9], [8]]),
    ([30, 31, 32, 33], [[5], [6], [7]]),
]


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_of_model_gives_what_it_gives_alone(name):
    """Answers in one row see neither each other nor other prompts, and classes that cannot are left alone."""
    torch.manual_seed(2)
    weights = CLASSES[name]().eval()
    own = weights.config._attn_implementation
    scorer = Likelihoods(Model(weights, tiny_model.tokenizer()), 2)
    found = scorer.of([Candidates(*row) for row in ROWS])
    for values, expected in zip(found, sums(weights, ROWS), strict=True):
        assert values == pytest.approx(expected, abs=1e-4)
    assert weights.config._attn_implementation == own
    assert (scorer._compute == scorer._in_one_row) == (name in ("llama", "gpt2", "window"))


MOE = {"num_local_experts": 2, "num_experts_per_tok": 1}
CHUNKS = {"attention_chunk_size": 24, "intermediate_size_mlp": 32, "no_rope_layer_interval": 2}
ROPE = {"rope_type": "longrope", "rope_theta": 1e4, "factor": 10.0}
ROPE |= {"short_factor": [1.0] * 4, "long_factor": [8.0, 9.0, 10.0, 12.0]}
LONG = {"rope_parameters": ROPE, "original_max_position_embeddings": 24, "max_position_embeddings": 240}
# Classes that attend to a prompt of a few tokens as a Llama does, and to a longer one in another way: whether
# their answers stand in one row, and their configuration.
FAR = {
    "a window": (True, MistralConfig, {"sliding_window": 24}),
    "a window in the mask alone": (False, PhimoeConfig, {"sliding_window": 24} | MOE),
    "chunks": (False, Llama4TextConfig, CHUNKS | MOE | {"attn_temperature_tuning": False}),
    "a temperature by the place in the row": (
        False,
        Llama4TextConfig,
        CHUNKS | MOE | {"attention_chunk_size": 4096, "floor_scale": 30, "attn_scale": 2.0},
    ),
    "other frequencies": (True, Phi3Config, LONG),
}


@pytest.mark.parametrize("name", FAR)
def test_longer_prompts_give_what_they_give_alone(name):
    """What a short example does not show is known from the configuration."""
    shares, config, chosen = FAR[name]
    torch.manual_seed(2)
    weights = AutoModelForCausalLM.from_config(config(**SIZES | IDS | chosen)).eval()
    for tensor in weights.parameters():
        if tensor.ndim > 1:
            torch.nn.init.normal_(tensor, std=0.5)
    rows = [
        ([*range(5, 55)], [[3], [4, 5, 6, 7], [9, 9]]),
        ([*range(60, 80)], [[5, 3], [7] * 9]),  # the second answer alone is long
        *ROWS,
    ]
    scorer = Likelihoods(Model(weights, tiny_model.tokenizer()), len(rows))
    found = scorer.of([Candidates(*row) for row in rows])
    for values, expected in zip(found, sums(weights, rows), strict=True):
        assert values == pytest.approx(expected, abs=1e-3)
    assert (scorer._compute == scorer._in_one_row) is shares


T5_SIZES = {"d_model": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2, "d_kv": 8}
BART_SIZES = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32}
BART_SIZES |= {"decoder_ffn_dim": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
ENCODERS = {
    "t5": lambda: T5ForConditionalGeneration(T5Config(vocab_size=330, decoder_start_token_id=0, **T5_SIZES)),
    "bart": lambda: BartForConditionalGeneration(
        BartConfig(vocab_size=330, decoder_start_token_id=2, init_std=0.5, **BART_SIZES)
    ),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_answers_of_an_encoder_decoder(name):
    """The prompt goes through the encoder once, and its padding and the other answers change nothing."""
    torch.manual_seed(2)
    weights = ENCODERS[name]().eval()
    model = Model(weights, tiny_model.tokenizer())
    found = Likelihoods(model, 2).of([Candidates(*row) for row in ROWS])
    for values, expected in zip(found, sums(weights, ROWS), strict=True):
        assert values == pytest.approx(expected, abs=1e-4)


def test_a_prompt_and_its_answers_are_read_once(monkeypatch):
    """All answers of all prompts are one forward pass, and tokens that are only predicted are not read."""
    weights = tiny_model.llama()
    scorer = Likelihoods(Model(weights, tiny_model.tokenizer()), 8)
    read = []
    hook = weights.register_forward_pre_hook(
        lambda _, __, inputs: read.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    together = scorer.of([Candidates(*row) for row in ROWS])
    assert read == [(1, (9 + 3 + 1) + (2 + 1) + 4)]
    # Logits of many tokens and a large vocabulary would take too much memory at once.
    read.clear()
    monkeypatch.setattr(likelihood, "_CELLS", 6 * 330)
    apart = scorer.of([Candidates(*row) for row in ROWS])
    hook.remove()
    assert [length for _, length in read] == [9 + 3 + 1 + 4, 2 + 1]
    for values, expected in zip(apart, together, strict=True):
        assert values == pytest.approx(expected, abs=1e-4)


TOKENS = st.lists(st.integers(2, 300), min_size=1, max_size=6)
CANDIDATES = st.tuples(TOKENS, st.lists(TOKENS, min_size=1, max_size=4))


@pytest.fixture(scope="module", params=["llama", "t5"])
def tiny(request):
    """A causal model and an encoder-decoder."""
    torch.manual_seed(4)
    weights = {**CLASSES, **ENCODERS}[request.param]().eval()
    return Model(weights, tiny_model.tokenizer())


@pytest.mark.medium
@settings(max_examples=15)
@given(rows=st.lists(CANDIDATES, min_size=1, max_size=6), data=st.data())
def test_batch_size_and_order_change_nothing(tiny, rows, data):
    """Each row has the same log-likelihoods whatever is computed with it."""
    order = data.draw(st.permutations(range(len(rows))))
    size = data.draw(st.integers(1, 4))
    alone = Likelihoods(tiny, 1).of([Candidates(*row) for row in rows])
    mixed = Likelihoods(tiny, size).of([Candidates(*rows[number]) for number in order])
    for number, values in zip(order, mixed, strict=True):
        assert values == pytest.approx(alone[number], abs=1e-4)


def test_rows_that_fail_are_named_and_the_others_are_computed(folder):
    """A row that is too long, without prompt or answers, or an answer without tokens, fails alone."""
    model = load(str(folder))
    rows = [([5] * 250, [[3] * 8]), ([5], [[]]), ([5, 6], [[400]]), ([], [[5]]), ([5], []), *ROWS]
    counts = []
    found = Likelihoods(model, 4).of([Candidates(*row) for row in rows], counts.append)
    kinds = [each.kind if isinstance(each, GenerationError) else None for each in found]
    assert kinds == ["context_length_exceeded", *["tokenizer"] * 4, None, None, None]
    assert found[3].message == "the prompt has no token that stays the same before each answer"
    assert found[4].message == "there are no answers to compare"
    assert sum(counts) == len(rows)
    with torch.no_grad():
        model.weights.lm_head.weight.fill_(float("nan"))
    assert [each.kind for each in Likelihoods(model, 4).of([Candidates(*row) for row in ROWS])] == [
        "generation_failed"
    ] * 3


def test_a_choice_without_text_fails_alone(folder, tmp_path):
    """It has no length to divide by; the other rows have their figures."""
    rows = [
        {"id": name, "task": "choice", "source": "arc", "question": "Which?", "choices": choices}
        | {"answer": {"label": "b", "text": "sky"}}
        for name, choices in (("q0", ["", "sky"]), ("q1", ["grass", "sky"]))
    ]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    done = evaluate_file(path, model=folder, settings=Settings(by="likelihood"))
    assert done.ledger.to_json()["failed"] == {"empty choice": 1}
    assert done.results[0].rows == 1


def student(path, **facts):
    """A tiny student with the records of its run."""
    saved(path, tiny_model.llama(initializer_range=0.5), tiny_model.tokenizer())
    (path / "facts.json").write_text(json.dumps({"dataprep": "0.1.0", **facts}), encoding="utf-8")
    return path


def test_a_student_is_asked_as_it_was_trained(tmp_path):
    """A student of answers with letter and text is scored on them, and the letter has its brackets."""
    trained = student(tmp_path / "student", answer_style="both")
    path, out = chats(tmp_path / "rows.jsonl", "both"), tmp_path / "out.jsonl"
    evaluate_file(path, model=trained, output=out, settings=LIKELIHOOD)
    words = AutoTokenizer.from_pretrained(trained)
    model = AutoModelForCausalLM.from_pretrained(trained).eval()
    row = read_jsonl(path)[0]
    asked = words.apply_chat_template(row["messages"][:-1], tokenize=False, add_generation_prompt=True)
    found = read_jsonl(out)[0]["log_likelihoods"]
    expected = [
        plain(model, words, asked, text) for text in ("(a) grass", "(b) the sky in the morning", "(c) sand")
    ]
    assert found["text"] == pytest.approx(expected, abs=1e-4)
    expected = [plain(model, words, asked, text) for text in ("(a)", "(b)", "(c)")]
    assert found["letter"] == pytest.approx(expected, abs=1e-4)


def test_a_prompt_need_not_list_the_choices(folder, tmp_path):
    """Examples have choices of their own, so that their texts can be scored behind the question alone."""
    question, choices, label = QUESTIONS[1]
    gold = {"label": label, "text": choices[0]}
    example = {"id": "q", "task": "choice", "source": "arc", "question": question, "choices": choices}
    path, out = write_jsonl(tmp_path / "rows.jsonl", [example | {"answer": gold}]), tmp_path / "out.jsonl"
    alone = Settings(by="likelihood", template={"user": "{question}", "system": ""})
    done = evaluate_file(path, model=folder, output=out, settings=alone)
    words = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    asked = words.apply_chat_template(
        tiny_model.messages(question), tokenize=False, add_generation_prompt=True
    )
    expected = [plain(model, words, asked, text) for text in choices]
    (row,) = read_jsonl(out)
    assert row["log_likelihoods"]["text"] == pytest.approx(expected, abs=1e-4)
    # Every figure stands beside chance and the majority.
    assert [figure.chance for figure in done.results[0].figures] == [1 / len(choices)] * 3


def test_a_template_may_write_a_space_before_an_answer(tmp_path):
    """An answer has the white space that the template of the training put before it."""
    words = tiny_model.tokenizer()
    words.chat_template = (
        "{% for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
        "{% else %} {{ message.content }}<|end|>{% endif %}{% endfor %}"
    )
    trained = saved(tmp_path / "model", tiny_model.llama(initializer_range=0.5), words)
    path, out = chats(tmp_path / "rows.jsonl"), tmp_path / "out.jsonl"
    evaluate_file(path, model=trained, output=out, settings=LIKELIHOOD)
    model = AutoModelForCausalLM.from_pretrained(trained).eval()
    row = read_jsonl(path)[0]
    asked = f"[INST] {row['messages'][0]['content']} [/INST]"
    expected = [plain(model, words, asked, f" {text}") for text in QUESTIONS[0][1]]
    assert read_jsonl(out)[0]["log_likelihoods"]["text"] == pytest.approx(expected, abs=1e-4)


def test_a_student_of_rationales_with_an_encoder(tmp_path):
    """The question has its prefix, and the choices are the decoder's targets."""
    torch.manual_seed(3)
    words = tiny_model.tokenizer(None)
    trained = saved(tmp_path / "t5", ENCODERS["t5"](), words)
    facts = {"dataprep": "0.1.0", "parts": {"answer": {"prefix": "predict: "}}}
    (trained / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    path, out = chats(tmp_path / "rows.jsonl"), tmp_path / "out.jsonl"
    evaluate_file(path, model=trained, output=out, settings=LIKELIHOOD)
    weights = AutoModelForSeq2SeqLM.from_pretrained(trained).eval()
    for (question, choices, _), row in zip(QUESTIONS, read_jsonl(out), strict=True):
        listed = [f"({letter}) {text}" for letter, text in zip("abcde", choices, strict=False)]
        prompt = words("\n".join([f"predict: {question.strip()}", "Answer Choices:", *listed]))["input_ids"]
        answers = [words(text)["input_ids"] for text in choices]
        expected = sums(weights, [(prompt, answers)])[0]
        assert row["log_likelihoods"]["text"] == pytest.approx(expected, abs=1e-4)


def test_rows_without_choices_are_dropped_and_predictions_refused(folder, tmp_path):
    """A mixed file is measured on its choices, and what has no likelihood is an error with what to do."""
    rows = read_jsonl(chats(tmp_path / "rows.jsonl"))
    sum_of = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4\n#### 4"}
    rows.insert(1, {"messages": list(sum_of), "source": "gsm8k"})
    path = write_jsonl(tmp_path / "mixed.jsonl", rows)
    done = evaluate_file(path, model=folder, settings=LIKELIHOOD)
    assert done.ledger.to_json() == {"in": 5, "out": 4, "dropped": {"no choices": 1}, "failed": {}}
    assert [result.metric for result in done.results] == ["choice"]
    with pytest.raises(UsageError, match="--by likelihood needs a MODEL"):
        evaluate_file(path, predictions=path, settings=LIKELIHOOD)
    with pytest.raises(UsageError, match="--by likelihood is for rows with choices"):
        Settings(by="likelihood", metric="gsm8k")


def test_the_command_prints_three_figures(folder, tmp_path, run):
    """The table has a line for each way to score a choice."""
    chats(tmp_path / "rows.jsonl")
    done = run("evaluate", folder, "rows.jsonl", "--by", "likelihood")
    assert done.code == 0, done.err
    for name in (BY_TEXT, BY_LENGTH, BY_LETTER):
        assert name.encode() in done.out
