"""dataprep prepares data for small language models that learn from datasets and larger teachers.

The same functions as the commands, over iterables and files::

    import dataprep

    for row in dataprep.convert("gsm8k", "raw/gsm8k/train.jsonl"):
        print(row["messages"][-1]["content"])

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataprep.collecting import collect_files
    from dataprep.conversion import Plan, convert, convert_files
    from dataprep.converters import names as dataset_names
    from dataprep.errors import DataprepError
    from dataprep.evaluating.evaluator import evaluate_file
    from dataprep.evaluating.settings import Evaluation
    from dataprep.evaluating.settings import Settings as EvaluateSettings
    from dataprep.files import read_rows, write_rows
    from dataprep.hub import fetch
    from dataprep.ledger import Ledger
    from dataprep.linting import lint_files
    from dataprep.merging import merge, merge_files
    from dataprep.prompting import prompt_file
    from dataprep.rationale_files import export_rationales, parse_rationale_files
    from dataprep.records import Example
    from dataprep.report.findings import Review
    from dataprep.report.review import review_files
    from dataprep.report.stats import Stats, stats, stats_of_files
    from dataprep.sampling.order import shuffled_order
    from dataprep.sampling.reservoir import Reservoir
    from dataprep.templates import Template
    from dataprep.tokens.layouts import layout_of
    from dataprep.tokens.pairs import read_pairs, tokenize_pairs
    from dataprep.tokens.shards import Shards
    from dataprep.tokens.tokenizer import load_tokenizer
    from dataprep.tokens.tokenizing import ShardOptions, tokenize_files
    from dataprep.tokens.training import train_tokenizer
    from dataprep.train.options import TrainOptions
    from dataprep.train.soft_label.predicting import PredictOptions, predict_files
    from dataprep.train.training import Trained
    from dataprep.train.training import train as train_student
    from dataprep.validation import Problem, Report, validate, validate_files
    from dataprep.workspace import Workspace, init_workspace

__version__ = "0.1.0"

_HOMES = {
    "DataprepError": "errors",
    "EvaluateSettings": "evaluating.settings:Settings",
    "Evaluation": "evaluating.settings",
    "Example": "records",
    "Ledger": "ledger",
    "Plan": "conversion",
    "PredictOptions": "train.soft_label.predicting",
    "Problem": "validation",
    "Report": "validation",
    "Reservoir": "sampling.reservoir",
    "Review": "report.findings",
    "ShardOptions": "tokens.tokenizing",
    "Shards": "tokens.shards",
    "Stats": "report.stats",
    "Template": "templates",
    "TrainOptions": "train.options",
    "Trained": "train.training",
    "Workspace": "workspace",
    "collect_files": "collecting",
    "convert": "conversion",
    "convert_files": "conversion",
    "dataset_names": "converters:names",
    "evaluate_file": "evaluating.evaluator",
    "export_rationales": "rationale_files",
    "fetch": "hub",
    "init_workspace": "workspace",
    "layout_of": "tokens.layouts",
    "lint_files": "linting",
    "load_tokenizer": "tokens.tokenizer",
    "merge": "merging",
    "merge_files": "merging",
    "parse_rationale_files": "rationale_files",
    "predict_files": "train.soft_label.predicting",
    "prompt_file": "prompting",
    "read_pairs": "tokens.pairs",
    "read_rows": "files",
    "review_files": "report.review",
    "shuffled_order": "sampling.order",
    "stats": "report.stats",
    "stats_of_files": "report.stats",
    "tokenize_files": "tokens.tokenizing",
    "tokenize_pairs": "tokens.pairs",
    "train_student": "train.training:train",
    "train_tokenizer": "tokens.training",
    "validate": "validation",
    "validate_files": "validation",
    "write_rows": "files",
}

__all__ = [
    "DataprepError",
    "EvaluateSettings",
    "Evaluation",
    "Example",
    "Ledger",
    "Plan",
    "PredictOptions",
    "Problem",
    "Report",
    "Reservoir",
    "Review",
    "ShardOptions",
    "Shards",
    "Stats",
    "Template",
    "TrainOptions",
    "Trained",
    "Workspace",
    "collect_files",
    "convert",
    "convert_files",
    "dataset_names",
    "evaluate_file",
    "export_rationales",
    "fetch",
    "init_workspace",
    "layout_of",
    "lint_files",
    "load_tokenizer",
    "merge",
    "merge_files",
    "parse_rationale_files",
    "predict_files",
    "prompt_file",
    "read_pairs",
    "read_rows",
    "review_files",
    "shuffled_order",
    "stats",
    "stats_of_files",
    "tokenize_files",
    "tokenize_pairs",
    "train_student",
    "train_tokenizer",
    "validate",
    "validate_files",
    "write_rows",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dataprep' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(f"dataprep.{module}"), attribute or name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
