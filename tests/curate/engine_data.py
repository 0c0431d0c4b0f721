"""Files for tests of engines, and what commands say and write."""

import json
import random
from pathlib import Path

from dataprep.core.ledger import Ledger

FILE, FOLDER = ".out.jsonl", ".out/"
BAD = ["bad.jsonl", "b.jsonl", "c.json"]
SOUND = ["a.jsonl", "b.jsonl"]


def made_rows(seed, count):
    """Rows of which many are alike, and some equal."""
    rng = random.Random(seed)
    words = [f"word{number}" for number in range(300)]
    base = [[rng.choice(words) for _ in range(rng.randint(1, 30))] for _ in range(count // 4 + 1)]
    base += [[rng.choice(words) for _ in range(60)]] * (count // 4)  # many rows are alike
    for number in range(count):
        text = list(rng.choice(base))
        for _ in range(rng.choice([0, 0, 1, 2])):
            text[rng.randrange(len(text))] = rng.choice(words)
        yield {"id": number, "question": " ".join(text), "n": rng.randrange(9)}


def content(path):
    """The bytes of a file, or of all parts of a folder; ``None`` if there is nothing, or it is unfinished."""
    path = Path(path)
    if path.is_dir():
        if not (path / "manifest.json").exists():
            return None
        assert not [name for name in path.iterdir() if name.name.startswith(".")]
        return b"".join(part.read_bytes() for part in sorted(path.glob("part-*")))
    return path.read_bytes() if path.exists() else None


def described(result, out, suffix):
    """A result as a text that does not depend on where it was written; also the order of reasons."""
    ledgers = [result] if isinstance(result, Ledger) else getattr(result, "ledgers", None)
    ledgers = ledgers or [result.ledger]
    ledgers = ledgers.values() if isinstance(ledgers, dict) else ledgers
    text = f"{result} {[json.dumps(ledger.to_json()) for ledger in ledgers]}"
    return text.replace(str(out), "OUT").replace(suffix, "")
