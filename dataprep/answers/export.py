"""Write labelled rows back as files of strings in the published format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dataprep.answers.quality import by_teacher
from dataprep.answers.rationale import Parsed, Teachers, render
from dataprep.answers.rationale_files import BATCH
from dataprep.core import io as files
from dataprep.core.errors import FileError, InputError, RowError, located
from dataprep.core.records import describe, optional_text, text_of
from dataprep.datasets.converters.choices import question_and_choices


def export_rationales(
    rows: str | Path, folder: str | Path, *, split: str = "train", teachers: Sequence[str] = ()
) -> list[Path]:
    """Write labelled rows as files of 500 strings in the published format, and return their paths.

    Args:
        rows: a file of rows as ``parse_rationale_files`` writes them.
        folder: the folder for ``SPLIT_CoT_K.json``; it is made if it is missing.
        split: the split in the names of the files.
        teachers: as in ``parse_rationale_files``.

    Raises:
        InputError: the format cannot carry the fields of a row; then nothing is written.
        FileError: a file cannot be read or written, or exists already.
    """
    names = Teachers.named(teachers) if teachers else Teachers()
    source = str(rows)

    def strings() -> Iterator[str]:
        for where, row in files.read_rows(source):
            with located(where):
                yield render(_parsed(row, names), names)

    # All rows are rendered before the first file is written: a bad row must not leave half a folder.
    texts, target = list(strings()), Path(folder)
    if not texts:
        raise InputError(source, "the file is empty; expected rows")
    batches = [texts[begin : begin + BATCH] for begin in range(0, len(texts), BATCH)]
    paths = [target / f"{split}_CoT_{number}.json" for number in range(len(batches))]
    for path in paths:
        if path.exists():
            raise FileError(path, "exists already, and nothing is overwritten; give another folder")
    with files.writing(str(target)):
        target.mkdir(parents=True, exist_ok=True)
    for path, batch in zip(paths, batches, strict=True):
        files.write_rows(batch, str(path))
    return paths


def _parsed(row: Mapping[str, Any], teachers: Teachers) -> Parsed:
    rationales = by_teacher(row, "rationales")
    if not rationales or not all(type(text) is str for text in rationales.values()):
        found = describe(row.get("rationales"))
        raise RowError("no rationales", f"expected an object of texts, found {found}")
    # The answer sentence holds the first teacher's answer; rows of other tools only have the right one.
    answer = row.get("answer")
    if "teacher_answers" in row:
        answer = by_teacher(row, "teacher_answers").get(teachers.first)
    own = None
    if isinstance(answer, Mapping):
        own = text_of(answer, "label"), optional_text(answer, "text") or ""
    question, (choices, _) = question_and_choices(row)
    ordered = {teachers.first: rationales.get(teachers.first, ""), **rationales}
    return Parsed(question, choices, own, ordered)
