"""Find the choice that a rationale concludes on, or that a reply states, by letter or in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dataprep.answers.final_answers import (
    LONGEST_CHOICE,
    Mention,
    Texts,
    spelled,
    with_letter,
    with_text,
)
from dataprep.core.records import LETTERS

# Each form is searched from a word that it always contains (`answer`, `) is `), with string searches; the
# expressions only look around such a word. That is fast, and takes linear time for any text.

# A conclusion is at the end of a text, so only its last characters are read.
LOOKED_AT = 20_000
LOOK_AROUND = 200
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
AND_ANOTHER = re.compile(r",? *(?:and |or |& ?|/ ?)?(?:\([a-zA-Z]\)|[a-zA-Z](?=[.,;)]|$| and\b| or\b))")
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
    text = text[-LOOKED_AT:]
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
            before := _FURTHER_BEFORE.search(text, max(place - LOOK_AROUND, 0), place)
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
        said = choices[number][:LONGEST_CHOICE].rstrip(".").lower() if 0 <= number < len(choices) else "\0"
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
    if AND_ANOTHER.match(text, end):
        return True
    listed = _LISTED_NEXT.match(text, match.end(match.lastindex or 1)) if ":" in match[0] else None
    return listed is not None and LETTERS.find(listed[1].lower()) == _number(match) + 1


def _is_doubted(text: str, begin: int, end: int) -> bool:
    # Only some characters around the words are searched, so that a text without full stops takes linear time.
    earliest = max(begin - LOOK_AROUND, 0)
    sentence = max(earliest, text.rfind(".", earliest, begin) + 1, text.rfind("\n", earliest, begin) + 1)
    after = _CLAUSE.search(text, end, end + LOOK_AROUND)
    end = after.start() if after else end + LOOK_AROUND
    if not (doubt := _DOUBTS.search(text, sentence, end)):
        return False
    if _SUPPOSES.search(text, sentence, end):  # `If it melts, the answer is (b)`
        return True
    # `It cannot be wool, so the answer is (b)` denies in another clause.
    clause = sentence
    for match in _CLAUSE.finditer(text, sentence, begin):
        clause = match.end()
    return doubt.start() >= clause or _DOUBTS.search(text, clause, end) is not None


# Replies are read in the same forms and in more: letter and text of a choice side by side, `B is correct`, `I
# choose B`.
_LINE_END = re.compile(r"[\"'”’`*_)\]}$.!]{0,4}[ \t]*(?:$|\n)")
_ANOTHER_TEXT = re.compile(r"[.,;/&]?\s*(?:and\s+|or\s+)?")
_DRESS = "\"'“‘`*_"
# Only before the text of its choice: `B - tin`, `B tin`, `B (tin)`.
_WEAK_LABEL = re.compile(rf"[{_DRESS}]{{0,4}}([A-Za-z])(\s*(?:[-–—=]+>?|→))?[,:]?\s+(?=\S)")
_NOUNS = (*_WORDS, "etter")  # letter
_BESIDE = " :*_=-"
_LETTER = (
    r"(?:[(\[{<\"'“‘`*_$]{1,4}([a-zA-Z])[)\]}>\"'”’`*_$]{1,4}"
    # Without brackets only before punctuation or at the end: `the answer is a plant` names none.
    r"|([a-zA-Z])(?=[.,;:!)}\]\n]|$|\s?[-–—]\s|\s?\("
    r"| (?:because|since|as it|which|rather|instead|and not|not)\b))"
)
_NOUN = r"(?: (?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ll]etter))?"
_IS_WIDE = rf"(?:{_IS}| would(?: \w{{1,10}}){{1,2}} be| seems to be| appears to be)"
_SURELY = r"(?: (?:now|likely|most likely|therefore|indeed|\w{2,12}ly))?"
_OF_WHAT = r"(?: to (?:this|the|your) (?:\w{1,12} )?(?:question|problem))?"
_LEAD = (
    rf"(?:(?: left| remaining)?{_OF_WHAT}{_IS_WIDE}{_SURELY}(?: the)?{_NOUN}:?|(?: [Kk]ey| letter)?"
    r" ?[*_]*[:=]| [-–—])[ *_\n]{0,3}"
)
_STATED = re.compile(_LEAD + _LETTER)
_LEADS = re.compile(_LEAD)
_OF_EACH = re.compile(r"\b(?:each|every|any|per)(?: \w{1,20})? \w{1,12}$", re.I)
_SUBJECT = re.compile(r"[ :]{0,2}\(?([a-zA-Z])\)?(?=[ ,:(])")
_IS_RIGHT = re.compile(
    rf"[ ,)\"'”’*_]{{0,4}}(?:,? which)?{_IS_WIDE}{_SURELY} (?:the |my )?(?:only |most )?"
    rf"(?:{_RIGHT_ONE}|left(?! out))\b"
)
_FURTHER_LETTER = re.compile(rf" is {_LETTER}")
# `B is correct`, `(b) tin is the answer`: from its last word.
_RIGHT_WORDS = (" correct", " right", " best", " most ")
_MOST_RIGHT = re.compile(r" most \w{2,20} (?:answer|option|choice|one)\b")
_MINE = (" is the a", " be the a", "ly the a", " is my a", " be my a", " is my c", " be my c")
_IS_BEFORE = re.compile(rf"{_IS_WIDE}{_SURELY}(?: the| my)?(?: only| most)?$")
_IS_ENDS = (" is", " be", "ly", " the", " my", " only", " most", " now", " therefore", " indeed")
_LETTER_BEFORE = re.compile(r"(?:^|[^\w'’])([\[(\"'“‘*_]{0,3})([A-Za-z])[)\]\"'”’*_]{0,3}[,:.]?$")
_ONE_BEFORE = re.compile(r"(?:^|\W)[A-Za-z][)\]]?\s*(?:,|/|&|\bor|\band)\s*[(\[\"']*$")
_CLAUSE_BEGINS = re.compile(
    r"(?:^|[.,;:!?\n—–-]|\b(?:so|thus|therefore|hence|that|think|believe|conclude|say|because|since|answer|option"
    r"|choice|letter|and|but))[\s(\[\"'“‘*_]*$",
    re.I,
)
_CHOSEN = re.compile(
    r"\b(?:[Cc]h(?:oo|o)se|[Pp]ick(?:ed)?|[Ss]elect(?:ed)?|[Gg]o(?:ing)? with):?(?: the)?"
    rf"{_NOUN}:? "
)
_CHOOSER = re.compile(
    r"(?:^|[\n.,;:!?]\s*|\b(?:I|[Ww]e|should|would|will|must|['’](?:d|ll|m|ve)|have|am|so|therefore|thus|hence"
    r"|and)\s+(?:\w{1,20}ly )?)$"
)
_ONE_LETTER = re.compile(_LETTER)
_LAST_WORDS = 48
_LETTER_ENDS = re.compile(r"[ (\[][A-Za-z][)\]]?[.!]?$")
_AT_LAST = re.compile(
    rf"(?:\b(?:[Ii]t|[Tt]hat)(?:['’]s|{_IS})|\b(?:[Tt]herefore|[Ss]o|[Hh]ence|[Tt]hus)[,:]?|[→⇒]|[=-]>)"
    r"(?: the)?(?: option| choice| answer)?:? (?:[(\[]([a-zA-Z])[)\]][.!]?|([a-zA-Z])[.!])$"
)


def stated(text: str, shift: int, texts: Texts) -> list[Mention]:
    """Return the choices that a reply states as its answer, wherever; ``shift`` is added to their places."""
    found: list[Mention] = []
    for word in _NOUNS:
        place = text.find(word)
        while place >= 0:
            if text.endswith(_MINE, 0, place) and (mention := _right_before(text, place - 2, texts)):
                _add(found, text, mention, place)
            place += len(word)
            if text[place : place + 1] in _BESIDE and (mention := _stated_at(text, place, texts)):
                _add(found, text, mention, place)
            place = text.find(word, place)
    for word in _RIGHT_WORDS:
        place = text.find(word)
        while place >= 0:
            mention = None
            if text.startswith(" one", place + len(word)):  # the correct one is (b)
                mention = _stated_at(text, place + len(word) + 4, texts)
            if mention:
                _add(found, text, mention, place)
            elif word == _RIGHT_WORDS[-1] and not _MOST_RIGHT.match(text, place):
                pass
            elif text.endswith(_IS_ENDS, 0, place) and (mention := _right_before(text, place, texts)):
                _add(found, text, mention, place)
            place = text.find(word, place + 1)
    _add_further(found, text, texts)
    if not found:
        _add_chosen(found, text, texts)
    return [each._replace(letter=each.letter + shift) for each in found] if shift else found


def _add_further(found: list[Mention], text: str, texts: Texts) -> None:
    """Add the choices after `answer` and some words: `the answer that can be right is (b)`."""
    place = text.find(" is (")
    while place >= 0:
        # After one of `_WORDS` it is read above.
        if not text.endswith(_WORDS, 0, place) and (match := _FURTHER_LETTER.match(text, place)):
            before = _FURTHER_BEFORE.search(text, max(place - LOOK_AROUND, 0), place)
            if before:
                _add(found, text, _lettered(text, match, texts), before.start())
        place = text.find(" is (", place + 1)


def _add(found: list[Mention], text: str, mention: Mention, begin: int) -> None:
    """Add a mention whose words begin at a place, unless they deny, ask, suppose or name another choice."""
    end = mention.end
    if mention.choice < 0 or text.startswith("?", end) or AND_ANOTHER.match(text, end):
        return
    begin, after_letter = min(begin, end), mention.letter + 1
    doubted = _is_doubted(text, begin, end)
    if doubted and begin < after_letter < end:  # by the choice's own words, perhaps: `(b) not hungry`
        low = max(begin - LOOK_AROUND, 0)
        around = text[low:after_letter] + "." + " " * (end - after_letter - 1) + text[end : end + LOOK_AROUND]
        doubted = _is_doubted(around, begin - low, end - low)
    if not doubted:
        found.append(mention)


def _add_chosen(found: list[Mention], text: str, texts: Texts) -> None:
    """Add the choices of which a text says that it chooses them, or that it ends in."""
    # One by one, which is faster than a loop.
    may = "ose " in text or "pick" in text or "select" in text or "o with" in text or "oing with" in text
    for chosen in _CHOSEN.finditer(text) if may else ():
        if not _CHOOSER.search(text, max(chosen.start() - 32, 0), chosen.start()):
            continue
        if match := _ONE_LETTER.match(text, chosen.end()):
            _add(found, text, _lettered(text, match, texts), chosen.start())
        else:
            for mention in weak(text, chosen.end(), texts) or in_words(text, chosen.end(), texts):
                _add(found, text, mention, chosen.start())
    if not text[-3:].isalpha() and _LETTER_ENDS.search(text, max(len(text) - 5, 0)):
        match = _AT_LAST.search(text, max(len(text) - _LAST_WORDS, 0))
        if match:
            _add(found, text, _lettered(text, match, texts), match.start())


def _lettered(text: str, match: re.Match[str], texts: Texts) -> Mention:
    place = match.start(match.lastindex or 1)
    return with_text(text, LETTERS.find(text[place].lower()), place, match.end(), texts)


def _stated_at(text: str, place: int, texts: Texts) -> Mention | None:
    """Return the choice after `answer`, `option` or `choice`: `is (b)`, `: b`, `is tin`, `(b) is correct`."""
    if match := _STATED.match(text, place):
        listed = None
        if ":" in match[0]:
            if _OF_EACH.search(text, max(place - 40, 0), place):  # `each option:` before a list of them
                return None
            listed = _LISTED_NEXT.match(text, match.end(match.lastindex or 1))
        mention = _lettered(text, match, texts)
        # `Answer: a. wool` and `b. tin` on the next line
        return None if listed and LETTERS.find(listed[1].lower()) == mention.choice + 1 else mention
    if match := _SUBJECT.match(text, place):
        number = LETTERS.find(match[1].lower())
        mention = with_text(text, number, match.start(1), match.end(), texts, loose=True)
        if _IS_RIGHT.match(text, mention.end):
            return mention
    if text.endswith(_BEFORE_WORDS, 0, place) and (match := _LEADS.match(text, place)):
        if mentions := weak(text, match.end(), texts):
            return mentions[0]
        number, end = spelled(text, match.end(), texts, loose=True)
        if number < 0 and text.startswith(" is ", place):  # `is supply food`, whose `supply` is no adverb
            number, end = spelled(text, place + 4, texts, loose=True)
        return with_letter(text, number, end, texts) if number >= 0 else None
    return None


def _right_before(text: str, place: int, texts: Texts) -> Mention | None:
    """Return the choice of which a text says that it is right: `B`, `(b)`, `b) tin` or `tin` before ` is`."""
    start = max(place - LOOK_AROUND, 0)
    verb = _IS_BEFORE.search(text, max(place - 40, 0), place)
    if verb is None:
        return None
    end = verb.start()
    if letter := _LETTER_BEFORE.search(text, max(end - 12, 0), end):
        begin = letter.start(2)
        alone = letter[1] or text[begin + 1] in ")]" or _begins_clause(text, begin)
        one = alone and not _ONE_BEFORE.search(text, max(begin - 12, 0), begin)
        return Mention(LETTERS.find(letter[2].lower()), begin, -1, place) if one else None
    words = text[start:end].lower()
    for number, forms in enumerate(texts):
        plain = next((form for form in forms if form and words.endswith(form)), "")
        if not plain:
            continue
        begin = end - len(plain)
        before = text[start:begin].rstrip(" \"'“‘*_(:,.-")
        if letter := _LETTER_BEFORE.search(before, max(len(before) - 4, 0)):
            named = LETTERS.find(letter[2].lower())
            return Mention(named, start + letter.start(2), -1 if named == number else number, place)
        return Mention(number, -1, -1, place) if _begins_clause(text, begin) else None
    return None


def _begins_clause(text: str, place: int) -> bool:
    return _CLAUSE_BEGINS.search(text, max(place - 16, 0), place) is not None


def weak(text: str, begin: int, texts: Texts) -> list[Mention]:
    """Return the choice of a letter without brackets that stands beside the text of a choice."""
    label = _WEAK_LABEL.match(text, begin)
    number = LETTERS.find(label[1].lower()) if label else -1
    if label is None or not 0 <= number < len(texts):
        return []
    mention = with_text(text, number, label.start(1), label.end(), texts)
    if mention.other >= 0 and not label[2] and label[1] in "aAI":  # `A tin` has an article
        return []
    known = mention.end > label.end() or (label[2] and not texts[number] and label[2].strip() in "-–—")
    several = AND_ANOTHER.match(text, mention.end) or _is_followed(text, mention, texts)
    return [mention] if known and not several else []


def in_words(text: str, begin: int, texts: Texts, *, whole: bool = False) -> list[Mention]:
    """Return the choice whose text stands at the beginning of a text, or is the whole of it."""
    number, end = spelled(text, begin, texts)
    if number < 0:
        return []
    mention = with_letter(text, number, end, texts)
    if (whole or text[end - 1].isdigit()) and not _LINE_END.match(text, mention.end):
        return []
    return [] if _is_followed(text, mention, texts) else [mention]


def _is_followed(text: str, mention: Mention, texts: Texts) -> bool:
    """Check whether the text of another choice follows, as in a list of them."""
    following = _ANOTHER_TEXT.match(text, mention.end)
    number = spelled(text, following.end(), texts, loose=True)[0] if following else -1
    return number not in (-1, mention.choice)
