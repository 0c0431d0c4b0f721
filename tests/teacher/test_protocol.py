"""What servers send: answers are read in every known form, and anything else is a failure, not a crash."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.teacher.journal.line import outcome_of
from dataprep.teacher.protocol import LONGEST_MESSAGE, RequestError, answers_of, error_of, flagged
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
        found = error.shown
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


# A message's content, and the text and thinking that are read from it.
CONTENTS = [
    ([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}], "ab", None),
    ([{"type": "output_text", "text": "a"}], "a", None),
    ([{"type": "text", "text": {"value": "a", "annotations": []}}], "a", None),
    ([{"text": "a"}, "b"], "ab", None),
    ({"type": "text", "text": "a"}, "a", None),
    ([{"type": "something_new", "content": [{"text": "a"}]}], "a", None),
    ([{"type": "thinking", "thinking": [{"type": "text", "text": "So"}]}, {"text": "a"}], "a", "So"),
    ([{"type": "thinking", "thinking": "So"}, {"type": "text", "text": "a"}], "a", "So"),
    ([{"type": "reasoning", "text": "So"}, {"type": "output_text", "text": "a"}], "a", "So"),
    ([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "So"}]}, "a"], "a", "So"),
    ({"answer": "B"}, '{"answer": "B"}', None),
    ([{"answer": "B"}], '[{"answer": "B"}]', None),
    (42, "42", None),
    ([{"type": "image"}], None, None),
    ([], None, None),
]  # fmt: skip


def test_a_text_in_parts_is_read_whatever_the_parts_are_called():
    """No words that a server sent are lost; thinking is kept apart from the answer."""
    wrong = []
    for content, text, thought in CONTENTS:
        (answer,), _ = answers_of(orjson.dumps(completion(content)))
        if (answer.response, answer.reasoning, answer.finish_reason) != (text, thought, "stop"):
            wrong.append((content, answer))
    assert not wrong


def choice(message=None, reason="stop", **fields):
    """The body of a completion with one choice of any shape."""
    return {
        "choices": [
            {"index": 0, "finish_reason": reason, **({"message": message} if message else {}), **fields}
        ]
    }


# Bodies of status 200, and the text, finish reason and outcome of the line that they become.
ANSWERS = [
    (choice({"content": "whole"}, None), "whole", "unknown", "unknown"),
    (choice({"content": "whole"}, ""), "whole", "unknown", "unknown"),
    ({"choices": [{"message": {"content": "whole"}}]}, "whole", "unknown", "unknown"),
    (choice({"content": "whole"}, {"type": "stop"}), "whole", '{"type": "stop"}', "unknown"),
    (choice({"content": "whole"}, 3), "whole", "3", "unknown"),
    (choice({"content": "whole"}, "done"), "whole", "done", "unknown"),
    (choice({"content": "whole"}, "end-turn"), "whole", "end-turn", "ok"),
    (choice({"content": " "}, "done"), " ", "done", "failed"),
    (choice({"content": "half"}, "abort"), "half", "abort", "failed"),
    (choice({"content": None, "reasoning": "So"}, None), None, "unknown", "failed"),
    (choice({"content": None, "tool_calls": [{"id": "x"}]}), '[{"id": "x"}]', "tool_calls", "failed"),
    (choice({"content": "fine", "tool_calls": []}), "fine", "stop", "ok"),
    (choice(None, text="older protocol"), "older protocol", "stop", "ok"),
    (choice(None, delta={"content": "streamed"}), "streamed", "stop", "ok"),
    (choice(None, "content_filter"), None, "content_filter", "refused"),
    ({"choices": [{"message": None, "finish_reason": "content_filter"}]}, None, "content_filter", "refused"),
    (choice({"content": None}, "content_filter"), None, "content_filter", "refused"),
    (choice(None, "SAFETY"), None, "SAFETY", "refused"),
    (choice(None, "sensitive"), None, "sensitive", "refused"),
    (choice({"content": None}, "content_filter", error={"code": 500}), None, "content_filter", "refused"),
    (choice({"content": [{"type": "refusal", "refusal": "I cannot."}]}), "I cannot.", "refusal", "refused"),
    (choice({"content": "", "refusal": "I cannot."}, None), "I cannot.", "refusal", "refused"),
]


def test_answers_of_all_shapes_are_kept_and_marked():
    """What a server sent is kept; why it ended is not guessed."""
    wrong = []
    for body, *expected in ANSWERS:
        (answer,), _ = answers_of(orjson.dumps(body))
        found = [answer.response, answer.finish_reason, outcome_of(answer.fields(None) | {"error": None})]
        if found != expected:
            wrong.append((body, found))
    assert not wrong


# Status, body, and the type and words of the error; the first ones are refusals.
REFUSALS = [
    (400, {"error": {"code": "content_filter", "innererror": {"code": "R"}}}, "content_filter"),
    (400, {"error": {"code": None, "message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
     "ResponsibleAIPolicyViolation"),
    (400, {"error": {"type": "invalid_request_error", "code": "invalid_prompt"}}, "invalid_prompt"),
    (400, {"error": {"code": "content_policy_violation", "message": "x"}}, "content_policy_violation"),
    (400, {"error": {"type": "ContentPolicyViolationError", "code": "400", "message": "x"}},
     "ContentPolicyViolationError"),
    (400, {"error": {"code": "data_inspection_failed", "message": "x"}}, "data_inspection_failed"),
    (403, {"error": {"code": 403, "message": "x", "metadata": {"reasons": ["violence"]}}}, "moderation"),
    (None, {"error": {"code": 403, "message": "x", "metadata": {"flagged_input": "y"}}}, "moderation"),
    (200, {"choices": None, "error": {"code": "content_filter", "message": "x"}}, "content_filter"),
    (200, {"choices": [], "prompt_filter_results": [{"content_filter_results": {"x": {"filtered": True}}}]},
     "content_filter"),
    (200, {"choices": [], "promptFeedback": {"blockReason": "SAFETY"}}, "content_filter"),
]  # fmt: skip


def error_in(status, body):
    """The error that a body is."""
    if status != 200:
        return error_of(status, body)
    with pytest.raises(RequestError) as raised:
        answers_of(orjson.dumps(body))
    return raised.value


def test_refusals_of_all_servers_are_refusals():
    """They are not asked again, and the line's outcome says so."""
    wrong = []
    for status, body, kind in REFUSALS:
        error = error_in(status, body)
        outcome = outcome_of({"error": error.to_json()})
        if (error.type, error.retryable, error.fatal, outcome) != (kind, False, False, "refused"):
            wrong.append((body, error.to_json()))
    assert not wrong


# Status, body, and what the error says of it.
WORDS = [
    (200, {"error": "overloaded"}, "http_error: overloaded"),
    (200, {"choices": [], "error": {"message": "overloaded", "type": "busy"}}, "busy: overloaded"),
    (200, {"error": {"code": 429, "message": "slow"}}, "429 http_error: slow"),
    (200, {"object": "error", "message": "overloaded", "code": 503}, "503 http_error: overloaded"),
    (200, {"detail": "overloaded"}, "http_error: overloaded"),
    (200, choice({"content": ""}, "error", error={"code": 502, "message": "down"}), "502 http_error: down"),
    (400, {"error": None, "message": "wrong"}, "400 http_error: wrong"),
    (400, [{"error": {"code": 400, "message": "wrong", "status": "INVALID"}}], "400 http_error: wrong"),
    (422, {"detail": [{"loc": ["n"], "msg": "wrong"}]}, '422 http_error: [{"loc": ["n"], "msg": "wrong"}]'),
    (400, {"error": "wrong", "error_type": "validation"}, "400 validation: wrong"),
    (502, {"error": {"message": "Provider returned error", "metadata": {"raw": "too hot"}}},
     '502 http_error: Provider returned error {"metadata": {"raw": "too hot"}}'),
    (400, {"error": {"message": {"text": "wrong"}}}, '400 http_error: {"text": "wrong"}'),
    (400, {"error": {"error": "wrong"}}, "400 http_error: {'error': 'wrong'}"),
]  # fmt: skip


def test_a_servers_words_are_in_the_error_whatever_its_shape():
    """They are kept in the journal, and the last of them are shown."""
    wrong = [(body, str(error_in(status, body))) for status, body, said in WORDS
             if str(error_in(status, body)) != said]  # fmt: skip
    assert not wrong


# An error's message and param, and the flag that its advice names.
ADVICE = [
    ("Unsupported parameter: 'max_tokens' … Use 'max_completion_tokens' instead.", "", "--max-tokens-field"),
    (
        "Unsupported value: 'temperature' does not support 0.0 with this model.",
        "temperature",
        "--temperature",
    ),
    ("max_tokens is too large: 99. This model supports at most 9", "max_tokens", "--max-tokens"),
    ("This model's maximum context length is 9 tokens", "", "--max-tokens"),
    ("This model does not support logprobs", "", "--logprobs"),
    ("'n' : number must be at most 1", "", "--n"),
    ("Only one completion choice is allowed", "", "--n"),
    ("The model `x` does not exist, or you have no access: not found", "", "--model"),
    ("Unrecognized request argument supplied: top_k", "", "--param"),
    ("Unrecognized request argument supplied: seed", "seed", "--param"),
    ("Unsupported value: 'top_p' does not support 3", "top_p", "--param"),
]


def test_an_error_names_the_flag_to_change():
    """As far as the server's words tell which field it objects to."""
    wrong = [
        row
        for row in ADVICE
        if f"change {row[2]}" not in RequestError("x", row[0], status=400, param=row[1]).advice
    ]
    assert not wrong
    assert "--base-url" in RequestError("x", "no", status=404).advice
    assert RequestError("server_error", "no", status=400).advice == ""
    assert RequestError("server_error", "bad image", status=400, param="messages[0].content").advice == ""
    assert "credit" in error_of(429, error("x", "insufficient_quota")).advice
    assert "credit" in error_of(400, error("Your credit balance is too low")).advice


def test_counts_that_contradict_the_answer_are_flagged():
    """An answer of exactly the most tokens that says it ended, and a prompt with fewer tokens than words."""
    stop, length = completion("b"), completion("b", "length")
    wrong = []
    for body, usage, flags in [
        (stop, {"prompt_tokens": 10, "completion_tokens": 5}, ()),
        (stop, {"prompt_tokens": 10, "completion_tokens": 20}, ("at_limit",)),
        (stop, {"prompt_tokens": 9, "completion_tokens": 5}, ("prompt_cut",)),
        (stop, {"prompt_tokens": 9, "completion_tokens": 20}, ("prompt_cut", "at_limit")),
        (length, {"prompt_tokens": 10, "completion_tokens": 20}, ()),
        (length, {"prompt_tokens": 1, "completion_tokens": 20}, ("prompt_cut",)),
        (stop, {"prompt_tokens": 0, "completion_tokens": 0}, ()),
        (stop, {}, ()),
    ]:
        (answer,) = flagged(answers_of(body)[0], usage, 20, 10)
        if answer.flags != flags or ("flags" in answer.fields(None)) != bool(flags):
            wrong.append((usage, answer))
    assert not wrong


LONE = "\\ud83d"


@pytest.mark.parametrize("field", ["content", "finish_reason", "reasoning", "token", "name", "usage"])
def test_half_a_character_in_any_field_loses_no_answer(field):
    """It is replaced where it is, and the line says so if it is in the answer."""
    body = (
        f'{{"x{LONE}": 1, "choices": [{{"message": {{"content": "fine CONTENT", "reasoning": "REASONING"}}, '
        '"finish_reason": "stop FINISH_REASON", "logprobs": {"content": [{"token": "TOKEN", "logprob": -1, '
        '"top_logprobs": [{"token": "NAME", "logprob": -1}]}]}}], '
        '"usage": {"prompt_tokens": 3, "x": "USAGE"}}'
    )
    (answer,), usage = answers_of(body.replace(field.upper(), LONE).encode())
    assert answer.response.startswith("fine")
    assert answer.flags == (("half_character",) if field in ("content", "finish_reason", "reasoning") else ())
    assert usage == {"prompt_tokens": 3}
    orjson.dumps(answer.fields(usage))


def test_half_a_character_in_an_error_hides_nothing_of_it():
    """Its type is read, and the line can be written."""
    for status, data in (
        (None, f'{{"error": {{"message": "bad {LONE}", "code": "content_filter"}}}}'),
        (None, f'{{"choices": [], "error": {{"message": "bad", "type": "moderation {LONE}"}}}}'),
    ):
        with pytest.raises(RequestError) as raised:
            answers_of(data.encode())
        assert raised.value.refused
        assert status is raised.value.status
        orjson.dumps(raised.value.to_json())
        str(raised.value).encode()


def test_a_refusal_is_no_answer():
    """A message that only refuses is recorded as a refusal, with its words."""
    (answer,), _ = answers_of(orjson.dumps(completion(None, refusal="I cannot.")))
    assert (answer.response, answer.finish_reason) == ("I cannot.", "refusal")


def test_nothing_at_all_is_no_answer():
    """Neither a text nor a reason: asked again, it may be one."""
    for body in (choice({"content": None}, None), choice({"content": " "}, None), choice({}, "stop")):
        with pytest.raises(RequestError) as raised:
            answers_of(orjson.dumps(body))
        assert raised.value.type == "malformed_reply"
        assert raised.value.retryable


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
        (402, {"error": {"message": "Insufficient Balance", "type": "unknown"}}, "unknown", False, True),
        (400, error("x", code="billing_hard_limit_reached"), "billing_hard_limit_reached", False, True),
        (429, error("x", code="insufficient_balance"), "insufficient_balance", False, True),
        (403, error("moderated"), "server_error", False, False),
        (400, error("Your credit balance is too low", "bad_request"), "bad_request", False, True),
        (429, error("Your quota of a minute is used up", "rate_limit"), "rate_limit", True, False),
        (403, {"code": "x", "error": "Content violates usage guidelines."}, "moderation", False, False),
        (400, error("Your input was flagged as harmful"), "moderation", False, False),
        (400, {"error": {"code": "1301", "message": "可能包含不安全或敏感内容"}}, "moderation", False, False),
        (403, error("Your account was flagged: content violates our terms"), "server_error", False, False),
        (400, error("flagged", code="cyber_policy_violation"), "cyber_policy_violation", False, False),
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
