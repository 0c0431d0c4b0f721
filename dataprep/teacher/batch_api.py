"""Write requests as files for a provider's batch interface, and read its result files into the journal.

The format is OpenAI's (platform.openai.com/docs/guides/batch), which Azure and others share: one line per
request with a ``custom_id``, and one line per result with the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import FileError, InputError, Location, RowError, UsageError, located
from dataprep.core.jsonl import not_object, parse_line
from dataprep.core.ledger import Ledger
from dataprep.core.records import describe
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.journal.index import Index, entry_of, read_index
from dataprep.teacher.journal.line import new_line
from dataprep.teacher.journal.writer import JournalWriter, check_journal
from dataprep.teacher.pacing import fewest_tokens
from dataprep.teacher.protocol import Reply, RequestError, answers_of, error_body, error_of, flagged
from dataprep.teacher.requests import PendingQueue, read_requests

# OpenAI's limits for one file.
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
ENDPOINT = "/v1/chat/completions"


def custom_id(identity: str, key: str, sample: int, max_tokens: int) -> str:
    """Return a request's name in a batch: 32 hex digits, because providers limit the length of names."""
    # With the limit in it: a result of an export with a lower limit is not taken for one with a higher.
    content = f"{identity}\0{key}\0{sample}\0{max_tokens}".encode("utf-8", "surrogatepass")
    return blake2b(content, digest_size=16).hexdigest()


def export_batch(
    requests: str | Path,
    journal: str | Path,
    config: GenerationConfig,
    *,
    most_requests: int = MOST_REQUESTS,
    most_bytes: int = MOST_BYTES,
) -> tuple[list[Path], int]:
    """Write what the journal lacks as batch files next to it; return them, and the number of requests.

    The files are ``JOURNAL.batch-1.jsonl`` and so on. Each of ``n`` answers is a request of its own.
    """
    files.check_local(journal, "exporting batches")
    files.check_one_file(journal)
    if config.choice_probs == "likelihood":
        raise UsageError("--choice-probs likelihood: a batch has no log-probabilities of prompts; use letter")
    target = Path(journal)
    check_journal(target)
    config.check_samples()
    queue = PendingQueue(read_requests(requests), config, read_index(target))
    paths: list[Path] = []
    count = size = total = 0
    with ExitStack() as stack:
        output: Any = None
        for line in _batch_lines(queue, config):
            if len(line) > most_bytes:
                raise InputError(requests, f"a request of {len(line):,} bytes is larger than a batch may be")
            if output is None or count == most_requests or size + len(line) > most_bytes:
                path = target.with_name(f"{target.stem}.batch-{len(paths) + 1}.jsonl")
                if path.exists():
                    raise FileError(path, "exists already; import its results, or remove it to export again")
                output = stack.enter_context(files.open_output(str(path)))
                paths.append(path)
                count = size = 0
            output.write(line)
            count, size, total = count + 1, size + len(line), total + 1
    return paths, total


def _batch_lines(queue: PendingQueue, config: GenerationConfig) -> Iterator[bytes]:
    for job in queue.jobs():
        for sample in job.samples:
            row = {
                "custom_id": custom_id(job.request.id, job.key, sample, config.max_tokens),
                "method": "POST",
                "url": ENDPOINT,
                "body": config.body(
                    job.request.messages, 1, first=sample, batch=True, tools=job.request.tools
                ),
            }
            yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def import_batch(
    requests: str | Path,
    journal: str | Path,
    config: GenerationConfig,
    results: Sequence[str | Path],
    *,
    teacher: str | None = None,
    on_failure: Callable[[RequestError], None] | None = None,
) -> tuple[Ledger, Ledger]:
    """Append a batch's results to the journal, except for those that it has already.

    ``requests`` and ``config`` are those that the batch was exported with, ``results`` the provider's result
    files, including those with errors. ``on_failure`` is called with each error among them. Return the ledger
    of the results, and that of the requests.
    """
    files.check_one_file(journal)
    if not results:
        raise UsageError("--batch import needs the result files: give them with --batch-file")
    # With an empty journal the queue has every request, also those answered since the export.
    known = {
        custom_id(job.request.id, job.key, sample, config.max_tokens): _Known(
            job.request.id,
            job.key,
            sample,
            fewest_tokens(job.request.messages),
            bool(config.body([], 1, tools=job.request.tools).get("tools")),
        )
        for job in PendingQueue(read_requests(requests), config, Index()).jobs()
        for sample in job.samples
    }
    ledger, name = Ledger(), teacher or config.model
    with JournalWriter(journal) as opened:
        opened.index.check_teacher(config.model, name, str(journal))
        for path in results:
            for where, row in _results(str(path)):
                ledger.rows_in += 1
                asked = _known(known, row, where)
                standing = opened.index.get(entry_of(asked.id, asked.key, asked.sample))
                # Importing a file again changes nothing, except that a failure may be replaced.
                if standing is not None and (
                    standing.outcome == "ok" or standing.answered >= config.max_tokens
                ):
                    ledger.drop("in the journal already")
                    continue
                line = new_line(asked.id, asked.key, name, asked.sample, config)
                try:
                    opened.append([line | _result(row, config.max_tokens, asked)])
                except RequestError as error:
                    opened.append([line | {"error": error.to_json()}])
                    if on_failure is not None:
                        on_failure(error)
                ledger.rows_out += 1
        queue = PendingQueue(read_requests(requests), config, opened.index)
        return ledger, queue.drain()


@dataclass(frozen=True, slots=True)
class _Known:
    """A request that a result can answer."""

    id: str
    key: str
    sample: int
    fewest: int  # A lower bound of the prompt's tokens.
    tools: bool  # True if the teacher was given tools.


def _results(path: str) -> Iterator[tuple[Location, Mapping[str, Any]]]:
    """Yield the rows of a result file, which is read as leniently as a server's reply."""
    for where, item in files.read_items(path):
        row: Any = item
        if isinstance(item, bytes):
            try:
                row = parse_line(item)
            except RowError:
                # An answer with half an emoji or NaN in it is paid for.
                row = error_body(item)
                if not isinstance(row, Mapping):
                    with located(where):
                        raise
        if not isinstance(row, Mapping):
            with located(where):
                raise not_object(row)
        yield where, row


def _known(known: Mapping[str, _Known], row: Mapping[str, Any], where: Location) -> _Known:
    name = row.get("custom_id")
    if type(name) is not str or not {"response", "error"} & row.keys():
        raise InputError(where, f"no batch result: expected custom_id and response, found {describe(row)}")
    if name not in known:
        advice = "give the requests and the settings (--model, --max-tokens, --temperature, …)"
        problem = (
            f"custom_id {name!r} is not one of these requests'; {advice} that the batch was exported with"
        )
        raise InputError(where, problem)
    return known[name]


def _result(row: Mapping[str, Any], limit: int, asked: _Known) -> dict[str, Any]:
    """Return the fields of a result in a line of the journal; raise ``RequestError`` without an answer."""
    try:
        answers, usage = _answers(row, asked.tools)
    except RecursionError:
        raise RequestError("malformed_reply", "the reply is nested too deeply") from None
    return flagged(answers[:1], usage or {}, limit, asked.fewest)[0].fields(usage)


def _answers(row: Mapping[str, Any], tools: bool) -> Reply:
    response = row.get("response")
    if row.get("error"):
        raise error_of(None, row)
    if not isinstance(response, Mapping):
        raise RequestError("malformed_reply", f"expected a response, found {describe(response)}")
    status, body = response.get("status_code"), response.get("body")
    if status != 200:
        raise error_of(status if type(status) is int else None, body)
    # Some providers write the body as text.
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else b""
    return answers_of(body if isinstance(body, Mapping) else data, tools=tools)
