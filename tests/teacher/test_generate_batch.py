"""Batch files: written within the provider's limits, and their results taken into the journal once."""

import json

import orjson
import pytest

from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.batch_api import export_batch, import_batch
from dataprep.teacher.generate import generate
from dataprep.teacher.settings import Endpoint
from tests.helpers import read_jsonl, run_here
from tests.teacher.test_generate import assert_one_answer_each, run_command, write_requests
from tests.teacher_server import TeacherServer, completion, error, polite

TINY = GenerationConfig("tiny")


@pytest.fixture
def places(tmp_path):
    """Requests and a journal's place."""
    return write_requests(tmp_path / "requests.jsonl", 10), tmp_path / "responses.jsonl"


def results_of(paths, wrong=()):
    """What a provider sends back for batch files: answers, in another order, and a failure here and there."""
    rows = [row for path in paths for row in read_jsonl(path)]
    for number, row in enumerate(reversed(rows)):
        question = row["body"]["messages"][-1]["content"]
        body = completion(f"answer to {question}")
        response = {"status_code": 200, "request_id": "x", "body": body}
        if question in wrong:
            response = {"status_code": 500, "request_id": "x", "body": error("oops")}
        yield {"id": f"batch_{number}", "custom_id": row["custom_id"], "response": response, "error": None}


def write(rows, path):
    """A result file."""
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def test_a_batch_holds_what_the_journal_lacks(places):
    """Requests that were answered are not in it; the layout is the provider's."""
    requests, journal = places
    write_requests(requests, 4)
    with TeacherServer(polite) as server:
        generate(requests, journal, TINY, Endpoint(server.url, "k"))
    write_requests(requests, 10)
    paths, count = export_batch(requests, journal, TINY)
    assert (len(paths), count) == (1, 6)
    rows = read_jsonl(paths[0])
    assert [row["body"]["messages"][0]["content"] for row in rows] == [f"q{n}" for n in range(4, 10)]
    assert rows[0].keys() == {"custom_id", "method", "url", "body"}
    assert (rows[0]["method"], rows[0]["url"]) == ("POST", "/v1/chat/completions")
    assert rows[0]["body"] == {
        "model": "tiny", "messages": [{"role": "user", "content": "q4"}],
        "max_tokens": 512, "temperature": 0.0,
    }  # fmt: skip
    with pytest.raises(FileError, match="exists already"):
        export_batch(requests, journal, TINY)


def test_batches_are_split_at_the_limits(places):
    """By requests and by bytes; every request is in exactly one."""
    requests, journal = places
    paths, _ = export_batch(requests, journal, TINY, most_requests=4)
    assert [len(read_jsonl(path)) for path in paths] == [4, 4, 2]
    names = [row["custom_id"] for path in paths for row in read_jsonl(path)]
    assert len(set(names)) == 10
    for path in paths:
        path.unlink()
    size = 2 * max(len(line) + 1 for path in [export_one(places)] for line in path.read_bytes().splitlines())
    paths, _ = export_batch(requests, journal.with_name("b.jsonl"), TINY, most_bytes=size)
    assert len(paths) >= 5
    assert all(path.stat().st_size <= size for path in paths)
    with pytest.raises(InputError, match="larger than a batch"):
        export_batch(requests, journal.with_name("c.jsonl"), TINY, most_bytes=50)


def export_one(places):
    """One file with everything."""
    (path,), _ = export_batch(places[0], places[1].with_name("a.jsonl"), TINY)
    return path


def test_results_go_into_the_journal_once(places, tmp_path):
    """In any order; failures as failures; a second import adds nothing, and generate asks the rest."""
    requests, journal = places
    paths, _ = export_batch(requests, journal, TINY)
    results = write(results_of(paths, wrong={"q3"}), tmp_path / "results.jsonl")
    taken, ledger = import_batch(requests, journal, TINY, [results])
    assert str(taken) == "10 in = 10 out"
    assert str(ledger) == "10 in = 9 out + 1 failed (failed: 1)"
    taken, ledger = import_batch(requests, journal, TINY, [results])
    assert taken.dropped == {"in the journal already": 9}
    assert ledger.rows_out == 9
    with TeacherServer(polite) as server:
        generate(requests, journal, TINY, Endpoint(server.url, "k"))
        assert [got.question for got in server.received] == ["q3"]
    assert_one_answer_each(journal, 10)


def test_several_answers_are_requests_of_their_own(places, tmp_path):
    """--n 2: twenty requests, and two samples an id."""
    requests, journal = places
    config = GenerationConfig("tiny", n=2, temperature=1.0)
    paths, count = export_batch(requests, journal, config)
    assert count == 20
    results = write(results_of(paths), tmp_path / "results.jsonl")
    _, ledger = import_batch(requests, journal, config, [results])
    assert ledger.rows_out == 10
    assert {(line["id"], line["sample"]) for line in read_jsonl(journal)} == {
        (f"r{n}", sample) for n in range(10) for sample in (0, 1)
    }


def test_results_of_another_batch_are_refused(places, tmp_path):
    """Other settings, other requests: nothing may be filed under the wrong row."""
    requests, journal = places
    paths, _ = export_batch(requests, journal, TINY)
    results = write(results_of(paths), tmp_path / "results.jsonl")
    with pytest.raises(InputError, match=r"results\.jsonl:1: custom_id"):
        import_batch(requests, journal, GenerationConfig("other"), [results])
    with pytest.raises(InputError, match="no batch result"):
        import_batch(requests, journal, TINY, [requests])
    with pytest.raises(UsageError, match="--batch-file"):
        import_batch(requests, journal, TINY, [])
    for call in (
        lambda: export_batch(requests, f"{journal}/", TINY),
        lambda: import_batch(requests, f"{journal}/", TINY, [results]),
    ):
        with pytest.raises(UsageError, match="names a folder, and this output is one file"):
            call()


def test_importing_again_adds_only_what_failed(places, tmp_path):
    """Cut-off answers and refusals are in the journal already, and their cost is counted once."""
    requests, journal = places
    paths, _ = export_batch(requests, journal, TINY)
    rows = list(results_of(paths, wrong={"q1"}))
    rows[0]["response"]["body"] = completion("cut", "length")
    rows[2]["response"]["body"] = completion("", "content_filter")
    results = write(rows, tmp_path / "results.jsonl")
    import_batch(requests, journal, TINY, [results])
    lines = len(read_jsonl(journal))
    taken, _ = import_batch(requests, journal, TINY, [results])
    assert taken.dropped == {"in the journal already": 9}
    assert len(read_jsonl(journal)) == lines + 1


def test_a_batch_is_imported_with_the_limit_it_was_exported_with(places, tmp_path):
    """An answer cut at 10 tokens must not pass for one cut at 512."""
    requests, journal = places
    paths, _ = export_batch(requests, journal, GenerationConfig("tiny", max_tokens=10))
    results = write(results_of(paths), tmp_path / "results.jsonl")
    with pytest.raises(InputError, match="--max-tokens"):
        import_batch(requests, journal, TINY, [results])


@pytest.mark.medium
def test_an_import_with_failures_exits_with_1(places, tmp_path):
    """As every run that leaves failed rows does."""
    requests, journal = places
    paths, _ = export_batch(requests, journal, TINY)
    words = [requests, "-o", journal, "--model", "tiny", "--batch", "import", "--batch-file"]
    some = write(results_of(paths, wrong={"q1"}), tmp_path / "some.jsonl")
    assert run_command(*words, some).returncode == 1
    whole = write(results_of(paths), tmp_path / "whole.jsonl")
    assert run_command(*words, whole).returncode == 0


def test_results_with_half_characters_are_taken(places, tmp_path):
    """A provider's file is read as leniently as its replies: the answers are paid for."""
    requests, journal = places
    paths, _ = export_batch(requests, journal, TINY)
    rows = list(results_of(paths))
    rows[3]["response"]["body"] = json.dumps(rows[3]["response"]["body"])
    lines = [orjson.dumps(row) + b"\n" for row in rows]
    lines[0] = lines[0].replace(b"answer to", b"answer \\ud83d to")
    lines[1] = lines[1].replace(
        b'"index":0', b'"index":0,"logprobs":{"content":[{"token":"a","logprob":NaN}]}'
    )
    lines[2] = lines[2].replace(b'"stop"', b"null")
    results = tmp_path / "results.jsonl"
    results.write_bytes(b"".join(lines))
    _, ledger = import_batch(requests, journal, TINY, [results])
    assert str(ledger) == "10 in = 9 out + 1 dropped (unknown: 1)"
    written = read_jsonl(journal)
    assert written[0]["response"].startswith("answer \ufffd to")
    assert written[0]["flags"] == ["half_character"]


def test_batches_for_newer_models_name_the_limit_as_they_do(places):
    """And several answers have seeds of their own."""
    requests, journal = places
    config = GenerationConfig("o3-mini", n=2, temperature=None, extra={"seed": 1})
    (path,), _ = export_batch(requests, journal, config)
    bodies = [row["body"] for row in read_jsonl(path)][:2]
    assert [body["seed"] for body in bodies] == [1, 2]
    assert all(body["max_completion_tokens"] == 512 for body in bodies)
    assert not any({"max_tokens", "temperature"} & body.keys() for body in bodies)
    with pytest.raises(UsageError, match="--n 2 needs --temperature above 0"):
        export_batch(requests, journal, GenerationConfig("tiny", n=2))


def test_a_batch_that_failed_says_which_flag_to_change(places, tmp_path):
    """The summary has the last error's words, and the flag."""
    requests, journal = places
    paths, _ = export_batch(requests, journal, TINY)
    refused = error("Unsupported parameter: use 'max_completion_tokens' instead")
    rows = [{**row, "response": {"status_code": 400, "body": refused}} for row in results_of(paths)]
    write(rows, tmp_path / "results.jsonl")
    words = ["generate", requests, "-o", journal, "--model", "tiny", "--batch", "import"]
    done = run_here([*words, "--batch-file", tmp_path / "results.jsonl"], cwd=tmp_path)
    assert done.code == 1
    assert "max_completion_tokens" in done.err
    assert "change --max-tokens-field" in done.err
