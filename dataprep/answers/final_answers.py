r"""Extract the answer that a reply states: the letter of a choice, or a number.

These forms of a letter are read, in either case, with quotes or Markdown's ``**`` around them or not::

    A       a.       (A)       [a]       A:       B!        a letter with punctuation and nothing else
    A) text      A. text      A: text      (A) text         a letter that opens the reply
    A                                                       alone on the first line, more below
    Answer: A      Answer: (A) text      ANSWER: A. text    the same after "Answer:"
    Option A      choice (a)                                the same after the bare word
    The answer is A      Option A is correct      the correct choice is 'a'      The answer is **A**
    \boxed{A}      $\boxed{\text{A}}$                       LaTeX's box

A letter is never taken from a word: ``A`` in ``A plant`` is an article. A reply that names two letters names
none.

A number is read after the last of these marks, if it ends its line and no further number follows::

    #### 1,600      The answer is $1,600.      **Answer:** 1600 gold coins      \boxed{1600}

A number after which a comparison could go wrong (``3/4``, ``50%``, ``2 dozen``, ``16 or 18``) is not read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from dataprep.answers.conclusions import conclusion, letter_of_conclusion
from dataprep.core.records import LETTERS

# Where thinking begins and ends, in the marks of several models; a closing mark has `/`, `end` or `channel|`.
_THOUGHT = r"(?:seed:|ant(?:ml)?:)?(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad)"
_THINKING = re.compile(
    rf"<\|?(?:[/ ]{{0,2}}{_THOUGHT}|(?:begin|end)_of_thought|(?:start|end)_thinking) ?\|?>"
    r"|\[/?think\]|◁/?think▷|<\|channel>(?=thought)|<channel\|>",
    re.I,
)
_QUOTES_BEFORE = ("`", '"', "'")  # a mark after one of these is spoken of, for example in a program
# gpt-oss names the channel of each message; decoded without special tokens, only the names are left.
_CHANNEL = re.compile(
    r"<\|channel\|>\s?(\w{0,20})[^<]{0,80}(?:<\|constrain\|>[^<]{0,80})?<\|message\|>|<\|(?:end|return|call)\|>"
)
_ROLE = re.compile(r"<\|start\|>[^<]{0,80}\Z")
_ANALYSIS, _FINAL = "analysis", "assistantfinal"
_WRAPPED = re.compile(r"<\|(?:(?:begin|end)_of_solution|(?:START|END)_RESPONSE)\|>")
_BLANK_LINES = re.compile(r"\A\s*\n")  # not the indentation of a program after them


def said_of(reply: str) -> tuple[str, str]:
    """Return what a reply says, and the thinking that it shows beside that.

    Thinking stands between ``<think>`` and ``</think>``, or the marks of other models: ``<thinking>``,
    ``[THINK]``, ``<|channel|>analysis<|message|>`` and the like. An end without a beginning, which the prompt
    may have had, ends the thinking that opens the reply. After a beginning without an end nothing was said.

    Returns:
        The words outside of the thinking, which are all of ``reply`` if there is none, and the thinking.
    """
    if "<" in reply or "[" in reply or "◁" in reply:
        if "<|message|>" in reply and (marks := list(_CHANNEL.finditer(reply))):
            return _in_channels(reply, marks)
        marks = [
            mark
            for mark in _THINKING.finditer(reply)
            if not reply.startswith(_QUOTES_BEFORE, max(mark.start() - 1, 0))
        ]
        if marks:
            return _beside(reply, marks)
    if reply.startswith(_ANALYSIS) and (end := reply.rfind(_FINAL)) >= 0:
        return reply[end + len(_FINAL) :].strip(), reply[len(_ANALYSIS) : end].strip()
    return reply, ""


def _beside(reply: str, marks: Sequence[re.Match[str]]) -> tuple[str, str]:
    said: list[str] = []
    thinking: list[str] = []
    place, opened, end = 0, False, len(reply.rstrip())
    last = max((number for number, mark in enumerate(marks) if _closes(mark)), default=-1)
    for number, mark in enumerate(marks):
        closes, text = _closes(mark), slice(place, mark.start())
        if not closes:
            # Without an end it is a mark only where a line begins: prose may speak of `<think>`.
            line = reply[max(mark.start() - 8, 0) : mark.start()].rstrip(" \t")
            if opened or (number > last and line and not line.endswith("\n")):
                continue
            said.append(reply[text])
        elif opened:
            thinking.append(reply[text])
        elif thinking and mark.end() >= end and reply[text].strip():
            said.append(reply[text])  # a second end, after all was said
        else:
            thinking += [*said, reply[text]]
            said = []
        place, opened = mark.end(), not closes
    (thinking if opened else said).append(reply[place:])
    return _WRAPPED.sub("", _joined(said)), _joined(thinking)


def _closes(mark: re.Match[str]) -> bool:
    return "/" in mark[0] or mark[0].lower().startswith(("<|end_", "<channel", "<end_"))


def _in_channels(reply: str, marks: Sequence[re.Match[str]]) -> tuple[str, str]:
    said, thinking = [_ROLE.sub("", reply[: marks[0].start()])], list[str]()
    for mark, end in zip(marks, [*(mark.start() for mark in marks[1:]), len(reply)], strict=True):
        if mark[1] is not None:  # else a message ended
            (said if mark[1] == "final" else thinking).append(_ROLE.sub("", reply[mark.end() : end]))
    return _joined(said), _joined(thinking)


def _joined(texts: Sequence[str]) -> str:
    plain = (_BLANK_LINES.sub("", text).rstrip() for text in texts)
    return "\n\n".join(text for text in plain if text)


_QUOTES = "\"'“”‘’`*_ \t\n"
_EMPHASIS = re.compile(r"\*\*|__")
_CUE = re.compile(r"[#>\s]*(?:(?:(?:the|my) )?(?:(?:final|correct|best|right) )?answer\s*[:\n]\s*)", re.I)
_BARE = re.compile(r"(?:option|choice|answer) (?=\(?[A-Za-z]\)?\.?$)", re.I)
_BOXED = re.compile(r"\$?\\boxed\{(?:\\text(?:bf)?\{)?\(?([A-Za-z])\)?\}{1,2}\$?")
_OPENING = re.compile(
    r"(?:([A-Za-z])[).:]|\(([A-Za-z])\)[.:]?|\[([A-Za-z])\][.:]?|([A-Za-z])[ \t\r]*(?=\n))\s+\S"
)
_LETTERED = re.compile(r"\n[^\w\n]*([A-Za-z])(?:[).:]\s|[ \t\r]*(?:\n|$))|\(([A-Za-z])\)|\[([A-Za-z])\]")
_ONLY_LETTERS = re.compile(r"(?:[^\w?\u0300-\u036f]*+[A-Za-z]\b)++[^\w?\u0300-\u036f]*+")
_ANY = [""] * len(LETTERS)


def letter_of(reply: str, choices: Sequence[str] = ()) -> str | None:
    """Return the letter of the one choice that a reply names; ``None`` if it names none or several."""
    boxed = {letter.lower() for letter in _BOXED.findall(reply)}
    if len(boxed) > 1:
        return None
    text = _EMPHASIS.sub("", _BOXED.sub(r"(\1)", reply)).strip(_QUOTES)
    texts = [
        _EMPHASIS.sub("", choice) for choice in choices
    ] or _ANY  # without choices, any letter may be one
    place = conclusion(text.replace("ANSWER", "Answer"), texts)
    concluded = {LETTERS[place]} if 0 <= place < len(LETTERS) else set()
    # The opening, the box and the conclusion must agree: `B. No, the answer is C.` names no choice.
    named = _opening_letter(text) | boxed | concluded
    letter = named.pop() if len(named) == 1 else ""
    return letter if letter and LETTERS.find(letter) < (len(choices) or len(LETTERS)) else None


def _opening_letter(text: str) -> set[str]:
    """Return the letter that a text opens with, or all letters of a text of nothing else."""
    cue = _CUE.match(text) or _BARE.match(text)
    begin = cue.end() if cue else 0
    if _ONLY_LETTERS.fullmatch(text, begin):
        return {letter.lower() for letter in text[begin:] if letter.isalpha()}
    match = _OPENING.match(text, begin)
    if match is None:
        return set()
    letter = _label(match)
    # A list of choices opens with the letter of the first one, so other letters after it leave none.
    others = _LETTERED.finditer(text, match.end(match.lastindex or 1))
    return {letter} if all(_label(other) == letter for other in others) else set()


def letter_place(reply: str, choices: Sequence[str] = ()) -> int:
    """Return the position of the letter that ``letter_of`` reads; -1 if a reply names its choice in words."""
    if boxed := _BOXED.search(reply):
        return boxed.start(1)
    emphasis = [match.start() for match in _EMPHASIS.finditer(reply)]
    plain = _EMPHASIS.sub("", reply)
    text = plain.strip(_QUOTES)
    place = _opening_place(text)
    if place < 0:
        place = letter_of_conclusion(text, choices or _ANY)
    if place < 0:
        return -1
    place += len(plain) - len(plain.lstrip(_QUOTES))
    for mark in emphasis:  # back to the position in the text with its `**`
        place += 2 if mark <= place else 0
    return place


def _opening_place(text: str) -> int:
    if len(_opening_letter(text)) != 1:
        return -1
    cue = _CUE.match(text) or _BARE.match(text)
    begin = cue.end() if cue else 0
    if (match := _OPENING.match(text, begin)) and not _ONLY_LETTERS.fullmatch(text, begin):
        return match.start(match.lastindex or 1)
    return next(place for place in range(begin, len(text)) if text[place].isalpha())


def _label(match: re.Match[str]) -> str:
    return match[match.lastindex or 1].lower()


# An answer is at the end of a reply, so only its last characters are read.
_LOOKED_AT = 20_000
_LOOK_AROUND = 200
_MARK = re.compile(r"####|\\boxed\s?\{|[Aa]nswer(?: is\b| equals\b)?\s?:|[Aa]nswer is\b")
_NUMBER = r"([-−–]?)[$€£]?([-−–]?)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(?![\d,]*\d|[A-Za-z_])"
_WHOLE = re.compile(_NUMBER + r"\.?")
_BEFORE, _AFTER, _LINE_END = r"[^\w+.\n]{0,20}?", r"[}$*\\]{0,8}", r"[.!*)\]}$\\ \t\"'”’]{0,20}(?:\n|$)"
_SAME_LINE = re.compile(_BEFORE + _NUMBER + _AFTER + r"((?: [A-Za-z]+){0,3})" + _LINE_END)
# On a line of its own, only without words: `1. First …` after `Answer:` begins a list.
_NEXT_LINE = re.compile(r"[*: \t]{0,8}\n\s{0,8}" + _BEFORE + _NUMBER + _AFTER + "()" + _LINE_END)
# Words that change the value of the number before them.
_SCALES = re.compile(
    r"\b(?:percent|cents?|dozens?|hundreds?|thousands?|millions?|billions?|trillions?|half|halves|thirds?|"
    r"quarters?|fourths?|fifths?|tenths?|squared|cubed|factorial|or|and|to|plus|minus|times)\b"
)
_UNSURE = re.compile(r"\b(?:[Ii]f|not|wrong|incorrect|isn't|cannot|can't)\b")


def number_of(text: str) -> Decimal | None:
    """Return the number in a text of nothing else, for example ``$1,600.50``; otherwise ``None``."""
    match = _WHOLE.fullmatch(text.strip())
    return _value(match) if match else None


def stated_number(reply: str) -> Decimal | None:
    """Return the number that a reply states as its answer; ``None`` if that is not certain."""
    text, mark = reply[-_LOOKED_AT:], None
    for mark in _MARK.finditer(text):  # noqa: B007 - the last one
        pass
    if mark is None:
        return None
    before = text[max(mark.start() - _LOOK_AROUND, text.rfind("\n", 0, mark.start()) + 1) : mark.start()]
    match = _SAME_LINE.match(text, mark.end()) or _NEXT_LINE.match(text, mark.end())
    # A number after the answer may correct it.
    if match is None or _UNSURE.search(before) or re.search(r"\d", text[match.end() :]):
        return None
    words = match[5].lower()
    if _SCALES.search(words) or (words and mark[0] == "####"):  # `#### 2 Solve it` is a heading
        return None
    return _value(match)


def _value(match: re.Match[str]) -> Decimal:
    # A minus stands before the currency or after it: -$5, $-5.
    before, after, whole, fraction = match.groups()[:4]
    value = Decimal(whole.replace(",", "") + (fraction or ""))
    return -value if before or after else value
