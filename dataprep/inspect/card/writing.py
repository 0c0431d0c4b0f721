"""Write the card of a dataset and its Croissant metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import UsageError
from dataprep.datasets.checks.stats import Encode
from dataprep.inspect.card.croissant import croissant_of
from dataprep.inspect.card.facts import Facts, facts_of
from dataprep.inspect.card.readme import SIGNED, header_of, readme_of, summary_of

README, CROISSANT = "README.md", "croissant.json"


@dataclass(frozen=True, slots=True)
class Card:
    """The result of ``card_of_files``.

    Attributes:
        readme: the card, as Markdown with a YAML header.
        metadata: the metadata in that header.
        croissant: the Croissant metadata, a JSON object.
        facts: what the card says.
    """

    readme: str
    metadata: dict[str, Any]
    croissant: dict[str, Any]
    facts: Facts


def card_of_files(
    inputs: str | Path | Sequence[str | Path],
    *,
    folder: str | Path | None = None,
    title: str | None = None,
    languages: Sequence[str] = (),
    licences: Mapping[str, str] | None = None,
    encode: Encode | None = None,
) -> Card:
    """Return the card of a dataset and its Croissant metadata.

    Args:
        inputs: the files, also as ``SPLIT=FILE``; without a split, a word such as test in a name tells it.
        folder: the folder of the card, which holds the files. Defaults to that of the first file.
        title: the dataset's name. Defaults to that of the folder.
        languages: languages of the texts, such as ``en``. By default those of the sources, if known.
        licences: a licence by source, for sources that dataprep does not know. The one of ``""`` is for all
            such sources.
        encode: encodes a text as a list of tokens; adds figures of tokens.

    Raises:
        UsageError: a file is not in the folder, or no row has a source of ``licences``.
        InputError: a file has no rows, or a row cannot be read.
    """
    given = [inputs] if isinstance(inputs, str | Path) else [*inputs]
    if not given:
        raise UsageError("there is nothing to describe: give at least one file")
    home = None if folder is None else Path(folder)
    facts = facts_of(given, home, title=title, languages=languages, licences=licences, encode=encode)
    return Card(readme_of(facts), header_of(facts), croissant_of(facts, summary_of(facts)), facts)


def write_card(inputs: str | Path | Sequence[str | Path], output: str | Path, **options: Any) -> Card:
    """Write a card and, beside it, ``croissant.json``.

    Args:
        inputs: the files, as for ``card_of_files``.
        output: the folder for ``README.md``, or a path that ends with ``.md``.
        options: as for ``card_of_files``.
    """
    readme = readme_path(output)
    # A folder does not name the file that would be replaced, and a person can have written it.
    if Path(output).is_dir() and readme.is_file() and SIGNED.encode() not in readme.read_bytes():
        hint = f"name it to replace it: -o {readme}"
        raise UsageError(f"{readme}: is there already, and `dataprep card` did not write it; {hint}")
    made = card_of_files(inputs, folder=readme.parent, **options)
    named = [str(readme.parent / file.path) for file in made.facts.files]
    beside = readme.with_name(CROISSANT)
    files.check_apart([readme, beside], named)
    text = orjson.dumps(made.croissant, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    files.write_text(text, str(beside))
    files.write_text(made.readme, str(readme))
    return made


def readme_path(output: str | Path) -> Path:
    """Return the path of the card for an output, which is a folder or a path that ends with ``.md``."""
    files.check_local(output, "a card")
    path = Path(output)
    if path.suffix.lower() == ".md" and not path.is_dir():
        return path
    if not path.is_dir():
        raise UsageError(
            f"{output}: is not a folder; give the folder of the files, or a path that ends with .md"
        )
    return path / README
