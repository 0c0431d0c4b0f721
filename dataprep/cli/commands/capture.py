"""``dataprep capture``."""

from __future__ import annotations

from typing import Any

from dataprep.cli.console import Summary, say
from dataprep.cli.options import AsJson, From, Quiet, argument, flag, with_options
from dataprep.train.capture.options import CaptureOptions


@with_options
def command(
    *,
    shards: str = argument(..., "A directory of token shards.", "SHARDS"),
    output: str = flag(..., "A directory for the logits.", "-o", "--output", "DIR"),
    teacher_model: str = flag(
        ..., "Directory of the teacher, or its name at --base-url.", "--teacher-model", "MODEL"
    ),
    options: From[CaptureOptions],
    base_url: str | None = flag(
        None, "Server that gives log-probabilities of prompts, as vLLM does, instead of a directory.", "URL"
    ),
    api_key_env: str | None = flag(
        None, "Variable with the key. Defaults to TEACHER_MODEL_API_KEY, then OPENAI_API_KEY.", "VARIABLE"
    ),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a teacher's likeliest tokens at each token in the loss of shards.

    `dataprep train SHARDS --teacher-logits DIR` then trains students without the teacher in memory, as often
    as you like. DIR keeps the K likeliest tokens of each position with their log-probabilities, and the mass
    of all others. Run the same command again after an interruption: what was captured is kept. The teacher
    must have the tokenizer that the shards were made with.

    \b
    Examples:
      dataprep capture tokens --teacher-model ./Llama-3.1-8B -o logits
      dataprep capture tokens --teacher-model ./Llama-3.1-8B --top-k 128 --temperature 1,2,4 -o logits
      dataprep capture tokens --teacher-model qwen --base-url http://localhost:8000/v1 --top-k 20 -o logits
    """
    from dataprep.teacher.settings import endpoints_of, environment
    from dataprep.train.capture.capturing import capture

    endpoint = None
    if base_url is not None:
        (endpoint,) = endpoints_of(environment(), base_urls=[base_url], key_variable=api_key_env)
    summary = Summary("capture", quiet=quiet, as_json=as_json)
    settings: dict[str, Any] = {"options": options(), "endpoint": endpoint}
    done = capture(shards, output, teacher_model, log=None if quiet or as_json else say, **settings)
    logits = done.logits
    facts: dict[str, Any] = {"positions": logits.positions, "top_k": logits.top_k, "resumed": done.resumed}
    facts |= {"bytes_per_token": round(logits.bytes_per_token, 2), "seconds": round(done.seconds, 3)}
    line = f"  {logits.positions:,} tokens in the loss, the {logits.top_k:,} likeliest at each: "
    line += f"{logits.bytes_per_token:.1f} bytes a token; {done.seconds:,.0f} s"
    summary.add("capture", done.ledger, output, facts=facts, lines=[line])
    summary.finish()
