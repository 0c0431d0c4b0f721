"""``dataprep diff``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

import orjson
import typer

from dataprep.cli.console import Summary, has_colours, print_json, print_text, say, table
from dataprep.cli.options import AsJson, Output, Quiet, Rejects, Workers, argument, flag
from dataprep.cli.progress import bytes_bar
from dataprep.core.errors import one_line, shortened, visible

if TYPE_CHECKING:
    from dataprep.inspect.diff.fields import Change
    from dataprep.inspect.diff.files import Diff, Difference

_MARKS = {"same": ("", "", ""), "removed": ("[-", "-]", "red"), "added": ("{+", "+}", "green")}
_AROUND = 120  # characters of equal text that are shown before and after a change
_LONGEST = 500  # characters of a text that was added or removed


def command(
    a: str = argument(..., "The first file of rows; - is standard input.", "A"),
    b: str = argument(..., "The second file of rows.", "B"),
    output: Output = None,
    by: str | None = flag(
        None,
        "Key of a row: id, content, or a part such as question or a field. Defaults to id if each row of "
        "both files has an id of its own, and else to content.",
        "--by",
        "KEY",
    ),
    show: int = flag(5, "Print the first N rows that were changed, lost and gained.", "N", min=0),
    exit_code: bool = flag(False, "Exit with 1 if the files differ.", "--exit-code"),
    workers: Workers = None,
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Say which rows two files share, lost, gained or changed.

    Two rows with the same key are shared if their values are equal, and else changed. The order of keys,
    white space and the notation of numbers make no difference. Equal rows in another order are shared; how
    many were moved is reported. Of a changed row, the changed fields are named and the changed words marked:
    [-before-] and {+after+}.

    \b
    Examples:
      dataprep diff old.jsonl new.jsonl
      dataprep diff train.jsonl train.parquet --by content --quiet --exit-code
      dataprep diff a.jsonl b.jsonl --by question --show 0 -o differences.jsonl
    """
    from dataprep.inspect.diff.files import diff_files

    with bytes_bar("diff", [a, b], 1, quiet or as_json) as advance:
        result = diff_files(
            a, b, output, by=by, show=show, rejects=rejects, workers=workers, progress=advance
        )  # fmt: skip
    # Lines of differences and a report in one stream could be read by no program.
    file = sys.stderr if output == "-" else sys.stdout
    if as_json:
        print_json({"command": "diff", **result.to_json()}, file)
    elif not quiet:
        _print(result, file)
    if output is not None:
        summary = Summary("diff", quiet=quiet or as_json, as_json=False)
        hint = "both files have the same rows" if result.equal else None
        summary.add("diff", result.ledger, output, hint=hint)
    if exit_code and not result.equal:
        raise typer.Exit(1)


def _print(result: Diff, file: TextIO) -> None:
    colour = has_colours(file)
    for difference in sorted(result.shown, key=lambda each: ("changed", "lost", "gained").index(each.kind)):
        print_text(_shown(difference), colour=colour, min_width=sys.maxsize, file=file)
    counts = (
        ("shared", result.shared, result.shared),
        ("changed", result.changed, result.changed),
        ("lost", result.lost, None),
        ("gained", None, result.gained),
        ("rows", *result.rows),
    )
    cells = [(name, *("" if n is None else f"{n:,}" for n in numbers)) for name, *numbers in counts]
    print_text(table(["", *result.paths], cells), file=file)
    say(*_notes(result), file=file)
    if result.fields:
        rows = [(name, f"{count:,}") for name, count in result.fields.most_common()]
        print_text("", table(["changed field", "rows"], rows), file=file)


def _notes(result: Diff) -> Iterator[str]:
    why = f", because {result.why}" if result.why else ""
    yield f"rows are matched by {result.by}{why}"
    if result.ledger.failed:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in result.ledger.failed.items())
        yield f"bad rows that are left out: {reasons}"
    for name, copies, other in zip(("lost", "gained"), result.copies, ("second", "first"), strict=True):
        if copies:
            yield f"{copies:,} of the {name} rows repeat a row that the {other} file has less often"
    both = result.shared + result.changed
    if not both and result.by != "content":
        yield f"no {result.by} is in both files; --by content, or another part, may match rows"
    elif result.moved:
        yield f"the order differs: {result.moved:,} of the {both:,} rows in both files were moved"
    if result.equal:
        yield "the files have the same rows" + (" in another order" if result.moved else " in the same order")


def _shown(difference: Difference) -> Any:
    from rich.text import Text

    text = Text()
    places = [str(side[0]) for side in (difference.a, difference.b) if side is not None]
    name = "" if difference.id is None else f" · id {difference.id}"
    text.append(f"── {difference.kind}: {one_line(' → '.join(places) + name)} ──\n", "bold")
    for change in difference.changes:
        text.append(f"{one_line(f'{change.name} {change.kind}')}\n", "bold")
        _append_change(text, change)
    side = None if difference.changes else difference.a or difference.b
    if side is not None:
        text.append(f"  {_beginning(side[1])}\n")
    return text


def _append_change(text: Any, change: Change) -> None:
    from dataprep.inspect.diff.fields import word_changes

    before, after = _written(change.before), _written(change.after)
    pieces = word_changes(before, after) if change.kind == "changed" else []
    if change.kind != "changed":
        pieces = [("removed", before) if change.kind == "removed" else ("added", after)]
    elif isinstance(change.before, str) != isinstance(change.after, str) and before == after:
        pieces = [("removed", _json(change.before)), ("added", _json(change.after))]
    text.append("  ")
    for number, (kind, part) in enumerate(pieces):
        opened, closed, style = _MARKS[kind]
        if kind == "same":
            short = _around(part, first=number == 0, last=number == len(pieces) - 1)
        else:
            short = shortened(part, _LONGEST)
        text.append(f"{opened}{visible(short, lines=True)}{closed}".replace("\n", "\n  "), style)
    text.append("\n")


def _around(text: str, *, first: bool, last: bool) -> str:
    """Return the parts of an equal text that are next to changes."""
    if len(text) <= (_AROUND if first or last else 2 * _AROUND) + 3:
        return text
    head, tail = text[:_AROUND], text[-_AROUND:]
    return f"… {tail}" if first else f"{head} …" if last else f"{head} … {tail}"


def _written(value: Any) -> str:
    # Of a message that was added, the role is in the name of the field.
    if isinstance(value, dict) and value.keys() == {"role", "content"}:
        value = value["content"]
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _beginning(line: bytes) -> str:
    """Return the first texts of a row on one line."""
    from dataprep.inspect.blocks import blocks_of
    from dataprep.inspect.rows import parsed

    blocks = list(blocks_of(parsed(line)))
    # Many rows of a file have the same system message.
    told = [block for block in blocks if block.role not in ("system", "developer")] or blocks
    texts = [f"{block.role or block.title}: {block.text}" for block in told]
    return one_line(" · ".join(" ".join(text.split()) for text in texts), 200)
