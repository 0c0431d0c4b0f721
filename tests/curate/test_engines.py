"""The commands that clean rows give the same on every engine, into a file and into a folder of parts."""

import json
import random
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep.core.errors import DataprepError, UsageError
from dataprep.core.io import parts
from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.core.ledger import RESUMED, Ledger, listening
from dataprep.curate.contamination.files import decontaminate_files
from dataprep.curate.dedup import dedup_files
from dataprep.curate.duplicates import divided_rows, exchanged, join, rows, sets, similar, similar_exchanged
from dataprep.curate.duplicates import parts as looks
from dataprep.curate.filter import filter_files
from dataprep.curate.near import find_groups
from dataprep.curate.split import split_files
from dataprep.curate.split_checks import Keys
from tests.engines import engine_on

FILE, FOLDER = ".out.jsonl", ".out/"
COMBINATIONS = [(None, FOLDER), ("inline", FILE)]
WITH_PROCESSES = (
    "dedup, best",
    "filter",
    "split by keys",
    "decontaminate",
)  # the others are too small to start some for


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 3 kB, so that a few rows have many."""
    monkeypatch.setenv(CHUNK_VARIABLE, "3000")


def made_rows(seed, count):
    """Rows of which many are alike, and some equal."""
    rng = random.Random(seed)
    words = [f"word{number}" for number in range(300)]
    base = [[rng.choice(words) for _ in range(rng.randint(1, 30))] for _ in range(count // 4 + 1)]
    base += [[rng.choice(words) for _ in range(60)]] * (count // 4)  # many rows are alike
    for number in range(count):
        text = list(rng.choice(base))
        for _ in range(rng.choice([0, 0, 1, 2])):
            text[rng.randrange(len(text))] = rng.choice(words)
        yield {"id": number, "question": " ".join(text), "n": rng.randrange(9)}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of files, which is the working directory."""
    folder = tmp_path / "data"
    folder.mkdir()
    made = {
        name: [*made_rows(count, count)] for name, count in (("a", 300), ("b", 200), ("x", 60), ("t", 20))
    }
    made["x"] += made["a"][::5]
    made["t"] += made["b"][::40]
    for name, some in made.items():
        lines = [orjson.dumps(row) + b"\n" for row in some]
        for place in range(0, len(lines), 50):
            lines[place] += b"\n  \n"  # blank lines
        (folder / f"{name}.jsonl").write_bytes(b"".join(lines))
    lines = (folder / "a.jsonl").read_bytes().splitlines(keepends=True)
    for place in (40, 41, 200, 290):
        lines[place] = b"{bad\n" if place % 2 else b'{"question": "", "text": "one"}\n'
    (folder / "bad.jsonl").write_bytes(b"".join(lines))
    (folder / "copy.jsonl").write_bytes((folder / "a.jsonl").read_bytes().upper())
    (folder / "empty.jsonl").write_bytes(b"\n" * 10_000)
    (folder / "c.json").write_bytes(orjson.dumps([*made_rows(5, 100)]))
    monkeypatch.chdir(folder)
    return folder


def content(path):
    """The bytes of a file, or of all parts of a folder; ``None`` if there is nothing, or it is unfinished."""
    path = Path(path)
    if path.is_dir():
        if not (path / "manifest.json").exists():
            return None
        assert not [name for name in path.iterdir() if name.name.startswith(".")]
        return b"".join(part.read_bytes() for part in sorted(path.glob("part-*")))
    return path.read_bytes() if path.exists() else None


BAD = ["bad.jsonl", "b.jsonl", "c.json"]
SOUND = ["a.jsonl", "b.jsonl"]
CASES = {
    "dedup": lambda to: dedup_files(BAD, to("o"), on="question", dropped="d.jsonl", rejects="r.jsonl"),
    "dedup, best": lambda to: dedup_files(
        BAD,
        to("o"),
        on="question",
        keep="best:n",
        across=["x.jsonl", "t.jsonl"],
        dropped="d.jsonl",
        rejects="r.jsonl",
    ),
    "dedup, longest": lambda to: dedup_files(SOUND, to("o"), keep="longest", across="c.json"),
    "dedup, twice": lambda to: dedup_files(["a.jsonl", "a.jsonl", "x.jsonl"], to("o"), dropped="d.jsonl"),
    "dedup, nothing left": lambda to: dedup_files("a.jsonl", to("o"), across=["b.jsonl", "copy.jsonl"]),
    "dedup, not written": lambda _: dedup_files(SOUND, None, on="question", across="x.jsonl"),
    "dedup, drops written": lambda _: dedup_files(SOUND, None, on="question", dropped="d.jsonl"),
    "dedup, near": lambda to: dedup_files(
        BAD,
        to("o"),
        on="question",
        near=0.6,
        across="x.jsonl",
        keep="longest",
        dropped="d.jsonl",
        rejects="r.jsonl",
    ),
    "dedup, nearer": lambda to: dedup_files(SOUND, to("o"), on="question", near=0.8),
    "dedup, bad row": lambda to: dedup_files(BAD, to("o"), on="question"),
    "dedup, bad row across": lambda to: dedup_files("a.jsonl", to("o"), across=BAD, rejects="r.jsonl"),
    "dedup, no rows, not written": lambda to: dedup_files(["a.jsonl", "empty.jsonl"], to("o")),
    "filter": lambda to: filter_files(BAD, to("o"), where="n > 4", rejects="r.jsonl"),
    "filter nothing": lambda to: filter_files(SOUND, to("o"), where="n > 40"),
    "filter, not written": lambda _: filter_files(SOUND, None, where="n > 4"),
    "filter, bad row": lambda to: filter_files(BAD, to("o"), where="n > 4"),
    "filter, no such field": lambda to: filter_files(SOUND, to("o"), where="m > 4 AND k > 3"),
    "split": lambda to: split_files(BAD, to("{part}"), parts="a=0.7,b=0.3", rejects="r.jsonl"),
    "split, not written": lambda to: split_files(SOUND, to("{part}"), parts="a=0.7,b=0.3", dry_run=True),
    "split by field": lambda to: split_files(SOUND, to("{part}"), parts="a=0.7,b=0.3", by="n"),
    "split by keys": lambda to: split_files(
        BAD,
        to("{part}"),
        parts="a=0.7,b=0.3",
        keys={path: [f"{number // 3}" for number in range(400)] for path in BAD},
        rejects="r.jsonl",
    ),
    "split near": lambda to: split_files(SOUND, to("{part}"), parts="a=0.7,b=0.3", by="near-duplicates"),
    "split, bad row": lambda to: split_files(BAD, to("{part}"), parts="a=0.7,b=0.3", by="question"),
    "decontaminate": lambda to: decontaminate_files(
        BAD,
        to("o"),
        against=["t.jsonl", "c.json"],
        dropped="d.jsonl",
        found="f.jsonl",
        rejects="r.jsonl",
    ),
    "decontaminate, not written": lambda _: decontaminate_files(
        SOUND, None, against=["t.jsonl"], dropped="d.jsonl"
    ),
    "decontaminate, bad row": lambda to: decontaminate_files(BAD, to("o"), against=["t.jsonl"]),
}
OUTPUTS = ("o", "a", "b", "r.jsonl", "d.jsonl", "f.jsonl")


def described(result, out, suffix):
    """A result as a text that does not depend on where it was written; also the order of reasons."""
    ledgers = [result] if isinstance(result, Ledger) else getattr(result, "ledgers", None)
    ledgers = ledgers or [result.ledger]
    ledgers = ledgers.values() if isinstance(ledgers, dict) else ledgers
    text = f"{result} {[json.dumps(ledger.to_json()) for ledger in ledgers]}"
    return text.replace(str(out), "OUT").replace(suffix, "")


def results(folder, case, suffix):
    """Run a case; return its result or error, and the bytes of all outputs."""
    data = folder.parent / "data"
    out = folder.parent / f"out{len(list(folder.parent.iterdir()))}"
    out.mkdir()

    def to(name):
        return str(out / name) + suffix

    for name in data.iterdir():
        (out / name.name).symlink_to(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        try:
            result = described(CASES[case](to), out, suffix)
        except DataprepError as error:
            result = f"{type(error).__name__}: {error}"
        else:
            assert not [name for name in out.iterdir() if name.name.startswith(".")]
    return result, {name: content(out / name if "." in name else to(name).rstrip("/")) for name in OUTPUTS}


@pytest.mark.parametrize("case", CASES)
def test_results_are_those_of_one_machine(data, case):
    """Result, first error, rejects and every output, on each engine and in both forms."""
    expected = results(data, case, FILE)
    if "written" in case or "bad row" in case or "no such" in case:
        assert expected[1]["o"] is None
    for engine, suffix in [*COMBINATIONS, *[(2, FOLDER)] * (case in WITH_PROCESSES)]:
        with engine_on(engine):
            assert results(data, case, suffix) == expected, (engine, suffix)


@pytest.mark.cluster
@pytest.mark.medium
@pytest.mark.parametrize("case", CASES)
def test_results_on_a_cluster_are_those_of_one_machine(cluster, data, case):
    """The same on three nodes, into one file; parts depend on no engine."""
    with engine_on(cluster.address):
        found = results(data, case, FILE)
    assert found == results(data, case, FILE)


@pytest.mark.parametrize("case", ["dedup, best", "dedup, near", "filter", "split", "decontaminate"])
@pytest.mark.parametrize("suffix", [FILE, FOLDER])
def test_an_interrupted_run_is_continued(data, monkeypatch, case, suffix):
    """Its finished chunks are not worked on again."""
    expected = results(data, case, suffix)
    out = data.parent / "again"
    out.mkdir()
    for name in data.iterdir():
        (out / name.name).symlink_to(name)
    monkeypatch.chdir(out)
    with monkeypatch.context() as patch, engine_on("inline"):
        kept = parts.PartTarget.keep
        turns = iter(range(6))

        def keep(*arguments):
            kept(*arguments)
            if next(turns) == 5:
                raise KeyboardInterrupt

        patch.setattr(parts.PartTarget, "keep", keep)
        with pytest.raises(KeyboardInterrupt):
            CASES[case](lambda name: str(out / name) + suffix)
    told = []
    with listening(lambda what, count, _: told.append((what, count))), engine_on("inline"):
        result = described(CASES[case](lambda name: str(out / name) + suffix), out, suffix)
    assert dict(told)[RESUMED] == 6
    assert result == expected[0]
    for name in OUTPUTS:
        path = out / name if "." in name else (str(out / name) + suffix).rstrip("/")
        assert content(path) == expected[1][name], name
    if suffix == FOLDER:
        for manifest in out.glob("*/manifest.json"):
            assert json.loads(manifest.read_bytes())["ledger"]["in"] > 0


LINES = st.lists(
    st.sampled_from(
        [
            b"",
            b" ",
            b"{",
            b'{"t": "a", "n": 1}',
            b'{"t": "A", "n": 2}\r',
            b'{"t": "b c d", "n": 1}',
            b'{"t": "b c d e", "n": 1.5}',
            b'{"t": "b c d e", "n": 3, "x": "0123456789"}',
            b'{"t": "x", "n": "none"}',
        ]
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60)
@given(
    files=st.lists(LINES, min_size=1, max_size=3),
    across=st.integers(0, 1),
    keep=st.sampled_from(["first", "longest", "best:n"]),
    near=st.sampled_from([None, None, 0.5]),
    size=st.integers(4, 300),
    buckets=st.integers(1, 5),
    newline=st.booleans(),
)
def test_rows_of_any_files_are_deduplicated_as_on_one_machine(
    tmp_path_factory, files, across, keep, near, size, buckets, newline
):
    """Blank and bad lines, and chunks of any size, many of which hold no line."""
    folder = tmp_path_factory.mktemp("rows")
    for number, lines in enumerate(files):
        data = b'{"t": "one", "n": 0}\n' + b"\n".join(lines) + b"\n" * newline
        (folder / f"{number}.jsonl").write_bytes(data)
    names = [f"{number}.jsonl" for number in range(len(files))]
    options = {"on": "t", "keep": keep, "near": near, "across": names[len(names) - across :]}
    inputs = names[: len(names) - across] or names[:1]
    options["across"] = [] if inputs == names[:1] and len(names) == 1 else options["across"]

    def run(out, *suffix):
        (folder / out).mkdir()
        o, d, r = f"{out}/o", f"{out}/d", f"{out}/r.jsonl"
        try:
            done = dedup_files(inputs, o + suffix[0], dropped=d + suffix[0], rejects=r, **options)
        except DataprepError as error:
            return f"{type(error).__name__}: {error}"
        return (
            described(done, "", suffix[0]),
            *(content(folder / (p + suffix[0]).rstrip("/")) for p in (o, d)),
            content(folder / r),
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(CHUNK_VARIABLE, str(size))
        patch.setattr(exchanged, "BUCKET_BYTES", max(sum(map(len, files[0])) // buckets, 1))
        expected = run("here", ".jsonl")
        assert run("parts", "/") == expected
        with engine_on("inline"):
            assert run("cluster", "/") == expected


@pytest.fixture
def small_parts(monkeypatch):
    """Everything of the search for similar rows in many parts and rounds."""
    for module, name, value in (
        (similar, "_FEW_PAIRS", 10),
        (similar, "_FIXED", 2),
        (join, "PAIRS", 40),
        (join, "PART", 60),
        (sets, "HELD", 300),
        (exchanged, "BUCKET_BYTES", 5000),
        (similar_exchanged, "PART_SHINGLES", 300),
        (similar_exchanged, "PAIRS", 50),
        (similar_exchanged, "PAIRS_OF_TASK", 7),
        (looks, "_MOST", 20),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.mark.usefixtures("small_parts", "data")
@pytest.mark.parametrize(
    ("threshold", "keep"), [(0.3, "first"), (0.6, "longest"), (0.8, "best:n"), (1, "first")]
)
@pytest.mark.parametrize("across", ["", "x.jsonl"])
def test_similar_rows_are_those_of_one_machine(threshold, keep, across):
    """In all rounds: those of rows that are kept in any case, of leading rows, and the last one."""
    options = {"on": "question", "near": threshold, "keep": keep, "across": across or []}
    looked = []

    def run(out):
        done = dedup_files(BAD, f"{out}.jsonl", dropped=f"{out}.drops.jsonl", rejects="r.jsonl", **options)
        return done, *(Path(f"{out}{name}.jsonl").read_bytes() for name in ("", ".drops"))

    expected = run("here")
    assert expected[0].ledger.dropped.total() > 100
    with listening(lambda what, count, _: looked.append((what, count))), engine_on("inline"):
        assert run("there") == expected
    compared = {what: sum(count for name, count in looked if name == what) for what, _ in looked}
    assert threshold == 1 or (compared["pairs compared"] > 50 and compared["rows compared"] > 100)


def test_shingles_are_counted_in_shares():
    """Few as places with counts, many as all counts; and no sum is above the largest rank."""
    rng = np.random.default_rng(1)
    chunks = [rng.integers(0, 1 << 48, size, np.uint64) for size in (0, 50, 3 << 20)]
    chunks += [np.full(70_000, 5, np.uint64)] * 2
    total = np.zeros(rows.COUNTERS, np.uint32)
    for chunk in chunks:
        np.add.at(total, (chunk & np.uint64(rows.COUNTERS - 1)).astype(np.int64), np.uint32(1))
    for count in (1, 3):
        pieces = [[*divided_rows.counted(chunk, count)] for chunk in chunks]
        assert {part[0] is None for chunk in pieces for part in chunk} == {True, False}
        sizes = np.diff(np.arange(count + 1) * rows.COUNTERS // count)
        add = divided_rows.AddCounts()
        counts = [add(int(size), iter([c[part] for c in pieces])) for part, size in enumerate(sizes)]
        assert np.array_equal(np.concatenate(counts), join.ranks_of(total))


@pytest.mark.usefixtures("small_parts", "data")
@pytest.mark.parametrize("threshold", [0.3, 0.7, 1.0])
def test_groups_are_those_of_one_machine(threshold):
    """Groups, their keys, and the numbers of rows, also beside bad rows and blank lines."""
    paths = [*BAD, "x.jsonl", "b.jsonl"]
    found = []
    for backend in (None, "inline"):
        with engine_on(backend):
            found.append(find_groups(paths, on="question", threshold=threshold, rejects="r.jsonl"))
    here, there = found
    assert (here.duplicates, here.near_duplicates) == (there.duplicates, there.near_duplicates)
    for name in ("groups", "keys"):
        for one, other in zip(getattr(here, name), getattr(there, name), strict=True):
            assert one.tolist() == other.tolist()
            assert one.dtype == other.dtype
    assert [len(groups) for groups in here.groups] == [300, 200, 100, 120, 200]


@pytest.mark.usefixtures("data")
def test_a_condition_about_two_unknown_fields_names_the_first():
    """And not one or the other, as the hash of texts decides."""
    with pytest.raises(UsageError, match="no row has the field 'm'"):
        filter_files(["a.jsonl"], None, where="m > 4 AND k > 3")


@pytest.mark.parametrize("held", [0, 100, 1 << 20])
def test_keys_are_counted_in_memory_and_on_disk(held):
    """The same, however few are held."""
    rng = random.Random(1)
    keys = [[rng.randrange(60 + 50 * part).to_bytes(8, "little") for _ in range(300)] for part in range(3)]
    keys[2] = [key[:7] + b"x" for key in keys[2]] + keys[0][:1]
    with Keys(3, held) as found:
        for begin in range(0, 301, 7):
            for part in range(3):
                found.add(part, b"".join(keys[part][begin : begin + 7]))
        counts = found.count()
    assert counts.of_parts == [len(set(part)) for part in keys]
    together = [key for part in keys for key in part]
    assert counts.largest == max(part.count(key) for part in keys for key in part)
    assert counts.twice == sum(len(set(part)) for part in keys) - len(set(together))
