"""Stored logits: what is read is what was written, in few bits, and damage or other data are noticed."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import FileError, InputError, TokenizerError, UsageError
from dataprep.tokens.logits.coding import (
    COARSEST,
    FINEST,
    LOWEST,
    SCALE,
    TAIL_STEPS,
    TopLogprobs,
    decode,
    encode,
)
from dataprep.tokens.logits.files import DATA, FRAME, MANIFEST, OFFSETS, UNFINISHED
from dataprep.tokens.logits.reading import Logits
from dataprep.tokens.logits.writing import open_writer

TEMPERATURES = (1.0, 2.0)
VOCABULARIES = [1, 2, 330, 49_152, 128_256, 1 << 24]


@st.composite
def documents(draw, width=None, vocabulary=None):
    """The likeliest tokens at some positions of a document."""
    size = vocabulary or draw(st.sampled_from(VOCABULARIES))
    k = width or draw(st.integers(1, min(size, 12)))
    places = st.lists(st.integers(1, 1 << 20), unique=True, max_size=8).map(sorted)
    positions = np.array(draw(places), dtype=np.int64)
    row = st.lists(st.integers(0, size - 1), min_size=k, max_size=k, unique=True).map(sorted)
    value = st.floats(-120, 0) | st.sampled_from([0.0, -1e-9, float("-inf")])
    several = {"min_size": positions.size, "max_size": positions.size}
    ids = draw(st.lists(row, **several))
    logprobs = draw(st.lists(st.lists(value, min_size=k, max_size=k), **several))
    tails = draw(st.lists(st.lists(st.floats(-19, 12), min_size=2, max_size=2), **several))
    shape = (positions.size, k)
    return TopLogprobs(
        positions,
        np.array(ids, dtype=np.int64).reshape(shape),
        np.array(logprobs, dtype=np.float32).reshape(shape),
        np.array(tails, dtype=np.float32).reshape(positions.size, 2),
        TEMPERATURES,
    )


@given(st.integers(1, 4).flatmap(lambda width: st.lists(documents(width, 330), min_size=1, max_size=5)))
def test_documents_come_back_from_one_record(tops):
    """Each has its own positions; some have none."""
    check_record(tops)


@given(documents())
def test_a_document_comes_back(top):
    """Tokens of any vocabulary, and as many of them as a position can have."""
    check_record([top])


def check_record(tops):
    """Positions and ids are exact; each log-probability is within half a step at its size."""
    record = encode(*tops)
    found = decode(record, tops[0].ids.shape[1], TEMPERATURES)
    for read, top in zip(found, tops, strict=True):
        assert (read.positions == top.positions).all()
        assert (read.ids == top.ids).all()
        given_values = np.maximum(top.logprobs.astype(np.float64), LOWEST)
        error = np.abs(read.logprobs - given_values)
        step = np.minimum(FINEST * np.exp(-given_values / SCALE), COARSEST)
        assert (error <= 0.52 * step + 1e-5).all()
        assert (np.abs(read.tails - top.tails) <= 0.51 / TAIL_STEPS).all()
    assert encode(*found) == record, "what was read is written as it was"


@given(documents(width=3, vocabulary=330), st.sampled_from(TEMPERATURES))
def test_a_distribution_adds_up_to_one(top, temperature):
    """The listed tokens and all others as one are a distribution at each temperature."""
    listed, rest = top.at(temperature)
    total = np.exp(listed.astype(np.float64)).sum(axis=1) + np.exp(rest.astype(np.float64))
    assert np.abs(total - 1).max(initial=0) < 1e-5


def test_a_record_is_what_the_format_says():
    """A record that is packed by hand, bit by bit, is read."""
    # Documents with position 3 and 4; ids {2, 9} and {2, 11}; the second value is one code below the first.
    head = struct.pack("<II6B", 2, 3, 2, 1, 0, 1, 0, 0)
    largest, tails = struct.pack("<2H", 10, 20), struct.pack("<2H", 12 * 2048, 13 * 2048)
    # The first document has 1 position: low bit 1, high part 0. The different tokens 2, 9, 11 have the gaps
    # 2, 6, 1: low bits 0, 0, 1, high parts 1, 3, 0.
    lows = bytes([0b1000_0000, 0b0010_0000])
    counts, positions, tokens, indices, values = "1", "000100001", "0100011", "11101", "101101"
    bits = counts + positions + tokens + indices + values
    highs = int(bits.ljust(32, "0"), 2).to_bytes(4, "big")
    one, two = decode(head + largest + tails + lows + highs, 2, [1.0])
    assert (one.positions.tolist(), two.positions.tolist()) == ([3], [4])
    assert (one.ids.tolist(), two.ids.tolist()) == ([[2, 9]], [[2, 11]])
    codes = np.array([[10, 9], [20, 19]])
    found = np.concatenate([one.logprobs, two.logprobs])
    np.testing.assert_allclose(found, SCALE * np.log(1 - codes * FINEST / SCALE), rtol=1e-5)
    assert (one.tails.tolist(), two.tails.tolist()) == ([[0.0]], [[-1.0]])


def random_top(seed, count, k=8, vocabulary=330):
    """Positions of random logits."""
    chance = np.random.default_rng(seed)
    logits = chance.normal(size=(count, vocabulary)) * 3
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    ids = np.sort(np.argsort(-logs, axis=1)[:, :k], axis=1)
    top = np.take_along_axis(logs, ids, axis=1)
    others = logs.copy()
    np.put_along_axis(others, ids, -np.inf, axis=1)
    tails = np.stack([np.log(np.exp(others / t).sum(axis=1)) for t in TEMPERATURES], axis=1)
    where = np.sort(chance.choice(500, count, replace=False)) + 1
    return TopLogprobs(where, ids, top.astype("f4"), tails.astype("f4"), TEMPERATURES)


def facts(count=5, **changes):
    """What a capture of some documents is begun with."""
    made = {
        "teacher": {"kind": "model", "name": "big", "sha256": "a" * 64},
        "tokenizer": {"fingerprint": "b" * 64, "vocab_size": 330},
        "shards": {"checksum": "c" * 64, "documents": count},
        "options": {"top_k": 8, "temperatures": list(TEMPERATURES), "precision": "float32"},
    }
    return {name: part | changes.get(name, {}) for name, part in made.items()}


def tops(count=5):
    """Documents, one of them without any token in the loss."""
    return [(number, random_top(number, number * 3 % 7)) for number in range(count)]


def written(folder, order=None, stop=None):
    """Logits in a directory, or those that were written before a run ended."""
    found = tops()
    with open_writer(folder, facts()) as writer:
        writer.write([found[number] for number in (order or range(5))[:stop] if not writer.done[number]])
        if stop is None:
            writer.finish()
    return folder


def test_documents_come_back(tmp_path):
    """Every document is where its number says, and the counts are true."""
    logits = Logits.open(written(tmp_path / "logits"))
    assert len(logits) == 5
    assert logits.positions == sum(top.positions.size for _, top in tops())
    assert (logits.top_k, logits.vocab_size, logits.temperatures) == (8, 330, TEMPERATURES)
    for (_, expected), found in zip(tops(), logits, strict=True):
        assert (found.ids == expected.ids).all()
        np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=0.05)
    joined = logits.batch([3, 1])
    assert (joined.ids == np.concatenate([tops()[number][1].ids for number in (3, 1)])).all()
    assert (pickle.loads(pickle.dumps(logits)).document(-1).ids == tops()[4][1].ids).all()
    with pytest.raises(IndexError, match="there are 5"):
        logits.document(5)
    assert (logits.batch(np.array([3, 1])).ids == joined.ids).all()
    for numbers in ([], range(0), np.array([], dtype=int)):
        with pytest.raises(ValueError, match="found no document numbers; expected at least one"):
            logits.batch(numbers)


def test_only_stored_temperatures_are_known():
    """The mass of the other tokens at another one does not follow from what is stored."""
    with pytest.raises(ValueError, match="found temperature 3; the stored ones are 1, 2"):
        random_top(0, 2).at(3.0)


def files_of(folder):
    """The files of a directory, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("order", [[4, 0, 2, 1, 3], [3, 4]])
def test_the_bytes_do_not_tell_who_came_first(tmp_path, order):
    """Documents that arrive in any order, in any number of runs, give the same files."""
    whole = files_of(written(tmp_path / "whole"))
    written(tmp_path / "parts", order=order, stop=3)
    assert MANIFEST not in files_of(tmp_path / "parts")
    assert files_of(written(tmp_path / "parts")) == whole


def start_of_next(size):
    """The first bytes of the frame that follows."""
    return lambda content, kept: content[kept : kept + size]


@pytest.mark.parametrize(
    "tail",
    [
        *map(start_of_next, [1, FRAME.size - 1, FRAME.size, FRAME.size + 5]),
        lambda *_: bytes(32),  # as a power cut can leave them
        lambda content, kept: content[:kept],  # documents that are there already
    ],
)
def test_a_torn_frame_is_written_again(tmp_path, tail):
    """What was written to its end is kept, and whatever follows is cut off."""
    whole = files_of(written(tmp_path / "whole"))
    folder = written(tmp_path / "torn", stop=2)
    kept = (folder / DATA).read_bytes()
    frames = (written(tmp_path / "all", stop=5) / DATA).read_bytes()
    (folder / DATA).write_bytes(kept + tail(frames, len(kept)))
    with open_writer(folder, facts()) as writer:
        assert writer.done.tolist() == [True, True, False, False, False]
    assert files_of(written(folder)) == whole


def test_a_run_that_ended_before_its_manifest_is_finished(tmp_path):
    """Documents that were joined already are found, and become the same files."""
    folder = written(tmp_path / "logits")
    whole = files_of(folder)
    begun = files_of(written(tmp_path / "begun", stop=0))[UNFINISHED]
    for name in (MANIFEST, OFFSETS):
        (folder / name).unlink()
    (folder / UNFINISHED).write_bytes(begun)
    with open_writer(folder, facts()) as writer:
        assert writer.done.all()
    assert files_of(written(folder)) == whole


def test_short_documents_share_a_record(tmp_path):
    """They take fewer bytes than alone, a long one stays alone, and each is what it was."""
    sizes = [2] * 40 + [100, 0, 100, *[0] * 300, 1]
    found = [(number, random_top(number % 7, size)) for number, size in enumerate(sizes)]
    with open_writer(tmp_path / "logits", facts(len(sizes))) as writer:
        writer.write(reversed(found))
        alone = (tmp_path / "logits" / DATA).stat().st_size
        writer.finish()
    logits = Logits.open(tmp_path / "logits")
    assert (tmp_path / "logits" / DATA).stat().st_size < 0.8 * alone
    data, frames = (tmp_path / "logits" / DATA).read_bytes(), []
    while data:
        first, length, _ = FRAME.unpack_from(data)
        frames.append(first)
        data = data[FRAME.size + length :]
    # 32 documents have 64 positions; the 8 after them are with the first long one.
    assert frames == [0, 32, 41, 43, 298]
    for (_, expected), read in zip(found, logits, strict=True):
        assert (read.positions == expected.positions).all()
        assert (read.ids == expected.ids).all()
        np.testing.assert_allclose(read.logprobs, expected.logprobs, atol=0.05)


def test_long_documents_in_order_are_not_written_again(tmp_path):
    """The file of frames is left as it is, and what follows from it is right."""
    sizes = [70, 64, 100]
    with open_writer(tmp_path / "logits", facts(len(sizes))) as writer:
        writer.write((number, random_top(number, size)) for number, size in enumerate(sizes))
        before = (tmp_path / "logits" / DATA).stat().st_ino
        writer.finish()
    assert (tmp_path / "logits" / DATA).stat().st_ino == before
    found = Logits.open(tmp_path / "logits")
    assert [top.positions.size for top in found] == sizes


def test_unfinished_logits_are_none(tmp_path):
    """Without all documents, nothing can be opened, and the error says how to continue."""
    folder = written(tmp_path / "logits", stop=3)
    assert set(files_of(folder)) == {DATA, UNFINISHED}
    with pytest.raises(FileError, match=r"no finished logits.*same `dataprep capture`"):
        Logits.open(folder)
    with pytest.raises(FileError, match=r"no finished logits.*: make them with `dataprep capture`"):
        Logits.open(tmp_path)


@pytest.mark.parametrize("stop", [3, None])
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"teacher": {"sha256": "0" * 64}}, r"the teacher \(found big, sha256 aaaa"),
        ({"tokenizer": {"fingerprint": "0" * 64}}, r"the tokenizer \(found fingerprint bbbb"),
        ({"shards": {"checksum": "0" * 64}}, r"the shards \(found checksum cccc"),
        ({"options": {"top_k": 9}}, r"top_k \(found 8, expected 9\)"),
    ],
)
def test_other_inputs_are_an_error_that_names_them(tmp_path, stop, changes, named):
    """Finished or not, logits of another teacher, tokenizer, shards or options are never mixed with these."""
    folder = written(tmp_path / "logits", stop=stop)
    before = files_of(folder)
    with pytest.raises(InputError, match=named), open_writer(folder, facts(**changes)):
        pass
    assert files_of(folder) == before


class OtherShards:
    """Shards that the logits were not captured from."""

    path = "tokens"

    def __init__(self, fingerprint, checksum):
        self.fingerprint, self.manifest = fingerprint, {"checksum": checksum}


def test_logits_belong_to_their_shards(tmp_path):
    """Opened with other shards, or shards of another tokenizer, they are an error that says which."""
    folder = written(tmp_path / "logits")
    assert len(Logits.open(folder, shards=OtherShards("b" * 64, "c" * 64))) == 5
    with pytest.raises(InputError, match=r"other data than tokens: the shards \(found checksum cccc"):
        Logits.open(folder, shards=OtherShards("b" * 64, "0" * 64))
    with pytest.raises(TokenizerError, match=r"the tokenizer \(found fingerprint bbbb"):
        Logits.open(folder, shards=OtherShards("0" * 64, "c" * 64))


@pytest.mark.parametrize("name", [DATA, OFFSETS, MANIFEST])
@pytest.mark.parametrize("change", ["flip", "cut"])
def test_damage_is_noticed(tmp_path, name, change):
    """A flipped bit or a cut file is an error that names the file, also without digests."""
    path = written(tmp_path / "logits") / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content if change == "flip" else content[:-3])
    with pytest.raises(InputError, match=r"damaged|not a manifest"):
        Logits.open(path.parent)
    if name == DATA and change == "flip":
        with pytest.raises(InputError, match="damaged at document"):
            list(Logits.open(path.parent, verify=False))


def test_other_files_are_left_alone(tmp_path):
    """A directory of something else, and a file, are refused."""
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UsageError, match="another"), open_writer(path, facts()):
            pass


def test_two_processes_do_not_write_together(tmp_path):
    """The second one is told to wait, and the first one's directory stays, even if it is empty."""
    folder = tmp_path / "logits"
    with open_writer(folder, facts()) as writer:
        with pytest.raises(FileError, match="another process"), open_writer(folder, facts()):
            pass
        assert folder.is_dir()
        writer.write(tops())
        writer.finish()
    assert len(Logits.open(folder)) == 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    """The file of frames cannot grow: the error is that of the write, also after the file is closed."""
    folder = written(tmp_path / "logits", stop=0)
    (folder / DATA).unlink()
    (folder / DATA).symlink_to("/dev/full")
    with pytest.raises(FileError, match=rf"{DATA}.*space"), open_writer(folder, facts()) as writer:
        writer.write(tops())


@pytest.mark.parametrize("name", ["logprobs", "tails"])
def test_nan_is_an_error_that_names_the_document(tmp_path, name):
    """A teacher whose numbers overflow is refused, and the documents before are kept."""
    documents = tops()
    getattr(documents[2][1], name)[1, 0] = np.nan
    advice = "give another teacher; a --teacher-model can also take --precision float32"
    message = rf"logits: document 2: found NaN .*: {advice}"
    with open_writer(tmp_path / "logits", facts()) as writer:
        with pytest.raises(InputError, match=message):
            writer.write(documents)
        assert writer.done.tolist() == [True, True, False, False, False]
