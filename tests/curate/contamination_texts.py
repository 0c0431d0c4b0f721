"""Questions for the tests of decontamination, and the four ways to put one into a training row."""

import random
import re

from tests.helpers import chat

NAMES = "Ravi Zofia Kwame Ingrid Mateo Yuki Priya Olu Femke Dmitri Saoirse Tariq".split()  # noqa: SIM905
_SYLLABLES = [a + b for a in "bdfgklmnprst" for b in ("ar", "en", "il", "o", "us")]


def invented(count, seed):
    """Return questions of invented words, with a name and numbers, of which no two share a run of words."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(_SYLLABLES, k=2)) for _ in range(2000)]
    questions = []
    for _ in range(count):
        name = draw.choice(["Anna", "Bert", "Carla", "Dora"])
        body = draw.choices(words, k=draw.randint(16, 40))
        for place in range(3, len(body), 9):
            body[place : place + 1] = [name, str(draw.randint(2, 90))]
        questions.append(" ".join(body).capitalize() + "?")
    return [re.sub("(anna|bert|carla|dora)", lambda found: found[0].title(), text) for text in questions]


def verbatim(question, _):
    """Return the question."""
    return question


def wrapped(question, _):
    """Return the question with 8 words a line."""
    words = question.split()
    return "\n".join(" ".join(words[at : at + 8]) for at in range(0, len(words), 8))


def inside(question, draw):
    """Return the question inside other text of ten times its length."""
    words = [f"w{draw.randint(0, 3000)}" for _ in range(10 * len(question.split()))]
    at = draw.randrange(len(words))
    return " ".join([*words[:at], question, *words[at:]])


def changed(question, draw):
    """Return the question with other numbers, and other words in place of capitalised ones."""
    capitals = sorted(set(re.findall(r"(?<=[a-z0-9,] )[A-Z][a-z]+", question)))
    names = dict(zip(capitals, draw.sample(NAMES, len(NAMES)), strict=False))
    question = re.sub(r"\b[A-Z][a-z]+\b", lambda word: names.get(word[0], word[0]), question)
    return re.sub(r"\d+", lambda _: str(draw.randint(2, 97)), question)


WAYS = {verbatim: 1.0, wrapped: 0.99, inside: 0.99, changed: 0.8}
"""The ways, with the share of questions that must be found."""


_PLACES = ["Sri Lanka", "Van der Berg", "New Delhi", "Anna-Lena Holm", "El Paso", "Rio Grande", "Kim Il Park"]
_WORDS = "two three four five six seven eight nine ten twelve fifteen twenty fifty hundred".split()  # noqa: SIM905


def changed_otherwise(question, draw):
    """Return the question with other numbers, also those in words, and names of one to three words for names.

    A name is a run of capitalised words, with its possessive, that does not begin the question.
    """
    names = {}

    def name(found):
        return names.setdefault(found[0], draw.choice(NAMES if draw.random() < 0.6 else _PLACES))

    def number(found):
        if not found[0][0].isdigit():
            return draw.choice(_WORDS)
        return draw.choice(
            [str(draw.randint(2, 99)), f"{draw.randint(2, 99)},500", f"{draw.randint(2, 99)}.5"]
        )

    question = re.sub(r"(?<=[\w,’'] )[A-Z][\w’'-]+(?: [A-Z][\w’'-]+)*", name, question)
    return re.sub(rf"\d+(?:[.,]\d+)*|\b(?:{'|'.join(_WORDS)})\b", number, question)


def planted(questions, way, seed=0):
    """Return a chat row for each question, planted in one of the ways."""
    draw = random.Random(seed)
    return [chat(way(question, draw), "I do not know.", system="Be brief.") for question in questions]
