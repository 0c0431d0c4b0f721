"""Commands over URLs: the same bytes, summaries and errors as over local files."""

import re
import shutil

import pytest

from dataprep import write_rows
from dataprep.core.io.stores import store_of
from dataprep.datasets.workspace import samples
from tests.helpers import chat, read_jsonl, write_jsonl
from tests.journal_lines import journal, line

CHATS = [chat(f"What is {n} + {n}?", f"It is {2 * n}.", source=("a", "b")[n % 2]) for n in range(40)]
OTHERS = [chat(f"What is {n} + {n}?", f"It is {2 * n}.") for n in range(30, 50)]
BAD = b'{"messages": [{"role": "user"}]}\nnot json\n'


@pytest.fixture
def folder(tmp_path, run):
    """A folder of inputs in every format."""
    place = tmp_path / "in"
    place.mkdir()
    write_jsonl(place / "chats.jsonl", CHATS)
    write_jsonl(place / "others.jsonl", OTHERS)
    (place / "bad.jsonl").write_bytes((place / "chats.jsonl").read_bytes() + BAD)
    for suffix in (".jsonl.gz", ".json", ".parquet", ".csv"):
        write_rows(CHATS, str(place / f"chats{suffix}"))
    raw = samples()
    shutil.copy(raw / "gsm8k/train.jsonl", place / "gsm8k.jsonl")
    questions = raw / "commonsense_qa/dev_rand_split.jsonl"
    assert (
        run("convert", "commonsense_qa", questions, "--to", "example", "-o", place / "examples.jsonl").code
        == 0
    )
    ids = [row["id"] for row in read_jsonl(place / "examples.jsonl")]
    (place / "responses.jsonl").write_bytes(journal(*(line(id=each) for each in ids)))
    write_jsonl(place / "predictions.jsonl", [{"id": each, "prediction": "(b)"} for each in ids])
    (place / "llm").mkdir()
    for path in (raw / "rationales").rglob("*_CoT_*.json"):
        shutil.copy(path, place / "llm")
    assert run("parse-rationales", place / "llm", "-o", place / "labelled.jsonl").code == 0
    return place


COMMANDS = {
    "convert": "convert gsm8k {in}/gsm8k.jsonl -o {out}/rows.jsonl",
    "convert to example": "convert gsm8k {in}/gsm8k.jsonl --to example -o {out}/rows.parquet",
    "convert chat": "convert chat --system-into-user {in}/chats.csv -o {out}/rows.jsonl",
    "convert bad": "convert chat --split-thinking {in}/bad.jsonl -o {out}/a.jsonl --rejects {out}/b.jsonl",
    "convert stops": "convert chat --system-into-user {in}/bad.jsonl -o {out}/rows.jsonl",
    "merge": "merge {in}/chats.jsonl {in}/others.jsonl --seed 7 -o {out}/rows.jsonl",
    "merge formats": "merge {in}/chats.parquet {in}/chats.jsonl.gz {in}/chats.json -o {out}/rows.jsonl.gz",
    "merge bad": "merge {in}/bad.jsonl -o {out}/rows.jsonl --rejects {out}/rejects.jsonl",
    "dedup": "dedup {in}/chats.jsonl {in}/others.jsonl -o {out}/rows.jsonl --dropped {out}/dropped.jsonl",
    "dedup across": "dedup {in}/chats.jsonl --across {in}/others.jsonl -o {out}/rows.json",
    "dedup near": "dedup {in}/chats.jsonl.gz --near 0.6 -o {out}/rows.csv",
    "filter": "filter {in}/chats.jsonl --where source='a' -o {out}/rows.jsonl",
    "split": "split {in}/chats.jsonl --parts train=0.8,test=0.2 --seed 3 -o {out}/parts",
    "split near": "split {in}/chats.jsonl --parts a=1/2,b=1/2 --by near-duplicates -o {out}/{{part}}.csv",
    "decontaminate": "decontaminate {in}/chats.jsonl --against {in}/others.jsonl -o {out}/rows.jsonl",
    "mix": "mix {in}/chats.jsonl=0.7 {in}/others.jsonl=0.3 -o {out}/rows.jsonl",
    "validate": "validate {in}/chats.jsonl {in}/chats.parquet",
    "validate bad": "validate {in}/bad.jsonl --json",
    "stats": "stats {in}/chats.jsonl {in}/chats.csv",
    "validate gz": "validate {in}/chats.jsonl.gz --json",
    "parse-rationales": "parse-rationales {in}/llm/ -o {out}/rows.jsonl",
    "export-rationales": "export-rationales {in}/labelled.jsonl -o {out}/llm",
    "review": "review {in}/responses.jsonl --gold {in}/examples.jsonl --json",
    "collect": "collect {in}/responses.jsonl --examples {in}/examples.jsonl -o {out}/rows.jsonl",
    "evaluate": "evaluate {in}/examples.jsonl --predictions {in}/predictions.jsonl -o {out}/scored.jsonl",
    "head": "head {in}/chats.jsonl.gz -n 3",
    "head json": "head {in}/chats.parquet -n 3 --json",
    "show": "show {in}/chats.jsonl:7-9",
    "show table": "show {in}/chats.parquet:7",
    "diff": "diff {in}/chats.jsonl {in}/others.jsonl -o {out}/differences.jsonl",
    "export": "export {in}/chats.jsonl --to sharegpt -o {out}/rows.json",
    "import": "import {in}/chats.jsonl -o {out}/rows.jsonl",
    "prompt": "prompt {in}/gsm8k.jsonl --dataset gsm8k -o {out}/requests.jsonl",
    "report": "report {in}/chats.jsonl --against {in}/others.jsonl -o {out}/report.html",
    "parts": "convert gsm8k {in}/gsm8k.jsonl -o {out}/parts/",
    "parts of merge": "merge {in}/chats.jsonl {in}/others.jsonl -o {out}/parts/",
    "of parts": "dedup {in}/parts/ -o {out}/rows.jsonl",
    "parts of parts": "filter {in}/parts/ --where source='a' -o {out}/parts/",
    "head of parts": "head {in}/parts/ -n 30",
    "missing": "dedup {in}/none.jsonl -o {out}/rows.jsonl",
    "another kind": "dedup {in}/chats.csv.jsonl -o {out}/rows.jsonl",
}

FAILING = {"convert stops", "validate bad", "missing", "another kind"}


def upload(folder, url):
    """Put the files of a folder into a store."""
    for path in folder.rglob("*"):
        if path.is_file():
            store_of(url).put(f"{url}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def below(url):
    """The bytes of the objects below a URL, by their names."""
    store = store_of(url)
    return {each.removeprefix(f"{url}/"): store.read(each, 0, stat.size) for each, stat in store.list(url)}


def without_place(text, top):
    """A text with the same name for every place, without times, and without the widths of columns."""
    text = re.sub(r"\d+(\.\d+)? s\b", "TIME", str(text).replace(str(top), "TOP"))
    return re.sub(r"  +|-{3,}", " ", re.sub(r"\S+…", "TOP…", text))


@pytest.mark.medium
@pytest.mark.sampled(2)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_does_the_same_with_urls(run, folder, s3, command, monkeypatch):
    """Inputs, outputs and rejects in a bucket."""
    monkeypatch.setenv("DATAPREP_CHUNK_BYTES", "1500")
    assert run("merge", folder / "chats.jsonl", "--no-shuffle", "-o", f"{folder}/parts/").code == 0
    (folder / "chats.csv.jsonl").write_bytes((folder / "chats.csv").read_bytes())
    upload(folder, f"{s3}/in")
    local = folder.parent
    (local / "out").mkdir()
    words = COMMANDS[command].split()
    results = {}
    for top in (str(local), s3):
        done = run(*[word.format(**{"in": f"{top}/in", "out": f"{top}/out"}) for word in words])
        results[top] = done.code, without_place(done.out.decode(), top), without_place(done.err, top)
    files = {
        path.relative_to(local / "out").as_posix(): path.read_bytes()
        for path in (local / "out").rglob("*")
        if path.is_file()
    }
    objects = below(f"{s3}/out")
    code, out, err = results[s3]
    assert code == (1 if command in FAILING else 0), err
    assert (code, out) == results[str(local)][:2], err
    assert (
        err.replace("no such object; look at its folder's URL for the names", "no such file")
        == (results[str(local)][2])
    )
    assert {*objects} == {*files}
    for name, data in files.items():
        if name.endswith(".html"):
            assert without_place(objects[name].decode(), s3) == without_place(data.decode(), local)
        elif not name.endswith(".manifest.json"):
            assert objects[name].replace(s3.encode(), b"TOP") == data.replace(str(local).encode(), b"TOP")
