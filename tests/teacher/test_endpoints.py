"""``generate`` with several endpoints: what one fails is asked of the others, and nothing twice."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import UsageError
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.generate import generate, run
from dataprep.teacher.protocol import Answer, RequestError
from dataprep.teacher.settings import Endpoint, Pacing, endpoints_of
from tests.helpers import read_jsonl
from tests.teacher.test_generate import KEY, assert_one_answer_each, run_command, write_requests
from tests.teacher_server import Reply, TeacherServer, completion, error, polite

TINY = GenerationConfig("tiny")


def slow(seconds):
    """A polite server that takes so long."""
    return lambda got, number: Reply(body=polite(got, number).body, delay=seconds)


@contextmanager
def servers(*behaviours, **options):
    """Several servers, one for each way to behave."""
    with ExitStack() as stack:
        yield [stack.enter_context(TeacherServer(each, **options)) for each in behaviours]


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """A function that asks servers; waits are short."""
    monkeypatch.setattr("dataprep.teacher.pacing.FIRST_WAIT", 0.01)
    monkeypatch.setattr("dataprep.teacher.pacing.FIRST_ASIDE", 0.05)
    requests, journal = tmp_path / "requests.jsonl", tmp_path / "responses.jsonl"

    def call(asked, count=40, config=TINY, **options):
        if count:
            write_requests(requests, count)
        options.setdefault("pacing", Pacing(concurrency=4))
        call.said.clear()
        endpoints = [Endpoint(each if type(each) is str else each.url, KEY) for each in asked]
        return generate(requests, journal, config, endpoints, log=call.said.append, **options)

    call.requests, call.journal, call.said = requests, journal, []
    return call


@pytest.fixture(scope="module")
def nobody():
    """Addresses at which nobody listens."""
    with servers(polite, polite, polite) as ended:
        pass
    return [each.url for each in ended]


# Which endpoint is asked


@pytest.mark.medium
def test_all_endpoints_are_asked_at_once_each_within_its_own_limit(ask):
    """Equal servers get equal shares, and the number in flight is that of each endpoint."""
    with servers(slow(0.02), slow(0.02), slow(0.02)) as all_servers:
        report = ask(all_servers, 120)
        assert [each.most for each in all_servers] == [4, 4, 4]
        assert min(len(each.received) for each in all_servers) >= 30
        assert report.endpoints == {
            each.url: {"sent": len(each.received), "answered": len(each.received)} for each in all_servers
        }
    assert report.ledger.rows_out == 120
    assert_one_answer_each(ask.journal, 120)
    assert not ask.said


@pytest.mark.medium
def test_a_slow_endpoint_holds_nobody_up(ask):
    """It gets no more than it has slots for; the fast one gets the rest."""
    with servers(slow(1.0), slow(0.01)) as (lame, fast):
        began = time.monotonic()
        ask([lame, fast], 60, pacing=Pacing(concurrency=2))
        assert time.monotonic() - began < 6
        assert 1 <= len(lame.received) <= 8
        assert len(fast.received) == 60 - len(lame.received)
    assert_one_answer_each(ask.journal, 60)


def test_each_endpoint_has_its_own_rate(ask):
    """1,200 a minute at each of two: 50 ms between the requests of each, not between those of both."""
    with servers(polite, polite) as both:
        ask(both, 20, pacing=Pacing(concurrency=10, rpm=1_200))
        for each in both:
            times = [got.at for got in each.received]
            assert 5 <= len(times) <= 15
            # A busy machine sees the first ones late; without a rate, all would come at once.
            assert times[-1] - times[0] >= (len(times) - 1) * 0.05 / 2


# What one endpoint fails


FAULTS = [
    Reply(429, error("slow", "rate_limit_error"), {"retry-after": "60"}),
    Reply(429, error("slow", "rate_limit_error")),
    Reply(429, error("daily limit"), {"retry-after": "86400"}),
    Reply(500, error("oops")),
    Reply(503, b"<html>busy</html>", {"content-type": "text/html"}),
    Reply(400, error("logprobs are not supported")),
    Reply(401, error("wrong key")),
    Reply(402, error("Insufficient Balance")),
    Reply(404, error("no model")),
    Reply(307, b"", {"location": "http://elsewhere/v1"}),
    Reply(reset=True),
    Reply(body=b"<html>hello</html>", headers={"content-type": "text/html"}),
    Reply(body=completion("x" * 1000), cut=300),
    Reply(hang=True),
]


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize("retries", [pytest.param(0, marks=pytest.mark.slow), 6])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda reply: f"{reply.status}-{str(reply.body)[:12]}")
def test_what_one_endpoint_always_fails_the_others_answer(ask, fault, retries):
    """Also without retries: each request is asked of another endpoint before it is a failure."""
    options = {"timeout": 0.3 if fault.hang else 30, "pacing": Pacing(concurrency=4, retries=retries)}
    with servers(lambda *_: fault, slow(0.01), slow(0.01)) as (bad, *good):
        report = ask([bad, *good], 60, **options)
        assert len(bad.received) < 60
        assert all(each.received for each in good)
    assert str(report.ledger) == "60 in = 60 out"
    assert_one_answer_each(ask.journal, 60)
    assert not report.progress.stopped
    assert {line["endpoint"] for line in read_jsonl(ask.journal)} == {each.url for each in good}


@pytest.mark.medium
def test_an_endpoint_that_is_not_there_is_set_aside_with_a_line(ask, nobody):
    """A few requests find that out, and it is tried again from time to time."""
    with servers(slow(0.02)) as (good,):
        report = ask([nobody[0], good], 60)
    assert report.ledger.rows_out == 60
    assert_one_answer_each(ask.journal, 60)
    assert ask.said[0].startswith(f"{nobody[0]} is set aside for 0 s: connection_error: ")
    assert "start the server, or check --base-url" in ask.said[0]
    assert len(ask.said) == 1
    assert report.endpoints[nobody[0]]["sent"] < 30


@pytest.mark.slow
def test_an_endpoint_that_is_back_gets_requests_again(ask):
    """It is probed with one request at a time, and one answer ends that."""
    probes = []

    def behave(got, number):
        # Until it was set aside, and for two probes more.
        failing = number > 10 and len(probes) < 2
        if failing and ask.said:
            probes.append(number)
        return Reply(500, error("oops")) if failing else slow(0.01)(got, number)

    with servers(behave, slow(0.01)) as both:
        report = ask(both, 400)
        assert len(both[0].received) > 60
    assert_one_answer_each(ask.journal, 400)
    assert str(report.ledger) == "400 in = 400 out"
    assert [words.split(" ", 1)[1][:12] for words in ask.said] == ["is set aside", "answers agai"]


@pytest.mark.medium
def test_a_busy_endpoint_gets_fewer_and_the_other_no_fewer(ask):
    """429 above two in flight shrinks the limit of the one that says so."""

    def behave(got, number):
        if busy._now > 2:
            return Reply(429, error("slow", "rate_limit_error"))
        return Reply(body=polite(got, number).body, delay=0.02)

    with TeacherServer(behave) as busy, TeacherServer(slow(0.02)) as free:
        report = ask([busy, free], 200, pacing=Pacing(concurrency=8, retries=20))
        assert free.most == 8
    assert report.ledger.rows_out == 200
    assert_one_answer_each(ask.journal, 200)


def test_a_prompt_that_all_endpoints_refuse_is_one_failed_row(ask):
    """Asked once of each, as no retry helps; nobody is set aside for it, however many there are."""
    bad = {f"q{number}" for number in range(10, 40)}
    behave = lambda got, n: Reply(400, error("too long")) if got.question in bad else polite(got, n)  # noqa: E731
    with servers(behave, behave, behave) as all_servers:
        report = ask(all_servers, 60)
        assert all(each.asked(question) == 1 for each in all_servers for question in bad)
    assert str(report.ledger) == "60 in = 30 out + 30 failed (failed: 30)"
    assert not ask.said
    assert not report.progress.stopped
    failed = [line for line in read_jsonl(ask.journal) if line["error"]]
    assert {(line["error"]["status"], line["attempts"]) for line in failed} == {(400, 3)}


@pytest.mark.medium
def test_prompts_that_crash_every_endpoint_are_failed_rows(ask):
    """Each gets --retries further attempts in all, and its failures set nobody aside."""
    bad = {f"q{number}" for number in range(30, 60)}
    behave = lambda got, n: Reply(500, error("boom")) if got.question in bad else polite(got, n)  # noqa: E731
    with servers(behave, behave) as both:
        report = ask(both, 60, pacing=Pacing(concurrency=4, retries=3))
        sent = Counter(got.question for each in both for got in each.received)
        assert {sent[question] for question in bad} == {4}
        assert all(each.asked(question) for each in both for question in bad)
    assert str(report.ledger) == "60 in = 30 out + 30 failed (failed: 30)"
    assert not report.progress.stopped


def test_a_refused_prompt_is_not_taken_to_another_endpoint(ask):
    """A filter's word is an outcome, and no failure."""
    with servers(*[lambda *_: Reply(400, error("filtered", code="content_filter"))] * 2) as both:
        report = ask(both, 6)
        assert sum(len(each.received) for each in both) == 6
    assert report.ledger.dropped == {"refused": 6}


def test_each_endpoint_is_asked_its_way(ask):
    """One wants another name for the limit, one refuses several answers; neither costs an attempt."""

    def newer(got, number):
        if "max_tokens" in got.body:
            return Reply(400, error("Unsupported parameter: use 'max_completion_tokens' instead."))
        return polite(got, number)

    def single(got, number):
        if got.body.get("n", 1) > 1:
            return Reply(400, error("Only one completion choice is allowed"))
        return polite(got, number)

    config = GenerationConfig("tiny", n=3, temperature=1.0)
    with servers(newer, single) as both:
        report = ask(both, 20, config, pacing=Pacing(concurrency=2, retries=0))
        assert all(each.received for each in both)
    assert report.ledger.rows_out == 20
    samples = Counter((line["id"], line["sample"]) for line in read_jsonl(ask.journal))
    assert samples == {(f"r{n}", sample): 1 for n in range(20) for sample in range(3)}


# What all endpoints fail


def test_endpoints_of_which_none_answers_stop_the_run(ask, nobody):
    """The reason names each of them; nothing is a failure, and another endpoint answers everything."""
    report = ask(nobody, 100)
    assert report.progress.stopped.startswith("every endpoint fails: ")
    assert all(url in report.progress.stopped for url in nobody)
    assert report.progress.sent < 60
    assert report.ledger.dropped == {"not asked yet": 100}
    with servers(polite) as good:
        assert ask(good, 100).ledger.rows_out == 100


@pytest.mark.sampled(3)
@pytest.mark.parametrize("fault", FAULTS[5:10], ids=lambda reply: str(reply.status))
def test_what_every_endpoint_answers_to_every_request_stops_the_run(ask, fault):
    """An unknown model, a setting that none accepts: the rest is not sent for nothing."""
    with servers(*[lambda *_: fault] * 3) as bad:
        report = ask(bad, 200)
        assert sum(len(each.received) for each in bad) < 100
    assert "every endpoint fails" in report.progress.stopped
    assert report.ledger.dropped["not asked yet"] > 120


@pytest.mark.medium
def test_an_outage_of_all_endpoints_is_waited_for(ask):
    """Requests that meet it are neither failures nor lost."""
    gone = []

    def behave(got, number):
        if number == 20:
            gone.append(time.monotonic())
        if gone and time.monotonic() - gone[0] < 0.25:
            return Reply(401, error("the gateway restarts"))
        return slow(0.005)(got, number)

    with servers(behave, behave) as both:
        report = ask(both, 200, pacing=Pacing(concurrency=4, retries=0))
    assert str(report.ledger) == "200 in = 200 out"
    assert_one_answer_each(ask.journal, 200)
    assert sum("is set aside" in words for words in ask.said) >= 2


@pytest.mark.medium
def test_an_outage_that_does_not_end_stops_the_run(ask):
    """After a few waits; the same command continues later."""
    behave = lambda got, n: polite(got, n) if n <= 10 else Reply(401, error("gone"))  # noqa: E731
    with servers(behave, behave) as both:
        report = ask(both, 100)
        assert sum(len(each.received) for each in both) < 60
    assert "every endpoint fails" in report.progress.stopped
    assert report.ledger.rows_out == 20
    assert report.ledger.dropped == {"not asked yet": 80}
    with servers(polite, polite) as both:
        assert ask(both, 100).ledger.rows_out == 100
    assert_one_answer_each(ask.journal, 100)


def test_a_wait_of_hours_at_every_endpoint_stops_the_run(ask):
    """At one of them it only sets that one aside."""
    fault = Reply(429, error("daily limit"), {"retry-after": "86400"})
    with servers(lambda *_: fault, lambda *_: fault) as both:
        report = ask(both, 20)
    assert "every endpoint fails" in report.progress.stopped
    assert "set aside for 24.0 hours" in ask.said[0]
    assert report.ledger.dropped == {"not asked yet": 20}


def test_a_request_that_only_a_waiting_endpoint_could_answer_is_not_waited_for(ask):
    """One refuses it, the other asks to wait for a day: the run ends at once."""
    refusing = lambda got, n: Reply(400, error("no")) if got.question == "q3" else polite(got, n)  # noqa: E731
    waiting = lambda *_: Reply(429, error("daily limit"), {"retry-after": "86400"})  # noqa: E731
    with servers(refusing, waiting) as both:
        began = time.monotonic()
        report = ask(both, 20, pacing=Pacing(concurrency=1))
        assert time.monotonic() - began < 20
    assert report.ledger.rows_out == 19


# One journal, one budget


def test_keys_and_answers_do_not_depend_on_the_endpoints(ask):
    """A resumed run with another number of endpoints asks only what is missing; lines differ in one field."""

    def lines():
        kept = ("id", "key", "teacher", "model", "sample", "max_tokens", "response", "usage", "attempts")
        return sorted(tuple(str(line[name]) for name in kept) for line in read_jsonl(ask.journal))

    with servers(polite, polite, polite) as three:
        ask(three, 30)
        several = lines()
        assert all(line["endpoint"] for line in read_jsonl(ask.journal))
        ask.journal.unlink()
        ask(three[:1], 12)
        assert not any("endpoint" in line for line in read_jsonl(ask.journal))
        ask(three[1:], 24)
        ask(three, 30)
        sent = [got.question for each in three for got in each.received]
        assert len(sent) == 60
        assert ask(three[:2], 30).progress.sent == 0
    assert lines() == several
    assert_one_answer_each(ask.journal, 30)


def test_one_budget_and_one_limit_for_all(ask):
    """Never more than that, however many endpoints are asked at once."""
    prices = {"price_in": 100_000.0, "price_out": 100_000.0}  # $1.50 an answer
    config = GenerationConfig("tiny", max_tokens=5)
    with servers(slow(0.02), slow(0.02), slow(0.02)) as three:
        report = ask(three, 40, config, pacing=Pacing(concurrency=8, budget=20.0, **prices))
        assert 5 <= sum(len(each.received) for each in three) <= 13
        assert report.progress.cost <= 20.0
        assert "budget" in report.progress.stopped
        before = sum(len(each.received) for each in three)
        ask(three, 40, config, pacing=Pacing(limit=7))
        assert sum(len(each.received) for each in three) == before + 7


def test_a_key_is_told_to_no_one(ask, tmp_path):
    """Neither in the line about an endpoint nor in the reason to stop."""
    fault = Reply(401, error(f"Incorrect API key provided: {KEY}"))
    with servers(lambda *_: fault, lambda *_: fault) as both:
        report = ask(both, 5)
    said = "".join([*ask.said, report.progress.stopped, report.progress.last_error])
    assert "[API key]" in said
    assert KEY not in said
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


# Which models they serve


def test_an_endpoint_that_serves_another_model_is_named_before_anything_is_sent(ask):
    """Only if others list the model: some servers list a name of their own."""
    with TeacherServer(polite, models=["tiny"]) as good, TeacherServer(polite, models=["big"]) as other:
        with pytest.raises(UsageError, match=f"{other.url}: found the models 'big', expected 'tiny'"):
            ask([good, other], 4)
        assert not good.received + other.received
        assert not ask.journal.exists()
        assert ask([other], 4).ledger.rows_out == 4
        assert ask([good], 4).ledger.rows_out == 4


def test_a_list_of_models_is_asked_of_nobody_who_has_none(ask, nobody):
    """No such path, no server, no JSON, a tag behind the name: none of these is an error."""
    with (
        TeacherServer(polite, models=["tiny:latest"]) as tagged,
        TeacherServer(polite) as without,
    ):
        report = ask([tagged, without, nobody[0]], 12)
    assert report.ledger.rows_out == 12


# Endpoints that are killed


class Process:
    """A server in a process of its own, which can be killed."""

    def __init__(self, log, delay):
        words = [sys.executable, "-m", "tests.teacher_server", str(log), str(delay)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.log, self.url = log, f"http://127.0.0.1:{self.process.stdout.readline().strip()}/v1"

    def kill(self):
        """End it by SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()

    def lines(self, word):
        """The questions behind a word in its log."""
        texts = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.removeprefix(word) for line in texts if line.startswith(word)]


def run_and_kill_endpoints(ask, folder, seed):
    """A run over three endpoints, of which two are killed at random moments."""
    chance, rows, concurrency = random.Random(seed), 150, 6
    processes = [Process(folder / f"log{number}", 0.02) for number in range(3)]
    killed = chance.sample(processes, 2)
    moments = sorted(chance.randrange(1, rows - 20) for _ in killed)

    def watch(progress):
        while moments and progress.answered >= moments[0]:
            moments.pop(0)
            killed[len(moments)].kill()

    try:
        report = ask(
            [each.url for each in processes], rows, pacing=Pacing(concurrency=concurrency), on_progress=watch
        )
    finally:
        for process in processes:
            if process.process.poll() is None:
                process.kill()
    assert not moments, "both were killed in the run"
    assert str(report.ledger) == f"{rows} in = {rows} out"
    assert_one_answer_each(ask.journal, rows)
    by_url = {each.url: each for each in processes}
    origin = {f"q{line['id'][1:]}": by_url[line["endpoint"]] for line in read_jsonl(ask.journal)}
    asked, given = ([each.lines(word) for each in processes] for word in ("asked ", "answer to "))
    assert all(question in each.lines("asked ") for question, each in origin.items())
    # Only what was in flight at an endpoint when it was killed is asked again; hardly any of it was answered.
    assert sum(map(len, asked)) - rows <= 2 * concurrency
    assert sum(map(len, given)) - rows <= 2
    # A survivor is asked nothing twice.
    for each in (each for each in processes if each not in killed):
        assert max(Counter(each.lines("asked ")).values()) == 1


@pytest.mark.medium
def test_a_killed_endpoint_loses_no_answer_and_repeats_none(ask, tmp_path):
    """What it had answered stays, what it had not is asked of the others."""
    run_and_kill_endpoints(ask, tmp_path, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 21))
def test_endpoints_killed_at_any_moment(ask, tmp_path, seed):
    """Twenty seeded moments."""
    run_and_kill_endpoints(ask, tmp_path, seed)


# Endpoints that behave anyhow


class Fake:
    """An endpoint without a socket: it does what its turns say, again and again."""

    def __init__(self, turns, name):
        self.turns, self.name, self.asked, self.count = turns, name, [], 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def ask(self, body, choices=()):  # noqa: ARG002 - as the client calls it
        """Take the next turn."""
        question = body["messages"][0]["content"]
        turn = self.turns[self.count % len(self.turns)]
        self.count += 1
        self.asked.append(question)
        await asyncio.sleep(0)
        if turn == "answer":
            return [Answer(f"answer to {question}", "stop")], {"prompt_tokens": 1, "completion_tokens": 1}
        raise {
            "refused": lambda: RequestError("connection_error", "cannot be reached"),
            "lost": lambda: RequestError("connection_lost", "gone"),
            "late": lambda: RequestError("timeout", "no whole answer"),
            "busy": lambda: RequestError("rate_limit_error", "slow", status=429),
            "broken": lambda: RequestError("server_error", "oops", status=500),
            "wrong": lambda: RequestError("bad_request", "no", status=400, retryable=False),
            "key": lambda: RequestError("http_error", "no key", status=401, retryable=False, fatal=True),
        }[turn]()


TURNS = st.sampled_from(["answer", "answer", "refused", "lost", "late", "busy", "broken", "wrong", "key"])


@pytest.mark.medium
@given(st.lists(st.lists(TURNS, min_size=1, max_size=6), min_size=2, max_size=4), st.integers(0, 3))
def test_whatever_endpoints_do_each_request_ends_once(tmp_path_factory, turns, retries):
    """An answer of one, or a failure of all; and a sound endpoint means that everything is answered."""
    folder = tmp_path_factory.mktemp("run")
    requests, journal = write_requests(folder / "requests.jsonl", 25), folder / "responses.jsonl"
    fakes = [Fake(each, f"http://{number}") for number, each in enumerate(turns)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dataprep.teacher.pacing.FIRST_WAIT", 1e-4)
        patch.setattr("dataprep.teacher.pacing.FIRST_ASIDE", 1e-3)
        report = run(
            requests, journal, TINY, {each.name: lambda each=each: each for each in fakes},
            teacher="tiny", pacing=Pacing(concurrency=3, retries=retries),
        )  # fmt: skip
    lines = read_jsonl(journal) if journal.exists() else []
    answered = Counter(line["id"] for line in lines if line["error"] is None)
    failed = Counter(line["id"] for line in lines if line["error"] is not None)
    assert set((answered + failed).values()) <= {1}
    assert report.ledger.rows_out == len(answered)
    assert len(answered) + len(failed) + report.ledger.dropped["not asked yet"] == 25
    assert bool(report.ledger.dropped["not asked yet"]) == bool(report.progress.stopped)
    if ["answer"] in [sorted(set(each)) for each in turns]:
        assert len(answered) == 25
    # A failure was asked of every endpoint, except of those that were set aside.
    for name in failed:
        asked = {each.name for each in fakes if f"q{name[1:]}" in each.asked}
        idle = {each.name for each in fakes if each.name not in asked}
        assert all(set(fake.turns) != {"answer"} for fake in fakes if fake.name in idle)


# The command


@pytest.mark.medium
def test_the_command_takes_several_endpoints(tmp_path):
    """It names each before and after; the JSON and the manifest count for each."""
    requests = write_requests(tmp_path / "requests.jsonl", 20)
    words = (requests, "-o", tmp_path / "out.jsonl", "--model", "tiny")
    with servers(polite, polite) as both:
        flags = [word for each in both for word in ("--base-url", each.url)]
        done = run_command(*words, *flags)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        for each in both:
            assert f"generate: asks tiny at {each.url}\n" in done.stderr
            assert (
                f"  {each.url}: {len(each.received)} of {len(each.received)} requests answered" in done.stderr
            )
        manifest = orjson.loads((tmp_path / "out.manifest.json").read_bytes())
        assert manifest["endpoint"] == [each.url for each in both]
        assert {url: counts["sent"] for url, counts in manifest["endpoints"].items()} == {
            each.url: len(each.received) for each in both
        }
        recorded = orjson.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())
        assert recorded["options"]["--base-url"] == [each.url for each in both]
        again = run_command(*words, *flags[:2], "--json")
        assert orjson.loads(again.stderr)["sent"] == 0


def test_the_command_says_which_endpoint_is_set_aside(run, tmp_path, nobody, monkeypatch):
    """On standard error, and not in JSON."""
    monkeypatch.setenv("TEACHER_MODEL_API_KEY", KEY)
    monkeypatch.setattr("dataprep.teacher.pacing.FIRST_WAIT", 0.001)
    write_requests(tmp_path / "requests.jsonl", 60)
    words = ["generate", "requests.jsonl", "--model", "tiny", "--concurrency", "2"]
    with servers(slow(0.01)) as (good,):
        words += ["--base-url", nobody[0], "--base-url", good.url]
        done = run(*words, "-o", "a.jsonl")
        assert done.code == 0, done.err
        assert f"generate: {nobody[0]} is set aside for 10 s: connection_error" in done.err
        shown = orjson.loads(run(*words, "-o", "b.jsonl", "--json").err)
    assert shown["endpoints"][good.url] == {"sent": 60, "answered": 60}


@pytest.mark.parametrize("as_list", [True, False])
def test_a_file_of_options_gives_one_endpoint_or_several(run, tmp_path, monkeypatch, as_list):
    """A string, as in files that were written before there could be several, or a list."""
    monkeypatch.setenv("TEACHER_MODEL_API_KEY", KEY)
    write_requests(tmp_path / "requests.jsonl", 8)
    with servers(slow(0.01), slow(0.01)) as both:
        urls = [each.url for each in both] if as_list else both[0].url
        (tmp_path / "c.toml").write_text(f"base_url = {orjson.dumps(urls).decode()}\nmodel = 'tiny'\n")
        done = run("generate", "requests.jsonl", "-o", "out.jsonl", "--config", "c.toml")
        assert done.code == 0, done.err
        assert [bool(each.received) for each in both] == [True, as_list]


def test_the_environment_names_several_endpoints():
    """With spaces between them; flags win over all of them."""
    variables = {"TEACHER_MODEL_ENDPOINT_URL": "http://a/v1  http://b/v1", "OPENAI_API_KEY": "k"}
    assert [each.base_url for each in endpoints_of(variables)] == ["http://a/v1", "http://b/v1"]
    (flag,) = endpoints_of(variables, base_urls=["http://c/v1"])
    assert (flag.base_url, flag.api_key) == ("http://c/v1", "k")
    with pytest.raises(UsageError, match="expected http"):
        endpoints_of({"TEACHER_MODEL_ENDPOINT_URL": "http://a/v1 b"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--batch", "export"], "--batch export asks no endpoint"),
        (["--batch", "import", "--batch-file", "x.jsonl"], "--batch import asks no endpoint"),
        (["--engine", "transformers"], "--engine transformers asks no endpoint"),
        (["--base-url", "http://a/v1"], "each of them once"),
    ],
)
def test_where_several_endpoints_make_no_sense_they_are_refused(run, tmp_path, words, said):
    """Exit code 2, and nothing is written."""
    write_requests(tmp_path / "requests.jsonl", 2)
    urls = ["--base-url", "http://a/v1", "--base-url", "http://b/v1"]
    done = run("generate", "requests.jsonl", "-o", "out.jsonl", "--model", "tiny", *urls, *words)
    assert (done.code, said in done.err) == (2, True), done.err
    assert [path.name for path in tmp_path.iterdir()] == ["requests.jsonl"]


@pytest.mark.slow
def test_ctrl_c_waits_for_what_is_in_flight_at_all_endpoints(tmp_path):
    """And the same command continues."""
    requests, journal = write_requests(tmp_path / "requests.jsonl", 40), tmp_path / "out.jsonl"
    with servers(slow(0.5), slow(0.5)) as both:
        words = [requests, "-o", journal, "--model", "tiny", "--concurrency", "2"]
        words += [word for each in both for word in ("--base-url", each.url)]
        process = subprocess.Popen(
            [sys.executable, "-m", "dataprep", "generate", *map(str, words)],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "TEACHER_MODEL_API_KEY": KEY},
        )  # fmt: skip
        while sum(len(each.received) for each in both) < 4:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 130, said
        assert [len(each.received) for each in both] == [2, 2]
    assert len(read_jsonl(journal)) == 4
