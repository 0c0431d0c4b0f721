"""The teacher/student file: the structure that trainers read, aligned, and the texts that rows hold."""

import io
import json
import resource
from pathlib import Path

import pytest

from dataprep.core.errors import FileError, InputError, MissingDependencyError, UsageError
from dataprep.core.io import open_output
from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.datasets import registry as converters
from dataprep.tokens import pairs
from dataprep.tokens.pairs import read_pairs, tokenize_pairs
from tests.engines import engine_on
from tests.helpers import read_jsonl, write_jsonl
from tests.real import DATA, ROOT, needs
from tests.tokens.test_tokenize import command  # noqa: F401 - a fixture
from tests.tokens_fakes import Bytes

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("forked")
KEYS = ["input_ids", "attention_mask", "rationale_ids", "rationale_attention_mask", "correct_index"]
STUDENT, LLEMMA, NEO = Bytes(), Bytes(shift=300), Bytes(shift=70_000)
REAL = DATA / "aqua_rat"


def example(number=0, **fields):
    """A row of an Example."""
    row = {
        "id": f"r{number}",
        "question": f"What is {number} + 1? é",
        "choices": ["zero", f"{number + 1}", "none"],
        "answer": {"label": "b", "text": f"{number + 1}"},
        "solution": f"One more than {number}.",
    }
    return {name: value for name, value in (row | fields).items() if value is not None}


def make(tmp_path, rows, name="out.pt", **options):
    """A teacher/student file of rows; returns its path and what was done."""
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    teachers = {"llemma": LLEMMA, "gptneo": NEO}
    done = tokenize_pairs(source, tmp_path / name, **{"student": STUDENT, "teachers": teachers} | options)
    return tmp_path / name, done


def test_the_structure(tmp_path):
    """Plain ``torch.load`` gives the lists and keys that trainers read, all of them tensors of integers."""
    path, done = make(tmp_path, [example(number) for number in range(7)])
    content = torch.load(path)
    assert list(content) == ["student_inputs", "teacher_inputs"]
    assert list(content["teacher_inputs"]) == ["llemma", "gptneo"]
    for entries in (content["student_inputs"], *content["teacher_inputs"].values()):
        assert len(entries) == 7
        for entry in entries:
            assert list(entry) == KEYS
            assert type(entry["correct_index"]) is int
            assert all(entry[key].dtype == torch.int64 and entry[key].dim() == 1 for key in KEYS[:4])
            assert entry["input_ids"].shape == entry["attention_mask"].shape
            assert entry["rationale_ids"].shape == entry["rationale_attention_mask"].shape
            assert entry["attention_mask"].all()
    assert str(done.ledger) == "7 in = 7 out"


def test_entries_are_the_same_row_everywhere(tmp_path):
    """Entry i is row i in every list: its question with lettered options, and its rationale."""
    path, _ = make(tmp_path, [example(number) for number in range(5)])
    found = list(read_pairs(path))
    for number, pair in enumerate(found):
        question = f"What is {number} + 1? é\n\n(a) zero\n(b) {number + 1}\n(c) none"
        for ids, tokenizer in zip(
            (pair.student, *pair.teachers.values()), (STUDENT, LLEMMA, NEO), strict=True
        ):
            assert tokenizer.decode(ids.input_ids) == question
            assert tokenizer.decode(ids.rationale_ids) == f"One more than {number}."
            assert ids.correct_index == 1
    assert len(found) == 5


def test_a_teacher_has_its_own_rationale(tmp_path):
    """Its own where the row has one, else the gold one; the student's is gold, or the first teacher's."""
    rows = [
        example(1, rationales={"gptneo": "Neo's.", "llemma": " "}),
        example(2, solution=None, rationales={"gptneo": "Neo's.", "llemma": "Llemma's."}),
    ]
    path, _ = make(tmp_path, rows)
    texts = [
        [
            tokenizer.decode(ids.rationale_ids)
            for ids, tokenizer in zip((p.student, *p.teachers.values()), (STUDENT, LLEMMA, NEO), strict=True)
        ]
        for p in read_pairs(path)
    ]
    gold = "One more than 1."
    assert texts == [[gold, gold, "Neo's."], ["Llemma's.", "Llemma's.", "Neo's."]]


@pytest.mark.parametrize("pad", ["none", "max"])
def test_long_texts_are_cut_and_counted(tmp_path, pad):
    """No text is longer than asked for, and how many were cut is said."""
    rows = [example(1), example(2, solution="x" * 500)]
    path, done = make(tmp_path, rows, max_length=60, pad=pad)
    assert done.cut == {"input_ids": 0, "rationale_ids": 3}
    first, second = read_pairs(path)
    assert STUDENT.decode(second.student.rationale_ids) == "x" * 60
    assert STUDENT.decode(first.student.rationale_ids) == "One more than 1."
    with pytest.raises(
        InputError, match=r"rows\.jsonl:2: too long: found a text of 500 tokens; expected at most 60"
    ):
        make(tmp_path, rows, max_length=60, truncation="error")
    _, done = make(tmp_path, rows, max_length=60, truncation="drop")
    assert str(done.ledger) == "2 in = 1 out + 1 dropped (too long: 1)"


def test_padding_to_the_same_length(tmp_path):
    """With ``max`` every tensor has that length; padding is the padding token, and masked."""
    path, _ = make(tmp_path, [example(number) for number in range(3)], pad="max", max_length=64)
    plain, _ = make(tmp_path, [example(number) for number in range(3)], "plain.pt", max_length=64)
    for entry in torch.load(path)["student_inputs"]:
        assert all(entry[key].shape == (64,) for key in KEYS[:4])
        masked = entry["attention_mask"] == 0
        assert masked.any()
        assert (entry["input_ids"][masked] == STUDENT.special("<pad>")).all()
    assert list(read_pairs(path)) == list(read_pairs(plain))


@pytest.mark.medium
def test_columns_share_their_storage(tmp_path):
    """A thousand rows are a few storages, so that the file stays small."""
    path, _ = make(tmp_path, [example(number) for number in range(1000)])
    content = torch.load(path)
    storages = {
        entry[key].untyped_storage().data_ptr() for entry in content["student_inputs"] for key in KEYS[:4]
    }
    assert len(storages) == 3
    fresh = [
        {key: entry[key].clone() if key != "correct_index" else entry[key] for key in KEYS}
        for entry in content["student_inputs"]
    ]
    torch.save({"student_inputs": fresh}, tmp_path / "fresh.pt")
    torch.save({"student_inputs": content["student_inputs"]}, tmp_path / "ours.pt")
    assert (tmp_path / "ours.pt").stat().st_size * 2 < (tmp_path / "fresh.pt").stat().st_size


@pytest.mark.medium
def test_the_bytes_do_not_depend_on_the_workers_or_the_name(tmp_path):
    """The same rows give the same file."""
    # Long solutions, so that few rows are several blocks.
    rows = [example(number, solution=f"One more than {number}. " * 50) for number in range(1200)]
    made = [
        make(tmp_path, rows, name, workers=workers)[0].read_bytes()
        for name, workers in (("a.pt", 1), ("b.pt", 2))
    ]
    assert made[0] == made[1]


@pytest.mark.medium
@pytest.mark.sampled(2)
@pytest.mark.parametrize("engine", ["portable", 2])
def test_chunks_give_the_same_file(tmp_path, monkeypatch, engine):
    """As on a cluster; of a folder of parts too."""
    rows = [example(number, solution=None if number % 50 == 3 else f"So {number}.") for number in range(200)]
    monkeypatch.setenv(CHUNK_VARIABLE, "4000")
    with open_output(f"{tmp_path}/parts/") as out:
        out.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    expected, done = make(tmp_path, rows, rejects=tmp_path / "bad.jsonl")
    assert done.ledger.failed == {"no rationale": 4}
    settings = {"student": STUDENT, "teachers": {"llemma": LLEMMA, "gptneo": NEO}}
    for source in (tmp_path / "rows.jsonl", f"{tmp_path}/parts/"):
        with engine_on(engine):
            again = tokenize_pairs(source, tmp_path / "a.pt", **settings, rejects=tmp_path / "again.jsonl")
        assert (tmp_path / "a.pt").read_bytes() == expected.read_bytes()
        assert again.ledger == done.ledger
        bad, found = (read_jsonl(tmp_path / name) for name in ("bad.jsonl", "again.jsonl"))
        assert [row["line"] for row in found] == [row["line"] for row in bad] == [4, 54, 104, 154]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (example(choices=None, answer="4"), "no choices"),
        (example(answer=None), "no gold answer"),
        (example(solution=None), "no rationale"),
        (example(solution=None, rationales={"llemma": "x"}), "no rationale"),
        ({"question": "q", "options": ["A)1"], "rationale": "r", "correct": "A"}, "no choices"),
        ([], "not a JSON object"),
    ],
)
def test_rows_that_lack_something(tmp_path, row, reason):
    """A row without choices, answer or rationale is a bad row with its line, or is set aside."""
    with pytest.raises(InputError, match=rf"rows\.jsonl:2: {reason}"):
        make(tmp_path, [example(), row])
    assert not (tmp_path / "out.pt").exists()
    path, done = make(tmp_path, [example(), row], rejects=tmp_path / "bad.jsonl")
    assert (done.ledger.rows_out, done.ledger.failed.total()) == (1, 1)
    assert len(list(read_pairs(path))) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teachers": {}}, "there is no teacher"),
        ({"pad": "left"}, "--pad left: expected one of none, max"),
        ({"truncation": "no"}, "--truncation no: expected one of error, drop, truncate"),
        ({"max_length": 0}, "--max-length 0: expected 1 or more"),
    ],
    ids=str,
)
def test_options_that_cannot_be_served(tmp_path, options, message):
    """They are said before anything is read, each with what was expected."""
    with pytest.raises(UsageError, match=message):
        make(tmp_path, [example()], **options)


def test_files_that_are_none(tmp_path):
    """A missing, damaged or other file is an error with its name, never rows."""
    with pytest.raises(FileError):
        list(read_pairs(tmp_path / "missing.pt"))
    path, _ = make(tmp_path, [example(number) for number in range(3)])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="damaged"):
        list(read_pairs(path))
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="not a teacher/student file"):
        list(read_pairs(path))
    torch.save({"student_inputs": [], "teacher_inputs": {"a": [1]}}, path)
    with pytest.raises(InputError, match="not aligned"):
        list(read_pairs(path))


@pytest.mark.medium
def test_a_full_disk(tmp_path):
    """Torch's own error hides that the disk is full; the message says so, and the old file stays."""
    path, _ = make(tmp_path, [example(1)])
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    rows = [example(number) for number in range(3000)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(
            FileError, match=r"cannot be written: File too large; what was there is unchanged"
        ):
            make(tmp_path, rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.pt", "rows.jsonl"]


def test_without_torch(tmp_path, monkeypatch):
    """The message names what to install."""
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"dataprep\[train\]"):
        make(tmp_path, [example()])
    assert pairs.PADS == ("none", "max")


def test_the_command(command, tmp_path, capsys, monkeypatch):  # noqa: F811 - the fixture
    """Raw rows of a set become the file; several files one each."""
    for name in ("dev", "test"):
        (tmp_path / f"{name}.json").write_bytes((ROOT / "raw" / "aqua_rat" / f"{name}.json").read_bytes())
    flags = ["--dataset", "aqua_rat", "--student", "t.model", "--teacher", "llemma=t.model"]
    command("dev.json", "-o", "preprocessed_data.pt", *flags)
    assert " in = " in capsys.readouterr().err
    command("dev.json", "test.json", "-o", "all.pt", *flags, "--max-length", "20", "--json")
    steps = json.loads(capsys.readouterr().err)["outputs"]
    assert [step["output"] for step in steps] == ["all_dev.pt", "all_test.pt"]
    assert steps[0]["cut"]["input_ids"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "dev.json").read_bytes())))
    command("test.json", "-", "-o", "piped.pt", *flags)
    assert Path("piped_stdin.pt").read_bytes() == Path("preprocessed_data.pt").read_bytes()
    assert len(list(read_pairs("all_dev.pt"))) == len(list(read_pairs("preprocessed_data.pt"))) > 5


@needs("aqua_rat")
@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_published_splits(tmp_path, split):
    """AQuA-RAT's dev and test: every row, its options and its answer."""
    path = tmp_path / "aqua.pt"
    tokenize_pairs(
        REAL / f"{split}.json",
        path,
        student=STUDENT,
        teachers={"llemma": LLEMMA},
        dataset="aqua_rat",
        max_length=10_000,
    )
    rows = [json.loads(line) for line in (REAL / f"{split}.json").read_text("utf-8").splitlines()]
    convert = converters.load("aqua_rat").convert
    found = list(read_pairs(path))
    assert len(found) == len(rows) == 254
    for row, pair in zip(rows, found, strict=True):
        known = convert(row)
        text = STUDENT.decode(pair.student.input_ids)
        assert text.startswith(known.question)
        assert f"({known.answer_label}) {known.answer}" in text
        assert (
            pair.student.correct_index
            == pair.teachers["llemma"].correct_index
            == "ABCDE".index(row["correct"])
        )
        assert LLEMMA.decode(pair.teachers["llemma"].rationale_ids) == known.solution
