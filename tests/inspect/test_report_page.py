"""The page of `dataprep report` in a real browser: light and dark, wide and narrow, by keyboard."""

import pytest

from dataprep import report_files
from tests.browser import focused, overflow
from tests.helpers import chat, write_jsonl
from tests.inspect.test_card import LABELLED
from tests.inspect.test_report import EVIL
from tests.toy_tokenizer import ToyTokenizer

pytestmark = pytest.mark.medium

# WCAG's contrast of the text of each element with what is behind it.
CONTRAST = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(x => x / 255)
    .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
    .reduce((sum, x, at) => sum + x * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const element of document.querySelectorAll("main *")) {
    const text = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!text || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const colour = element instanceof SVGElement ? style.fill : style.color;
    const pair = [light(parse(colour)), light(behind(element))].sort((a, b) => b - a);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (contrast < 4.5) low.push(`${element.tagName} ${element.className} ${contrast.toFixed(2)}`);
  }
  return [...new Set(low)];
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of one file of chats with tokens, of labelled rows, and of two files."""
    folder = tmp_path_factory.mktemp("report")
    rows = [
        chat(f"How many are {n} and {n}? {'long ' * n}", f"{2 * n}\n#### {2 * n}", system="Add.")
        for n in range(30)
    ]
    rows += [chat(EVIL, "word" * 300, source=EVIL * 3), chat("def f():" + " " * 300, "```\n\tpass\n```")]
    passage = " ".join(f"word{n}" for n in range(200))
    rows += [chat(f"{passage} {end}", f"{end}!") for end in ("One?", "Two or three?")]
    write_jsonl(folder / "train.jsonl", rows)
    write_jsonl(folder / "a-test-file-with-a-long-name-that-does-not-break.jsonl", [*rows[:9], rows[-1]])
    write_jsonl(folder / "labelled.jsonl", [LABELLED | {"id": str(n)} for n in range(4)])
    two = [folder / "train.jsonl", folder / "a-test-file-with-a-long-name-that-does-not-break.jsonl"]
    report_files(two[0], folder / "one.html", tokenizer=ToyTokenizer(), chat_format="plain", sample=40)
    report_files(folder / "labelled.jsonl", folder / "labelled.html")
    report_files(two, folder / "two.html", sample=3)
    assert "<mark>" in (folder / "one.html").read_text()
    assert "<mark>" in (folder / "two.html").read_text()
    return folder


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [
        ("one", 320, True), ("labelled", 1280, False), ("two", 320, True), ("two", 1280, False),
        pytest.param("one", 1280, False, marks=pytest.mark.slow),
        pytest.param("labelled", 320, True, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_page_fits_and_is_legible(open_page, pages, name, width, dark):
    """Also with every fold open, the page does not scroll sideways, and all texts have contrast enough."""
    page = open_page(pages / f"{name}.html", width=width, dark=dark)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert overflow(page) == 0
    assert page.evaluate(CONTRAST) == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(24, 24, 23)" if dark else "rgb(251, 250, 248)")


def test_script_is_text(open_page, pages):
    """A row with a script shows it, and the page has no element of it."""
    page = open_page(pages / "one.html")
    assert page.locator("script, img").count() == 0
    assert page.get_by_text("<script>alert(1)</script>").count() > 0


def test_keyboard(open_page, pages):
    """The first key goes to the skip link, then the sections; a fold opens, and the focus can be seen."""
    page = open_page(pages / "one.html")
    page.keyboard.press("Tab")
    assert focused(page) == "a Skip to the figures"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "overview"
    page.keyboard.press("Tab")
    assert focused(page).startswith("summary ")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.open")
    page.keyboard.press("Shift+Tab")
    assert focused(page) == "a A sample of rows"
