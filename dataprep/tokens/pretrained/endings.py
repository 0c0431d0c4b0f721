"""Models of texts, such as T5, read a token behind every text: what a ``tokenizer.json`` says of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_ADD_TOKENS = ("TemplateProcessing", "RobertaProcessing", "BertProcessing")


def ended(document: Mapping[str, Any], end: str, number: int) -> dict[str, Any]:
    """A ``tokenizer.json`` that adds ``end``, and no other token, behind each text.

    Args:
        document: what the file holds.
        end: the special token's name.
        number: its id.
    """
    mark = {"SpecialToken": {"id": end, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    adds = {
        "type": "TemplateProcessing",
        "single": [first, mark],
        "pair": [first, mark, second, mark],
        "special_tokens": {end: {"id": end, "ids": [number], "tokens": [end]}},
    }
    kept = [each for each in _steps(document.get("post_processor")) if each["type"] not in _ADD_TOKENS]
    together = {"type": "Sequence", "processors": [*kept, adds]} if kept else adds
    return {**document, "post_processor": together}


def _steps(processor: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """What is done to a text's tokens, one after the other."""
    if processor is None:
        return
    if processor["type"] != "Sequence":
        yield processor
        return
    for each in processor["processors"]:
        yield from _steps(each)
