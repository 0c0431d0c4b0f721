"""``dataprep collect``, ``review``, ``parse-rationales`` and ``export-rationales``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from dataprep.cli.console import Summary, print_json, print_text, say, status_lines, table
from dataprep.cli.options import AsJson, Output, Quiet, Rejects, Workers, argument, flag
from dataprep.cli.progress import bytes_bar
from dataprep.core.errors import UsageError, one_line

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from dataprep.collect.answers import RunTests
    from dataprep.collect.review.findings import Review, TeacherReview
    from dataprep.collect.review.scored import ScoredReview
    from dataprep.collect.review.sections import Table


def export_command(
    rows: str = argument(..., "Rows as parse-rationales writes them.", "ROWS"),
    output: str = flag(..., "Folder for SPLIT_CoT_K.json.", "-o", "--output", "DIR"),
    split: str = flag("train", "The split in the files' names.", "NAME"),
    teachers: str | None = flag(
        None, "The first teacher, then further ones (name or marker=name).", "NAME,..."
    ),
    quiet: Quiet = False,
) -> None:
    """Write labelled rows back as published rationale files.

    The strings go into files of 500, in the published format. A row that would be read back differently is an
    error with its number.

    \b
    Example:
      dataprep export-rationales rows.jsonl -o llm --split train
    """
    from dataprep.answers.parse import export_rationales

    names = () if teachers is None else teachers.split(",")
    paths = export_rationales(rows, output, split=split, teachers=names)
    if not quiet:
        say(f"export-rationales: wrote {len(paths)} files to {output}")


def parse_command(
    inputs: list[str] = argument(
        ..., "SPLIT_CoT_K.json files, folders of them, JSON Lines of strings, or -.", "INPUT..."
    ),
    output: Output = None,
    gold: str | None = flag(None, "References, joined by id or else by position.", "FILE"),
    teachers: str | None = flag(
        None, "The first teacher, then further ones (name or marker=name).", "NAME,..."
    ),
    trim_runaway: bool = flag(
        False, "Cut rationales where they run into another question.", "--trim-runaway"
    ),
    source: str | None = flag(
        None, "The set that the files belong to. Defaults to the dataset whose folder they are in.", "NAME"
    ),
    workers: Workers = None,
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Parse teachers' rationale files into labelled rows.

    Each string becomes a row with question, choices, answer and one field per teacher. Each rationale has a
    status: ok, unjudged, empty, runaway, truncated, no_answer, or answer_mismatch. No row is dropped for it.

    \b
    Examples:
      dataprep parse-rationales llm/train_CoT_*.json --gold arc_train.json -o rows.jsonl
      dataprep parse-rationales llm/ -o rows.parquet
    """
    from dataprep.answers.parse import parse_rationale_files, rationale_files

    paths = rationale_files(inputs)
    with bytes_bar("parse-rationales", paths, 1, quiet or as_json) as advance:
        report = parse_rationale_files(
            paths,
            output or "-",
            gold=gold,
            teachers=() if teachers is None else teachers.split(","),
            trim=trim_runaway,
            source=source,
            workers=workers,
            rejects=rejects,
            progress=advance,
        )
    lines = status_lines(report.statuses)
    if trim_runaway:
        what = "rationale was" if report.trimmed == 1 else "rationales were"
        lines.append(f"  {report.trimmed:,} {what} trimmed")
    if gold is not None:
        lines.append(f"  the first teacher agrees with the references in {report.agree:,} rows")
    summary = Summary("parse-rationales", quiet=quiet, as_json=as_json)
    summary.add("parse-rationales", report.ledger, output, lines=lines)
    summary.finish(
        {
            **report.ledger.to_json(),
            "status": {teacher: dict(counts) for teacher, counts in report.statuses.items()},
            "trimmed": report.trimmed,
            # Without references no row can agree, and 0 would look like a bad teacher.
            "first_teacher_agrees_with_gold": None if gold is None else report.agree,
        }
    )


Target = Literal["rationale", "chat", "qa", "choice-probs", "preference"]
Thinking = Literal["as-reasoning", "as-rationale", "drop"]
WRONG = 5  # wrong answers of each group
BAR = 30  # characters of the longest bar


def collect_command(
    responses: list[str] = argument(..., "Journals of responses; - is standard input.", "RESPONSES..."),
    examples: str = flag(
        ..., "Examples that the requests were made from; chat, preference: or requests.", "--examples", "FILE"
    ),
    output: Output = None,
    to: Target = flag(
        "rationale", "Labelled rows with all teachers, one teacher's training rows, or pairs of answers."
    ),
    keep: str | None = flag(
        None, "Training rows: answers to keep. Defaults to ok,unjudged; for pairs to ok.", "STATUS,..."
    ),
    reject: str | None = flag(
        None, "preference: the worse answers. Defaults to answer_mismatch,contradiction.", "STATUS,..."
    ),
    teacher: str | None = flag(None, "Training rows: teacher. Required if there are several.", "NAME"),
    dataset: str | None = flag(None, "--examples has source rows of this dataset.", "NAME"),
    template: str | None = flag(
        None, "chat, preference: wording of messages: keys system, user, assistant.", "FILE.toml"
    ),
    sample: str | None = flag(
        None, "Sample to use, if there are several. Defaults to 0, for pairs to all.", "N|all"
    ),
    teacher_name: list[str] | None = flag(
        None, "Rename a teacher in the output; can be repeated.", "OLD=NEW"
    ),
    reasoning: Thinking | None = flag(
        None, "Place of teachers' thinking. Defaults to as-reasoning, beside the text."
    ),
    split_thinking: bool = flag(
        True,
        "Keep thinking that stands in a reply apart from its text.",
        "--split-thinking/--no-split-thinking",
    ),
    tools: str | None = flag(None, "chat, preference: the tools of `generate --tools`.", "FILE"),
    judgements: str | None = flag(None, "preference: which answers are better, or ratings.", "FILE"),
    pairs: int = flag(1, "preference: maximum number of pairs of a request.", "N", min=1),
    allow_code: bool = flag(False, "Judge code by running its tests, confined (Linux only).", "--allow-code"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Join teachers' answers to their Examples.

    Each Example becomes a row with every teacher's rationale and one status per teacher. With --to chat, qa
    or choice-probs, the kept answers of one teacher become training rows; with --to preference, a right and a
    wrong answer become a pair. The summary counts the other answers by reason.

    \b
    Examples:
      dataprep collect responses.jsonl --examples examples.jsonl -o rationales.jsonl
      dataprep collect a.jsonl b.jsonl --examples examples.jsonl --to chat --teacher gpt-4o -o train.jsonl
      dataprep collect responses.jsonl --examples dev_rand_split.jsonl --dataset commonsense_qa --to qa
      dataprep collect a.jsonl b.jsonl --examples examples.jsonl --to preference -o pairs.jsonl
    """
    from dataprep.collect.collector import collect_files
    from dataprep.datasets.templates import read_template
    from dataprep.models.sampling import read_tools

    with bytes_bar("collect", responses, 1, quiet or as_json) as advance:
        report = collect_files(
            responses,
            examples,
            output or "-",
            to=to,
            keep=None if keep is None else keep.split(","),
            reject=None if reject is None else reject.split(","),
            teacher=teacher,
            dataset=dataset,
            template=None if template is None else read_template(template),
            sample=int(sample) if sample is not None and sample.isdecimal() else sample,
            names=_names(teacher_name or []),
            run_tests=_run_tests() if allow_code else None,
            reasoning=reasoning,
            split_thinking=split_thinking,
            tools=None if tools is None else read_tools(tools),
            judgements=judgements,
            pairs=pairs,
            progress=advance,
        )
    # Also with --quiet: an incomplete line can mean that answers were lost.
    if not as_json:
        for where in report.torn:
            say(f"warning: {where}: the last line is incomplete and was skipped")
    summary = Summary("collect", quiet=quiet, as_json=as_json)
    counts = {
        "answers to no example": report.unmatched,
        "judgements about no example": report.unjudged,
        "torn lines": len(report.torn),
        "thinking left out": report.thinking,
    }
    lines = [f"  {name}: {count:,}" for name, count in counts.items() if count]
    lines += [f"  {name} is left out: no request under this name was answered" for name in report.silent]
    summary.add("collect", report.ledger, output, lines=[*status_lines(report.statuses), *lines])
    statuses = {name: dict(each) for name, each in report.statuses.items()}
    document = report.ledger.to_json() | {"status": statuses}
    document |= {"teachers_without_answers": report.silent} if report.silent else {}
    if judgements is None:
        del counts["judgements about no example"]
    summary.finish(document | {name.replace(" ", "_"): count for name, count in counts.items()})


def _run_tests() -> RunTests:
    """Return what runs the program in a reply with its tests, as ``evaluate`` does."""
    from dataprep.evaluate.metrics.programs import program_of
    from dataprep.evaluate.sandbox.run import Limits, check_confinement, run_program

    limits = Limits()
    guard = check_confinement(limits)
    return lambda reply, tests: (
        run_program(program_of(reply, tests), tests, limits, guard).outcome == "passed"
    )


def _names(given: Sequence[str]) -> dict[str, str]:
    # A model's name can have a `=`, the new name that the user chooses need not: the last one separates.
    pairs = [text.rpartition("=")[::2] for text in given]
    for text, (old, new) in zip(given, pairs, strict=True):
        if not old or not new:
            raise UsageError(f"--teacher-name {text}: expected OLD=NEW")
    if len(dict(pairs)) < len(pairs):
        raise UsageError(f"--teacher-name {' '.join(given)}: a teacher is named twice")
    return dict(pairs)


def review_command(
    inputs: list[str] = argument(..., "Responses, rows made of them, or scored rows; - is stdin.", "FILE..."),
    gold: str | None = flag(None, "References or Examples, joined by id.", "FILE"),
    output: str | None = flag(None, "Also write one HTML page with charts.", "-o", "--output", "PATH"),
    as_json: bool = flag(False, "Print the figures as JSON.", "--json"),
) -> None:
    """Describe teachers' answers to multiple-choice questions, or answers that were evaluated.

    The report has the outcome of each question, the share of replies with a single letter, the distribution
    of the letters, how often they are the gold letters, and how far the teachers agree. FILE has responses,
    rows with one field per teacher, or rows {"Question", "Answer"}. Of rows that `evaluate -o` wrote, the
    report has the outcomes, the distribution of the answers, and wrong answers with question and gold answer.

    \b
    Examples:
      dataprep review responses.jsonl --gold dev_rand_split.jsonl
      dataprep review gpt.jsonl llama.jsonl --gold examples.jsonl -o report.html
      dataprep review scored.jsonl -o answers.html
    """
    from dataprep.collect.review.review import review_files

    if output == "-" and as_json:
        raise UsageError("-o - and --json both write to standard output; give the page a file")
    figures = review_files(inputs, gold=gold, page=output)
    if as_json:
        print_json(figures.to_json())
    elif output != "-":
        _print(figures)
    if output not in (None, "-"):
        say(f"review: page → {output}")


def _print(review: Review | ScoredReview) -> None:
    from dataprep.collect.review.findings import Review
    from dataprep.collect.review.scored_page import scored_sections
    from dataprep.collect.review.sections import sections

    parts: list[Any] = []
    for section in sections(review) if isinstance(review, Review) else scored_sections(review, WRONG):
        parts += [f"\n{one_line(section.title)}"] if section.title else []
        parts += ["", *map(one_line, section.lines)] if section.lines else []
        for found in section.tables:
            parts += [f"\n{found.title}\n" if found.title else "", _table(found, section.teacher)]
            parts += ["", *map(one_line, found.notes)] if found.notes else []
    # The first section has no title: its first line would be an empty one. A confusion matrix is wide.
    width = 6 * len(review.letters) + 24 if isinstance(review, Review) else 120
    print_text(*parts[1:], min_width=width)


def _table(found: Table, teacher: TeacherReview | None) -> RichTable:
    """Return a table; the letters' one has bars instead of its last, longest column."""
    head, rows = found.head, found.rows
    if found.kind == "letters" and teacher is not None:
        most = max(teacher.answers.values())
        bars = ["█" * round(BAR * count / most) or "▏" * (count > 0) for count in teacher.answers.values()]
        head = [*head[:5], ""]
        rows = [[*row[:5], bar] for row, bar in zip(rows, bars, strict=True)]
    return table(head, rows, found.names)
