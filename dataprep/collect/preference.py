"""Make preference pairs, a better and a worse answer, out of several answers to one request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dataprep.collect.answers import Answers, Judged, Labels
from dataprep.collect.conversations import Conversations
from dataprep.collect.judgements import AnswerName, Judgement, Judgements
from dataprep.collect.rows import Made, Statuses
from dataprep.collect.settings import Settings
from dataprep.core.errors import RowDropped
from dataprep.core.records import Example


class Candidate(NamedTuple):
    """An answer that a pair can have."""

    name: AnswerName
    judged: Judged


Pair = tuple[Candidate, Candidate]


@dataclass(frozen=True)
class PreferenceRows:
    """Make rows ``{prompt, chosen, rejected}`` out of an Example's answers, of all teachers or of one."""

    answers: Answers
    settings: Settings
    conversations: Conversations
    place: Callable[[Judged], Judged]  # puts an answer's thinking in its place
    statuses: Statuses
    judgements: Judgements | None = None
    thinking: Counter[str] = field(default_factory=Counter)  # number of answers whose thinking is left out

    def __call__(self, example: Example, labels: Labels) -> Iterator[Made | RowDropped]:
        """Yield the pairs of an Example, or the reason why there is none."""
        given = dict(example.rationales or {})
        candidates = list(self._candidates(example, labels))
        try:
            pairs = self._pairs(example, candidates)
        except RowDropped as drop:
            yield drop
            return
        for chosen, rejected in pairs:
            example.rationales = given
            yield self._row(example, labels, chosen, rejected)

    def _candidates(self, example: Example, labels: Labels) -> Iterator[Candidate]:
        teachers = list(dict.fromkeys((*self.answers.teachers, *(example.rationales or ()))))
        if self.settings.teacher is not None:
            teachers = [self.settings.teacher]
        number = self.settings.number
        for teacher in teachers:
            samples = [number or 0] if number is not None else self.answers.samples(example, teacher) or [0]
            for sample in samples:
                judged = self.answers.judged(example, labels, teacher, sample)
                self.statuses.setdefault(teacher, Counter())[judged.status] += 1
                if judged.rationale or judged.tool_calls:
                    yield Candidate(AnswerName(teacher, sample), judged)

    def _pairs(self, example: Example, candidates: Sequence[Candidate]) -> list[Pair]:
        # Looked up first: a judgement counts as used whatever comes of it.
        judgement = None if self.judgements is None else self.judgements.find(example.identify())
        if len(candidates) < 2:
            raise RowDropped("one answer only" if candidates else "no answer")
        kept_statuses, rejected_statuses = self.settings.kept, self.settings.rejected
        better = [candidate for candidate in candidates if candidate.judged.status in kept_statuses]
        worse = [candidate for candidate in candidates if candidate.judged.status in rejected_statuses]
        if self.judgements is None:
            pairs = _by_status(better, worse)
        elif judgement is None:
            raise RowDropped("no judgement")
        elif judgement.ratings:
            pairs = _by_rating(judgement.ratings, better, worse)
        else:
            pairs = _by_name(judgement, candidates, better, worse)
        # A reply that came twice, right where a sample says it and wrong where another does, teaches nothing.
        kept, seen = [], set()
        for chosen, rejected in pairs:
            texts = _words(chosen), _words(rejected)
            if texts[0] != texts[1] and texts not in seen:
                seen.add(texts)
                kept.append((chosen, rejected))
        if not kept:
            raise RowDropped("the answers are the same")
        return kept[: self.settings.pairs]

    def _row(
        self, example: Example, labels: Labels, chosen: Candidate, rejected: Candidate
    ) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name, candidate in (("chosen", chosen), ("rejected", rejected)):
            judged = self.place(candidate.judged)
            if self.settings.place == "drop":
                self.thinking[candidate.name.teacher] += candidate.judged.reasoning is not None
            example.rationales = {candidate.name.teacher: judged.rationale or ""}
            example.reasoning = judged.reasoning
            asked, answer, others = self.conversations.parts(example, judged, labels.request)
            row |= {"prompt": asked, name: [answer], **others}
        facts = {"id": example.identify(), "source": example.source}
        names = (("chosen_by", chosen), ("rejected_by", rejected))
        return row | facts | {name: each.name._asdict() for name, each in names}


def _by_status(better: Sequence[Candidate], worse: Sequence[Candidate]) -> list[Pair]:
    """Return all pairs; first those that use no answer twice."""
    if not better:
        raise RowDropped("no right answer" if worse else "no answer was judged")
    if not worse:
        raise RowDropped("no wrong answer")
    places = [(first, second) for first in range(len(better)) for second in range(len(worse))]
    places.sort(key=lambda place: (place[0] != place[1], max(place), place))
    return [(better[first], worse[second]) for first, second in places]


def _by_name(
    judgement: Judgement,
    candidates: Sequence[Candidate],
    better: Sequence[Candidate],
    worse: Sequence[Candidate],
) -> list[Pair]:
    """Return the pairs of the answer that a judgement chooses."""
    if judgement.chosen is None:
        raise RowDropped("tie")
    names = {candidate.name: candidate for candidate in candidates}
    if judgement.chosen not in names or (judgement.rejected or judgement.chosen) not in names:
        raise RowDropped("the judgement names an answer without a text")
    chosen = names[judgement.chosen]
    if chosen not in better:
        raise RowDropped(f"chosen, but the status is {chosen.judged.status}")
    if judgement.rejected is not None:
        worse = [names[judgement.rejected]]
    others = [candidate for candidate in worse if candidate.name != judgement.chosen]
    if not others:
        raise RowDropped("no answer to reject")
    return [(chosen, other) for other in others]


def _by_rating(
    ratings: Mapping[AnswerName, float], better: Sequence[Candidate], worse: Sequence[Candidate]
) -> list[Pair]:
    """Return the pairs whose first answer has the higher rating; those that differ most first."""
    rated = {each.name for each in (*better, *worse) if each.name in ratings}
    if len(rated) < 2:
        raise RowDropped("fewer than two rated answers")
    pairs = [
        (ratings[first.name] - ratings[second.name], (first, second))
        for first in better
        for second in worse
        if {first.name, second.name} <= rated and ratings[first.name] > ratings[second.name]
    ]
    if not pairs:
        raise RowDropped("tie" if len({ratings[name] for name in rated}) == 1 else "no answer to choose")
    # The sort is stable: of equal differences, the earlier answers come first.
    return [pair for _, pair in sorted(pairs, key=lambda item: -item[0])]


def _words(candidate: Candidate) -> str:
    return f"{candidate.judged.rationale}\0{candidate.judged.tool_calls}"
