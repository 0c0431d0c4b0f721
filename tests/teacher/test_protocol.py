"""What servers send: answers are read in every known form, and anything else is a failure, not a crash."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.teacher.journal.line import outcome_of
from dataprep.teacher.protocol import LONGEST_MESSAGE, RequestError, answers_of, error_of
from tests.teacher_server import completion, error

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "finish_reason", "usage", "error", "logprobs"])
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(ANYTHING | st.fixed_dictionaries({"choices": st.lists(ANYTHING, max_size=3), "usage": ANYTHING}))
def test_any_json_is_an_answer_or_error(body):
    """No body raises anything else."""
    try:
        answers, _ = answers_of(orjson.dumps(body))
    except RequestError as error:
        found = error.message
    else:
        found = ""
        assert answers
        assert all(type(answer.finish_reason) is str for answer in answers)
    assert len(found) <= LONGEST_MESSAGE


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_error(data):
    """Nor do bytes that are no JSON."""
    with pytest.raises(RequestError) as raised:
        answers_of(data)
    assert raised.value.retryable


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_deeply_nested_garbage_is_error(depth):
    """A body that would overflow a parser's stack is a failed row."""
    with pytest.raises(RequestError):
        answers_of(b"[" * depth + b"]" * depth)


def test_an_answer_is_read_with_all_it_brings():
    """Text, reason, reasoning, usage and log-probabilities."""
    content = [
        {
            "token": "b",
            "logprob": -0.1,
            "bytes": [98],
            "top_logprobs": [{"token": "b", "logprob": -0.1}, {"token": "a", "logprob": -2.5}],
        }
    ]
    body = completion("b", reasoning_content="It melts.")
    body["choices"][0]["logprobs"] = {"content": content}
    (answer,), usage = answers_of(orjson.dumps(body))
    assert (answer.response, answer.finish_reason, answer.reasoning) == ("b", "stop", "It melts.")
    assert answer.logprobs == [{"token": "b", "logprob": -0.1, "top": {"b": -0.1, "a": -2.5}}]
    assert usage == {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def test_a_text_in_parts_is_joined():
    """As some servers send it."""
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    (answer,), _ = answers_of(orjson.dumps(completion(parts)))
    assert answer.response == "ab"


def test_a_refusal_is_no_answer():
    """A message that only refuses is recorded as a refusal, with its words."""
    (answer,), _ = answers_of(orjson.dumps(completion(None, refusal="I cannot.")))
    assert (answer.response, answer.finish_reason) == ("I cannot.", "refusal")


def test_an_answer_without_a_reason_to_stop_is_not_taken_for_whole():
    """Half an answer would be counted as one."""
    body = completion("half an ans")
    body["choices"][0]["finish_reason"] = None
    with pytest.raises(RequestError, match="may not be whole"):
        answers_of(orjson.dumps(body))


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable", "fatal"),
    [
        (429, error("slow down", "rate_limit_error"), "rate_limit_error", True, False),
        (429, error("no credit", "insufficient_quota"), "insufficient_quota", False, True),
        (500, error("oops"), "server_error", True, False),
        (503, "down", "http_error", True, False),
        (400, error("too long", code="context_length_exceeded"), "context_length_exceeded", False, False),
        (400, error("filtered", code="content_filter"), "content_filter", False, False),
        (401, error("bad key", "invalid_request_error"), "invalid_request_error", False, True),
        (404, {"error": "model 'x' not found"}, "http_error", False, True),
        (404, {"detail": "Not Found"}, "http_error", False, True),
        (422, {"object": "error", "message": "bad", "type": "Bad", "code": 422}, "Bad", False, False),
        (408, None, "http_error", True, False),
    ],
)  # fmt: skip
def test_errors_of_all_servers_are_told_apart(status, body, kind, retryable, fatal):
    """What may be asked again, what may not, and what would fail for every request."""
    error = error_of(status, body)
    assert (error.type, error.retryable, error.fatal) == (kind, retryable, fatal)
    assert error.to_json()["status"] == status


def test_the_servers_word_on_retrying_wins():
    """OpenAI says with a header whether to try again."""
    assert not error_of(500, "x", should_retry="false").retryable
    assert error_of(400, "x", should_retry="true").retryable


LINE = {"response": "b", "finish_reason": "stop", "error": None}


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "ok"),
        ({"response": " \n"}, "empty"),
        ({"response": None}, "empty"),
        ({"finish_reason": "length"}, "length"),
        ({"finish_reason": "content_filter"}, "refused"),
        ({"finish_reason": "refusal"}, "refused"),
        ({"error": {"type": "content_filter"}}, "refused"),
        ({"error": {"type": "timeout"}}, "failed"),
    ],
)
def test_a_line_is_what_it_is(changes, outcome):
    """Only a complete answer counts as one."""
    assert outcome_of({**LINE, **changes}) == outcome
