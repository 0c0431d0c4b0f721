"""Find the choice that a rationale concludes on, by letter or in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dataprep.core.records import LETTERS

# Each form is searched from a word that it always contains (`answer`, `) is `), with string searches; the
# expressions only look around such a word. That is fast, and takes linear time for any text.

# A conclusion is at the end of a text, so only its last characters are read.
_LOOKED_AT = 20_000
_LOOK_AROUND = 200
_LONGEST_CHOICE = 2_000
_LONGEST_IT_IS = 24

_WORDS = ("nswer", "ption", "hoice")  # answer, option, choice, in either case
_IS = r" (?:is|will be|would be|must be|should be|has to be)"
_RIGHT_ONE = "correct|right|best|answer"
_GAP = r"[ *_\n]{0,3}"
_IN_BRACKETS = r"[(\[\"'“‘*_]+([a-zA-Z])[)\]\"'”’*_]+(?=[.,;:!\n—–]|$| (?:because|since|as|which)\b)"
# A letter without brackets counts only before punctuation or at the end: `the answer is a plant` names none.
_BARE = r"([a-zA-Z])(?=[.,;!)}\n]|$| (?:because|since)\b)"

# After one of the words: `is (b)`, `Key: b`, `left is 'b'`; `(b) is correct`; `is (b) ` before the text of b.
_SAID = re.compile(
    rf"(?:(?: left| remaining)?{_IS}(?: [Oo]ption| choice| answer)?:?|(?: [Kk]ey)? ?[*_]*:)"
    rf"{_GAP}(?:{_IN_BRACKETS}|{_BARE})"
    rf"| ?:? ?\(?([a-zA-Z])\)?(?:,? which)?{_IS} (?:the )?(?:only )?(?:{_RIGHT_ONE}|left(?! out))\b"
    rf"|(?:{_IS}(?: option)?:?|:){_GAP}\(([a-zA-Z])\) "
)
_FOLLOWS = " :*_"  # the characters with which it may begin
_BEFORE_TEXT = 4  # the number of the group in its last form
_IN_WORDS = re.compile(r"(?: is:?|:) ([^.,;\n]{1,2000}+)(?=[.,;\n]|$)")  # `answer is tin`
_BEFORE_WORDS = ("nswer", "correct option", "right option", "best option", "correct choice", "best choice")
_ARTICLE = re.compile(r"(?:the|an?) ")
# Other forms: `(b) is the answer`; `answer that can be right is (b)`; `It is b.` at the end.
_RIGHT = re.compile(rf"\(([a-zA-Z])\) is (?:the )?(?:only )?(?:{_RIGHT_ONE})\b")
_FURTHER_ON = re.compile(rf" is {_IN_BRACKETS}")
_FURTHER_BEFORE = re.compile(r"(?:nswer|ption|hoice)(?: [\w'’-]{1,20}){1,8}$")
_IT_IS = re.compile(rf"\b[Ii]t{_IS} (?:option )?(?:\(([a-zA-Z])\)\.?|([a-zA-Z])\.)$")
# A text that ends in one of these was cut off before its noun.
_BEFORE_A_NOUN = (" the correct", " the right", " the best")

# A letter that is one of several names no choice: `(a) or (b)`, `a, b and c`, a list of all after `Answer:`.
_AND_ANOTHER = re.compile(r",? *(?:and |or |& ?|/ ?)?(?:\([a-zA-Z]\)|[a-zA-Z](?=[.,;)]|$| and\b| or\b))")
_LISTED_NEXT = re.compile(r"[.)\]]* +\S[^\n]{0,2000}+\n\s*+\(?([a-zA-Z])[.)]")

# A clause with one of these denies; a sentence with one of `_SUPPOSES` only supposes.
_SUPPOSING = r"[Ii]f\b|(?:may|might|could|would) (?:think|say)\b"
_SUPPOSES = re.compile(rf"\b(?:{_SUPPOSING})")
_DOUBTS = re.compile(
    r"\b(?:not|cannot|never|neither|nor|wrong|incorrect|unlikely|ruled out)\b|n['’]t\b"
    rf"|\b(?:eliminat|exclud|discard)\w|\b(?:{_SUPPOSING})"
)
_CLAUSE = re.compile(r"[,;:.!?\n]|\b(?:[Ss]o|[Tt]herefore|[Hh]ence|[Tt]hus|but|because|since)\b")


def conclusion(text: str, choices: Sequence[str]) -> int:
    """Return the choice that a rationale concludes on, from 0; -1 if it names none, or several."""
    # A choice is named by its letter (`the answer is (b)`, `Answer: b.`, `option (b) is correct`), or by its
    # text after `answer is`. Clauses that deny and sentences that suppose are skipped.
    return concluded(text, choices)[0]


def concluded(text: str, choices: Sequence[str]) -> tuple[int, bool]:
    """Return the same as ``conclusion``, and whether the words that name the choice end the text."""
    text = text[-_LOOKED_AT:]
    mentioned = _mentioned(text, choices)
    if not mentioned:
        return -1, False
    named: set[int] = set()
    last = 0
    for number, begin, end, _ in mentioned:
        if number in named or (0 <= number < len(choices) and not _is_doubted(text, begin, end)):
            named.add(number)
            last = max(last, end)
    whole = last > 0 and not text[last:].strip("*_)") and not text.endswith(_BEFORE_A_NOUN)
    return (named.pop() if len(named) == 1 else -1), whole


def letter_of_conclusion(text: str, choices: Sequence[str]) -> int:
    """Return the position of the first letter that names the choice of ``conclusion``; -1 without one."""
    start = max(len(text) - _LOOKED_AT, 0)
    text = text[start:]
    letters = [
        start + letter
        for number, begin, end, letter in _mentioned(text, choices)
        if letter >= 0 and 0 <= number < len(choices) and not _is_doubted(text, begin, end)
    ]
    return min(letters, default=-1)


def _mentioned(text: str, choices: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Return for each candidate its choice or -1, where its words begin and end, and where its letter is."""
    found = []
    for word in _WORDS:
        place = text.find(word)
        while place >= 0:
            place += len(word)
            if text[place : place + 1] in _FOLLOWS:
                found.append(_said_at(text, place, choices))
            place = text.find(word, place)
    place = text.find(") is ")
    while place >= 0:
        if match := _RIGHT.match(text, max(place - 2, 0)):
            found.append((_number(match), place, match.end(), match.start(1)))
        place = text.find(") is ", place + 1)
    place = text.find(" is (")
    while place >= 0:
        if (match := _FURTHER_ON.match(text, place)) and (
            before := _FURTHER_BEFORE.search(text, max(place - _LOOK_AROUND, 0), place)
        ):
            found.append((_number(match), before.start(), match.end(), match.start(1)))
        place = text.find(" is (", place + 1)
    if text[-1:] in ".)" and (match := _IT_IS.search(text, max(len(text) - _LONGEST_IT_IS, 0))):
        found.append((_number(match), match.start(), match.end(), match.start(match.lastindex or 1)))
    return found


def _said_at(text: str, place: int, choices: Sequence[str]) -> tuple[int, int, int, int]:
    match = _SAID.match(text, place)
    number, end = (_number(match), match.end()) if match else (-1, place)
    if match and match.lastindex == _BEFORE_TEXT:
        said = choices[number][:_LONGEST_CHOICE].rstrip(".").lower() if 0 <= number < len(choices) else "\0"
        end += len(said)
        if text[match.end() : end].lower() != said:
            match = None
    if match:
        number = -1 if _is_one_of_several(text, match, end) else number
        return number, place, end, match.start(match.lastindex or 1)
    if text.endswith(_BEFORE_WORDS, 0, place) and (match := _IN_WORDS.match(text, place)):
        words = _bare(match[1])
        called = [number for number, choice in enumerate(choices) if _bare(choice) == words]
        return (called[0] if len(called) == 1 else -1), place, match.end(), -1
    return -1, place, place, -1


def _number(match: re.Match[str]) -> int:
    return LETTERS.find(match[match.lastindex or 1].lower())


def _bare(words: str) -> str:
    words = words.strip(" .\"'“”‘’*_").lower()
    article = _ARTICLE.match(words)
    return words[article.end() :] if article else words


def _is_one_of_several(text: str, match: re.Match[str], end: int) -> bool:
    if _AND_ANOTHER.match(text, end):
        return True
    listed = _LISTED_NEXT.match(text, match.end(match.lastindex or 1)) if ":" in match[0] else None
    return listed is not None and LETTERS.find(listed[1].lower()) == _number(match) + 1


def _is_doubted(text: str, begin: int, end: int) -> bool:
    # Only some characters around the words are searched, so that a text without full stops takes linear time.
    earliest = max(begin - _LOOK_AROUND, 0)
    sentence = max(earliest, text.rfind(".", earliest, begin) + 1, text.rfind("\n", earliest, begin) + 1)
    after = _CLAUSE.search(text, end, end + _LOOK_AROUND)
    end = after.start() if after else end + _LOOK_AROUND
    if not (doubt := _DOUBTS.search(text, sentence, end)):
        return False
    if _SUPPOSES.search(text, sentence, end):  # `If it melts, the answer is (b)`
        return True
    # `It cannot be wool, so the answer is (b)` denies in another clause.
    clause = sentence
    for match in _CLAUSE.finditer(text, sentence, begin):
        clause = match.end()
    return doubt.start() >= clause or _DOUBTS.search(text, clause, end) is not None
