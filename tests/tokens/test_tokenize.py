"""``dataprep tokenize``: rows to shards, the same bytes whatever the workers, made anew after any change."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from dataprep.cli.app import app
from dataprep.core.errors import FileError, InputError, TokenizerError, UsageError, WorkspaceError
from dataprep.tokens.shards.reading import Shards
from dataprep.tokens.tokenize import ShardOptions, tokenize_files
from dataprep.tokens.tokenizers import loading as tokenizers
from dataprep.tokens.tokenizers.training import train_tokenizer
from tests.tokens_fakes import Bytes

pytestmark = pytest.mark.usefixtures("forked")


def chat(question, *answers):
    """A chat row with the same question before each answer."""
    turns = [({"role": "user", "content": question}, {"role": "assistant", "content": a}) for a in answers]
    return {"messages": [message for turn in turns for message in turn]}


def write_rows(path, rows):
    """A JSON Lines file."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


ROWS = [chat(f"Was ist {n}? é😀", *["x" * (n % 50 + 1)] * (n % 3 + 1)) for n in range(3000)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A file of several blocks."""
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", ROWS)


@pytest.fixture
def small(tmp_path):
    """A file of a few rows."""
    return write_rows(tmp_path / "small.jsonl", ROWS[:5])


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run the command in this process; a tokenizer's file is any file, its content the fingerprint."""

    def load(path):
        if not Path(path).is_file():
            raise FileError(path, "no such file")
        return Bytes(fingerprint=hashlib.sha256(Path(path).read_bytes()).hexdigest())

    monkeypatch.setattr(tokenizers, "load_tokenizer", load)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.model").write_text("one")

    def run(*arguments):
        typer.main.get_command(app).main(["tokenize", *map(str, arguments)], standalone_mode=False)

    return run


def tokenize(source, output, **settings):
    """Shards of rows, with the tokenizer of bytes."""
    own = {"workers", "rejects", "chat_format", "tokenizer"} & set(settings)
    given = {name: settings.pop(name) for name in own}
    return tokenize_files(source, output, **{"tokenizer": Bytes()} | given, options=ShardOptions(**settings))


def content_of(folder):
    """A directory's files and what they hold."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def texts_of(shards):
    """Each document as text, and its trained part."""
    decode = Bytes().decode
    return [(decode(ids.tolist()), decode(ids[mask].tolist())) for ids, mask in shards]


def test_documents_are_the_rows(small, tmp_path):
    """Ids and mask are those of the chat format, in the rows' order."""
    done = tokenize(small, tmp_path / "out")
    shards = Shards.open(tmp_path / "out", tokenizer=Bytes())
    for row, (text, trained) in zip(ROWS, texts_of(shards), strict=False):
        answers = [each["content"] for each in row["messages"] if each["role"] == "assistant"]
        assert text.startswith("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWas ist")
        assert trained == "".join(f"{answer}<|eot_id|>" for answer in answers)
    assert (len(shards), str(done.ledger)) == (5, "5 in = 5 out")
    assert done.manifest["inputs"][0]["sha256"] == hashlib.sha256(small.read_bytes()).hexdigest()


@pytest.mark.medium
@pytest.mark.sampled(2)
@pytest.mark.parametrize("pack", [None, 512])
def test_the_bytes_do_not_depend_on_the_workers(rows, tmp_path, pack):
    """One process, two and three write the same files."""
    made = []
    for workers in (1, 2, 3):
        done = tokenize(rows, tmp_path / str(workers), workers=workers, pack=pack)
        assert done.ledger.rows_out == len(ROWS)
        made.append(content_of(tmp_path / str(workers)))
    assert made[0] == made[1] == made[2]


def test_packing_keeps_every_document(rows, tmp_path):
    """Packed documents are the rows, in another order, and say which."""
    done = tokenize(rows, tmp_path / "packed", pack=1024)
    tokenize(rows, tmp_path / "plain")
    packed, plain = Shards.open(tmp_path / "packed"), Shards.open(tmp_path / "plain")
    assert done.fill > 0.98
    assert (packed.tokens, packed.loss_tokens) == (plain.tokens, plain.loss_tokens)
    assert sorted(packed.row(n) for n in range(len(packed))) == list(range(len(plain)))
    for number in range(0, len(packed), 97):
        ids, mask = packed.document(number)
        expected, trained = plain.document(packed.row(number))
        assert (ids.tolist(), mask.tolist()) == (expected.tolist(), trained.tolist())


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("pack", [None, 300])
def test_documents_know_where_they_come_from(tmp_path, workers, pack):
    """Each document names its file and row, whatever was left out before it."""
    files = {}
    for name, count in (("a", 3000), ("b", 10)):
        rows = [chat(f"{name}{n}", "x" * (400 if n % 7 == 3 else n % 40 + 1)) for n in range(count)]
        rows[1] = {"messages": []}
        files[f"{name}.jsonl"] = write_rows(tmp_path / f"{name}.jsonl", rows)
    settings = {"pack": pack, "max_length": 300, "truncation": "drop", "workers": workers}
    tokenize([*files.values()], tmp_path / "out", rejects=tmp_path / "bad.jsonl", **settings)
    shards, found = Shards.open(tmp_path / "out"), []
    for number, (text, _) in enumerate(texts_of(shards)):
        name, row = shards.source(number)
        question = f"{name.removesuffix('.jsonl')}{row - 1}"
        assert f"\n\n{question}<|eot_id|>" in text
        assert shards.row(number) == (row - 1) + (3000 if name == "b.jsonl" else 0)
        found.append((name, row))
    left_out = {(name, row) for name, row in found if row == 2 or row % 7 == 4}
    assert (len(found), len(set(found)), left_out) == (len(shards), len(shards), set())
    assert [each["rows"] for each in shards.manifest["inputs"]] == [3000, 10]


def test_shards_carry_their_tokenizer(small, tmp_path):
    """A trainer finds the tokenizer beside the ids, and is never given another one."""
    pytest.importorskip("tokenizers")
    model = tmp_path / "model" / "tokenizer.json"
    model.parent.mkdir()
    model.write_bytes(train_tokenizer(["Was ist das? " + "x" * n for n in range(60)], 275, "bpe"))
    tokenize(small, tmp_path / "out", tokenizer=model.parent)
    expected = tokenizers.load_tokenizer(model)
    model.unlink()
    shards = Shards.open(tmp_path / "out")
    loaded = shards.load_tokenizer()
    assert loaded.fingerprint == shards.fingerprint == expected.fingerprint
    assert loaded.vocab_size == shards.vocab_size
    ids, mask = shards.document(4)
    assert loaded.decode(ids[mask].tolist()) == "xxxxx<|eot_id|>" * 2
    (copy,) = (tmp_path / "out").glob("*-tokenizer.json")
    copy.write_bytes(train_tokenizer(["something else"] * 9, 270, "bpe"))
    with pytest.raises(InputError, match=r"tokenizer\.json: damaged"):
        Shards.open(tmp_path / "out")
    tokenize(small, tmp_path / "object")
    with pytest.raises(TokenizerError, match="no copy"):
        Shards.open(tmp_path / "object").load_tokenizer()


def test_shards_of_a_tokenizer_without_a_file_are_made_again_from_one(small, tmp_path):
    """What has no copy of its tokenizer is not up to date for whoever gives the tokenizer's file."""
    pytest.importorskip("tokenizers")
    model = tmp_path / "tokenizer.json"
    model.write_bytes(train_tokenizer(["Was ist das? " + "x" * n for n in range(60)], 275, "bpe"))
    tokenize(small, tmp_path / "out", tokenizer=tokenizers.load_tokenizer(model))
    assert not tokenize(small, tmp_path / "out", tokenizer=model).up_to_date
    assert Shards.open(tmp_path / "out").load_tokenizer().vocab_size == 275
    assert tokenize(small, tmp_path / "out", tokenizer=model).up_to_date


@pytest.mark.parametrize("change", ["another", "gone"])
def test_a_tokenizer_that_changes_meanwhile_is_an_error(small, tmp_path, change):
    """The copy in the shards must be the file that the ids were made with."""
    pytest.importorskip("tokenizers")
    model = tmp_path / "tokenizer.json"
    model.write_bytes(train_tokenizer(["Was ist das? " + "x" * n for n in range(60)], 275, "bpe"))

    def meanwhile(_):
        model.write_bytes(b"{}") if change == "another" else model.unlink(missing_ok=True)

    with pytest.raises((InputError, FileError)):
        tokenize_files(small, tmp_path / "out", tokenizer=model, progress=meanwhile)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_finished_layout_takes_no_options(small, tmp_path):
    """``strip`` and ``date`` beside a chat format that was made without them would do nothing."""
    from dataprep.tokens.formats.loading import chat_format_of

    with pytest.raises(UsageError, match="belong to the chat format"):
        tokenize(small, tmp_path / "out", chat_format=chat_format_of("llama3"), strip=True)


def test_finished_shards_are_found_again(small, tmp_path):
    """The same rows under another name, and the same options, make nothing."""
    tokenize(small, tmp_path / "out", pack=512)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = tokenize(small.rename(tmp_path / "other.jsonl"), tmp_path / "out", pack=512)
    assert again.up_to_date
    assert (again.ledger.rows_in, again.ledger.rows_out) == (5, 5)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize(
    "change",
    [
        "rows",
        "tokenizer",
        "chat_format",
        {"pack": 400},
        {"seed": 1},
        {"max_length": 300},
        {"strip": True},
        "damage",
    ],
    ids=str,
)
def test_anything_changed_makes_new_shards(small, tmp_path, change):
    """Rows, tokenizer, chat format and options are all in the key; damaged shards are none."""
    from dataprep.tokens.formats.loading import chat_format_of

    given = {"pack": 512, "chat_format": "llama3"}
    tokenize(small, tmp_path / "out", **given)
    if change == "rows":
        write_rows(small, ROWS[:4])
    elif change == "tokenizer":
        given["tokenizer"] = Bytes(fingerprint="a" * 64)
    elif change == "chat_format":
        given["chat_format"] = chat_format_of("llama3")
        object.__setattr__(given["chat_format"], "fingerprint", "other")
    elif change == "damage":
        (path,) = (tmp_path / "out").glob("*-ids-*")
        path.write_bytes(bytes(path.stat().st_size))
    else:
        given |= change
    done = tokenize(small, tmp_path / "out", **given)
    assert not done.up_to_date
    assert tokenize(small, tmp_path / "out", **given).up_to_date
    tokenize(small, tmp_path / "new", **given)
    assert content_of(tmp_path / "out") == content_of(tmp_path / "new"), "nothing of the old ones is left"


def test_bad_rows_are_set_aside_once_and_again(tmp_path):
    """Shards that left bad rows out are not taken for shards of all rows."""
    path = write_rows(tmp_path / "rows.jsonl", [ROWS[0], {"messages": []}, ROWS[1], [1], chat("q", " ")])
    with pytest.raises(InputError, match=r"rows\.jsonl:2: no messages"):
        tokenize(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for _ in range(2):
        done = tokenize(path, tmp_path / "out", rejects=tmp_path / "bad.jsonl")
        assert str(done.ledger).startswith("5 in = 2 out + 3 failed")
        bad = [json.loads(line)["line"] for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
        assert bad == [2, 4, 5]
    with pytest.raises(InputError):
        tokenize(path, tmp_path / "out")
    assert len(Shards.open(tmp_path / "out")) == 2


@pytest.mark.medium
@pytest.mark.sampled(2)
@pytest.mark.parametrize("workers", [1, 2])
def test_long_rows(tmp_path, workers):
    """A row that is too long is an error, is dropped, or is cut and counted; the ledger has them all."""
    rows = [chat("q", "a" * (900 if n % 100 == 7 else 5)) for n in range(4000)]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InputError, match=r"rows\.jsonl:8: too many tokens"):
        tokenize(path, tmp_path / "error", max_length=200, workers=workers)
    dropped = tokenize(path, tmp_path / "drop", max_length=200, truncation="drop", workers=workers)
    assert (dropped.ledger.rows_out, dropped.ledger.dropped) == (3960, {"too many tokens": 40})
    cut = tokenize(path, tmp_path / "cut", max_length=200, truncation="truncate", workers=workers)
    shards = Shards.open(tmp_path / "cut")
    assert (cut.ledger.rows_out, cut.manifest["cut"]) == (4000, 40)
    assert max(ids.size for ids, _ in shards) <= 200
    assert all(mask.any() for _, mask in shards)
    with pytest.raises(InputError, match="too many tokens"):  # what fits no sequence is too long
        tokenize(path, tmp_path / "pack", pack=200)
    whole = tokenize(path, tmp_path / "split", pack=200, split_long=True)
    assert whole.manifest["tokens"] > cut.manifest["tokens"]


def test_a_tokenizer_that_gives_unknown_ids_is_refused(small, tmp_path):
    """An id past the vocabulary would be another token, or none."""
    broken = Bytes()
    broken.vocab_size = 259
    with pytest.raises((TokenizerError, InputError)):
        tokenize(small, tmp_path / "out", tokenizer=broken)
    assert not (tmp_path / "out").exists()


def test_a_file_that_changes_meanwhile_is_found(small, tmp_path):
    """The manifest never names the hash of another content."""

    def change(_):
        with small.open("a") as file:
            file.write("\n")

    with pytest.raises(InputError, match="changed while it was read"):
        tokenize_files(small, tmp_path / "out", tokenizer=Bytes(), progress=change)


@pytest.mark.parametrize(
    "settings",
    [
        {"truncation": "explode"},
        {"pack": 1},
        {"max_length": 0},
        {"split_long": True},
        {"pack": 100, "max_length": 200},
    ],
)
def test_options_that_contradict_each_other(settings):
    """What cannot be served is said before anything is read."""
    with pytest.raises(UsageError):
        ShardOptions(**settings)


def test_no_rows_left(tmp_path):
    """Where every row is dropped there are shards of nothing, which can be opened."""
    path = write_rows(tmp_path / "rows.jsonl", ROWS[:3])
    done = tokenize(path, tmp_path / "out", pack=4, truncation="drop")
    shards = Shards.open(tmp_path / "out")
    assert (len(shards), shards.sequences, done.fill) == (0, 0, None)


def test_a_killed_run_leaves_the_old_shards(rows, tmp_path):
    """Kill -9 at any moment: the directory holds the old shards or the new ones, whole."""
    tokenize(rows, tmp_path / "out")
    code = (
        "import sys; from dataprep.tokens.tokenize import *; from tests.tokens_fakes import Bytes\n"
        "options = ShardOptions(pack=int(sys.argv[3]))\n"
        "tokenize_files(sys.argv[1], sys.argv[2], tokenizer=Bytes(), options=options)"
    )
    for number, wait in enumerate((0.15, 0.25, 0.35, 0.5)):
        command = [sys.executable, "-c", code, str(rows), str(tmp_path / "out"), str(1000 + number)]
        with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as process:
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
        assert Shards.open(tmp_path / "out").documents == len(ROWS)
    tokenize(rows, tmp_path / "out", pack=900)
    assert not list((tmp_path / "out").glob(".*")), "what was left is cleared away"


def test_the_command_says_what_it_did(command, small, capsys):
    """Documents, tokens, trained share and fill; up to date the second time."""
    flags = [small, "-o", "out", "--tokenizer", "t.model", "--pack", "512"]
    command(*flags)
    said = capsys.readouterr().err
    assert said.startswith("tokenize: 5 in = 5 out → out\n  5 documents, ")
    assert "% of them in the loss; 1 sequences of 512, " in said
    command(*flags)
    assert "tokenize: up to date: 5 in = 5 out → out" in capsys.readouterr().err
    command(*flags, "--json")
    (step,) = json.loads(capsys.readouterr().err)["outputs"]
    assert (step["in"], step["up_to_date"], step["sequences"]) == (5, True, 1)
    Path("t.model").write_text("two")
    command(*flags, "-q")
    assert capsys.readouterr().err == ""
    command(*flags)
    assert "up to date" in capsys.readouterr().err


def test_the_workspace_has_its_own_place(command, tmp_path):
    """Without a file, the merged files become shards beside them."""
    with pytest.raises(WorkspaceError):
        command("--tokenizer", "t.model")
    (tmp_path / "mergedata").mkdir()
    with pytest.raises(WorkspaceError, match="dataprep merge"):
        command("--tokenizer", "t.model")
    for split in ("train", "test"):
        write_rows(tmp_path / "mergedata" / f"{split}.jsonl", ROWS[:3])
    command("--tokenizer", "t.model")
    for split in ("train", "test"):
        assert len(Shards.open(tmp_path / "mergedata" / "tokens" / split)) == 3


@pytest.mark.parametrize(
    "flags",
    [
        ["small.jsonl", "-o", "out"],
        ["small.jsonl", "--tokenizer", "t.model"],
        ["small.jsonl", "-o", "-", "--tokenizer", "t.model"],
        ["-o", "out", "--tokenizer", "t.model"],
        ["small.jsonl", "-o", "out", "--tokenizer", "t.model", "--pad", "max"],
        ["small.jsonl", "-o", "out.pt", "--student", "t.model"],
        ["small.jsonl", "-o", "out.pt", "--teacher", "a=t.model"],
        ["small.jsonl", "-o", "out.pt", "--student", "t.model", "--teacher", "t.model"],
        ["small.jsonl", "-o", "out.pt", "--student", "t.model", "--teacher", "a=t.model", "--pack", "9"],
        ["small.jsonl", "-o", "small.jsonl", "--tokenizer", "t.model"],
        ["-", "-", "-o", "out", "--tokenizer", "t.model"],
        [
            "small.jsonl",
            "-o",
            "o.pt",
            "--student",
            "t.model",
            "--teacher",
            "a=t.model",
            "--chat-format",
            "chatml",
        ],
        ["small.jsonl", "-o", "o.pt", "--student", "t.model", "--teacher", "a=t.model", "--seed", "1"],
        ["small.jsonl", "-o", "o.pt", "--student", "t.model", "--teacher", "a=t.model", "--max-length", "0"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line(command, small, flags):
    """What cannot be served is a usage error, and nothing is written."""
    before = small.read_bytes()
    with pytest.raises(UsageError):
        command(*flags)
    assert small.read_bytes() == before
    assert sorted(path.name for path in small.parent.iterdir()) == ["small.jsonl", "t.model"]


def test_standard_input_is_hashed_as_it_passes(small, tmp_path):
    """Rows that are piped make the same shards; they are made anew each time."""
    code = (
        "import sys; from dataprep.tokens.tokenize import *; from tests.tokens_fakes import Bytes\n"
        "print(tokenize_files('-', sys.argv[1], tokenizer=Bytes(), workers=2).up_to_date)"
    )
    folder = tmp_path / "piped"
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)],
            input=small.read_bytes(),
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
        )
        assert done.stdout == b"False\n"
    tokenize(small, tmp_path / "read")
    assert Shards.open(folder).manifest["key"] == Shards.open(tmp_path / "read").manifest["key"]
