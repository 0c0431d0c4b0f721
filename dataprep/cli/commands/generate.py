"""``dataprep prompt`` and ``dataprep generate``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from dataprep.cli.console import Summary, say
from dataprep.cli.options import AsJson, From, Output, Quiet, Rejects, Seed, argument, flag, with_options
from dataprep.cli.progress import asking_bar
from dataprep.core.errors import UsageError
from dataprep.core.ledger import Ledger
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.journal.line import FLAGS
from dataprep.teacher.settings import MODEL, Endpoint, Pacing, endpoints_of, environment

if TYPE_CHECKING:
    from dataprep.teacher.generate import GenerateReport
    from dataprep.teacher.protocol import RequestError


def prompt_command(
    source: str = argument(..., "Examples or source rows; - is standard input.", "INPUT"),
    output: Output = None,
    dataset: str | None = flag(None, "INPUT has source rows of this dataset.", "NAME"),
    shots: int | None = flag(
        None,
        "Worked examples per request. Defaults to 2 or as many as there are, and to 0 without forcing.",
        "N",
        min=0,
    ),
    seed: Seed = 42,
    pool: str | None = flag(None, "Draw worked examples from this file, not from INPUT.", "FILE"),
    teacher_forcing: bool = flag(
        True, "Show the gold answer and ask for the reasoning.", "--teacher-forcing/--no-teacher-forcing"
    ),
    system: str | None = flag(None, "System prompt; '' for none.", "TEXT"),
    template: str | None = flag(None, "Wording: keys system and user.", "FILE.toml"),
    limit: int | None = flag(None, "Make at most N requests, of the first rows.", "N", min=1),
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make requests to a teacher from Examples.

    A request shows worked examples and then the question. With teacher forcing it also shows the gold
    answer, and asks only for the reasoning. Without it, it asks for the letter of the answer. The worked
    examples of a row depend only on the seed and the row's id.

    \b
    Examples:
      dataprep prompt examples.jsonl -o requests.jsonl --shots 2
      dataprep prompt dev_rand_split.jsonl --dataset commonsense_qa --no-teacher-forcing
    """
    from dataprep.datasets.source_rows import missing_labels
    from dataprep.datasets.templates import read_template
    from dataprep.teacher.prompts import prompt_file

    parts = {} if template is None else read_template(template)
    if "assistant" in parts:
        raise UsageError(f"{template}: a request has no assistant message; the keys are system and user")
    ledger = prompt_file(
        source,
        output or "-",
        dataset=dataset,
        pool=pool,
        shots=shots,
        seed=seed,
        forcing=teacher_forcing,
        system=parts.get("system") if system is None else system,
        user=parts.get("user"),
        limit=limit,
        rejects=rejects,
        warn=None if quiet else lambda text: say(f"warning: {text}"),
    )
    summary = Summary("prompt", quiet=quiet, as_json=as_json)
    hint = None if dataset is None else missing_labels(dataset, [source], ledger)
    summary.add("prompt", ledger, output, hint=hint)
    summary.finish()


@with_options
def generate_command(
    *,
    requests: str = argument(..., "Rows {id, messages}, of `prompt`.", "REQUESTS"),
    output: str = flag(..., "Journal: a .jsonl file that only grows.", "-o", "--output", "RESPONSES"),
    model: str | None = flag(None, "Model (on Azure: deployment). Defaults to $TEACHER_MODEL_NAME.", "NAME"),
    base_url: list[str] | None = flag(
        None,
        "Endpoint; can be repeated for several of the same model, which share the requests. Defaults to "
        "$TEACHER_MODEL_ENDPOINT_URL, then OpenAI's.",
        "URL",
    ),
    api_key_env: str | None = flag(
        None, "Variable with the key. Defaults to TEACHER_MODEL_API_KEY, then OPENAI_API_KEY.", "VARIABLE"
    ),
    azure: bool = flag(False, "--base-url is an Azure OpenAI resource.", "--azure"),
    api_version: str = flag("", "API version of Azure, with --azure.", "DATE"),
    engine: Literal["openai", "transformers"] = flag(
        "openai", "openai asks a server; transformers loads --model, a directory, in this process."
    ),
    teacher: str | None = flag(None, "Name in the journal. Defaults to the model's name.", "NAME"),
    settings: From[GenerationConfig],
    template_arg: list[str] | None = flag(
        None,
        "Variable of the chat template, such as enable_thinking=false; can be repeated. Sent as "
        "chat_template_kwargs, which vLLM and other servers read.",
        "--template-arg",
        "NAME=VALUE",
    ),
    pace: From[Pacing],
    batch_size: int = flag(8, "Requests per batch, with --engine transformers.", "N", min=1),
    timeout: float = flag(120.0, "Maximum time of one attempt.", "SECONDS", min=0.1),
    retry_failed: bool = flag(
        True, "Send requests that failed in an earlier run again.", "--retry-failed/--no-retry-failed"
    ),
    fresh: bool = flag(False, "Rename the old journal and start a new one.", "--fresh"),
    status: bool = flag(False, "Print what is done and missing; send nothing.", "--status"),
    batch: Literal["export", "import"] | None = flag(
        None, "Write missing requests as batch files, or read a batch's results (--batch-file)."
    ),
    batch_file: list[str] | None = flag(None, "Result file of a batch; can be repeated.", "FILE"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Ask a teacher, and write every answer into a journal.

    The journal only grows, and no answer is paid for twice: run the same command again after an
    interruption, a failure or a change, and it sends only the missing requests. Ctrl-C stops
    sending and waits for the requests in flight. The exit code is 1 if any request failed. Settings can be
    in a .env file. Needs `pip install 'dataprep[teacher]'`.

    \b
    Examples:
      dataprep generate requests.jsonl -o responses.jsonl --model gpt-4o-mini --rpm 500
      dataprep generate requests.jsonl -o responses.jsonl --base-url http://localhost:8000/v1 --model qwen
      dataprep generate requests.jsonl -o a.jsonl --model m --base-url http://g1:80/v1 --base-url http://g2:80/v1
      dataprep generate requests.jsonl -o responses.jsonl --model gpt-4o-mini --status
    """
    from dataprep.teacher.generate import generate, status_of_requests
    from dataprep.teacher.local import generate_locally
    from dataprep.teacher.requests import count_requests
    from dataprep.tokens.options import parse_template_args

    variables = environment()
    # The flag wins over the environment, and the environment over a .env file.
    given: dict[str, Any] = {"model": model or variables.get(MODEL, "")}
    if template_arg:
        extra = dict(settings.keywords.get("extra", {}))
        kwargs = {**extra.get("chat_template_kwargs", {}), **parse_template_args(template_arg)}
        given["extra"] = extra | {"chat_template_kwargs": kwargs}
    config = settings(**given)
    _check_batch(batch, batch_file, base_url or [], engine)
    summary = Summary("generate", quiet=quiet, as_json=as_json)
    if batch == "export":
        _export(summary, requests, output, config)
        return
    if batch == "import":
        failed = _import(summary, requests, output, config, batch_file or [], teacher)
        sys.exit(1 if failed else 0)
    if status:
        _finish(summary, status_of_requests(requests, output, config), output)
        return
    pacing = pace()
    shared: dict[str, Any] = {"teacher": teacher, "retry_failed": retry_failed, "fresh": fresh}
    # The requests are counted only if there is a line on the terminal to show it.
    with asking_bar(partial(count_requests, requests), pacing, quiet or as_json) as on_progress:
        shared |= {"pacing": pacing, "on_progress": on_progress}
        if engine == "transformers":
            report = generate_locally(requests, output, config, batch_size=batch_size, **shared)
        else:
            service: dict[str, Any] = {"azure": azure, "api_version": api_version}
            endpoints = endpoints_of(variables, base_urls=base_url or (), key_variable=api_key_env, **service)
            _announce(summary, config.model, endpoints, variables.path)
            shared["log"] = lambda text: summary.say(f"generate: {text}")
            report = generate(requests, output, config, endpoints, timeout=timeout, **shared)
    _finish(summary, report, output)
    # The journal is complete and the summary is printed, so the exit code is all that says it.
    if report.interrupted:
        sys.exit(128 + report.signal)
    if report.ledger.failed or report.progress.stopped:
        sys.exit(1)


def _check_batch(
    batch: str | None, batch_file: list[str] | None, base_urls: Sequence[str], engine: str
) -> None:
    if batch_file and batch != "import":
        raise UsageError("--batch-file gives results to --batch import")
    if len(base_urls) > 1 and (batch or engine == "transformers"):
        other = f"--batch {batch}" if batch else "--engine transformers"
        raise UsageError(f"--base-url is given {len(base_urls)} times, and {other} asks no endpoint itself")


def _export(summary: Summary, requests: str, output: str, config: GenerationConfig) -> None:
    from dataprep.teacher.batch_api import export_batch

    paths, count = export_batch(requests, output, config)
    summary.say(*(f"generate: wrote {path}" for path in paths))
    if config.is_newer_model and config.temperature is not None:
        summary.say(f"  if {config.model} takes no temperature, export again with --temperature -1")
    summary.say(f"generate: requests in batch files: {count:,}")
    summary.finish({"requests": count, "files": [str(path) for path in paths]})


def _import(
    summary: Summary,
    requests: str,
    output: str,
    config: GenerationConfig,
    files: Sequence[str],
    teacher: str | None,
) -> bool:
    """Take the answers of batch files, and return whether a request failed."""
    from dataprep.teacher.batch_api import import_batch
    from dataprep.teacher.generate import GenerateReport

    report = GenerateReport(Ledger())
    on_failure = _remember(report)
    results, report.ledger = import_batch(
        requests, output, config, files, teacher=teacher, on_failure=on_failure
    )
    summary.say(f"generate: results: {results} → {output}")
    _finish(summary, report, output)
    return bool(report.ledger.failed)


def _announce(summary: Summary, model: str, endpoints: Sequence[Endpoint], file: str) -> None:
    for endpoint in endpoints:
        origin = f", the address in {file}" if endpoint.from_file else ""
        text = f"generate: asks {model} at {endpoint.shown_url}{origin}"
        # Also with --quiet if a file decides where the prompts go, which the user may not know.
        if endpoint.from_file and not summary.as_json:
            say(text)
        else:
            summary.say(text)


def _remember(report: GenerateReport) -> Callable[[RequestError], None]:
    def on_failure(error: RequestError) -> None:
        advice = f"; {error.advice}, and export again" if error.advice else ""
        report.progress.failed, report.progress.last_error = 1, f"{error}{advice}"

    return on_failure


def _finish(summary: Summary, report: GenerateReport, journal: str) -> None:
    done = report.progress
    if report.torn:
        what = "was set aside, and its request is asked again" if done.sent else "is ignored"
        summary.say(f"{journal}: its last line was torn, and {what}")
    # The journal finds answers by id, so a second request with the same one could never get its own.
    if report.twice:
        summary.say(f"  ids that several requests have, of which only the first is asked: {report.twice}")
    summary.say(f"generate: {report.ledger} → {journal}")
    if done.sent:
        cost = f", ${done.cost:.4f} so far" if done.cost else ""
        tokens = done.prompt_tokens + done.completion_tokens
        summary.say(f"  requests sent: {done.sent:,}, tokens: {tokens:,}{cost}")
    for address, counts in report.endpoints.items():
        summary.say(f"  {address}: {counts['answered']:,} of {counts['sent']:,} requests answered")
    if done.stopped:
        summary.say(f"  stopped: {done.stopped}")
    if done.last_error and (done.failed or done.stopped or report.ledger.dropped["refused"]):
        summary.say(f"  last failure: {done.last_error}")
    for name, count in report.flags.items():
        summary.say(f"  warning: {count:,} answers in the journal have the flag {name}: {FLAGS[name]}")
    if report.ledger.failed["failed"] or report.ledger.dropped["not asked yet"]:
        summary.say("  run the same command again to ask for what is missing")
    names = ("sent", "answered", "prompt_tokens", "completion_tokens", "cost")
    summary.finish(
        {
            "journal": journal,
            **report.ledger.to_json(),
            **{name: getattr(done, name) for name in names},
            "stopped": done.stopped or None,
            "last_error": done.last_error or None,
            "flags": report.flags,
            **({"endpoints": report.endpoints} if report.endpoints else {}),
            "interrupted": report.interrupted,
            "torn_line_set_aside": report.torn,
        }
    )
