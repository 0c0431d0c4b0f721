"""Distillation: a teacher's next-token distributions as a second target.

The loss is `(1 - s) · tokens + s · teacher`, each a mean over the tokens in the loss: `tokens` is `-log p` of
the token, and `teacher` is `T² · KL(teacher ‖ student)`, both at temperature T. The factor T² makes up for
gradients that shrink as 1/T² (https://arxiv.org/abs/1503.02531).

The teacher is a model that reads the same documents, or log-probabilities that the rows contain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from dataprep.core.errors import UsageError
from dataprep.models.loading import load_weights
from dataprep.models.student import compare_tokenizers, model_directory
from dataprep.tokens.tokenizers import loading as tokenizers
from dataprep.train.layers.output_layer import OutputLayer, chunked
from dataprep.train.layers.packed_attention import document_inputs, use_packed_attention
from dataprep.train.objective import TrainContext, TrainData
from dataprep.train.objectives.chat_data import PART, Documents, load_documents
from dataprep.train.objectives.sft import SftObjective
from dataprep.train.objectives.stored_logprobs import TEACHER, DocumentsWithLogprobs

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from dataprep.models.student import Student
    from dataprep.train.objective import Batch

# Tokens are compared one by one; documents also show whether merges differ.
COMPARED_DOCUMENTS = 64


class DocumentsWithTeacher(Documents):
    """Documents in which every token in the loss has a teacher distribution."""

    def batch(self, items: Sequence[int]) -> Batch:
        """Return the documents' batch, counted for both parts."""
        batch = super().batch(items)
        batch.counts[TEACHER] = batch.counts[PART]
        return batch


class DistillationObjective(SftObjective):
    """Both parts of the loss: the tokens, and the divergence from the teacher."""

    def __init__(self, student: Any, data: TrainData, context: TrainContext) -> None:
        super().__init__(student, data, context)
        options = context.options
        self.weights = {PART: 1 - options.teacher_share, TEACHER: options.teacher_share}
        self.temperature = options.temperature
        self.teacher: PreTrainedModel | None = None
        if options.teacher_model is not None:
            self.use_teacher(load_teacher(options.teacher_model, student, data.train, context.world.device))

    @classmethod
    def load_dataset(cls, context: TrainContext, student: Student) -> TrainData:
        """Tokenize the rows, and read log-probabilities if no model is the teacher."""
        options = context.options
        data = load_documents(context, student)
        if options.teacher_model is not None:
            return TrainData(*(DocumentsWithTeacher(documents.shards) for documents in data.named().values()))
        if options.pack or options.truncation != "error":
            raise UsageError(
                "rows with 'logprobs' are trained on as they are: leave --pack and --truncation out"
            )
        paths = {"train": context.data, "eval": context.eval_data}
        return TrainData(
            *(
                DocumentsWithLogprobs(documents.shards, paths[name], student.tokenizer)
                for name, documents in data.named().items()
            )
        )

    def use_teacher(self, model: PreTrainedModel) -> None:
        """Take the distributions from a model, which must be ready for packed documents."""
        # An attribute of the objective, not a submodule: the optimizer and checkpoints must not see it.
        self.teacher = model.eval().requires_grad_(False)
        self.teacher_output = OutputLayer(model)

    def loss_sums(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sums of both parts over the batch's tokens in the loss.

        Stored log-probabilities are the tensors `has_teacher`, of shape `(M,)`: which positions have any; and
        `top_ids` and `top_logprobs`, of shape `(M, K)`.
        """
        # Weight 0: a forward pass of the teacher would be wasted.
        if not self.weights[TEACHER]:
            return super().loss_sums(model, tensors)
        inputs = document_inputs(tensors["ids"], tensors["bounds"])
        head = self.output.head(model, inputs, tensors["positions"])
        if self.teacher is not None:
            divergence_sum = self._from_model(head.layer, head.features, head.rows, inputs, tensors)
        else:
            divergence_sum = self._from_stored(head.layer, head.features, head.rows, tensors)
        return {PART: head.cross_entropy(tensors["targets"]), TEACHER: divergence_sum}

    def _from_model(
        self, layer: nn.Module, features: Tensor, rows: int, inputs: Any, tensors: Mapping[str, Tensor]
    ) -> Tensor:
        assert self.teacher is not None
        with torch.no_grad():
            teacher = self.teacher_output.head(self.teacher, inputs, tensors["positions"])

        def loss(own: Tensor, other: Tensor) -> Tensor:
            return divergence(layer(own), teacher.layer(other), self.temperature)

        return chunked(loss, rows, features, teacher.features)

    # At temperature 1: at another one, the probability of the unlisted tokens is unknown.
    def _from_stored(
        self, layer: nn.Module, features: Tensor, rows: int, tensors: Mapping[str, Tensor]
    ) -> Tensor:
        def loss(own: Tensor, ids: Tensor, logprobs: Tensor) -> Tensor:
            return divergence_of_top(layer(own), ids, logprobs)

        known = features[tensors["has_teacher"]]
        return chunked(loss, rows, known, tensors["top_ids"], tensors["top_logprobs"])


def load_teacher(name: str, student: Student, documents: Documents, device: Any) -> PreTrainedModel:
    """Load a teacher model, and check that it has the student's tokenizer."""
    folder = model_directory(name, "--teacher-model")
    shards = documents.shards
    ids = (shards.document(index)[0] for index in range(len(shards)))
    texts = [student.tokenizer.decode(document.tolist()) for document in islice(ids, COMPARED_DOCUMENTS)]
    advice = "give the teacher's with --tokenizer, or a teacher of the student's family"
    other = tokenizers.load_tokenizer(folder)
    compare_tokenizers(student.tokenizer, other, texts, f"--teacher-model {name}", advice)
    teacher = load_weights(folder, torch.float32).to(device)
    if teacher.config.is_encoder_decoder:
        raise UsageError(f"--teacher-model {name}: an encoder-decoder; expected a decoder, as the student is")
    for model in (student.model, teacher):
        embeddings = int(model.get_input_embeddings().weight.shape[0])
        if embeddings < student.tokenizer.vocab_size:
            raise UsageError(
                f"--teacher-model {name}: it has {embeddings:,} tokens, fewer than its tokenizer"
            )
    use_packed_attention(teacher)
    return teacher


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return `T² · KL(teacher ‖ student)`, summed over positions.

    Args:
        student: logits, shape `(N, vocabulary)`.
        teacher: logits, shape `(N, vocabulary)`.
        temperature: T, which both logits are divided by.
    """
    # Output layers are often padded to a multiple of 64: columns that only one has belong to no token.
    width = min(student.shape[-1], teacher.shape[-1])
    own = torch.log_softmax(student[:, :width].float() / temperature, dim=-1)
    other = torch.log_softmax(teacher[:, :width].float() / temperature, dim=-1)
    return temperature**2 * (other.exp() * (other - own)).sum()


def divergence_of_top(student: Tensor, ids: Tensor, logprobs: Tensor) -> Tensor:
    """Return the KL divergence from a teacher's known log-probabilities, summed.

    All other tokens count as one, whose probability is what the known ones leave.

    Args:
        student: logits, shape `(N, vocabulary)`.
        ids: the known tokens, shape `(N, K)`; any id fills up positions with fewer than K.
        logprobs: their log-probabilities, shape `(N, K)`; -inf where `ids` is filled up.
    """
    known = logprobs > float("-inf")
    own = torch.log_softmax(student.float(), dim=-1).gather(1, ids).masked_fill(~known, float("-inf"))
    probabilities = logprobs.exp()
    listed = torch.where(known, probabilities * (logprobs - own), 0.0).sum()
    # Rounded log-probabilities can add up to slightly more than 1.
    rest = (1 - probabilities.sum(dim=1)).clamp(min=0)
    own_rest = (1 - own.exp().sum(dim=1)).clamp(min=torch.finfo(torch.float32).tiny)
    return listed + (torch.xlogy(rest, rest) - rest * own_rest.log()).sum()
