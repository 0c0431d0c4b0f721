"""Teachers with tools: what is sent, what the journal has of a call, and what is asked again."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.collect.collector import collect_files
from dataprep.core.errors import InputError, RowError, UsageError
from dataprep.models.sampling import GenerationConfig, read_tools
from dataprep.teacher.batch_api import export_batch, import_batch
from dataprep.teacher.generate import generate
from dataprep.teacher.journal.line import outcome_of
from dataprep.teacher.pacing import fewest_tokens, likely_tokens, most_tokens
from dataprep.teacher.protocol import answers_of
from dataprep.teacher.requests import request_of
from dataprep.teacher.settings import Endpoint
from tests.helpers import read_jsonl
from tests.journal_lines import line
from tests.tables import table
from tests.teacher_server import Reply, TeacherServer, completion

# With keys in an unusual order, a null and a number that must stay a float.
WEATHER = {
    "type": "function",
    "function": {
        "parameters": {"type": "object", "required": [], "properties": {"city": {"default": None}}},
        "name": "weather", "strict": None, "description": "Wetter für 1.0 Tage",
    },
}  # fmt: skip
CLOCK = {"type": "function", "function": {"name": "clock"}}
# The text of arguments is the model's: spaces, escapes and faults in it are data.
ARGUMENTS = '{ "city":"K\\u00f6ln",  "days": 1.0 '
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}, "index": 0}
USER = [{"role": "user", "content": "Rain?"}]


def calling(text=None, reason="tool_calls", calls=(CALL,), **more):
    """The body of a completion that calls a tool."""
    return completion(text, reason, tool_calls=list(calls), **more)


@pytest.fixture
def places(tmp_path):
    """Requests, a journal's place, and a file of tools."""
    (tmp_path / "tools.json").write_bytes(orjson.dumps([WEATHER]))
    return tmp_path / "requests.jsonl", tmp_path / "responses.jsonl", tmp_path / "tools.json"


def write(path, *rows):
    """A JSON Lines file."""
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def test_a_call_is_journaled_as_it_came_and_not_paid_for_again(places):
    """The list with all its fields, and the text of the arguments; the line is an answer."""
    requests, journal, tools = places
    write(requests, {"id": "x", "messages": USER})
    config = GenerationConfig("tiny", tools=read_tools(str(tools)))
    with TeacherServer(lambda *_: Reply(body=calling(reasoning_content="Hm."))) as server:
        for _ in range(2):
            report = generate(requests, journal, config, Endpoint(server.url))
            assert str(report.ledger) == "1 in = 1 out"
        (received,) = server.received
    assert received.body["tools"] == [WEATHER]
    assert orjson.dumps(received.body["tools"]) == tools.read_bytes()
    (found,) = read_jsonl(journal)
    assert (found["response"], found["finish_reason"], found["reasoning"]) == (None, "tool_calls", "Hm.")
    assert found["tool_calls"] == [CALL]
    assert outcome_of(found) == "ok"
    manifest = orjson.loads(journal.with_suffix(".manifest.json").read_bytes())
    assert manifest["tools"] == [WEATHER]


def test_other_tools_are_another_request(places):
    """Whether all requests have them or one; without tools the key is that of earlier versions."""
    plain, with_tools = GenerationConfig("a"), GenerationConfig("a", tools=[WEATHER])
    assert with_tools.key(USER) == plain.key(USER, [WEATHER]) == with_tools.key(USER, [WEATHER])
    assert plain.key(USER) == plain.key(USER, []) == with_tools.key(USER, [])
    reordered = [{"function": WEATHER["function"], "type": "function"}]
    keys = [plain.key(USER), with_tools.key(USER), plain.key(USER, [CLOCK]), plain.key(USER, reordered)]
    assert len(set(keys)) == 4
    requests, journal, _ = places
    write(requests, {"id": "x", "messages": USER})
    with TeacherServer(lambda *_: Reply(body=completion("Yes."))) as server:
        for config in (plain, with_tools, with_tools, plain, with_tools):
            generate(requests, journal, config, Endpoint(server.url), teacher="t")
        assert ["tools" in each.body for each in server.received] == [False, True]
    # The answers that were there already are written once more, so that readers find the present ones.
    assert [found.get("repeated", False) for found in read_jsonl(journal)] == [False, False, True, True]


@table(
    ("given", "sent"),
    [
        ({}, [WEATHER]), ({"tools": None}, [WEATHER]), ({"tools": [CLOCK]}, [CLOCK]), ({"tools": []}, None),
        ({"tools": orjson.dumps([CLOCK]).decode()}, [CLOCK]),
    ],
)  # fmt: skip
def test_a_request_can_have_tools_of_its_own(tmp_path, given, sent):
    """In place of those of all requests; a table has them as the text of their JSON."""
    requests = tmp_path / "requests.jsonl"
    write(requests, {"id": "x", "messages": USER, **given})
    (tmp_path / "responses.jsonl").unlink(missing_ok=True)
    config = GenerationConfig("tiny", tools=[WEATHER])
    with TeacherServer(lambda *_: Reply(body=completion("Yes."))) as server:
        generate(requests, tmp_path / "responses.jsonl", config, Endpoint(server.url))
        assert server.received[0].body.get("tools") == sent
    for path in tmp_path.glob("responses.batch-*"):
        path.unlink()
    (tmp_path / "responses.jsonl").unlink()
    (path,), _ = export_batch(requests, tmp_path / "responses.jsonl", config)
    assert read_jsonl(path)[0]["body"].get("tools") == sent


def test_a_batchs_calls_come_into_the_journal(places):
    """As those of a reply do; without tools a call is a failure, as before."""
    requests, journal, _ = places
    write(requests, {"id": "x", "messages": USER}, {"id": "y", "messages": USER, "tools": []})
    config = GenerationConfig("tiny", tools=[WEATHER])
    (path,), count = export_batch(requests, journal, config)
    response = {"status_code": 200, "body": calling()}
    results = [
        {"custom_id": row["custom_id"], "response": response, "error": None} for row in read_jsonl(path)
    ]
    write(journal.with_name("results.jsonl"), *results)
    ledger, asked = import_batch(requests, journal, config, [journal.with_name("results.jsonl")])
    assert (count, str(ledger), str(asked)) == (2, "2 in = 2 out", "2 in = 1 out + 1 failed (failed: 1)")
    found = {each["id"]: each for each in read_jsonl(journal)}
    assert (found["x"]["tool_calls"], found["x"]["response"]) == ([CALL], None)
    assert (found["y"].get("tool_calls"), orjson.loads(found["y"]["response"])) == (None, [CALL])


# Bodies of replies to a request with tools: text, reason, calls and outcome of the line.
REPLIES = [
    (calling(), None, "tool_calls", [CALL], "ok"),
    (calling(reason="stop"), None, "stop", [CALL], "ok"),
    (calling("Let me look."), "Let me look.", "tool_calls", [CALL], "ok"),
    (calling("", "tool_use"), "", "tool_use", [CALL], "ok"),
    (calling(reason="length"), None, "length", [CALL], "length"),
    (calling(reason=None), None, "unknown", [CALL], "unknown"),
    (calling(reason="content_filter"), None, "content_filter", [CALL], "refused"),
    (calling(reason="error"), None, "error", [CALL], "failed"),
    (calling(calls=[{"name": "weather", "arguments": {"days": 1.0}}]), None, "tool_calls",
     [{"name": "weather", "arguments": {"days": 1.0}}], "ok"),
    (calling("Yes.", "stop", ()), "Yes.", "stop", None, "ok"),
    (completion(None, "tool_calls"), None, "tool_calls", None, "failed"),
    (completion("half", "tool_calls"), "half", "tool_calls", None, "failed"),
    (completion(None, "function_call", function_call={"name": "f"}), '{"name": "f"}', "tool_calls", None,
     "failed"),
]  # fmt: skip


@table(("body", "text", "reason", "calls", "outcome"), REPLIES)
def test_replies_that_call_tools(body, text, reason, calls, outcome):
    """A call is an answer if it is whole; a word for a call without one is none."""
    (answer,), _ = answers_of(orjson.dumps(body), tools=True)
    assert (answer.response, answer.finish_reason, answer.tool_calls) == (text, reason, calls)
    assert outcome_of(answer.fields(None) | {"error": None}) == outcome


def test_a_call_that_no_file_can_hold_is_kept_as_far_as_possible():
    """Half a surrogate pair is replaced, and the line says so."""
    lone = {"function": {"name": "f", "arguments": '{"a": "\ud83d"}'}}
    body = orjson.dumps(calling()).replace(
        orjson.dumps(CALL), b'{"function": {"name": "f", "arguments": "{\\"a\\": \\"\\ud83d\\"}"}}'
    )
    (answer,), _ = answers_of(body, tools=True)
    assert answer.tool_calls[0]["function"]["arguments"] == lone["function"]["arguments"].replace(
        "\ud83d", "\ufffd"
    )
    assert answer.flags == ("half_character",)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(TEXTS, VALUES), min_size=1, max_size=3))
def test_any_calls_are_journaled_as_they_came(calls):
    """Also those of servers with shapes of their own, in their order of keys."""
    (answer,), _ = answers_of(orjson.dumps(calling(calls=calls)), tools=True)
    found = orjson.loads(orjson.dumps(answer.fields(None)))
    assert orjson.dumps(found["tool_calls"]) == orjson.dumps(calls)
    assert "flags" not in found


def test_a_long_file_of_requests_has_the_same_keys(places, monkeypatch):
    """They are computed in other processes, with the tools of each request."""
    requests, journal, _ = places
    write(
        requests,
        *({"id": f"r{n}", "messages": USER, **({"tools": [CLOCK]} if n % 2 else {})} for n in range(9)),
    )
    config = GenerationConfig("tiny", tools=[WEATHER])
    with TeacherServer(lambda *_: Reply(body=calling())) as server:
        for long in (True, False, True):
            monkeypatch.setattr("dataprep.teacher.generate.is_long", lambda _, long=long: long)
            assert str(generate(requests, journal, config, Endpoint(server.url)).ledger) == "9 in = 9 out"
        assert len(server.received) == 9
        assert sorted(each.body["tools"] == [CLOCK] for each in server.received) == [False] * 5 + [True] * 4


CONVERSATION = [
    *USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "wet"},
]


def test_a_request_can_continue_after_a_tools_result(places):
    """Its messages are sent as they are, and are counted in the budget."""
    requests, journal, _ = places
    write(requests, {"id": "x", "messages": CONVERSATION, "tools": [WEATHER]})
    with TeacherServer(lambda *_: Reply(body=completion("Rain."))) as server:
        report = generate(requests, journal, GenerationConfig("tiny"), Endpoint(server.url))
        assert str(report.ledger) == "1 in = 1 out"
        assert server.received[0].body["messages"] == CONVERSATION
    assert most_tokens(CONVERSATION) > len(ARGUMENTS)
    assert fewest_tokens(CONVERSATION) == 2
    for count in (most_tokens, likely_tokens):
        assert count(USER, [WEATHER]) > count(USER) == count(USER, [])


@table(
    ("row", "message"),
    [
        ({"tools": {}}, "malformed tools"), ({"tools": "weather"}, "malformed tools"),
        ({"tools": ["weather"]}, "malformed tools"),
        ({"messages": [*USER, {"role": "assistant", "content": None}, *USER]}, "not a message"),
        ({"messages": [{"role": "tool", "content": None}]}, "not a message"),
        ({"messages": [{"role": "user", "content": None, "tool_calls": [CALL]}]}, "not a message"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "not a message"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "not a message"),
    ],
)  # fmt: skip
def test_requests_that_are_none(row, message):
    """What a server would refuse is found before anything is sent."""
    with pytest.raises(RowError, match=message):
        request_of({"id": "x", "messages": USER, **row})


@table(
    ("content", "message"),
    [
        (b"[]", "the list is empty"), (b"{", "expected"), (b'{"type": "function"}', "malformed tools"),
        (b'["weather"]', "malformed tools"),
    ],
)  # fmt: skip
def test_a_file_without_tools_is_an_error(tmp_path, content, message):
    """With its path, and the shape that is expected."""
    path = tmp_path / "tools.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        read_tools(str(path))
    assert "tools.json" in str(raised.value)


def test_tools_are_given_in_one_way():
    """Two lists would be a riddle."""
    assert GenerationConfig("a", extra={"tools": [CLOCK]}).body(USER, 1)["tools"] == [CLOCK]
    assert "tools" not in GenerationConfig("a", extra={"tools": [CLOCK]}).body(USER, 1, tools=[])
    with pytest.raises(UsageError, match="--param tools"):
        GenerationConfig("a", tools=[WEATHER], extra={"tools": [CLOCK]})


# What collect makes of calls

EXAMPLE = {"id": "x", "question": "Rain?", "task": "qa", "answer": "Yes."}


def collected(tmp_path, lines, rows, **options):
    """Rows and report of collect."""
    write(tmp_path / "responses.jsonl", *lines)
    write(tmp_path / "rows.jsonl", *rows)
    out = tmp_path / "out.jsonl"
    report = collect_files([tmp_path / "responses.jsonl"], tmp_path / "rows.jsonl", out, **options)
    return read_jsonl(out), report


def call(text=None, **more):
    """A journal's line with a call."""
    return line(response=text, finish_reason="tool_calls", tool_calls=[CALL], **more)


@pytest.mark.parametrize("text", [None, "Let me look."])
def test_a_call_is_counted_and_can_be_kept(tmp_path, text):
    """It is no rationale; as a message it has the calls as they came."""
    rows, report = collected(tmp_path, [call(text, reasoning="Hm.")], [EXAMPLE])
    assert (rows[0]["status"], dict(report.statuses["t"])) == ({"t": "tool_calls"}, {"tool_calls": 1})
    assert rows[0]["reasoning"] == {"t": "Hm."}
    rows, report = collected(tmp_path, [call(text)], [EXAMPLE], to="chat")
    assert (rows, dict(report.ledger.dropped)) == ([], {"status: tool_calls": 1})
    rows, _ = collected(
        tmp_path, [call(text, reasoning="Hm.")], [EXAMPLE], to="chat", keep=["tool_calls"], tools=[WEATHER]
    )
    assert rows[0]["messages"][-1] == {
        "role": "assistant", "content": text, "reasoning_content": "Hm.", "tool_calls": [CALL],
    }  # fmt: skip
    assert (rows[0]["messages"][-2]["role"], rows[0]["tools"], rows[0]["id"]) == ("user", [WEATHER], "x")
    _, report = collected(tmp_path, [call()], [EXAMPLE], to="qa", keep=["tool_calls"])
    assert dict(report.ledger.dropped) == {"no text": 1}


def test_requests_become_conversations(tmp_path):
    """Their messages and tools stay as they are, and their answers are judged by the fields beside them."""
    request = {"id": "x", "messages": CONVERSATION, "tools": [WEATHER], "chat_template_kwargs": {"a": None}}
    lines = [line(response="<think>Wet.</think>Rain.", reasoning=None)]
    rows, report = collected(tmp_path, lines, [request], to="chat")
    answer = {"role": "assistant", "content": "Rain.", "reasoning_content": "Wet."}
    shown = {"tools": [WEATHER], "chat_template_kwargs": {"a": None}}
    assert rows == [{"messages": [*CONVERSATION, answer], **shown, "id": "x", "source": None}]
    assert dict(report.statuses["t"]) == {"unjudged": 1}
    asked = {"id": "x", "messages": USER, "choices": ["yes", "no"], "answer": {"label": "a", "text": "yes"}}
    _, report = collected(tmp_path, [line(response="B")], [asked], to="chat")
    assert dict(report.statuses["t"]) == {"answer_mismatch": 1}
    with pytest.raises(InputError, match="question"):
        collected(tmp_path, lines, [request])


def test_the_commands_pass_tools_on(run, places):
    """From a file to the teacher, and from there to a chat row."""
    requests, _, _ = places
    write(requests, {"id": "x", "messages": USER})
    with TeacherServer(lambda *_: Reply(body=calling())) as server:
        teacher = ("--model", "tiny", "--base-url", server.url, "--tools", "tools.json")
        done = run("generate", "requests.jsonl", "-o", "r.jsonl", *teacher)
        assert done.code == 0, done.err
    given = ("--examples", "requests.jsonl", "--to", "chat", "--keep", "tool_calls", "--tools", "tools.json")
    done = run("collect", "r.jsonl", *given)
    assert done.code == 0, done.err
    row = orjson.loads(done.out)
    assert (row["messages"][1]["tool_calls"], row["tools"]) == ([CALL], [WEATHER])
