"""The page of `dataprep view` as a server: its answers, and who gets none."""

import json
import re
import signal
import subprocess
import sys
from threading import Event
from urllib.request import urlopen

import pytest
from starlette.testclient import TestClient

from dataprep.inspect.view.app import make_app
from dataprep.inspect.view.files import ViewedFile
from dataprep.inspect.view.opened import opened_files
from dataprep.inspect.view.rows import CUT, describe, preview
from tests.helpers import chat, run_here, write_jsonl
from tests.journal_lines import line

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def client(request, tmp_path):
    """A client of the page over files with these rows; its base has the token."""

    def serve(*files, host="127.0.0.1"):
        paths = [str(write_jsonl(tmp_path / f"{number}.jsonl", rows)) for number, rows in enumerate(files)]
        context = opened_files(paths)
        opened = context.__enter__()
        request.addfinalizer(lambda: context.__exit__(None, None, None))
        for file in opened:
            file.wait(10)
        made = TestClient(make_app(opened, "secret", host=host), base_url="http://127.0.0.1:8000/secret/")
        request.addfinalizer(made.close)
        return made

    return serve


CHAT = [chat("Hi", SCRIPT, source="a"), chat("Hello", "World", source="b"), {"messages": []}]
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("call", ["page", "find"])
def test_a_wrong_number_of_rows_is_no_failure(client, call):
    """None, or less, is one row."""
    for count in ("0", "-5"):
        made = client(CHAT).get(f"api/{call}", params={"count": count})
        assert [row["number"] for row in made.json()["rows"]] == [1]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/secret/", {}, 200),
        ("/secret/api/files", {}, 200),
        ("/", {}, 404),
        ("/secret", {}, 404),
        ("/secreT/", {}, 404),
        ("/secret2/api/files", {}, 404),
        ("/api/files", {}, 404),
        ("/static/view.js", {}, 404),
        ("/s%C3%A9cret/", {}, 404),
        ("/secret/", {"host": "localhost:1234"}, 200),
        ("/secret/", {"host": "[::1]:1234"}, 200),
        ("/secret/", {"host": "evil.example"}, 403),
        ("/secret/", {"host": "127.0.0.1.evil.example"}, 403),
        ("/secret/", {"host": "10.0.0.1"}, 403),
        ("/secret/", {"host": "[broken"}, 403),
        ("/secret/", {"host": ""}, 403),
        ("/secret/api/files", {"sec-fetch-site": "cross-site"}, 403),
        ("/secret/api/files", {"sec-fetch-site": "same-site"}, 403),
        ("/secret/api/files", {"sec-fetch-site": "same-origin"}, 200),
        ("/secret/api/files", {"origin": "http://evil.example"}, 403),
        ("/secret/api/files", {"origin": "null"}, 403),
    ],
)
def test_only_the_page_itself_gets_an_answer(client, path, headers, status):
    """With the token, by a name of this machine, and not from another page."""
    answer = client(CHAT).get(f"http://127.0.0.1:8000{path}", headers=headers)
    assert answer.status_code == status
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "'unsafe-inline'" not in answer.headers["content-security-policy"]
    if status != 200:
        assert "Hi" not in answer.text


def test_other_machines_come_by_number_or_name_if_told(client):
    """With --host 0.0.0.0 any number is a name of this machine, and no other name is."""
    served = client(CHAT, host="0.0.0.0")
    assert served.get("", headers={"host": "192.168.1.7:80"}).status_code == 200
    assert served.get("", headers={"host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "name",
    ["view.py", "../app.py", "..%2Fapp.py", "%2e%2e/app.py", "/etc/passwd", "..\\app.py", "index.html%00"],
)
def test_no_other_file_can_be_reached(client, name):
    """Names lead to the page's own files, and numbers to the files that were named."""
    served = client(CHAT)
    assert served.get(f"static/{name}").status_code == 404
    for number in ("1", "-1", "x", "1e3", "9" * 30):
        assert served.get("api/page", params={"file": number}).status_code == 400


def test_the_page_has_nothing_inline(client):
    """So that the policy can forbid every script and style that is not a file of its own."""
    served = client(CHAT)
    page = served.get("")
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"<script(?! type=\"module\" src=)|<style|\son\w+=|\sstyle=|javascript:", page.text)
    assert "//" not in re.sub(r"<!DOCTYPE html>", "", page.text), "nothing comes from elsewhere"
    for name in re.findall(r'(?:src|href)="(static/[^"]+)"', page.text):
        text = served.get(name).text
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|srcdoc", text)


def test_rows_are_described_as_texts(client):
    """A script in a row is a text of the answer, which is JSON."""
    served = client(CHAT)
    answer = served.get("api/row", params={"number": 1})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    row = answer.json()["row"]
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
    assert row["messages"][1]["blocks"][0]["text"] == SCRIPT
    assert row["facts"] == [["source", "a"]]
    previews = served.get("api/page").json()["rows"]
    assert [(item["title"], item["source"], item["flagged"]) for item in previews] == [
        ("Hi", "a", False),
        ("Hello", "b", False),
        ("", "", True),
    ]


def test_marks_are_stored_and_read_again(client, tmp_path):
    """In the file beside, one line per mark; a form of another page cannot set one."""
    served = client(CHAT)

    def post(**values):
        return served.post("api/mark", json={"file": 0, **values})

    assert post(number=2, mark="bad", note="no").json()["mark"] == {"mark": "bad", "note": "no"}
    assert post(number=1, mark="good").json()["mark"] == {"mark": "good", "note": ""}
    assert post(number=1, mark="").json()["mark"] is None
    found = served.get("api/find", params={"mark": "bad"}).json()
    assert [(row["number"], row["mark"]["note"]) for row in found["rows"]] == [(2, "no")]
    flagged = served.get("api/find", params={"mark": "flagged"}).json()
    assert [row["number"] for row in flagged["rows"]] == [2, 3], "marked, or not valid"
    stored = [json.loads(text) for text in (tmp_path / "0.jsonl.marks.jsonl").read_text().splitlines()]
    assert [(mark["row"], mark["mark"]) for mark in stored] == [(2, "bad"), (1, "good"), (1, None)]
    ran = run_here(["filter", "0.jsonl", "--where", "mark = 'bad' AND note = 'no'", "-q"], cwd=tmp_path)
    assert json.loads(ran.out) == CHAT[1]
    for bad in ({"number": 9, "mark": "good"}, {"number": 1, "mark": "great"}, {"number": 1, "note": 7}):
        assert post(**bad).status_code == 400
    body = json.dumps({"number": 1, "mark": "good"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert served.post("api/mark", content=body, headers={"content-type": kind}).status_code == 415
    assert served.post("api/mark", content=body, headers=JSON | {"origin": "http://x"}).status_code == 403
    assert served.post("api/mark", content=b"[", headers=JSON).status_code == 400
    assert served.post("api/mark", content=b" " * 100_000, headers=JSON).status_code == 413
    assert served.get("api/mark").status_code == 405


LABELLED = {
    "id": "q1",
    "question": "Which?",
    "choices": ["one", "two"],
    "answer": {"label": "b", "text": "two"},
    "rationales": {"t5": "Because.", "llama": "So."},
    "status": {"t5": "ok", "llama": "answer_mismatch", "gpt": "missing"},
    "teacher_answers": {"t5": {"label": "b", "text": "two"}, "llama": {"label": "a", "text": "one"}},
    "reasoning": {"t5": "Hm."},
}


def test_a_labelled_row_has_a_column_per_teacher(client):
    """With the status, the answer, whether it is the right one, and the texts."""
    served = client([LABELLED])
    row = served.get("api/row").json()["row"]
    assert row["kind"] == "labelled"
    columns = {column["name"]: column for column in row["columns"]}
    assert {name: (column["status"], column["agrees"]) for name, column in columns.items()} == {
        "t5": ("ok", True),
        "llama": ("answer_mismatch", False),
        "gpt": ("missing", None),
    }
    assert [(block["kind"], block["text"]) for block in columns["t5"]["blocks"]] == [
        ("reasoning", "Hm."),
        ("text", "Because."),
    ]
    assert [choice["right"] for choice in row["choices"]] == [False, True]
    assert [field["title"] for field in row["fields"]] == ["question"]
    assert len(served.get("api/find", params={"status": "answer_mismatch"}).json()["rows"]) == 1
    assert served.get("api/find", params={"status": "failed"}).json()["rows"] == []
    assert "answer_mismatch" in served.get("api/values").json()["statuses"]


def test_the_lines_of_one_request_stand_side_by_side(client):
    """Of all teachers, in all journals, with the request from the file of requests."""
    first = [line(id="x", teacher="t"), line("failed", id="y", teacher="t"), line(id="x", teacher="u")]
    second = [line("length", id="x", teacher="v")]
    requests = [chat("Which?", id="x"), chat("Who?", id="y")]
    served = client(first, second, requests)
    row = served.get("api/row", params={"number": 2}).json()["row"]
    assert [(column["name"], column["status"]) for column in row["columns"]] == [("t", "failed")]
    assert row["columns"][0]["blocks"][0]["title"] == "error"
    same = served.get("api/same", params={"number": 1}).json()
    assert [(column["name"], column["status"], column["this"]) for column in same["columns"]] == [
        ("t", "ok", True),
        ("u", "ok", False),
        ("v", "length", False),
    ]
    assert same["request"]["messages"][0]["blocks"][0]["text"] == "Which?"
    assert same["done"]
    found = served.get("api/find", params={"status": "failed"}).json()["rows"]
    assert [item["number"] for item in found] == [2]


@pytest.mark.parametrize(
    ("text", "kind", "finding"),
    [
        (b"not json", "bad", "not JSON"),
        (b"\xff", "bad", "not UTF-8"),
        (b"[1]", "bad", "not a JSON object"),
        (b'{"a": 1, "a": 2}', "record", "duplicate key"),
        (b'{"messages": 7}', "record", "no messages"),
        (b'{"messages": [7]}', "chat", "malformed message"),
        (b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}", "record", "nested too deeply"),
        (b'{"rationales": {"t": 7}, "choices": 7, "answer": [], "status": {"t": []}}', "labelled", None),
        (b'{"key": 1, "teacher": [], "response": {}, "finish_reason": 2}', "journal", "not a response"),
    ],
)
def test_a_row_of_any_kind_is_drawn(text, kind, finding):
    """Malformed rows are what people look for."""
    made = describe(1, "x:1", text, len(text), chat=b"messages" in text)
    assert made["kind"] == kind
    assert finding is None or finding in [name for name, _ in made["findings"]]


def test_long_texts_are_cut_until_all_is_asked_for():
    """And what is left out is counted."""
    text = json.dumps(chat("x" * (CUT + 5), "y")).encode()
    cut = describe(1, "x:1", text, len(text), chat=True)
    block = cut["messages"][0]["blocks"][0]
    assert (len(block["text"]), block["length"], block["cut"]) == (CUT, CUT + 5, 5)
    whole = describe(1, "x:1", text, len(text), chat=True, whole=True)
    assert whole["messages"][0]["blocks"][0]["cut"] == 0


def test_a_long_row_is_listed_by_its_first_text():
    """Of a row of megabytes the list reads the beginning only."""
    line = json.dumps({"id": 1, "messages": [{"role": "user", "content": 'Say "é"'}]}).encode()
    assert preview(1, line, 5_000_000, chat=True)["title"] == 'Say "é"'
    assert preview(1, b'{"a": 1, "b": [', 5_000_000, chat=True)["title"] == '{"a": 1, "b": ['
    assert preview(1, b'{"content": "ab' + rb"\u00e9" * 99, 5_000_000, chat=True)["title"].startswith('{"con')


def test_a_row_that_is_not_indexed_yet_is_waited_for(client, monkeypatch):
    """The answer says how far the index is, and the page asks again."""
    go = Event()
    index = ViewedFile._index_lines
    monkeypatch.setattr(ViewedFile, "_index_lines", lambda self, *work: go.wait(10) and index(self, *work))
    monkeypatch.setattr(ViewedFile, "wait", lambda *_: None)
    served = client(CHAT)
    answer = served.get("api/row", params={"number": 2}).json()
    assert answer["row"] is None
    assert not answer["state"]["complete"]
    assert served.get("api/find", params={"text": "world"}).json()["next"] is None
    go.set()
    while not (answer := served.get("api/row", params={"number": 2}).json())["state"]["complete"]:
        pass
    assert answer["row"]["number"] == 2


def test_invisible_characters_are_shown():
    """A row cannot reorder the words of the page."""
    text = json.dumps(chat("a\u202eb", "\x1b[31m\nc")).encode()
    made = describe(1, "x:1", text, len(text), chat=True)
    texts = [block["text"] for message in made["messages"] for block in message["blocks"]]
    assert texts == ["a\\u202eb", "\\x1b[31m\nc"]


def test_wrong_commands_are_refused(tmp_path):
    """With exit code 2, before anything is served."""
    write_jsonl(tmp_path / "a.jsonl", CHAT)
    for arguments, message in [
        (["-"], "standard input can be read once"),
        (["a.jsonl", "--host", "no.such.host.invalid"], "not an address of this machine"),
    ]:
        ran = run_here(["view", *arguments], cwd=tmp_path)
        assert ran.code == 2
        assert message in ran.err


@pytest.mark.medium
def test_the_command_serves_until_it_is_interrupted(tmp_path):
    """It prints the address, answers there, and Ctrl-C is its normal end."""
    write_jsonl(tmp_path / "a.jsonl", CHAT)
    command = [sys.executable, "-m", "dataprep", "view", "a.jsonl", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        printed = "".join(iter(process.stderr.readline, "}\n")) + "}"
        address = json.loads(printed)["address"]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", address)
        with urlopen(f"{address}api/files") as answer:
            assert json.loads(answer.read())[0]["name"] == "a.jsonl"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
