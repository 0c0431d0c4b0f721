"""Shards: what was written is what is read, whole or not at all, and never somebody else's ids."""

import os
import pickle
import subprocess
import sys
from itertools import pairwise

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import DataprepError, FileError, InputError, TokenizerError, UsageError
from dataprep.tokens.shards import writing as shard_writing
from dataprep.tokens.shards.manifest import MANIFEST, checksum
from dataprep.tokens.shards.packing import pack, whole
from dataprep.tokens.shards.reading import Shards, id_type
from dataprep.tokens.shards.writing import check_directory, finish, open_buffer
from tests.tokens_fakes import Bytes

FACTS = {
    "key": "ab" * 32,
    "tokenizer": {"kind": "tiktoken", "fingerprint": "0" * 64, "vocab_size": 70_000, "name": None},
    "chat_format": {"name": "llama3", "fingerprint": "1" * 64},
    "pad_id": 9,
    "inputs": [
        {"name": "a.jsonl", "rows": 2, "sha256": "2" * 64},
        {"name": "b.jsonl", "rows": 1000, "sha256": "3" * 64},
    ],
    "rows": {"in": 1002, "out": 1002, "dropped": {}, "failed": {}},
    "cut": 0,
}
DOCUMENTS = st.lists(
    st.lists(st.tuples(st.integers(0, 69_999), st.booleans()), min_size=1, max_size=20), max_size=20
)


def write(folder, documents, *, size=None, batch=3, limit=1 << 29, key="ab" * 32):
    """Shards of documents, each a list of (id, trained)."""
    dtype = id_type(FACTS["tokenizer"]["vocab_size"])
    with open_buffer(folder, dtype) as flat:
        for begin in range(0, len(documents), batch):
            some = documents[begin : begin + batch]
            tokens = [token for document in some for token in document]
            ids = np.array([number for number, _ in tokens], dtype=dtype)
            bits = np.packbits(np.array([trained for _, trained in tokens], dtype=np.uint8))
            lengths = np.array([len(each) for each in some], dtype=np.uint32)
            flat.write(ids.tobytes())
            flat.add(bits.tobytes(), lengths, np.arange(begin, begin + len(some)))
        flat.close()
        order = whole(flat.lengths) if size is None else pack(flat.lengths, size, split_long=True)
        finish(
            flat,
            order,
            FACTS | {"key": key, "options": {"pack": size, "strip": False, "date": None}},
            limit=limit,
        )
    return folder


def listed(document):
    """A document that was read, as a list of (id, trained)."""
    ids, mask = document
    return list(zip(ids.tolist(), mask.tolist(), strict=True))


def shards_of(tmp_path):
    """Some shards of three documents."""
    return write(tmp_path / "out", [[(1, False), (2, True)], [(3, True)], [(4, False), (5, True), (6, True)]])


@given(DOCUMENTS, st.integers(1, 5), st.integers(1, 60))
def test_documents_come_back(tmp_path_factory, documents, batch, limit):
    """Ids and masks survive, however they arrived and into however many shards they were divided."""
    folder = write(tmp_path_factory.mktemp("shards") / "out", documents, batch=batch, limit=limit)
    shards = Shards.open(folder)
    assert [listed(each) for each in shards] == documents
    assert len(shards) == len(documents)
    assert shards.tokens == sum(map(len, documents))
    assert shards.loss_tokens == sum(trained for document in documents for _, trained in document)
    assert [shards.row(number) for number in range(len(shards))] == list(range(len(documents)))


@given(DOCUMENTS, st.integers(4, 30), st.integers(1, 60))
def test_packed_sequences_hold_every_token_once(tmp_path_factory, documents, size, limit):
    """Each token is in one sequence; boundaries, positions and padding are where they should be."""
    folder = write(tmp_path_factory.mktemp("shards") / "out", documents, size=size, limit=limit)
    shards = Shards.open(folder)
    found, number = {}, 0
    for each in range(shards.sequences):
        ids, mask, bounds = sequence = shards.sequence(each)
        assert ids.size == mask.size == size
        assert (ids[bounds[-1] :] == FACTS["pad_id"]).all()
        assert not mask[bounds[-1] :].any()
        expected = [n - max(b for b in bounds.tolist() if b <= n) for n in range(size)]
        assert sequence.positions.tolist() == expected
        for start, end in pairwise(bounds.tolist()):
            piece = listed(shards.document(number))
            assert ids[start:end].tolist() == [token for token, _ in piece]
            assert mask[start:end].tolist() == [False, *[trained for _, trained in piece[1:]]]
            found.setdefault(shards.row(number), []).append(piece)
            number += 1
    assert number == len(shards)
    for row, pieces in found.items():
        assert sorted(token for piece in pieces for token in piece) == sorted(documents[row])
    assert sorted(found) == list(range(len(documents)))


def test_documents_are_no_sequences(tmp_path):
    """Shards that are not packed say so, and a document names its row and file."""
    shards = Shards.open(shards_of(tmp_path))
    with pytest.raises(UsageError, match="not packed"):
        shards.sequence(0)
    assert [shards.source(number) for number in range(3)] == [("a.jsonl", 1), ("a.jsonl", 2), ("b.jsonl", 1)]
    assert (shards.pad_id, shards.chat_format, shards.fingerprint) == (9, "llama3", "0" * 64)


def test_ids_are_views_of_the_file(tmp_path):
    """Nothing is copied, and nothing can be changed by accident."""
    ids, _ = Shards.open(shards_of(tmp_path)).document(-1)
    assert (ids.tolist(), ids.flags.owndata, ids.flags.writeable) == ([4, 5, 6], False, False)


def test_other_processes_map_the_same_files(tmp_path):
    """Workers of a trainer get the place and not the content, and never other shards than it has."""
    folder = write(tmp_path / "out", [[(number % 999, True)] * 100 for number in range(1000)])
    pickled = pickle.dumps(Shards.open(folder))
    assert len(pickled) < 1000
    assert listed(pickle.loads(pickled).document(7)) == [(7, True)] * 100
    write(folder, [[(7, True)]], key="cd" * 32)
    with pytest.raises(InputError, match="replaced by others"):
        pickle.loads(pickled)


def test_small_vocabularies_take_two_bytes():
    """An id takes no more room than its vocabulary needs."""
    assert (id_type(1 << 16).itemsize, id_type((1 << 16) + 1).itemsize) == (2, 4)


@pytest.mark.parametrize("number", [3, -4])
def test_there_is_no_further_document(tmp_path, number):
    """A number past the end is an error, not another document."""
    with pytest.raises(IndexError):
        Shards.open(shards_of(tmp_path)).document(number)


@pytest.mark.parametrize("kind", ["ids", "mask", "offsets"])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "remove"])
def test_damaged_arrays_are_refused(tmp_path, kind, damage):
    """A changed byte, a byte too few or too many, or a missing file is an error that names the file."""
    folder = shards_of(tmp_path)
    (path,) = folder.glob(f"*-{kind}-*")
    data = path.read_bytes()
    changed = {"flip": bytes([data[0] ^ 64]) + data[1:], "cut": data[:-1], "grow": data + b"\0"}
    path.unlink() if damage == "remove" else path.write_bytes(changed[damage])
    with pytest.raises(FileError if damage == "remove" else InputError, match=kind):
        Shards.open(folder)


@given(place=st.integers(0, 2000), bit=st.integers(0, 7))
def test_a_damaged_manifest_is_never_believed(tmp_path_factory, place, bit):
    """Whatever bit is turned over, the shards are refused or are what they were."""
    folder = shards_of(tmp_path_factory.mktemp("shards"))
    path = folder / MANIFEST
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)
    try:
        shards = Shards.open(folder)
    except DataprepError:
        return
    assert [ids.tolist() for ids, _ in shards] == [[1, 2], [3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"[]", "not a manifest"),
        (b'{"format": "other"}', "not a manifest"),
        (b'{"format": "dataprep-shards", "version": 99}', "version 99"),
        # as written before the chat format had its name in the manifest
        (
            b'{"format": "dataprep-shards", "version": 2, "layout": {"name": "llama3"}}',
            "version 2; this program reads 3: make the shards again with `dataprep tokenize`",
        ),
    ],
)
def test_other_manifests_are_refused(tmp_path, content, message):
    """What is no manifest of this version says so."""
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(InputError, match=message):
        Shards.open(tmp_path)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(FileError, match="no finished shards"):
        Shards.open(tmp_path)


def test_shards_of_another_tokenizer_are_refused(tmp_path):
    """Ids of one tokenizer are never read as those of another, nor given to a model that is too small."""
    folder = shards_of(tmp_path)
    assert len(Shards.open(folder, tokenizer=Bytes(), vocab_size=70_000)) == 3
    with pytest.raises(TokenizerError, match="another tokenizer"):
        Shards.open(folder, tokenizer=Bytes(fingerprint="f" * 64))
    with pytest.raises(TokenizerError, match=r"vocabulary of 70,000 tokens, and the model has 32,000"):
        Shards.open(folder, vocab_size=32_000)


def test_sizes_are_compared_even_without_verifying(tmp_path):
    """Opening without the hashes still finds arrays that do not fit one another."""
    folder = shards_of(tmp_path)
    manifest = orjson.loads((folder / MANIFEST).read_bytes())
    manifest["shards"][0]["documents"] = 2
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest | {"checksum": checksum(manifest)}))
    with pytest.raises(InputError, match="do not fit"):
        Shards.open(folder, verify=False)


@pytest.mark.parametrize("step", ["writing", "moving", "the manifest"])
def test_a_crash_leaves_the_old_shards(tmp_path, monkeypatch, step):
    """Until the manifest is replaced, the directory holds the old shards, whole."""
    folder = shards_of(tmp_path)

    def crash(*_, **__):
        raise KeyboardInterrupt

    if step == "writing":
        monkeypatch.setattr(shard_writing, "finish", crash)
        monkeypatch.setattr("tests.tokens.test_shards.finish", crash)
    elif step == "moving":
        monkeypatch.setattr(shard_writing, "put_in_place", crash)
    else:
        monkeypatch.setattr(shard_writing.orjson, "dumps", crash)
    with pytest.raises(KeyboardInterrupt):
        write(folder, [[(7, True)]], key="cd" * 32)
    monkeypatch.undo()
    assert [ids.tolist() for ids, _ in Shards.open(folder)] == [[1, 2], [3], [4, 5, 6]]
    write(folder, [[(7, True)]], key="ef" * 32)
    assert [ids.tolist() for ids, _ in Shards.open(folder)] == [[7]]
    assert {path.name[:4] for path in folder.iterdir()} == {"efef", "mani"}, "what was left is cleared away"


def test_shards_that_are_cut_while_they_are_open_are_an_error(tmp_path):
    """Not the end of the process, as with mapped files; what was read before stays."""
    shards = Shards.open(shards_of(tmp_path))
    ids, _ = shards.document(2)
    (path,) = (tmp_path / "out").glob("*-ids-*")
    os.truncate(path, 2)
    with pytest.raises(InputError, match="was changed while it was read"):
        shards.document(2)
    assert ids.tolist() == [4, 5, 6]


def test_two_processes_do_not_write_to_one_place(tmp_path):
    """The second is told so, instead of clearing away what the first has not finished."""
    code = (
        "import sys; from pathlib import Path; from dataprep.tokens.shards.writing import *\n"
        "import numpy as np\n"
        "with open_buffer(Path(sys.argv[1]), np.dtype('<u2')): print('made', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"made\n"
        with pytest.raises(FileError, match="another process is making shards there"):
            shards_of(tmp_path)
        assert len(list((tmp_path / "out").iterdir())) == 1, "what the other one is making is still there"
    assert len(Shards.open(shards_of(tmp_path))) == 3


def test_a_first_failure_leaves_nothing(tmp_path):
    """A directory that was made for the shards goes with them."""
    with pytest.raises(ZeroDivisionError), open_buffer(tmp_path / "new", id_type(9)):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_shards_replace_nothing_but_shards(tmp_path):
    """A directory with other things in it, or a file, is no place for shards."""
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(UsageError, match=r"'thesis\.tex', which does not belong to shards"):
        check_directory(tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        check_directory(tmp_path / "thesis.tex")
    check_directory(tmp_path / "new")
