"""The journal: nothing that was written is lost, whatever tears it."""

import os

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.teacher.journal.index import entry_of, read_index
from dataprep.teacher.journal.writer import JournalWriter, set_aside


def line(identity, key="k", response="yes", **fields):
    """A line of a journal."""
    return {
        "id": identity, "key": key, "teacher": "t", "model": "m", "sample": 0, "max_tokens": 512,
        "response": response, "finish_reason": "stop", "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        "error": None, **fields,
    }  # fmt: skip


def failure(identity, key="k"):
    """A line without an answer."""
    return line(identity, key, None, finish_reason=None, usage=None, error={"status": 500, "type": "x"})


def test_what_is_appended_is_there_again(tmp_path):
    """After a restart the index is what it was, with the sum of what was used."""
    path = tmp_path / "journal.jsonl"
    with JournalWriter(path) as journal:
        journal.append([line("é"), line("b", response="cut", finish_reason="length")])
        journal.append([failure("c")])
    index = read_index(path)
    assert index.get(entry_of("é", "k")) == ("ok", 0, 0)
    assert index.get(entry_of("b", "k")) == ("length", 512, 512)
    assert index.get(entry_of("c", "k")) == ("failed", 0, 512)
    assert index.get(entry_of("c", "other")) is None
    assert (index.prompt_tokens, index.completion_tokens, index.lines) == (6, 4, 3)


def test_a_line_is_in_the_file_as_soon_as_it_is_appended(tmp_path):
    """A killed process has written what it had received."""
    path = tmp_path / "journal.jsonl"
    with JournalWriter(path) as journal:
        journal.append([line("a")])
        assert orjson.loads(path.read_bytes())["id"] == "a"


def test_what_was_written_is_forced_to_the_disk_within_a_second(tmp_path, monkeypatch):
    """Not once a line, and not only at the end."""
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr("dataprep.teacher.journal.writer.SYNC_SECONDS", 0.02)
    with JournalWriter(tmp_path / "journal.jsonl") as journal:
        for number in range(50):
            journal.append([line(str(number))])
        journal._stop.wait(0.3)
        assert 1 <= len(synced) < 25


def test_a_complete_answer_stays(tmp_path):
    """A failure that comes after it, however it came about, does not undo it."""
    path = tmp_path / "journal.jsonl"
    with JournalWriter(path) as journal:
        journal.append([line("a"), failure("a"), failure("b"), line("b")])
        assert journal.index.get(entry_of("a", "k"))[0] == "ok"
        assert journal.index.get(entry_of("b", "k"))[0] == "ok"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_torn_last_line_is_set_aside(tmp_path, data):
    """Cut anywhere, the lines before the cut stay, the torn one is kept aside, and the journal goes on."""
    path, aside = tmp_path / "journal.jsonl", tmp_path / "journal.jsonl.torn"
    aside.unlink(missing_ok=True)
    texts = data.draw(st.lists(st.text(max_size=20), min_size=1, max_size=5))
    whole = b"".join(orjson.dumps(line(str(n), response=text)) + b"\n" for n, text in enumerate(texts))
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    tail = whole[:cut].rpartition(b"\n")[2]
    kept = whole[:cut].count(b"\n")
    complete = bool(tail) and tail.endswith(b"}}") is False and _is_json(tail)
    with JournalWriter(path) as journal:
        assert len(journal.index) == kept + complete
        journal.append([line("new")])
    index = read_index(path)
    assert len(index) == kept + complete + 1
    assert not index.torn
    assert not index.unended
    assert aside.exists() == (bool(tail) and not complete)
    if aside.exists():
        assert aside.read_bytes() == tail + b"\n"


def _is_json(data):
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def test_a_damaged_line_elsewhere_is_an_error_with_its_number(tmp_path):
    """It may have been an answer: nobody but the user may throw it away."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(orjson.dumps(line("a")) + b"\n{half\n" + orjson.dumps(line("b")) + b"\n")
    with pytest.raises(InputError, match=r"journal\.jsonl:2: not a line of a journal"):
        JournalWriter(path).__enter__()


@given(st.binary(max_size=100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_a_journal_or_an_error(tmp_path, data):
    """A file of something else is refused, and not written to."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(data + b"\n")
    try:
        index = read_index(path)
    except InputError:
        assert path.read_bytes() == data + b"\n"
    else:
        assert not len(index)


def test_two_processes_cannot_write_one_journal(tmp_path):
    """Both would ask, and pay, for the same rows."""
    path = tmp_path / "journal.jsonl"
    with JournalWriter(path):
        with pytest.raises(FileError, match="another process"):
            JournalWriter(path).__enter__()
        with pytest.raises(FileError, match="another process"):
            set_aside(path)
    with JournalWriter(path):
        pass


def test_a_full_disk_leaves_no_half_line(tmp_path):
    """What did not fit is cut off again, so that the next answer begins a line of its own."""
    path = tmp_path / "journal.jsonl"
    with JournalWriter(path) as journal:
        journal.append([line("a")])
        real = journal._file

        class Full:
            def write(self, data):
                real.write(data[:10])
                raise OSError(28, "No space left on device")

            def __getattr__(self, name):
                return getattr(real, name)

        journal._file = Full()
        with pytest.raises(FileError, match="No space left"):
            journal.append([line("b")])
        journal._file = real
        journal.append([line("c")])
    assert [orjson.loads(each)["id"] for each in path.read_bytes().splitlines()] == ["a", "c"]


@pytest.mark.parametrize("name", ["-", "journal.jsonl.gz", "journal.parquet", "journal.json"])
def test_a_journal_is_a_plain_file_of_lines(tmp_path, monkeypatch, name):
    """Nothing else can only grow."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="only grows"):
        JournalWriter(name).__enter__()


def test_a_journal_is_set_aside_and_never_over_another(tmp_path):
    """--fresh throws nothing away, however often it is used."""
    path = tmp_path / "journal.jsonl"
    assert set_aside(path) is None
    names = set()
    for text in ("one", "two", "three"):
        path.write_text(text)
        os.utime(path, (1e9, 1e9))
        aside = set_aside(path)
        names.add(aside.name)
        assert aside.read_text() == text
    assert len(names) == 3
    assert not path.exists()


def test_any_value_in_a_line_can_be_written(tmp_path):
    """What JSON cannot hold becomes text: no answer is lost for what surrounds it."""
    deep = []
    for _ in range(300):
        deep = [deep]
    path = tmp_path / "journal.jsonl"
    odd = {"x\ud83d": "\ud83d", "big": 10**40, "deep": deep, "set": {1}}
    with JournalWriter(path) as journal:
        journal.append([line("a", finish_reason="stop", usage={"prompt_tokens": 3}, logprobs=[odd])])
    row = orjson.loads(path.read_bytes())
    assert (row["id"], row["response"], row["usage"]) == ("a", "yes", {"prompt_tokens": 3})
    assert row["logprobs"][0]["x\ufffd"] == "\ufffd"
    assert row["logprobs"][0]["big"] == f"a number {10**40}"


def test_a_name_under_which_nothing_was_answered_is_no_teacher(tmp_path):
    """One failed request with a mistyped name must not decide the names of a journal."""
    path = tmp_path / "journal.jsonl"
    with JournalWriter(path) as journal:
        journal.append([failure("a") | {"teacher": "typo"}])
    read_index(path).check_teacher("m", "t", "j")
    with JournalWriter(path) as journal:
        journal.append([line("a")])
    index = read_index(path)
    index.check_teacher("m", "t", "j")
    with pytest.raises(UsageError, match="under the name 't'"):
        index.check_teacher("m", "typo", "j")


@pytest.mark.parametrize("flags", [None, 5, [], [["at_limit"]], ["something"], ["at_limit"]])
def test_flags_of_any_shape_are_read(tmp_path, flags):
    """A line with flags of another program is still a line."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(orjson.dumps(line("a", flags=flags)) + b"\n")
    assert read_index(path).flags == ({"at_limit": 1} if flags == ["at_limit"] else {})
