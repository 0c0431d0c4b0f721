"""Where URLs can stand: folders, manifests and their readers, several processes; and where they cannot."""

import json
import os
import signal
import subprocess
import sys

import pytest

from dataprep.core.errors import NotFoundError, UsageError
from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.core.io.stores import store_of
from dataprep.core.urls import without_credentials
from tests.helpers import chat, write_jsonl
from tests.stores import KEY, SECRET

ROWS = [chat(f"Question {n}?", f"Answer {n}.", n=n) for n in range(30)]


def lines_of(rows):
    """Rows as JSON Lines."""
    return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows)


def bytes_at(url):
    """The bytes of an object."""
    store = store_of(url)
    return store.read(url, 0, store.stat(url).size)


def exists(url):
    """Whether there is an object."""
    try:
        store_of(url).stat(url)
    except NotFoundError:
        return False
    return True


@pytest.fixture
def rows(s3):
    """The URL of a file of rows."""
    url = f"{s3}/in/rows.jsonl"
    store_of(url).put(url, lines_of(ROWS))
    return url


@pytest.mark.usefixtures("rows")
def test_a_folder_is_merged_without_what_is_below_it(run, s3):
    """As a local folder's `*.jsonl`."""
    for name, first in (
        ("in/b.jsonl", 30),
        ("in/.hidden.jsonl", 40),
        ("in/deep/c.jsonl", 50),
        ("in/d.json", 60),
    ):
        store_of(s3).put(f"{s3}/{name}", lines_of([chat(f"Question {first}?", "Answer.")]))
    done = run("merge", f"{s3}/in/", "--no-shuffle", "-o", "-")
    assert done.code == 0, done.err
    assert done.out.count(b"\n") == 31
    assert b"Question 30?" in done.out


def test_an_output_can_replace_its_input(run, rows):
    """It appears when everything was read."""
    assert run("merge", rows, rows, "--no-shuffle", "-o", rows).code == 0
    assert bytes_at(rows) == lines_of(ROWS + ROWS)
    done = run("filter", rows, "--where", "n < 10", "-o", rows)
    assert done.code == 2
    assert "the output would replace an input" in done.err


def test_rejects_cannot_replace_an_input(run, rows, s3):
    """Nor go where the rows go."""
    for place in (rows, f"{s3}/out.jsonl"):
        done = run("import", rows, "-o", f"{s3}/out.jsonl", "--rejects", place)
        assert done.code == 2, done.err
        assert "rejects" in done.err
    assert not exists(f"{s3}/out.jsonl")


def test_a_bad_row_leaves_no_output_and_keeps_the_old_one(run, s3):
    """The message names the row's place in the object."""
    store_of(s3).put(f"{s3}/bad.jsonl", lines_of(ROWS) + b"not json\n")
    old = store_of(s3).put(f"{s3}/old.jsonl", b"old\n")
    for name in ("old", "new"):
        done = run("import", f"{s3}/bad.jsonl", "-o", f"{s3}/{name}.jsonl")
        assert done.code == 1
        assert f"{s3}/bad.jsonl:31: not JSON" in done.err
    assert not exists(f"{s3}/new.jsonl")
    assert store_of(s3).stat(f"{s3}/old.jsonl").etag == old


@pytest.mark.medium
@pytest.mark.parametrize("killed_by", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_command_leaves_no_output(s3, tmp_path, killed_by):
    """Neither a part of the rows nor a manifest."""
    command = [sys.executable, "-m", "dataprep", "import", "-", "-o", f"{s3}/out.jsonl"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(lines_of(ROWS) * 3000)
        process.stdin.flush()
        process.send_signal(killed_by)
        process.stdin.close()
        process.wait(30)
    assert list(store_of(s3).list(s3)) == []


@pytest.mark.medium
def test_several_processes_read_an_object(run, rows, s3, tmp_path):
    """The same bytes for each number of them, and from a compressed object."""
    data = lines_of(ROWS) * 3000
    store_of(s3).put(rows, data)
    (tmp_path / "rows.jsonl").write_bytes(data)
    local = run("filter", "rows.jsonl", "--where", "n < 20", "-o", "-").out
    for workers in ("1", "2"):
        done = run("filter", rows, "--where", "n < 20", "--workers", workers, "-o", f"{s3}/out.jsonl.gz")
        assert done.code == 0, done.err
        done = run("filter", f"{s3}/out.jsonl.gz", "--where", "n < 20", "--workers", workers, "-o", "-")
        assert done.out == local


def test_a_manifest_is_beside_an_object(run, rows, s3, tmp_path):
    """It names objects by URL, size and etag, local files by digest, and no key."""
    write_jsonl(tmp_path / "local.jsonl", ROWS[:3])
    done = run("merge", "local.jsonl", rows, "-o", f"{s3}/merged.jsonl", "--seed", "1")
    assert done.code == 0, done.err
    text = bytes_at(f"{s3}/merged.jsonl.manifest.json").decode()
    assert KEY not in text
    assert SECRET not in text
    assert str(tmp_path) not in text
    found = json.loads(text)
    stat = store_of(s3).stat(f"{s3}/merged.jsonl")
    (output,) = found["outputs"]
    assert output.pop("sha256")
    assert output == {"path": f"{s3}/merged.jsonl", "etag": stat.etag, "bytes": stat.size, "rows": 33}
    by_path = {each["path"]: each for each in found["inputs"]}
    assert by_path[rows] == {
        "path": rows, "etag": store_of(rows).stat(rows).etag, "bytes": len(lines_of(ROWS)), "rows": 30,
    }  # fmt: skip
    assert [path for path in by_path if path.startswith("sha256:") and path.endswith("/local.jsonl")]
    assert found["arguments"][-1] == rows


def test_a_chain_of_objects_is_verified(run, rows, s3):
    """Back to the source, also where the second command knows the digest by the first one's manifest."""
    assert run("filter", rows, "--where", "n < 20", "-o", f"{s3}/some.jsonl").code == 0
    assert run("dedup", f"{s3}/some.jsonl", "-o", f"{s3}/unique.jsonl").code == 0
    inputs = json.loads(bytes_at(f"{s3}/unique.jsonl.manifest.json"))["inputs"]
    assert inputs[0]["sha256"]
    done = run("verify", f"{s3}/unique.jsonl")
    assert done.code == 0, done.err
    assert "3 files, 0 broken" in done.err
    # The same bytes with another etag are the same file: S3's etag of several parts is another one.
    store_of(s3).put(rows, lines_of(ROWS)[:-1] + b" ")
    done = run("verify", f"{s3}/unique.jsonl")
    assert done.code == 1
    assert f"{rows} (is not what filter read for some.jsonl.manifest.json" in done.out.decode()


def test_an_old_manifest_goes_with_the_object_that_it_describes(run, rows, s3):
    """One that is not dataprep's stays."""
    place = f"{s3}/out.jsonl.manifest.json"
    assert run("filter", rows, "--where", "n < 20", "-o", f"{s3}/out.jsonl").code == 0
    assert run("filter", rows, "--where", "n < 10", "-o", f"{s3}/out.jsonl", "--no-manifest").code == 0
    assert not exists(place)
    store_of(s3).put(place, b"mine")
    done = run("filter", rows, "--where", "n < 5", "-o", f"{s3}/out.jsonl")
    assert "it is left as it is" in done.err
    assert bytes_at(place) == b"mine"


def test_a_row_of_an_object_is_traced(run, rows, s3):
    """Through two commands."""
    assert run("filter", rows, "--where", "n > 20", "-o", f"{s3}/some.jsonl").code == 0
    assert run("merge", f"{s3}/some.jsonl", "--seed", "3", "-o", f"{s3}/merged.jsonl").code == 0
    done = run("trace", f"{s3}/merged.jsonl:1", "--json")
    assert done.code == 0, done.err
    text = done.out.decode()
    assert "not followed" not in text
    assert f'"path": "{rows}"' in text


def test_a_local_output_of_an_object_is_replayed(run, rows, s3, tmp_path):
    """The object is read again if it is the same one."""
    assert run("filter", rows, "--where", "n < 7", "-o", "some.jsonl").code == 0
    before = (tmp_path / "some.jsonl").read_bytes()
    (tmp_path / "some.jsonl").unlink()
    done = run("replay", "some.jsonl")
    assert done.code == 0, done.err
    assert (tmp_path / "some.jsonl").read_bytes() == before
    store_of(s3).put(rows, lines_of(ROWS[:5]))
    (tmp_path / "some.jsonl").unlink()
    done = run("replay", "some.jsonl")
    assert done.code == 1
    assert f"{rows}: is not what filter read" in done.err


def test_an_output_in_a_store_is_not_replayed(run, rows, s3):
    """The message says what to do."""
    assert run("filter", rows, "--where", "n < 7", "-o", f"{s3}/some.jsonl").code == 0
    done = run("replay", f"{s3}/some.jsonl")
    assert done.code == 2
    assert "replay writes no objects; run `dataprep filter` again with another -o" in done.err


@pytest.mark.parametrize(
    "command",
    [
        "generate {rows} --model m --base-url http://127.0.0.1:9 -o s3://b/journal.jsonl",
        "tokenize {rows} {rows} --student a --teacher b -o s3://b/pairs.pt",
        "predict s3://b/model {rows} -o out.jsonl",
        "tokenize {rows} --tokenizer s3://b/t.model --chat-format llama-3 -o shards",
        "export {rows} --to hub-dir -o s3://b/out",
        "export {rows} --to llama-factory -o s3://b/out.json",
        "card {rows} -o s3://b/README.md",
        "view {rows}",
    ],
)
def test_what_needs_a_disk_says_so(run, rows, command):
    """And not that there is no such file."""
    done = run(*command.format(rows=rows).split(), env=os.environ | {"OPENAI_API_KEY": "x"})
    assert done.code == 2, done.err
    assert "needs a place on a disk; give a local path" in done.err


def test_a_missing_bucket_is_found_before_the_work(run, rows):
    """Of an output too."""
    for words in (
        ["dedup", "s3://no-such-bucket/a.jsonl"],
        ["dedup", rows, "-o", "s3://no-such-bucket/a.jsonl"],
    ):
        done = run(*words)
        assert done.code == 1
        assert "s3://no-such-bucket/a.jsonl: no such bucket; create it first" in done.err


def test_a_wrong_key_is_in_no_message(run, rows, failing):
    """Also not in that of a store that refuses it."""
    failing.answers = {"HEAD": [403] * 9, "GET": [403] * 9}
    done = run("dedup", rows, "-o", "out.jsonl")
    assert done.code == 1
    assert f"{rows}: access denied; set AWS_ACCESS_KEY_ID" in done.err
    assert KEY not in done.err
    assert SECRET not in done.err


@pytest.mark.parametrize("words", [["dedup", "{}"], ["head", "{}"], ["dedup", "{}", "-o", "{}"]])
def test_a_password_in_a_url_is_in_no_message(run, words):
    """The rest of the URL is."""
    pytest.importorskip("fsspec")
    done = run(*(word.format("ftp://me:pass%40word@127.0.0.1:9/a.jsonl") for word in words))
    assert done.code == 1
    assert "ftp://127.0.0.1:9/a.jsonl: cannot be reached" in done.err
    assert "pass" not in done.err


@pytest.mark.parametrize("key", ["AKIA:wJalrXU/K7MD+x", "AKIA:a@b/c"])
def test_keys_in_the_url_of_a_bucket_are_in_no_message(run, key):
    """A secret key may have a slash, and is no bucket."""
    pytest.importorskip("obstore")
    done = run("head", f"s3://{key}@bucket/rows.jsonl", env={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert done.code == 1
    assert "AKIA" not in done.err


def test_a_port_and_an_at_sign_stay():
    """Neither is a password."""
    for url in ("http://host:8000/a@b/c.jsonl", "s3://bucket/a@b/c.jsonl", "abfss://box@name.host/a.jsonl"):
        assert without_credentials(url) == url


def test_schemes_in_upper_case(tmp_path):
    """They are those in lower case, also of a folder."""
    pytest.importorskip("obstore")
    from dataprep import merge_files, read_rows

    (tmp_path / "rows.jsonl").write_bytes(lines_of(ROWS))
    merge_files([tmp_path / "rows.jsonl"], "MEMORY://upper/out/")
    assert len(list(read_rows("MEMORY://upper/out/"))) == len(list(read_rows("memory://upper/out/"))) == 30


def test_two_slashes_name_no_file():
    """``file://rows.jsonl`` has a host, and would be read from the current folder."""
    with pytest.raises(UsageError, match="expected file:///PATH"):
        store_of("file://rows.jsonl").stat("file://rows.jsonl")


@pytest.mark.parametrize("folder", ["memory://parts/out/", "memory://parts/table.jsonl"])
def test_memory_is_written_by_this_process(tmp_path, monkeypatch, folder):
    """Workers would write into a memory of their own."""
    pytest.importorskip("obstore")
    from dataprep import filter_files, read_rows

    monkeypatch.setenv(CHUNK_VARIABLE, "500")
    (tmp_path / "rows.jsonl").write_bytes(lines_of(ROWS))
    assert filter_files([tmp_path / "rows.jsonl"], folder, where="true", workers=2).rows_out == 30
    assert [row for _, row in read_rows(folder)] == ROWS


def test_memory_is_read_by_this_process(tmp_path):
    """Whatever number of processes is asked for."""
    pytest.importorskip("obstore")
    from dataprep import dedup_files

    store_of("memory://test/").put("memory://test/rows.jsonl", lines_of(ROWS + ROWS))
    result = dedup_files("memory://test/rows.jsonl", "memory://test/out.jsonl.gz", workers=2)
    assert result.ledger.rows_out == 30
    dedup_files("memory://test/out.jsonl.gz", str(tmp_path / "out.jsonl"))
    assert (tmp_path / "out.jsonl").read_bytes() == lines_of(ROWS)
