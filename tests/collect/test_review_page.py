"""The page of review: what a browser reads is the figures and the data's own texts, and nothing else."""

import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep import review_files, write_rows
from dataprep.collect.review.page import page
from dataprep.collect.review.replies import Answer, CurrentReplies, References, Reply
from dataprep.collect.review.review import reviewed
from dataprep.core.errors import FileError, UsageError, visible
from dataprep.datasets.source_rows import GoldRow
from tests.collect.test_review import LETTERS, gold_row, response
from tests.helpers import listing
from tests.tables import table

UGLY = (
    "<script>alert(1)</script>", "</svg></td>", "&amp; & &lt;", "\"'><img src=x onerror=alert(1)>", "$x^2$",
    r"\$5", "\x00\x1b[31m", "\ud800", "\u202egnp", "שלום", "👩‍🚀", "a\r\n\tb", "<!--", "]]>", "\ufffe",
    "x" * 300, "",
)  # fmt: skip
PLAIN = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "footer", "section", "h1", "h2", "h3",
    "p", "code", "b", "i", "bdi", "div", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "figure",
    "figcaption",
    "svg", "g", "path", "text", "defs", "clipPath", "rect", "use", "tspan",
}  # fmt: skip


class Reader(HTMLParser):
    """Reads a page as a browser's parser would, and keeps its elements, attributes and texts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], Counter(), [], []
        self.feed(text)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        """An element begins."""
        self.tags[tag] += 1
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)
        if tag in {"h2", "td", "th", "text", "code"}:
            self.texts.append((tag, ""))

    def handle_endtag(self, tag):
        """An element ends, and no other is open in it."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Text belongs to the cell, heading or label it stands in."""
        for tag in reversed(self.open):
            if tag in {"h2", "td", "th", "text", "code"}:
                self.texts[-1] = (tag, self.texts[-1][1] + data)
                break

    def handle_comment(self, data):
        """The page has none, so one came out of the data."""
        raise AssertionError(f"a comment: {data}")

    def all(self, tag):
        """The texts of the elements of one kind."""
        return [text for name, text in self.texts if name == tag]


def checked(text):
    """The page's reader, when it was found to be one closed document that loads nothing."""
    found = Reader(text)
    assert {tag.lower() for tag in PLAIN} >= set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "src"]
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    references = [value for name, value in found.attributes if name in {"href", "xlink:href"}]
    references += re.findall(r"url\((.*?)\)", text)
    assert {reference.removeprefix("#") for reference in references} == set(ids)
    assert "@import" not in text
    return found


def made(replies, gold=None):
    """The page about some replies: (teacher, id, text or letter)."""
    journal = CurrentReplies(References((gold or {}).values()))
    for teacher, own, letter, excerpt in replies:
        journal.add(Reply(teacher, own, "k", 0, Answer("ok", letter, 4, None if letter else excerpt)))
    return page(reviewed(journal, ["a.jsonl", "b&c.jsonl"], with_gold=gold is not None))


def journal_page(folder, rows, gold=None):
    """The page about a journal, through files."""
    write_rows(rows, str(folder / "r.jsonl"))
    if gold is not None:
        write_rows(gold, str(folder / "g.jsonl"))
    review_files([folder / "r.jsonl"], gold=gold and folder / "g.jsonl", page=folder / "page.html")
    return (folder / "page.html").read_text("utf-8")


any_text = st.text(max_size=30) | st.sampled_from(UGLY)


@pytest.mark.medium
@settings(max_examples=15)
@given(
    st.lists(any_text, min_size=1, max_size=3, unique=True),
    st.lists(st.tuples(any_text, any_text), max_size=5),
)
def test_any_text_is_read_back_as_it_is(names, replies):
    """Whatever teachers are called, and say about whatever ids: it is text on the page, and in the plots."""
    rows = [(name, "q", "b", None) for name in names]
    rows += [(names[0], own, None, reply) for own, reply in dict(replies).items() if own != "q"]
    found = checked(made(rows, {"q": GoldRow("q", "?", list("wxyz"), 1)}))
    assert found.all("h2")[1 : len(names) + 1] == [visible(name) for name in names]
    for name in names:
        shown = visible(name)
        shown = shown if len(shown) <= 70 else shown[:69] + "…"
        assert found.all("text").count(shown) >= 2 or not shown
    cells = [text for tag, text in found.texts if tag in {"td", "th"}]
    unread = [(own, reply) for own, reply in dict(replies).items() if own != "q"]
    expected = [
        cell for own, reply in unread for cell in (visible(own), "", visible(reply, lines=True) or "nothing")
    ]
    start = cells.index("reply", cells.index("unread")) + 1 if unread else 0
    assert cells[start : start + len(expected)] == expected


@settings(max_examples=10)
@given(st.lists(st.text(max_size=20) | st.sampled_from(UGLY), max_size=6))
def test_any_journal_gives_a_page(tmp_path_factory, texts):
    """Any replies in a journal end up in a page without a script in it."""
    rows = [response("ok")]
    for number, text in enumerate(texts):
        plain = text.encode("utf-8", "replace").decode()
        rows.append(response(f"{number} {plain}", plain, f"t{number % 2} {plain[:5]}"))
    found = checked(journal_page(tmp_path_factory.mktemp("page"), rows))
    assert not found.tags["script"]


@pytest.mark.medium
@table("text", UGLY[:-1])
def test_ugly_texts_appear_literally(text):
    """Markup, mathtext, control characters and surrogates stand on the page as text, in plots too."""
    found = checked(made([(text, "1", "a", None), (text, text, None, text), ("other", "1", "b", None)]))
    assert visible(text)[:60] in "".join(found.all("text"))
    assert visible(text) in found.all("h2")
    assert visible(text, lines=True) in found.all("td")
    assert visible(text) in found.all("th")


@pytest.mark.medium
@pytest.mark.parametrize("letters", [2, 5, 26])
@pytest.mark.parametrize("teachers", [1, 10])
def test_pages_of_any_size(tmp_path, letters, teachers):
    """Two to twenty-six letters, one to ten teachers with long names: every number is there."""
    gold = [gold_row(f"q{n}", LETTERS[n % letters], letters) for n in range(60)]
    names = [f"organisation/{'a-long-name-' * 8}{number}" for number in range(teachers)]
    rows = [
        response(f"q{n}", LETTERS[n * (place + 1) % letters], name)
        for place, name in enumerate(names)
        for n in range(60)
    ]
    found = checked(journal_page(tmp_path, rows, gold))
    assert found.tags["svg"] == teachers + 2
    assert [text for text in found.all("h2") if text in names] == names
    assert found.tags["h2"] == teachers + 1 + (teachers > 1)
    assert found.all("th").count(LETTERS[letters - 1]) == 3 * teachers
    pairs = teachers * (teachers - 1) // 2
    assert found.all("td").count("60") >= pairs


def test_the_page_has_the_figures(tmp_path):
    """Outcomes, letters, tests, matrix, other replies and agreement stand in the page as on the terminal."""
    rows = [response(f"q{n}", "abbbc"[n % 5]) for n in range(50)]
    rows += [response(f"q{n}", "abbcc"[n % 5], "llama") for n in range(50)] + [response("q50", "Who knows?")]
    rows += [response("q51", None), response("q51", None)]
    text = journal_page(tmp_path, rows, [gold_row(f"q{n}", "abbbd"[n % 5]) for n in range(51)])
    found = checked(text)
    rows_of = "|".join(found.all("th") + found.all("td"))
    for part in ("98.0%", "78.4%", "30 of 30 (100.0%)", "12.5", "Who knows?", "0.688", "80.0%"):
        assert part in rows_of, part
    for part in (
        "52 questions, 2 teachers, 103 lines, out of",
        "51 of 52 ids have a gold row; 1 without: q51.",
        "40 are the gold letter: 80.0% of 50 letters read, 78.4% of 51 replies, 78.4% of 51 questions asked.",
        "Against equal shares: χ² = 38.00, 3 degrees of freedom, p &lt; 0.0001.",
        "Against the gold answers: no test, since c is answered and never expected.",
        "1 of 53 lines gave way to others",
    ):
        assert part in text, part
    assert {"answered", "gold", "equal shares", "right", "wrong", "no letter", "failed"} <= set(
        found.all("text")
    )


def test_failures_alone_make_a_page(tmp_path):
    """A journal of an outage has a page with outcomes only."""
    found = checked(journal_page(tmp_path, [response("1", None), response("2", None)]))
    assert found.tags["svg"] == 1


@pytest.mark.medium
def test_the_same_figures_give_the_same_bytes(tmp_path):
    """Neither the process nor its hash seed are in the page."""
    rows = [response(str(n), "abcd"[n % 4], f"t{n % 3}") for n in range(40)] + [response("x", "$x^2$ é 👩‍🚀")]
    first = journal_page(tmp_path, rows, [gold_row(str(n)) for n in range(40)])
    for seed in ("1", "2"):
        done = subprocess.run(
            [
                sys.executable,
                "-W",
                "error",
                "-m",
                "dataprep",
                "review",
                "r.jsonl",
                "--gold",
                "g.jsonl",
                "-o",
                "-",
            ],
            cwd=tmp_path,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert done.stdout.decode() == first.replace(str(tmp_path / "r.jsonl"), "r.jsonl")
        assert done.stderr == b""


def test_a_page_needs_no_optional_library(tmp_path, monkeypatch):
    """The charts are written here: a page is made where matplotlib is not installed."""
    write_rows([response("1")], str(tmp_path / "r.jsonl"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    review_files([tmp_path / "r.jsonl"], page=tmp_path / "page.html")
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_the_charts_have_the_lengths_of_the_figures():
    """Bars divide the width by their counts, and stand as high above the axis as their counts are."""
    rows = [("t", str(n), letter, None) for n, letter in enumerate("abbbcccccc")]
    gold = {str(n): GoldRow(str(n), "?", list("wxyz"), 1) for n in range(10)}
    text = made(rows, gold)
    bars = re.findall(
        r'<rect [^>]* width="([^"]*)" height="([^"]*)" style="[^"]*"><title>([^<]*)</title>', text
    )
    width = {hint: float(width) for width, _, hint in bars}
    height = {hint: float(height) for _, height, hint in bars}
    assert width["right: 3 of 10 (30.0%)"] == pytest.approx(0.3 * width["ok: 10 of 10 (100.0%)"], abs=0.1)
    assert width["wrong: 7 of 10 (70.0%)"] == pytest.approx(0.7 * width["ok: 10 of 10 (100.0%)"], abs=0.1)
    assert (
        height["c: 6"]
        == pytest.approx(2 * height["b: 3"], abs=0.1)
        == pytest.approx(6 * height["a: 1"], abs=0.5)
    )
    assert (height["d: 0"], height["a: 0 gold"]) == (0, 0)
    assert height["b: 10 gold"] == pytest.approx(height["c: 6"] * 10 / 6, abs=0.1)
    assert len(re.findall(r'role="img" aria-label="[^"]+"', text)) == text.count("<svg") == 3


@table(("highest", "ticks"), [(1, "0 1"), (7, "0 2 4 6"), (324, "0 100 200 300"), (950, "0 500 1,000")])
def test_an_axis_has_round_numbers(highest, ticks):
    """The axis is divided into at most five parts of 1, 2 or 5 times a power of ten."""
    rows = [("t", str(n), "a", None) for n in range(highest)]
    axis = re.findall(r'class="muted end">([\d,]+)<', made(rows))
    assert axis == ticks.split()


def test_the_page_appears_whole_or_not_at_all(run, tmp_path):
    """An error leaves the earlier page; a success says where the page is, beside the tables."""
    write_rows([response("1"), {"no": "response"}], str(tmp_path / "bad.jsonl"))
    write_rows([response("1")], str(tmp_path / "r.jsonl"))
    (tmp_path / "page.html").write_text("old")
    done = run("review", "bad.jsonl", "-o", "page.html")
    assert (done.code, done.out) == (1, b"")
    assert done.err.startswith("error: bad.jsonl:2: not a teacher's response")
    assert (tmp_path / "page.html").read_text() == "old"
    done = run("review", "r.jsonl", "-o", "page.html")
    assert (done.code, done.err) == (0, "review: page → page.html\n")
    assert done.out.startswith(b"1 question, 1 teacher, 1 line\n")
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    assert listing(tmp_path) == ["bad.jsonl", "page.html", "r.jsonl"]


def test_where_a_page_cannot_go(tmp_path):
    """Another suffix is a usage error, a missing folder a file error."""
    write_rows([response("1")], str(tmp_path / "r.jsonl"))
    with pytest.raises(UsageError, match=r"ends in \.html"):
        review_files([tmp_path / "r.jsonl"], page=tmp_path / "page.pdf")
    with pytest.raises(FileError, match="cannot be written"):
        review_files([tmp_path / "r.jsonl"], page=tmp_path / "missing" / "page.html")


def test_a_narrow_screen_hides_no_column(tmp_path):
    """Every cell of a table that becomes blocks has its column's name; what is wider than a phone says so."""
    gold = [gold_row(f"q{n}", LETTERS[n % 9], 9) for n in range(20)]
    rows = [response(f"q{n}", LETTERS[n % 9], name) for name in ("gpt", "llama") for n in range(20)]
    text = journal_page(tmp_path, [*rows, response("q21", "(a) or (b)")], gold)
    blocks = re.findall(
        r'<table class="[^"]*\brows">\n<thead><tr>(.*?)</tr></thead>\n(.*?)</table>', text, re.S
    )
    assert len(blocks) == 5  # overview, letters of two teachers, unread replies, pairs
    for head, body in blocks:
        names = re.findall(r"<th[^>]*>(.*?)</th>", head)[1:]
        for row in body.split("</tr>")[:-1]:
            assert re.findall(r'<td[^>]* data-label="([^"]*)"', row) == names
    # Charts, and confusion matrices of nine letters.
    assert text.count('<div class="wide scrolls"><svg') == text.count("<svg") == 4
    assert text.count('<div class="wide scrolls"><table class="confusion') == 2
