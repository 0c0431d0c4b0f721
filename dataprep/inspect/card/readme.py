"""Write the card of a dataset: Markdown with the YAML header that the Hugging Face hub reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dataprep.core.errors import one_line
from dataprep.core.markup import code_of, command_line, fenced, plain_of, table_of, yaml_of
from dataprep.datasets.checks.figures import Lengths
from dataprep.datasets.exchange.hub_directory import size_category
from dataprep.inspect.card.facts import MAX_NAMES, Facts, Origin
from dataprep.inspect.card.licences import conflicts, strictest, teacher_note
from dataprep.inspect.card.shapes import Shape, feature_of

# Tasks of Examples in the hub's words.
_CATEGORIES = {
    "math": "question-answering",
    "reading": "question-answering",
    "choice": "multiple-choice",
    "code": "text-generation",
}
SIGNED = "`dataprep card` wrote this card."
"""A sentence of every card."""
_GLOB = re.compile(r"([*?\[])")


def readme_of(facts: Facts) -> str:
    """Return the card, the content of ``README.md``."""
    parts = [_introduction(facts), _files(facts), _statistics(facts), _sources(facts)]
    if facts.teachers:
        parts.append(_teachers(facts))
    parts += [_reproduction(facts), _loading(facts)]
    return f"---\n{yaml_of(header_of(facts))}---\n\n# {plain_of(facts.title)}\n\n" + "\n".join(parts)


def header_of(facts: Facts) -> dict[str, Any]:
    """Return the metadata of the card's YAML header."""
    licences = list(dict.fromkeys(licence.hub_id for licence in facts.licences))
    data_files: dict[str, list[str]] = {}
    for file in facts.files:
        # The hub takes a path for a pattern.
        data_files.setdefault(file.split, []).append(_GLOB.sub(r"[\1]", file.path))
    categories = ["text-generation"] * facts.is_chat + [_CATEGORIES.get(task, "") for task in facts.tasks]
    header: dict[str, Any] = {
        "pretty_name": one_line(facts.title, 200),
        "license": licences[0] if len(licences) == 1 else licences,
        "language": facts.languages,
        "task_categories": sorted({*filter(None, categories)}),
        "size_categories": [size_category(facts.stats.rows)],
        "source_datasets": [
            *filter(None, (origin.published.hub for origin in facts.origins if origin.published))
        ],
        "tags": ["chat"] * facts.is_chat + ["dataprep"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": paths} for split, paths in data_files.items()],
            }
        ],
    }
    if (features := _features(facts)) is not None:
        header["dataset_info"] = {"features": features}
    return {name: value for name, value in header.items() if value != []}


def _features(facts: Facts) -> list[dict[str, Any]] | None:
    """Return the types of all columns; ``None`` if one has no single type, or the files have them."""
    # `datasets` infers the columns of texts from the first rows, and fails at a row with further ones.
    found = feature_of(_whole(facts))
    is_table = any(file.kind == "parquet" for file in facts.files)
    return None if found is None or is_table else [*found["struct"]]


def _whole(facts: Facts) -> Shape:
    whole = Shape()
    for file in facts.files:
        whole.merge(file.fields)
    return whole


def summary_of(facts: Facts) -> str:
    """Return one sentence about the dataset, as plain text without anything from its rows."""
    kind = "chat rows" if facts.is_chat else "rows"
    names = [origin.name for origin in facts.origins if origin.published]
    made = f" made from {', '.join(names)}" if names else ""
    return f"{facts.stats.rows:,} {kind}{made}."


def _introduction(facts: Facts) -> str:
    return f"{summary_of(facts)} {SIGNED}\n"


def _files(facts: Facts) -> str:
    rows = (
        (code_of(file.split), code_of(file.path), f"`{file.sha256}`", f"{file.rows:,}", f"{file.size:,}")
        for file in facts.files
    )
    return "## Files\n\n" + table_of(("split", "file", "SHA-256", "rows", "bytes"), rows, 2)


def _statistics(facts: Facts) -> str:
    stats = facts.stats
    parts = [
        f"## Statistics\n\n{stats.rows:,} rows; {stats.duplicates:,} of them repeat the content of an "
        "earlier row.\n"
    ]
    kind = "role" if facts.is_chat else "field"
    parts.append(f"Lengths in characters, by {kind}:\n\n{_lengths(kind, stats.characters)}")
    counts = {f"messages of role {role}": count for role, count in (stats.roles or {}).items()}
    counts |= stats.parts or {}
    if counts:
        rows = ((code_of(name), f"{count:,}") for name, count in counts.items())
        parts.append(table_of(("in chat rows", "number"), rows, 1))
    if stats.tokens is not None:
        parts.append(f"Tokens, by {kind}:\n\n{_lengths(kind, stats.tokens)}")
    return "\n".join(parts)


def _lengths(kind: str, lengths: Mapping[str, Lengths]) -> str:
    head = [kind, "texts", "min", "median", "p95", "max"]
    with_total = any(hasattr(each, "total") for each in lengths.values())
    rows = []
    for name, each in lengths.items():
        numbers = [each.texts, each.min, round(each.median), round(each.p95), each.max]
        numbers += [getattr(each, "total", 0)] if with_total else []
        rows.append((code_of(name), *(f"{number:,}" for number in numbers)))
    head += ["total"] if with_total else []
    shown = table_of(head, rows[:MAX_NAMES], len(head) - 1)
    return shown + (f"\n… and {len(rows) - MAX_NAMES:,} more.\n" if len(rows) > MAX_NAMES else "")


def _sources(facts: Facts) -> str:
    head = ("source", "published at", "licence", "forbids", "requires", "rows")
    shown = facts.origins[:MAX_NAMES]
    more = len(facts.origins) - len(shown)
    parts = ["## Sources and licences\n", table_of(head, map(_source_row, shown), 1)]
    if more:
        parts.append(f"… and {more:,} more sources.\n")
    if any(origin.rows is None for origin in facts.origins):
        parts.append("Rows of a source without a number do not name it; the manifests do.\n")
    parts += _terms(facts)
    return "\n".join(parts)


def _source_row(origin: Origin) -> tuple[str, ...]:
    where = "not known"
    if origin.published:
        hub, homepage = origin.published.hub, origin.published.homepage
        address = f"https://huggingface.co/datasets/{hub}" if hub else homepage
        where = f"[{plain_of(hub or homepage)}]({address})" if address else where
    licence = origin.licence
    # Licences of the table have addresses of its own; other names come from a user.
    name = f"[{licence.name}]({licence.url})" if licence.url else plain_of(licence.name)
    return (
        code_of(origin.name) if origin.name else "(rows without a source)",
        where,
        name,
        plain_of(licence.forbids) or "–",
        plain_of(licence.requires) or "–",
        "–" if origin.rows is None else f"{origin.rows:,}",
    )


def _terms(facts: Facts) -> Iterator[str]:
    """Yield what holds for the dataset as a whole."""
    licences = facts.licences
    hardest = strictest(licences)
    if len(licences) > 1:
        forbidden = hardest.forbids and f"it forbids {hardest.forbids}"
        says = "; ".join(filter(None, (forbidden, hardest.requires)))
        yield (
            f"The strictest of these licences is **{plain_of(hardest.name)}**: {plain_of(says)}. "
            "All of them hold for the mixture at once, and they may be incompatible: read them before you "
            "share it or train on it.\n"
        )
        if problems := conflicts(licences):
            yield "Possibly incompatible:\n"
            yield "".join(f"- {plain_of(problem)}\n" for problem in problems)
    elif hardest.restricts:
        what = hardest.forbids and f"forbids {hardest.forbids}"
        what = what or f"allows changed data to be shared under {hardest.share_alike} only"
        yield f"**Restricted use**: the licence {plain_of(hardest.name)} {plain_of(what)}.\n"
    yield "This is a summary of what licences say, not advice: their texts decide.\n"


def _teachers(facts: Facts) -> str:
    rows = []
    for teacher, counts in [*facts.teachers.items()][:MAX_NAMES]:
        statuses = ", ".join(f"{status}: {count:,}" for status, count in counts.most_common())
        rows.append((code_of(teacher), plain_of(statuses) or "–", plain_of(teacher_note(teacher), 1000)))
    return (
        "## Teachers\n\nModels wrote a part of these texts. Their licences and terms hold beside those "
        "of the sources.\n\n" + table_of(("teacher", "rationales by status", "terms"), rows)
    )


def _reproduction(facts: Facts) -> str:
    parts = ["## How to reproduce\n"]
    if facts.steps:
        lines = [command_line(("dataprep", *step.words)) for step in facts.steps]
        parts.append(f"By the manifests beside the files, these commands made them:\n\n{fenced(lines, 'sh')}")
    if facts.missing:
        shown = ", ".join(code_of(path) for path in facts.missing[:MAX_NAMES])
        parts.append(f"No manifest says how these files were made: {shown}.\n")
    return "\n".join(parts)


def _loading(facts: Facts) -> str:
    lines = ["from datasets import load_dataset", "", 'rows = load_dataset("PATH OF THIS FOLDER")']
    text = f"## Load it\n\n{fenced(lines, 'python')}"
    if _features(facts) is not None or any(file.kind == "parquet" for file in facts.files):
        return text
    odd = [name for name, shape in (_whole(facts).fields or {}).items() if feature_of(shape) is None]
    names = ", ".join(map(code_of, odd[:MAX_NAMES]))
    return (
        f"{text}\nThe values of {names} have several types, or objects with many keys, and `datasets` may "
        "refuse them. `dataprep export --to hub-dir` writes chat rows whose columns have one type each.\n"
    )
