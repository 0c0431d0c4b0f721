"""``dataprep generate`` against a server that misbehaves on demand."""

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import orjson
import pytest

from dataprep.collect.collector import collect_files
from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.connection import LARGEST_BODY
from dataprep.teacher.generate import generate, status_of_requests
from dataprep.teacher.settings import Endpoint, Pacing
from tests.helpers import read_jsonl, run_here
from tests.teacher_server import Reply, TeacherServer, completion, error, polite

KEY = "sk-very-secret-0123456789"
QUICK = Pacing(concurrency=16)


def write_requests(path, count=40, text="q{}", **fields):
    """A file of requests with ids r0, r1 and so on."""
    rows = (
        {"id": f"r{n}", "messages": [{"role": "user", "content": text.format(n)}], **fields}
        for n in range(count)
    )
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """A function that asks a server; waits between attempts are short."""
    monkeypatch.setattr("dataprep.teacher.pacing.FIRST_WAIT", 0.01)
    requests, journal = tmp_path / "requests.jsonl", tmp_path / "responses.jsonl"

    def call(server, count=40, config=None, **options):
        if count:
            write_requests(requests, count)
        options.setdefault("pacing", QUICK)
        return generate(
            requests, journal, config or GenerationConfig("tiny"), Endpoint(server.url, KEY), **options
        )

    call.requests, call.journal = requests, journal
    return call


def assert_one_answer_each(journal, count):
    """Every request has its own answer, once."""
    answers = [
        line for line in read_jsonl(journal) if line["error"] is None and line["finish_reason"] == "stop"
    ]
    assert Counter(line["id"] for line in answers) == Counter(f"r{n}" for n in range(count))
    assert all(line["response"] == f"answer to q{line['id'][1:]}" for line in answers)


def test_every_request_is_answered_once_and_not_again(ask):
    """Running the same command again sends nothing."""
    with TeacherServer(polite) as server:
        report = ask(server)
        assert str(report.ledger) == "40 in = 40 out"
        again = ask(server)
        assert len(server.received) == 40
    assert again.progress.sent == 0
    assert str(again.ledger) == "40 in = 40 out"
    assert_one_answer_each(ask.journal, 40)


def test_a_line_says_all_that_is_known(ask):
    """The fields of the journal."""
    with TeacherServer(polite) as server:
        ask(server, 1, teacher="Tiny")
    (line,) = read_jsonl(ask.journal)
    time_text = line.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time_text)
    assert 0 <= line.pop("latency") < 10
    assert line == {
        "id": "r0", "key": GenerationConfig("tiny").key([{"role": "user", "content": "q0"}]),
        "teacher": "Tiny", "model": "tiny", "sample": 0, "max_tokens": 512, "response": "answer to q0",
        "finish_reason": "stop", "reasoning": None,
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        "logprobs": None, "attempts": 1, "error": None,
    }  # fmt: skip


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Reply(429, error("slow", "rate_limit_error"), {"retry-after": "0.05"}), "rate_limit_error"),
        (Reply(429, error("slow", "rate_limit_error")), "rate_limit_error"),
        (Reply(500, error("oops")), "server_error"),
        (Reply(503, b"<html>busy</html>", {"content-type": "text/html"}), "http_error"),
        (Reply(reset=True), "connection_lost"),
        (Reply(body=completion("x" * 1000), cut=300), "connection_lost"),
        (Reply(body=b'{"choices": [{"mess'), "malformed_reply"),
        (Reply(body=b"hello", headers={"content-type": "text/plain"}), "malformed_reply"),
        (Reply(body=b""), "malformed_reply"),
        (Reply(body={"choices": []}), "malformed_reply"),
        (Reply(body={"choices": [{"message": None}]}), "malformed_reply"),
        (Reply(body=b"\xff\xfe\x00"), "malformed_reply"),
        (Reply(body=b"[" * 200_000), "malformed_reply"),
        (Reply(body=b" " * (LARGEST_BODY + 1), chunked=True), "malformed_reply"),
        (Reply(500, b" " * (LARGEST_BODY + 1), chunked=True), "malformed_reply"),
        (Reply(body=b"\x1f\x8b...", headers={"content-encoding": "gzip"}), "malformed_reply"),
        (Reply(hang=True), "timeout"),
    ],
    ids=lambda value: None if isinstance(value, str) else f"{value.status}-{str(value.body)[:20]}",
)
def test_each_fault_is_asked_again_and_then_a_failed_row(ask, fault, kind):
    """The second attempt succeeds; where all fail, it is one failed row that says why, and no crash."""
    config = GenerationConfig("tiny")
    # Only a server that does not answer must be waited for; a busy machine needs seconds for 32 MiB.
    timeout = 0.5 if fault.hang else 30
    with TeacherServer(lambda got, number: fault if number == 1 else polite(got, number)) as server:
        report = ask(server, 2, config, pacing=Pacing(concurrency=1), timeout=timeout)
        assert str(report.ledger) == "2 in = 2 out"
        assert len(server.received) == 3
    ask.journal.unlink()
    with TeacherServer(lambda *_: fault) as server:
        report = ask(server, 1, config, pacing=Pacing(concurrency=1, retries=1), timeout=timeout)
        assert len(server.received) == 2
    assert report.ledger.failed == {"failed": 1}
    (line,) = read_jsonl(ask.journal)
    assert line["response"] is None
    assert line["attempts"] == 2
    assert line["error"]["type"] == kind
    assert line["error"]["message"]


def test_a_server_that_is_not_there_fails_each_row(ask):
    """Nobody listens: the rows fail with the reason."""
    with TeacherServer(polite) as server:
        pass
    report = ask(server, 3, pacing=Pacing(retries=0))
    assert report.ledger.failed == {"failed": 3}
    assert {line["error"]["type"] for line in read_jsonl(ask.journal)} == {"connection_error"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (completion("half an", "length"), "length"),
        (completion("", "content_filter"), "refused"),
        (completion(None, refusal="I cannot."), "refused"),
        (completion("  "), "empty"),
    ],
)
def test_what_is_no_answer_is_recorded_as_what_it_is(ask, body, reason):
    """Refused, empty and cut-off answers are neither answers nor failures."""
    with TeacherServer(lambda *_: Reply(body=body)) as server:
        report = ask(server, 3)
    assert report.ledger.dropped == {reason: 3}
    assert not report.ledger.failed
    assert report.ledger.rows_out == 0


def test_a_filtered_prompt_is_a_refusal(ask):
    """Azure answers it with an error."""
    with TeacherServer(lambda *_: Reply(400, error("filtered", code="content_filter"))) as server:
        report = ask(server, 2)
        ask(server, 0)
        assert len(server.received) == 2
    assert report.ledger.dropped == {"refused": 2}


def test_raising_max_tokens_asks_only_what_was_cut_off(ask):
    """Good answers are kept; lowering it asks nothing."""

    def behave(got, _):
        cut = got.question in ("q1", "q3") and got.body["max_tokens"] < 100
        return Reply(
            body=completion("cut" if cut else f"answer to {got.question}", "length" if cut else "stop")
        )

    with TeacherServer(behave) as server:
        report = ask(server, 5, GenerationConfig("tiny", max_tokens=50))
        assert report.ledger.dropped == {"length": 2}
        ask(server, 5, GenerationConfig("tiny", max_tokens=50))
        ask(server, 5, GenerationConfig("tiny", max_tokens=20))
        assert len(server.received) == 5
        report = ask(server, 5, GenerationConfig("tiny", max_tokens=200))
        assert len(server.received) == 7
    assert str(report.ledger) == "5 in = 5 out"
    assert_one_answer_each(ask.journal, 5)


def test_changed_prompts_models_and_settings_are_asked_anew(ask):
    """And the earlier answers stay in the journal."""
    with TeacherServer(polite) as server:
        ask(server, 4)
        ask(server, 4, GenerationConfig("other"))
        ask(server, 4, GenerationConfig("tiny", temperature=0.7))
        write_requests(ask.requests, 4, "changed {}")
        ask(server, 0)
        assert len(server.received) == 16
        ask(server, 4)
        assert len(server.received) == 16
    lines = read_jsonl(ask.journal)
    assert sum("repeated" not in line for line in lines) == 16


def test_failures_are_asked_again_unless_that_is_switched_off(ask):
    """--retry-failed is the default."""
    with TeacherServer(lambda got, n: Reply(400, error("no")) if n <= 3 else polite(got, n)) as server:
        report = ask(server, 3, pacing=Pacing(concurrency=1))
        assert report.ledger.failed == {"failed": 3}
        report = ask(server, 3, retry_failed=False)
        assert report.ledger.failed == {"failed": 3}
        assert len(server.received) == 3
        report = ask(server, 3)
    assert str(report.ledger) == "3 in = 3 out"


def test_status_says_what_is_missing_and_sends_nothing(ask):
    """From the journal alone."""
    with TeacherServer(
        lambda got, n: Reply(400, error("no")) if got.question == "q0" else polite(got, n)
    ) as server:
        ask(server, 3)
        write_requests(ask.requests, 5)
        before = ask.journal.read_bytes()
        report = status_of_requests(ask.requests, ask.journal, GenerationConfig("tiny"))
        assert len(server.received) == 3
    assert ask.journal.read_bytes() == before
    assert str(report.ledger) == "5 in = 2 out + 2 dropped (not asked yet: 2) + 1 failed (failed: 1)"


def test_fresh_starts_over_and_keeps_the_old_journal(ask):
    """Paid answers are only set aside."""
    with TeacherServer(polite) as server:
        ask(server, 3)
        ask(server, 3, fresh=True)
        assert len(server.received) == 6
    assert len(list(ask.journal.parent.glob("responses.*-*.jsonl"))) == 1
    assert_one_answer_each(ask.journal, 3)


@pytest.mark.medium
def test_as_many_are_in_flight_as_were_asked_for(ask):
    """Real concurrency, and no more than that."""
    with TeacherServer(lambda got, n: Reply(body=polite(got, n).body, delay=0.05)) as server:
        began = time.monotonic()
        ask(server, 64, pacing=Pacing(concurrency=16))
        seconds = time.monotonic() - began
    assert server.most == 16
    assert seconds < 64 * 0.05 / 4


def test_a_slot_is_free_while_a_request_waits(ask):
    """One request is told to wait half a second; the others do not wait for it."""

    def behave(got, number):
        if got.question == "q0" and server.asked("q0") == 1:
            return Reply(500, error("oops"), {"retry-after": "0.5"})
        return polite(got, number)

    with TeacherServer(behave) as server:
        report = ask(server, 30, pacing=Pacing(concurrency=1))
    assert report.ledger.rows_out == 30
    assert server.received[-1].question == "q0"
    first = next(got for got in server.received if got.question == "q0")
    assert server.received[-1].at - first.at >= 0.5
    assert server.received[-2].at - first.at < 0.5


def test_retry_after_holds_all_requests_back_on_429(ask):
    """The limit is the account's: asking on would only use up the other rows' attempts."""
    told = []

    def behave(got, number):
        if number == 5:
            told.append(time.monotonic())
            return Reply(429, error("slow", "rate_limit_error"), {"retry-after": "0.4"})
        return polite(got, number)

    with TeacherServer(behave) as server:
        report = ask(server, 20, pacing=Pacing(concurrency=2))
    assert report.ledger.rows_out == 20
    late = [got.at for got in server.received if told[0] + 0.1 < got.at < told[0] + 0.35]
    assert not late


@pytest.mark.slow
def test_concurrency_shrinks_when_the_server_is_busy(ask):
    """A server that takes four at once gets about four, and everything is answered."""
    flying = 0
    lock = threading.Lock()
    refused = 0

    def behave(got, number):
        nonlocal refused
        if server._now > 4:
            with lock:
                refused += 1
            return Reply(429, error("slow", "rate_limit_error"))
        return Reply(body=polite(got, number).body, delay=0.01)

    with TeacherServer(behave) as server:
        report = ask(server, 300, pacing=Pacing(concurrency=64, retries=20))
    assert report.ledger.rows_out == 300
    assert refused < 300
    assert flying == 0


def test_requests_a_minute_are_kept(ask):
    """Evenly spaced: 1,200 a minute is one each 50 ms."""
    with TeacherServer(polite) as server:
        ask(server, 12, pacing=Pacing(concurrency=12, rpm=1_200))
    times = [got.at for got in server.received]
    assert times[-1] - times[0] >= 11 * 0.05 - 0.02


def test_tokens_a_minute_are_kept(ask):
    """15 tokens each at 1,800 a minute is one each half second, once the first answers were counted."""
    with TeacherServer(polite) as server:
        ask(server, 5, GenerationConfig("tiny", max_tokens=10), pacing=Pacing(concurrency=1, tpm=6_000))
    times = [got.at for got in server.received]
    assert times[-1] - times[0] >= 4 * 0.15 - 0.05


def test_the_budget_is_never_passed(ask):
    """Nothing is sent that could pass it; what is missing is said, and a larger budget goes on."""
    prices = {"price_in": 100_000.0, "price_out": 100_000.0}  # a tenth of a dollar a token: $1.50 an answer
    config = GenerationConfig("tiny", max_tokens=5)
    with TeacherServer(polite) as server:
        report = ask(server, 20, config, pacing=Pacing(concurrency=8, budget=20.0, **prices))
        first = len(server.received)
        assert 5 <= first <= 13
        assert report.progress.cost <= 20.0
        assert "budget" in report.progress.stopped
        assert report.ledger.dropped == {"not asked yet": 20 - first}
        report = ask(server, 20, config, pacing=Pacing(concurrency=8, budget=21.0, **prices))
        assert report.progress.cost <= 21.0
        report = ask(server, 20, config, pacing=Pacing(concurrency=8, budget=99.0, **prices))
    assert report.ledger.rows_out == 20
    assert report.progress.cost == pytest.approx(30.0)


def test_a_limit_is_kept_and_the_next_run_goes_on(ask):
    """--limit N asks N requests that are missing."""
    with TeacherServer(polite) as server:
        assert ask(server, 10, pacing=Pacing(limit=4)).ledger.dropped == {"not asked yet": 6}
        assert ask(server, 10, pacing=Pacing(limit=4)).ledger.rows_out == 8
        assert len(server.received) == 8


@pytest.mark.parametrize("gives", [3, 1])
def test_several_answers_a_request(ask, gives):
    """--n 3: three lines; a server that gives one at a time is asked until there are three."""

    def behave(got, _):
        return Reply(body=completion(f"answer {len(server.received)}", n=min(gives, got.body.get("n", 1))))

    with TeacherServer(behave) as server:
        report = ask(server, 4, GenerationConfig("tiny", n=3, temperature=1.0), pacing=Pacing(concurrency=1))
        sent = len(server.received)
        numbers = [got.body.get("n", 1) for got in server.received]
        assert numbers == ([3] * 4 if gives == 3 else [3] + [1] * 11)
        ask(server, 4, GenerationConfig("tiny", n=3, temperature=1.0))
        assert len(server.received) == sent == (4 if gives == 3 else 12)
        ask(server, 4, GenerationConfig("tiny", n=4, temperature=1.0))
        assert len(server.received) == sent + 4
    assert report.ledger.rows_out == 4
    samples = Counter((line["id"], line["sample"]) for line in read_jsonl(ask.journal))
    assert samples == {(f"r{n}", sample): 1 for n in range(4) for sample in range(4)}


def test_a_server_that_refuses_several_answers_is_asked_singly(ask):
    """Each answer is a sample with a seed of its own, and no attempt is used up."""

    def behave(got, number):
        if got.body.get("n", 1) > 1:
            return Reply(400, error("Only one completion choice is allowed"))
        return Reply(body=completion(f"answer {number}"))

    with TeacherServer(behave) as server:
        config = GenerationConfig("tiny", n=3, temperature=1.0, extra={"seed": 5})
        report = ask(server, 2, config, pacing=Pacing(concurrency=1, retries=0))
        assert [got.body.get("n", 1) for got in server.received] == [3] + [1] * 6
        assert [got.body["seed"] for got in server.received] == [5, 5, 6, 7, 5, 6, 7]
    assert report.ledger.rows_out == 2
    assert len({line["response"] for line in read_jsonl(ask.journal)}) == 6


def test_more_answers_than_were_asked_for_are_kept(ask):
    """They are paid for: they become further samples, which a larger --n need not ask for."""
    with TeacherServer(lambda *_: Reply(body=completion("fine", n=3))) as server:
        ask(server, 1, GenerationConfig("tiny", temperature=1.0))
        ask(server, 1, GenerationConfig("tiny", n=3, temperature=1.0))
        assert len(server.received) == 1
    assert [line["sample"] for line in read_jsonl(ask.journal)] == [0, 1, 2]


def test_several_answers_that_would_be_the_same_are_not_asked(ask):
    """--n 3 at temperature 0."""
    with TeacherServer(polite) as server:
        with pytest.raises(UsageError, match="--n 3 needs --temperature above 0"):
            ask(server, 1, GenerationConfig("tiny", n=3))
        assert not server.received


# Replies that every request gets, and words of the reason to stop.
HOPELESS = [
    (Reply(400, error("Unsupported value: 'temperature' does not support 0.0")), "change --temperature"),
    (Reply(400, error("Unrecognized request argument supplied: x")), "change --param"),
    (Reply(422, error("max_tokens must be at most 100")), "change --max-tokens"),
    (Reply(403, error("no permission")), "no permission"),
    (Reply(body=b"<html>hello</html>", headers={"content-type": "text/html"}), "--base-url"),
]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("reply", "said"), HOPELESS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_every_request_gets_stops_the_run_after_a_few(ask, reply, said):
    """And the reason names the flag to change; nothing else is sent for nothing."""
    with TeacherServer(lambda *_: reply) as server:
        report = ask(server, 100, pacing=Pacing(concurrency=8))
        assert 5 <= len(server.received) <= 30
        assert "every request would fail like this one" in report.progress.stopped
        assert said in report.progress.stopped
        assert report.ledger.dropped["not asked yet"] >= 80
    with TeacherServer(polite) as server:
        assert ask(server, 100).ledger.rows_out == 100


@pytest.mark.parametrize("failing", [1, 2, 4])
def test_a_few_prompts_that_fail_first_do_not_stop_the_others(ask, failing):
    """Moderation can refuse the first prompts; the others are answered."""
    prompts = [f"q{number}" for number in range(failing)]
    behave = lambda got, n: Reply(403, error("moderated")) if got.question in prompts else polite(got, n)  # noqa: E731
    with TeacherServer(behave) as server:
        report = ask(server, 20, pacing=Pacing(concurrency=1))
    assert report.ledger.rows_out == 20 - failing
    assert not report.progress.stopped


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (402, error("Insufficient Balance")),
        (429, error("x", code="insufficient_quota")),
        (404, error("no model")),
    ],
)
def test_what_no_request_survives_stops_at_once(ask, status, body):
    """An account without credit, an unknown model."""
    with TeacherServer(lambda *_: Reply(status, body)) as server:
        report = ask(server, 100, pacing=Pacing(concurrency=2))
        assert len(server.received) <= 3
    assert "every request would fail" in report.progress.stopped


def test_a_server_that_cannot_be_reached_is_not_asked_again_and_again(ask):
    """A few rounds of attempts; the reason names the address, and the next run asks everything."""
    with TeacherServer(polite) as server:
        pass
    report = ask(server, 100, pacing=Pacing(concurrency=8, retries=6))
    assert report.progress.sent <= 20
    assert f"{server.url} cannot be reached" in report.progress.stopped
    assert "--base-url" in report.progress.stopped
    assert report.ledger.dropped == {"not asked yet": 100}
    with TeacherServer(polite) as server:
        assert ask(server, 100).ledger.rows_out == 100


def test_a_server_that_starts_up_meanwhile_is_asked(ask, monkeypatch):
    """Refused connections of one moment count once, and then everything waits for a while."""
    with TeacherServer(polite) as server:
        late = TeacherServer(polite, server.port)
    waits = []

    def wait(attempt, _):
        waits.append(attempt)
        if attempt == 4:
            late.__enter__()
            monkeypatch.setattr("dataprep.teacher.upstreams.backoff", lambda *_: 0.01)
        return 0.01

    monkeypatch.setattr("dataprep.teacher.upstreams.backoff", wait)
    try:
        write_requests(ask.requests, 20)
        endpoint = Endpoint(f"http://127.0.0.1:{server.port}/v1", KEY)
        report = generate(ask.requests, ask.journal, GenerationConfig("tiny"), endpoint, pacing=QUICK)
    finally:
        late.__exit__()
    assert report.ledger.rows_out == 20
    assert max(waits) == 4


@pytest.mark.sampled(3)
@pytest.mark.parametrize("after", ["0", "-5", "Mon, 01 Jan 2024 00:00:00 GMT"])
@pytest.mark.parametrize("status", [429, 500])
def test_retry_after_shortens_no_wait(ask, monkeypatch, after, status):
    """The longer of the server's wait and our own: 0 would use up all attempts within a second."""
    monkeypatch.setattr("dataprep.teacher.upstreams.backoff", lambda *_: 0.1)
    with TeacherServer(lambda *_: Reply(status, error("slow"), {"retry-after": after})) as server:
        ask(server, 1, pacing=Pacing(retries=2))
        times = [got.at for got in server.received]
    assert len(times) == 3
    assert all(later - earlier >= 0.1 for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_of_hours_stops_the_run(ask, status):
    """It says so, keeps what was answered, and the same command continues later."""

    def behave(got, number):
        if number > 3:
            return Reply(status, error("daily limit"), {"retry-after": "86400"})
        return polite(got, number)

    with TeacherServer(behave) as server:
        report = ask(server, 20, pacing=Pacing(concurrency=1))
        assert len(server.received) == 4
    assert "24.0 hours" in report.progress.stopped
    assert "daily limit" in report.progress.stopped
    assert str(report.ledger) == "20 in = 3 out + 17 dropped (not asked yet: 17)"
    with TeacherServer(polite) as server:
        assert ask(server, 20).ledger.rows_out == 20
        assert len(server.received) == 17


def test_doubtful_answers_are_flagged(ask):
    """An answer of exactly --max-tokens that says stop, and a prompt that the server cut; both are kept."""
    write_requests(ask.requests, 3, "word " * 50 + "{}")

    def behave(got, number):
        body = polite(got, number).body
        body["usage"] = {
            "prompt_tokens": 10 if number == 2 else 99,
            "completion_tokens": 7 if number == 3 else 5,
        }
        return Reply(body=body)

    with TeacherServer(behave) as server:
        report = ask(server, 0, GenerationConfig("tiny", max_tokens=7), pacing=Pacing(concurrency=1))
    assert report.ledger.rows_out == 3
    assert [line.get("flags") for line in read_jsonl(ask.journal)] == [None, ["prompt_cut"], ["at_limit"]]
    config = GenerationConfig("tiny", max_tokens=7)
    for counted in (report, status_of_requests(ask.requests, ask.journal, config)):
        assert counted.flags == {"prompt_cut": 1, "at_limit": 1}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(400, error("x", "invalid_request_error", "invalid_prompt")),
        Reply(400, {"error": {"code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
        Reply(body={"choices": [{"finish_reason": "content_filter"}]}),
        Reply(body={"choices": [], "promptFeedback": {"blockReason": "SAFETY"}}),
        Reply(400, b'{"error": {"code": "content_filter", "message": "\\ud800"}}'),
    ],
)
def test_refusals_are_not_asked_again(ask, reply):
    """Neither in this run nor in the next, and they are no failures."""
    with TeacherServer(lambda *_: reply) as server:
        assert ask(server, 2).ledger.dropped == {"refused": 2}
        assert not ask(server, 2).ledger.failed
        assert len(server.received) == 2


def test_a_servers_last_words_are_kept_and_shown(ask):
    """Also of an answer that it gave up, and of an error in a form of its own."""
    for reply, said in [
        (Reply(400, {"error": {"message": "Provider error", "metadata": {"raw": "too hot"}}}), "too hot"),
        (Reply(500, {"error": None, "message": "no memory"}), "no memory"),
        (Reply(body=completion("half", "abort")), "abort"),
    ]:
        with TeacherServer(lambda *_, reply=reply: reply) as server:
            report = ask(server, 1, pacing=Pacing(retries=0), fresh=True)
        assert said in report.progress.last_error
        assert said.encode() in ask.journal.read_bytes()


def test_a_proxy_is_not_used_for_this_machine(ask, monkeypatch):
    """It could not reach the server, or would read what it is sent."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with TeacherServer(polite) as server:
        assert ask(server, 2).ledger.rows_out == 2


@pytest.mark.parametrize("azure", [False, True])
def test_an_address_of_a_file_is_sent_nothing_of_the_environment(ask, monkeypatch, azure):
    """The client adds headers of its own variables, which can hold keys."""
    for name in (
        "OPENAI_API_KEY",
        "OPENAI_ORG_ID",
        "OPENAI_PROJECT_ID",
        "OPENAI_ADMIN_KEY",
        "AZURE_OPENAI_AD_TOKEN",
    ):
        monkeypatch.setenv(name, "mine-of-the-environment")
    headers = (
        "Authorization: Bearer mine-of-the-environment\napi-key: mine-of-the-environment\nX-Own: mine-of-the"
    )
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", headers)
    write_requests(ask.requests, 1)
    with TeacherServer(polite) as server:
        url = server.url.removesuffix("/v1") if azure else server.url
        endpoint = Endpoint(url, "its-own-key", azure, "2024-10-21" if azure else "", from_file=True)
        assert generate(ask.requests, ask.journal, GenerationConfig("tiny"), endpoint).ledger.rows_out == 1
        (got,) = server.received
    assert not [name for name, value in got.headers.items() if "mine-of-the" in value]
    name, value = ("api-key", "its-own-key") if azure else ("authorization", "Bearer its-own-key")
    assert got.headers[name] == value


def test_a_refused_key_stops_at_once(ask):
    """20,000 requests that would all fail alike are not sent."""
    with TeacherServer(lambda *_: Reply(401, error(f"Incorrect API key provided: {KEY}"))) as server:
        report = ask(server, 100, pacing=Pacing(concurrency=2))
        assert len(server.received) <= 3
    assert "every request would fail" in report.progress.stopped
    assert report.ledger.dropped["not asked yet"] >= 97


def test_the_newer_name_of_the_limit_is_found_out(ask):
    """Some models know max_tokens as max_completion_tokens only."""

    def behave(got, number):
        if "max_tokens" in got.body:
            return Reply(400, error("Unsupported parameter: use 'max_completion_tokens' instead."))
        assert got.body["max_completion_tokens"] == 512
        return polite(got, number)

    with TeacherServer(behave) as server:
        report = ask(server, 5, pacing=Pacing(concurrency=1))
        assert len(server.received) == 6
    assert report.ledger.rows_out == 5


def test_the_request_is_what_was_asked_for(ask):
    """Settings reach the server, and nothing else does."""
    config = GenerationConfig("tiny", max_tokens=7, temperature=0.5, logprobs=4, extra={"seed": 9})
    with TeacherServer(polite) as server:
        ask(server, 1, config)
    (got,) = server.received
    assert got.path == "/v1/chat/completions"
    assert got.headers["authorization"] == f"Bearer {KEY}"
    assert got.body == {
        "model": "tiny", "messages": [{"role": "user", "content": "q0"}], "max_tokens": 7, "temperature": 0.5,
        "logprobs": True, "top_logprobs": 4, "seed": 9,
    }  # fmt: skip


def test_azure_is_asked_its_way(ask):
    """The deployment in the path, the version in the query, the key in its own header."""
    write_requests(ask.requests, 1)
    with TeacherServer(polite) as server:
        endpoint = Endpoint(server.url.removesuffix("/v1"), KEY, azure=True, api_version="2024-10-21")
        report = generate(ask.requests, ask.journal, GenerationConfig("my-gpt"), endpoint)
    (got,) = server.received
    assert got.path == "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    assert got.headers["api-key"] == KEY
    assert report.ledger.rows_out == 1


def test_redirects_are_not_followed(ask):
    """No other host is sent the key."""
    with (
        TeacherServer(polite) as other,
        TeacherServer(lambda *_: Reply(307, b"", {"location": f"{other.url}/chat/completions"})) as server,
    ):
        report = ask(server, 3, pacing=Pacing(concurrency=1))
        assert not other.received
    assert report.ledger.rows_out == 0
    assert read_jsonl(ask.journal)[0]["error"]["type"] == "redirect"


def test_the_key_is_nowhere(ask, tmp_path, capfd):
    """Whatever the server quotes in an error, no file and no output holds the key."""
    quoted = [
        Reply(400, error(f"bad header Authorization: Bearer {KEY}")),
        Reply(body=completion("fine", KEY)),
        Reply(body=f"garbage {KEY}".encode()),
        Reply(400, f"{KEY}".encode()),
        Reply(400, {"error": {"type": KEY, "message": "x"}}),
        Reply(307, b"", {"location": f"http://x/?key={KEY}"}),
    ]
    with TeacherServer(lambda _, n: quoted[n % len(quoted)]) as server:
        for _ in range(3):
            ask(server, 12, pacing=Pacing(concurrency=1, retries=0), teacher="t")
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"[API key]" in written
    assert KEY.encode() not in written
    assert KEY not in "".join(capfd.readouterr())


def test_bad_requests_stop_after_what_is_in_flight(ask):
    """A row that is no request is an error with its line; answers that came are kept."""
    rows = write_requests(ask.requests, 3).read_bytes()
    ask.requests.write_bytes(rows + b'{"id": "r3"}\n')
    with TeacherServer(polite) as server, pytest.raises(InputError, match=r"requests\.jsonl:4: no messages"):
        ask(server, 0)
    assert_one_answer_each(ask.journal, 3)


def test_an_id_that_is_used_twice_is_reported(ask):
    """The answer to the one could not be told from that to the other: only the first is asked."""
    first = {"id": "r0", "messages": [{"role": "user", "content": "q0"}]}
    other = {"id": "r0", "messages": [{"role": "user", "content": "other"}]}
    ask.requests.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in (first, first, other)))
    with TeacherServer(polite) as server:
        report = ask(server, 0)
        assert len(server.received) == 1
    assert report.ledger.failed == {"its id is used twice": 2}


@pytest.mark.parametrize(
    "limits", [{"concurrency": 0}, {"rpm": 0}, {"tpm": -1}, {"retries": -1}, {"budget": 1.0}]
)
def test_limits_that_make_no_sense_are_refused(ask, limits):
    """Before anything is sent."""
    with TeacherServer(polite) as server:
        with pytest.raises(UsageError):
            ask(server, 1, pacing=Pacing(**limits))
        assert not server.received


# The command itself


def run_command(*words, **options):
    """``dataprep generate …``, finished."""
    environment = {**os.environ, "TEACHER_MODEL_API_KEY": KEY}
    return subprocess.run(
        [sys.executable, "-m", "dataprep", "generate", *map(str, words)],
        capture_output=True, text=True, env=environment, timeout=60, check=False, **options,
    )  # fmt: skip


@pytest.mark.medium
def test_the_command_answers_and_sums_up(tmp_path):
    """Exit 0, the ledger on stderr, nothing on stdout; the manifest says what was asked of whom."""
    requests = write_requests(tmp_path / "requests.jsonl", 5)
    with TeacherServer(polite) as server:
        words = (requests, "-o", tmp_path / "out.jsonl", "--model", "tiny", "--base-url", server.url)
        done = run_command(*words)
        assert (done.returncode, done.stdout) == (0, "")
        assert "5 in = 5 out" in done.stderr
        shown = run_command(*words, "--status", "--json")
    assert orjson.loads(shown.stderr)["out"] == 5
    manifest = orjson.loads((tmp_path / "out.manifest.json").read_bytes())
    assert (manifest["model"], manifest["endpoint"], manifest["out"]) == ("tiny", server.url, 5)


@pytest.mark.medium
def test_failed_rows_make_the_exit_code_1_after_all_else_is_written(tmp_path):
    """The others are there."""
    requests = write_requests(tmp_path / "requests.jsonl", 5)
    with TeacherServer(
        lambda got, n: Reply(400, error("no")) if got.question == "q2" else polite(got, n)
    ) as server:
        done = run_command(
            requests, "-o", tmp_path / "out.jsonl", "--model", "tiny", "--base-url", server.url
        )
    assert done.returncode == 1
    assert "5 in = 4 out + 1 failed" in done.stderr
    assert "400 server_error: no" in done.stderr
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 5


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_waits_for_what_is_in_flight(tmp_path, number):
    """Stops sending, writes what comes, says how to go on; the exit code is that of the signal."""
    requests, journal = write_requests(tmp_path / "requests.jsonl", 30), tmp_path / "out.jsonl"
    with TeacherServer(lambda got, n: Reply(body=polite(got, n).body, delay=0.7)) as server:
        words = [requests, "-o", journal, "--model", "tiny", "--base-url", server.url, "--concurrency", "4"]
        environment = {**os.environ, "TEACHER_MODEL_API_KEY": KEY}
        process = subprocess.Popen(
            [sys.executable, "-m", "dataprep", "generate", *map(str, words)],
            stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        while len(server.received) < 4:
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 128 + number
        assert "run the same command again" in said
        assert len(server.received) == 4
        assert len(read_jsonl(journal)) == 4


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait(tmp_path):
    """The user is in a hurry."""
    requests, journal = write_requests(tmp_path / "requests.jsonl", 30), tmp_path / "out.jsonl"
    with TeacherServer(lambda *_: Reply(hang=True)) as server:
        words = [requests, "-o", journal, "--model", "tiny", "--base-url", server.url, "--concurrency", "4"]
        process = subprocess.Popen(
            [sys.executable, "-m", "dataprep", "generate", *map(str, words)],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "TEACHER_MODEL_API_KEY": KEY},
        )  # fmt: skip
        while len(server.received) < 4:
            time.sleep(0.02)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        _, said = process.communicate(timeout=5)
    assert process.returncode == 130, said
    assert "Traceback" not in said


def test_the_command_says_whom_it_asks_and_what_is_doubtful(tmp_path):
    """The address before the first request; the key of the environment goes to no address of a file."""
    write_requests(tmp_path / "requests.jsonl", 2, "word " * 20)
    words = ("generate", "requests.jsonl", "-o", "out.jsonl", "--model", "tiny")
    with TeacherServer(polite) as server:
        (tmp_path / ".env").write_text(f"TEACHER_MODEL_ENDPOINT_URL={server.url}\n")
        environment = {"PATH": os.environ["PATH"], "OPENAI_API_KEY": KEY}
        refused = run_here(words, cwd=tmp_path, env=environment)
        assert (refused.code, server.received) == (2, [])
        assert f"give --base-url '{server.url}' if you trust it" in refused.err
        (tmp_path / ".env").write_text(f"TEACHER_MODEL_ENDPOINT_URL={server.url}\nOPENAI_API_KEY=its-own\n")
        done = run_here(words, cwd=tmp_path, env=environment)
        assert {got.headers["authorization"] for got in server.received} == {"Bearer its-own"}
    assert done.code == 0
    assert done.err.startswith(f"generate: asks tiny at {server.url}, the address in .env\n")
    assert "2 answers in the journal have the flag prompt_cut" in done.err


# What readers of the part found


def test_a_second_process_does_not_remove_the_first_ones_journal(ask):
    """It is turned away while the journal is still empty, and must leave it where it is."""
    with TeacherServer(lambda got, n: Reply(body=polite(got, n).body, delay=0.5)) as server:
        first = threading.Thread(target=lambda: ask(server, 3))
        first.start()
        while len(server.received) < 3:
            time.sleep(0.01)
        with pytest.raises(FileError, match="another process"):
            ask(server, 0)
        first.join()
    assert_one_answer_each(ask.journal, 3)


def test_answers_hold_again_when_a_change_is_taken_back(ask, tmp_path):
    """Neither a wrong setting that failed nor another prompt hides the answers that are there."""
    examples = tmp_path / "examples.jsonl"
    examples.write_bytes(
        b"".join(orjson.dumps({"id": f"r{n}", "question": f"q{n}", "task": "math"}) + b"\n" for n in range(3))
    )

    def collected():
        out = tmp_path / "qa.jsonl"
        collect_files([ask.journal], examples, out, to="qa")
        return [row["Answer"] for row in map(orjson.loads, out.read_bytes().splitlines())]

    def behave(got, number):
        return Reply(400, error("no")) if got.body["temperature"] == 7 else polite(got, number)

    with TeacherServer(behave) as server:
        ask(server, 3)
        ask(server, 3, GenerationConfig("tiny", temperature=7.0))
        ask(server, 3)
        assert collected() == [f"answer to q{n}" for n in range(3)]
        write_requests(ask.requests, 3, "changed {}")
        ask(server, 0)
        assert collected() == [f"answer to changed {n}" for n in range(3)]
        ask(server, 3)
        assert collected() == [f"answer to q{n}" for n in range(3)]
        size = ask.journal.stat().st_size
        ask(server, 3)
        assert ask.journal.stat().st_size == size
        assert len(server.received) == 9


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("STOP", "ok"),
        ("max_tokens", "length"),
        ("SAFETY", "refused"),
        ("abort", "failed"),
        ("tool_calls", "failed"),
        ("unknown", "unknown"),
        (None, "unknown"),
        ("", "unknown"),
        ("in its own words", "unknown"),
    ],
)
def test_only_known_reasons_end_a_whole_answer(ask, reason, outcome):
    """A server that gives up half-way says so in a word of its own."""
    with TeacherServer(lambda *_: Reply(body=completion("half an ans", reason))) as server:
        ledger = ask(server, 2).ledger
        assert len(server.received) == 2
        ask(server, 2)
        assert len(server.received) == (4 if outcome == "failed" else 2)
    assert all(line["response"] == "half an ans" for line in read_jsonl(ask.journal))
    assert ledger.rows_out == (2 if outcome == "ok" else 0)
    assert (ledger.failed | ledger.dropped).total() == (0 if outcome == "ok" else 2)
    if outcome != "ok":
        assert (ledger.failed | ledger.dropped)[outcome] == 2


def test_the_newer_name_costs_no_row_an_attempt(ask):
    """Also those that were in flight with the older one."""

    def behave(got, number):
        if "max_tokens" in got.body:
            return Reply(400, error("use 'max_completion_tokens' instead"), delay=0.05)
        return polite(got, number)

    with TeacherServer(behave) as server:
        report = ask(server, 20, pacing=Pacing(concurrency=16, retries=0))
    assert report.ledger.rows_out == 20


def test_several_answers_that_fail_are_failures(ask):
    """Each of them, so that the exit code says so and --no-retry-failed leaves them."""
    with TeacherServer(lambda *_: Reply(400, error("no"))) as server:
        config = GenerationConfig("tiny", n=3, temperature=1.0)
        report = ask(server, 3, config)
        assert report.ledger.failed == {"failed": 3}
        ask(server, 3, config, retry_failed=False)
        assert len(server.received) == 3


def test_good_answers_beside_a_bad_one_are_kept(ask):
    """They are paid for; only the bad one is asked again."""

    def behave(got, number):
        body = completion("fine", n=got.body.get("n", 1))
        if number == 1:
            body["choices"][1]["message"] = None
        return Reply(body=body)

    with TeacherServer(behave) as server:
        report = ask(server, 1, GenerationConfig("tiny", n=3, temperature=1.0))
        assert [got.body.get("n", 1) for got in server.received] == [3, 1]
    assert report.ledger.rows_out == 1
    assert {line["sample"] for line in read_jsonl(ask.journal)} == {0, 1, 2}


def fine(old=b"", new=b""):
    """The bytes of a completion, with a change."""
    return orjson.dumps(completion("fine")).replace(old, new) if old else orjson.dumps(completion("fine"))


def with_logprob(token):
    """The bytes of a completion whose log-probabilities are such a token's."""
    return fine(b'"index":0', b'"index":0,"logprobs":{"content":[%b]}' % token)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + fine(),
        fine(b'"fine"', b'"fine \\ud83d"'),
        with_logprob(b'{"token":"a","logprob":NaN}'),
        with_logprob(b'{"token":"a","logprob":-1e999}'),
        with_logprob(b'{"token":1,"logprob":[[]]}'),
        fine(b'"prompt_tokens":10', b'"prompt_tokens":99999999999999999999'),
        fine(b'"stop"', b'"stop\\ud83d"').replace(b'"usage"', b'"\\ud83d":1,"usage"'),
        fine(b'"content":', b'"reasoning":"\\ud83d","content":'),
        with_logprob(b'{"token":"\\ud83d","logprob":-1,"top_logprobs":[{"token":"\\udead","logprob":-1}]}'),
        with_logprob(b'{"token":"a","logprob":' + b"9" * 400 + b"}"),
    ],
)
def test_a_paid_answer_is_not_thrown_away_for_what_surrounds_it(ask, body):
    """Half an emoji, NaN, a byte order mark, odd log-probabilities and counts are mended or left out."""
    with TeacherServer(lambda *_: Reply(body=body)) as server:
        report = ask(server, 1, GenerationConfig("tiny", logprobs=1))
        assert len(server.received) == 1
    assert report.ledger.rows_out + report.ledger.dropped["unknown"] == 1
    assert read_jsonl(ask.journal)[0]["response"].startswith("fine")


@pytest.mark.parametrize("charset", ["zlib", "hex", "utf-7", "unicode_escape", "nonsense"])
def test_no_header_crashes_the_run(ask, charset):
    """Whatever a server says of itself, it is one failed row."""
    headers = {
        "content-type": f"text/html; charset={charset}",
        "retry-after": "Mon, 01 Jan 2024 00:00:00 +9999999999999999",
    }
    with TeacherServer(lambda *_: Reply(500, b"\\ud800 +2AA- x", headers)) as server:
        report = ask(server, 2, pacing=Pacing(retries=0))
    assert report.ledger.failed == {"failed": 2}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("before", [440, 480, 495])
@pytest.mark.parametrize("status", [200, 400])
def test_a_key_that_is_cut_off_is_cleared_too(ask, before, status):
    """Where a long message is cut, no part of the key remains."""
    for text in ("x" * before + KEY + "y" * 100, error("x" * before + KEY + "y" * 100)):
        body = text.encode() if isinstance(text, str) else text
        with TeacherServer(lambda *_, body=body: Reply(status, body)) as server:
            ask(server, 1, pacing=Pacing(retries=0), fresh=True)
        assert KEY[:9].encode() not in ask.journal.read_bytes()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("key", ["anything", "answer to", "content_filter", "server_error", KEY])
def test_a_models_words_are_never_changed(ask, key):
    """Not in the text, the thinking or the tokens; nor are ids and names, by which answers are found."""
    key = key.replace(" ", "_")
    body = completion(f"{key} or {key}", reasoning_content=f"so {key}")
    token = {"token": key, "logprob": -1, "top_logprobs": [{"token": key, "logprob": -1}]}
    body["choices"][0]["logprobs"] = {"content": [token]}
    messages = [{"role": "user", "content": f"{key}?"}]
    ask.requests.write_bytes(orjson.dumps({"id": f"row-{key}", "messages": messages}) + b"\n")
    with TeacherServer(lambda *_: Reply(body=body)) as server:
        for _ in range(2):
            generate(ask.requests, ask.journal, GenerationConfig(f"m-{key}"), Endpoint(server.url, key))
        assert len(server.received) == 1
    (line,) = read_jsonl(ask.journal)
    assert (line["id"], line["teacher"], line["model"]) == (f"row-{key}", f"m-{key}", f"m-{key}")
    assert (line["response"], line["reasoning"]) == (f"{key} or {key}", f"so {key}")
    assert line["logprobs"] == [{"token": key, "logprob": -1, "top": {key: -1}}]


@pytest.mark.parametrize("reason", ["content_filter", "max_output_tokens"])
def test_a_known_reason_is_kept_whatever_the_key(ask, reason):
    """A reason in the server's own words is cleared of the key, one that the journal knows is not."""
    with TeacherServer(lambda *_: Reply(body=completion("x", reason))) as server:
        write_requests(ask.requests, 1)
        generate(ask.requests, ask.journal, GenerationConfig("tiny"), Endpoint(server.url, reason))
    assert read_jsonl(ask.journal)[0]["finish_reason"] == reason


@pytest.mark.slow
def test_requests_through_a_slow_pipe_are_read_first(tmp_path):
    """So that no answer waits for the next row."""
    rows = write_requests(tmp_path / "requests.jsonl", 3).read_bytes().splitlines(keepends=True)
    with TeacherServer(polite) as server:
        words = [
            "generate",
            "-",
            "-o",
            str(tmp_path / "out.jsonl"),
            "--model",
            "tiny",
            "--base-url",
            server.url,
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "dataprep", *words],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TEACHER_MODEL_API_KEY": KEY},
        )  # fmt: skip
        for row in rows:
            process.stdin.write(row)
            process.stdin.flush()
            time.sleep(0.1)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert_one_answer_each(tmp_path / "out.jsonl", 3)


def test_one_name_a_model_in_a_journal(ask):
    """Answers under another name would be taken for done, and the new name would have none."""
    with TeacherServer(polite) as server:
        ask(server, 2, teacher="Tiny")
        with pytest.raises(UsageError, match="give --teacher 'Tiny'"):
            ask(server, 2, teacher="other")


def test_requests_are_no_journal(ask):
    """Not even with --fresh, which would rename them."""
    write_requests(ask.requests, 2)
    with TeacherServer(polite) as server, pytest.raises(UsageError, match="into the requests"):
        generate(ask.requests, ask.requests, GenerationConfig("tiny"), Endpoint(server.url, KEY), fresh=True)
    assert len(read_jsonl(ask.requests)) == 2


def test_a_journal_is_not_a_folder(ask):
    """`-o responses.jsonl/` is not the journal `responses.jsonl`, also where --fresh would rename it."""
    with TeacherServer(polite) as server:
        ask(server, 2)
        before = ask.journal.read_bytes()
        with pytest.raises(UsageError, match=r"responses\.jsonl/: names a folder"):
            generate(
                ask.requests,
                f"{ask.journal}/",
                GenerationConfig("tiny"),
                Endpoint(server.url, KEY),
                fresh=True,
            )
    assert ask.journal.read_bytes() == before


def test_a_budget_holds_over_runs_where_the_server_does_not_count(ask):
    """What an answer can have cost at most is kept in the journal, and said to be an estimate."""

    def behave(got, number):
        body = polite(got, number).body
        del body["usage"]
        return Reply(body=body)

    pacing = Pacing(concurrency=1, budget=3.0, price_in=10_000.0, price_out=10_000.0)
    with TeacherServer(behave) as server:
        for _ in range(3):
            ask(server, 20, GenerationConfig("tiny", max_tokens=5), pacing=pacing)
        spent = sum(
            sum(line["usage"][f"{kind}_tokens"] for kind in ("prompt", "completion"))
            for line in read_jsonl(ask.journal)
        )
        assert spent * 0.01 <= 3.0
        assert all(line["usage"]["estimated"] for line in read_jsonl(ask.journal))
        assert 1 <= len(server.received) <= 10


def test_one_forbidden_prompt_does_not_stop_the_others(ask):
    """But a key without permission does."""
    behave = lambda got, n: Reply(403, error("moderated")) if got.question == "q5" else polite(got, n)  # noqa: E731
    with TeacherServer(behave) as server:
        assert ask(server, 10, pacing=Pacing(concurrency=1)).ledger.rows_out == 9
    ask.journal.unlink()
    with TeacherServer(lambda *_: Reply(403, error("no permission"))) as server:
        assert "every request would fail" in ask(server, 10, pacing=Pacing(concurrency=1)).progress.stopped


@pytest.mark.slow
def test_a_long_file_is_compared_on_all_cores_with_the_same_result(ask, monkeypatch):
    """Blank lines, answered and missing rows: nothing is asked twice, and every row gets its own answer."""
    monkeypatch.setattr("dataprep.core.parallel.AUTO_WORKERS_BYTES", 0)
    rows = write_requests(ask.requests, 30).read_bytes().splitlines(keepends=True)
    ask.requests.write_bytes(b"\n".join(rows[:20]))
    with TeacherServer(polite) as server:
        assert ask(server, 0, pacing=Pacing(limit=7)).ledger.rows_out == 7
        ask.requests.write_bytes(b"\n \n".join(rows))
        report = ask(server, 0)
        assert len(server.received) == 30
        assert ask(server, 0).progress.sent == 0
    assert str(report.ledger) == "30 in = 30 out"
    assert_one_answer_each(ask.journal, 30)


def test_a_bad_row_in_a_long_file_is_named_by_its_line(ask, monkeypatch):
    """What precedes it is asked; what is wrong is said with the line in the file."""
    monkeypatch.setattr("dataprep.core.parallel.AUTO_WORKERS_BYTES", 0)
    rows = write_requests(ask.requests, 3).read_bytes()
    ask.requests.write_bytes(rows + b"\n{half\n")
    with TeacherServer(polite) as server, pytest.raises(InputError, match=r"requests\.jsonl:5: "):
        ask(server, 0)
    assert_one_answer_each(ask.journal, 3)
