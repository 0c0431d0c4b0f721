"""`generate --choice-probs likelihood`: how likely choices are, from a model here and from a server."""

import json
import math

import pytest

from dataprep.collect.collector import collect_files
from dataprep.core.errors import InputError, UsageError
from dataprep.models.decoding import Decoding
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.batch_api import export_batch
from dataprep.teacher.generate import generate
from dataprep.teacher.settings import Endpoint, Pacing
from tests.helpers import read_jsonl, write_jsonl
from tests.teacher_server import Reply, TeacherServer, logprob_of, polite, with_prompt_logprobs

CHOICES = ["grass", "the sky", "sand"]
QUESTION = [{"role": "user", "content": "Which is blue?\n\n(a) grass\n(b) the sky\n(c) sand"}]
EXAMPLE = {"id": "q0", "task": "choice", "question": "Which is blue?", "choices": CHOICES, "source": "arc"}
EXAMPLE |= {"answer": {"label": "b", "text": "the sky"}}
LIKELIHOOD = {"choice_probs": "likelihood"}


@pytest.fixture
def asked(tmp_path):
    """A function that asks a server, and returns its report and the lines of the journal."""
    requests = write_jsonl(
        tmp_path / "requests.jsonl", [{"id": "q0", "messages": QUESTION, "choices": CHOICES}]
    )

    def call(server, **options):
        config = GenerationConfig("tiny", max_tokens=8, **(LIKELIHOOD | options))
        journal = tmp_path / "responses.jsonl"
        report = generate(requests, journal, config, Endpoint(server.url), pacing=Pacing(retries=0))
        return report, read_jsonl(journal)

    return call


def labels(tmp_path, **options):
    """The soft labels of the journal."""
    write_jsonl(tmp_path / "examples.jsonl", [EXAMPLE])
    journal, out = tmp_path / "responses.jsonl", tmp_path / "probs.jsonl"
    report = collect_files([journal], tmp_path / "examples.jsonl", out, to="choice-probs", **options)
    return read_jsonl(out), report


def softmax(values):
    """Probabilities that are proportional to the exponentials of values."""
    return [math.exp(value) / sum(map(math.exp, values)) for value in values]


def test_a_server_gives_the_likelihood_of_each_choice(asked, tmp_path):
    """The log-probabilities behind the prompt are added up, and become soft labels."""
    with TeacherServer(with_prompt_logprobs) as server:
        report, (line,) = asked(server)
        assert len(server.received) == 1 + len(CHOICES)
        again, _ = asked(server)
        assert again.progress.sent == 0
    assert str(report.ledger) == "1 in = 1 out"
    expected = [sum(map(logprob_of, choice)) for choice in CHOICES]
    assert [entry["text"] for entry in line["choices"]] == CHOICES
    assert [entry["log_likelihood"] for entry in line["choices"]] == pytest.approx(expected)
    assert line["response"] == "answer"
    # What the requests about choices read is counted, too.
    prompts = [len(with_prompt_logprobs(each, 0).body["prompt_logprobs"]) for each in server.received]
    assert line["usage"]["prompt_tokens"] == sum(prompts)
    (row,), collected = labels(tmp_path, keep=("ok", "answer_mismatch"))
    assert list(row["probs"].values()) == pytest.approx(softmax(expected))
    assert row["outside"] == pytest.approx(1 - sum(map(math.exp, expected)))
    best = "abc"[expected.index(max(expected))]
    assert collected.statuses["tiny"] == {"ok" if best == "b" else "answer_mismatch": 1}


def test_a_request_about_a_choice_continues_the_answer(asked):
    """The server is asked as vLLM documents it, without the settings of answers."""
    with TeacherServer(with_prompt_logprobs) as server:
        asked(server, temperature=0.7, n=2, logprobs=3, extra={"seed": 1})
    first, *others = [each.body for each in server.received]
    assert (first["prompt_logprobs"], first["n"], first["max_tokens"]) == (0, 2, 8)
    for body, choice in zip(others, CHOICES, strict=True):
        assert body == {
            "model": "tiny", "messages": [*QUESTION, {"role": "assistant", "content": choice}],
            "temperature": 0.7, "seed": 1, "max_tokens": 1, "prompt_logprobs": 0,
            "add_generation_prompt": False, "continue_final_message": True,
        }  # fmt: skip


def test_a_server_without_such_log_probabilities_stops_the_run(asked):
    """Every request would fail, and the reason says what to do."""
    with TeacherServer(polite) as server:
        report, (line,) = asked(server)
    assert line["error"]["type"] == "no_prompt_logprobs"
    assert "leave out --choice-probs likelihood" in report.progress.stopped


def test_a_server_that_echoes_texts(asked, tmp_path):
    """A chat template here writes the prompt; the log-probabilities behind it are those of the choices."""
    pytest.importorskip("jinja2", reason="the extra `tokens` is not installed")
    folder = tmp_path / "model"
    folder.mkdir()
    template = (
        "{{ bos_token }}{% for message in messages %}[{{ message.role }}] {{ message.content }};{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"bos_token": "<s>"}', encoding="utf-8")
    with TeacherServer(with_prompt_logprobs) as server:
        report, (line,) = asked(server, chat_template=str(folder))
        assert str(report.ledger) == "1 in = 1 out"
    assert "prompt_logprobs" not in server.received[0].body
    prompt = f"[user] {QUESTION[0]['content']};[assistant]"
    for request, text in zip(server.received[1:], ["", *(f" {choice}" for choice in CHOICES)], strict=True):
        assert request.path == "/v1/completions"
        assert request.body == {
            "model": "tiny", "prompt": prompt + text, "max_tokens": 1, "temperature": 0, "echo": True,
            "logprobs": 1,
        }  # fmt: skip
    expected = [sum(map(logprob_of, f" {choice}")) for choice in CHOICES]
    assert [entry["log_likelihood"] for entry in line["choices"]] == pytest.approx(expected)
    config = GenerationConfig("tiny", chat_template=str(folder), **LIKELIHOOD)
    assert config.to_json()["chat_template"] == "model"
    assert config.key(QUESTION) != GenerationConfig("tiny", **LIKELIHOOD).key(QUESTION)
    with pytest.raises(UsageError, match="--chat-template is for --choice-probs likelihood"):
        GenerationConfig("tiny", chat_template=str(folder))
    with pytest.raises(UsageError, match="--chat-template is for servers"):
        Decoding.of(config)


def test_a_server_without_echo_stops_the_run(asked, tmp_path):
    """Log-probabilities that are left out are named, as those of chat completions are."""
    pytest.importorskip("jinja2", reason="the extra `tokens` is not installed")
    template = tmp_path / "chat.jinja"
    template.write_text("{% for message in messages %}{{ message.content }}{% endfor %}", encoding="utf-8")

    def deaf(received, number):
        body = with_prompt_logprobs(received, number).body
        body["choices"][0]["logprobs"] = None
        return Reply(body=body)

    with TeacherServer(deaf) as server:
        report, (line,) = asked(server, chat_template=str(template))
    assert line["error"]["type"] == "no_prompt_logprobs"
    assert report.progress.stopped


def test_requests_without_choices_are_asked_as_ever(asked, tmp_path):
    """Questions without choices have no likelihoods, and no further request."""
    write_jsonl(tmp_path / "requests.jsonl", [{"id": "q0", "messages": QUESTION}])
    with TeacherServer(polite) as server:
        _, (line,) = asked(server)
        assert len(server.received) == 1
    assert "choices" not in line


def test_the_key_changes_with_the_choices_by_likelihood_only():
    """Journals of earlier versions are resumed, and other choices are asked again."""
    plain, likely = GenerationConfig("tiny"), GenerationConfig("tiny", **LIKELIHOOD)
    assert plain.key(QUESTION) == plain.key(QUESTION, None, CHOICES)
    assert len({plain.key(QUESTION), likely.key(QUESTION), likely.key(QUESTION, None, CHOICES)}) == 3
    assert "choice_probs" not in plain.to_json()
    assert likely.to_json()["choice_probs"] == "likelihood"


def test_a_batch_has_no_likelihoods(tmp_path):
    """What a batch cannot give is refused before it is sent."""
    requests = write_jsonl(tmp_path / "requests.jsonl", [{"id": "q0", "messages": QUESTION}])
    with pytest.raises(UsageError, match="--choice-probs likelihood: a batch has no"):
        export_batch(requests, tmp_path / "j.jsonl", GenerationConfig("tiny", **LIKELIHOOD))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([{"text": "grass", "log_likelihood": -1.0}], "other choices"),
        ([{"text": text, "log_likelihood": None} for text in CHOICES], "malformed likelihoods"),
        ([{"text": text, "log_likelihood": 2.0} for text in CHOICES], "malformed likelihoods"),
        ([{"text": text} for text in CHOICES], "malformed likelihoods"),
    ],
)
def test_likelihoods_that_cannot_be_used_are_named(asked, tmp_path, choices, message):
    """A journal that somebody changed is an error with its line."""
    with TeacherServer(with_prompt_logprobs) as server:
        _, (line,) = asked(server)
    write_jsonl(tmp_path / "responses.jsonl", [line | {"choices": choices}])
    with pytest.raises(InputError, match=rf"responses.jsonl:1: {message}"):
        labels(tmp_path)


def test_a_model_in_this_process_gives_them_too(tmp_path):
    """They are those of one pass of plain transformers for each choice, beside the answer that it gives."""
    torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
    pytest.importorskip("transformers", reason="the extra `train` is not installed")
    from dataprep.teacher.local import generate_locally
    from tests import tiny_model

    words, weights = tiny_model.tokenizer(), tiny_model.llama(initializer_range=0.5).eval()
    words.save_pretrained(tmp_path / "model")
    weights.save_pretrained(tmp_path / "model")
    rows = [{"id": "q0", "messages": QUESTION, "choices": CHOICES}, {"id": "q1", "messages": QUESTION}]
    requests = write_jsonl(tmp_path / "requests.jsonl", rows)
    config = GenerationConfig(str(tmp_path / "model"), max_tokens=4, **LIKELIHOOD)
    generate_locally(requests, tmp_path / "responses.jsonl", config)
    first, second = read_jsonl(tmp_path / "responses.jsonl")
    assert "choices" not in second
    assert first["response"] is not None
    prompt = words.apply_chat_template(QUESTION, add_generation_prompt=True)["input_ids"]
    expected = []
    for choice in CHOICES:
        answer = words(choice, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            likely = weights(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 :].log_softmax(-1)
        expected.append(sum(likely[at, token].item() for at, token in enumerate(answer)))
    found = [entry["log_likelihood"] for entry in first["choices"]]
    assert found == pytest.approx(expected, abs=1e-4)
    (row,), _ = labels(tmp_path, keep=("ok", "answer_mismatch"))
    assert list(row["probs"].values()) == pytest.approx(softmax(expected), abs=1e-4)


def test_the_command_has_the_option(tmp_path, run):
    """The flag reaches the settings, and a wrong value is refused."""
    write_jsonl(tmp_path / "requests.jsonl", [{"id": "q0", "messages": QUESTION, "choices": CHOICES}])
    with TeacherServer(with_prompt_logprobs) as server:
        done = run("generate", "requests.jsonl", "-o", "out.jsonl", "--model", "tiny", "--base-url",
                   server.url, "--choice-probs", "likelihood")  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "out.jsonl").read_text())["choices"]
    assert run("generate", "requests.jsonl", "-o", "o.jsonl", "--choice-probs", "words").code == 2
