"""Distillation: a teacher's next-token distributions as a second target.

The loss is `(1 - s) · tokens + s · teacher`, each a mean over the tokens in the loss: `tokens` is `-log p` of
the token, and `teacher` is `T² · KL(teacher ‖ student)`, both at temperature T. The factor T² makes up for
gradients that shrink as 1/T² (https://arxiv.org/abs/1503.02531).

The teacher is a model that reads the same documents, or the likeliest tokens that `dataprep capture` has
stored beside shards, or log-probabilities in a field `logprobs` beside `messages`, with an entry for each
token in the loss, in their order::

    [["Paris", -0.11], [" Lyon", -2.9], [271, -4.2]]                        token or its id, and log p
    {"token": "Paris", "logprob": -0.11, "top": {"Paris": -0.11, " Lyon": -2.9}}   as `generate` writes it
    null                                                                    nothing is known

The list may leave out the token that ends the turn. `token` must be the student's token: another one means
that the teacher's tokenizer splits texts differently. Tokens of `top` that the student lacks, such as broken
characters, count as not listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray

from dataprep.core import io as files
from dataprep.core.errors import InputError, RowError, TokenizerError, UsageError
from dataprep.core.io import Rejects
from dataprep.core.jsonl import parse_line
from dataprep.core.records import describe
from dataprep.tokens.tokenizers.base import is_text_of
from dataprep.train.capture.teacher_model import load_teacher
from dataprep.train.layers.output_layer import OutputLayer, chunked
from dataprep.train.layers.packed_attention import document_inputs
from dataprep.train.layers.top_k import TeacherTop, divergence_of_top
from dataprep.train.objective import TrainContext, TrainData
from dataprep.train.objectives.captured import TEACHER, with_logits
from dataprep.train.objectives.sft import PART, Documents, SftObjective, load_documents

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from dataprep.models.student import Student
    from dataprep.tokens.shards.reading import Shards
    from dataprep.tokens.tokenizers.base import Tokenizer
    from dataprep.train.objective import Batch

# Ids and log-probabilities. Dictionaries of all rows would need many times the memory of arrays.
Top = tuple[NDArray[np.int64], NDArray[np.float32]]
_EXPECTED = "expected null, a list of [token or id, log-probability], or {token, logprob, top}"


class DocumentsWithTeacher(Documents):
    """Documents in which every token in the loss has a teacher distribution."""

    def batch(self, items: Sequence[int]) -> Batch:
        """Return the documents' batch, counted for both parts."""
        batch = super().batch(items)
        batch.counts[TEACHER] = batch.counts[PART]
        return batch


class DocumentsWithLogprobs(Documents):
    """Documents with the log-probabilities of their rows, in memory."""

    def __init__(
        self, shards: Shards, paths: Sequence[str], tokenizer: Tokenizer, rejects: Rejects | None = None
    ) -> None:
        super().__init__(shards)
        self._tokenizer, self._ids = tokenizer, _ids_by_bytes(tokenizer)
        rejects = rejects or Rejects(None)
        # The documents of sound rows, and their log-probabilities.
        self._documents: list[int] = []
        self._rows: list[list[Top | None]] = []
        rejected = 0
        for index, (where, item) in enumerate(chain.from_iterable(map(files.read_items, paths))):
            number = len(self._documents) + rejected
            # Rows that were set aside have no document.
            if number == shards.documents or shards.row(number) != index:
                continue
            row = parse_line(item) if isinstance(item, bytes) else item
            ids, mask = shards.document(number)
            try:
                tops = self._tops(row.get("logprobs"), ids[1:][mask[1:]].tolist())
            except RowError as error:
                rejects.add(where, str(error), item if isinstance(item, bytes) else orjson.dumps(item))
                rejected += 1
                continue
            self._documents.append(number)
            self._rows.append(tops)

    @property
    def epochs(self) -> tuple[int, ...]:
        """The number of documents that were not set aside: the items of every epoch."""
        return (len(self._documents),)

    @property
    def tokens(self) -> int:
        """Number of tokens in all documents."""
        return sum(self.shards.document(number)[0].size for number in self._documents)

    def coverage(self) -> tuple[int, int]:
        """Return the number of tokens in the loss with log-probabilities, and of all of them."""
        return sum(top is not None for row in self._rows for top in row), sum(map(len, self._rows))

    def describe_item(self, item: int) -> str:
        """Return file and row of a document."""
        return super().describe_item(self._documents[item])

    def batch(self, items: Sequence[int]) -> Batch:
        """Return the documents' batch with `has_teacher`, `top_ids` and `top_logprobs`."""
        batch = super().batch([self._documents[item] for item in items])
        tops = [top for item in items for top in self._rows[item]]
        known = [(position, top) for position, top in enumerate(tops) if top is not None]
        # Rows can list different numbers of tokens; -inf fills up the shorter ones.
        width = max((top[0].size for _, top in known), default=1)
        ids = np.zeros((len(known), width), dtype=np.int64)
        logprobs = np.full((len(known), width), -np.inf, dtype=np.float32)
        for index, (_, (top_ids, top_logprobs)) in enumerate(known):
            ids[index, : top_ids.size], logprobs[index, : top_ids.size] = top_ids, top_logprobs
        batch.tensors["has_teacher"] = torch.tensor([position for position, _ in known], dtype=torch.int64)
        batch.tensors |= {"top_ids": torch.from_numpy(ids), "top_logprobs": torch.from_numpy(logprobs)}
        batch.counts[TEACHER] = len(known)
        return batch

    def _tops(self, entries: Any, in_loss: list[int]) -> list[Top | None]:
        if entries is None:
            return [None] * len(in_loss)
        if not isinstance(entries, list) or not len(in_loss) - 1 <= len(entries) <= len(in_loss):
            found = f"{len(entries):,} entries" if isinstance(entries, list) else describe(entries, 40)
            expected = (
                f"{len(in_loss):,}, one for each token in the loss (or one less, without the end of the turn)"
            )
            raise RowError(
                f"'logprobs' has {found}", f"expected {expected}: does the teacher have another tokenizer?"
            )
        # Servers do not report the token that ends the turn.
        entries = entries + [None] * (len(in_loss) - len(entries))
        return [
            self._top(entry, target, f"'logprobs' {number}")
            for number, (entry, target) in enumerate(zip(entries, in_loss, strict=True), 1)
        ]

    def _top(self, entry: Any, target: int, where: str) -> Top | None:
        if entry is None:
            return None
        pairs = entry
        if isinstance(entry, Mapping):
            if self._id(entry.get("token"), where) != target and not is_text_of(
                self._tokenizer, entry["token"], target
            ):
                text = self._tokenizer.decode([target])
                raise RowError(
                    where,
                    f"of the token {entry['token']!r:.60}, and the student's is {text!r} ({target}): the "
                    "teacher's tokenizer splits texts differently; leave 'logprobs' out, or ask a teacher of "
                    "the same family",
                )
            others = entry.get("top") or {}
            if not isinstance(others, Mapping):
                raise RowError(where, f"'top' is {describe(others)}; expected an object")
            pairs = [*others.items(), (target, entry.get("logprob"))]
        if not isinstance(pairs, list) or not pairs:
            raise RowError(where, f"found {describe(entry)}; {_EXPECTED}")
        top: dict[int, float] = {}
        for pair in pairs:
            if not (isinstance(pair, list | tuple) and len(pair) == 2 and _is_log(pair[1])):
                raise RowError(where, f"found {describe(pair)}; {_EXPECTED}")
            # Rounded numbers can be slightly above 0.
            if (number := self._id(pair[0], where)) is not None:
                top[number] = min(float(pair[1]), 0.0)
        return (np.fromiter(top, np.int64), np.fromiter(top.values(), np.float32)) if top else None

    def _id(self, token: Any, where: str) -> int | None:
        if isinstance(token, str):
            return self._ids.get(token.encode("utf-8", "surrogatepass"))
        if type(token) is int and 0 <= token < self.shards.vocab_size:
            return token
        raise RowError(where, f"the token is {describe(token)}; expected a text, or an id of the tokenizer")


def _is_log(value: Any) -> bool:
    # Some servers return tiny positive numbers for a token that is certain.
    return type(value) in (int, float) and value <= 1e-3


def _ids_by_bytes(tokenizer: Tokenizer) -> dict[bytes, int]:
    ids: dict[bytes, int] = {}
    for token in range(tokenizer.vocab_size):
        try:
            # With byte fallback, a byte and a piece can have the same text. The piece has the higher id and
            # is what the tokenizer uses, so the last id wins.
            ids[tokenizer.decode_bytes([token])] = token
        except TokenizerError:  # an id without a token
            continue
    # Special tokens have no bytes; servers report them by name.
    return ids | {name.encode(): number for name, number in tokenizer.special_tokens.items()}


class DistillationObjective(SftObjective):
    """Both parts of the loss: the tokens, and the divergence from the teacher."""

    def __init__(self, student: Any, data: TrainData, context: TrainContext) -> None:
        super().__init__(student, data, context)
        options = context.options
        self.weights = {PART: 1 - options.teacher_share}
        if options.teacher_share:
            self.weights[TEACHER] = options.teacher_share
        self.temperature = options.temperature
        self.teacher: PreTrainedModel | None = None
        if options.teacher_model is not None:
            shards, device = data.train.shards, context.world.device
            advice = "give the teacher's with --tokenizer, or a teacher of the student's family"
            self.use_teacher(load_teacher(options.teacher_model, student.tokenizer, shards, device, advice))

    @classmethod
    def load_dataset(cls, context: TrainContext, student: Student) -> TrainData:
        """Tokenize the rows, and read log-probabilities if no model is the teacher."""
        options = context.options
        data = load_documents(context, student)
        if options.teacher_logits is not None:
            return with_logits(data, context)
        if options.teacher_model is not None:
            return TrainData(*(DocumentsWithTeacher(documents.shards) for documents in data.named().values()))
        if options.pack or options.truncation != "error":
            raise UsageError(
                "rows with 'logprobs' are trained on as they are: leave --pack and --truncation out"
            )
        pairs = zip(data.named().values(), (context.data, context.eval_data), strict=False)
        found = [
            DocumentsWithLogprobs(rows.shards, paths, student.tokenizer, context.rejects)
            for rows, paths in pairs
        ]
        for rows, paths in zip(found, (context.data, context.eval_data), strict=False):
            if not len(rows):
                raise InputError(", ".join(paths), "has no row whose 'logprobs' could be used")
            known, tokens = rows.coverage()
            context.log(
                f"{', '.join(paths)}: log-probabilities for {known:,} of {tokens:,} tokens in the loss"
            )
        # The tokens' part alone would be a loss of 1 - s times its size.
        if options.teacher_share and not found[0].coverage()[0]:
            raise InputError(
                ", ".join(context.data),
                "no row has log-probabilities that could be used: 'logprobs' is null everywhere, or lists no "
                "token of the student; leave the field out, or ask the teacher again",
            )
        return TrainData(*found)

    def use_teacher(self, model: PreTrainedModel) -> None:
        """Take the distributions from a model, which must be ready for packed documents."""
        # An attribute of the objective, not a submodule: the optimizer and checkpoints must not see it.
        self.teacher = model.eval().requires_grad_(False)
        self.teacher_output = OutputLayer(model)

    def loss_sums(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sums of both parts over the batch's tokens in the loss.

        Log-probabilities of rows are the tensors `has_teacher`, of shape `(M,)`: which positions have any;
        and `top_ids` and `top_logprobs`, of shape `(M, K)`. Captured ones are those of all N positions, and
        `rest_logprobs`, of shape `(N,)`.
        """
        # Without a share, a forward pass of the teacher would be wasted.
        if TEACHER not in self.weights:
            return super().loss_sums(model, tensors)
        inputs = document_inputs(tensors["ids"], tensors["bounds"])
        head = self.output.head(model, inputs, tensors["positions"])
        if self.teacher is None and "top_ids" not in tensors:  # evaluation rows beside captured logits
            return {PART: head.loss(tensors["targets"])}
        if "rest_logprobs" in tensors:
            stored = tensors["top_ids"], tensors["top_logprobs"], tensors["rest_logprobs"]
            top = TeacherTop(*stored, self.temperature, self.weights[TEACHER])
            tokens, divergence_sum = head.losses_with_teacher(tensors["targets"], top)
            return {PART: tokens, TEACHER: divergence_sum}
        if self.teacher is not None:
            with torch.no_grad():
                teacher = self.teacher_output.head(self.teacher, inputs, tensors["positions"])

            def from_model(own: Tensor, other: Tensor) -> Tensor:
                return divergence(head.layer(own), teacher.layer(other), self.temperature)

            divergence_sum = chunked(from_model, head.rows, head.features, teacher.features)
        else:
            # At temperature 1: at another one, the probability of the unlisted tokens is unknown.
            def from_stored(own: Tensor, ids: Tensor, logprobs: Tensor) -> Tensor:
                return divergence_of_top(head.layer(own), ids, logprobs)

            known = head.features[tensors["has_teacher"]]
            divergence_sum = chunked(
                from_stored, head.rows, known, tensors["top_ids"], tensors["top_logprobs"]
            )
        return {PART: head.loss(tensors["targets"]), TEACHER: divergence_sum}


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return `T² · KL(teacher ‖ student)`, summed over N positions; both logits are `(N, vocabulary)`."""
    # Output layers are often padded to a multiple of 64: columns that only one has belong to no token.
    width = min(student.shape[-1], teacher.shape[-1])
    own = torch.log_softmax(student[:, :width].float() / temperature, dim=-1)
    other = torch.log_softmax(teacher[:, :width].float() / temperature, dim=-1)
    return temperature**2 * (other.exp() * (other - own)).sum()
