"""Supervised fine-tuning: predict the tokens in the loss of chat rows, which are tokenized into shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dataprep.core.errors import InputError, UsageError
from dataprep.evaluate.items import Training
from dataprep.evaluate.metrics.references import Style, style_of
from dataprep.models.comparison import compare_with_shards
from dataprep.models.student import (
    Student,
    has_tokenizer,
    load_chat_format_for,
    load_student,
    load_tokenizer_for,
)
from dataprep.tokens.options import ShardOptions
from dataprep.tokens.shards.manifest import MANIFEST, is_shards
from dataprep.tokens.shards.reading import Shards
from dataprep.tokens.tokenize import tokenize_files
from dataprep.train.layers.output_layer import OutputLayer
from dataprep.train.layers.packed_attention import document_inputs, use_packed_attention
from dataprep.train.objective import Batch, Objective, TrainContext, TrainData, check_max_length
from dataprep.train.objectives.answers import ROWS, Answers
from dataprep.train.run_dir import TOKENS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from dataprep.train.hardware.distributed import World

PART = "tokens"
# A sample is for a first look: the model card shows it in full.
SAMPLE_TOKENS, SAMPLED_ROWS, STYLED_ROWS = 64, 64, 200


class SftObjective(Objective):
    """`-log p` of every token in the loss, summed."""

    supports_fsdp = True
    weights: Mapping[str, float] = {PART: 1.0}

    def __init__(self, student: Any, data: TrainData, context: TrainContext) -> None:
        super().__init__(student, data, context)
        self.output = OutputLayer(student.model)

    @classmethod
    def load_model(cls, context: TrainContext) -> Student:
        """Load the student, with the tokenizer and chat format of its shards, if any."""
        options = context.options
        paths = [*context.data, *context.eval_data]
        shards = [Shards.open(path, verify=False) for path in paths if is_shards(path)]
        if is_shards(context.data[0]) and options.tokenizer is None:
            tokenizer = shards[0].load_tokenizer()
            # Other ids for the same texts: the run would work, and the student would learn noise.
            if has_tokenizer(options.model):
                compare_with_shards(load_tokenizer_for(options.model, None, []), shards[0])
        else:
            tokenizer = load_tokenizer_for(options.model, options.tokenizer, context.data)
        settings: dict[str, Any] = {"strip": options.strip, "date": options.date}
        settings |= {"template_args": options.template_args, "tokenizer_path": options.tokenizer}
        chat_format = load_chat_format_for(options.model, options.chat_format, tokenizer, shards, **settings)
        student = load_student(options.model, tokenizer, chat_format)
        # T5 has no chat template, and its decoder expects an encoder's output.
        if student.is_encoder_decoder:
            found = "chat rows train a decoder; an encoder-decoder is trained on rationales"
            raise UsageError(f"--model {options.model}: {found}")
        use_packed_attention(student.model)
        if options.gradient_checkpointing:
            student.enable_gradient_checkpointing()
        return student

    @classmethod
    def load_dataset(cls, context: TrainContext, student: Student) -> TrainData:
        """Tokenize the rows, or open the shards."""
        return load_documents(context, student)

    def loss_sums(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sum over the batch's tokens in the loss."""
        inputs = document_inputs(tensors["ids"], tensors["bounds"])
        return {PART: self.output.head(model, inputs, tensors["positions"]).loss(tensors["targets"])}

    @cached_property
    def answer_style(self) -> Style | None:
        """The way in which the first rows' answers name a choice, if they do: `evaluate` reads them so."""
        shards, decode = self.data.train.shards, self.student.tokenizer.decode
        styles: Counter[Style] = Counter()
        for index in range(min(shards.documents, STYLED_ROWS)):
            ids, mask = shards.document(index)
            start = max(int(mask.argmax()), 1)
            # Special tokens, such as the one that ends a turn, are no part of the answer.
            answer = self.student.decode_answer(ids[start:].tolist())
            if style := style_of(decode(ids[:start].tolist()), answer):
                styles[style] += 1
        return max(styles, key=styles.__getitem__, default=None)

    @cached_property
    def answers(self) -> Answers | None:
        """The evaluation rows of `--measure`."""
        if not self.context.options.measure:
            return None
        facts = self.student.describe()
        as_trained = {name: facts[name] for name in ("strip", "date", "template_args")}
        training = Training(style=self.answer_style, **as_trained, recorded=True)
        return Answers(self.context, self.student, training)

    def facts(self) -> dict[str, Any]:
        """Return how the student's answers are read, and the number of rows that `--measure` found."""
        measured = {} if self.answers is None else {ROWS: len(self.answers)}
        return {"answer_style": self.answer_style, **measured}

    def figures(self) -> tuple[str, ...]:
        """Return the figures of `--measure`."""
        return () if self.answers is None else self.answers.figures()

    def measure(self, processes: World | None = None) -> dict[str, Any]:
        """Return the figures of the answers to evaluation rows, with `--measure`."""
        return {} if self.answers is None else self.answers.measure(processes)

    def results(self) -> dict[str, Any]:
        """Return the answer to the shortest question among the first rows, and figures of `--measure`."""
        # Of the evaluation rows if there are any: a student can have memorised training rows.
        documents: Documents = self.data.train if self.data.eval is None else self.data.eval
        shards = documents.shards
        rows = [shards.document(index) for index in range(min(shards.documents, SAMPLED_ROWS))]
        # The prompt is all that comes before the first token in the loss.
        prompt = min((ids[: max(int(mask.argmax()), 1)] for ids, mask in rows), key=len)
        answer = self.student.generate_samples([prompt], SAMPLE_TOKENS)[0]
        sample = {"prompt": self.student.tokenizer.decode(prompt.tolist()), "answer": answer}
        if self.answers is None:
            return {"sample": sample}
        results = {"sample": sample, "metrics": self.measure()}
        for warning in self.answers.warnings:
            self.context.log(f"warning: {warning}")
        return results | ({"warnings": self.answers.warnings} if self.answers.warnings else {})


class Documents:
    """The documents of finished shards, or their packed sequences if they were packed."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    def __len__(self) -> int:
        return self.epochs[0]

    @property
    def epochs(self) -> tuple[int, ...]:
        """Number of items in each epoch whose items differ: a mixture can have other shares in each."""
        return self.shards.epochs

    @property
    def files(self) -> list[dict[str, Any]]:
        """Name and SHA-256 of each file that the shards were made from, and of a mixture's order."""
        files: list[dict[str, Any]] = self.shards.manifest["inputs"]
        order = self.shards.manifest.get("order")
        return files if order is None else [*files, order]

    @property
    def tokens(self) -> int:
        """Number of tokens in all documents."""
        return self.shards.tokens

    def batch(self, items: Sequence[int]) -> Batch:
        """Return documents as `document_batch` does."""
        return document_batch(*zip(*map(self._item, items), strict=True))

    def describe_item(self, item: int) -> str:
        """Return file and row of a document, or the index of a packed sequence."""
        if self.shards.sequences:
            return f"packed sequence {item + 1}"
        source = self.shards.source(item)
        return f"{source.name} row {source.row}"

    def _item(self, item: int) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.int64]]:
        """Return ids, loss mask and document bounds of an item."""
        if self.shards.sequences:
            packed = self.shards.sequence(item)
            end = int(packed.bounds[-1])
            return packed.ids[:end], packed.mask[:end], packed.bounds
        ids, mask = self.shards.document(item)
        # No position predicts the first token. Packed sequences leave it out of their mask already.
        mask = mask.copy()
        mask[:1] = False
        return ids, mask, np.array([0, ids.size], dtype=np.int64)


def document_batch(
    ids: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]], bounds: Sequence[NDArray[np.int64]]
) -> Batch:
    """Return documents one after the other in one row.

    Args:
        ids: token ids of each item.
        masks: the loss mask of each item, false at the first token of each document.
        bounds: where the documents of each item begin, and the end of the last.

    Returns:
        Tensors `ids` of shape `(L,)`, `bounds` of shape `(documents + 1,)`; `positions` and `targets`, of
        shape `(N,)`: the positions that predict tokens in the loss, and these tokens.
    """
    row = np.concatenate(ids).astype(np.int64)
    in_loss = np.flatnonzero(np.concatenate(masks))
    offsets = np.cumsum([0, *(item.size for item in ids)])
    starts = [item[:-1] + offset for item, offset in zip(bounds, offsets[:-1], strict=True)]
    tensors = {
        "ids": torch.from_numpy(row),
        "bounds": torch.from_numpy(np.concatenate([*starts, offsets[-1:]]).astype(np.int32)),
        "positions": torch.from_numpy(in_loss - 1),
        "targets": torch.from_numpy(row[in_loss]),
    }
    return Batch(tensors, {PART: int(in_loss.size)}, int(row.size))


def load_documents(context: TrainContext, student: Student) -> TrainData:
    """Tokenize a run's chat rows, or open its shards."""
    train = _documents(context, context.data, "train", student, context.options.pack)
    # Not packed: `--batch-size` then means the same rows with and without `--pack`.
    rows = context.eval_data
    return TrainData(train, _documents(context, rows, "eval", student, None) if rows else None)


def _documents(
    context: TrainContext, paths: list[str], name: str, student: Student, pack: int | None
) -> Documents:
    if any(is_shards(path) for path in paths):
        # One directory only: several would need one order of documents and one tokenizer.
        if len(paths) > 1:
            raise UsageError(
                f"{', '.join(paths)}: give one directory of shards, or files of rows; "
                "`dataprep mix` makes one directory of several"
            )
        shards = Shards.open(paths[0])
        compare_with_shards(student.tokenizer, shards)
        _check_shards(shards, context, student)
    else:
        shards = _tokenize(context, paths, context.run_dir.path / TOKENS / name, student, pack)
    documents = Documents(shards)
    if not len(documents):
        raise InputError(", ".join(paths), "has no row to train on")
    return documents


def _check_shards(shards: Shards, context: TrainContext, student: Student) -> None:
    options, context_length = context.options, student.context_length
    # If other data of the run are rows, these options are for them.
    only_shards = all(map(is_shards, [*context.data, *context.eval_data]))
    if only_shards and (options.pack or options.max_length or options.truncation != "error"):
        raise UsageError("--pack, --max-length and --truncation are for rows: shards stay as they were made")
    if only_shards and (options.loss != "all" or options.split_thinking):
        raise UsageError("--loss and --split-thinking are for rows: give them to `dataprep tokenize`")
    if context_length is not None and shards.longest > context_length:
        found = (
            f"found a document of {shards.longest:,} tokens; the model's context length is {context_length:,}"
        )
        raise InputError(shards.path, f"{found}: make the shards again with --max-length")


def _tokenize(
    context: TrainContext, paths: list[str], folder: Path, student: Student, pack: int | None
) -> Shards:
    """Tokenize rows into the run's directory; the first process does it for all."""
    options = context.options
    limit = check_max_length(options.max_length, student.context_length)
    if context.world.first:
        shard_options = ShardOptions(
            pack=pack,
            max_length=min(limit, pack) if limit and pack else limit,
            truncation=options.truncation,
            seed=options.seed,
            loss=options.loss,
            split_thinking=options.split_thinking,
        )
        tokenized = tokenize_files(
            paths,
            folder,
            tokenizer=student.tokenizer,
            chat_format=student.chat_format,
            options=shard_options,
            # By default one process for small inputs, all cores for large ones.
            workers=context.workers,
            rejects=context.rejects,
        )
        context.log(f"{', '.join(paths)}: {tokenized.ledger}")
    context.run_dir.share(context.world, folder / MANIFEST)
    # They were written a moment ago: checking their digests would only cost time.
    return Shards.open(folder, tokenizer=student.tokenizer, verify=False)
