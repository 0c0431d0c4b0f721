"""``dataprep card``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dataprep.cli.console import Summary
from dataprep.cli.options import AsJson, Output, Quiet, argument, flag
from dataprep.core.errors import UsageError
from dataprep.core.ledger import Ledger


def command(
    inputs: list[str] = argument(..., "Files of rows, also as SPLIT=FILE.", "FILE..."),
    output: Output = None,
    title: str | None = flag(None, "Name of the dataset. Defaults to that of its folder.", "TEXT"),
    language: list[str] | None = flag(
        None, "Language of the texts, such as en; repeatable. Defaults to the sources'.", "CODE"
    ),
    licence: list[str] | None = flag(
        None, "Licence of rows of other sources than dataprep's; repeatable.", "[SOURCE=]LICENCE"
    ),
    tokenizer: str | None = flag(None, "Count tokens too: a tokenizer's file or a model directory.", "PATH"),
    dry_run: bool = flag(False, "Describe the files and write nothing.", "--dry-run"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a dataset's card for the hub, and Croissant metadata.

    The card is a README with the hub's YAML header and statistics. It names the sources with what their
    licences forbid and require, and the teachers. It has the commands that made the files, by their
    manifests. -o is the folder of the files, or a path that ends with .md, and croissant.json is written
    beside it.
    Without -o, the card alone goes to standard output. `datasets.load_dataset` loads the folder, and
    `mlcroissant` the metadata.

    \b
    Examples:
      dataprep card mergedata/train.jsonl mergedata/test.jsonl -o mergedata
      dataprep card train=a.jsonl --licence CC-BY-4.0 --language en -o README.md
    """
    from dataprep.core.io import write_text
    from dataprep.inspect.card.writing import CROISSANT, card_of_files, readme_path, write_card

    encode = None
    if tokenizer is not None:
        from dataprep.tokens.tokenizers.loading import load_tokenizer

        encode = load_tokenizer(tokenizer).encode
    to_stdout = output in (None, "-")
    licences = _licences(licence or [])
    summary = Summary("card", quiet=quiet, as_json=as_json)
    if to_stdout or dry_run:
        folder = None if to_stdout else readme_path(str(output)).parent
        made = card_of_files(
            inputs, folder=folder, title=title, languages=language or (), licences=licences, encode=encode
        )
        if not dry_run:
            write_text(made.readme, "-")
    else:
        made = write_card(
            inputs, str(output), title=title, languages=language or (), licences=licences, encode=encode
        )
    rows = made.facts.stats.rows
    facts = {"licences": [each.name for each in made.facts.licences], "teachers": [*made.facts.teachers]}
    missing = made.facts.missing
    lines = [f"  no manifest tells how {path} was made" for path in missing[:1]]
    if len(missing) > 1:
        lines[0] += f", nor {len(missing) - 1} other files"
    target = "-" if to_stdout else str(readme_path(str(output)))
    note = "nothing is written: " if dry_run else ""
    summary.add("card", Ledger(rows, rows), target, facts=facts, note=note, lines=lines)
    if not (to_stdout or dry_run):
        summary.say(f"card: Croissant metadata → {Path(target).with_name(CROISSANT)}")
    summary.finish()


def _licences(given: Iterable[str]) -> dict[str, str]:
    """Return the licence by source; the one without a source has the name ''."""
    licences: dict[str, str] = {}
    for text in given:
        source, equals, licence = text.rpartition("=")
        if not licence.strip() or (equals and not source.strip()):
            raise UsageError(f"--licence {text}: expected a licence, or SOURCE=LICENCE")
        if source in licences:
            raise UsageError(f"--licence {text}: there is a licence for {source or 'all sources'} already")
        licences[source] = licence.strip()
    return licences
