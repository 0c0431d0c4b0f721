"""The linter: each planted fault is found, by its kind and row, and nothing where nothing is wrong."""

# Faults say by their names what they plant, and take what they do not need, as all of them are called alike.
# ruff: noqa: D103, ARG001

import json
import re
from functools import partial
from html.parser import HTMLParser

import pytest
from hypothesis import given
from typer.testing import CliRunner

from dataprep.cli.app import app
from dataprep.cli.token_rows import with_marks
from dataprep.core.errors import InputError, UsageError
from dataprep.tokens.formats.loading import chat_format_of
from dataprep.tokens.lint_files import lint_files
from dataprep.tokens.lint_page import page
from dataprep.tokens.options import Encoded, ShardOptions, spans_of, truncate
from dataprep.tokens.tokenizers import loading as tokenizers
from dataprep.tokens.tokenizers.training import train_tokenizer
from dataprep.tokens.views import Token
from tests import chat_templates as templates
from tests.tokens.test_chat_formats import DUMMY, TOY, chat, chats
from tests.tokens_fakes import encode, encode_one, problems_of

LAYOUT = chat_format_of("llama3")
ROW = chat("What is it?", "It is\nthis: é.", "And then?", "Nothing.", system="Be brief.")
EOT = TOY.special("<|eot_id|>")
LENGTHS, UNKNOWN = "ids and mask differ in length", "unknown token"
UNTRAINED, OPEN_END, CUT = "no token in the loss", "end of turn not in the loss", "cut answer"
OTHER_TEXT, SPECIAL = "text in the loss is not the answer", "special token inside content"
NAMED = "name of a special token inside content"


def kinds(encoded, row=ROW, chat_format=LAYOUT, tokenizer=TOY):
    """The kinds of what is found."""
    return [finding.kind for finding in problems_of(encoded, row, tokenizer, chat_format)]


def planted(change, row=ROW):
    """A sound row with a fault in it: ``change`` gets ids, mask and the answers' places."""
    encoded = encode_one(TOY, LAYOUT, row)
    ids, mask = list(encoded.ids), bytearray(encoded.mask)
    change(ids, mask, spans_of(mask))
    return Encoded(ids, mask)


def insert(ids, mask, place, number, trained):
    """Put a token between others."""
    ids.insert(place, number)
    mask.insert(place, trained)


def nothing_trained(ids, mask, spans):
    mask[:] = bytes(len(mask))


def mask_too_short(ids, mask, spans):
    mask.pop()


def foreign_id(ids, mask, spans):
    ids[5] = TOY.vocab_size


def negative_id(ids, mask, spans):
    ids[5] = -1


def last_end_untrained(ids, mask, spans):
    mask[spans[1][1] - 1] = 0


def first_end_untrained(ids, mask, spans):
    mask[spans[0][1] - 1] = 0


def first_end_missing(ids, mask, spans):
    del ids[spans[0][1] - 1], mask[spans[0][1] - 1]


def last_end_missing(ids, mask, spans):
    ids.pop()
    mask.pop()


def mask_begins_late(ids, mask, spans):
    mask[spans[0][0]] = 0


def mask_begins_early(ids, mask, spans):
    mask[spans[0][0] - 1] = 1


def mask_ends_early(ids, mask, spans):
    mask[spans[0][1] - 3 : spans[0][1]] = bytes(3)


def question_trained(ids, mask, spans):
    start = spans[0][1] + 10
    mask[start : start + 4] = bytes([1]) * 4


def end_inside_answer(ids, mask, spans):
    insert(ids, mask, spans[0][0] + 2, EOT, 1)


def end_inside_answer_untrained(ids, mask, spans):
    insert(ids, mask, spans[0][0] + 2, EOT, 0)


def end_inside_question(ids, mask, spans):
    insert(ids, mask, spans[0][1] + 10, EOT, 0)


def begin_in_place_of_a_letter(ids, mask, spans):
    ids[spans[0][0] + 1] = TOY.special("<|begin_of_text|>")


def cut_in_the_answer(ids, mask, spans):
    del ids[spans[1][1] - 3 :], mask[spans[1][1] - 3 :]


def cut_inside_a_letter(ids, mask, spans):
    end = spans[0][1] - 3  # é has two bytes
    del ids[end:], mask[end:]


def cut_and_closed(ids, mask, spans):
    del ids[spans[1][1] - 4 : -1], mask[spans[1][1] - 4 : -1]


def last_answer_missing(ids, mask, spans):
    del ids[spans[0][1] :], mask[spans[0][1] :]


def other_answer(ids, mask, spans):
    ids[spans[1][0]] = ord("M")


# The fault, the kinds found with the messages, and without.
FAULTS = [
    (nothing_trained, {UNTRAINED}, {UNTRAINED}),
    (mask_too_short, {LENGTHS}, {LENGTHS}),
    (foreign_id, {UNKNOWN}, {UNKNOWN}),
    (negative_id, {UNKNOWN}, {UNKNOWN}),
    (last_end_untrained, {OPEN_END}, {OPEN_END}),
    (first_end_untrained, {OPEN_END}, {OPEN_END}),
    (first_end_missing, {OPEN_END, SPECIAL}, {OPEN_END}),
    (last_end_missing, {CUT}, {CUT}),
    (mask_begins_late, {OTHER_TEXT}, set()),
    (mask_begins_early, {OTHER_TEXT}, set()),
    (mask_ends_early, {OTHER_TEXT, OPEN_END}, {OPEN_END}),
    (question_trained, {OTHER_TEXT, OPEN_END}, {OPEN_END}),
    (end_inside_answer, {SPECIAL}, {SPECIAL}),
    (end_inside_answer_untrained, {SPECIAL, OPEN_END, OTHER_TEXT}, {OPEN_END}),
    (end_inside_question, {SPECIAL}, set()),
    (begin_in_place_of_a_letter, {SPECIAL}, {SPECIAL}),
    (cut_in_the_answer, {CUT}, {CUT}),
    (cut_inside_a_letter, {CUT}, {CUT}),
    (cut_and_closed, {CUT}, set()),
    (last_answer_missing, {CUT}, set()),
    (other_answer, {OTHER_TEXT}, set()),
]


@pytest.mark.parametrize(
    ("fault", "expected", "alone"), FAULTS, ids=lambda value: getattr(value, "__name__", "")
)
def test_each_planted_fault_is_found(fault, expected, alone):
    """By its kind, beside the messages, and in a finished row as far as the row itself shows it."""
    encoded = planted(fault)
    assert set(kinds(encoded)) == expected
    assert set(kinds(encoded, None)) == alone


@pytest.mark.medium
@pytest.mark.parametrize("name", ["llama3", "chatml", "llama2"])
@pytest.mark.parametrize("tokenizer", [TOY, DUMMY], ids=["bytes", "dummy prefix"])
@given(row=chats())
def test_nothing_is_found_in_what_the_layout_makes(name, tokenizer, row):
    """No false alarm on any contents, but for those that name a special token."""
    chat_format = chat_format_of(name)
    encoded = encode_one(tokenizer, chat_format, row)
    named = any(special in message["content"] for message in row for special in tokenizer.special_tokens)
    assert set(kinds(encoded, row, chat_format, tokenizer)) == ({NAMED} if named else set())
    assert kinds(encoded, None, chat_format, tokenizer) == []


@pytest.mark.medium
@given(row=chats())
def test_every_cut_is_found(row):
    """However a row is truncated, an answer that was cut is."""
    encoded = encode_one(TOY, LAYOUT, row)
    for limit in range(encoded.mask.index(1) + 1, len(encoded.ids)):
        done, cut = truncate(encoded, limit, "truncate")
        assert CUT in kinds(done, row)
        assert kinds(done, row).count(CUT) == cut


def test_a_template_whose_marks_leave_the_end_of_turn_out_is_found(tmp_path):
    """The most common fault of published templates: a model that never learns to stop."""
    template = templates.LLAMA3_MARKED.replace(
        "{% generation %}{{ message['content'] + '<|eot_id|>' }}{% endgeneration %}",
        "{% generation %}{{ message['content'] }}{% endgeneration %}{{ '<|eot_id|>' }}",
    )
    assert template != templates.LLAMA3_MARKED
    chat_format = chat_format_of("template", path=templates.model_directory(tmp_path / "m", template))
    assert kinds(encode_one(TOY, chat_format, ROW), ROW, chat_format) == []
    ((kind, detail),) = chat_format.notes
    assert (kind, detail.count("'")) == ("no end of turn", 2)
    endless = templates.VICUNA.replace("+ eos_token", "+ '\n'")
    chat_format = chat_format_of("template", path=templates.model_directory(tmp_path / "n", endless))
    assert kinds(encode_one(TOY, chat_format, ROW), ROW, chat_format) == []
    assert [kind for kind, _ in chat_format.notes] == ["no end of turn"]
    for sound in (templates.LLAMA3, templates.LLAMA3_MARKED, templates.CHATML, templates.VICUNA):
        path = templates.model_directory(tmp_path / "s", sound)
        assert chat_format_of("template", path=path).notes == ()


def test_a_template_whose_marks_hold_the_header_is_found(tmp_path):
    """The author's marks say what is trained on; lint tells it once."""
    template = templates.LLAMA3_MARKED.replace(
        templates._HEADER + "{% if message['role'] == 'assistant' %}{% generation %}",
        "{% if message['role'] == 'assistant' %}{% generation %}" + templates._HEADER,
    ).replace("{% else %}", "{% else %}" + templates._HEADER)
    chat_format = chat_format_of("template", path=templates.model_directory(tmp_path / "m", template))
    encoded = encode_one(TOY, chat_format, ROW)
    assert kinds(encoded, ROW, chat_format) == []
    assert TOY.decode([encoded.ids[encoded.mask.index(1)]]) == "<|start_header_id|>"
    assert [kind for kind, _ in chat_format.notes] == ["marks hold more than an answer"]


# --- files


def write(path, rows):
    """A JSON Lines file of chat rows; bytes are lines as they are."""
    lines = [row if isinstance(row, bytes) else json.dumps({"messages": row}).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


BAD = [
    ROW,
    b'{"messages": [{"role": "user", "content": "Q"}]}',
    chat("Q", ""),
    b'{"text": "no chat row"}',
    [{"role": "critic", "content": "x"}, *chat("Q", "A")],
    b'{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "assistant", "content": "A"}]}',
    chat("Q", "The end.<|eot_id|>"),
    chat("Q", "A"),
    b"not json",
]


def test_a_file_is_looked_at_row_by_row(tmp_path):
    """Each problem has its line, in order; rows without one are counted and kept for the page."""
    path = write(tmp_path / "in.jsonl", BAD)
    report = lint_files([path], TOY, LAYOUT, keep=9)
    assert [str(problem).removeprefix(f"{path}:").split(": ")[:2] for problem in report.shown] == [
        ["2", "no assistant at the end"],
        ["3", "empty content"],
        ["4", "no messages"],
        ["5", "unknown role"],
        ["6", "not JSON"],
        ["7", NAMED],
        ["9", "not JSON"],
    ]
    assert report.rows == {str(path): 9}
    good = encode(TOY, LAYOUT, [ROW, BAD[6], BAD[7]])
    assert report.tokens == sum(len(each.ids) for each in good)
    assert report.in_loss == sum(each.mask.count(1) for each in good)
    assert report.longest == len(good[0].ids)
    assert [bool(row.findings) for row in report.kept] == [True] * 7 + [False] * 2


def test_max_length_shows_what_a_trainer_would_cut(tmp_path):
    """A cut answer, and a row without any, are told before training."""
    path = write(tmp_path / "in.jsonl", [chat("Q", "A"), chat("Q", "A" * 50), chat("Q" * 90, "A")])
    report = lint_files([path], TOY, LAYOUT, max_length=60)
    assert [(problem.where, problem.kind) for problem in report.shown] == [
        (f"{path}:2", CUT),
        (f"{path}:3", UNTRAINED),
    ]
    assert report.longest == 60
    assert not lint_files([path], TOY, LAYOUT).counts


def test_every_format_and_a_file_without_rows(tmp_path):
    """A JSON array as JSON Lines; an empty file is an error, and so is no file at all."""
    rows = [{"messages": ROW}, {"messages": chat("Q")}, 7]
    (tmp_path / "in.json").write_text(json.dumps(rows), encoding="utf-8")
    report = lint_files([tmp_path / "in.json"], TOY, LAYOUT)
    assert lint_files(str(tmp_path / "in.json"), TOY, LAYOUT) == report, "one path is no list of letters"
    assert [problem.where.rpartition(": ")[2] for problem in report.shown] == ["row 2", "row 3"]
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(InputError, match="the file is empty"):
        lint_files([tmp_path / "empty.jsonl"], TOY, LAYOUT)
    with pytest.raises(UsageError, match="nothing to lint"):
        lint_files([], TOY, LAYOUT)
    for value in ("x", 0, 2.5):
        with pytest.raises(UsageError, match=r"--max-length .*must be a whole number, 1 or more"):
            lint_files([tmp_path / "in.json"], TOY, LAYOUT, max_length=value)


def test_a_tokenizer_and_a_format_can_be_given_by_name(tmp_path):
    """The linter takes what `tokenize_files` takes: paths, names, a template and the options of shards."""
    path = write(tmp_path / "in.jsonl", [chat(" Q ", "A"), chat("Q", "A" * 50)])
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_bytes(train_tokenizer(["What is it? " + "x" * n for n in range(60)], 275, "bpe"))
    loaded = tokenizers.load_tokenizer(tokenizer)
    for strip in (False, True):
        options = ShardOptions(strip=strip, date="26 Jul 2024", max_length=120)
        expected = lint_files(
            path, loaded, chat_format_of("llama3", strip=strip, date="26 Jul 2024"), max_length=120
        )
        assert lint_files(path, tokenizer, "llama3", options=options) == expected
        assert lint_files(path, str(tokenizer), options=options) == expected
        assert expected.tokens
    with pytest.raises(UsageError, match="there is no chat format 'lama'"):
        lint_files(path, tokenizer, "lama")


def test_only_the_first_of_each_kind_are_shown(tmp_path):
    """All are counted; a file that is wrong throughout does not flood a terminal."""
    path = write(tmp_path / "in.jsonl", [chat("Q", "<s>")] * 600)
    report = lint_files([path], TOY, LAYOUT, keep=3)
    assert (report.counts[NAMED], len(report.shown), len(report.kept)) == (600, 20, 3)


# --- the page


class Page(HTMLParser):
    """The tags of a page, and its tokens: classes and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tokens, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Note a tag, and a token where it begins one."""
        self.tags.append(tag)
        if tag == "i" and dict(attributes).get("title"):
            self.inside = True
            self.tokens.append([dict(attributes).get("class") or "", ""])

    def handle_endtag(self, tag):
        """Note that a tag ends."""
        self.tags.append(f"/{tag}")
        self.inside = self.inside and tag != "i"

    def handle_data(self, data):
        """Add a text to its token."""
        if self.inside:
            self.tokens[-1][1] += data


def test_the_page_shows_each_token_by_its_mask(tmp_path):
    """Special and trained tokens are told apart, and nothing of a content is markup."""
    row = chat("<script>alert(1)</script>", "é\x1b</i>")
    report = lint_files([write(tmp_path / "in.jsonl", [row])], TOY, LAYOUT, keep=1)
    text = page(report, TOY)
    shown = Page(text)
    encoded = encode_one(TOY, LAYOUT, row)
    assert len(shown.tokens) == len(encoded.ids)
    kinds_shown = [kinds for kinds, _ in shown.tokens]
    assert [("t" in kind) for kind in kinds_shown] == [bool(each) for each in encoded.mask]
    assert [("s" in kind) for kind in kinds_shown] == [each >= 300 for each in encoded.ids]
    assert "".join(text for _, text in shown.tokens[-8:]) == "\\xc3\\xa9\\x1b</i><|eot_id|>"
    assert text.count("<b>\\xc3</b>") == 1  # told apart from a text that has a backslash in it
    assert "script" not in shown.tags
    assert not re.search(r'(src|href|url|@import|https?:)\s*[=(:/"]', text)
    assert text == page(report, TOY)
    assert "prefers-color-scheme: dark" in text


def test_the_page_shows_problems_first_and_says_what_it_leaves_out(tmp_path):
    """Rows are limited; those that cannot be encoded are there with their reason."""
    report = lint_files([write(tmp_path / "in.jsonl", BAD)], TOY, LAYOUT, keep=3)
    text = page(report, TOY)
    assert text.count("<section>") == 3
    assert "no assistant at the end" in text
    assert "It has no tokens." in text
    assert "3 of 9 rows are shown" in text


# --- the command


@pytest.fixture
def lint(monkeypatch, tmp_path):
    """Run the command in this process, with a tokenizer of bytes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tokenizers, "load_tokenizer", lambda _: TOY)

    def run(*arguments):
        return CliRunner().invoke(app, ["lint-tokens", *map(str, arguments), "--tokenizer", "t"])

    return run


def test_the_command_fails_with_row_numbers(lint, tmp_path):
    """Problems on standard output, the summary on standard error, exit code 1."""
    write(tmp_path / "in.jsonl", BAD)
    done = lint("in.jsonl")
    assert done.exit_code == 1
    assert "in.jsonl:3: empty content" in done.stdout
    assert re.search(r"^9 rows, \d+ tokens, \d+ in the loss, .*; 7 problems \(not JSON: 2", done.stderr)
    report = json.loads(lint("in.jsonl", "--json").stdout)
    assert report["problems"][NAMED] == 1
    assert report["tokens"] > report["in_loss"] > 0


def test_the_command_is_silent_where_nothing_is_wrong(lint, tmp_path):
    """Exit code 0, nothing on standard output; the page is written all the same."""
    write(tmp_path / "in.jsonl", [ROW])
    for options in (
        (),
        ("--chat-format", "chatml"),
        ("--chat-format", "llama2", "--strip"),
        ("--date", "26 Jul 2024"),
    ):
        done = lint("in.jsonl", "--html", "rows.html", "--quiet", *options)
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    shown = Page((tmp_path / "rows.html").read_text("utf-8")).tokens
    assert "Cutting Knowledge Date" in "".join(text for _, text in shown)
    done = lint("in.jsonl", "--html", "-")
    assert done.stdout.startswith("<!DOCTYPE html>")
    templates.model_directory(tmp_path / "m", templates.CHATML)
    assert lint("in.jsonl", "--chat-format", "template", "--template", "m").exit_code == 0
    assert lint("in.jsonl", "--max-length", "60").exit_code == 1


# --- what tokenize says of the same rows

PLANTED = {
    UNTRAINED: (chat("Q" * 40, "A"), ["--max-length", "30"]),
    CUT: (chat("Q", "A" * 40), ["--max-length", "60"]),
    NAMED: (chat("Q", "The end.<|eot_id|>"), []),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_the_commands_find_each_kind(lint, tmp_path, kind):
    """With its line, among sound rows; and tokenize refuses that row with the same words."""
    row, options = PLANTED[kind]
    write(tmp_path / "in.jsonl", [chat("Q", "A"), row, chat("Q", "A")])
    done = lint("in.jsonl", *options)
    assert done.exit_code == 1
    place = "in.jsonl:2: "
    assert {line[: len(place + kind)] for line in done.stdout.splitlines()} == {place + kind}
    made = CliRunner().invoke(app, ["tokenize", "in.jsonl", "-o", "out", "--tokenizer", "t", *options])
    assert made.exit_code == 1
    expected = "too many tokens" if "--max-length" in options else kind
    assert str(made.exception).startswith(f"{place}{expected}: ")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_what_the_template_does_is_told_once(lint, tmp_path):
    """Marks that hold more than the answers are their author's word, and no problem of any row."""
    marks = "{% generation %}{{ 'Answer: ' + message['content'] }}{% endgeneration %}{{ '<|eot_id|>' }}"
    plain = "{% generation %}{{ message['content'] + '<|eot_id|>' }}{% endgeneration %}"
    assert plain in templates.LLAMA3_MARKED
    templates.model_directory(tmp_path / "m", templates.LLAMA3_MARKED.replace(plain, marks))
    write(tmp_path / "in.jsonl", [ROW, ROW])
    options = ["in.jsonl", "--chat-format", "template", "--template", "m"]
    done = lint(*options)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.count("no end of turn: ") == done.stderr.count("marks hold more than an answer: ") == 1
    assert "'Answer: " in done.stderr
    assert len(json.loads(lint(*options, "--json").stdout)["notes"]) == 2
    made = CliRunner().invoke(app, ["tokenize", *options, "-o", "out", "--tokenizer", "t"])
    assert made.exit_code == 0


def test_a_row_that_its_template_cannot_lay_out_has_its_line(lint, tmp_path):
    """A template that refuses some orders of roles is no end of the whole run."""
    template = templates.LLAMA3.replace(
        "{{ bos_token }}",
        "{{ bos_token }}{% if messages[3:] %}{{ raise_exception('Two turns.') }}{% endif %}",
    )
    templates.model_directory(tmp_path / "m", template)
    write(tmp_path / "in.jsonl", [chat("Q", "A"), chat("Q", "A", "q", "a"), chat("Q", "A")])
    done = lint("in.jsonl", "--chat-format", "template", "--template", "m")
    assert done.exit_code == 1
    assert done.stdout.startswith("in.jsonl:2: the chat template refuses it: Two turns.")
    assert "3 rows" in done.stderr


def test_the_commands_read_the_same_template(lint, tmp_path):
    """Given a tokenizer's file, both take the template that lies beside it; and only with its chat format."""
    templates.model_directory(tmp_path, templates.CHATML)
    write(tmp_path / "in.jsonl", [ROW])
    given = ["tokenize", "in.jsonl", "-o", "out", "--tokenizer", "t"]
    assert lint("in.jsonl", "--chat-format", "template").exit_code == 0
    assert CliRunner().invoke(app, [*given, "--chat-format", "template"]).exit_code == 0
    refused = CliRunner().invoke(app, [*given, "--template", "m"])
    assert isinstance(refused.exception, UsageError)
    assert "--template needs --chat-format template" in str(refused.exception)


# --- rows in the terminal

ANSI = re.compile("\x1b\\[[0-9;]*m")


@pytest.fixture
def terminal(monkeypatch):
    """Return a function that makes standard output what rich takes for a terminal of a kind."""
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    return partial(monkeypatch.setenv, "TERM")


def runs_of(text):
    """What is in the loss in coloured text: runs on a green background, without line breaks."""
    runs, green = [""], False
    for code, piece in re.findall("(?:\x1b\\[([0-9;]*)m)?([^\x1b]*)", text.replace("\n", "")):
        green = green if not code else re.search(r"\b(42|102|48;5;22|48;5;28)\b", code) is not None
        # rich closes each style before the next one.
        if piece:
            runs[-1] += piece if green else ""
            runs += [""] * (not green)
    return [run for run in runs if run]


def test_rows_are_shown_with_marks_around_the_loss(lint, tmp_path):
    """Without a terminal: newlines are visible, lines end there, and no text of a row looks like a mark."""
    header = "<|start_header_id|>{}<|end_header_id|>\\n\\n\n"  # one token
    user, assistant = header.format("user"), header.format("assistant")
    write(tmp_path / "in.jsonl", [chat("a\nb ⟦c⟧", "é\x1b[2J\n"), chat("Q", "A", "Q", "B")])
    done = lint("in.jsonl", "--show", 2)
    assert done.exit_code == 0
    assert done.stdout == (
        "in.jsonl:1: 40 tokens, 8 in the loss\n"
        f"<|begin_of_text|>{user}a\\n\n"
        f"b \\xe2\\x9f\\xa6c\\xe2\\x9f\\xa7<|eot_id|>{assistant}⟦\\xc3\\xa9\\x1b[2J\\n\n<|eot_id|>⟧\n"
        "in.jsonl:2: 47 tokens, 4 in the loss\n"
        f"<|begin_of_text|>{user}Q<|eot_id|>{assistant}⟦A<|eot_id|>⟧{user}Q<|eot_id|>{assistant}⟦B<|eot_id|>⟧\n"
    )


@pytest.mark.parametrize("kind", ["xterm-256color", "xterm"])
def test_rows_are_shown_in_colours_on_a_terminal(lint, tmp_path, terminal, kind):
    """The same text as without colours; what is green is what is between the marks, also with 16 colours."""
    terminal(kind)
    write(tmp_path / "in.jsonl", [chat("Q\x1b[31m", "It is.\nYes.", "And?", "No.")])
    coloured = lint("in.jsonl", "--show", 1).stdout
    key, head, *lines = coloured.splitlines()
    assert ANSI.sub("", key) == " in the loss    not in the loss    special token "
    text = ANSI.sub("", "\n".join(lines))
    assert "\x1b" not in text
    assert "\\x1b[31m" in text
    assert runs_of("\n".join(lines)) == ["It is.\\nYes.<|eot_id|>", "No.<|eot_id|>"]
    plain = CliRunner(env={"FORCE_COLOR": None, "NO_COLOR": "1"}).invoke(
        app, ["lint-tokens", "in.jsonl", "--tokenizer", "t", "--show", "1"]
    )
    assert plain.stdout.replace("⟦", "").replace("⟧", "") == f"{head}\n{text}\n"


def test_marks_in_a_whole_token_are_escaped():
    """A tokenizer with a token for the mark itself: it is written as an escape."""
    tokens = [
        Token(1, 7, False, False, (("a ⟦", False),), False),
        Token(2, 8, False, True, (("b⟧", False), ("\\n", True)), True),
    ]
    assert with_marks(tokens) == "a \\u27e6⟦b\\u27e7\\n⟧"
    assert with_marks(tokens[:1]) == "a \\u27e6"
    assert with_marks([]) == ""


def test_problems_come_first_and_the_page_keeps_its_own_number(lint, tmp_path):
    """`--show` and `--rows` do not change each other; rows without tokens are named."""
    write(tmp_path / "in.jsonl", BAD)
    done = lint("in.jsonl", "--show", 3, "--html", "p.html", "--rows", 2)
    assert done.exit_code == 1
    assert [line for line in done.stdout.splitlines() if "tokens" in line] == [
        f"in.jsonl:{line}: it has no tokens" for line in (2, 3, 4)
    ]
    assert (tmp_path / "p.html").read_text("utf-8").count("<section>") == 2
    assert "2 of 9 rows" in (tmp_path / "p.html").read_text("utf-8")
    lint("in.jsonl", "--html", "q.html", "--rows", 2)
    assert (tmp_path / "q.html").read_bytes() == (tmp_path / "p.html").read_bytes()


def test_two_kinds_of_output_are_refused(lint, tmp_path):
    """A page, rows and JSON cannot share standard output."""
    write(tmp_path / "in.jsonl", [ROW])
    for flags in (["--show", 1, "--json"], ["--show", 1, "--html", "-"], ["--html", "-", "--json"]):
        error = lint("in.jsonl", *flags).exception
        assert isinstance(error, UsageError)
        assert "both write to standard output" in str(error)
