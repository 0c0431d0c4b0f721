"""Journals: which lines count, how they are found again, and what a killed writer leaves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core import io as files
from dataprep.core.errors import InputError, RowError
from dataprep.teacher.journal.current import current_lines
from dataprep.teacher.journal.line import OUTCOMES, JournalReader, outcome_of
from tests import strategies as some
from tests.journal_lines import journal, line


def places(rows):
    """The places (counted from 0) that count, by teacher, sample and id; found singly and all together."""
    current, by_teacher = current_lines(enumerate(rows)), {}
    for teacher, name, sample, place in current:
        assert current.find(teacher, name, sample) == place
        assert sample in current.samples(teacher, name)
        by_teacher.setdefault(teacher, {}).setdefault(sample, {})[name] = place
    return by_teacher


def best(*rows):
    """The places (counted from 0) that count of one teacher's one sample, by id."""
    return places(rows).get("t", {}).get(0, {})


lines = st.builds(
    line,
    st.sampled_from(OUTCOMES),
    id=st.sampled_from("xyz"),
    key=st.sampled_from("kl"),
    teacher=st.sampled_from("tu"),
    sample=st.sampled_from([None, 0, 1, 2]),
)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_lines_used_here_have_their_outcomes(outcome):
    """The fixtures are what they are called."""
    assert outcome_of(line(outcome)) == outcome


# The table in the docstring of `journal.current`: the lines in order, and the place of the one that counts.
CASES = [
    ([line("ok"), line("failed")], 0),
    ([line("failed"), line("length"), line("ok")], 2),
    ([line("length"), line("unknown")], 1),
    ([line("refused"), line("empty")], 0),
    ([line("empty"), line("refused")], 1),
    ([line("ok"), line("ok")], 1),
    ([line("ok", key="k"), line("failed", key="l")], 1),
    ([line("ok", key="k"), line("ok", key="l"), line("failed", key="k")], 0),
    ([line("length", max_tokens=512), line("failed", max_tokens=1024)], 0),
    ([line("length", max_tokens=512), line("refused", max_tokens=1024)], 0),
]


def test_the_cases_of_the_rule():
    """Each case of the table, and every pair of outcomes: the better one, or the later of equals."""
    ranks = range(len(OUTCOMES))
    pairs = [([line(OUTCOMES[a]), line(OUTCOMES[b])], int(b <= a)) for a in ranks for b in ranks]
    wrong = [(rows, place) for rows, place in CASES + pairs if best(*rows) != {"x": place}]
    assert not wrong


def test_samples_teachers_and_ids_are_apart():
    """Each sample of each request has its own best line; without a number it is the first."""
    rows = [line(sample=1), line(), line(teacher="u"), line(id="y", sample=0), line("failed", sample=1)]
    assert places(rows) == {"t": {0: {"x": 1, "y": 3}, 1: {"x": 0}}, "u": {0: {"x": 2}}}


@given(st.lists(lines, max_size=30))
def test_the_lines_that_count_are_those_of_the_rule(rows):
    """The rule, written down a second time: filter by the last key, sort by outcome and place."""
    expected: dict = {}
    for teacher in dict.fromkeys(row["teacher"] for row in rows):
        own = [(place, row) for place, row in enumerate(rows) if row["teacher"] == teacher]
        for sample in {row["sample"] or 0 for _, row in own}:
            for name in {row["id"] for _, row in own}:
                key = [row["key"] for _, row in own if row["id"] == name][-1]
                among = [
                    (OUTCOMES.index(outcome_of(row)), -place)
                    for place, row in own
                    if (row["id"], row["key"], row["sample"] or 0) == (name, key, sample)
                ]
                if among:
                    expected.setdefault(teacher, {}).setdefault(sample, {})[name] = -min(among)[1]
    assert places(rows) == expected


@pytest.mark.parametrize("sample", [-1, "0", 1.5, True])
def test_a_sample_is_a_number(sample):
    """A line that cannot be placed among the samples is not taken for the first one."""
    with pytest.raises(RowError, match="'sample'"):
        current_lines([(0, line(sample=sample))])


# Lines by their places


@given(
    st.lists(st.lists(st.builds(line, id=some.texts(8)), min_size=1, max_size=4), min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_every_line_is_found_again(journals, bom, newline):
    """A place gives its row and its line's number, in the first journal and in the last."""
    texts = []
    for rows in journals:
        text = (b"\xef\xbb\xbf" if bom else b"") + journal(*rows).replace(b"}\n", b"}\n\n")
        texts.append(text if newline else text.rstrip(b"\n"))
    opened = JournalReader([(f"{number}.jsonl", text) for number, text in enumerate(texts)])
    places = [place for place, _ in opened.lines()]
    assert [opened.row(place) for place in places] == [row for rows in journals for row in rows]
    assert [opened.where(place) for place in places] == [
        f"{number}.jsonl:{2 * place + 1}"
        for number, rows in enumerate(journals)
        for place in range(len(rows))
    ]
    assert not opened.torn


@given(st.data())
def test_a_journal_cut_anywhere_gives_its_whole_lines(data):
    """A writer killed in the middle of a line leaves all lines before it; the torn one is named."""
    rows = data.draw(st.lists(st.builds(line, id=some.texts(8)), min_size=2, max_size=4))
    text = journal(*rows)
    cut = text[: data.draw(st.integers(text.find(b"\n") + 1, len(text)))]
    opened = JournalReader([("j.jsonl", cut)])
    found = [row for _, row in opened.lines()]
    whole = cut.count(b"\n")
    complete = len(cut) == len(text) or text[len(cut) : len(cut) + 1] == b"\n"  # only its newline is lost
    assert found == rows[: whole + (complete and not cut.endswith(b"\n"))]
    assert opened.torn == ([] if complete or cut.endswith(b"\n") else [f"j.jsonl:{whole + 1}"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"id": "x", "ke\n' + journal(line()), r"j\.jsonl:1: not JSON: .*; restore the line"),
        (journal(line()) + b'{"id": "x", "ke\n', r"j\.jsonl:2: not JSON"),
        (journal(line()) + b"7", r"j\.jsonl:2: not a JSON object"),
        (journal(line()) + b'{"id": "x"}', r"j\.jsonl:2: not a response: expected a text in 'key'"),
        (b"\xff\n" + journal(line()), r"j\.jsonl:1: not UTF-8"),
        (b"", r"j\.jsonl: the file is empty"),
        (b"\n\n", r"j\.jsonl: the file is empty"),
    ],
)
def test_a_damaged_line_is_an_error_with_its_place(text, says):
    """Only the end of a journal may be torn; anything else was not done by a killed writer."""
    with pytest.raises(InputError, match=says):
        list(JournalReader([("j.jsonl", text)]).lines())


def test_a_line_too_long_for_a_row_is_an_error(monkeypatch):
    """A file that is no JSON Lines is not read into memory as one line."""
    monkeypatch.setattr("dataprep.teacher.journal.line.MAX_LINE", 10)
    with pytest.raises(InputError, match="found a line of more than"):
        list(JournalReader([("j.jsonl", journal(line()))]).lines())


def test_progress_is_told_every_byte():
    """A bar over the journals reaches its end."""
    text, told = journal(line(), line()), []
    list(JournalReader([("j.jsonl", text)]).lines(told.append))
    assert sum(told) == len(text)


@pytest.mark.parametrize("name", ["j.jsonl", "j.jsonl.gz"])
def test_a_journal_is_opened_whole(tmp_path, name):
    """Plain journals are mapped and compressed ones decompressed; both are read alike."""
    path = str(tmp_path / name)
    files.write_rows([line(id="é"), line("failed")], path)
    opened = JournalReader([(path, files.open_whole(path))])
    assert [row["id"] for _, row in opened.lines()] == ["é", "x"]
