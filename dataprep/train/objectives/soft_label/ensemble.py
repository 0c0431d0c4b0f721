"""Several classifiers as one: the mean of their probabilities.

The teachers of a cross-fit run are one member of an ensemble. A row that one of them was not trained on gets
the probabilities of that one, and any other row the mean of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import orjson

from dataprep.core.errors import FileError, UsageError, first_line
from dataprep.train.objectives.soft_label.rows import Scorer
from dataprep.train.run_dir import FOLDS_FILE, fold_name


def digest_of(texts: Sequence[str]) -> str:
    """Return a digest of a row's texts, which recognises the row in any file and format."""
    return blake2b(orjson.dumps(texts), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Member:
    """A classifier of an ensemble, or all teachers of a cross-fit run.

    Attributes:
        scorers: the classifiers.
        folds: by a row's digest, the index of the only teacher that was not trained on it.
    """

    scorers: Sequence[Scorer]
    folds: Mapping[str, int] = field(default_factory=dict)

    def fold_of(self, texts: Sequence[str]) -> int | None:
        """Return the fold of a row that the teachers were trained on; `None` for any other row."""
        return self.folds.get(digest_of(texts)) if self.folds else None


def load_ensemble(paths: Sequence[str], *, cross_fit: bool = False) -> list[Member]:
    """Load classifiers, all for the same classes.

    Args:
        paths: as `load_scorer` reads them; with `cross_fit`, the directories of cross-fit runs.
        cross_fit: whether a row is scored by the teacher that was not trained on it.

    Raises:
        FileError: a model cannot be read, or a directory has no finished cross-fit run.
        UsageError: the models have different classes, or `cross_fit` does not fit the directories.
    """
    # It imports torch, which may be missing.
    from dataprep.train.objectives.soft_label.classifier import load_scorer

    members = []
    for path in paths:
        if (Path(path) / FOLDS_FILE).is_file() != cross_fit:
            found = "has the teachers of several folds: give --cross-fit"
            if cross_fit:
                found = f"has no {FOLDS_FILE}: --cross-fit needs a run of `dataprep train --cross-fit K`"
            raise UsageError(f"{path} {found}")
        count, folds = read_folds(path) if cross_fit else (1, {})
        places = [str(Path(path) / fold_name(fold)) for fold in range(count)] if cross_fit else [path]
        members.append(Member([load_scorer(place) for place in places], folds))
    first, *others = (scorer.classes.names for member in members for scorer in member.scorers)
    for names in others:
        if set(names) != set(first):
            raise UsageError(
                f"the models have different classes: {', '.join(first)} and {', '.join(names)}; only "
                "probabilities of the same classes have a mean"
            )
    return members


def read_folds(run: str | Path) -> tuple[int, dict[str, int]]:
    """Return the number of folds of a cross-fit run, and the fold of each row by its digest."""
    path = Path(run) / FOLDS_FILE
    with suppress(KeyError, TypeError, AttributeError):
        try:
            document = orjson.loads(path.read_bytes())
            folds = {str(digest): int(fold) for digest, fold in document["rows"].items()}
            count = int(document["folds"])
        except (OSError, ValueError) as error:
            raise FileError(path, f"cannot be read: {first_line(error)}") from None
        if all(0 <= fold < count for fold in folds.values()):
            return count, folds
    expected = "expected 'folds', and the fold of each row in 'rows'"
    raise FileError(path, f"damaged: {expected}; train the teachers again")
