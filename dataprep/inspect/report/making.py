"""Make a report of files: one pass that counts, and one that fetches the rows to show."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dataprep.core import io as files
from dataprep.core.errors import InputError, UsageError
from dataprep.core.io import Block
from dataprep.core.ledger import Ledger
from dataprep.core.options import check_whole
from dataprep.core.parallel import Outcome, Progress, run_into, workers_for
from dataprep.curate.near import check_threshold
from dataprep.inspect.report.counting import EXTREMES, Count, Counts
from dataprep.inspect.report.figures import FileFigures, Repeat, Report, ShownRow
from dataprep.inspect.report.near import groups_of, near_duplicates, rows_at
from dataprep.inspect.report.repeats import duplicates_of, files_by_part, overlaps_of, shared_rows, sound_rows
from dataprep.inspect.report.showing import Place, Shower, Spans, drawn
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.options import ShardOptions
from dataprep.tokens.tokenize import prepare
from dataprep.tokens.tokenizers.base import Tokenizer


def report_files(
    inputs: str | Path | Sequence[str | Path],
    page: str | Path | None = None,
    *,
    against: Sequence[str | Path] = (),
    fields: Sequence[str] = ("question",),
    near: float = 0.8,
    sample: int = 10,
    seed: int = 42,
    tokenizer: str | Path | Tokenizer | None = None,
    chat_format: str | None = None,
    template: str | Path | None = None,
    options: ShardOptions | None = None,
    workers: int | None = 1,
    rejects: str | Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Describe files of rows of any kind, and write one HTML page about them.

    The same files, options and seed give the same page with any number of workers.

    Args:
        inputs: files in any format that dataprep reads; of two files the figures stand side by side.
        page: the page; ``-`` is standard output, and ``None`` writes none.
        against: files of test rows that are looked for in the inputs. Defaults to those of the inputs that
            are named test, and are looked for in those that are named train.
        fields: the parts of test rows that are looked for, as for ``decontaminate_files``.
        near: Jaccard similarity of the n-grams of two rows from which on they are near-duplicates, as for
            ``dedup_files``; 0 looks for none.
        sample: number of rows to show, which ``seed`` draws.
        seed: seed of Python's generator.
        tokenizer: counts tokens, and shows the loss mask of the sample; its file or model directory.
        chat_format: the chat format of the sample, as for ``tokenize_files``.
        template: for the chat format ``template``: a model directory or a Jinja file.
        options: options of the chat format and of the loss mask.
        workers: number of processes; ``None`` decides by the size of the inputs.
        rejects: receives bad rows; without it the first one is an error.
        progress: called with the bytes that were read.

    Raises:
        UsageError: there is no file, or the page would replace one.
        InputError: a row is bad, or a file has none.
        FileError: a file cannot be read or written.
    """
    from dataprep.inspect.report.page import check_page, page_of

    paths = [str(inputs)] if isinstance(inputs, str | Path) else [str(path) for path in inputs]
    tests = [str(path) for path in against]
    if not paths:
        raise UsageError("there is nothing to describe: give at least one file")
    if near:
        check_threshold(near)
    check_whole("--sample", sample, 0)
    check_whole("--seed", seed)
    if page is not None:
        check_page(str(page))
        files.check_apart([str(page)], [*paths, *tests], "it would replace an input")
    with ExitStack() as stack:
        scratch = stack.enter_context(files.temporary_folder())
        given = _Given.of(paths, tests, tuple(filter(None, fields)), scratch)
        encoder, names = _encoder(tokenizer, chat_format, template, options)
        made = _Making(given, encoder, workers, scratch)
        bad = stack.enter_context(files.open_rejects(rejects))
        report = made.report(near, sample, seed, bad, progress)
        report.tokenizer, report.chat_format = names
    if page is not None:
        files.write_text(page_of(report), str(page))
    return report


@dataclass
class _Given:
    """The files: as they are read, and as they are named."""

    paths: list[str]
    tests: list[str]
    fields: tuple[str, ...]  # the parts of test rows that are looked for
    names: dict[str, str]  # by path; standard input is copied to a file

    @classmethod
    def of(cls, paths: list[str], tests: list[str], fields: tuple[str, ...], scratch: Path) -> _Given:
        if (paths + tests).count(files.STDIO) > 1:
            raise UsageError("standard input can be read once only; give a path")
        names = {}
        for path in paths + tests:
            files.check_input(path)
            read = path
            if path == files.STDIO:
                # Rows are shown after all were counted, and no pipe can be read twice.
                read = str(scratch / "standard-input.jsonl")
                with Path(read).open("wb") as copy:
                    for block in files.read_row_blocks(path):
                        data = block.read()
                        copy.write(data if data.endswith(b"\n") else data + b"\n")
            names[read] = "standard input" if path == files.STDIO else files.printable(path)
        given = [str(scratch / "standard-input.jsonl") if path == files.STDIO else path for path in paths]
        others = [str(scratch / "standard-input.jsonl") if path == files.STDIO else path for path in tests]
        return cls(given, others, fields, names)


def _encoder(
    tokenizer: str | Path | Tokenizer | None,
    chat_format: str | None,
    template: str | Path | None,
    options: ShardOptions | None,
) -> tuple[Encoder | None, tuple[str, str]]:
    if tokenizer is None:
        return None, ("", "")
    options = options or ShardOptions()
    prepared = prepare(tokenizer, chat_format, options, template)
    encoder = Encoder(
        prepared.tokenizer, prepared.chat_format, loss=options.loss, split_thinking=options.split_thinking
    )
    return encoder, (prepared.name or "the given tokenizer", prepared.chat_format.name)


class _Making:
    """The two passes over the files."""

    def __init__(self, given: _Given, encoder: Encoder | None, workers: int | None, scratch: Path) -> None:
        self._given = given
        self._encode = None if encoder is None else encoder.tokenizer.encode
        self._shower = Shower(encoder)
        self._workers = workers
        self._scratch = scratch
        self._spans = Spans(len(given.paths))
        self._counts = [Counts() for _ in given.paths]
        self._ledger = Ledger()

    def report(
        self, near: float, sample: int, seed: int, rejects: files.Rejects, progress: Progress | None
    ) -> Report:
        """Read the files, and return the report."""
        paths = self._given.paths
        unchanged = files.Unchanged([*paths, *self._given.tests])
        for file in range(len(paths)):
            self._count(file, rejects, progress)
        figures = [
            FileFigures(self._given.names[path], counts, duplicates_of([counts.digests])[0])
            for path, counts in zip(paths, self._counts, strict=True)
        ]
        together = Counts()
        for counts in self._counts:
            together.add(counts)
        report = Report(figures, FileFigures("all files", together), seed)
        report.bad_rows = dict(self._ledger.failed)
        digests = [counts.digests for counts in self._counts]
        report.together.duplicates, pairs = duplicates_of(digests)
        if len(paths) == 2:
            report.shared = shared_rows(*digests)
        self._show(report, pairs, self._drawn(sample, seed))
        self._look_for_tests(report)
        if near:
            self._look_for_near(report, near)
        unchanged.check()
        return report

    def _count(self, file: int, rejects: files.Rejects, progress: Progress | None) -> None:
        path = self._given.paths[file]
        counts = self._counts[file]

        def take(block: Block, outcome: Outcome) -> None:
            counts.add(outcome.payload, self._spans.rows[file])
            self._spans.add(file, block, outcome)
            self._ledger.rows_out += outcome.rows_out

        run_into(
            files.read_row_blocks(path), Count(self._given.names[path], self._encode),
            None, self._ledger, rejects, paths=[path],
            workers=workers_for([path], self._workers), take=take, progress=progress,
        )  # fmt: skip

    def _drawn(self, count: int, seed: int) -> list[Place]:
        """Return the places of a sample of the sound rows."""
        places = drawn([counts.rows for counts in self._counts], count, seed)
        sound = {
            file: sound_rows(counts.digests)
            for file, counts in enumerate(self._counts)
            if counts.rows < self._spans.rows[file]
        }
        return [(file, int(sound[file][row]) if file in sound else row) for file, row in places]

    def _show(self, report: Report, pairs: list[tuple[Place, Place]], sample: list[Place]) -> None:
        """Fetch the rows that the report shows."""
        extremes = [
            [[(file, number) for _, number in each] for each in (counts.longest, counts.shortest)]
            for file, counts in enumerate(self._counts)
        ]
        chosen = set(sample)
        wanted = chosen | {place for pair in pairs for place in pair}
        wanted |= {place for both in extremes for each in both for place in each}
        shown: dict[Place, ShownRow] = {}
        for place, where, row in self._spans.fetch(wanted):
            named = where._replace(path=self._given.names[where.path])
            shown[place] = self._shower.show(named, row, tokens=place in chosen)
        report.sample = [shown[place] for place in sample if place in shown]
        report.repeats = [
            Repeat(1.0, "the same except for id, source, case and spaces", shown[row], shown[first])
            for row, first in pairs
        ]
        for figures, (longest, shortest) in zip(report.files, extremes, strict=True):
            figures.longest = [shown[place] for place in longest]
            figures.shortest = [shown[place] for place in shortest]
        # Stable: of rows with the same length, the first files' come first.
        everything = [row for figures in report.files for row in figures.longest]
        report.together.longest = sorted(everything, key=lambda row: -row.length)[:EXTREMES]
        everything = [row for figures in report.files for row in figures.shortest]
        report.together.shortest = sorted(everything, key=lambda row: row.length)[:EXTREMES]

    def _parts(self) -> tuple[list[str], list[str]]:
        """Return the training files and the test files, if there are any."""
        given = self._given
        return (given.paths, given.tests) if given.tests else files_by_part(given.paths)

    def _look_for_tests(self, report: Report) -> None:
        train, test = self._parts()
        if not test:
            return
        given = self._given
        try:
            report.overlaps, report.overlap_rows = overlaps_of(
                train, test, given.fields, self._shower, self._workers, self._scratch, given.names
            )
        except InputError as error:
            # Only the names say that these are test rows, and a report of any rows must not fail for that.
            if given.tests:
                raise
            report.not_searched = str(error)

    def _look_for_near(self, report: Report, threshold: float) -> None:
        given, (train, test) = self._given, self._parts()
        paths = [*given.paths, *(path for path in test if path not in given.paths)]
        groups = groups_of(
            paths, [counts.digests for counts in self._counts],
            [*map(paths.index, train)], [*map(paths.index, test)],
            threshold, self._workers, self._scratch / "near-rejects.jsonl",
        )  # fmt: skip
        inputs = len(given.paths)
        report.near = near_duplicates(
            groups, threshold, lambda places: rows_at(places, inputs, self._spans, paths, given.names),
            self._shower,
        )  # fmt: skip
        names = [given.names[path] for path in paths]
        for overlap in report.overlaps:
            overlap.near = groups.pairs[names.index(overlap.train), names.index(overlap.test)]
