"""Fetching: the hub's own client against a small server on this machine that speaks the hub's protocol.

Each such test starts a server and an interpreter that loads the client, so all but three are marked slow.
"""

import hashlib
import io
import json
import os
import re
import threading
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from urllib.parse import parse_qs, unquote, urlsplit

import polars as pl
import pytest

from dataprep.core.errors import FetchError, UsageError
from dataprep.core.records import Source, Split
from dataprep.datasets import download
from dataprep.datasets import registry as converters
from dataprep.datasets.hub import client
from dataprep.datasets.workspace import FOLDERS

COMMIT = "c0ffee" * 6 + "c0ff"
ROWS = 3
TRAIN = "main/train-00000-of-00001.parquet"
TEST = "main/test-00000-of-00001.parquet"

# The command, with few rows expected of a split, and no way to any other machine than this one.
PROGRAM = f"""
import socket, sys, time
from dataclasses import replace

sleep = time.sleep
time.sleep = lambda seconds: sleep(seconds / 100)  # between the client's tries

connect, resolve = socket.socket.connect, socket.getaddrinfo
def here(host):
    if host not in ("127.0.0.1", b"127.0.0.1"):
        open("left-this-machine", "a").write(str(host))
        raise OSError("no test leaves this machine")
def guarded_connect(self, address):
    here(address[0])
    return connect(self, address)
def guarded_resolve(host, *rest, **more):
    here(host)
    return resolve(host, *rest, **more)
socket.socket.connect, socket.getaddrinfo = guarded_connect, guarded_resolve

from dataprep import __main__
from dataprep.datasets import registry as converters
if sys.argv[1] == "fetch" and converters.canonical(sys.argv[2]) in converters.names():
    converter = converters.load(sys.argv[2])
    splits = {{name: replace(split, rows={ROWS}) for name, split in converter.SOURCE.splits.items()}}
    converter.SOURCE = replace(converter.SOURCE, splits=splits)
sys.exit(__main__.main())
"""


@dataclass
class Hub:
    """A server with one dataset; what it was asked, and how it misbehaves.

    ``drops`` has, by path, after how many bytes a connection ends, once each; ``lies`` has, by path, what is
    sent in place of the file.
    """

    name: str
    revision: str
    files: dict[str, bytes]
    endpoint: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    drops: dict[str, list[int]] = field(default_factory=dict)
    lies: dict[str, bytes] = field(default_factory=dict)

    def downloads(self, path):
        """The ranges that a file's bytes were asked for in; empty for the whole file."""
        return [bytes_ for method, asked, bytes_ in self.asked if method == "GET" and asked == path]


def checksum(data):
    """How the hub names a file's content: the SHA-256 of a large file."""
    return hashlib.sha256(data).hexdigest()


def git_checksum(data):
    """How the hub names a file's content: git's own name of a small file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def stated(path, data):
    """What the hub says of a file, in its list of a commit's files."""
    sizes = {"size": len(data), "oid": git_checksum(data)}
    if path.endswith(".parquet"):
        sizes["lfs"] = {"oid": checksum(data), "size": len(data), "pointerSize": 130}
    return {"type": "file", "path": path, **sizes}


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does, for the one dataset of ``server.hub``."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Keep silent."""

    def answer(self, code, body=b"", **headers):
        """Send a whole answer; underscores in the headers' names stand for hyphens."""
        self.send_response(code)
        for name, value in ({"Content_Length": len(body)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self, what):
        """The hub's 404, whose header says what is missing."""
        self.answer(404, b"{}", X_Error_Code=what, X_Repo_Commit=COMMIT)

    def do_POST(self):
        """Facts on some paths."""
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        paths = json.loads(sent)["paths"] if sent[:1] == b"{" else parse_qs(sent.decode())["paths"]
        files = self.server.hub.files
        self.answer(200, json.dumps([*self.listing(paths, files)]).encode())

    def listing(self, paths, files):
        """What is said of files and folders."""
        for path in paths:
            if path in files:
                yield stated(path, files[path])
            elif any(name.startswith(f"{path}/") for name in files):
                yield {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}

    def do_GET(self):
        """Facts on the dataset, its folders, or a file's bytes."""
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        api = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/(revision|tree)/(.+)", path)
        resolve = re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/(.+)", path)
        found = api or resolve
        if not found or found[1] != hub.name:
            self.missing("RepoNotFound")
            return
        at = found[3] if api else found[2]
        known = next((rev for rev in (COMMIT, hub.revision) if f"{at}/".startswith(f"{rev}/")), None)
        if known is None:
            self.missing("RevisionNotFound")
            return
        at = at[len(known) + 1 :]
        if resolve:
            self.file(at)
        elif api[2] == "revision":
            self.info()
        else:
            self.tree(at)

    do_HEAD = do_GET

    def info(self):
        """The commit, with what is said of each file."""
        hub = self.server.hub
        siblings = []
        for path, data in hub.files.items():
            each = stated(path, data)
            entry = {"rfilename": path, "size": len(data), "blobId": each["oid"]}
            if "lfs" in each:
                entry["lfs"] = {"sha256": each["lfs"]["oid"], "size": len(data), "pointerSize": 130}
            siblings.append(entry)
        facts = {"id": hub.name, "sha": COMMIT, "private": False, "gated": False, "disabled": False}
        facts |= {"downloads": 0, "likes": 0, "tags": [], "siblings": siblings}
        self.answer(200, json.dumps(facts).encode(), Content_Type="application/json")

    def tree(self, folder):
        """The files and folders in a folder."""
        files = self.server.hub.files
        prefix = f"{folder}/" if folder else ""
        inside = [name for name in files if name.startswith(prefix)]
        parts = [name.removeprefix(prefix).split("/") for name in inside]
        if "recursive=true" in self.path.lower():
            paths = {prefix + "/".join(part[:n]) for part in parts for n in range(1, len(part) + 1)}
        else:
            paths = {prefix + part[0] for part in parts}
        if not inside and folder:
            self.missing("EntryNotFound")
            return
        self.answer(200, json.dumps([*self.listing(sorted(paths), files)]).encode())

    def file(self, path):
        """A file's bytes, or those from the one that was asked for."""
        hub, asked = self.server.hub, self.headers.get("Range", "")
        hub.asked.append((self.command, path, asked))
        if path not in hub.files:
            self.missing("EntryNotFound")
            return
        data = hub.files[path]
        name = checksum(data) if path.endswith(".parquet") else git_checksum(data)
        headers = {"ETag": f'"{name}"', "X_Repo_Commit": COMMIT, "Accept_Ranges": "bytes"}
        if self.command == "HEAD":
            self.answer(200, **headers, Content_Length=len(data))
            return
        data = hub.lies.get(path, data)
        begin = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked else 0
        if asked:
            headers["Content_Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        if hub.drops.get(path):
            self.send_response(206 if asked else 200)
            for key, value in (headers | {"Content_Length": len(data) - begin}).items():
                self.send_header(key.replace("_", "-"), str(value))
            self.end_headers()
            self.wfile.write(data[begin : begin + hub.drops[path].pop(0)])
            self.close_connection = True
            return
        self.answer(206 if asked else 200, data[begin:], **headers)


@contextmanager
def serving(served):
    """The server, for as long as the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub, server.daemon_threads = served, True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    served.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def parquet(rows, **options):
    """Rows as the bytes of a Parquet file."""
    out = io.BytesIO()
    pl.DataFrame(rows).write_parquet(out, **options)
    return out.getvalue()


def card(configs):
    """A dataset card that names the files of each config's splits."""
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, path in splits.items():
            lines += [f"  - split: {split}", f"    path: {path}"]
    return "\n".join([*lines, "---", "", "A dataset."]).encode()


def gsm8k_row(number):
    """A problem, long enough that a file of them can be cut in its middle."""
    return {"question": f"What is {number} + {number}?", "answer": f"It is {2 * number}.\n#### {2 * number}"}


def gsm8k_files(rows=ROWS):
    """The files of a small GSM8K, as the hub has them."""
    names = {split: f"main/{split}-00000-of-00001.parquet" for split in ("train", "test")}
    data = {path: parquet([gsm8k_row(n) for n in range(rows)]) for path in names.values()}
    data[TEST] = parquet([gsm8k_row(-n) for n in range(rows)])  # equal files are downloaded once
    return {"README.md": card({"main": {split: f"main/{split}-*" for split in names}})} | data


@pytest.fixture
def gsm8k():
    """A hub with a small GSM8K."""
    source = converters.load("gsm8k").SOURCE
    with serving(Hub(source.hub, source.revision, gsm8k_files())) as served:
        yield served


@pytest.fixture
def place(tmp_path):
    """An empty workspace."""
    for name in FOLDERS:
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def fetch(run_process, place):
    """Run `dataprep fetch` against a hub, in an empty workspace."""

    def fetch_from(endpoint, *arguments, command="fetch", **environment):
        kept = {
            name: value for name, value in os.environ.items() if not re.match("HF_|HUGGING|.*_PROXY$", name)
        }
        home = {"HF_HOME": str(place / "hf"), "HF_ENDPOINT": getattr(endpoint, "endpoint", endpoint)}
        calm = {
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        }
        done = run_process(command, *arguments, program=("-c", PROGRAM), env=kept | home | calm | environment)
        left = place / "left-this-machine"
        assert not left.exists(), left.read_text()
        return done

    return fetch_from


def in_raw(place):
    """The files in raw/, by their path there."""
    return sorted(
        str(path.relative_to(place / "raw")) for path in (place / "raw").rglob("*") if path.is_file()
    )


@pytest.mark.medium
def test_a_fetched_set_converts(fetch, gsm8k, place, run):
    """What fetch puts into raw/ is what convert reads, and the summary counts it."""
    done = fetch(gsm8k, "gsm8k")
    assert done.code == 0, done.err
    assert done.err.splitlines() == [
        "gsm8k train: 3 in = 3 out → raw/gsm8k/train.jsonl",
        "gsm8k test: 3 in = 3 out → raw/gsm8k/test.jsonl",
    ]
    rows = [json.loads(line) for line in (place / "raw/gsm8k/train.jsonl").read_bytes().splitlines()]
    assert rows == [gsm8k_row(n) for n in range(ROWS)]
    assert run("convert", "gsm8k").code == 0
    assert (place / "pre_datasets/train/gsm8k_train_llama.jsonl").read_bytes().count(b"\n") == ROWS


@pytest.mark.slow
def test_the_manifest_says_what_lies_there(fetch, gsm8k, place):
    """Hub name, revision, files, checksums, rows and licence; a second call keeps the first one's files."""
    assert fetch(gsm8k, "gsm8k", "--split", "train").code == 0
    assert fetch(gsm8k, "gsm8k", "--split", "test").code == 0
    document = tomllib.loads((place / "raw/gsm8k/manifest.toml").read_text("utf-8"))
    assert (document["dataset"], document["licence"]) == ("gsm8k", "MIT")
    assert [each["name"] for each in document["files"]] == ["test.jsonl", "train.jsonl"]
    for each in document["files"]:
        split = each["name"].removesuffix(".jsonl")
        assert (each["hub"], each["revision"], each["rows"]) == (f"openai/gsm8k/main/{split}", COMMIT, ROWS)
        assert each["sha256"] == checksum((place / "raw/gsm8k" / each["name"]).read_bytes())
        (part,) = each["downloads"]
        assert part["sha256"] == checksum(gsm8k.files[part["path"]])


@pytest.mark.slow
def test_a_dropped_connection_is_taken_up_where_it_ended(fetch, gsm8k, place):
    """The client asks for the rest of a file, not for the whole of it again, and the file is right."""
    # The client keeps whole pieces of 10 MB, so the file has to be larger than one.
    noise = Random(1).randbytes(4 << 20)
    rows = [gsm8k_row(n) | {"noise": noise[n:].hex()} for n in range(ROWS)]
    gsm8k.files[TRAIN] = parquet(rows, compression="uncompressed")
    gsm8k.drops[TRAIN] = [11 << 20, 1 << 10]
    done = fetch(gsm8k, "gsm8k", "--split", "train")
    assert (done.code, done.err) == (0, "gsm8k train: 3 in = 3 out → raw/gsm8k/train.jsonl\n")
    rest = f"bytes={10 << 20}-"
    assert gsm8k.downloads(TRAIN) == ["", rest, rest]
    assert in_raw(place) == ["gsm8k/manifest.toml", "gsm8k/train.jsonl"]
    lines = (place / "raw/gsm8k/train.jsonl").read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == rows


@pytest.mark.slow
def test_a_connection_that_drops_again_and_again_is_given_up(fetch, gsm8k, place):
    """The client tries several times; then there is one line, and nothing in raw/."""
    gsm8k.drops[TRAIN] = [10] * 20
    done = fetch(gsm8k, "gsm8k", "--split", "train")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "broke off" in done.err
    assert len(gsm8k.downloads(TRAIN)) > 2
    assert in_raw(place) == []


@pytest.mark.slow
def test_a_second_call_downloads_only_what_is_missing(fetch, gsm8k, place):
    """After a call that failed in its second file, the first one is not downloaded again."""
    gsm8k.lies[TEST] = gsm8k.files[TEST][:-7]
    assert fetch(gsm8k, "gsm8k").code == 1
    assert in_raw(place) == []
    del gsm8k.lies[TEST]
    assert fetch(gsm8k, "gsm8k").code == 0
    assert gsm8k.downloads(TRAIN) == [""]
    assert len(in_raw(place)) == 3


@pytest.mark.medium
def test_a_wrong_checksum_puts_nothing_in_place(fetch, gsm8k, place):
    """Bytes that changed on the way are refused with both checksums, and not kept for the next call."""
    right = gsm8k.files[TRAIN]
    wrong = right[:50] + bytes([right[50] ^ 1]) + right[51:]
    gsm8k.lies[TRAIN] = wrong
    done = fetch(gsm8k, "gsm8k")
    assert done.code == 1
    assert checksum(right) in done.err
    assert checksum(wrong) in done.err
    assert len(done.err.splitlines()) == 1
    assert in_raw(place) == []
    del gsm8k.lies[TRAIN]
    assert fetch(gsm8k, "gsm8k").code == 0


@pytest.mark.slow
def test_a_small_file_is_compared_with_the_checksum_of_git(fetch, gsm8k, place):
    """Files that the hub keeps in git itself have another kind of checksum, which is compared as well."""
    row = json.dumps(gsm8k_row(1)).encode()
    gsm8k.files |= {
        "README.md": card({"main": {"train": "train.jsonl"}}),
        "train.jsonl": (row + b"\n") * ROWS,
    }
    gsm8k.lies["train.jsonl"] = gsm8k.files["train.jsonl"].replace(b"What", b"Whit")
    assert "train.jsonl is damaged" in fetch(gsm8k, "gsm8k", "--split", "train").err
    gsm8k.lies.clear()
    assert fetch(gsm8k, "gsm8k", "--split", "train").code == 0
    assert (place / "raw/gsm8k/train.jsonl").read_bytes().count(b"\n") == ROWS


@pytest.mark.slow
def test_truncated_content_is_an_error(fetch, gsm8k, place):
    """A file shorter than the hub stated is refused in one line."""
    gsm8k.lies[TRAIN] = gsm8k.files[TRAIN][:-20]
    done = fetch(gsm8k, "gsm8k")
    assert done.code == 1
    assert "should be of size" in done.err
    assert len(done.err.splitlines()) == 1
    assert in_raw(place) == []


@pytest.mark.slow
def test_another_number_of_rows_is_an_error_with_both(fetch, gsm8k, place):
    """A set that changed since its row counts were written down is noticed, and not put in place."""
    gsm8k.files |= {TEST: gsm8k_files(rows=5)[TEST]}
    done = fetch(gsm8k, "gsm8k")
    assert done.code == 1
    assert "gsm8k test: the hub has 5 rows" in done.err
    assert "3 were expected" in done.err
    assert not (place / "raw/gsm8k").exists()


@pytest.mark.slow
def test_an_existing_file_is_replaced_only_with_force(fetch, gsm8k, place):
    """Files of the same splits stay as they are without --force, whatever their names, and go with it."""
    folder = place / "raw" / "GSM8K"  # a folder is found whatever its case
    folder.mkdir()
    for name in ("old_train.json", "notes.txt"):
        (folder / name).write_text("[]")
    done = fetch(gsm8k, "gsm8k")
    assert done.code == 1
    assert "holds old_train.json already" in done.err
    assert gsm8k.asked == []
    assert fetch(gsm8k, "gsm8k", "--split", "test").code == 0
    assert fetch(gsm8k, "gsm8k", "--force").code == 0
    names = ["manifest.toml", "notes.txt", "test.jsonl", "train.jsonl"]
    assert in_raw(place) == [f"GSM8K/{name}" for name in names]


@pytest.mark.slow
def test_an_unreachable_hub_is_said_in_one_line(fetch):
    """Without a network there is one clear line, at once, and no traceback."""
    for environment, words in (({}, "cannot be reached"), ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set")):
        done = fetch("http://127.0.0.1:9", "gsm8k", **environment)
        assert done.code == 1
        assert words in done.err
        assert len(done.err.splitlines()) == 1


@pytest.mark.medium
def test_an_unknown_dataset_or_revision_is_said_in_one_line(fetch, gsm8k):
    """What is not on the hub is named."""
    done = fetch(gsm8k, "squad")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "has no such dataset" in done.err
    done = fetch(gsm8k, "gsm8k", "--revision", "nowhere")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "no such revision" in done.err


# Every dataset, in the folders that the hub has it in


def choices(number, **fields):
    """A multiple-choice row in the hub's shape."""
    listed = {"label": ["A", "B", "C"], "text": ["one", "two", "three"]}
    return {"id": f"r{number}", "question": f"Which {number}?", "choices": listed, "answerKey": "B"} | fields


def spans(number):
    """A reading row in the hub's shape."""
    answers = {"text": ["grey"], "answer_start": [10]}
    return {
        "id": f"s{number}",
        "title": "Tin",
        "context": "It is all grey.",
        "question": "Which?",
        "answers": answers,
    }


def task(number):
    """A programming task in the hub's shape."""
    row = {"task_id": number, "text": "Add one.", "code": f"def f(n):\r\n    return n + {number}"}
    return row | {"test_list": ["assert f(1) == 2"], "test_setup_code": "", "challenge_test_list": []}


def study(number):
    """A biomedical row in the hub's shape."""
    context = {"contexts": ["We asked."], "labels": ["METHODS"], "meshes": ["Tin"]}
    row = {"pubid": number, "question": "Does it?", "context": context}
    return row | {"long_answer": "It may.", "final_decision": "maybe"}


def word_problem(number):
    """An algebra row in the hub's shape."""
    options = [f"A){number}", "B)7", "C)9"]
    return {"question": "How many?", "options": options, "rationale": "Count.", "correct": "A"}


def goal(number):
    """A row with two ways to a goal in the hub's shape."""
    return {"goal": f"Dry boot {number}.", "sol1": "paper", "sol2": "soup", "label": 0}


THREE = ("train", "validation", "test")
LAYOUTS = {
    "commonsense_qa": ({"default": {split: f"data/{split}-*" for split in THREE}}, choices),
    "openbookqa": ({"main": {split: f"main/{split}-*" for split in THREE}}, choices),
    "arc": ({c: {s: f"{c}/{s}-*" for s in THREE} for c in ("ARC-Challenge", "ARC-Easy")}, choices),
    "piqa": ({"plain_text": {split: f"plain_text/{split}/" for split in THREE}}, goal),
    "riddlesense": ({"default": {split: f"default/{split}/" for split in THREE}}, choices),
    "pubmedqa": ({"pqa_labeled": {"train": "pqa_labeled/train-*"}}, study),
    "aqua_rat": ({"raw": {split: f"raw/{split}-*" for split in THREE}}, word_problem),
    "squad": ({"squad_v2": {split: f"squad_v2/{split}-*" for split in THREE[:2]}}, spans),
}


def files_of(layout, row):
    """The files of a layout, with the card where the branch has one."""
    converted = any(path.endswith("/") for splits in layout.values() for path in splits.values())
    data = {
        path + "0000.parquet" if converted else path.replace("*", "00000-of-00001.parquet"): parquet(
            [row(n) for n in range(ROWS)]
        )
        for splits in layout.values()
        for path in splits.values()
    }
    return data if converted else {"README.md": card(layout)} | data


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_set_comes_in_a_layout_that_convert_reads(name, fetch, run):
    """The config and split of each set's splits are the hub's, and its rows are those that convert knows."""
    layout, row = LAYOUTS[name]
    source = converters.load(name).SOURCE
    with serving(Hub(source.hub, source.revision, files_of(layout, row))) as served:
        done = fetch(served, name)
    assert done.code == 0, done.err
    ours = [split for split, each in source.splits.items() if each.hub]
    assert sum(f"{name} {split}: 3 in = 3 out" in done.err for split in ours) == len(ours)
    done = run("convert", name)
    assert done.code == 0, done.err
    wanted = [split for split in ours if source.splits[split].output]
    assert done.err.count("3 in = 3 out") == len(wanted)


@pytest.mark.slow
def test_all_splits_of_mbpp_come_in_one_file(fetch, place, run):
    """The four splits on the hub become the authors' one file, in the order of task_id."""
    numbers = {"prompt": [1, 10], "test": [11], "validation": [511, 600], "train": [601]}
    paths = {
        split: f"full/{split}-00000-of-00001.parquet" for split in ("train", "test", "validation", "prompt")
    }
    data = {path: parquet([task(number) for number in numbers[split]]) for split, path in paths.items()}
    source = converters.load("mbpp").SOURCE
    with serving(Hub(source.hub, source.revision, {"README.md": card({"full": paths})} | data)) as served:
        done = fetch(served, "mbpp")
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in (place / "raw/mbpp/mbpp.jsonl").read_bytes().splitlines()]
    assert [row["task_id"] for row in rows] == [1, 10, 11, 511, 600, 601]
    assert "train: 6 in = 3 out" in run("convert", "mbpp").err


@pytest.mark.slow
def test_labels_beside_an_older_file_go_with_it(fetch, place):
    """PIQA's file of labels belongs to the rows that are replaced, and would be read with the new ones."""
    layout, row = LAYOUTS["piqa"]
    (place / "raw" / "piqa").mkdir()
    (place / "raw" / "piqa" / "train-labels.lst").write_text("1\n")
    source = converters.load("piqa").SOURCE
    with serving(Hub(source.hub, source.revision, files_of(layout, row))) as served:
        assert "holds train-labels.lst already" in fetch(served, "piqa", "--split", "train").err
        assert fetch(served, "piqa", "--split", "train", "--force").code == 0
    assert in_raw(place) == ["piqa/manifest.toml", "piqa/train.jsonl"]


# Without a server


@pytest.mark.parametrize("name", converters.names())
def test_a_fetched_file_is_found_as_its_own_split_only(name):
    """Each file's name matches the patterns of its splits, and of no other split."""
    source = converters.load(name).SOURCE
    if not source.hub:
        pytest.skip("not on the hub")
    for part in download.parts_of(name, source):
        found = {
            split
            for split, each in source.splits.items()
            if any(fnmatch(part.name, pattern) for pattern in each.files)
        }
        assert found == set(part.splits)


@pytest.mark.parametrize("name", ["bioasq", "qa"])
def test_a_set_that_is_not_on_the_hub_says_where_it_is(name, tmp_path):
    """What has to be fetched by hand is said to be so, with the authors' page where there is one."""
    with pytest.raises(FetchError, match=f"{name} is not on the hub") as caught:
        download.fetch(name, tmp_path)
    assert converters.load(name).SOURCE.homepage in str(caught.value)


def test_a_split_that_is_not_there_is_named(tmp_path):
    """An unknown split is a mistake in the command line; one that the hub lacks is not."""
    with pytest.raises(UsageError, match=r"gsm8k has no split 'dev'; its splits: train, test"):
        download.fetch("gsm8k", tmp_path, splits=["dev"])
    with pytest.raises(
        FetchError, match=r"the split test of pubmedqa is not on the hub: .*pubmedqa\.github\.io"
    ):
        download.fetch("pubmedqa", tmp_path, splits=["test"])


def test_the_rows_of_a_part_are_those_of_all_its_splits():
    """Splits that share a file are counted together, and not at all where one's count is unknown."""
    splits = {"a": Split(("*",), 2, "", hub="c/x+y"), "b": Split(("*",), 3, "", hub="c/x+y")}
    (part,) = download.parts_of("set", Source(splits, "o/n", "main", "MIT"), ["a"])
    assert (part.name, part.rows, list(part.splits)) == ("set.jsonl", 5, ["a", "b"])
    splits["b"] = Split(("*",), 0, "", hub="c/x+y")
    (part,) = download.parts_of("set", Source(splits, "o/n", "main", "MIT"))
    assert part.rows == 0


def test_a_manifest_that_cannot_be_read_is_none(tmp_path):
    """A damaged manifest is no reason to fail."""
    for text in ("files = 3", "[[files]\n", "", "files = [1]"):
        (tmp_path / download.MANIFEST).write_text(text)
        assert download.read_manifest(tmp_path) == {}
    assert download.read_manifest(tmp_path / "none") == {}


def test_datasets_lists_every_set(run, place):
    """`dataprep datasets` names each set with task, rows and licence, and what lies in raw/."""
    (place / "raw" / "riddle").mkdir()
    (place / "raw" / "riddle" / "rs_dev.jsonl").write_text("{}\n")
    done = run("datasets")
    assert (done.code, done.err) == (0, "")
    assert all(re.search(rf"^{name} ", done.out.decode(), flags=re.MULTILINE) for name in converters.names())
    assert "train 7,473, test 1,319" in done.out.decode()
    sets = {each["name"]: each for each in json.loads(run("datasets", "--json").out)}
    assert sets["riddlesense"]["raw"] == {"test": ["rs_dev.jsonl"]}
    assert sets["squad"]["splits"] == {"train": 130319, "test": 11873}
    assert (sets["gsm8k"]["task"], sets["gsm8k"]["licence"], sets["qa"]["hub"]) == ("math", "MIT", None)


CARDS = (
    "configs: [3]", "dataset_info: [3]", "dataset_info: {features: 3}", "a: [", "- 1", "configs: 3",
    "configs: [{config_name: default, data_files: [{split: 3, path: [1]}]}]",
    "dataset_info: {splits: 3, features: [{name: x, dtype: int64}]}",
)  # fmt: skip


@pytest.mark.medium
def test_a_card_of_another_shape_is_one_line(tmp_path, monkeypatch):
    """Whatever the client's libraries raise about a dataset's own description; errors of ours stay errors."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n')
    wrong = []
    for card in CARDS:
        (tmp_path / "README.md").write_text(f"---\n{card}\n---\n")
        try:
            with client("owner/name"):
                datasets.load_dataset_builder(str(tmp_path))
            wrong.append(card)
        except FetchError as error:
            if not str(error).startswith("owner/name: ") or "\n" in str(error):
                wrong.append((card, str(error)))
    assert not wrong
    with pytest.raises(ZeroDivisionError), client("owner/name"):
        raise ZeroDivisionError
