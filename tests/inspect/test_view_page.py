"""The page of `dataprep view` in a real browser."""

import json
import re
import subprocess
import sys

import pytest

from tests.browser import overflow
from tests.helpers import chat, write_jsonl
from tests.journal_lines import line

pytestmark = pytest.mark.medium
expect = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra `dev`").expect
expect.set_options(timeout=20_000)  # a busy machine is no failure

SCRIPT = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
CALL = {"type": "function", "function": {"name": "departures", "arguments": {"stop": "Ven"}}}
TOOLS = {
    "messages": [
        {"role": "user", "content": "When?"},
        {"role": "assistant", "reasoning_content": "I need the timetable.", "tool_calls": [CALL]},
        {"role": "tool", "content": "14:05"},
        {"role": "assistant", "content": "At 14:05."},
    ],
    "tools": [{"type": "function", "function": {"name": "departures"}}],
}


def rows():
    """Three pages of rows, some of them special."""
    made = [chat(f"Question {number}", f"Answer {number}", source="plain") for number in range(1, 131)]
    made[1] = chat(SCRIPT, "A script", source="<b>web</b>")
    made[2] = TOOLS
    made[3] = chat("Long", "x" * 50_000 + " end")
    made[99] = {"messages": [{"role": "user", "content": "No answer"}], "source": "cut"}
    made[119] = chat("Where is the needle?", "Here.", source="cut")
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the files that are viewed."""
    return tmp_path_factory.mktemp("view")


@pytest.fixture(scope="module")
def address(folder):
    """The address of the page, which the command serves."""
    write_jsonl(folder / "chat.jsonl", rows())
    lines = [line(id="x", teacher="t"), line("failed", id="x", teacher="u"), line("length", id="y")]
    write_jsonl(folder / "journal.jsonl", lines)
    write_jsonl(folder / "requests.jsonl", [chat("Which of two?", id="x")])
    write_jsonl(folder / "new.jsonl", [])
    names = ["chat.jsonl", "journal.jsonl", "requests.jsonl", "new.jsonl"]
    command = [sys.executable, "-m", "dataprep", "view", *names, "--no-open"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        yield re.search(r"http\S+", process.stderr.readline())[0]
        process.terminate()


def write_more(path):
    """Append a line to a journal."""
    with path.open("a") as out:
        out.write(json.dumps(line(id="z")) + "\n")


def row_is(page, number):
    """Wait until a row is shown."""
    expect(page.locator("h1")).to_have_text(f"Row {number}")


@pytest.mark.slow
def test_rows_are_read_by_keyboard(open_page, address):
    """Next, previous, jump, the same place after a reload, and fields that take the keys themselves."""
    page = open_page(address)
    row_is(page, 1)
    page.keyboard.press("j")
    page.keyboard.press("j")
    row_is(page, 3)
    page.keyboard.press("k")
    row_is(page, 2)
    page.keyboard.press("g")
    page.keyboard.type("101")
    page.keyboard.press("Enter")
    row_is(page, 101)
    assert page.locator("#list a[aria-current]").get_attribute("data-number") == "101"
    page.keyboard.press("k")
    row_is(page, 100)
    assert "No answer" in page.locator("#row").inner_text()
    assert "no assistant at the end" in page.locator(".findings").inner_text()
    page.reload()
    row_is(page, 100)
    page.keyboard.press("g")
    page.keyboard.type("500")
    page.keyboard.press("Enter")
    row_is(page, 130)
    expect(page.locator("#notice")).to_contain_text("There is no row 500: the file has 130.")
    page.keyboard.press("?")
    assert page.locator("dialog").is_visible()


def test_rows_are_drawn_as_texts(open_page, address):
    """A script is one, reasoning is folded, tool calls are blocks, and a long text says that it is cut."""
    page = open_page(f"{address}#row=2")
    row_is(page, 2)
    assert SCRIPT in page.locator("#row").inner_text()
    assert page.locator('#list a[data-number="2"] .source').inner_text() == "<b>web</b>"
    assert page.locator("#row script, #row img, #list script, #list b").count() == 0
    assert "owned" not in page.title()

    page.keyboard.press("j")
    row_is(page, 3)
    reasoning = page.get_by_text("I need the timetable.")
    assert not reasoning.is_visible()
    assert page.locator(".call code").inner_text() == "departures"
    page.keyboard.press("o")
    assert reasoning.is_visible()
    page.keyboard.press("r")
    page.wait_for_selector(".raw")
    assert '"tool_calls"' in page.locator(".raw").inner_text()

    page.keyboard.press("r")
    page.keyboard.press("j")
    row_is(page, 4)
    assert "20,000 of 50,004 characters are shown" in page.locator(".cut").inner_text()
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#row")).to_contain_text("x end")
    assert page.locator(".cut").count() == 0


@pytest.mark.slow
def test_text_is_searched_and_rows_are_filtered(open_page, address):
    """The list has what was found, its keys move there, and what was searched for is marked."""
    page = open_page(address)
    row_is(page, 1)
    page.keyboard.press("/")
    page.keyboard.type("NEEDLE")
    page.keyboard.press("Enter")
    row_is(page, 120)
    assert page.locator("#list a").count() == 1
    assert page.locator("#row mark").inner_text() == "needle"
    page.get_by_role("button", name="Clear").click()
    page.locator("#source").fill("cut")
    page.keyboard.press("Enter")
    row_is(page, 100)
    page.keyboard.press("j")
    row_is(page, 120)
    page.reload()
    row_is(page, 120)
    page.keyboard.press("k")
    row_is(page, 100)


def test_a_person_marks_rows(open_page, address, folder):
    """By keys, with a note; flagged rows are those marked and those not valid; the filter finds them."""
    page = open_page(f"{address}#row=5")
    row_is(page, 5)
    page.keyboard.press("2")
    page.wait_for_selector('[data-mark="bad"][aria-pressed="true"]')
    page.keyboard.press("m")
    page.keyboard.type("cut off")
    page.keyboard.press("Enter")
    page.wait_for_selector('#list a[data-number="5"] .badge[title="cut off"]')
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.type("1")
    page.keyboard.press("Enter")
    row_is(page, 1)
    for number in (5, 100):
        page.keyboard.press("n")
        row_is(page, number)
    page.reload()
    page.locator("#mark").select_option("bad")
    row_is(page, 5)
    assert page.locator("#note").input_value() == "cut off"
    page.locator("#note").blur()
    page.keyboard.press("0")
    page.wait_for_selector('[data-mark="bad"][aria-pressed="false"]')
    stored = (folder / "chat.jsonl.marks.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(text)["mark"] for text in stored] == ["bad", "bad", None]


@pytest.mark.slow
def test_lines_of_a_journal_stand_side_by_side(open_page, address, folder):
    """With the request; the rows that are appended appear."""
    page = open_page(f"{address}#file=1")
    row_is(page, 1)
    expect(page.locator(".column")).to_have_count(2)
    assert page.locator(".column h3").all_inner_texts() == ["t", "u"]
    assert page.locator(".column .chip").all_inner_texts() == ["ok", "failed"]
    assert "Which of two?" in page.locator("#request").inner_text()
    write_more(folder / "journal.jsonl")
    expect(page.locator("#notice")).to_contain_text("1 new row")
    expect(page.locator("#list a")).to_have_count(4)
    page.locator("#file").select_option("new.jsonl")
    expect(page.locator("#row")).to_contain_text("no rows yet")
    write_more(folder / "new.jsonl")
    row_is(page, 1)
    expect(page.locator("#list a")).to_have_count(1)


@pytest.mark.slow
def test_the_page_fits_a_telephone(open_page, address):
    """Nothing is wider than 360 pixels; the list is folded, and opens."""
    page = open_page("about:blank", width=360, height=740, dark=True)
    for place in ("#row=3", "#file=1", "#row=4&text=x", "#mark=flagged"):
        page.goto(f"{address}{place}")
        page.wait_for_selector("h1")
        assert overflow(page) == 0
    page.get_by_role("button", name="List of rows").click()
    assert overflow(page) == 0
    page.locator("#list a").first.click()
    expect(page.locator("#list")).not_to_be_visible()
