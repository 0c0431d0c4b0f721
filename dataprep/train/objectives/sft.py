"""Supervised fine-tuning: predict the tokens that the loss mask selects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataprep.core.errors import UsageError
from dataprep.models.student import (
    Student,
    compare_tokenizers,
    has_tokenizer,
    load_chat_format_for,
    load_student,
    load_tokenizer_for,
)
from dataprep.tokens.shards.reading import Shards
from dataprep.train.layers.output_layer import OutputLayer
from dataprep.train.layers.packed_attention import document_inputs, use_packed_attention
from dataprep.train.objective import Objective, TrainContext, TrainData
from dataprep.train.objectives.chat_data import PART, Documents, is_shards, load_documents

if TYPE_CHECKING:
    from torch import Tensor, nn

# A sample is for a first look: the model card shows it in full.
SAMPLE_TOKENS, SAMPLED_ROWS = 64, 64


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
                where = f"{context.data[0]}: shards of a tokenizer"
                own = load_tokenizer_for(options.model, None, [])
                compare_tokenizers(own, tokenizer, [], where, "tokenize the rows with the model's own")
        else:
            tokenizer = load_tokenizer_for(options.model, options.tokenizer, context.data)
        chat_format = load_chat_format_for(options.model, options.chat_format, tokenizer, shards)
        student = load_student(options.model, tokenizer, chat_format)
        # T5 has no chat template, and its decoder expects an encoder's output.
        if student.is_encoder_decoder:
            raise UsageError(
                f"--model {options.model}: chat rows train a decoder; an encoder-decoder is trained on "
                "rationales"
            )
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
        return {PART: self.output.loss(model, inputs, tensors["positions"], tensors["targets"])}

    def results(self) -> dict[str, Any]:
        """Return the student's answer to the shortest question among the first rows."""
        # Of the evaluation rows if there are any: a student can have memorised training rows.
        documents: Documents = self.data.train if self.data.eval is None else self.data.eval
        shards = documents.shards
        rows = [shards.document(index) for index in range(min(shards.documents, SAMPLED_ROWS))]
        # The prompt is all that comes before the first token in the loss.
        prompt = min((ids[: max(int(mask.argmax()), 1)] for ids, mask in rows), key=len)
        answer = self.student.generate_samples([prompt], SAMPLE_TOKENS)[0]
        return {"sample": {"prompt": self.student.tokenizer.decode(prompt.tolist()), "answer": answer}}
