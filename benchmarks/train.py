"""`dataprep train` on chat rows, rationales and soft labels, each beside its usual alternative."""

from __future__ import annotations

from pathlib import Path

from benchmarks import train_chat, train_rationale, train_soft_label


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Run all three, even if one misses its targets."""
    met = train_chat.bench(data, folder, rounds)
    met &= train_rationale.bench(data, folder, rounds)
    return met & train_soft_label.bench(data, folder, rounds)
