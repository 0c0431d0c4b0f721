"""Every store: ranges, lists, writes that appear whole or not at all, and conditions."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from dataprep.core.errors import (
    ConflictError,
    InputError,
    NotFoundError,
)
from dataprep.core.io.stores import objects, store_of
from dataprep.core.io.stores.streams import ObjectReader
from tests.stores import request as ask

STORES = ["s3", "memory", "file", "hub", "fsspec memory", "fsspec local", "fsspec s3"]
CONDITIONAL = [name for name in STORES if not name.startswith("fsspec")]


every_store = pytest.mark.parametrize("place", STORES, indirect=True)


@every_store
def test_ranges_of_an_object(place):
    """A range ends where the object ends, and the etag is that of these bytes."""
    store, top = place
    url = f"{top}/a b/é?x#1%20.jsonl"
    etag = store.put(url, b"0123456789")
    assert store.stat(url) == (10, etag)
    assert [store.read(url, *span) for span in ((0, 10), (3, 5), (8, 99), (4, 4), (10, 12), (50, 60))] == [
        b"0123456789", b"34", b"89", b"", b"", b"",
    ]  # fmt: skip
    assert store.read(url, 2, 4, etag) == b"23"


@every_store
def test_a_replaced_object_is_never_mixed_with_the_new_one(place):
    """Whoever began with the old bytes gets an error, not some of the new ones."""
    store, top = place
    url = f"{top}/rows.jsonl"
    etag = store.put(url, b"old old old")
    assert store.put(url, b"new new new!") != etag
    with pytest.raises(InputError, match=r"rows\.jsonl: the file was changed while it was read"):
        store.read(url, 0, 3, etag)


@every_store
def test_a_list_has_what_is_below_a_folder(place):
    """With sizes and etags; an object whose name only begins like the folder is not in it."""
    store, top = place
    etags = {
        name: store.put(f"{top}/{name}", name.encode()) for name in ("a/1.jsonl", "a/b/2.jsonl", "ab.jsonl")
    }
    for folder in (f"{top}/a", f"{top}/a/"):
        assert sorted(store.list(folder)) == [
            (f"{top}/a/1.jsonl", (9, etags["a/1.jsonl"])),
            (f"{top}/a/b/2.jsonl", (11, etags["a/b/2.jsonl"])),
        ]
    assert len(list(store.list(top))) == 3
    assert list(store.list(f"{top}/nothing")) == []


@every_store
def test_what_does_not_exist_is_an_error_with_its_url(place):
    """Reading, and looking; to delete it is none."""
    store, top = place
    for call in (store.stat, lambda url: store.read(url, 0, 1)):
        with pytest.raises(NotFoundError, match=r"none\.jsonl: no such object"):
            call(f"{top}/none.jsonl")
    store.delete(f"{top}/none.jsonl")


@every_store
def test_a_deleted_object_is_gone(place):
    """And the others stay."""
    store, top = place
    store.put(f"{top}/1", b"1")
    store.put(f"{top}/2", b"2")
    store.delete(f"{top}/1")
    assert [url for url, _ in store.list(top)] == [f"{top}/2"]


@every_store
def test_an_object_is_new_or_it_is_not_written(place):
    """The loser of two runs gets an error, and the winner's bytes stay."""
    store, top = place
    url = f"{top}/manifest.json"
    store.put(url, b"mine", new=True)
    with pytest.raises(ConflictError, match=r"manifest\.json: exists already"):
        store.put(url, b"yours", new=True)
    assert store.read(url, 0, 9) == b"mine"


@every_store
def test_an_object_is_replaced_only_if_it_is_the_one_that_was_seen(place):
    """Also one that is gone."""
    store, top = place
    url = f"{top}/manifest.json"
    first = store.put(url, b"first")
    second = store.put(url, b"the second", match=first)
    assert store.stat(url) == (10, second)
    with pytest.raises(ConflictError, match="was written by another run"):
        store.put(url, b"third", match=first)
    store.delete(url)
    with pytest.raises(ConflictError, match="was written by another run"):
        store.put(url, b"third", match=second)
    with pytest.raises(NotFoundError):
        store.stat(url)


@pytest.fixture
def small_parts(monkeypatch):
    """Uploads in parts of 5 MiB, the smallest that S3 takes."""
    monkeypatch.setattr(objects, "PART_BYTES", 5 << 20)


# Different ones: a buffer that is used again before it is sent would show.
LINES = [b'{"n": %d, "text": "%b"}\n' % (n, bytes([97 + n % 26]) * 1000) for n in range(12_000)]


def write_and_fail(store, url, lines):
    """Write lines to an object, and raise before the end."""
    with store.writer(url) as stream:
        for line in LINES[:lines]:
            stream.write(line)
        raise KeyError


@every_store
@pytest.mark.usefixtures("small_parts")
def test_a_written_object_appears_whole(place):
    """In several parts too; nothing is visible before the end."""
    store, top = place
    url = f"{top}/rows.jsonl"
    with store.writer(url) as stream:
        for line in LINES:
            stream.write(line)
        assert list(store.list(top)) == []
        with pytest.raises(NotFoundError):
            store.stat(url)
    assert store.stat(url).size == sum(map(len, LINES))
    assert store.read(url, 0, 1 << 30) == b"".join(LINES)
    assert [found for found, _ in store.list(top)] == [url]


@every_store
@pytest.mark.usefixtures("small_parts")
@pytest.mark.sampled(3)
@pytest.mark.parametrize("lines", [0, 1, 12_000])
def test_an_error_in_mid_write_leaves_nothing(place, lines):
    """Neither an object, nor half of one under another name; what was there before stays."""
    store, top = place
    old = store.put(f"{top}/old.jsonl", b"old")
    for name in ("new.jsonl", "old.jsonl"):
        with pytest.raises(KeyError):
            write_and_fail(store, f"{top}/{name}", lines)
    assert list(store.list(top)) == [(f"{top}/old.jsonl", (3, old))]
    assert store.read(f"{top}/old.jsonl", 0, 9) == b"old"


@pytest.mark.usefixtures("small_parts")
def test_an_upload_that_failed_leaves_no_parts_behind(s3, s3_address):
    """Invisible parts cost money."""
    with pytest.raises(KeyError):
        write_and_fail(store_of(s3), f"{s3}/rows.jsonl", 12_000)
    bucket = s3.removeprefix("s3://")
    assert b"<Upload>" not in ask(s3_address, "GET", f"/{bucket}?uploads")[2]


WRITER = """
    import os, sys
    from dataprep.core.io.stores import objects, store_of
    from dataprep.core.io.stores.others import FsspecStore

    objects.PART_BYTES = 5 << 20
    url = sys.argv[2]
    store = FsspecStore(url) if sys.argv[1].startswith("fsspec") else store_of(url)
    with store.writer(url) as stream:
        for _ in range(12):
            stream.write(b"y" * (1 << 20))
        stream.flush()
        print("written", flush=True)
        sys.stdin.read()
"""


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize("place", [name for name in STORES if "memory" not in name], indirect=True)
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_process_killed_in_mid_write_leaves_the_old_object_or_none(place, old, request):
    """No reader sees a part of what it wrote."""
    store, top = place
    url = f"{top}/rows.jsonl"
    before = None if old is None else store.put(url, old)
    kind = request.node.callspec.params["place"]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), kind, url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    if old is None:
        with pytest.raises(NotFoundError):
            store.stat(url)
    else:
        assert store.stat(url) == (3, before)
        assert store.read(url, 0, 9, before) == old


@pytest.mark.parametrize("place", ["s3", "file"], indirect=True)
def test_an_object_is_read_as_a_stream(place, monkeypatch):
    """In order with few requests, and from any offset."""
    store, top = place
    data = os.urandom(3_000_000)
    store.put(f"{top}/data", data)
    asked = []
    read = type(store).read
    monkeypatch.setattr(type(store), "read", lambda *given: asked.append(given[2:4]) or read(*given))
    with ObjectReader(f"{top}/data") as stream:
        assert stream.read(10) == data[:10]
        assert stream.readall() == data[10:]
        assert len(asked) < 8
        assert stream.seek(-5, 2) == 2_999_995
        assert stream.read() == data[-5:]
        stream.seek(1_000_000)
        assert stream.read(3) == data[1_000_000:1_000_003]
        store.put(f"{top}/data", data[:-1])
        stream.seek(0)
        with pytest.raises(InputError, match="the file was changed while it was read"):
            stream.read(10)
