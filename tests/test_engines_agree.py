"""The same bytes from every engine and store: commands in this process, on processes, on a Ray cluster.

The reference is each command on one file with one process. Chunks are small, so that a few rows have many.
"""

import base64
import shutil
from pathlib import Path

import pytest

from dataprep.core.errors import NotFoundError
from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.core.io.stores import store_of
from tests.helpers import chat, write_jsonl

QUESTIONS = [
    {
        "id": f"q{n}",
        "question": {
            "stem": f"What is {n} and {n % 7}?",
            "choices": [{"label": label, "text": f"{label} {n + i}"} for i, label in enumerate("ABCDE")],
        },
        "answerKey": "ABCDE"[n % 5],
    }
    for n in range(120)
]
SUMS = [
    {"question": f"Ann has {n} apples. How many? ({n % 40})", "answer": f"{n}.\n#### {n}"} for n in range(200)
]
CHATS = [
    chat(
        f"Question {n % 60} of many, with some words to compare",
        f"Answer {n % 60} in so many words as are needed for it, number {n // 100}",
        source=f"s{n % 3}",
    )
    for n in range(200)
]
TESTS = [chat(f"Question {n} of many, with some words to compare", f"Answer {n}") for n in range(0, 60, 7)]


def rationale(n):
    """Return a row of a rationale file, as two teachers wrote it."""
    first = f"{n} is more. Thus, the answer is ({'ab'[n % 2]}) {n + n % 2}"
    question = f"Q: Which is right for {n}?\nAnswer Choices:\n(a) {n}\n(b) {n + 1}"
    return f"{first}\n\n{question} llama rationale: Think of {n}.\nSo the answer is ({'ab'[n % 3 % 2]})."


def reference(n):
    """Return the published row with the same question."""
    choices = [str(n), str(n + 1)]
    return {
        "id": f"r{n}",
        "question": f"Which is right for {n}?",
        "choices": choices,
        "answer": choices[n % 2],
    }


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Files of all kinds of rows, some with bad ones in several chunks."""
    folder = tmp_path_factory.mktemp("sources")
    for name, rows in (("csqa", QUESTIONS), ("gsm8k", SUMS), ("chats", CHATS), ("tests", TESTS)):
        write_jsonl(folder / f"{name}.jsonl", rows)
    lines = (folder / "gsm8k.jsonl").read_bytes().splitlines(keepends=True)
    for place, bad in (
        (50, b"{\n"),
        (51, b'{"question": 1}\n'),
        (120, b"[]\n"),
        (121, b"\n"),
        (199, b"\xff\n"),
    ):
        lines[place] = bad
    (folder / "bad.jsonl").write_bytes(b"".join(lines))
    lines = (folder / "chats.jsonl").read_bytes().splitlines(keepends=True)
    lines[30] = b'{"messages": []}\n'
    lines[150] = b"{}\n"
    (folder / "bad_chats.jsonl").write_bytes(b"".join(lines))
    write_jsonl(folder / "cot.jsonl", map(rationale, range(100)))
    write_jsonl(folder / "gold.jsonl", map(reference, range(100)))
    ranks = (base64.b64encode(bytes([byte])).decode() + f" {byte}\n" for byte in range(256))
    (folder / "tokenizer.model").write_text("".join(ranks), encoding="ascii")
    return folder


# Each command reads files in `{in}` and writes to `{out}…`; `{rejects}` is where bad rows go.
CASES = {
    "convert": ["convert", "gsm8k", "{in}gsm8k.jsonl", "-o", "{out}"],
    "convert two files": ["convert", "gsm8k", "{in}gsm8k.jsonl", "{in}gsm8k.jsonl", "-o", "{out}"],
    "convert bad rows": ["convert", "gsm8k", "{in}bad.jsonl", "-o", "{out}", "--rejects", "{rejects}"],
    "convert first error": ["convert", "gsm8k", "{in}bad.jsonl", "-o", "{out}"],
    "convert shuffled choices": [
        "convert", "commonsense_qa", "{in}csqa.jsonl", "--shuffle-choices", "3", "-o", "{out}",
    ],
    "convert sample": ["convert", "gsm8k", "{in}gsm8k.jsonl", "--sample", "20", "--seed", "5", "-o", "{out}"],
    "convert examples": ["convert", "commonsense_qa", "{in}csqa.jsonl", "--to", "example", "-o", "{out}"],
    "prompt": [
        "prompt", "{in}csqa.jsonl", "--dataset", "commonsense_qa", "--no-teacher-forcing", "-o", "{out}",
    ],
    "parse-rationales": [
        "parse-rationales", "{in}cot.jsonl", "--gold", "{in}gold.jsonl", "-o", "{out}",
    ],
    "merge": ["merge", "{in}gsm8k.jsonl", "{in}chats.jsonl", "--seed", "7", "-o", "{out}"],
    "merge bad rows": ["merge", "{in}bad.jsonl", "{in}chats.jsonl", "-o", "{out}", "--rejects", "{rejects}"],
    "merge first error": ["merge", "{in}bad.jsonl", "{in}chats.jsonl", "-o", "{out}"],
    "merge in order": ["merge", "{in}gsm8k.jsonl", "{in}chats.jsonl", "--no-shuffle", "-o", "{out}"],
    "dedup": ["dedup", "{in}chats.jsonl", "-o", "{out}", "--dropped", "{more}"],
    "dedup near": ["dedup", "{in}chats.jsonl", "--near", "0.7", "-o", "{out}", "--dropped", "{more}"],
    "dedup across": [
        "dedup", "{in}chats.jsonl", "--across", "{in}tests.jsonl", "--on", "question", "-o", "{out}",
    ],
    "dedup bad rows": ["dedup", "{in}bad_chats.jsonl", "-o", "{out}", "--rejects", "{rejects}"],
    "decontaminate": [
        "decontaminate", "{in}chats.jsonl", "--against", "{in}tests.jsonl", "--json", "-o", "{out}",
        "--dropped", "{more}",
    ],
    "filter": ["filter", "{in}chats.jsonl", "--where", "source = 's1'", "-o", "{out}"],
    "filter first error": [
        "filter", "{in}bad_chats.jsonl", "--where", "chars(assistant) > 60", "-o", "{out}",
    ],
    "import": ["import", "{in}chats.jsonl", "--from", "messages", "-o", "{out}"],
    "export": ["export", "{in}chats.jsonl", "--to", "sharegpt", "-o", "{out}"],
    "validate": ["validate", "{in}bad_chats.jsonl"],
    "stats": ["stats", "{in}chats.jsonl", "--json"],
    "stats tokens": ["stats", "{in}chats.jsonl", "--json", "--tokenizer", "{here}tokenizer.model"],
}  # fmt: skip
ENGINES = {"inline": ["--workers", "1"], "processes": ["--workers", "2"]}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 2 kB."""
    monkeypatch.setenv(CHUNK_VARIABLE, "2000")


def words_of(case, *, out, rejects, more, source="", here=""):
    """Return the command line of a case."""
    places = {"in": source, "here": here, "out": out, "rejects": rejects, "more": more}
    return [word.format(**places) for word in CASES[case]]


def joined(path):
    """Return the bytes of a file, or of the parts in a folder; ``None`` if there is neither."""
    path = Path(path)
    if path.is_dir():
        # Parts without a manifest are those of a run that did not end.
        if not (path / "manifest.json").exists():
            return None
        return b"".join(part.read_bytes() for part in sorted(path.glob("part-*")))
    return path.read_bytes() if path.exists() else None


def result(run, folder, words, out):
    """Run a command, and return all that it says and writes."""
    done = run(*words, cwd=folder)
    rows = (joined(folder / name) for name in (out, "rejects.jsonl", "more.jsonl"))
    # The summary names the output.
    return done.code, done.out, done.err.replace(out, "OUT"), *rows


def stored(url):
    """Return the bytes of an object, or of the parts below a URL; ``None`` if there is neither."""
    store = store_of(url)
    if not url.endswith("/"):
        try:
            return store.read(url, 0, store.stat(url).size)
        except NotFoundError:
            return None
    objects = dict(store.list(url))
    if f"{url}manifest.json" not in objects:
        return None
    parts = sorted(name for name in objects if "/part-" in name)
    return b"".join(store.read(name, 0, objects[name].size) for name in parts)


def stored_result(run, folder, bucket, case, options, out):
    """Run a command on objects, and return what it says and writes as if they were files."""
    places = {name: f"{bucket}/{name}.jsonl" for name in ("rejects", "more")}
    words = words_of(case, out=f"{bucket}/{out}", source=f"{bucket}/in/", here="", **places) + options
    done = run(*words, cwd=folder)
    texts = [done.out.decode(), done.err.replace(f"{bucket}/{out}", "OUT")]
    said = [text.replace(f"{bucket}/in/", "").replace(f"{bucket}/", "") for text in texts]
    rows = (stored(f"{bucket}/{name}") for name in (out, "rejects.jsonl", "more.jsonl"))
    # Rejects and dropped rows name their files.
    rows = (None if data is None else data.replace(f"{bucket}/in/".encode(), b"") for data in rows)
    return done.code, said[0].encode(), said[1], *rows


@pytest.fixture
def bucket(s3, sources):
    """The URL of a bucket with the sources in it."""
    for path in sources.glob("*.jsonl"):
        store_of(s3).put(f"{s3}/in/{path.name}", path.read_bytes())
    return s3


@pytest.fixture(scope="module")
def expected(sources, tmp_path_factory):
    """Return what a case gives with one file and one process; each is run once."""
    from tests.helpers import run_here

    known = {}

    def of(case):
        if case not in known:
            folder = copied(sources, tmp_path_factory.mktemp("expected"))
            words = words_of(case, out="out.jsonl", rejects="rejects.jsonl", more="more.jsonl")
            if case != "prompt":
                words += ENGINES["inline"]
            known[case] = result(lambda *words, cwd: run_here(words, cwd=cwd), folder, words, "out.jsonl")
        return known[case]

    return of


def copied(sources, folder):
    """Return a folder with the sources in it, so that messages name them alike."""
    shutil.copytree(sources, folder, dirs_exist_ok=True)
    return folder


@pytest.mark.sampled(4)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("out", ["out.jsonl", "out/"])
def test_engines_of_one_machine_agree(case, engine, out, sources, expected, run, tmp_path):
    """One process and several, one file and parts: the same rows, rejects, ledger and first error."""
    if case == "prompt" and engine == "processes":
        pytest.skip("prompt has no --workers")
    words = words_of(case, out=out, rejects="rejects.jsonl", more="more.jsonl")
    words += [] if case == "prompt" else ENGINES[engine]
    assert result(run, copied(sources, tmp_path), words, out) == expected(case)


@pytest.mark.cluster
@pytest.mark.sampled(4)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("out", ["out.jsonl", "out/"])
def test_a_cluster_agrees(case, out, cluster, sources, expected, run, tmp_path):
    """Three nodes give what one process gives."""
    words = words_of(case, out=out, rejects="rejects.jsonl", more="more.jsonl")
    words += ["--cluster", cluster.address]
    assert result(run, copied(sources, tmp_path), words, out) == expected(case)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("out", ["out.jsonl", "out/"])
def test_a_store_agrees(case, out, bucket, sources, expected, run, tmp_path):
    """Objects of S3 in place of files, as inputs, outputs and rejects."""
    folder = copied(sources, tmp_path)
    assert stored_result(run, folder, bucket, case, [], out) == expected(case)


@pytest.mark.cluster
@pytest.mark.sampled(5)
@pytest.mark.parametrize("case", CASES)
def test_a_cluster_over_a_store_agrees(case, cluster, bucket, sources, expected, run, tmp_path):
    """Each worker reads its own ranges of objects, and writes its own."""
    folder = copied(sources, tmp_path)
    options = ["--cluster", cluster.address]
    assert stored_result(run, folder, bucket, case, options, "out/") == expected(case)
