"""`dataprep mix`: the command line, the summary, the manifests, and what `train` reads."""

import json
import re
import shutil
from pathlib import Path

import pytest

from dataprep import Shards
from dataprep.core.manifests import digests
from dataprep.tokens.shards.mixture import mix_shards
from dataprep.tokens.tokenizers.loading import load_tokenizer
from tests.helpers import chat, listing, read_jsonl, run_here, write_jsonl
from tests.students import write_model, write_tokenizer

COUNTS = {"a": 12, "b": 7}
TOKENIZE = ("--tokenizer", "tokenizer.json", "--chat-format", "llama3")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two files of rows, their shards as the command makes them, and packed shards."""
    home = tmp_path_factory.mktemp("mix")
    write_tokenizer(home / "tokenizer.json")
    for name, count in COUNTS.items():
        rows = [chat(f"{'one ' * (n % 5 + 1)}{name}?", f"two {n}") for n in range(count)]
        write_jsonl(home / f"{name}.jsonl", rows)
        done = run_here(["tokenize", f"{name}.jsonl", "-o", name, *TOKENIZE], cwd=home)
        assert done.code == 0, done.err
    return home


@pytest.fixture
def home(made, tmp_path):
    """A copy of that folder, in which commands run."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def documents(path):
    """The ids of each document of shards."""
    return [ids.tolist() for ids, _ in Shards.open(path)]


def summary_of(done):
    """The only output of a summary as JSON."""
    assert done.code == 0, done.err
    (output,) = json.loads(done.err)["outputs"]
    return output


def test_shards_are_mixed_as_the_library_mixes_them(home, run):
    """Weights, total, seed, temperature and repeats go through; the summary has what is drawn."""
    options = ("--total", "16", "--seed", "3", "--temperature", "2", "--repeat-at-most", "2")
    found = summary_of(run("mix", "a=4", "b=1", "-o", "mixed", *options, "--json"))
    settings = {"total": 16, "seed": 3, "temperature": 2, "repeat_at_most": 2}
    expected = mix_shards({home / "a": 4, home / "b": 1}, home / "other", **settings)
    assert expected.counts == [[11, 5]]
    assert documents(home / "mixed") == documents(home / "other")
    assert found["sources"] == [
        {
            "directory": "a",
            "documents": 12,
            "weights": [4.0],
            "shares": [2 / 3],
            "drawn": [11],
            "times": 0.916667,
        },
        {
            "directory": "b",
            "documents": 7,
            "weights": [1.0],
            "shares": [1 / 3],
            "drawn": [5],
            "times": 0.714286,
        },
    ]
    assert (found["in"], found["out"], found["dropped"], found["epochs"]) == (19, 16, {"not drawn": 3}, 1)
    done = run("mix", "a=4", "b=1", "-o", "mixed", *options)
    assert "mix: 19 in = 16 out + 3 dropped (not drawn: 3) → mixed" in done.err
    assert "  a: 12 documents, weight 4, share 66.67%, 11 drawn, 0.92 times" in done.err


def test_shares_by_epoch_and_weights_by_size(home, run):
    """Each epoch has its shares, and continues after the documents of the one before."""
    found = summary_of(run("mix", "a=0.75,0", "b=0.25,1", "--total", "4", "-o", "mixed", "--json"))
    assert [source["drawn"] for source in found["sources"]] == [[3, 0], [1, 4]]
    assert [source["weights"] for source in found["sources"]] == [[0.75, 0.0], [0.25, 1.0]]
    shards = Shards.open(home / "mixed")
    assert (shards.epochs, len(shards)) == ((4, 4), 8)
    names = [shards.source(number).name[0] for number in range(8)]
    assert (sorted(names[:4]), names[4:]) == (["a", "a", "a", "b"], ["b"] * 4)
    rows = [shards.source(number).row for number in range(8) if names[number] == "b"]
    assert len({*rows}) == 5
    done = run("mix", "a=0.75,0", "b=0.25,1", "--total", "4", "--dry-run")
    assert "b: 7 documents, weights 0.25 / 1, shares 25.00% / 100.00%, 1 / 4 drawn, 0.71 times" in done.err
    found = summary_of(run("mix", "a", "b", "--dry-run", "--json"))
    assert [source["drawn"] for source in found["sources"]] == [[12], [7]]


def test_shares_of_tokens(home, run):
    """Rows are counted with a tokenizer; documents have their lengths, with special tokens."""
    found = summary_of(run("mix", "a=2", "b=1", "--tokens", "200", "-o", "mixed", "--json"))
    assert [source["tokens"][0] for source in found["sources"]] == [
        pytest.approx(133, abs=12),
        pytest.approx(67, abs=12),
    ]
    assert sum(source["tokens"][0] for source in found["sources"]) == Shards.open(home / "mixed").tokens
    words = ("--tokens", "60", "--tokenizer", "tokenizer.json", "-o", "mixed.jsonl")
    done = run("mix", "a.jsonl=2", "b.jsonl=1", *words)
    assert done.code == 0, done.err
    assert re.search(
        r"a.jsonl: 12 rows, weight 2, share 66.67%, \d drawn with (3[5-9]|4[0-5]) tokens", done.err
    )
    encode = load_tokenizer(home / "tokenizer.json").encode
    lengths = dict.fromkeys("ab", 0)
    for row in read_jsonl(home / "mixed.jsonl"):
        texts = [message["content"] for message in row["messages"]]
        lengths[texts[0][-2]] += len(encode("\n".join(texts)))
    found = summary_of(run("mix", "a.jsonl=2", "b.jsonl=1", *words, "--json"))
    assert [source["tokens"] for source in found["sources"]] == [*lengths.values()]
    user = summary_of(run("mix", "a.jsonl=2", "b.jsonl=1", *words, "--on", "user", "--json"))
    assert user["out"] > found["out"]


def test_a_dry_run_writes_nothing(home, run):
    """With or without a directory for the mixture."""
    before = listing(home)
    for output in ((), ("-o", "mixed")):
        done = run("mix", "a=1", "b=1", "--dry-run", *output)
        assert done.code == 0
        assert "mix: nothing is written: 19 in = 15 out" in done.err
    assert listing(home) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a", "b.jsonl", "-o", "mixed"), "a is a directory, and b.jsonl a file of rows"),
        (("a", "b"), "name it with -o DIR"),
        (("a", "b", "-o", "-"), "name it with -o DIR"),
        (("a=1", "a=2", "-o", "mixed"), "a is given twice"),
        (("a=x", "b", "-o", "mixed"), "a=x: found the weight 'x'"),
        (("a=1,", "b", "-o", "mixed"), "a=1,: found the weight '1,'"),
        (("a.jsonl=1,2", "b.jsonl", "-o", "mixed"), "a.jsonl: found several weights"),
        (("a", "b", "-o", "mixed", "--rejects", "bad.jsonl"), "--rejects is for files of rows"),
        (("a", "b", "-o", "mixed", "--tokens", "9", *TOKENIZE[:2]), "--tokenizer is for files of rows"),
        (("a.jsonl", "-o", "mixed", *TOKENIZE[:2]), "--tokenizer counts the tokens of rows for --tokens"),
        (("a.jsonl", "-o", "mixed", "--tokens", "9"), "name a tokenizer with --tokenizer"),
        (("a.jsonl", "-o", "mixed", "--tokens", "9", "--total", "9"), "give one of them"),
        (("a", "-o", "mixed", "--tokens", "9999"), "the largest --tokens in these shares is"),
        (("a=-1", "b", "-o", "mixed"), "a: found the weight -1"),
        (("a=1", "b=inf", "-o", "mixed"), "b: found the weight inf"),
        (("a.jsonl=1", "b.jsonl=nan", "-o", "mixed"), "b.jsonl: found the weight nan"),
        (("a=1", "b=1", "--total", "30", "-o", "mixed"), "the largest --total in these shares is 15"),
        (("a", "b", "-o", "a"), "is one of the sources"),
        (("a", "b", "-o", "b.jsonl"), "is a file"),
    ],
)
def test_what_has_no_meaning_is_refused(home, run, words, message):
    """One line that says why, the exit code of a wrong command line, and nothing written."""
    before = listing(home)
    done = run("mix", *words)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert listing(home) == before


def test_standard_input_has_a_weight(home, run):
    """`-=2` is no flag, wherever it stands; a value of a flag that begins so stays what it is."""
    rows = (home / "a.jsonl").read_bytes()
    assert run("mix", "a.jsonl=2", "b.jsonl=1", "--total", "9", "-o", "named.jsonl").code == 0
    for words in (("-=2", "b.jsonl=1", "--total", "9"), ("--total", "9", "--", "-=2", "b.jsonl=1")):
        done = run("mix", *words, input=rows)
        assert (done.code, done.out) == (0, (home / "named.jsonl").read_bytes())
    done = run("mix", "-=2", "b.jsonl=1", "--total", "9", "-o", "piped.jsonl", input=rows)
    assert "  -: 12 rows, weight 2, share 66.67%, 6 drawn" in done.err
    made = json.loads((home / "piped.jsonl.manifest.json").read_text())
    assert [each["path"] for each in made["inputs"]] == ["-", "b.jsonl"]
    assert made["arguments"][-3:] == ["--", "-=2", "b.jsonl=1"]
    assert "-=x: found the weight 'x'" in run("mix", "-=x", "b.jsonl").err
    assert "'-=3' is not a valid int" in run("mix", "b.jsonl", "--total", "-=3").err
    assert "-=3: unknown suffix" in run("mix", "b.jsonl", "-o", "-=3").err
    assert "No such option: -=" in run("filter", "-=2", "--where", "1=1").err


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".json", ".parquet", ".csv", ".csv.gz"])
def test_sources_and_mixtures_of_any_format(home, run, suffix):
    """A file in another format gives the same rows in the same order, and a mixture is written in any."""
    for name, count in COUNTS.items():
        write_jsonl(home / f"{name}.jsonl", [{"id": f"{name}{n}", "text": f"é {n}\n"} for n in range(count)])
        assert run("merge", f"{name}.jsonl", "--no-shuffle", "-o", f"{name}{suffix}").code == 0
    options = ("--total", "20", "--seed", "4", "--repeat-at-most", "2")
    assert run("mix", "a.jsonl=1", "b.jsonl=1", *options, "-o", "plain.jsonl").code == 0
    done = run("mix", f"a{suffix}=1", f"b{suffix}=1", *options, "-o", f"mixed{suffix}")
    assert done.code == 0, done.err
    assert run("merge", f"mixed{suffix}", "--no-shuffle", "-o", "again.jsonl").code == 0
    assert read_jsonl(home / "again.jsonl") == read_jsonl(home / "plain.jsonl")
    made = json.loads((home / f"mixed{suffix}.manifest.json").read_text())
    assert [each["rows"] for each in made["inputs"] + made["outputs"]] == [12, 7, 20]


def test_a_folder_of_parts_is_rows(home, run):
    """Not shards: it has a manifest, too."""
    for name in ("parts/", "one.jsonl"):
        made = run("convert", "chat", "--split-thinking", "a.jsonl", "-o", name, cwd=home)
        assert made.code == 0, made.err
    mixed = []
    for name in ("parts/", "parts", "one.jsonl"):
        done = run("mix", f"{name}=1", "b.jsonl=2", "-o", "mixed.jsonl", cwd=home)
        assert done.code == 0, done.err
        mixed.append((home / "mixed.jsonl").read_bytes())
    assert mixed[0] == mixed[1] == mixed[2]


def test_a_folder_that_is_no_shards_says_so(home, run):
    """A directory of rows is not mixed as shards."""
    (home / "rows").mkdir()
    done = run("mix", "rows", "-o", "mixed")
    assert done.code == 1
    assert "rows: holds no finished shards" in done.err


def test_the_manifest_takes_digests_from_the_shards_and_verify_finds_damage(home, run, monkeypatch):
    """Token ids are not hashed again, also those of shards without a manifest; a changed byte is found."""
    read = []
    plain = digests.digest_of

    def counted(path, *arguments, **options):
        read.append(Path(path).name)
        return plain(path, *arguments, **options)

    (home / "b.manifest.json").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(digests, "digest_of", counted)
        assert run("mix", "a=1", "b=1", "-o", "mixed").code == 0
    assert not [name for name in read if "-ids-" in name or "-mask-" in name]
    found = json.loads((home / "mixed.manifest.json").read_text())
    folder, *files = found["inputs"]
    sha256, size, inside = digests.folder_digest(home / "a")
    assert (folder["path"], folder["sha256"], folder["bytes"]) == ("a", sha256, size)
    assert folder["files"] == inside
    assert {Path(each["path"]).name: each["sha256"] for each in files}.items() <= digests.folder_digest(
        home / "b"
    )[2].items()
    assert [each["path"] for each in found["outputs"]] == ["mixed"]
    assert found["outputs"][0]["rows"] == 15
    assert run("verify", "mixed").code == 0
    for name in ("a", "b"):
        (ids,) = (home / name).glob("*-ids-*")
        content = ids.read_bytes()
        ids.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        assert run("verify", "mixed").code == 1
        # A mixture that is made after the damage does not hide it.
        assert run("mix", "a=1", "b=1", "-o", "mixed").code == 0
        assert run("verify", "mixed").code == 1
        ids.write_bytes(content)
        assert run("verify", "mixed").code == 0


def test_replay_makes_a_mixture_again(home, run):
    """In the same folder, also if a source is outside of it, or has an = in its name."""
    (home / "inner").mkdir()
    (home / "a").rename(home / "a=x")
    (home / "a.manifest.json").unlink()
    (home / "b").rename(home / "inner/b")
    (home / "b.manifest.json").unlink()
    write_jsonl(home / "c.jsonl", [chat("Q", "A")])
    assert run("mix", "../c.jsonl", "../b.jsonl=2", "-o", "rows.jsonl", cwd=home / "inner").code == 0
    found = json.loads((home / "inner/rows.jsonl.manifest.json").read_text())
    assert str(home) not in json.dumps(found)
    before = (home / "inner/rows.jsonl").read_bytes()
    (home / "inner/rows.jsonl").unlink()
    done = run("replay", "rows.jsonl", "--source", "..", cwd=home / "inner")
    assert done.code == 0, done.err
    assert (home / "inner/rows.jsonl").read_bytes() == before
    assert run("mix", "a=x=1", "inner/b=2", "-o", "mixed").code == 0
    before = documents(home / "mixed")
    shutil.rmtree(home / "mixed")
    done = run("replay", "mixed")
    assert done.code == 0, done.err
    assert documents(home / "mixed") == before


def test_train_reads_the_mixture(home, run):
    """A student is trained on the documents of both, and the summary names the mixture's rows."""
    write_model(home / "model")
    assert run("mix", "a=0.5,0.9", "b=0.5,0.1", "--total", "8", "-o", "mixed").code == 0
    words = (
        "train",
        "mixed",
        "--model",
        "model",
        "-o",
        "student",
        "--epochs",
        "2",
        "--batch-size",
        "4",
        "-q",
    )
    done = run(*words)
    assert done.code == 0, done.err
    results = json.loads((home / "student/results.json").read_text())
    assert results["results"]["steps"] == 4
    found = json.loads((home / "student.manifest.json").read_text())
    assert {"mixed", "a", "b"} <= {each["path"] for each in found["inputs"]}
    assert run("verify", "student").code == 0
