"""Find the fields in which two rows differ, and the words in which two texts do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, Literal

from dataprep.inspect.diff.rows import content_of

Kind = Literal["changed", "added", "removed"]
_WORD = re.compile(r"\w+|\s+|[^\w\s]")
# Words of a text or items of a list. Longer ones are compared by their common beginning and end alone.
MAX_ITEMS = 2_000
Step = tuple[str, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Change:
    """A field that differs between two rows.

    Attributes:
        path: its place, for example ``messages[1].content``. An index is that of the second row, or of the
            first one for what was removed.
        role: of a message or a part of one, its role.
        kind: what happened to it.
        before: the value in the first row; ``None`` if it was added.
        after: the value in the second row; ``None`` if it was removed.
    """

    path: str
    role: str
    kind: Kind
    before: Any
    after: Any

    @property
    def name(self) -> str:
        """Return path and role."""
        return f"{self.path} ({self.role})" if self.role else self.path


def changes_of(before: Any, after: Any, path: str = "", role: str = "") -> Iterator[Change]:
    """Yield the fields in which two values of JSON differ, as deep inside as they can be told.

    Of two lists, equal items are left out, and the others between them are compared in their order, messages
    with those of the same role. A list of numbers or texts counts as one value.

    >>> [change.name for change in changes_of({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2.0})]
    ['a.b']
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            inside = f"{path}.{key}" if path else key
            if key not in after:
                yield Change(inside, role, "removed", before[key], None)
            elif key not in before:
                yield Change(inside, role, "added", None, after[key])
            else:
                yield from changes_of(before[key], after[key], inside, role)
    elif isinstance(before, list) and isinstance(after, list) and _holds_objects(before + after):
        yield from _changes_of_lists(before, after, path, role)
    elif not _same(before, after):
        yield Change(path, role, "changed", before, after)


def _same(before: Any, after: Any) -> bool:
    # Most values are texts, and need not be written to be compared.
    if type(before) is str or type(after) is str:
        return bool(before == after)
    return content_of(before) == content_of(after)


def _holds_objects(items: list[Any]) -> bool:
    return any(isinstance(item, dict | list) for item in items)


def _changes_of_lists(before: list[Any], after: list[Any], path: str, role: str) -> Iterator[Change]:
    for a, b in _aligned(before, after):
        item = before[a] if b is None else after[b]  # type: ignore[index]
        inside = f"{path}[{a if b is None else b}]"
        item_role = role if path != "messages" else _role(item)
        if a is not None and b is not None:
            yield from changes_of(before[a], after[b], inside, item_role)
        elif b is None:
            yield Change(inside, item_role, "removed", item, None)
        else:
            yield Change(inside, item_role, "added", None, item)


def _aligned(before: list[Any], after: list[Any]) -> Iterator[tuple[int | None, int | None]]:
    """Yield which items of two lists to compare: equal ones left out, and others by their roles."""
    ours, theirs = list(map(content_of, before)), list(map(content_of, after))
    for kind, a1, a2, b1, b2 in _steps(ours, theirs) if ours != theirs else ():
        if kind == "equal":
            continue
        roles = list(map(_role, before[a1:a2])), list(map(_role, after[b1:b2]))
        for _, a3, a4, b3, b4 in _steps(*roles):
            yield from zip_longest(range(a1 + a3, a1 + a4), range(b1 + b3, b1 + b4))


def _steps(a: list[Any], b: list[Any]) -> Sequence[Step]:
    """Return the steps that make the first sequence the second one, as ``SequenceMatcher`` does."""
    # Its time grows with the square, so it gets what is between the common ends, if that is short.
    start, end = _common(a, b)
    a_end, b_end = len(a) - end, len(b) - end
    middle: Sequence[Step] = [("replace", 0, a_end - start, 0, b_end - start)]
    if max(a_end, b_end) - start <= MAX_ITEMS:
        middle = SequenceMatcher(None, a[start:a_end], b[start:b_end], autojunk=False).get_opcodes()
    steps: list[Step] = [
        ("equal", 0, start, 0, start),
        *((kind, start + a1, start + a2, start + b1, start + b2) for kind, a1, a2, b1, b2 in middle),
        ("equal", a_end, len(a), b_end, len(b)),
    ]
    return [step for step in steps if step[2] > step[1] or step[4] > step[3]]


def _common(a: list[Any], b: list[Any]) -> tuple[int, int]:
    """Return how many items two lists have in common at their beginnings, and then at their ends."""
    most = min(len(a), len(b))
    start = next((index for index in range(most) if a[index] != b[index]), most)
    most -= start
    return start, next((index for index in range(most) if a[-1 - index] != b[-1 - index]), most)


def _role(item: Any) -> str:
    role = item.get("role") if isinstance(item, dict) else None
    return role if isinstance(role, str) else ""


Piece = tuple[Literal["same", "removed", "added"], str]


def word_changes(before: str, after: str) -> list[Piece]:
    """Return two texts as one sequence of texts that are in both, in the first, or in the second.

    >>> word_changes("the red car", "the blue car")
    [('same', 'the '), ('removed', 'red'), ('added', 'blue'), ('same', ' car')]
    """
    a, b = _WORD.findall(before), _WORD.findall(after)
    pieces: list[Piece] = []
    for kind, a1, a2, b1, b2 in _joined(_steps(a, b), a):
        if kind == "equal":
            pieces.append(("same", "".join(a[a1:a2])))
        else:
            pieces += [("removed", "".join(a[a1:a2])), ("added", "".join(b[b1:b2]))]
    return [piece for piece in pieces if piece[1]]


def _joined(steps: Sequence[Step], words: list[str]) -> Iterator[Step]:
    """Join changes with nothing but white space between them, which would be hard to read one by one."""
    open_: Step | None = None
    for number, step in enumerate(steps):
        kind, a1, a2, b1, b2 = step
        between = kind == "equal" and number not in (0, len(steps) - 1) and "".join(words[a1:a2]).isspace()
        if kind == "equal" and not between:
            if open_ is not None:
                yield open_
            open_ = None
            yield step
        else:
            open_ = ("replace", a1, a2, b1, b2) if open_ is None else ("replace", open_[1], a2, open_[3], b2)
    if open_ is not None:
        yield open_
