"""Measure a new mixture of token shards of ten million documents, and what opening it takes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from benchmarks.measure import Contender, claim, race, table
from dataprep.tokens.shards.packing import whole
from dataprep.tokens.shards.writing import finish, open_buffer

DOCUMENTS = {"a": 7_000_000, "b": 2_000_000, "c": 1_000_000}
VOCABULARY = 32_000
# A process for each round: the time includes the start of Python and the imports, as a user sees it.
MIX = """
import sys, time
from dataprep.tokens.shards.mixture import mix_shards
begin = time.perf_counter()
output, total, *sources = sys.argv[1:]
weights = dict(zip(sources, (0.5, 0.3, 0.2)))
mix_shards(weights, output, total=int(total))
print(time.perf_counter() - begin)
"""
OPEN = """
import sys
from dataprep.tokens.shards.reading import Shards
Shards.open(sys.argv[1], verify=False).document(0)
"""


def write_shards(folder: Path, documents: int) -> Path:
    """Write shards of documents of 4 to 12 tokens, as `tokenize` leaves them."""
    generator = np.random.default_rng(documents)
    lengths = generator.integers(4, 13, documents, dtype=np.uint32)
    ids = generator.integers(0, VOCABULARY, int(lengths.sum()), dtype=np.uint16)
    facts = {
        "key": f"{documents:064x}",
        "tokenizer": {"kind": "none", "fingerprint": "0" * 64, "vocab_size": VOCABULARY, "name": None},
        "chat_format": {"name": "chatml", "fingerprint": "1" * 64},
        "pad_id": 0,
        "inputs": [{"name": f"{folder.name}.jsonl", "rows": documents, "sha256": "2" * 64}],
        "options": {"pack": None, "seed": 42},
    }
    with open_buffer(folder, ids.dtype) as buffer:
        buffer.write(ids.tobytes())
        buffer.add(np.packbits(ids & 1).tobytes(), lengths, np.arange(documents))
        buffer.close()
        finish(buffer, whole(buffer.lengths), facts)
    return folder


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Mix ten million documents without repeats, and with."""
    del data  # only lengths matter
    sources = [str(write_shards(folder / name, count)) for name, count in DOCUMENTS.items()]
    output = folder / "mixture"

    def contender(name: str, code: str, *arguments: str, new: bool = True) -> Contender:
        command = [sys.executable, "-c", code, str(output), *arguments]
        return Contender(name, command, (output,) if new else ())

    contenders = [
        contender("mix, total of 5,000,000", MIX, "5000000", *sources),
        contender("mix, total of 10,000,000", MIX, "10000000", *sources),
        contender("open", OPEN, new=False),
    ]
    race(contenders, rounds)
    table("a mixture of shards of 10,000,000 documents", contenders, contenders[1].name)
    seconds = contenders[1].median
    shutil.rmtree(output)
    return claim("seconds of a new mixture of 10,000,000 documents", seconds, 2.0, at_least=False)
