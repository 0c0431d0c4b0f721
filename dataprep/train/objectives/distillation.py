"""The objective ``logits``: chat rows, and what a larger model makes of every trained token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from dataprep.core.errors import UsageError
from dataprep.models.same_tokenizer import compare_tokenizers
from dataprep.models.student import directory_of, load_weights
from dataprep.tokens.tokenizers import loading as tokenizers
from dataprep.train.layers.output_layer import OutputLayer
from dataprep.train.layers.packed_attention import use_packed_attention
from dataprep.train.objectives import sft
from dataprep.train.objectives.divergence import TEACHER, FromStored, FromTeacher
from dataprep.train.objectives.documents import PART, Documents
from dataprep.train.objectives.stored_logprobs import WithLogprobs

if TYPE_CHECKING:
    from dataprep.models.student import Student
    from dataprep.train.objective import Batch, Job, Objective, Setup, TrainingSet

COMPARED = 64
"""Documents whose text both tokenizers take apart, to be compared."""


class WithTeacher:
    """Documents of which every trained token has the teacher's distribution too."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self.where = documents.where

    def __len__(self) -> int:
        return len(self.documents)

    def batch(self, items: Sequence[int]) -> Batch:
        """The documents' batch, counted for both parts."""
        found = self.documents.batch(items)
        found.counts[TEACHER] = found.counts[PART]
        return found


def setup(job: Job) -> Setup:
    """A run on chat rows with a teacher: a model, or log-probabilities that stand in the rows.

    Raises:
        UsageError: the teacher is no decoder, or options that do not go with stored log-probabilities.
        TokenizerError: the teacher's tokenizer is another.
        InputError: a row's log-probabilities are malformed, or of other tokens.
    """
    student, training, held_out = sft.student_and_data(job)
    base = sft.setup_for(job, student, training, held_out)
    objective: Objective
    found: list[TrainingSet | None]
    if job.options.teacher_model is not None:
        objective = _from_teacher(job, student, training)
        found = [each and WithTeacher(each) for each in (training, held_out)]
    else:
        if job.options.pack or job.options.truncation != "error":
            raise UsageError(
                "rows with 'logprobs' are trained on as they are: leave --pack and --truncation out"
            )
        objective = FromStored(OutputLayer(student.model), job.options.teacher_share)
        both = ((training, job.data), (held_out, job.held_out))
        found = [each and WithLogprobs(each, paths, student.tokenizer) for each, paths in both]
    assert found[0] is not None
    return replace(base, objective_name="logits", objective=objective, training=found[0], held_out=found[1])


def _from_teacher(job: Job, student: Student, training: Documents) -> FromTeacher:
    """The objective with a model as the teacher, which is loaded and compared with the student."""
    options, name = job.options, str(job.options.teacher_model)
    folder = directory_of(name, "--teacher-model")
    documents = (training.shards.document(number)[0] for number in range(len(training.shards)))
    texts = [student.tokenizer.decode(ids.tolist()) for ids in islice(documents, COMPARED)]
    other = tokenizers.load_tokenizer(folder)
    advice = "give the teacher's with --tokenizer, or a teacher of the student's family"
    compare_tokenizers(student.tokenizer, other, texts, f"--teacher-model {name}", advice)
    teacher = load_weights(folder).to(job.world.device)
    if teacher.config.is_encoder_decoder:
        raise UsageError(f"--teacher-model {name}: an encoder-decoder; expected a decoder, as the student is")
    for model in (student.model, teacher):
        room = int(model.get_input_embeddings().weight.shape[0])
        if room < student.tokenizer.vocab_size:
            raise UsageError(f"--teacher-model {name}: it has {room:,} tokens, fewer than its tokenizer")
    use_packed_attention(teacher)
    return FromTeacher(OutputLayer(student.model), options.teacher_share, teacher, options.temperature)
