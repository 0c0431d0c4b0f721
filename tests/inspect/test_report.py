"""The report on files of rows: its figures, its page as a parser reads it, and inputs of all kinds."""

import itertools
import json
from collections import Counter
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep import report_files, write_rows
from dataprep.core.errors import InputError, UsageError
from dataprep.datasets.checks.stats import stats_of_files
from dataprep.inspect.report.figures import binned, edges_of
from dataprep.inspect.report.page import MAX_BYTES, page_of
from dataprep.inspect.report.repeats import duplicates_of, files_by_part
from dataprep.inspect.report.showing import drawn
from tests.helpers import chat, write_jsonl
from tests.inspect.test_card import LABELLED
from tests.toy_tokenizer import ToyTokenizer

pytestmark = pytest.mark.usefixtures("forked")
EVIL = "<script>alert(1)</script>\x1b[31m\u202e&amp;\"'><img src=x onerror=alert(1)>"
VOID = {"meta", "br", "img", "link", "input"}


class Reader(HTMLParser):
    """Reads a page as a browser does: its elements in order, its headings, attributes and texts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.headings, self.text = [], Counter(), [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        """An element begins."""
        self.tags[tag] += 1
        self.attributes += attrs
        if tag in {"h1", "h2", "h3", "h4", "h5"}:
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        """An element ends, and no other is open in it."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Text that a person reads."""
        if "style" not in self.open:
            self.text.append(data)

    @property
    def shown(self):
        """All texts."""
        return "".join(self.text)


def checked(text):
    """The page's reader, when it was found to load nothing and to be readable without eyes or mouse."""
    found = Reader(text)
    assert len(text.encode()) <= MAX_BYTES
    assert not found.tags.keys() & {"script", "img", "link", "iframe", "object", "form"}
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "src"]
    assert "default-src 'none'" in text
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = [value for name, value in found.attributes if name == "href"]
    assert links
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    assert found.headings[0] == 1
    assert found.headings.count(1) == 1
    assert all(later <= one + 1 for one, later in zip(found.headings, found.headings[1:], strict=False))
    assert found.tags["table"] == found.tags["caption"] == found.tags["thead"]
    assert found.tags["svg"] <= found.tags["desc"]
    return found


@pytest.fixture
def files(tmp_path):
    """A training file of chats, a test file with one of its questions, and labelled rows."""
    question = "A baker sells {} loaves in the morning and {} loaves in the evening: how many in a day?"
    rows = [
        chat(question.format(n, n + 3), f"Sold.\n#### {2 * n + 3}", system="Be short.", source="gsm8k")
        for n in range(3, 40)
    ]
    rows += [chat(EVIL, "No.", source=EVIL), chat("Why?", "x" * 9000, source="web")]
    rows.append(rows[0] | {"id": "again", "source": "other"})
    tests = [
        rows[4],
        chat("How far is the moon from the earth, in thousand kilometres?", "384\n#### 384"),
    ]
    write_jsonl(tmp_path / "train.jsonl", rows)
    write_jsonl(tmp_path / "test.jsonl", tests)
    write_jsonl(tmp_path / "labelled.jsonl", [LABELLED | {"id": str(n)} for n in range(4)])
    return tmp_path


def test_page_of_chat_rows(files):
    """Every text stands on the page as text, a long one with the number of characters that are left out."""
    found = checked(page_of(report_files(files / "train.jsonl", sample=50)))
    assert "<script>alert(1)</script>\\x1b[31m\\u202e&amp;" in found.shown
    assert "7,000 characters more" in found.shown
    assert "1 of 40 rows repeats an earlier row" in found.shown
    for number in range(3, 40):
        assert f"A baker sells {number} loaves" in found.shown


def test_figures_are_those_of_stats(files):
    """Rows, sources and lengths are what `stats` counts, which has tests of its own."""
    path = files / "train.jsonl"
    encode = ToyTokenizer().encode
    mine = report_files(path, tokenizer=ToyTokenizer(), chat_format="plain").to_json()["together"]
    expected = stats_of_files([path], encode).to_json()
    assert (mine["rows"], mine["sources"]) == (expected["rows"], expected["sources"])
    assert mine["characters"] == expected["characters"]
    for role, figures in mine["tokens"].items():
        assert figures.items() <= expected["tokens"][role].items()
    assert mine["duplicates"] == 1


def test_labelled_rows(files):
    """Statuses by teacher, right answers with a warning if all are one, and each teacher's rationale."""
    report = report_files(files / "labelled.jsonl")
    found = checked(page_of(report))
    assert report.to_json()["together"]["statuses"] == {"gpt-4o": {"ok": 4}, "llama-2": {"runaway": 4}}
    assert report.to_json()["together"]["labels"] == {"arc": {"b": 4}}
    assert "All 4 right answers of arc" in found.shown
    assert "gpt-4o: ok" in found.shown
    assert "(a) tin\n(b) iron" in found.shown


def test_two_files_side_by_side_with_test_rows(files):
    """Both files have a column with the difference, and the test row in the training file is found."""
    report = report_files([files / "train.jsonl", files / "test.jsonl"], sample=2)
    found = checked(page_of(report))
    assert [(each.found, each.test_rows) for each in report.overlaps] == [(1, 2)]
    assert report.shared == 1
    assert "Two files side by side" in found.shown
    assert "−38" in found.shown
    assert "1 of 2" in found.shown
    assert "train.jsonl:5 – " in found.shown.replace(str(files) + "/", "")


def test_mask_of_the_sample(files):
    """With a tokenizer the sample has its tokens, those in the loss marked."""
    page = page_of(report_files(files / "train.jsonl", tokenizer=ToyTokenizer(), chat_format="plain"))
    assert "Tokens and loss mask" in checked(page).shown
    assert 'class="t"' in page
    assert "in the loss" in page


@pytest.mark.slow
def test_largest_page(tmp_path):
    """A page stays below 2 MB: texts are shortened first, and then rows are left out, which it says."""
    write_jsonl(tmp_path / "rows.jsonl", [chat(*['&<"' * 300] * 12, source=f"s{n}") for n in range(300)])
    page = page_of(report_files(tmp_path / "rows.jsonl", sample=300))
    assert "more of the sample are left out" in checked(page).shown


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["train.jsonl", "train.jsonl.gz", "train.parquet"])
def test_same_bytes_with_any_number_of_workers(files, name):
    """Workers, and the compression of the input, change nothing but the file's name."""
    rows = [json.loads(line) for line in (files / "train.jsonl").read_text().splitlines()]
    if name != "train.jsonl":
        write_rows(rows, files / name)
    pages = [files / f"{workers}.html" for workers in (1, 2)]
    for workers, page in enumerate(pages, 1):
        report_files(files / name, page, workers=workers, seed=3)
    assert pages[0].read_bytes() == pages[1].read_bytes()
    checked(pages[0].read_text())


def test_command(files, run):
    """The page goes to a file or to standard output, the figures with --json; --dry-run writes nothing."""
    path = str(files / "train.jsonl")
    assert run("report", path, "-o", "page.html").code == 0
    page = (files / "page.html").read_bytes()
    assert run("report", path).out == page
    assert json.loads(run("report", path, "--json").out)["together"]["rows"] == 40
    assert run("report", path, "-o", "none.html", "--dry-run").code == 0
    assert not (files / "none.html").exists()
    done = run("report", "-", "-o", "-", input=(files / "train.jsonl").read_bytes())
    assert "standard input:1" in checked(done.out.decode()).shown
    assert run("report", path, "-o", "page.txt").code == 2


def test_test_rows_without_a_question(tmp_path):
    """Files that are only named train and test make no error; --fields names what to look for."""
    for name in ("train", "test"):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"text": "Write a function that reverses a list of rows."}])
    paths = [tmp_path / "train.jsonl", tmp_path / "test.jsonl"]
    report = report_files(paths)
    assert "test.jsonl:1: no 'question'" in report.not_searched
    assert "Test rows were not looked for" in checked(page_of(report)).shown
    assert report_files(paths, fields=["text"]).overlaps[0].rows["verbatim"] == 1
    with pytest.raises(InputError, match="no 'question'"):
        report_files(paths[0], against=[paths[1]])


def test_bad_rows(files):
    """A bad row stops the report with its place; with a file of rejects it is in no figure."""
    path = files / "bad.jsonl"
    path.write_text('{"messages": [{"role": "user"}]}\n\n{"text": "fine"}\n{"text": \n')
    with pytest.raises(InputError, match=r"bad.jsonl:1: malformed message"):
        report_files(path)
    report = report_files(path, rejects=files / "rejects.jsonl")
    assert report.together.counts.rows == 1
    assert sum(report.bad_rows.values()) == 2
    assert [row.where for row in report.sample] == [f"{path}:3"]
    assert "2 bad rows are in no figure" in checked(page_of(report)).shown


@pytest.mark.parametrize(
    ("inputs", "page", "settings"),
    [
        ([], None, {}),
        (["train.jsonl"], "train.jsonl", {}),
        (["train.jsonl"], "page.pdf", {}),
        (["-"], None, {"against": ["-"]}),
        (["train.jsonl"], None, {"sample": -1}),
    ],
)
def test_wrong_arguments(files, monkeypatch, inputs, page, settings):
    """No file, a page that is none or would replace an input, standard input twice, no number of rows."""
    monkeypatch.chdir(files)
    with pytest.raises(UsageError):
        report_files(inputs, page, **settings)


@pytest.mark.parametrize(
    ("paths", "train", "test"),
    [
        (["a/train.jsonl", "b/gsm8k_test.jsonl"], ["a/train.jsonl"], ["b/gsm8k_test.jsonl"]),
        (["train-00001.parquet", "dev.json"], ["train-00001.parquet"], ["dev.json"]),
        (["training.jsonl", "latest.jsonl"], [], []),
        (["train.jsonl"], [], []),
    ],
)
def test_names_of_test_files(paths, train, test):
    """Only whole words of a file's name count, and both kinds must be there."""
    assert files_by_part(paths) == (train, test)


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=60))
def test_bins_hold_every_length_once(lengths):
    """Any lengths: bins are adjacent, each length is in the one that it belongs to, and there are few."""
    counts = Counter(lengths)
    bins = binned(counts, edges_of([counts]))
    assert sum(each.rows for each in bins) == len(lengths)
    assert len(bins) <= 40
    for each, following in itertools.pairwise(bins):
        assert following.low == each.high + 1
    for each in bins:
        assert each.rows == sum(each.low <= length <= each.high for length in lengths)


@given(st.lists(st.lists(st.integers(0, 5), max_size=8), min_size=1, max_size=3))
def test_duplicates_are_later_equal_rows(files_of_numbers):
    """As a set of what was seen finds them; zeros are bad rows, and equal nothing."""
    digests = [b"".join(number.to_bytes(8, "little") * 2 for number in file) for file in files_of_numbers]
    seen, expected = {}, []
    for file, numbers in enumerate(files_of_numbers):
        for row, number in enumerate(numbers):
            if number in seen:
                expected.append(((file, row), seen[number]))
            elif number:
                seen[number] = (file, row)
    count, pairs = duplicates_of(digests)
    assert count == len(expected)
    assert pairs == expected[:10]


def test_sample_is_drawn_from_all_files():
    """A seed gives the same places, each once, in the order of the files."""
    places = drawn([3, 0, 1000], 50, 1)
    assert places == drawn([3, 0, 1000], 50, 1) == sorted(set(places))
    assert len(drawn([2, 1], 10, 1)) == 3
    assert drawn([2, 1], 0, 1) == []
