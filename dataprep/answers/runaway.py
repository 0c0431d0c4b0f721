"""Find where a rationale runs on into another question.

The next question begins with a line such as ``Question: …``, ``Q: …`` or ``### Q2``; with a numbered heading
(``# 14.``, ``#363. Which …``); or on the line before ``Options:`` and a lettered choice.
"""

from __future__ import annotations

import re
from itertools import islice

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
