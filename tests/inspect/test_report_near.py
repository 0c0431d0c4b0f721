"""Near-duplicates in a report: their number against a loop over all pairs, and what the page shows."""

import random
import re

import pytest

from dataprep import report_files
from dataprep.core.errors import UsageError
from dataprep.inspect.report.figures import ShownText
from dataprep.inspect.report.page import page_of
from dataprep.inspect.report.rows import compared
from tests.helpers import chat, read_jsonl, write_jsonl
from tests.inspect.test_report import checked

LONG = " ".join(f"word{number}" for number in range(40))


def grams(row):
    """The 3-grams of a row's words."""
    words = re.findall(r"\w+", " ".join(message["content"] for message in row["messages"]).lower())
    return {tuple(words[at : at + 3]) for at in range(len(words) - 2)}


def linked(rows, threshold):
    """The number of each row's group, by comparing all pairs."""
    sets, group = [grams(row) for row in rows], list(range(len(rows)))
    for one in range(len(rows)):
        for other in range(one):
            if len(sets[one] & sets[other]) >= threshold * len(sets[one] | sets[other]):
                old, new = max(group[one], group[other]), min(group[one], group[other])
                group = [new if number == old else number for number in group]
    return group


def varied(draw, count):
    """Rows of which many differ in a few words only, and some in none."""
    texts = [" ".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=30)) for _ in range(8)]
    rows = []
    for _ in range(count):
        words = draw.choice(texts).split()
        for _ in range(draw.randrange(4)):
            words[draw.randrange(30)] = draw.choice("abcdefghijklmnopqrstuvwxyz")
        rows.append(chat(" ".join(words), "Yes."))
    return rows


@pytest.mark.parametrize("threshold", [0.6, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_near_duplicates_are_those_of_a_loop_over_pairs(tmp_path, seed, threshold):
    """The rows, the groups and the training rows near a test row are those that brute force finds."""
    rows = varied(random.Random(seed), 90)
    train, test = rows[:60], rows[60:]
    paths = [write_jsonl(tmp_path / f"{name}.jsonl", part) for name, part in (("a", train), ("b", test))]
    report = report_files(paths[0], against=[paths[1]], near=threshold)
    groups = linked(rows, threshold)
    contents = {(group, str(row)) for group, row in zip(groups, train, strict=False)}
    counts = [sum(group == number for group, _ in contents) for number in {group for group, _ in contents}]
    assert report.near.rows == sum(counts) - len(counts) > 5
    assert report.near.groups == sum(count > 1 for count in counts)
    sizes = [len(group.rows) + group.more for group in report.near.largest]
    assert sizes == sorted((count for count in counts if count > 1), reverse=True)[:10]
    assert report.overlaps[0].near == sum(group in groups[60:] for group in groups[:60])


def test_a_group_shows_its_rows_and_their_similarity(tmp_path):
    """Rows are named by their places, those of a test file too, with their similarity."""
    rows = [chat(LONG, "Yes."), chat("Another one?", "No."), chat(LONG + " more", "Yes.")]
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    write_jsonl(train, rows)
    train.write_text("\n\n" + train.read_text())
    write_jsonl(test, [chat("What?", "No."), chat(LONG + " other words", "Yes.")])
    for report in (report_files(train, against=[test]), report_files([train, test])):
        (group,), near = report.near.across, report.near
        assert [row.where for row in group.rows] == [f"{train}:3", f"{train}:5", f"{test}:2"]
        assert group.similarities == pytest.approx([1.0, 38 / 41, 38 / 42])
        found = checked(page_of(report)).shown
        assert "similarity 0.93" in found
        assert report.to_json()["near_duplicates"] == {
            "threshold": 0.8, "rows": near.rows, "groups": 1,
            "largest": [[row.where for row in each.rows] for each in near.largest],
            "training_and_test": [[f"{train}:3", f"{train}:5", f"{test}:2"]],
        }  # fmt: skip


def test_equal_rows_are_no_near_duplicates(tmp_path):
    """A row that differs in id, source, case and spaces only counts as a repeated row, and not twice."""
    rows = [chat(LONG, "Yes.", id="1"), chat(LONG.upper(), "Yes. ", id="2"), chat(LONG + " more", "Yes.")]
    report = report_files(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert (report.together.duplicates, report.near.rows) == (1, 1)
    assert "1 further row is a near-duplicate of an earlier row, in 1 group" in checked(page_of(report)).shown


def test_they_are_looked_for_only_if_asked(tmp_path, run):
    """--near 0 looks for none, another value is the threshold, and one that makes no sense is an error."""
    path = str(write_jsonl(tmp_path / "rows.jsonl", [chat(LONG, "Yes."), chat(LONG + " more", "Yes.")]))
    report = report_files(path, near=0)
    assert report.near is None
    assert "near_duplicates" not in report.to_json()
    assert "They were not looked for" in checked(page_of(report)).shown
    assert report_files(path, near=0.95).near.rows == 0
    with pytest.raises(UsageError, match=r"--near must be between 0\.1 and 1"):
        report_files(path, near=2)
    assert run("report", path, "--near", "0.9", "-o", "page.html").code == 0
    assert "if 90% of their n-grams" in (tmp_path / "page.html").read_text()


def test_bad_rows_and_any_number_of_workers(tmp_path):
    """Bad rows are in no group, and the page is the same with two workers."""
    rows = varied(random.Random(5), 40)
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    path.write_text('{"messages": 3}\n' + path.read_text().replace("\n", "\n{\n", 2))
    pages = []
    for workers in (1, 2):
        report = report_files(path, near=0.7, workers=workers, rejects=tmp_path / f"{workers}.jsonl")
        pages.append(page_of(report))
    assert len(read_jsonl(tmp_path / "1.jsonl")) == 3
    assert pages[0] == pages[1]
    groups = linked(rows, 0.7)
    contents = {(group, str(row)) for group, row in zip(groups, rows, strict=True)}
    assert report.near.rows == len(contents) - len(set(groups))


@pytest.mark.parametrize(
    ("text", "other", "shown"),
    [
        ("Anna has 3 pens.", "Ben has 4 pens.", "<mark>Anna</mark> has <mark>3</mark> pens."),
        ("<b> one", "<i> one", "&lt;<mark>b</mark>&gt; one"),
        ("the same", "the same", "the same"),
        ("more words here", "more here", "more <mark>words</mark> here"),
        ("more here", "more words here", "more here"),
    ],
)
def test_what_differs_is_marked(text, other, shown):
    """Words that the other row does not have at this place are marked, and escaped."""
    assert compared(ShownText("user", "text", "", text), other, 600) == shown


def test_a_long_part_that_both_rows_have_is_left_out():
    """What differs is shown also behind a long passage, with the number of characters in between."""
    passage = " ".join(f"w{number}" for number in range(300))
    one, other = f"{passage} Who?", f"{passage} When was that?"
    shown = compared(ShownText("user", "text", "", one, 7), other, 600)
    left = re.search(r"([\d,]+) characters the same", shown)
    without = re.sub(r"… <span.*?</span> …|</?mark>|… <span.*", "", shown)
    assert shown.endswith('<mark>Who</mark>?… <span class="more">7 characters more</span>')
    assert len(without) + int(left[1].replace(",", "")) == len(one)
    assert len(without) < 260
