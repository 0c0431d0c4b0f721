"""The terms of licences and of teachers' answers, as a card names them.

They are a help to find what must be read, not legal advice: the text of a licence decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence, by its id on the Hugging Face hub.

    Attributes:
        id: the hub's id; ``"other"`` for a licence that has none, ``"unknown"`` without a licence.
        name: its name.
        url: its text; empty if it has no fixed place.
        forbids: what it forbids.
        requires: what it requires.
        rank: how strict it is; a higher one is stricter.
        share_alike: the family of licences under which changed data may be shared; empty if any is allowed.
    """

    id: str
    name: str
    url: str = ""
    forbids: str = ""
    requires: str = ""
    rank: int = 0
    share_alike: str = ""

    @property
    def hub_id(self) -> str:
        """The hub's id, which it has not for every version."""
        return self.id if _ON_HUB.fullmatch(self.id) else "other"

    @property
    def restricts(self) -> bool:
        """True if it forbids a use, or says under which licence changed data may be shared."""
        return bool(self.forbids or self.share_alike)


# Of Creative Commons, the hub lists these versions only.
_ON_HUB = re.compile(
    r"(?!cc-by).*|cc-by-(?:(?:2\.0|2\.5|3\.0|4\.0)|sa-[34]\.0|nc-[234]\.0|nd-4\.0|nc-nd-[34]\.0|nc-sa-[234]\.0)"
)
_CREDIT = "credit the authors, name the licence and say what was changed"
_NOTICE = "keep the copyright and licence notices"
_COMMERCIAL = "commercial use"
_ADAPTED = "sharing changed data, which converted rows are"


def _commons() -> list[Licence]:
    """Return the licences of Creative Commons in their versions."""
    kinds = (
        ("by", "", _CREDIT, 2),
        ("by-sa", "", f"{_CREDIT}; share changed data under the same licence", 4),
        ("by-nc", _COMMERCIAL, _CREDIT, 6),
        ("by-nc-sa", _COMMERCIAL, f"{_CREDIT}; share changed data under the same licence", 7),
        ("by-nd", _ADAPTED, _CREDIT, 8),
        ("by-nc-nd", f"{_COMMERCIAL}; {_ADAPTED}", _CREDIT, 9),
    )
    return [
        Licence(
            f"cc-{kind}-{version}",
            f"CC {kind.upper()} {version}",
            f"https://creativecommons.org/licenses/{kind}/{version}/",
            forbids,
            requires,
            rank,
            f"CC {kind.upper()}" if kind.endswith("sa") else "",
        )
        for kind, forbids, requires, rank in kinds
        for version in ("1.0", "2.0", "2.5", "3.0", "4.0")
    ]


def _folder(version: str) -> str:
    return "" if version == "3.0" else "old-licenses/"


def _gnu() -> list[Licence]:
    kinds = (
        ("gpl", "GPL", ("2.0", "3.0"), "share the whole work under the same licence, with its source", 5),
        ("agpl", "AGPL", ("3.0",), "share the whole work under the same licence, also over a network", 5),
        ("lgpl", "LGPL", ("2.1", "3.0"), "share changed parts under the same licence, with their source", 4),
    )
    return [
        Licence(
            f"{kind}-{version}",
            f"{name}-{version}",
            f"https://www.gnu.org/licenses/{_folder(version)}{kind}-{version}.html",
            "",
            f"{_NOTICE}; {requires}",
            rank,
            "GPL",
        )
        for kind, name, versions, requires, rank in kinds
        for version in versions
    ]


_LLAMA = "{notice}; include a copy of the licence; ask Meta with more than 700 million monthly users"
_LLAMA_NEXT = (
    "show “Built with Llama”; a model trained on its output has a name that begins with “Llama”; " + _LLAMA
)


def _llama() -> list[Licence]:
    notice = _LLAMA.format(notice=_NOTICE)
    other = "using its output to improve another large language model; uses outside Meta's use policy"
    policy = "uses outside Meta's use policy"
    later = _LLAMA_NEXT.format(notice=_NOTICE)
    made = [
        Licence(
            "llama2", "Llama 2 Community License", "https://ai.meta.com/llama/license/", other, notice, 7
        ),
        Licence(
            "llama3", "Llama 3 Community License", "https://llama.meta.com/llama3/license/", other, later, 7
        ),
    ]
    for version in ("3.1", "3.2", "3.3", "4"):
        url = f"https://www.llama.com/llama{version.replace('.', '_')}/license/"
        made.append(Licence(f"llama{version}", f"Llama {version} Community License", url, policy, later, 5))
    return made


UNKNOWN = Licence(
    "unknown",
    "unknown",
    forbids="every use that its authors did not allow, because all rights are theirs",
    requires="find its licence, or ask the authors",
    rank=11,
)
RESEARCH = Licence(
    "other", "research only", forbids="every use other than research", requires="read its terms", rank=10
)
_APACHE = "https://www.apache.org/licenses/LICENSE-2.0"
_LIST: tuple[Licence, ...] = (
    Licence("cc0-1.0", "CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
    Licence("pddl", "PDDL 1.0", "https://opendatacommons.org/licenses/pddl/1-0/"),
    Licence("unlicense", "Unlicense", "https://unlicense.org/"),
    Licence("mit", "MIT", "https://opensource.org/license/mit", requires=_NOTICE, rank=1),
    Licence("bsd-2-clause", "BSD-2-Clause", "https://opensource.org/license/bsd-2-clause", "", _NOTICE, 1),
    Licence("bsd-3-clause", "BSD-3-Clause", "https://opensource.org/license/bsd-3-clause", "", _NOTICE, 1),
    Licence("apache-2.0", "Apache-2.0", _APACHE, requires=f"{_NOTICE}; say what was changed", rank=1),
    Licence(
        "afl-3.0",
        "AFL-3.0",
        "https://opensource.org/license/afl-3-0-php",
        requires=f"{_NOTICE}; say that the data were changed",
        rank=1,
    ),
    Licence(
        "cdla-permissive-2.0",
        "CDLA-Permissive-2.0",
        "https://cdla.dev/permissive-2-0/",
        "",
        "pass the licence on",
        1,
    ),
    Licence(
        "cdla-sharing-1.0",
        "CDLA-Sharing-1.0",
        "https://cdla.dev/sharing-1-0/",
        "",
        "share changed data under the same licence",
        4,
        "CDLA-Sharing",
    ),
    Licence("odc-by", "ODC-By 1.0", "https://opendatacommons.org/licenses/by/1-0/", "", _CREDIT, 2),
    Licence(
        "odbl",
        "ODbL 1.0",
        "https://opendatacommons.org/licenses/odbl/1-0/",
        "",
        f"{_CREDIT}; share changed databases under the same licence",
        4,
        "ODbL",
    ),
    Licence(
        "gemma",
        "Gemma Terms of Use",
        "https://ai.google.dev/gemma/terms",
        "uses outside Google's use policy",
        "pass the terms on, also with a model trained on its output",
        5,
    ),
    Licence(
        "openrail",
        "OpenRAIL",
        forbids="the uses that its list names",
        requires="pass these restrictions on",
        rank=5,
    ),
    *_commons(),
    *_gnu(),
    *_llama(),
    RESEARCH,
    UNKNOWN,
)
LICENCES = {licence.id: licence for licence in _LIST if licence is not RESEARCH}
"""Every licence whose terms are known, by its id on the hub."""

_RESEARCH_WORDS = re.compile(
    r"research[- ](?:use )?only|(?:only )?for research|non-?commercial research|academic"
)
_NONE = re.compile(r"unknown|none|no licence|as published|not stated|n/?a|-*")


def licence_of(text: str) -> Licence:
    """Return the licence that a text names: the hub's id, or a usual way to write the name.

    A text that names no known licence gives one with that name and the id ``"other"``.

    >>> licence_of("CC BY-SA 4.0").id, licence_of("CC-BY-NC-4.0").forbids
    ('cc-by-sa-4.0', 'commercial use')
    """
    plain = re.sub(r"[\s_]+", "-", text.strip().lower())
    if _NONE.fullmatch(plain.replace("-", " ").strip()):
        return UNKNOWN
    # The words that people add: "The MIT License", "Creative Commons Attribution".
    plain = re.sub(r"\b(?:the|licen[cs]e|version|international|unported|community)\b", "", plain)
    plain = plain.replace("creative-commons", "cc").replace("attribution", "by")
    plain = plain.replace("sharealike", "sa").replace("share-alike", "sa").replace("noderivatives", "nd")
    plain = re.sub(r"non-?commercial(?=-|$)", "nc", plain) if plain.startswith("cc") else plain
    plain = re.sub(r"-+", "-", re.sub(r"(?<=-)v(?=\d)", "", plain)).strip("-")
    known = LICENCES.get(plain) or _BY_LETTERS.get(re.sub(r"[^a-z0-9]", "", plain))
    if known is not None:
        return known
    if _RESEARCH_WORDS.search(text.lower()):
        return replace(RESEARCH, name=text.strip())
    if (newest := LICENCES.get(f"{plain}-4.0")) is not None:  # Creative Commons without a version
        return replace(newest, id="other", name=text.strip(), url="")
    # A version, or a combination, that is not in the table: the words that restrict say enough.
    words = {word for word in re.split(r"[^a-z]+", plain) if word}
    forbids = [
        what
        for word, what in (("nc", _COMMERCIAL), ("noncommercial", _COMMERCIAL), ("nd", _ADAPTED))
        if word in words
    ]
    return Licence(
        "other",
        text.strip(),
        forbids="; ".join(dict.fromkeys(forbids)) or "its terms are not in dataprep's table",
        requires="read its terms",
        rank=9,
        share_alike=text.strip() if words & {"sa", "gpl", "sharing"} else "",
    )


_BY_LETTERS = {re.sub(r"[^a-z0-9]", "", licence.id): licence for licence in LICENCES.values()} | {
    "apache2": LICENCES["apache-2.0"],
    "cc0": LICENCES["cc0-1.0"],
    "publicdomain": LICENCES["cc0-1.0"],
    "gpl": LICENCES["gpl-3.0"],
    "gplv2": LICENCES["gpl-2.0"],
    "gplv3": LICENCES["gpl-3.0"],
    "academicfree30": LICENCES["afl-3.0"],
    **{re.sub(r"[^a-z0-9]", "", licence.name.lower()): licence for licence in LICENCES.values()},
}


def strictest(licences: Iterable[Licence]) -> Licence:
    """Return the licence that restricts most; of equal ones the first by name."""
    return min(licences, key=lambda licence: (-licence.rank, licence.name))


def conflicts(licences: Iterable[Licence]) -> list[str]:
    """Return, for a mixture under these licences, which of them may not go together and why."""
    given = sorted({licence.name: licence for licence in licences}.values(), key=lambda each: each.name)
    problems = []
    for place, first in enumerate(given):
        for second in given[place + 1 :]:
            if reason := _conflict(first, second):
                problems.append(f"{first.name} and {second.name}: {reason}")
    return problems


def _conflict(first: Licence, second: Licence) -> str:
    for one, other in ((first, second), (second, first)):
        if UNKNOWN.id in (one.id, other.id):
            return "one of the licences is unknown"
        if _ADAPTED in one.forbids:
            return f"{one.name} does not allow changed data to be shared, and a mixture is changed data"
        if one.share_alike and one.share_alike != other.share_alike and other.restricts:
            return f"{one.name} wants the mixture under its own terms, without the other's"
    return ""


# Licences of models that speak of their answers, by the models' names.
_TEACHERS = (
    (r"llama-?2|llama2", "llama2"),
    (r"llama-?3\.1|llama-?3-1", "llama3.1"),
    (r"llama-?3\.2|llama-?3-2", "llama3.2"),
    (r"llama-?3\.3|llama-?3-3", "llama3.3"),
    (r"llama-?4", "llama4"),
    (r"llama-?3", "llama3"),
    (r"gemma", "gemma"),
)
_SERVICES = (
    (r"gpt-?\d|chatgpt|davinci|(?:^|/)o[134](?:-|$)", "OpenAI"),
    (r"claude", "Anthropic"),
    (r"gemini|palm-?2", "Google"),
)
_MAY = "the licence of this model may restrict the use of its answers"


def teacher_note(name: str) -> str:
    """Return what is known of the terms under which a model's answers may be used, by the model's name."""
    plain = re.sub(r"[\s_]+", "-", name.lower())
    for pattern, licence in _TEACHERS:
        if re.search(pattern, plain):
            terms = LICENCES[licence]
            said = f"forbids {terms.forbids}; requires: {terms.requires}"
            return f"{_MAY}: by its name it is under the {terms.name}, which {said}"
    for pattern, company in _SERVICES:
        if re.search(pattern, plain):
            rules = "whose terms restrict training of competing models"
            return f"{_MAY}: by its name it is a service of {company}, {rules}"
    return f"{_MAY}: read it before you use or share them"
