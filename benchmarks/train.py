"""``dataprep train``: chat rows, rationales and soft labels, each beside what one would run instead."""

from __future__ import annotations

from pathlib import Path

from benchmarks import train_chat, train_rationale, train_soft_label


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Run all three, whatever comes of each."""
    met = train_chat.bench(data, folder, rounds)
    met &= train_rationale.bench(data, folder, rounds)
    return met & train_soft_label.bench(data, folder, rounds)
