"""Supervised fine-tuning: the next token, wherever it is an assistant's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from dataprep.core.errors import InputError, UsageError
from dataprep.models.same_tokenizer import compare_tokenizers
from dataprep.models.student import Student, chat_format_for, has_tokenizer, load_student, tokenizer_of
from dataprep.tokens.options import ShardOptions
from dataprep.tokens.shards.manifest import MANIFEST
from dataprep.tokens.shards.reading import Shards
from dataprep.tokens.tokenize import tokenize_files
from dataprep.train.layers.output_layer import OutputLayer
from dataprep.train.layers.packed_attention import document_inputs, use_packed_attention
from dataprep.train.objective import Job, Setup
from dataprep.train.objectives.documents import PART, Documents
from dataprep.train.run_dir import TOKENS

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


SAMPLE_TOKENS, SAMPLED_ROWS = 64, 64


class NextToken:
    """``-log p`` of every trained token, summed; computed at the positions before them only."""

    weights: Mapping[str, float] = {PART: 1.0}

    def __init__(self, layer: OutputLayer) -> None:
        self.layer = layer

    def sums(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sum over the batch's trained tokens."""
        inputs = document_inputs(tensors["ids"], tensors["bounds"])
        return {PART: self.layer.loss(model, inputs, tensors["where"], tensors["targets"])}


def setup(job: Job) -> Setup:
    """A run on chat rows or finished shards.

    Raises:
        InputError: a row is no chat row, or too long for the model.
        TokenizerError: shards were made with another tokenizer.
    """
    return setup_for(job, *student_and_data(job))


def student_and_data(job: Job) -> tuple[Student, Documents, Documents | None]:
    """The student, what it is trained on, and what its loss is measured on."""
    options = job.options
    shards = [Shards.open(path, verify=False) for path in [*job.data, *job.held_out] if is_shards(path)]
    if is_shards(job.data[0]) and options.tokenizer is None:
        tokenizer = shards[0].load_tokenizer()
        if has_tokenizer(options.model):
            where, advice = f"{job.data[0]}: shards of a tokenizer", "tokenize the rows with the model's own"
            compare_tokenizers(tokenizer_of(options, []), tokenizer, [], where, advice)
    else:
        tokenizer = tokenizer_of(options, job.data)
    chat_format = chat_format_for(options, tokenizer, shards)
    student = load_student(options, tokenizer, chat_format)
    if student.encodes:
        raise UsageError(
            f"--model {options.model}: chat rows train a decoder; an encoder-decoder is trained on rationales"
        )
    training = _documents(job, job.data, "train", student)
    held_out = _documents(job, job.held_out, "eval", student, pack=False) if job.held_out else None
    use_packed_attention(student.model)
    if options.gradient_checkpointing:
        student.keep_less()
    return student, training, held_out


def setup_for(job: Job, student: Student, training: Documents, held_out: Documents | None) -> Setup:
    """The run that trains a student on the next token."""
    return Setup(
        objective_name="sft",
        model=student.model,
        objective=NextToken(OutputLayer(student.model)),
        training=training,
        held_out=held_out,
        learning_rate=job.learning_rate,
        save=student.save,
        adopt=student.adopt,
        results=lambda: sample(student, held_out or training),
        facts=facts_of(student, job.options.model, {"train": training, "eval": held_out}),
    )


def is_shards(path: str) -> bool:
    """Whether a path is a directory of finished shards."""
    from pathlib import Path

    return (Path(path) / MANIFEST).is_file()


def _documents(job: Job, paths: list[str], name: str, student: Student, *, pack: bool = True) -> Documents:
    """Rows as documents; tokenized by the first process, into the run's own folder."""
    if any(is_shards(path) for path in paths):
        if len(paths) > 1:
            raise UsageError(f"{', '.join(paths)}: give one directory of shards, or files of rows")
        shards = Shards.open(paths[0], tokenizer=student.tokenizer)
        _check_lengths(shards, job, student, rows_too=not all(map(is_shards, [*job.data, *job.held_out])))
    else:
        shards = _tokenized(job, paths, job.folder.path / TOKENS / name, student, pack=pack)
    found = Documents(shards)
    if not len(found):
        raise InputError(", ".join(paths), "holds no row to train on")
    return found


def _check_lengths(shards: Shards, job: Job, student: Student, *, rows_too: bool) -> None:
    """Raise where shards are longer than the model has room for, or are to be made otherwise.

    ``rows_too``: other data are rows, which the options are for.
    """
    options = job.options
    if not rows_too and (options.pack or options.max_length or options.truncation != "error"):
        raise UsageError("--pack, --max-length and --truncation are for rows: shards stay as they were made")
    if student.context is not None and shards.longest > student.context:
        raise InputError(
            shards.path,
            f"found a document of {shards.longest:,} tokens; the model has room for {student.context:,}: "
            "make the shards again with --max-length",
        )


def _tokenized(job: Job, paths: list[str], place: Path, student: Student, *, pack: bool) -> Shards:
    options, limit = job.options, job.options.max_length or student.context
    if limit and student.context and limit > student.context:
        raise UsageError(f"--max-length {limit}: the model has room for {student.context:,} tokens")
    if job.world.first:
        wanted = ShardOptions(
            pack=options.pack if pack else None,
            max_length=min(limit, options.pack) if limit and options.pack and pack else limit,
            truncation=options.truncation,
            seed=options.seed,
        )
        made = tokenize_files(
            paths,
            place,
            tokenizer=student.tokenizer,
            chat_format=student.chat_format,
            options=wanted,
            workers=None,
        )
        job.tell(f"{', '.join(paths)}: {made.ledger}")
    job.world.wait()
    return Shards.open(place, tokenizer=student.tokenizer, verify=False)


@torch.no_grad()
def sample(student: Student, data: Documents) -> dict[str, Any]:
    """The shortest question of the first rows, and the student's greedy answer."""
    found = [data.shards.document(number) for number in range(min(data.shards.documents, SAMPLED_ROWS))]
    prompts = [ids[: max(int(mask.argmax()), 1)] for ids, mask in found]
    shortest = min(prompts, key=len)
    prompt = torch.from_numpy(shortest.astype("int64"))[None].to(student.model.device)
    with student.own_attention() as model:
        answer = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=SAMPLE_TOKENS,
            do_sample=False,
            eos_token_id=student.end_ids,
            pad_token_id=student.end_ids[0],
        )[0, prompt.shape[1] :].tolist()
    return {
        "sample": {
            "prompt": student.tokenizer.decode(prompt[0].tolist()),
            "answer": student.says(answer),
        }
    }


def facts_of(student: Student, model: str, data: Mapping[str, Documents | None]) -> dict[str, Any]:
    """What a run's records say of student and data."""
    parameters = sum(each.numel() for each in student.model.parameters())
    return {
        "model": model,
        "class": type(student.model).__name__,
        "parameters": parameters,
        "tokenizer": {"kind": student.tokenizer.kind, "fingerprint": student.tokenizer.fingerprint},
        "chat_format": student.chat_format.name,
        "data": {name: each.shards.manifest["inputs"] for name, each in data.items() if each is not None},
        "rows": {name: len(each) for name, each in data.items() if each is not None},
        "tokens": {name: each.shards.tokens for name, each in data.items() if each is not None},
    }
