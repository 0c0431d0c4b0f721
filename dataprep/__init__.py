"""dataprep prepares data for small language models that learn from datasets and larger teachers.

The same functions as the commands, over iterables and files::

    import dataprep

    for row in dataprep.convert("gsm8k", "raw/gsm8k/train.jsonl"):
        print(row["messages"][-1]["content"])

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "CaptureOptions": "train.capture.options",
    "Captured": "train.capture.capturing",
    "Card": "inspect.card.writing",
    "Contamination": "curate.contamination.files",
    "DataprepError": "core.errors",
    "Diff": "inspect.diff.files",
    "Endpoint": "teacher.settings",
    "EvaluateSettings": "evaluate.settings:Settings",
    "Evaluation": "evaluate.settings",
    "Example": "core.records",
    "Exchange": "datasets.exchange.rewriting",
    "GenerationConfig": "models.sampling",
    "Ledger": "core.ledger",
    "Logits": "tokens.logits.reading",
    "Mix": "curate.mix",
    "MixedShards": "tokens.shards.mixture",
    "Overlap": "curate.contamination.settings",
    "Pacing": "teacher.settings",
    "Plan": "datasets.convert",
    "PredictOptions": "train.options",
    "Problem": "datasets.checks.validation",
    "Report": "datasets.checks.validation",
    "Reservoir": "core.sampling",
    "Review": "collect.review.findings",
    "RunComparison": "inspect.runs.comparing",
    "ScoredReview": "collect.review.scored",
    "ShardOptions": "tokens.options",
    "Shards": "tokens.shards.reading",
    "Split": "curate.split",
    "Stats": "datasets.checks.figures",
    "Template": "datasets.templates",
    "TopLogprobs": "tokens.logits.coding",
    "TrainOptions": "train.options",
    "Trained": "train.run",
    "Workspace": "datasets.workspace",
    "capture": "train.capture.capturing",
    "card_of_files": "inspect.card.writing",
    "chat_format_of": "tokens.formats.loading",
    "cluster": "core.parallel",
    "collect": "collect.collector",
    "collect_files": "collect.collector",
    "compare_runs": "inspect.runs.comparing",
    "convert": "datasets.convert",
    "convert_files": "datasets.convert",
    "dataset_names": "datasets.registry:names",
    "decontaminate_files": "curate.contamination.files",
    "dedup_files": "curate.dedup",
    "diff_files": "inspect.diff.files",
    "evaluate_classes": "train.classifiers.evaluating",
    "evaluate_file": "evaluate.evaluator",
    "export_files": "datasets.exchange.files",
    "export_model": "models.gguf.exporting",
    "export_rationales": "answers.parse",
    "fetch": "datasets.download",
    "filter_files": "curate.filter",
    "generate": "teacher.generate",
    "import_files": "datasets.exchange.files",
    "init_workspace": "datasets.workspace",
    "layout_of": "tokens.formats.loading:chat_format_of",
    "lint_files": "tokens.lint_files",
    "load_tokenizer": "tokens.tokenizers.loading",
    "merge": "datasets.merge",
    "merge_files": "datasets.merge",
    "mix_files": "curate.mix",
    "mix_shards": "tokens.shards.mixture",
    "parse_rationale_files": "answers.parse",
    "predict_files": "train.objectives.soft_label.predicting",
    "prompt": "teacher.prompts",
    "prompt_file": "teacher.prompts",
    "read_pairs": "tokens.pairs",
    "read_rows": "core.io",
    "review": "collect.review.review",
    "replay_files": "cli.replay",
    "report_files": "inspect.report.making",
    "review_files": "collect.review.review",
    "shuffled_order": "core.sampling",
    "split_files": "curate.split",
    "stats": "datasets.checks.stats",
    "stats_of_files": "datasets.checks.stats",
    "tokenize_files": "tokens.tokenize",
    "tokenize_pairs": "tokens.pairs",
    "trace": "inspect.trace.tracing",
    "train_student": "train.run:train",
    "train_tokenizer": "tokens.tokenizers.training",
    "validate": "datasets.checks.validation",
    "validate_files": "datasets.checks.validation",
    "verify_files": "inspect.manifests.verifying",
    "view": "inspect.view.server",
    "write_card": "inspect.card.writing",
    "write_rows": "core.io",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dataprep' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(f"dataprep.{module}"), attribute or name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
