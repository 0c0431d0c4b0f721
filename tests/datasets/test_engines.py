"""Commands that read rows one by one give the same on every engine, into a file and into parts."""

import json
import os
import pickle
import random
from pathlib import Path

import orjson
import polars
import pytest

from dataprep import write_rows
from dataprep.answers.parse import parse_rationale_files
from dataprep.core.errors import DataprepError, InputError
from dataprep.core.io import in_chunks, read_row_blocks
from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.core.parallel import Inline, per_row
from dataprep.core.parallel.chunks import run_chunks
from dataprep.core.parallel.records import Record
from dataprep.datasets.checks import stats
from dataprep.datasets.checks.stats import stats_of_files
from dataprep.datasets.checks.validation import validate_files
from dataprep.datasets.convert import Plan, convert_files
from dataprep.datasets.exchange.files import export_files, import_files
from dataprep.teacher.prompts import prompt_file
from tests import engines
from tests.engines import engine_on
from tests.golden import FOLDER

FILE, PARTS = ".jsonl", "/"
ENGINES = [(None, PARTS), ("portable", FILE), ("portable", PARTS), (2, FILE)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 4 kB, so that a few rows have several."""
    monkeypatch.setenv(CHUNK_VARIABLE, "4000")


def source_rows(chance, count):
    """Rows as GSM8K has them, of which some are alike."""
    for _ in range(count):
        a, b = chance.randrange(20), chance.randrange(20)
        yield {
            "question": f"What is {a} + {b}?",
            "answer": f"{a} + {b} = {a + b}, {'so ' * a}.\n#### {a + b}",
        }


def sharegpt_rows(chance, count):
    """Rows of another tool."""
    for number in range(count):
        turns = [("human", f"Say {number % 30}"), ("gpt", "word " * chance.randrange(1, 20))]
        yield {"conversations": [{"from": who, "value": text} for who, text in turns]}


def strings(chance, count):
    """Rationales as teachers' files have them."""
    for number in range(count):
        right = chance.choice("ab")
        yield (
            f"Question: Is {number} even?\n\nOptions:\n(a) yes\n(b) no\n\n"
            f"Answer: The answer is ({right}) {'yes' if right == 'a' else 'no'}.\n\n"
            f"Rationale 1: Let's think step by step. {'It is. ' * chance.randrange(6)}So ({right}) it is."
        )


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of inputs, which is the working directory."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.chdir(folder)
    chance = random.Random(15)

    def lines(name, rows, bad=()):
        texts = [json.dumps(row) for row in rows]
        for place in bad:
            texts.insert(
                place, ("{bad", '{"question": 3}', '{"question": "", "answer": "#### 1"}', "")[place % 4]
            )
        (folder / name).write_text("\n\n".join(texts) + "\n")

    lines("a.jsonl", source_rows(chance, 120))
    lines("b.jsonl", source_rows(chance, 90))
    lines("bad.jsonl", source_rows(chance, 100), (3, 40, 41, 77, 90, 95))
    write_rows(list(source_rows(chance, 80)), "c.csv")
    write_rows(list(source_rows(chance, 80)), "d.parquet")
    write_rows(list(source_rows(chance, 80)), "e.json")
    write_rows(list(source_rows(chance, 80)), "f.jsonl.gz")
    convert_files(Plan("gsm8k"), ["a.jsonl", "bad.jsonl"], "chat.jsonl", rejects="x.jsonl")
    lines("messy.jsonl", map(json.loads, Path("chat.jsonl").read_text().splitlines()), range(2, 60, 7))
    convert_files(Plan("gsm8k", to="example"), ["b.jsonl", "e.json"], "examples.jsonl")
    lines("sharegpt.jsonl", sharegpt_rows(chance, 150), (5,))
    lines("strings.jsonl", strings(chance, 60))
    gold = [
        {"question": f"Is {number} even?", "choices": ["yes", "no"], "answer": "a"} for number in range(58)
    ]
    lines("gold.jsonl", gold)
    (folder / "strings.json").write_text(json.dumps([*strings(chance, 30), "bad"]))
    (folder / "lines.json").write_bytes((folder / "a.jsonl").read_bytes())
    (folder / "broken.json").write_bytes((folder / "e.json").read_bytes()[:-40])
    (folder / "cut.jsonl.gz").write_bytes((folder / "f.jsonl.gz").read_bytes()[:-40])
    (folder / "bad.csv").write_bytes((folder / "c.csv").read_bytes() + b"1,2,3\n")
    (folder / "no.parquet").write_bytes(b"PAR1" + bytes(100))
    (folder / "squad.json").write_bytes((FOLDER / "squad" / "input.json").read_bytes())
    for name in ("input.jsonl", "input-labels.lst"):
        (folder / f"piqa_{name}").write_bytes((FOLDER / "piqa" / name).read_bytes())
    return folder


ALL = ["a.jsonl", "c.csv", "d.parquet", "e.json", "f.jsonl.gz", "b.jsonl"]
BAD = ["bad.jsonl", "e.json", "b.jsonl"]
STRINGS = ["strings.jsonl", "strings.json"]
MIXED = ["messy.jsonl", "chat.jsonl", "d.parquet", "messy.jsonl"]
EXAMPLES = Plan("gsm8k", to="example")


def prompts(to, source="examples.jsonl", **options):
    """Requests, and the warnings about them."""
    warned = []
    return prompt_file(source, to("o"), warn=warned.append, **options), warned


CASES = {
    "convert": lambda to: convert_files(Plan("gsm8k"), ALL, to("o")),
    "convert, rejects": lambda to: convert_files(EXAMPLES, BAD, to("o"), rejects="r.jsonl"),
    "convert, lines": lambda to: convert_files(Plan("gsm8k"), ["lines.json", "./e.json"], to("o")),
    "convert, broken document": lambda to: convert_files(Plan("gsm8k"), ["a.jsonl", "broken.json"], to("o")),
    "convert, bad row before a broken document": lambda to: convert_files(
        Plan("gsm8k"), ["bad.jsonl", "broken.json"], to("o")
    ),
    "convert, damaged file": lambda to: convert_files(Plan("gsm8k"), ["a.jsonl", "./cut.jsonl.gz"], to("o")),
    "convert, bad table": lambda to: convert_files(Plan("gsm8k"), ["a.jsonl", "bad.csv"], to("o")),
    "convert, no table": lambda to: convert_files(Plan("gsm8k"), ["no.parquet"], to("o")),
    "convert, document of its own form": lambda to: convert_files(Plan("squad"), "squad.json", to("o")),
    "convert, bad row": lambda to: convert_files(Plan("gsm8k"), BAD, to("o")),
    "convert, sample": lambda to: convert_files(Plan("gsm8k", sample=20), ALL, to("o")),
    "convert, sample of bad": lambda to: convert_files(
        Plan("gsm8k", sample=7), BAD, to("o"), rejects="r.jsonl"
    ),
    "convert, all sampled": lambda to: convert_files(Plan("gsm8k", sample=900), ALL, to("o")),
    "convert, labels": lambda to: convert_files(Plan("piqa"), "piqa_input.jsonl", to("o"), rejects="r.jsonl"),
    "convert, examples": lambda to: convert_files(Plan("examples"), "examples.jsonl", to("o")),
    "parse-rationales": lambda to: parse_rationale_files(STRINGS, to("o"), rejects="r.jsonl"),
    "parse-rationales, bad row": lambda to: parse_rationale_files(STRINGS, to("o")),
    "parse-rationales, references": lambda to: parse_rationale_files(
        STRINGS[0], to("o"), gold="gold.jsonl", rejects="r.jsonl"
    ),
    "prompt": prompts,
    "prompt, limit": lambda to: prompts(to, "bad.jsonl", dataset="gsm8k", limit=50, rejects="r.jsonl"),
    "prompt, large limit": lambda to: prompts(to, limit=10**6, shots=0),
    "prompt, pool": lambda to: prompts(to, pool="b.jsonl", shots=1, forcing=False),
    "prompt, other pool": lambda to: prompts(
        to, "bad.jsonl", dataset="gsm8k", pool="examples.jsonl", rejects="r.jsonl"
    ),
    "prompt, bad row": lambda to: prompts(to, "bad.jsonl", dataset="gsm8k"),
    "prompt, too few": lambda to: prompts(to, "bad.jsonl", dataset="gsm8k", pool="messy.jsonl", shots=3),
    "import": lambda to: import_files("sharegpt.jsonl", to("o"), rejects="r.jsonl"),
    "import, bad row": lambda to: import_files("sharegpt.jsonl", to("o"), format="sharegpt"),
    "export": lambda to: export_files("chat.jsonl", to("o"), format="alpaca", lossy=True),
    "export, bad row": lambda to: export_files("messy.jsonl", to("o"), format="openai"),
    "validate": lambda _: validate_files(MIXED, strict=True),
    "stats": lambda _: stats_of_files(["chat.jsonl", "d.parquet", "f.jsonl.gz", "chat.jsonl", "b.jsonl"]),
    "stats, tokens": lambda _: stats_of_files(["chat.jsonl", "e.json"], str.split),
    "stats, bad row before a missing file": lambda _: stats_of_files(["messy.jsonl", "missing.jsonl"]),
    "stats, missing file": lambda _: stats_of_files(["chat.jsonl", "missing.jsonl"]),
    "stats, bad row": lambda _: stats_of_files(["chat.jsonl", "messy.jsonl"]),
}  # fmt: skip
# Processes are not forked, but started, once polars has threads, which takes most of the time.
ON_PROCESSES = ("convert, sample", "prompt", "parse-rationales, references", "validate", "stats, tokens")


def results(case, suffix, folder):
    """The result of a case, or its error, and the bytes of its outputs."""

    def to(name):
        return str(folder / name) + suffix

    folder.mkdir()
    Path("r.jsonl").unlink(missing_ok=True)
    try:
        result = repr(CASES[case](to))
    except DataprepError as error:
        result = f"{type(error).__name__}: {error}"
    rejects = Path("r.jsonl").read_bytes() if Path("r.jsonl").exists() else None
    return result, rejects, content(to("o"))


def content(path):
    """The bytes of a file, or of all parts of a folder; ``None`` if there is nothing."""
    if Path(path).is_dir():
        if not Path(path, "manifest.json").exists():
            return None  # what workers have finished stays for a later run
        return b"".join(part.read_bytes() for part in sorted(Path(path).glob("part-*")))
    return Path(path).read_bytes() if Path(path).exists() else None


@pytest.mark.medium
@pytest.mark.usefixtures("data")
@pytest.mark.sampled(2)
@pytest.mark.parametrize("case", CASES)
def test_results_are_those_of_one_machine(case, tmp_path):
    """Result, first error, rejects and output, on each engine and in both forms."""
    expected = results(case, FILE, tmp_path / "expected")
    assert "bad row" not in case or expected[0].startswith("InputError")
    for number, (engine, suffix) in enumerate(ENGINES if case in ON_PROCESSES else ENGINES[:-1]):
        with engine_on(engine):
            assert results(case, suffix, tmp_path / f"out{number}") == expected, (engine, suffix)


@pytest.mark.usefixtures("data")
def test_rows_that_are_not_drawn_stay_on_the_workers(tmp_path, monkeypatch):
    """A sample of a few rows costs the network a few rows."""
    travelled = []

    def copied(value):
        data = pickle.dumps(value)
        travelled.append(len(data) if isinstance(value, Record) else 0)
        return pickle.loads(data)

    rows = list(source_rows(random.Random(3), 3000))
    write_rows(rows, "large.jsonl")
    monkeypatch.setenv(CHUNK_VARIABLE, "40000")
    convert_files(Plan("gsm8k", sample=3), "large.jsonl", tmp_path / "expected.jsonl")
    monkeypatch.setattr(engines, "_copied", copied)
    with engine_on("portable"):
        convert_files(Plan("gsm8k", sample=3), "large.jsonl", tmp_path / "o.jsonl")
    assert (tmp_path / "o.jsonl").read_bytes() == (tmp_path / "expected.jsonl").read_bytes()
    assert 0 < sum(travelled) < 20_000 < len(rows) * 100


@pytest.mark.usefixtures("data")
def test_duplicates_are_found_on_the_workers(monkeypatch):
    """In several buckets, with several chunks in a task; what comes back does not grow with the rows."""
    travelled = []

    def copied(value):
        data = pickle.dumps(value)
        travelled.append(len(data))
        return pickle.loads(data)

    write_rows([{"n": number % 900, "text": "x"} for number in range(6000)], "many.jsonl")
    expected = stats_of_files(["many.jsonl", "chat.jsonl", "many.jsonl"])
    monkeypatch.setattr(stats, "BUCKET_BYTES", 100_000)
    monkeypatch.setattr(stats, "TASKS", 10)
    monkeypatch.setattr(engines, "_copied", copied)
    with engine_on("portable"):
        assert stats_of_files(["many.jsonl", "chat.jsonl", "many.jsonl"]) == expected
    assert expected.duplicates >= 11_100
    assert sum(travelled) < 12_000 * 16


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("name", ["a.jsonl", "c.csv", "d.parquet", "e.json", "f.jsonl.gz", "parts"])
def test_a_changed_file_is_named_as_the_user_does(name):
    """Workers know files by their absolute paths, which no message shows."""
    if name == "parts":
        convert_files(EXAMPLES, "a.jsonl", "parts/")
        name = "parts/"
    with in_chunks():
        blocks = list(read_row_blocks(name))
    path = next(Path(name).glob("part-*"), Path(name))
    os.utime(path, (1, 1))
    work = run_chunks(per_row(orjson.dumps), blocks, backend=Inline())
    with pytest.raises(InputError) as caught:
        list(work)
    assert str(caught.value) == f"{path}: the file was changed while it was read; run the command again"


@pytest.mark.usefixtures("data")
@pytest.mark.sampled(2)
@pytest.mark.parametrize("size", [300, 2000])
def test_parts_of_a_table_are_chunks(monkeypatch, size):
    """Some rows of a Parquet file are a task; a fault in them has the number of its row in the file."""
    monkeypatch.setenv(CHUNK_VARIABLE, str(size))
    rows = [*source_rows(random.Random(3), 300)]
    rows[217]["question"] = " "
    write_rows(rows, "large.parquet")
    with in_chunks():
        counts = [block.form.count for block in read_row_blocks("large.parquet")]
    assert len(counts) > 2
    convert_files(EXAMPLES, "large.parquet", "expected.jsonl", rejects="expected_r.jsonl")
    with engine_on("portable"):
        convert_files(EXAMPLES, "large.parquet", "o.jsonl", rejects="r.jsonl")
    assert Path("o.jsonl").read_bytes() == Path("expected.jsonl").read_bytes()
    assert Path("r.jsonl").read_bytes() == Path("expected_r.jsonl").read_bytes()
    assert json.loads(Path("r.jsonl").read_text())["row"] == 218
    numbers = [float("nan") if number == 250 else number / 2 for number in range(300)]
    frame = polars.DataFrame({"question": ["x"] * 300, "n": numbers})
    frame.write_parquet("nan.parquet")
    with engine_on("portable"), pytest.raises(InputError, match=r"^nan\.parquet: row 251: column 'n'"):
        stats_of_files(["nan.parquet"])


def test_a_folder_of_parts_is_converted(run, tmp_path):
    """It is no folder of a dataset's files."""
    write_rows([{"question": "1 + 1?", "answer": "2\n#### 2"}] * 3, str(tmp_path / "rows.jsonl"))
    run("convert", "gsm8k", "rows.jsonl", "--to", "example", "-o", "examples/")
    for name in ("examples/", "examples"):
        done = run("convert", "gsm8k", name, "-o", "chat.jsonl")
        assert (done.code, "3 in = 3 out" in done.err) == (0, True), done.err
