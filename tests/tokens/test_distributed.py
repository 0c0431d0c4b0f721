"""Shards by tasks: the bytes of one process, wherever parts and shards are, whatever is killed."""

import pickle
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.core.io.part_files import CHUNK_VARIABLE, folder_at
from dataprep.core.parallel import Inline
from dataprep.core.urls import is_url
from dataprep.tokens.options import ShardOptions
from dataprep.tokens.shards import gathering
from dataprep.tokens.shards import writing as shard_writing
from dataprep.tokens.shards.distributed import open_token_parts
from dataprep.tokens.shards.manifest import read_manifest
from dataprep.tokens.shards.mixture import mix_shards
from dataprep.tokens.shards.reading import Shards
from dataprep.tokens.tokenize import tokenize_files
from tests.engines import engine_on
from tests.tokens.test_tokenize import ROWS, chat, content_of, write_rows
from tests.tokens_fakes import Bytes

TIMEOUT = 120
OPTIONS = [
    {},
    {"pack": 512},
    {"max_length": 120, "truncation": "drop"},
    {"pack": 200, "max_length": 700, "truncation": "truncate", "split_long": True, "seed": 3},
]


class Counting(Inline):
    """One process that keeps the bytes of what comes back to it, and the number of tasks."""

    def __init__(self):
        self.received = 0
        self.tasks = 0

    @contextmanager
    def open(self, work, /):
        """Yield a crew that counts."""
        with super().open(work) as crew:
            wait = crew.wait

            def counted():
                ended = wait()
                self.received += len(pickle.dumps(ended.result))
                self.tasks += 1
                return ended

            crew.wait = counted
            yield crew


@pytest.fixture
def counting(monkeypatch):
    """The backend of an engine that counts."""
    backend = Counting()
    monkeypatch.setattr("tests.engines.Inline", lambda: backend)
    return backend


def by_tasks(place):
    """Have shards at a place written by tasks: always at a URL, and in a folder on a cluster."""
    return engine_on(None if is_url(place) else "inline")


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Rows, in chunks of a few of them."""
    monkeypatch.setenv(CHUNK_VARIABLE, "20000")
    return write_rows(tmp_path / "rows.jsonl", ROWS[:600])


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request, tmp_path):
    """A folder, or the URL of one, and the engine that writes to it by tasks."""
    if request.param == "s3":
        return request.getfixturevalue("s3") + "/some/shards"
    if request.param == "memory":
        pytest.importorskip("obstore")
        return f"memory://{uuid4().hex}/shards/"
    return str(tmp_path / "out")


def tokenize(source, output, *, tokenizer=None, rejects=None, workers=1, **options):
    """Make shards."""
    return tokenize_files(
        source,
        output,
        tokenizer=tokenizer or Bytes(),
        options=ShardOptions(**options),
        rejects=rejects,
        workers=workers,
    )


def files_at(place):
    """All files of a folder or at a URL, hidden ones too, and what they hold."""
    if "://" not in place:
        return content_of(Path(place))
    folder = folder_at(place)
    found = {url.removeprefix(folder.where): stat for url, stat in folder._store.list(folder.where)}
    return {name: folder.read(name)[0] for name in found}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("tokens", [1 << 29, 9000], ids=["one shard", "several"])
def test_the_bytes_are_those_of_one_process(source, place, tmp_path, monkeypatch, options, tokens):
    """Ids, masks, boundaries, rows and the manifest; and nothing else is left."""
    monkeypatch.setattr(shard_writing, "SHARD_TOKENS", tokens)
    local = tokenize(source, tmp_path / "local", **options)
    with by_tasks(place):
        made = tokenize(source, place, **options)
    assert files_at(place) == content_of(tmp_path / "local")
    assert len(made.manifest["shards"]) > 1 or tokens > 9000
    assert (made.ledger, made.manifest) == (local.ledger, local.manifest)


@pytest.mark.medium
@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("options", OPTIONS[:2], ids=str)
def test_processes_write_the_same(source, tmp_path, monkeypatch, workers, options):
    """Any number of them, in a folder that they share."""
    monkeypatch.setattr(shard_writing, "SHARD_TOKENS", 30_000)
    tokenize(source, tmp_path / "local", **options)
    with engine_on(workers):
        tokenize(source, tmp_path / "out", **options)
    assert content_of(tmp_path / "out") == content_of(tmp_path / "local")


@pytest.mark.sampled(5)
@pytest.mark.parametrize("size", [500, 5000, 1 << 25])
@pytest.mark.parametrize("read_twice", [0, 2], ids=["exchanged", "read"])
def test_any_size_of_chunks_and_both_ways_of_gathering(source, tmp_path, monkeypatch, size, read_twice):
    """How the input is cut, and how the parts are read, leaves no trace."""
    monkeypatch.setattr(shard_writing, "SHARD_TOKENS", 50_000)
    tokenize(source, tmp_path / "local", pack=300)
    monkeypatch.setenv(CHUNK_VARIABLE, str(size))
    monkeypatch.setattr(gathering, "_READ_TWICE", read_twice)
    monkeypatch.setattr("dataprep.tokens.shards.distributed.SPAN_BYTES", 3000)
    with engine_on("inline"):
        tokenize(source, tmp_path / "out", pack=300)
    assert content_of(tmp_path / "out") == content_of(tmp_path / "local")


def test_neither_ids_nor_masks_reach_the_driver(tmp_path, monkeypatch, counting):
    """Lengths do, four bytes a document, and some counts; whatever is done with the documents."""
    monkeypatch.setenv(CHUNK_VARIABLE, "200000")
    source = write_rows(tmp_path / "rows.jsonl", [chat("x" * 2000, "y" * 2000)] * 800)
    for options in ({}, {"pack": 8192}):
        before = counting.received
        with engine_on("inline"):
            made = tokenize(source, tmp_path / str(len(options)), **options)
        chunks = -(-source.stat().st_size // 200_000)
        assert made.manifest["tokens"] > 3_000_000
        assert counting.received - before < 4 * 800 + 1000 * (chunks + 4)


def test_a_folder_of_parts_and_a_compressed_file(source, tmp_path):
    """The hash is that of all parts together; each file of the manifest has its rows."""
    import gzip

    parts = tmp_path / "parts"
    from dataprep.core.io import open_output

    with open_output(f"{parts}/") as out:
        out.write(source.read_bytes())
    packed = tmp_path / "more.jsonl.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()[: 40 * 300].rpartition(b"\n")[0]))
    inputs = [f"{parts}/", packed, source]
    tokenize(inputs, tmp_path / "local")
    with engine_on("inline"):
        made = tokenize(inputs, tmp_path / "out")
        assert tokenize(inputs, tmp_path / "out").up_to_date
    assert content_of(tmp_path / "out") == content_of(tmp_path / "local")
    assert [file["name"] for file in made.manifest["inputs"]] == ["parts", "more.jsonl.gz", "rows.jsonl"]
    assert made.manifest["inputs"][0]["sha256"] == made.manifest["inputs"][2]["sha256"]
    assert made.manifest["inputs"][0]["rows"] == 600


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("backend", ["inline", 2])
def test_bad_rows_are_those_of_one_process(source, tmp_path, backend):
    """The same first error, the same rejects and the same rows of documents."""
    lines = source.read_bytes().splitlines(keepends=True)
    for place in (77, 78, 200, 401, 599):
        lines[place] = b'{"messages": []}\n' if place % 2 else b"{\n"
    source.write_bytes(b"".join(lines))
    messages = []
    for name, opened in (("local", None), ("out", backend)):
        with engine_on(opened):
            with pytest.raises(InputError) as caught:
                tokenize(source, tmp_path / name)
            messages.append(str(caught.value))
            tokenize(source, tmp_path / name, rejects=tmp_path / f"{name}.bad.jsonl")
    assert messages[0] == messages[1]
    assert "rows.jsonl:78" in messages[0]
    assert (tmp_path / "out.bad.jsonl").read_bytes() == (tmp_path / "local.bad.jsonl").read_bytes()
    assert content_of(tmp_path / "out") == content_of(tmp_path / "local")
    shards = Shards.open(tmp_path / "out")
    assert {*range(600)} - {shards.row(number) for number in range(len(shards))} == {77, 78, 200, 401, 599}


def test_a_bad_row_leaves_the_shards_that_are_there(source, place):
    """And what was done before it, for a run that sets bad rows aside."""
    with by_tasks(place):
        tokenize(source, place, pack=512)
        before = read_manifest(place)
        with source.open("ab") as file:
            file.write(b"{\n")
        with pytest.raises(InputError, match=r"rows\.jsonl:601"):
            tokenize(source, place, pack=512)
        assert read_manifest(place) == before
        tokenize(source, place, pack=512, rejects=source.with_name("bad.jsonl"))
    names = {name for name in files_at(place) if name.startswith(".")}
    assert not names


@pytest.mark.sampled(2)
def test_finished_shards_are_found_again(source, place):
    """The same rows and options make nothing; a file that is missing makes all of them."""
    with by_tasks(place):
        assert not tokenize(source, place, pack=512).up_to_date
        before = files_at(place)
        assert tokenize(source, place, pack=512).up_to_date
        assert files_at(place) == before
        name = next(name for name in before if "-mask-" in name)
        folder_at(place).remove(name)
        assert not tokenize(source, place, pack=512).up_to_date
        assert files_at(place) == before
        assert not tokenize(source, place, pack=400).up_to_date
    assert not {*before} & ({*files_at(place)} - {"manifest.json"})


def test_something_else_at_a_url_is_left_alone(source):
    """Shards are not written among other objects."""
    pytest.importorskip("obstore")
    place = f"memory://{uuid4().hex}/thesis"
    folder_at(place).put("chapter.tex", b"\\section")
    with pytest.raises(UsageError, match=r"holds 'chapter\.tex', which does not belong to shards"):
        tokenize(source, place)


def test_a_url_needs_no_cluster(source, tmp_path, s3):
    """Processes of this machine write to it; and shards are read from a folder."""
    tokenize(source, tmp_path / "local", pack=512)
    tokenize(source, f"{s3}/shards", pack=512, workers=2)
    assert files_at(f"{s3}/shards") == content_of(tmp_path / "local")
    for call in (Shards.open, lambda url: mix_shards({url: 1.0}, tmp_path / "mixed")):
        with pytest.raises(UsageError, match="reading shards needs a place on a disk"):
            call(f"{s3}/shards")
    with pytest.raises(UsageError, match="an index over directories of shards needs a place on a disk"):
        mix_shards({tmp_path / "local": 1.0}, f"{s3}/mixed")


def test_other_libraries_on_a_node_are_an_error(source, tmp_path, monkeypatch):
    """Another version can give other ids, in a few texts of millions."""
    monkeypatch.setattr("dataprep.tokens.tokenize.libraries_of", lambda _: {"tiktoken": "0.1"})
    with engine_on(1), pytest.raises(UsageError, match=r"has tiktoken .*, and the machine .* has 0\.1;"):
        tokenize(source, tmp_path / "out")


@pytest.mark.sampled(2)
def test_finished_shards_of_a_killed_run_are_kept(source, place, tmp_path, monkeypatch):
    """Those that have the same pieces; the others are gathered."""
    monkeypatch.setattr(shard_writing, "SHARD_TOKENS", 20_000)
    write, written = gathering.ShardWriter._write, []

    def failing(self, number, pieces):
        written.append(number)
        if len(written) == 4:
            raise KeyboardInterrupt
        return write(self, number, pieces)

    monkeypatch.setattr(gathering.ShardWriter, "_write", failing)
    with by_tasks(place):
        with pytest.raises(KeyboardInterrupt):
            tokenize(source, place, pack=300)
        with pytest.raises(FileError, match="holds no finished shards"):
            read_manifest(place)
        written[:] = [-1] * 4
        tokenize(source, place, pack=300)
        assert sorted(written[4:]) == [*range(3, len(read_manifest(place)["shards"]))]
    tokenize(source, tmp_path / "local", pack=300)
    assert files_at(place) == content_of(tmp_path / "local")


def test_two_runs_into_one_place_do_not_mix(source, place):
    """The second is refused while the first lives."""
    busy = "another (run writes|process is making shards) there"
    with (
        by_tasks(place),
        open_token_parts(place, np.dtype("<u2")),
        pytest.raises((FileError, UsageError), match=busy),
    ):
        tokenize(source, place)
