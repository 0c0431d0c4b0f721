"""The commands that clean rows give the same on every engine, into a file and into a folder of parts."""

import json
import random
from pathlib import Path

import orjson
import pytest

from dataprep.core.errors import DataprepError, UsageError
from dataprep.core.io import parts
from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.core.ledger import RESUMED, listening
from dataprep.curate.contamination.files import decontaminate_files
from dataprep.curate.filter import filter_files
from dataprep.curate.split import split_files
from dataprep.curate.split_checks import Keys
from tests.engines import engine_on

FILE, FOLDER = ".out.jsonl", ".out/"
COMBINATIONS = [(None, FOLDER), ("inline", FILE)]
WITH_PROCESSES = ("filter", "split by keys", "decontaminate")  # the others are too small to start some for


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 3 kB, so that a few rows have many."""
    monkeypatch.setenv(CHUNK_VARIABLE, "3000")


def rows(seed, count):
    """Rows of which many are alike, and some equal."""
    rng = random.Random(seed)
    words = [f"word{number}" for number in range(300)]
    base = [[rng.choice(words) for _ in range(rng.randint(1, 30))] for _ in range(count // 4 + 1)]
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
    for name, count in (("a", 300), ("b", 200), ("x", 60), ("t", 20)):
        lines = [orjson.dumps(row) + b"\n" for row in rows(count, count)]
        for place in range(0, len(lines), 50):
            lines[place] += b"\n  \n"  # blank lines
        (folder / f"{name}.jsonl").write_bytes(b"".join(lines))
    lines = (folder / "a.jsonl").read_bytes().splitlines(keepends=True)
    for place in (40, 41, 200, 290):
        lines[place] = b"{bad\n" if place % 2 else b'{"question": [3], "n": 2}\n'
    (folder / "bad.jsonl").write_bytes(b"".join(lines))
    (folder / "c.json").write_bytes(orjson.dumps([*rows(5, 100)]))
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
            result = repr(CASES[case](to)).replace(str(out), "OUT").replace(suffix, "")
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


@pytest.mark.parametrize("case", ["filter", "split", "decontaminate"])
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
        result = repr(CASES[case](lambda name: str(out / name) + suffix))
    assert dict(told)[RESUMED] == 6
    assert result.replace(str(out), "OUT").replace(suffix, "") == expected[0]
    for name in OUTPUTS:
        path = out / name if "." in name else (str(out / name) + suffix).rstrip("/")
        assert content(path) == expected[1][name], name
    if suffix == FOLDER:
        for manifest in out.glob("*/manifest.json"):
            assert json.loads(manifest.read_bytes())["ledger"]["in"] > 0


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
