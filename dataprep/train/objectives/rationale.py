"""Several teachers' rationales beside the answer, each a task of its own with a weight of its own.

``loss = γ·answer + Σ_t w_t·rationale_t``, as TinyLLM has it (Tian et al., "Beyond Answers: Transferring
Reasoning Capabilities to Smaller LLMs Using Multi-Teacher Knowledge Distillation", arXiv 2402.04616). Every
part is the mean over the tokens of its own targets; what a row lacks is not among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from dataprep.core.errors import UsageError
from dataprep.models.student import Student, chat_format_for, load_student, tokenizer_of
from dataprep.tokens.shards.manifest import sha256_of
from dataprep.tokens.special_tokens import pad_id
from dataprep.train.layers.encoder_decoder import pairs_for
from dataprep.train.layers.output_layer import OutputLayer
from dataprep.train.layers.packed_attention import document_inputs, use_packed_attention
from dataprep.train.objective import Job, Setup
from dataprep.train.objectives.rationale_data import (
    ANSWER,
    DecoderSide,
    EncoderDecoderSide,
    Piece,
    Pieces,
    Side,
    check_statuses,
    pieces_of,
    prefix_of,
    read_rows,
    weights_of,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dataprep.train.objectives.rationale_data import Rows

ASKED, AT_ONCE, LONGEST = 200, 32, 64
"""Held-out rows that are answered, how many at a time, and the tokens that an answer may have."""


class Losses(Protocol):
    """One forward pass of a kind of student over all parts."""

    def losses(self, model: Any, tensors: Mapping[str, Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """The sum of ``-log p(target)`` over each of the stretches of targets that are so long."""


class ChatLosses:
    """A decoder's, over chat rows."""

    def __init__(self, layer: OutputLayer) -> None:
        self.layer = layer

    def losses(self, model: Any, tensors: Mapping[str, Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """The sum of ``-log p(target)`` over each of the stretches of targets that are so long."""
        inputs = document_inputs(tensors["ids"], tensors["bounds"])
        return self.layer.losses(model, inputs, tensors["where"], tensors["targets"], sizes)


class AnswerAndRationales:
    """``-log p`` of all tokens of each part's targets, summed by part."""

    def __init__(self, weights: Mapping[str, float], losses: Losses) -> None:
        self.weights, self._losses = weights, losses

    def sums(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sums of the parts that the batch holds something of."""
        sizes = tensors["sizes"].tolist()
        present = {name: size for name, size in zip(self.weights, sizes, strict=True) if size}
        found = self._losses.losses(model, tensors, list(present.values()))
        return dict(zip(present, found, strict=True))


def setup(job: Job) -> Setup:
    """A run on rows with rationales.

    Raises:
        UsageError: a weight or a status that the data do not have.
        InputError: a row is of another kind, or too long.
    """
    options = job.options
    check_statuses(options.keep_status)
    rows = read_rows(job.data, options.keep_status)
    weights = weights_of(options, rows.teachers)
    tokenizer = tokenizer_of(options, job.data)
    student = load_student(options, tokenizer, chat_format_for(options, tokenizer))
    training = _pieces(job, job.data, rows, list(weights), student)
    held_out = None
    if job.held_out:
        others = read_rows(job.held_out, options.keep_status)
        held_out = _pieces(job, job.held_out, others, list(weights), student)
    losses: Losses
    if student.encodes:
        losses = pairs_for(student.model, pad_id(tokenizer))
    else:
        use_packed_attention(student.model)
        losses = ChatLosses(OutputLayer(student.model))
    if options.gradient_checkpointing:
        student.keep_less()
    return Setup(
        objective_name="rationale",
        model=student.model,
        objective=AnswerAndRationales(weights, losses),
        training=training,
        held_out=held_out,
        learning_rate=job.learning_rate,
        save=student.save,
        results=lambda: results(student, training, held_out),
        facts=facts_of(student, job, weights, {"train": training, "eval": held_out}),
    )


def _pieces(job: Job, paths: list[str], rows: Rows, parts: list[str], student: Student) -> Pieces:
    """Rows in tokens, and a word on what became of them."""
    made = pieces_of(rows, parts, _side(student, job))
    name = ", ".join(paths)
    if not len(made):
        lacking = "; ".join(f"{part}: {ledger}" for part, ledger in made.ledgers.items())
        raise UsageError(f"{name}: no row has anything to learn ({lacking}); see --keep-status")
    job.tell(f"{name}: {made.rows}")
    for part, ledger in made.ledgers.items():
        job.tell(f"  {part}: {ledger}")
    if made.side.cut:
        job.tell(f"  {made.side.cut:,} texts were cut to --max-length")
    if others := [teacher for teacher in rows.teachers if teacher not in parts]:
        job.tell(f"  not measured, since nothing trains for them: {', '.join(others)}")
    return made


def _side(student: Student, job: Job) -> Side:
    options, room = job.options, student.context
    if options.max_length and room and options.max_length > room:
        raise UsageError(f"--max-length {options.max_length}: the model has room for {room:,} tokens")
    limit = options.max_length or room
    if not student.encodes:
        return DecoderSide(student.tokenizer, student.chat_format, limit, options.truncation)
    start = student.model.config.decoder_start_token_id
    if start is None:
        raise UsageError(
            f"--model {options.model}: its configuration has no decoder_start_token_id, which its decoder "
            "reads first: add it to config.json"
        )
    return EncoderDecoderSide(student.tokenizer, student.end_ids[0], start, limit, options.truncation)


def results(student: Student, training: Pieces, held_out: Pieces | None) -> dict[str, Any]:
    """A sample, and how many held-out rows are answered to the letter."""
    data = held_out or training
    asked = [piece for pieces in data.items for piece in pieces if data.parts[piece.part] == ANSWER]
    asked = asked[: ASKED if held_out is not None else 1]
    if not asked:
        return {}
    said = answers(student, asked)
    found: dict[str, Any] = {
        "sample": {"prompt": student.tokenizer.decode(asked[0].prompt.tolist()), "answer": said[0]}
    }
    if held_out is not None:
        wanted = [_text(student, piece.target.tolist()) for piece in asked]
        right = sum(one == other for one, other in zip(said, wanted, strict=True))
        found["metrics"] = {"answer_exact_match": right / len(asked), "answers": len(asked)}
    return found


@torch.no_grad()
def answers(student: Student, asked: Sequence[Piece]) -> list[str]:
    """The student's greedy answers to prompts."""
    device, fill = student.model.device, pad_id(student.tokenizer)
    texts: list[str] = []
    with student.own_attention() as model:
        for start in range(0, len(asked), AT_ONCE):
            prompts = [torch.from_numpy(piece.prompt).long() for piece in asked[start : start + AT_ONCE]]
            side = "right" if student.encodes else "left"
            ids = torch.nn.utils.rnn.pad_sequence(
                prompts, batch_first=True, padding_value=fill, padding_side=side
            )
            real = torch.nn.utils.rnn.pad_sequence(
                [torch.ones_like(each) for each in prompts], batch_first=True, padding_side=side
            )
            made = model.generate(
                ids.to(device),
                attention_mask=real.to(device),
                max_new_tokens=LONGEST,
                do_sample=False,
                eos_token_id=student.end_ids,
                pad_token_id=fill,
            )
            new = made[:, 1 if student.encodes else ids.shape[1] :]
            texts += [_text(student, each) for each in new.tolist()]
    return texts


def _text(student: Student, ids: list[int]) -> str:
    """The text before the token that ends it."""
    end = next((place for place, number in enumerate(ids) if number in student.end_ids), len(ids))
    return student.says(ids[:end]).strip()


def facts_of(
    student: Student, job: Job, weights: Mapping[str, float], data: Mapping[str, Pieces | None]
) -> dict[str, Any]:
    """What a run's records say of student and data."""
    there = {name: pieces for name, pieces in data.items() if pieces is not None}
    paths = {"train": job.data, "eval": job.held_out}
    return {
        "model": job.options.model,
        "class": type(student.model).__name__,
        "parameters": sum(each.numel() for each in student.model.parameters()),
        "tokenizer": {"kind": student.tokenizer.kind, "fingerprint": student.tokenizer.fingerprint},
        "chat_format": None if student.encodes else student.chat_format.name,
        "data": {name: [_file(path) for path in paths[name]] for name in there},
        "rows": {name: len(pieces) for name, pieces in there.items()},
        "tokens": {name: pieces.tokens for name, pieces in there.items()},
        "cut": {name: pieces.side.cut for name, pieces in there.items()},
        "ledger": {name: pieces.rows.to_json() for name, pieces in there.items()},
        "parts": {
            part: {"weight": weight, "prefix": prefix_of(number)}
            | {name: pieces.ledgers[part].to_json() for name, pieces in there.items()}
            for number, (part, weight) in enumerate(weights.items())
        },
    }


def _file(path: str) -> dict[str, Any]:
    return {"name": Path(path).name, "bytes": Path(path).stat().st_size, "sha256": sha256_of(path)}
