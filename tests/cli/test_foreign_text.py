"""What data, file names and servers say never reaches a terminal as it is."""

import ast
import json
import os
import re
from pathlib import Path

import pytest

from dataprep.cli import progress
from dataprep.core.errors import LINE_LENGTH
from dataprep.teacher.client import Progress
from dataprep.train.options import TrainOptions
from dataprep.train.report import markdown, write_card
from tests.helpers import chat, write_jsonl
from tests.journal_lines import line as response
from tests.tables import table
from tests.teacher_server import Reply, TeacherServer, completion, error

ROOT = Path(__file__).parents[2] / "dataprep"
EVIL = "\x1b]0;owned\x07\x1b[31m\x9b2J\r\u202e\u2028[/red][link=x]{0}%s<img src=x>|`*\n# "
LONG = EVIL + "x" * 20_000
# All that a terminal may act on; lines end with a newline and nothing else.
ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

EXAMPLE = {"id": "q", "question": "Which?", "choices": ["tin", "iron"], "answer": "tin"}
LABELLED = EXAMPLE | {"rationales": {"flan-t5": "It is tin.", EVIL: "It is iron."}}
LABELLED |= {"answer": {"label": "a", "text": "tin"}, "status": {"flan-t5": "ok", EVIL: EVIL}}
FILES = {
    "source.jsonl": [chat("Hi", "Ho", source=EVIL), chat("Hi", "Ho", source=LONG)],
    "keys.jsonl": [{EVIL: 1}, {"messages": 1}],
    "long.jsonl": [{LONG: 1}],
    "roles.jsonl": [{"messages": [{"role": LONG, "content": EVIL}]}],
    "fields.jsonl": [{EVIL: EVIL, LONG: LONG}],
    "answers.jsonl": [EXAMPLE | {"answer": LONG}],
    "examples.jsonl": [EXAMPLE],
    "labelled.jsonl": [LABELLED],
    "torn.jsonl": [response(id="q", teacher=EVIL), response(id=LONG, teacher=LONG, response=EVIL)],
    "failed.jsonl": [response("failed", id="q", error={"type": EVIL, "message": LONG})],
    "raw.jsonl": [{"question": EVIL, "answer": EVIL}],
    f"{EVIL.replace('/', '')}.jsonl": [{"question": 1}],
    "texts.jsonl": [{"text": f"tin and iron {number}"} for number in range(90)],
}
NAME = [*FILES][-2]
COMMANDS = (
    *(("stats", file) for file in FILES if file != "texts.jsonl"),
    *(("validate", file) for file in FILES),
    *(("convert", dataset, file) for dataset in ("gsm8k", "qa", "squad", "mbpp") for file in FILES),
    ("convert", EVIL, "raw.jsonl"), ("convert", "gsm8k", EVIL), ("convert", "gsm8k", "raw.jsonl", EVIL),
    ("convert", "gsm8k", "--seed", EVIL), ("convert", "gsm8k", "raw.jsonl", "-o", f"no{NAME}"),
    ("convert", "qa", "keys.jsonl", "--map", EVIL), (EVIL,), ("stats", f"--{EVIL}"), ("init", "a", EVIL),
    ("tokenizer", EVIL), ("tokenizer", "show", NAME), ("tokenizer", "show", "t.model", EVIL),
    *(("tokenize", file, "--tokenizer", "t.model", "-o", "shards") for file in ("keys.jsonl", "roles.jsonl")),
    *(("lint-tokens", file, "--tokenizer", "t.model") for file in ("keys.jsonl", "roles.jsonl", NAME)),
    *(("merge", NAME, "-o", f"m{output}") for output in (NAME, f"{NAME}.parquet", f"{NAME}.csv")),
    *(("parse-rationales", file) for file in ("keys.jsonl", NAME)), ("review", "labelled.jsonl"),
    ("export-rationales", "labelled.jsonl", "-o", EVIL), ("export-rationales", NAME, "-o", "x"),
    *(("review", file) for file in FILES), ("review", "torn.jsonl", "--gold", "examples.jsonl"),
    ("collect", "torn.jsonl", "--examples", "examples.jsonl", "-o", NAME), ("review", "failed.jsonl"),
    ("collect", "torn.jsonl", "--examples", "examples.jsonl", "--to", "chat"),
    ("prompt", NAME), ("prompt", "answers.jsonl"), ("datasets", "--workspace", EVIL),
    ("prompt", "examples.jsonl", "--pool", NAME, "--shots", "1"),
    ("generate", NAME, "-o", "j.jsonl", "--model", EVIL, "--status"), ("collect", NAME, "--examples", NAME),
    ("generate", "keys.jsonl", "-o", "j.jsonl", "--model", "m", "--status"),
    ("evaluate", "source.jsonl", "--predictions", "keys.jsonl"), ("evaluate", NAME, "--predictions", NAME),
    ("evaluate", "source.jsonl", "--metric", "exact", "--predictions", "torn.jsonl"),
    *(("diff", one, other) for one in FILES for other in ("keys.jsonl", NAME)),
    ("diff", NAME, "raw.jsonl", "--by", EVIL), ("diff", "keys.jsonl", "roles.jsonl", "--json"),
    ("train", "keys.jsonl"), ("predict", NAME, "raw.jsonl"),
)  # fmt: skip
DATA_OUT = {"convert", "merge", "collect", "prompt", "parse-rationales", "tokenizer", "evaluate"}


@pytest.mark.medium
def test_no_command_prints_foreign_text_as_it_is(run, tmp_path):
    """Names of fields, teachers, sources and files, and the words of the command line, are shown escaped."""
    for name, rows in FILES.items():
        write_jsonl(tmp_path / name, rows)
    with (tmp_path / "torn.jsonl").open("a") as file:
        file.write('{"id": "q')
    trained = run("tokenizer", "train", "texts.jsonl", "-o", "t.model", "--vocab-size", "300")
    assert trained.code == 0, trained.err
    failures = []
    for command in COMMANDS:
        done = run(*command)
        shown = done.err
        if command[0] not in DATA_OUT or "show" in command:
            shown += done.out.decode()
        if "Traceback" in shown or done.code not in (0, 1, 2):
            failures.append((command, done.code, shown[-300:]))
        if found := ACTS.search(shown):
            failures.append((command, shown[max(found.start() - 60, 0) : found.end() + 20]))
        if longest := [line for line in shown.splitlines() if len(line) > LINE_LENGTH + 100]:
            failures.append((command, f"{len(longest[0]):,} characters: {longest[0][:100]}"))
        if shown.startswith("error: ") and shown.strip().count("\n"):
            failures.append((command, f"several lines: {shown[:300]}"))
    assert not failures, "\n".join(map(str, failures))


@pytest.mark.parametrize("command", [("stats",), ("review",), ("validate",), ("merge", "-o", f"m{NAME}")])
def test_json_summaries_are_the_same_values_with_escapes(run, tmp_path, command):
    """A program reads what the data say; a terminal that shows the JSON acts on none of it."""
    write_jsonl(tmp_path / NAME, [response(id="q\x9b\x7f\u202e", teacher="t\x9b\u2028", response="(a)")])
    done = run(*command, NAME, "--json")
    text = done.err if command[0] == "merge" else done.out.decode()
    assert not ACTS.search(text.replace("\r", "")), text
    assert "\u202e" in json.dumps(json.loads(text), ensure_ascii=False)


def test_tables_of_as_many_sources_as_rows_are_cut(run, tmp_path):
    """A table has at most 100 rows, and says how many more there are; `--json` has all."""
    path = write_jsonl(tmp_path / "chat.jsonl", [chat("Hi", source=f"s{number:03}") for number in range(103)])
    shown = run("stats", path).out.decode()
    assert "s099" in shown
    assert "s100" not in shown
    assert "… and 3 more, which --json lists" in shown
    assert len(json.loads(run("stats", path, "--json").out)["sources"]) == 103


def test_commands_print_with_the_functions_that_escape():
    """Nobody calls ``print`` beside them, and a new command does not forget."""
    allowed = {ROOT / "cli" / "console.py"}
    for path in {*(ROOT / "cli").rglob("*.py")} - allowed:
        for node in ast.walk(ast.parse(path.read_text())):
            called = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            assert called != "print", f"{path}:{node.lineno}: use say() of cli/console.py"


@pytest.mark.medium
def test_a_server_s_words_are_shown_escaped(run, tmp_path, monkeypatch):
    """Error messages, codes, headers, pages and answers of a server end up in one visible line."""
    write_jsonl(tmp_path / "requests.jsonl", [{"id": "q", "messages": [{"role": "user", "content": "?"}]}])
    evil = error(EVIL, EVIL, EVIL)
    replies = [Reply(400, evil), Reply(401, evil), Reply(404, error(LONG)), Reply(418, LONG.encode())]
    replies += [Reply(body=body) for body in (completion(EVIL, EVIL), EVIL.encode(), {"error": {EVIL: LONG}})]
    monkeypatch.setattr(progress, "time", Clock())
    for number, reply in enumerate(replies):
        line = ("generate", "requests.jsonl", "-o", f"{number}.jsonl", "--model", "m", "--retries", "0")
        with TeacherServer(lambda *_, reply=reply: reply) as server:
            keys = dict(os.environ) | {"TEACHER_MODEL_API_KEY": "k"}
            done = run(*line, "--base-url", server.url, env=keys)
        assert done.code in (0, 1), done
        assert not ACTS.search(done.err), done.err
        assert "Traceback" not in done.err, done.err
        assert max(map(len, done.err.splitlines())) < LINE_LENGTH + 100


def test_a_server_s_words_are_short_in_the_line_of_progress():
    """The line stays one line, whatever a server gives as its error."""
    line = progress.line_of(Progress(paused=5, last_error=LONG), 9, (0, 0), 1.0, False)
    assert len(line) < 400
    assert not ACTS.search(line)
    line = progress.line_of(Progress(stopped=LONG), 9, (0, 0), 1.0, False)
    assert len(line) < 400
    assert not ACTS.search(line)


@table(
    ("text", "shown"),
    [
        ("learning_rate", "learning_rate"), ("_a_ *b*", r"\_a\_ \*b\*"), ("a|b", r"a\|b"), ("a\nb", r"a\\nb"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"), ("&lt;", "&amp;lt;"),
        ("[a](javascript:b)", r"\[a\](javascript:b)"), ("``x", r"\`\`x"), ("a\\", "a\\\\"),
        ("$x$ ~y~", r"\$x\$ \~y\~"),
        ("\x1b[0m", r"\\x1b\[0m"), (0.5, "0.5"),
    ],
)  # fmt: skip
def test_markdown_shows_a_text_as_it_is(text, shown):
    """Neither HTML nor a link, emphasis, or a table's cell comes out of it."""
    assert markdown(text) == shown


def test_a_model_card_shows_names_and_samples_as_text(tmp_path):
    """Teachers, files, metrics and samples can hold no HTML, no heading, and no end of their block."""
    folder = tmp_path / "run"
    folder.mkdir()
    facts = {"data": {"train": [{"name": EVIL, "sha256": "0"}]}, "chat_format": EVIL}
    sample = {"prompt": f"{EVIL}\n~~~~\n# {EVIL}", "answer": LONG}
    results = {f"eval_loss_{EVIL}": 1.5, "metrics": {EVIL: EVIL}, "sample": sample}
    write_card(
        folder, "rationale", TrainOptions(model=f"m`{EVIL}", teacher_weights={EVIL: 1.0}), facts, results
    )
    card = (folder / "README.md").read_text()
    assert not ACTS.search(card)
    assert len(card) < 60_000
    outside = re.sub(r"^~~~~text\n.*?\n~~~~$", "", card, flags=re.M | re.S)
    assert "<img" not in re.sub(r"(`+) ?.*?[^`]\1(?!`)", "", outside)
    headings = ["# run", "## Data", "## Options", "## Results", "## A sample", "## Student"]
    assert {line for line in outside.splitlines() if line.startswith("#")} == set(headings)
    for line in outside.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) in (3, 5), line


class Clock:
    """A clock on which half a minute passes whenever somebody looks."""

    now = 0.0

    def monotonic(self):
        """Return the time, later each time."""
        self.now += 31.0
        return self.now


COLLECT = ("collect", "journal.jsonl", "--examples", "examples.jsonl")
LONG_COMMANDS = {
    ("convert", "gsm8k", "raw.jsonl", "-o", "out.jsonl"): r"convert gsm8k: [\d,]+ of [\d,]+ bytes, ",
    ("merge", "raw.jsonl", "-o", "out.jsonl"): r"merge: [\d,]+ of [\d,]+ bytes, .* left",
    ("stats", "raw.jsonl"): r"stats: [\d,]+ bytes read",
    ("stats", "raw.csv"): r"stats: [\d,]+ rows read",
    ("validate", "chat.jsonl"): r"validate: [\d,]+ bytes read",
    ("prompt", "examples.jsonl", "--shots", "0", "-o", "out.jsonl"): r"prompt: [\d,]+ bytes read",
    ("review", "journal.jsonl"): r"review: [\d,]+ bytes read",
    ("lint-tokens", "chat.jsonl", "--tokenizer", "t.model"): r"lint-tokens: [\d,]+ bytes read",
    ("tokenize", "chat.jsonl", "--tokenizer", "t.model", "-o", "shards"): r"tokenize: [\d,]+ of [\d,]+ bytes",
    ("tokenizer", "train", "raw.jsonl", "-o", "t2.model", "--vocab-size", "286"): r"tokenizer train: ",
    (*COLLECT, "-o", "o.jsonl"): r"collect: [\d,]+ of [\d,]+ bytes",
    ("evaluate", "chat.jsonl", "--predictions", "predictions.jsonl"): r"evaluate: [\d,]+ bytes read",
    ("export-rationales", "labelled.jsonl", "-o", "llm"): r"export-rationales: [\d,]+ bytes read",
}  # fmt: skip


@pytest.mark.medium
def test_long_commands_print_a_line_every_half_minute(run, tmp_path, monkeypatch):
    """Where standard error is a file, somebody sees that the work goes on; --quiet and --json stay clean."""
    raw = [{"question": f"{n} + 1?", "answer": f"So\n#### {n + 1}"} for n in range(1100)]
    write_jsonl(tmp_path / "raw.jsonl", raw)
    (tmp_path / "raw.csv").write_text("question,answer\n" + "".join(f"{n},{n}\n" for n in range(1100)))
    write_jsonl(tmp_path / "chat.jsonl", [chat("Which? (a) tin (b) iron", "a", id="q")])
    write_jsonl(tmp_path / "predictions.jsonl", [{"id": "q", "prediction": "a"}])
    write_jsonl(tmp_path / "examples.jsonl", [EXAMPLE])
    labelled = LABELLED | {"rationales": {"flan-t5": "It is tin."}, "status": {}}
    write_jsonl(tmp_path / "labelled.jsonl", [labelled])
    write_jsonl(tmp_path / "journal.jsonl", [response(id="q", response="(a)")])
    assert run("tokenizer", "train", "raw.jsonl", "-o", "t.model", "--vocab-size", "286").code == 0
    monkeypatch.setattr(progress, "time", Clock())
    for command, expected in LONG_COMMANDS.items():
        done = run(*command)
        assert re.search(f"^{expected}", done.err, re.M), (command, done.err)
        if command[0] == "tokenize":
            continue  # its shards are there already
        for flag in ("--quiet", "--json"):
            if flag in run(*command[: 1 + (command[0] == "tokenizer")], "--help").out.decode():
                quiet = run(*command, flag)
                assert not re.search(f"^{expected}", quiet.err, re.M), (command, flag, quiet.err)


def test_a_worker_process_prints_no_progress(monkeypatch, capsys):
    """A process that is forked while a command runs has its parent's state, and says nothing."""
    monkeypatch.setattr(progress, "time", Clock())
    progress._pulse.start()
    count = progress._Count("merge")
    count("bytes", 5, 10)
    assert capsys.readouterr().err.startswith("merge: 5 of 10 bytes")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    count("bytes", 5, 10)
    assert capsys.readouterr().err == ""
