r"""Read the choice that a reply to a multiple-choice question names: for collect, review and evaluate.

In either case, with quotes or Markdown around them or not, these forms name choice b, whose text is ``tin``::

    B    b.    (B)    [b]    B!                   a letter and nothing else, also on the first or last line
    B) tin    (B) text    B. text    B: text      a letter that opens the reply
    B - tin    B tin    B (tin)    tin (b)        a letter beside the text of its choice
    tin                                           a choice's text, on a line or in a sentence of its own
    Answer: B    Final answer: (B)    Option B    the same after such a word
    The answer is B    option B is correct    B is the right answer    I choose B    So it is (b).
    The answer is tin    tin is the correct answer    I choose tin
    \boxed{B}    \boxed{\text{B. tin}}    <answer>B</answer>    {"answer": "B"}

A letter is never taken from a word: the ``A`` of ``A plant`` is an article. A reply that opens with a choice
and then says what is wrong with the others names that choice. A list of the choices names none, and neither
does a reply that names two. A reply with a letter beside the text of another choice contradicts itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dataprep.answers.conclusions import (
    AND_ANOTHER,
    LOOK_AROUND,
    LOOKED_AT,
    in_words,
    stated,
    weak,
)
from dataprep.answers.final_answers import (
    LONGEST_CHOICE,
    Mention,
    Texts,
    said_of,
    texts_of,
    with_text,
    without_stop_tokens,
)
from dataprep.core.records import LETTERS

_QUOTES = "\"'“”‘’`*_ \t\n"
_EMPHASIS = re.compile(r"\*\*|__")
_UNKNOWN = Texts([""] * len(LETTERS))  # without choices any letter may be one
_LISTED = re.compile(r"[ \t]*\(?([A-Za-z])[).] ")
_SHORT = 24
_ALONE = re.compile(r"[\s(\[\"'“‘`*_-]{0,6}([A-Za-z])[\s).\]\"'”’`*_:!]{0,6}")


class Choice(NamedTuple):
    """The choice that a reply names."""

    letter: str | None  # `None` if it names none, or several
    place: int = -1  # where in the reply the letter stands; -1 if the choice is named in words
    contradicts: bool = False  # whether a letter is followed by the text of another choice


_NONE = Choice(None)


def letter_of(reply: str, choices: Sequence[str] = ()) -> str | None:
    """Return the letter of the one choice that a reply names; ``None`` if it names none or several."""
    return choice_of(reply, choices).letter


def choice_of(reply: str, choices: Sequence[str] = ()) -> Choice:
    """Return the choice that a reply names, and where its letter stands."""
    if len(reply) < _SHORT and (match := _ALONE.fullmatch(reply)):  # most often
        number = LETTERS.find(match[1].lower())
        return Choice(LETTERS[number], match.start(1)) if number < (len(choices) or len(LETTERS)) else _NONE
    said, thinking = said_of(reply)
    shift = reply.rfind(said) if thinking else 0
    said = without_stop_tokens(said)
    listed = _listed(said, choices)
    if listed is not None:
        return listed._replace(place=listed.place + shift if shift >= 0 else -1)
    if "**" in said or "__" in said:
        choices = [_EMPHASIS.sub("", choice) for choice in choices]
    texts = texts_of(tuple(choices)) if choices else _UNKNOWN
    boxed: list[Mention] = []
    if "<" in said or "{" in said:
        for marked in (_tagged, _in_fields, _boxed):
            if boxed := list(marked(said, texts)):
                break
        if boxed and marked is not _boxed:
            return _one_of(boxed, len(choices), shift)
    return _one_of(boxed + _plain(said, texts, boxed), len(choices), shift)


def _listed(said: str, choices: Sequence[str]) -> Choice | None:
    """Return the choice that the last line is, as the question lists it: ``(b) tin``."""
    end = len(said.rstrip())
    begin = said.rfind("\n", 0, end) + 1
    label = _LISTED.match(said, begin, end)
    number = LETTERS.find(label[1].lower()) if label else -1
    if label is None or not 0 <= number < len(choices) or said[label.end() : end] != choices[number].strip():
        return None
    # A worked answer may name several choices before that line. A list of all choices names none.
    if begin and (label[0][0] != "(" or _HEADER.search(said, max(begin - 24, 0), begin)):
        return None
    if begin:
        others = {f"({LETTERS[at]}) {text.strip(' .')}".lower() for at, text in enumerate(choices[:26])}
        others.discard(f"({LETTERS[number]}) {choices[number].strip(' .')}".lower())
        if any(line.strip(" \t.*#-").lower() in others for line in said[:begin].split("\n")):
            return None
    return Choice(LETTERS[number], label.start(1))


def _one_of(mentions: Sequence[Mention], count: int, shift: int) -> Choice:
    if not mentions:
        return _NONE
    number, first, agree = mentions[0].choice, -1, True
    for choice, place, other, _ in mentions:
        if other >= 0:
            return Choice(None, -1, True)
        # The opening, the box and the conclusion must agree: `B. No, the answer is C.` names no choice.
        agree = agree and choice == number
        first = place if first < 0 or 0 <= place < first else first
    if not agree or not 0 <= number < (count or len(LETTERS)):
        return _NONE
    return Choice(LETTERS[number], first + shift if first >= 0 <= shift else -1)


def _plain(said: str, texts: Texts, boxed: Sequence[Mention]) -> list[Mention]:
    """Return the choices that prose names, with the places of their letters in it."""
    emphasis = [match.start() for match in _EMPHASIS.finditer(said)] if "**" in said or "__" in said else ()
    plain = _EMPHASIS.sub("", said) if emphasis else said
    if boxed:  # what it says is known
        plain = _BOXED.sub(lambda match: " " * len(match[0]), plain)
    text = plain.strip(_QUOTES)
    mentions = _named(text.replace("ANSWER", "Answer") if "ANSWER" in text else text, texts)
    before = len(plain) - len(plain.lstrip(_QUOTES))
    if not before and not emphasis:
        return mentions
    found = []
    for mention in mentions:
        place = mention.letter + before if mention.letter >= 0 else -1
        for mark in emphasis:  # back to the position in the text with its `**`
            place += 2 if 0 <= mark <= place else 0
        found.append(mention._replace(letter=place))
    return found


# An answer in a form for programs.
_BOXED = re.compile(r"\\(?:boxed|fbox)\s?\{((?:[^{}\n]{1,200}+|\{[^{}\n]{0,200}+\}){1,5})\}")
_TEX = re.compile(r"\\(?:text\w{0,2}|math\w{2}|mbox)\s?(?=\{)|[{}$]|\\[,;! ]")
_LONELY = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
_TAGGED = re.compile(
    r"<(answer|final_answer|final|choice|option|output|response|result|ans)>(.{1,2000}?)(?:</\1>|\Z)",
    re.I | re.S,
)
_FIELD = re.compile(
    r"[\"'](?:\w{1,20}[ _-]|\w{1,12}(?=(?-i:[A-Z])))?"
    r"(?P<name>answers?|prediction|selection|choice|option|letter|label)"
    r"(?:[ _-]\w{1,20}|(?-i:[A-Z])\w{1,20})?[\"']"
    r"\s{0,4}:\s{0,4}\[?\s?(?:\"(?P<a>(?:[^\"\\\n]|\\.){1,500}+)\"|'(?P<b>[^'\n]{1,500}+)'"
    r"|(?P<c>[A-Za-z])\s?[,}\]])",
    re.I,
)
# Beside the answer in an object: `{"answer": "B", "text": "tin"}`.
_BESIDE_FIELD = re.compile(
    r"[\"'](?:[a-z]{1,12}[ _-]?)?(?:text|value|content|letter|label|option|choice)[\"']"
    r"\s{0,4}:\s{0,4}(?:\"([^\"\n]{1,2000})\"|'([^'\n]{1,2000})')",
    re.I,
)
_ANSWERS = ("answer", "answers", "prediction", "selection")  # these go before a field `label`


def _boxed(said: str, texts: Texts) -> Iterator[Mention]:
    if "\\boxed" not in said and "\\fbox" not in said:
        return
    for box in _BOXED.finditer(said[-LOOKED_AT:]):
        inner = _TEX.sub("", box[1])
        shift = max(len(said) - LOOKED_AT, 0) + box.start(1)
        if (letter := _LONELY.search(box[1])) is None and not inner.strip():
            continue
        for mention in _named(inner.strip(_QUOTES), texts):
            yield mention._replace(letter=shift + letter.start() if letter and mention.letter >= 0 else -1)


def _tagged(said: str, texts: Texts) -> Iterator[Mention]:
    if "<" not in said:
        return
    shift = max(len(said) - LOOKED_AT, 0)
    for tag in _TAGGED.finditer(said, shift):
        for mention in _plain(tag[2], texts, ()):
            yield mention._replace(letter=tag.start(2) + mention.letter if mention.letter >= 0 else -1)


def _in_fields(said: str, texts: Texts) -> Iterator[Mention]:
    if "{" not in said:
        return
    fields = list(_FIELD.finditer(said, max(len(said) - LOOKED_AT, 0)))
    first = [field for field in fields if field["name"].lower() in _ANSWERS]
    beside = _beside_fields(said, texts)
    for field in first or fields:
        name = field.lastgroup or "a"
        for mention in _plain(field[name], texts, ()):
            place = field.start(name) + mention.letter if mention.letter >= 0 else -1
            other = beside[place < 0]
            contradicts = mention.other < 0 <= other and other != mention.choice
            yield mention._replace(letter=place, other=other if contradicts else mention.other)


def _beside_fields(said: str, texts: Texts) -> tuple[int, int]:
    """Return the one choice whose text stands in a field beside the answer, and that of a letter; or -1."""
    in_words, by_letter = set[int](), set[int]()
    for field in _BESIDE_FIELD.finditer(said, max(len(said) - LOOKED_AT, 0)):
        value = (field[1] or field[2]).strip(_QUOTES + ".()").lower()
        in_words.update(number for number, forms in enumerate(texts) if value in forms)
        if len(value) == 1 and 0 <= LETTERS.find(value) < len(texts):
            by_letter.add(LETTERS.find(value))
    # A list of all choices says nothing about the answer.
    return (in_words.pop() if len(in_words) == 1 else -1), (by_letter.pop() if len(by_letter) == 1 else -1)


# Where a reply opens, and its last line.
_CALLED = (
    r"(?:answer|ans|choice|option|solution|prediction|response|output|conclusion|verdict|selection|pick|guess"
    r"|letter|correct)"
)
_CUE = re.compile(
    rf"[#>\s]*(?:(?:the|my|your) )?(?:(?:final|correct|best|right|predicted|selected) )?(?:{_CALLED}"
    rf"(?: (?:is|key|letter|choice|option))?\s*(?:[:=\n]|[-=]>|→)\s*"
    r"|(?:(?:choose|pick|select) )?(?:option|choice|answer|letter)\s+"
    r"(?=[(\[]?[A-Za-z](?:[)\].:,]|\s*$|\s+[-–—(])))"
    r"|(?:choose|pick|select):?\s+(?=[(\[]?[A-Za-z](?:[)\].:,]|\s*$))"
    # `It is b`, but not the article in `It is a`
    r"|(?:(?:it|that)(?:['’]s| is)|i(?:['’]d| would) say(?: that)?(?: it['’]s| it is| the answer is)?)"
    r"(?: \w{2,12}ly)?(?: option| choice)? (?!(?-i:a)$)|a:\s+(?=[(\[]?[A-Za-z][)\]]?\.?$)",
    re.I,
)
_WORD = re.compile(r"(?:(?:[Tt]he|[Mm]y|[Yy]our|[Aa]n?) )?([A-Za-z][a-z'’]+)(?=[,:]?\s)")
_CUE_WORDS = frozenset(
    """
    an ans answer best choice choose conclusion correct final guess i'd i’d it it's it’s letter my option
    output pick predicted prediction response right select selected selection solution that that's that’s the
    verdict your
    """.split()  # noqa: SIM905 - quoted words would fill a page
)
_DRESS = "\"'“‘`*_"
_LABEL = re.compile(
    rf"[{_DRESS}]{{0,4}}(?:\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])(?:\)|[.:](?=\s)|(?= (?:because|since)\b)"
    r"|[ \t\r]*(?=\n)))[.:,]?\s*(?=\S)"
)
_ONLY_LETTERS = re.compile(r"(?:[^\w?\u0300-\u036f]*+[A-Za-z]\b)++[^\w?\u0300-\u036f]*+")
_DENIED = re.compile(
    r" ?(?:is|was|can|could|would|does|do)"
    r"(?:n['’]t|\s+not\b|\s+(?:clearly |also )?(?:wrong|incorrect|false|out)\b)|cannot\b"
)
_NEXT_ITEM = re.compile(
    r"\n[^\w\n]{0,20}(?:(?:option|choice) )?([A-Za-z])(?:[).:\]](?=\s)|[ \t\r]*(?=\n|$)|\s[-–—]\s)", re.I
)
_INLINE = re.compile(r"\(([A-Za-z])\)")
_BEFORE_INLINE = re.compile(r"(?:[,;.:]|\band|\bor)\s{0,4}$")
_OTHERS = re.compile(
    r"\b(?:others?|wrong|incorrect|why not|not because|rather than|eliminat|remaining)", re.I
)
_ITEM = re.compile(r"[^\w\n]{0,20}(?:(?:[Oo]ption|[Cc]hoice) )?([A-Za-z])(?:[).:\]]|\s*$|\s[-–—]\s)")
_MOST_ITEMS = 100
_MOST_BESIDE = 60  # characters beside the text of a choice on a line that names it
_HEADER = re.compile(r"(?:options|choices)\W*$", re.I)


def _named(text: str, texts: Texts) -> list[Mention]:
    """Return the choices that a reply names as its answer, where it opens, concludes and ends.

    Args:
        text: the reply without thinking, emphasis, and outer white space and quotes.
        texts: the texts of the choices.
    """
    found = _opening(text, texts) + _closing(text, texts)
    if len(text) <= LOOKED_AT:
        return found + stated(text, 0, texts)
    return found + stated(text[-LOOKED_AT:], len(text) - LOOKED_AT, texts)


def _is_prose(text: str, begin: int, texts: Texts) -> bool:
    """Check whether a line begins with a word that no cue and no choice begins with, as most do."""
    word = _WORD.match(text, begin)
    if word is None or (plain := word[1].lower()) in _CUE_WORDS:
        return False
    if plain[0] not in texts.firsts and word[0][0].lower() not in texts.firsts:
        return True
    whole = word[0].lower()
    return not any(form.startswith((plain, whole)) for forms in texts for form in forms)


def _opening(text: str, texts: Texts) -> list[Mention]:
    if _is_prose(text, 0, texts):
        return []
    cue = _CUE.match(text)
    begin = cue.end() if cue else 0
    if _ONLY_LETTERS.fullmatch(text, begin):
        places = (place for place in range(begin, len(text)) if text[place].isalpha())
        return [Mention(LETTERS.find(text[place].lower()), place) for place in places]
    label = _LABEL.match(text, begin)
    if label is None:
        found = weak(text, begin, texts) or in_words(text, begin, texts)
        return [] if found and _lists_texts(text, found[0], texts) else found
    place = label.start(label.lastindex or 1)
    number = LETTERS.find(text[place].lower())
    # `(A) is wrong` denies, `(B) or (C)` and a list of all choices name none.
    after = place + 1 + (text[place + 1 : place + 2] in (")", "]"))
    if number >= len(texts) or _is_denied(text, label.end(), texts[number]) or AND_ANOTHER.match(text, after):
        return []
    mention = with_text(text, number, place, label.end(), texts)
    if mention.end > label.end() and AND_ANOTHER.match(text, mention.end):
        return []
    bare = not text[after : label.end()].strip(" \t.:,") and "\n" in text[after : label.end()]
    listed = _begins_a_list(text, after, number, len(texts), bare=bare, cued=cue is not None)
    return [] if listed else [mention]


def _is_denied(text: str, begin: int, forms: Sequence[str]) -> bool:
    """Check whether a letter, or its choice's text after it, is said to be wrong: ``(a) iron is wrong``."""
    ends = (len(form) for form in forms if text[begin : begin + len(form)].lower() == form)
    return (
        _DENIED.match(text, begin) is not None
        or _DENIED.match(text, begin + max(ends, default=0)) is not None
    )


def _begins_a_list(text: str, end: int, number: int, count: int, *, bare: bool, cued: bool) -> bool:
    """Check whether the label of the next choice follows, as in a list of all of them."""
    line = text.find("\n", end)
    line = len(text) if line < 0 else line
    inline = _INLINE.search(text, end, min(line, end + LONGEST_CHOICE))
    if inline and LETTERS.find(inline[1].lower()) == number + 1:
        return _BEFORE_INLINE.search(text, max(inline.start() - 8, 0), inline.start()) is not None
    for _, item in zip(range(_MOST_ITEMS), _NEXT_ITEM.finditer(text, end), strict=False):
        other = LETTERS.find(item[1].lower())
        if other == number or other >= count:  # `i.` may be a Roman number
            continue
        between = text[line : item.start()].strip()
        lonely = not text[item.end() : item.end() + 24].partition("\n")[0].strip()
        if bare or lonely:
            return bare and lonely and not between
        # An answer can be followed by what is wrong with the others.
        if other < number or _OTHERS.search(between[-LOOK_AROUND:]):
            return False
        return not (cued and (between or text.startswith("\n\n", line)))
    return False


def _lists_texts(text: str, mention: Mention, texts: Texts) -> bool:
    """Check whether the text of another choice is a line of its own further on."""
    place = text.find("\n", mention.end - 1 if mention.end else 0)
    for _ in range(_MOST_ITEMS):
        if place < 0:
            break
        others = in_words(text, place + 1, texts)
        if others and others[0].choice != mention.choice:
            return True
        place = text.find("\n", place + 1)
    return False


def _closing(text: str, texts: Texts) -> list[Mention]:
    """Return the choice that the last of several lines names and nothing else."""
    begin = text.rfind("\n") + 1
    if not begin or len(text) - begin > texts.longest + _MOST_BESIDE or _is_prose(text, begin, texts):
        return []
    line = text[begin:].lstrip("#> \t-")
    begin = len(text) - len(line)
    head = text[:begin].rstrip(" \t#*_>\n-")
    before = head[head.rfind("\n") + 1 :]
    if _HEADER.search(before, max(len(before) - 24, 0)) or line.count("(") > line.count(")"):
        return []
    item = _ITEM.match(before)
    cue = _CUE.match(line)
    start = cue.end() if cue else 0
    if _ONLY_LETTERS.fullmatch(line, start):
        places = [place for place in range(start, len(line)) if line[place].isalpha()]
        found = [Mention(LETTERS.find(line[place].lower()), begin + place) for place in places]
    else:
        label = _LABEL.match(line, start)
        if label is None:
            found = weak(line, start, texts) or in_words(line, start, texts, whole=True)
        else:
            place = label.start(label.lastindex or 1)
            number = LETTERS.find(line[place].lower())
            mention = with_text(line, number, place, label.end(), texts)
            found = [mention] if mention.end > label.end() else []
        found = [
            each._replace(letter=begin + each.letter if each.letter >= 0 else -1, end=begin + each.end)
            for each in found
        ]
    # The end of a list of choices concludes nothing, nor does what is said of another one.
    number = LETTERS.find(item[1].lower()) if item else len(texts)
    if found and before.endswith(":") and _OTHERS.search(before, max(len(before) - LOOK_AROUND, 0)):
        return []
    beside = text.count("\n", len(head), begin) < 2
    if found and number < len(texts) and (number < found[0].choice or (number > found[0].choice and beside)):
        return []
    if found and found[0].letter < 0 and in_words(before, 0, texts, whole=True):
        return []
    return found
