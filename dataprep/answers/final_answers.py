r"""Read a reply: what it says beside its thinking, the text of a choice in it, and the number that it states.

A number is read after the last of these marks, if it ends its line and no further number follows::

    #### 1,600      The answer is $1,600.      **Answer:** 1600 gold coins      \boxed{1600}

A number after which a comparison could go wrong (``3/4``, ``50%``, ``2 dozen``, ``16 or 18``) is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from dataprep.core.records import LETTERS

# Where thinking begins and ends, in the marks of several models; a closing mark has `/`, `end` or `channel|`.
_THOUGHT = r"(?:seed:|ant(?:ml)?:)?(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad)"
_THINKING = re.compile(
    rf"<\|?(?:[/ ]{{0,2}}{_THOUGHT}|(?:begin|end)_of_thought|(?:start|end)_thinking) ?\|?>"
    r"|\[/?think\]|◁/?think▷|<\|channel>(?=thought)|<channel\|>",
    re.I,
)
_LONGEST_MARK = 32
_QUOTES_BEFORE = ("`", '"', "'")  # a mark after one of these is spoken of, for example in a program
# The quote or fence before this end closes what the thinking quotes: `… is "A"</think>`.
_CLOSED_QUOTE = re.compile(r"(?:```|[\w.!?)\]}][`\"'])<[^<>\n]{1,20}>[ \t]*(?:\n|\Z)")
# Stop tokens at the end of a model's turn, which some servers show.
_STOP_TOKENS = re.compile(
    r"(?:\s*(?:<\|(?:im_end|eot_id|eom_id|end_of_text|endoftext|end|END_OF_TURN_TOKEN)\|>|<end_of_turn>|<turn\|>|<eos>"
    r"|<｜end▁of▁sentence｜>|</s>))+\s*\Z"
)
_STOP_ENDS = ("|>", "</s>", "<eos>", "<end_of_turn>", "<turn|>", "｜>")
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
    return divided(reply)[:2]


def divided(reply: str) -> tuple[str, str, bool]:
    """Return what ``said_of`` returns, and whether the reply ends inside its thinking."""
    if "<" in reply or "[" in reply or "◁" in reply:
        if "<|message|>" in reply and (marks := list(_CHANNEL.finditer(reply))):
            return _in_channels(reply, marks)
        marks = list(_marks(reply))
        if marks:
            return _beside(reply, marks)
    if reply.startswith(_ANALYSIS) and (end := reply.rfind(_FINAL)) >= 0:
        return reply[end + len(_FINAL) :].strip(), reply[len(_ANALYSIS) : end].strip(), False
    return reply, "", False


def begins_in_thinking(reply: str) -> bool:
    """Return whether a reply has the end of a thinking whose beginning the prompt wrote."""
    if "</" not in reply and "[/" not in reply and "◁/" not in reply and "|" not in reply:
        return False
    first = next(_marks(reply), None)
    return first is not None and _closes(first)


def opening_of(prompt: str) -> str:
    """Return the beginning of a thinking with which a prompt ends; empty if it ends in another way."""
    end = len(prompt.rstrip())
    last = None
    for last in _THINKING.finditer(prompt, max(end - _LONGEST_MARK, 0)):  # noqa: B007 - the last one
        pass
    return prompt[last.start() :] if last and last.end() == end and not _closes(last) else ""


def _marks(reply: str) -> Iterator[re.Match[str]]:
    for mark in _THINKING.finditer(reply):
        quoted = reply.startswith(_QUOTES_BEFORE, max(mark.start() - 1, 0))
        if not quoted or (
            _closes(mark) and _CLOSED_QUOTE.search(reply, max(mark.start() - 3, 0), mark.end() + 8)
        ):
            yield mark


def without_stop_tokens(reply: str) -> str:
    """Return a reply without the stop tokens at its end, such as ``<|im_end|>``, which some servers show."""
    if (
        ">" not in reply[-4:]
        or not reply.rstrip().endswith(_STOP_ENDS)
        or ("<s>" in reply and reply.rstrip().endswith("</s>"))
    ):
        return reply
    match = _STOP_TOKENS.search(reply, max(len(reply) - 200, 0))
    return reply[: match.start()] if match else reply


def _beside(reply: str, marks: Sequence[re.Match[str]]) -> tuple[str, str, bool]:
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
    return _WRAPPED.sub("", _joined(said)), _joined(thinking), opened


def _closes(mark: re.Match[str]) -> bool:
    return "/" in mark[0] or mark[0].lower().startswith(("<|end_", "<channel", "<end_"))


def _in_channels(reply: str, marks: Sequence[re.Match[str]]) -> tuple[str, str, bool]:
    said, thinking = [_ROLE.sub("", reply[: marks[0].start()])], list[str]()
    for mark, end in zip(marks, [*(mark.start() for mark in marks[1:]), len(reply)], strict=True):
        # Without a channel, a message ended, and a role may begin the next one.
        (said if mark[1] in (None, "final") else thinking).append(_ROLE.sub("", reply[mark.end() : end]))
    return _joined(said), _joined(thinking), marks[-1][1] not in (None, "final")


def _joined(texts: Sequence[str]) -> str:
    plain = (_BLANK_LINES.sub("", text).rstrip() for text in texts)
    return "\n\n".join(text for text in plain if text)


# The text of a choice, and where it ends: a number can have further characters where a word cannot.
LONGEST_CHOICE = 2_000
_TEXT_END = re.compile(
    r"[\"'”’`*_)\]}]{0,4}(?:\s*$|[ \t]*\n|[.!;](?:\s|$)|,? (?:because|since|as|which|so|not)\b"
    r"|\s+[-–—]|\s*[(\[](?:[Oo]ption |[Cc]hoice |[Aa]nswer )?[A-Za-z][)\]])"
)
_NUMBER_END = re.compile(
    r"[\"'”’`*_)\]}$]{0,4}(?:\s*$|[ \t]*\n|[.!;](?:\s|$)|,? (?:because|since)\b|\s*[(\[][A-Za-z][)\]])"
)
_GOES_ON = re.compile(r"[\"'”’`*_)\]}]{0,4}[,:](?!\d)")
_BEFORE_A_TEXT = re.compile(  # also `C, which is tin`, and `Text: tin` on the next line
    r"[.,:)]?[\s\"'“‘`*_:(–—-]{0,8}(?:(?:(?:which|that) (?:is|stands for|means)|[Tt]ext:) [\"'“‘`*_]{0,4})?"
)
_LETTER_AFTER = re.compile(
    r"[\"'”’`*_,]{0,4}\s*(?:(?:which|that|this) is )?(?:[(\[](?:option |choice |answer )?(?P<a>[A-Za-z])[)\]]"
    r"|(?:(?<= is )|(?<=[, ])(?:option|choice|answer|letter) )[(\[]?(?P<b>[A-Za-z])[)\]]?(?=[.,;!*\n]|$))",
    re.I,
)
_ARTICLE = re.compile(r"(?:the|an?) ", re.I)
_TRUTH = ("yes", "no", "maybe", "true", "false")  # these also open a sentence: `No, it melts.`


class Mention(NamedTuple):
    """A choice that a reply names."""

    choice: int
    letter: int = -1  # where its letter stands; -1 if it is named in words
    other: int = -1  # the choice whose text stands beside the letter, if that is another one
    end: int = 0


class Texts(list[Sequence[str]]):
    """The texts of choices as they are compared: in lower case, with and without article; none if unknown."""

    def __init__(self, choices: Sequence[str]) -> None:
        for choice in choices[: len(LETTERS)]:
            plain = choice[:LONGEST_CHOICE].rstrip(".").lower()
            article = _ARTICLE.match(plain) if plain.startswith(("a", "t")) else None
            self.append((plain, plain[article.end() :]) if article else (plain,) if plain else ())
        self.longest = max([len(forms[0]) for forms in self if forms], default=LONGEST_CHOICE)
        self.firsts = {form[:1] for forms in self for form in forms}


@lru_cache(maxsize=16)  # several teachers answer a question one after the other
def texts_of(choices: tuple[str, ...]) -> Texts:
    """Return the texts of choices as they are compared."""
    return Texts(choices)


def with_text(
    text: str, number: int, place: int, begin: int, texts: Texts, *, loose: bool = False
) -> Mention:
    """Return the mention of a letter with the text after it: its choice's, another's, or neither."""
    if begin >= len(text):
        return Mention(number, place, -1, begin)
    starts = _starts(text, begin)
    if 0 <= number < len(texts):
        end = _spells(text, starts, texts[number], loose=loose)
        if end >= 0:
            return Mention(number, place, -1, end)
    other, end = spelled(text, begin, texts, starts=starts)
    return Mention(number, place, other, end if other >= 0 else begin)


def with_letter(text: str, number: int, end: int, texts: Texts) -> Mention:
    """Return the mention of a choice by its text, with the letter after it: ``tin (b)``."""
    match = _LETTER_AFTER.match(text, end)
    after = LETTERS.find(match[match.lastgroup or "a"].lower()) if match else -1
    if match is None or not 0 <= after < len(texts):
        return Mention(number, -1, -1, end)
    return Mention(after, match.start(match.lastgroup or "a"), -1 if after == number else number, match.end())


def spelled(
    text: str, begin: int, texts: Texts, *, loose: bool = False, starts: Sequence[int] = ()
) -> tuple[int, int]:
    """Return the choice with the longest text that stands at a place, and where that ends; -1 without one.

    ``loose`` lets a comma or colon end it, too.
    """
    best, longest, twice = -1, begin, False
    if begin >= len(text):
        return best, begin
    starts = starts or _starts(text, begin)
    firsts = {text[at : at + 1].lower() for at in starts}
    for number, forms in enumerate(texts):
        if not forms or (forms[0][0] not in firsts and forms[-1][:1] not in firsts):
            continue
        end = _spells(text, starts, forms, loose=loose)
        if end > longest:
            best, longest, twice = number, end, False
        elif end == longest and best >= 0:
            twice = True
    return (-1, begin) if twice else (best, longest)


def _starts(text: str, begin: int) -> list[int]:
    start = begin
    if not text[begin].isalnum() and (after := _BEFORE_A_TEXT.match(text, begin)):
        start = after.end()
    starts = [begin, start] if start > begin else [begin]
    if text[start : start + 1] in ("a", "t", "A", "T") and (article := _ARTICLE.match(text, start)):
        starts.append(article.end())
    return starts


def _spells(text: str, starts: Sequence[int], forms: Sequence[str], *, loose: bool = False) -> int:
    """Return where the text of a choice ends that stands at one of several places; -1 if it does not."""
    longest = -1
    for words in forms:
        for begin in starts:
            end = begin + len(words)
            if not words or text[begin:end].lower() != words:
                continue
            ends = _NUMBER_END if words[-1].isdigit() else _TEXT_END
            if ends.match(text, end) or ((loose or words in _TRUTH) and _GOES_ON.match(text, end)):
                longest = max(longest, end)
    return longest


# An answer is at the end of a reply, so only its last characters are read.
_LOOKED_AT = 20_000
_LOOK_AROUND = 200
_MARK = re.compile(r"####|\\boxed\s?\{|[Aa]nswer(?: is\b| equals\b)?\s?:|[Aa]nswer is\b|(?:(?<=\n)|^)A:")
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
