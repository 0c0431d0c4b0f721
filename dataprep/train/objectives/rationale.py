"""Several teachers' rationales beside the answer, each a weighted task.

`loss = γ · answer + Σ_t w_t · rationale_t`, as in TinyLLM (Tian et al., "Beyond Answers: Transferring
Reasoning Capabilities to Smaller LLMs Using Multi-Teacher Knowledge Distillation", arXiv 2402.04616).
Every part is the mean over the tokens of its own targets. Parts that a row lacks are skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataprep.answers.quality import KEEPABLE
from dataprep.core.errors import UsageError
from dataprep.core.sampling import shuffled_order
from dataprep.models.student import Student, load_chat_format_for, load_student, load_tokenizer_for
from dataprep.tokens.tokenizers.base import pad_id
from dataprep.train.layers.encoder_decoder import PackedPairs, PaddedPairs, pairs_for
from dataprep.train.layers.output_layer import OutputLayer
from dataprep.train.layers.packed_attention import document_inputs, use_packed_attention
from dataprep.train.objective import Objective, TrainContext, TrainData, check_max_length, file_facts
from dataprep.train.objectives.rationale_data import (
    ANSWER,
    ChatTaskEncoder,
    PairTaskEncoder,
    RationaleDataset,
    RationaleRows,
    Task,
    TaskEncoder,
    encode_tasks,
    prefix_of,
    read_rows,
    weights_of,
)
from dataprep.train.options import flag_of
from dataprep.train.recipes import describe_recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dataprep.train.hardware.distributed import World

# Generating takes much longer than computing a loss. All evaluation rows are answered where rows and weights
# multiply to no more than this, which takes minutes on two cores; else some, and never fewer than 200.
ANSWERED_WORK, ANSWERED_LEAST, ANSWER_TOKENS = 10**11, 200, 64


class ChatLosses:
    """The losses of a decoder, over chat rows."""

    def __init__(self, output: OutputLayer) -> None:
        self.output = output

    def losses(self, model: Any, tensors: Mapping[str, Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """Return the loss of each segment of the targets; `sizes` are their lengths."""
        inputs = document_inputs(tensors["ids"], tensors["bounds"])
        return self.output.head(model, inputs, tensors["positions"]).losses(tensors["targets"], sizes)


ALL = "all"  # of --keep-status
TaskLosses = ChatLosses | PackedPairs | PaddedPairs


def part_sums(
    parts: Sequence[str], task_losses: TaskLosses, model: nn.Module, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the summed loss of each part that a batch contains."""
    # Parts without tokens are left out: their mean would be 0 / 0.
    sizes = tensors["sizes"].tolist()
    present = {name: size for name, size in zip(parts, sizes, strict=True) if size}
    losses = task_losses.losses(model, tensors, list(present.values()))
    return dict(zip(present, losses, strict=True))


class RationaleObjective(Objective):
    """`-log p` of all tokens of each part's targets, summed by part."""

    def __init__(self, student: Any, data: TrainData, context: TrainContext) -> None:
        super().__init__(student, data, context)
        self.weights = data.train.weights
        self.task_losses: TaskLosses
        if student.is_encoder_decoder:
            self.task_losses = pairs_for(student.model, pad_id(student.tokenizer))
            if isinstance(self.task_losses, PaddedPairs):
                for dataset in data.named().values():
                    dataset.lengths = dataset.longest_texts()
        else:
            # Each task is a document of its own: the parts of a row must not see each other.
            use_packed_attention(student.model)
            self.task_losses = ChatLosses(OutputLayer(student.model))
        if context.options.gradient_checkpointing:
            student.enable_gradient_checkpointing()

    @classmethod
    def load_model(cls, context: TrainContext) -> Student:
        """Load the student: an encoder-decoder or a decoder."""
        options = context.options
        if unknown := [status for status in options.keep_status if status not in (*KEEPABLE, ALL)]:
            known = ", ".join((*KEEPABLE, ALL))
            raise UsageError(f"--keep-status {unknown[0]}: a rationale with a text is one of {known}")
        tokenizer = load_tokenizer_for(options.model, options.tokenizer, context.data)
        if options.loss != "all" or options.split_thinking:
            flag = "--loss" if options.loss != "all" else "--split-thinking"
            raise UsageError(f"{flag}: for chat rows; the loss of rationales is that of their parts")
        settings: dict[str, Any] = {"strip": options.strip, "date": options.date}
        settings["template_args"] = options.template_args
        chat_format = load_chat_format_for(
            options.model, options.chat_format, tokenizer, tokenizer_path=options.tokenizer, **settings
        )
        student = load_student(options.model, tokenizer, chat_format)
        if student.is_encoder_decoder and (given := [name for name, value in settings.items() if value]):
            flag = "--template-arg" if given[0] == "template_args" else f"--{given[0]}"
            raise UsageError(f"{flag}: an encoder-decoder reads no chats; leave it out")
        return student

    @classmethod
    def load_dataset(cls, context: TrainContext, student: Student) -> TrainData:
        """Read rows with rationales, and encode each of their parts."""
        kept = context.options.keep_status
        kept = KEEPABLE if ALL in kept else kept
        rows = read_rows(context.data, kept, context.rejects)
        # Evaluation rows have the weights of the training rows: other teachers have no part in the loss.
        weights = weights_of(context.options, rows.teachers)
        if recipe := describe_recipe(context.options):
            for what in ("set", "given"):
                values = ", ".join(_shown(*each) for each in recipe[what].items())
                context.log(f"recipe {recipe['name']}, {what}: {values or 'nothing'}")
        train = _encode(context, context.data, rows, weights, student)
        train.learned_only = True
        train.warnings = few_used(train, rows)
        for warning in train.warnings:
            context.log(f"warning: {warning}")
        paths = context.eval_data
        if not paths:
            return TrainData(train)
        eval_rows = read_rows(paths, kept, context.rejects)
        return TrainData(train, _encode(context, paths, eval_rows, weights, student))

    def loss_sums(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sums of the parts that the batch contains."""
        return part_sums(list(self.weights), self.task_losses, model, tensors)

    def figures(self) -> tuple[str, ...]:
        """Return the share of exact answers, if evaluation rows have an answer."""
        dataset = self.data.eval
        return ("answer_exact_match",) if dataset is not None and self._questions(dataset) else ()

    def measure(self, processes: World | None = None) -> dict[str, Any]:
        """Return the share of exact answers, their number, and of how many rows they are a sample.

        `--measure` is their number. It defaults to all where that is cheap.
        """
        student, options = self.student, self.context.options
        questions = self._questions(self.data.eval)
        if not questions:
            return {}
        weights = sum(each.numel() for each in student.model.parameters())
        count = options.measure or max(ANSWERED_LEAST, ANSWERED_WORK // weights)
        # Not the first ones, which can be of one kind.
        drawn = shuffled_order(len(questions), options.seed)[:count]
        tasks = [questions[number] for number in sorted(drawn.tolist())]
        shard = processes.shard(tasks) if processes else tasks
        texts = student.generate_samples([task.prompt for task in shard], ANSWER_TOKENS)
        wanted = [student.decode_answer(task.target.tolist()) for task in shard]
        # Surrounding whitespace does not make an answer wrong.
        exact = sum(text.strip() == target.strip() for text, target in zip(texts, wanted, strict=True))
        total = processes.total({"exact": exact})["exact"] if processes else exact
        counts = {"answers": len(tasks), "answers_of": len(questions)}
        return {"answer_exact_match": total / len(tasks), **counts}

    def results(self) -> dict[str, Any]:
        """Return a sample answer, and the share of exact answers."""
        evaluates = self.data.eval is not None
        # Of the evaluation rows if there are any: a student can have memorised training rows.
        tasks = self._questions(self.data.eval if evaluates else self.data.train)
        warnings = {"warnings": self.data.train.warnings} if self.data.train.warnings else {}
        if not tasks:
            return warnings
        prompt = tasks[0].prompt
        answer = self.student.generate_samples([prompt], ANSWER_TOKENS)[0].strip()
        sample = {"prompt": self.student.tokenizer.decode(prompt.tolist()), "answer": answer}
        return {"sample": sample} | warnings | ({"metrics": self.measure()} if evaluates else {})

    def _questions(self, dataset: RationaleDataset) -> list[Task]:
        """Return the tasks that ask for an answer."""
        return [task for row in dataset.items for task in row if dataset.parts[task.part] == ANSWER]

    def facts(self) -> dict[str, Any]:
        """Return what became of the rows, for each part of the loss."""
        datasets = self.data.named()
        recipe = describe_recipe(self.context.options)
        return ({} if recipe is None else {"recipe": recipe}) | {
            "cut": {name: dataset.encoder.cut for name, dataset in datasets.items()},
            "ledger": {name: dataset.ledger.to_json() for name, dataset in datasets.items()},
            "parts": {
                part: {"weight": weight, "prefix": prefix_of(index)}
                | {name: dataset.part_ledgers[part].to_json() for name, dataset in datasets.items()}
                for index, (part, weight) in enumerate(self.weights.items())
            },
        }


def few_used(dataset: RationaleDataset, rows: RationaleRows) -> list[str]:
    """Return a warning for each teacher of whose rationales less than half are used, for their status."""
    warnings = []
    for part in dataset.parts[1:]:
        used, unused = dataset.part_ledgers[part].rows_out, rows.unused(part)
        if dataset.weights[part] and used < (used + unused) / 2:
            warnings.append(
                f"{part}: {used:,} of {used + unused:,} rationales are used; choose with --keep-status which "
                f"are, or use all of them with --keep-status {ALL}"
            )
    return warnings


def _shown(name: str, value: Any) -> str:
    flag, _, off = flag_of(name).partition("/")
    if isinstance(value, bool):
        return flag if value else off or f"no {flag}"
    return f"{flag} {','.join(map(str, value)) if isinstance(value, tuple) else value}"


def _encode(
    context: TrainContext, paths: list[str], rows: RationaleRows, weights: dict[str, float], student: Student
) -> RationaleDataset:
    """Encode rows, and log what became of them."""
    dataset = encode_tasks(rows, weights, _task_encoder(student, context), cue=context.options.cue)
    dataset.files = file_facts(paths)
    name = ", ".join(paths)
    if not len(dataset):
        lacking = "; ".join(f"{part}: {ledger}" for part, ledger in dataset.part_ledgers.items())
        raise UsageError(f"{name}: no row has anything to learn ({lacking}); see --keep-status")
    context.log(f"{name}: {dataset.ledger}")
    for part, ledger in dataset.part_ledgers.items():
        context.log(f"  {part}: {ledger}")
    if dataset.encoder.cut:
        limits = "--max-length"
        if context.options.max_target_length is not None:
            limits += " or --max-target-length"
        context.log(f"  {dataset.encoder.cut:,} times a question or a target was cut to {limits}")
    if others := [teacher for teacher in rows.teachers if teacher not in weights]:
        context.log(f"  not measured, since the training rows lack them: {', '.join(others)}")
    return dataset


def _task_encoder(student: Student, context: TrainContext) -> TaskEncoder:
    options = context.options
    limit = check_max_length(options.max_length, student.context_length)
    if not student.is_encoder_decoder:
        if options.recipe is not None:
            raise UsageError(
                f"--recipe {options.recipe}: for students with an encoder, such as --model t5-tiny; found a "
                f"decoder in --model {options.model}"
            )
        if options.max_target_length is not None or options.keep_end:
            flag = "--keep-end" if options.max_target_length is None else "--max-target-length"
            raise UsageError(f"{flag}: a decoder reads question and target as one row; leave it out")
        return ChatTaskEncoder(student.tokenizer, student.chat_format, limit, options.truncation)
    # transformers would fail in the first forward pass, without naming the file to correct.
    start = student.model.config.decoder_start_token_id
    if start is None:
        raise UsageError(
            f"--model {options.model}: its configuration has no decoder_start_token_id, which its decoder "
            "reads first: add it to config.json"
        )
    return PairTaskEncoder(
        student.tokenizer,
        student.eos_token_ids[0],
        start,
        limit,
        options.truncation,
        max_target_length=options.max_target_length,
        keep_end=options.keep_end,
    )
