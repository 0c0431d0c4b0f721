"""Judge a rationale by its row alone: whether it is whole, whether it runs on, and what it concludes on.

A rationale runs on into another question, which begins with a line such as ``Question: …``, ``Q: …`` or
``### Q2``; with a numbered heading (``# 14.``, ``#363. Which …``); or on the line before ``Options:`` and a
lettered choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Literal

from dataprep.answers.conclusions import concluded
from dataprep.core.errors import RowError
from dataprep.core.records import describe

# All expressions begin with a newline, because a search for a fixed character is fast.
_MARKS = " \t#*_>"  # marks before a question on its line
_END = r"(?:[*_]|[^\S\n])*+(?=\n|$)"

# `Question:`, `### Q2:`, `Q.1)`, `Q: ` and, with nothing else on the line, `Question 2`, `### Q`.
_NAMED = re.compile(
    r"\n(?:[ \t#*_>]*+Q(?=[uU .:)\d])(?:(?:uestion|UESTION)?[ .]?\d*+ ?[:.)]"
    rf"|(?:(?:uestion|UESTION)[ .]?\d*+|[ .]?\d++){_END})|#[ \t#*_>]*+Q{_END})"
)
# `# 14`, `#14. The …`, `### 2.3: …`: a number by itself, not `# 5 reasons`.
_HEADING = re.compile(rf"\n#++[ \t*_]*+(\d{{1,4}})(\.\d{{1,4}})*+(?:[.):][*_]*+(?=\s|$)|{_END})")
_ANSWER = re.compile(r"\n#### [\d,]+")
# A rationale has a few headings and lists; a limit keeps adversarial texts linear.
_MOST = 1_000
_ASKED_WITHIN = 400
_PIECE = 256
_NO_WORDS = _MARKS + "".join(filter(str.isspace, map(chr, range(0x3001))))

# `Options:` at the beginning of a line, and a lettered choice after it, or the text's end.
_OPTIONS = r"[ \t#*_>]*+(?:Answer )?(?:Options|Choices)[*_]*+ *+:[*_]*+"
_LISTED = re.compile(rf"\n{_OPTIONS}\s*+\(?[aA][.):]")
_LISTED_OR_CUT = re.compile(rf"\n{_OPTIONS}\s*+(?:\(?[aA][.):]|$)")
_ONLY_OPTIONS = re.compile(_OPTIONS)
_CHOICE = re.compile(r"[ \t#*_>]*+\(?[aA][.)]")
_ONLY_A_NUMBER = re.compile(r"[ \t#*_>]*+\d{1,4}[.):]")


def runaway_at(text: str) -> int:
    """Return where a rationale runs on into another question; -1 if it does not."""
    named, numbered, listed = "Q" in text, "#" in text, "Options" in text or "Choices" in text
    if not (named or numbered or listed):
        return -1
    lines = "\n" + text  # so that the position of a newline here is that of its line in the text
    match = _NAMED.search(lines) if named else None
    end = match.start() if match else len(text)
    if numbered and text.find("#", 0, end) >= 0 and 0 <= (place := _numbered_at(lines)) < end:
        end = place
    if listed and 0 <= (place := _listed_at(lines, end)) < end:
        end = place
    return end if end < len(text) else -1


# A reply can show programs, and end in `#### 18`, GSM8K's mark of an answer.
_FENCED = re.compile(r"(?ms)^[ \t]*(```|~~~).*?(?:^[ \t]*\1|\Z)")
_MARKED = re.compile(
    r"(?m)^[ \t]*####[ \t]*(?P<number>[^\w\s]{0,6}\d[\d,.]*+)"
    r"(?P<unit>[^\w\n]{0,9}(?: [A-Za-z]+){0,3}[^\w\n]{0,9})$"
)
_SHORT_Q = re.compile(r"\bQ(?=[ .:)\d])")
_WORD = re.compile(r"\w+")
_PREFACE, _ANSWERED_WITHIN = 80, 4_000  # characters before a restated question, and after it
_LISTED_LINE = re.compile(r"\W*(?:(?:[Aa]nswer )?(?:[Oo]ptions|[Cc]hoices)\W*$|[a-zA-Z][).:]\W*(?:\w|$))")
_ANSWER_LINE = re.compile(r"[ \t#*_>]*(?:A|Answer)[*_]*:")  # behind `Q: …`; not the first of several choices
_MOST_RESTATED = 8


def reply_runaway_at(text: str, question: str = "", task: str = "") -> int:
    """Return where a reply to a question runs on into another one; -1 if it does not.

    A reply may restate its own question, mark its answer as GSM8K does, and hold comments of programs.

    Args:
        text: the reply.
        question: the question that was asked.
        task: the task of its Example; only replies to ``"choice"`` have no marked numbers.
    """
    if runaway_at(text) < 0:
        return -1
    shown, ends = _FENCED.sub(_masked, text), []
    if task == "code":
        shown = _SHORT_Q.sub("x", shown.replace("#", "x"))
    elif task != "choice":
        answers = list(_MARKED.finditer(shown))
        numbers = [
            match["number"].strip("$*_.{}\\ ") for match in answers if not match["unit"].strip(" .*_!$}")
        ]
        if len(set(numbers)) > 1:  # a second answer is that of another question
            ends = [answers[0].end()]
        shown = _MARKED.sub(_masked, shown)
    begin = 0
    for _ in range(_MOST_RESTATED):
        place = runaway_at(shown[begin:])
        if place < 0:
            break
        own = _own_question_end(text, begin + place, question)
        if own < 0:
            ends.append(begin + place)
            break
        begin = own
    return min(ends, default=-1)


def _masked(match: re.Match[str]) -> str:
    masked = match[0].replace("#", "x").replace("Q", "x")
    return masked.replace("Options", "options").replace("Choices", "choices")


def _own_question_end(text: str, place: int, question: str) -> int:
    """Return where a question ends that a reply restates at a place before it answers; else -1."""
    # After an answer, a model that asks its own question again runs on.
    if _words_before(text, place) > _PREFACE:
        return -1
    within = place + len(question) + _ASKED_WITHIN
    asked, shown = question.split(), text[place:within].split()
    if asked and " ".join(asked)[:_ASKED_WITHIN] in " ".join(shown):
        last = question.rstrip()[-20:]
        found = text.find(last, place, within)
        end = found + len(last) if found >= 0 else place + len(question)
    else:
        # A reply may begin with the question in its own words.
        words, restated = (set(_WORD.findall(" ".join(each).lower())) for each in (asked, shown))
        if _words_before(text, place) or 2 * len(words & restated) < len(words):
            return -1
        end = text.find("\n", place + 1)
        if end >= 0 and len(_WORD.findall(text[place:end])) < 3:  # `Question 2:` alone
            end = text.find("\n", end + 1)
    return end if end >= 0 and _answers(text[end : end + _ANSWERED_WITHIN]) else -1


def _answers(text: str) -> bool:
    """Check whether more than a list of choices follows a question."""
    paragraphs = [part for part in text.split("\n\n") if part.strip()]
    lines = [line for line in text.split("\n")[1:] if line.strip()]
    if len(lines) == 1 and _ANSWER_LINE.match(lines[0]):
        return True
    return len(paragraphs) > 1 or any(not _LISTED_LINE.match(line) for line in lines)


def trim_runaway(text: str) -> str:
    """Return the rationale up to where it runs on into another question."""
    place = runaway_at(text)
    return text if place < 0 else text_before(text, place)


def text_before(text: str, place: int) -> str:
    """Return the text before the next question, without its number and the lines of ``#`` above it."""
    end = _words_before(text, place)
    for _ in range(_MOST):
        line = text.rfind("\n", 0, end) + 1
        # The text that is kept must not run on either, and at its end a question before `Options:` would.
        question = _question_before(text, line) if _ONLY_OPTIONS.fullmatch(text, line, end) else -1
        if question < 0 and not _ONLY_A_NUMBER.fullmatch(text, line, end):
            break
        end = _words_before(text, line if question < 0 else question)
    line = text.find("\n", end, place)
    return text[: line if line >= 0 else place].rstrip() if end else ""


def _words_before(text: str, place: int) -> int:
    """Return where the last words before a place end; 0 if only marks and white space precede it."""
    # Piece by piece: a text can have many such places, and slices from its beginning take quadratic time.
    while place:
        begin = max(place - _PIECE, 0)
        if words := text[begin:place].rstrip(_NO_WORDS):
            return begin + len(words)
        place = begin
    return 0


def _question_before(text: str, place: int) -> int:
    """Return where the line of a question before a place begins; -1 without one."""
    end = _words_before(text, place)
    return text.rfind("\n", 0, end) + 1 if end and text[end - 1] not in ".!" else -1


def _numbered_at(lines: str) -> int:
    """Return the first numbered heading of another question; -1 without one."""
    # A teacher's own headings are numbered from 1 on, and no choices are listed below them.
    following, last = 1, len(lines.rstrip())
    for match in islice(_HEADING.finditer(lines), _MOST):
        if match.end() >= last and _ANSWER.fullmatch(lines, match.start(), last):
            continue  # `#### 18` at the end is the answer in GSM8K's solutions
        number = int(match[1])
        own = number == following or (match[2] is not None and number == following - 1)
        if not own or _asks(lines[match.end() : match.end() + _ASKED_WITHIN]):
            return match.start()
        following = number + 1
    return -1


def _asks(text: str) -> bool:
    """Check whether a question with its choices follows a number."""
    said = [line for line in text.split("\n", 8)[:8] if line.strip(_MARKS)]
    asked = bool(said) and said[0].rstrip(_MARKS).endswith("?")
    return _LISTED.search(text) is not None or (asked and any(map(_CHOICE.match, said[1:5])))


def _listed_at(lines: str, end: int) -> int:
    """Return the line of a question before ``end`` whose choices follow ``Options:``; -1 without one."""
    for match in islice(_LISTED_OR_CUT.finditer(lines), _MOST):
        if match.start() > end:
            break
        question = _question_before(lines, match.start())
        if question >= 0:
            return question - 1
    return -1


_STOPS = frozenset(".!?…。！？")
_OPENED_BY = {")": "(", "]": "[", "}": "{", "”": "“", "’": "‘", "»": "«"}
_CLOSING = frozenset("\"'").union(_OPENED_BY)
_SINGLE_OPENED = re.compile(r"(?:^|(?<=[\s(\[\"“*_]))'(?=\S)")
_SINGLE_CLOSED = re.compile(r"(?<=\S)'(?!\w)")
_EMPHASIS = "*_`"
# Only so many characters of the last line and of a choice are read, so that all of this takes linear time.
_LOOKED_AT = 2_000

# A line that is only the label of something that never followed: `(d)`, `10.`, `Option (b)`, `**4.**`.
_LONGEST_LABEL = 20
_ONLY_A_LABEL = re.compile(
    r"[ \t#*_>-]*(?:(?:[Oo]ption|[Cc]hoice|[Ss]tep) )?[(\[]?(?:[A-Za-z]|\d{1,3}(?:\.\d{1,3})*|[ivx]{1,5})"
    r"[.):\]]*[*_]*"
)


def _is_cut(text: str) -> bool:
    # A whole text ends in a full stop or the like, or in a bracket or quote that closes an open one.
    last = text[-1]
    if last.isalnum():
        return True
    line = text.rfind("\n") + 1
    if len(text) - line <= _LONGEST_LABEL and _ONLY_A_LABEL.fullmatch(text, line):
        return True
    return last not in _STOPS and not _closes(text, line)


def _closes(text: str, begin: int) -> bool:
    last = text[-1]
    if text.endswith("```"):
        return text.count("```") % 2 == 0
    if last in _EMPHASIS:
        plain = text.rstrip(_EMPHASIS)
        return plain[-1:] in _STOPS or (plain != "" and _closes(plain, plain.rfind("\n") + 1))
    line = text[max(begin, len(text) - _LOOKED_AT) : -1]
    if last not in _CLOSING or not line or line[-1].isspace():
        return False
    if line[-1] in _STOPS:
        return True
    if last in _OPENED_BY:
        opening = _OPENED_BY[last]
        return line.rfind(opening) > line.rfind(last) or line.count(opening) > line.count(last)
    return _closes_quote(text, line)


def _closes_quote(text: str, line: str) -> bool:
    # These quotes look alike on both sides, so they are counted; an apostrophe is not a quote.
    if text[-1] == '"':
        return line.count('"') % 2 == 1 or text.count('"') % 2 == 0
    opened = [match.start() for match in _SINGLE_OPENED.finditer(line)]
    return bool(opened) and _SINGLE_CLOSED.search(line, opened[-1] + 1) is None


def _ends_in_a_choice(text: str, choices: Sequence[str]) -> bool:
    end = _plain(text[-2 * _LOOKED_AT :])
    for choice in choices:
        words = _plain(choice[-_LOOKED_AT:])
        if words and end.endswith(words) and not end[: -len(words)][-1:].isalnum():
            return True
    return False


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(" .,;").lower()


# In this order: no text, another choice than the right one, a text that runs on into another question, or
# stops in the middle of a sentence, no choice or several. Then the right choice, and one where none is known.
Status = Literal["empty", "answer_mismatch", "runaway", "truncated", "no_answer", "ok", "unjudged"]
STATUSES: tuple[Status, ...] = (
    "ok", "unjudged", "empty", "answer_mismatch", "runaway", "truncated", "no_answer",
)  # fmt: skip
# Statuses of answers with a text, which can become training rows.
KEEPABLE = (
    "ok", "unjudged", "answer_mismatch", "contradiction", "no_answer", "runaway", "truncated", "length",
    "unknown",
)  # fmt: skip
_MISSING = "nan"  # pandas writes this for a missing value


def status_of(
    text: str, choices: Sequence[str], gold: int | None, sentence: int | None = None, *, trimmed: bool = False
) -> tuple[Status, int]:
    """Return the first status that applies to a rationale, and the choice that it concludes on, or -1.

    Args:
        text: the rationale without cue and answer sentence.
        choices: the texts of the choices.
        gold: the right choice, from 0; ``None`` if it is not known.
        sentence: the choice in the answer sentence after the text, from 0; -1 if that names no choice,
            ``None`` if there is no such sentence.
        trimmed: the text is known not to run on into another question.
    """
    if sentence is not None and not 0 <= sentence < len(choices):
        sentence = -1
    if not text or text == _MISSING:
        return "empty", -1 if sentence is None else sentence
    # A text that runs on concludes before the place where it does.
    place = -1 if trimmed else runaway_at(text)
    if sentence is None:
        named, whole = concluded(text if place < 0 else text_before(text, place), choices)
    else:
        named, whole = sentence, False
    # A wrong answer comes first: trimming or cutting would not fix it.
    if gold is not None and named != gold and named >= 0:
        return "answer_mismatch", named
    if place >= 0:
        return "runaway", named
    if not whole and _is_cut(text) and (sentence is None or not _ends_in_a_choice(text, choices)):
        return "truncated", named
    if named < 0:
        return "no_answer", named
    return ("unjudged" if gold is None else "ok"), named


def by_teacher(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the values by teacher in a field of a row, for example its statuses; nulls are left out."""
    values = row.get(name)
    if values is None or values == "":  # an empty cell of a table
        return {}
    if not isinstance(values, Mapping):
        problem = f"expected one value per teacher, found {describe(values)}"
        raise RowError(f"field {name!r} is not an object", problem)
    # A table has a column for every teacher, and so a null for each one that a row lacks.
    return {teacher: value for teacher, value in values.items() if value is not None}
