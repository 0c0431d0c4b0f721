"""Measure mixtures: of token shards of ten million documents, and of files of rows against a short script."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.measure import Contender, claim, race, repeat, table
from dataprep.tokens.shards.packing import pack, whole
from dataprep.tokens.shards.writing import finish, open_buffer

DOCUMENTS = {"a": 7_000_000, "b": 2_000_000, "c": 1_000_000}
VOCABULARY = 32_000
LENGTH = 2048  # of packed sequences
SIZE = 125_000_000  # of each file of rows
OURS = [sys.executable, "-m", "dataprep", "mix", "-q"]
WRITE = """
import sys
from pathlib import Path
from benchmarks.mix import DOCUMENTS, write_shards
folder, kind, size = sys.argv[1:]
for name, count in DOCUMENTS.items():
    write_shards(Path(folder) / f"{name}-{kind}", count, int(size))
"""
OPEN = """
import sys
from dataprep.tokens.shards.reading import Shards
Shards.open(sys.argv[1], verify=False).document(0)
"""
# As a careful person writes it: exact shares, no row twice. It holds all rows, checks none of them, and
# takes the order of Python's generator.
SCRIPT = """
import random, sys
output, total = sys.argv[1], int(sys.argv[2])
random.seed(42)
rows = []
for path, share in zip(sys.argv[3:], (0.7, 0.3)):
    with open(path, "rb") as file:
        rows += random.sample(file.readlines(), round(share * total))
random.shuffle(rows)
with open(output, "wb") as out:
    out.writelines(rows)
"""


def write_shards(folder: Path, documents: int, size: int) -> None:
    """Write shards of documents of 4 to 12 tokens, as `tokenize` leaves them, packed if ``size`` is not 0."""
    generator = np.random.default_rng(documents)
    lengths = generator.integers(4, 13, documents, dtype=np.uint32)
    ids = generator.integers(0, VOCABULARY, int(lengths.sum()), dtype=np.uint16)
    facts = {
        "key": f"{documents:064x}",
        "tokenizer": {"kind": "none", "fingerprint": "0" * 64, "vocab_size": VOCABULARY, "name": None},
        "chat_format": {"name": "chatml", "fingerprint": "1" * 64},
        "pad_id": 0,
        "inputs": [{"name": f"{folder.name}.jsonl", "rows": documents, "sha256": "2" * 64}],
        "options": {"pack": size or None, "seed": 42},
    }
    with open_buffer(folder, ids.dtype) as buffer:
        buffer.write(ids.tobytes())
        buffer.add(np.packbits(ids & 1).tobytes(), lengths, np.arange(documents))
        buffer.close()
        finish(buffer, pack(buffer.lengths, size) if size else whole(buffer.lengths), facts)


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Mix shards, whole and packed, and files of rows."""
    return all([_shards(folder, rounds), _files(data, folder, rounds)])


def _shards(folder: Path, rounds: int) -> bool:
    """Mix ten million documents; a command's time has the start of Python in it, and the manifest."""
    output, contenders = folder / "mixture", []
    for kind, size in (("whole", 0), ("packed", LENGTH)):
        # In a process of its own, because others start with the peak memory of their parent.
        subprocess.run([sys.executable, "-c", WRITE, str(folder), kind, str(size)], check=True)
        shares = zip(DOCUMENTS, (0.5, 0.3, 0.2), strict=True)
        sources = [f"{folder / f'{name}-{kind}'}={share}" for name, share in shares]
        words = [*OURS, *sources, "--repeat-at-most", "2", "-o", str(output), "--total"]
        for total in (5_000_000, 10_000_000):
            name = f"mix of {kind} shards, {total:,}"
            contenders.append(Contender(name, [*words, str(total)], (output,)))
    contenders.append(Contender("open", [sys.executable, "-c", OPEN, str(output)]))
    race(contenders, rounds)
    table("a mixture of shards of 10,000,000 documents", contenders, contenders[1].name)
    shutil.rmtree(output)
    limits = [(each.name, each.median) for each in (contenders[1], contenders[3])]
    return min([claim(f"seconds of {name}", seconds, 2.0, at_least=False) for name, seconds in limits])


def _files(data: Path, folder: Path, rounds: int) -> bool:
    """Mix two files of chat rows of GSM8K, on one process and on two."""
    paths = []
    for split in ("train", "test"):
        chat, large = folder / f"{split}.jsonl", folder / f"{split}-large.jsonl"
        convert = [sys.executable, "-m", "dataprep", "convert", "gsm8k", "-q", "-o", str(chat)]
        subprocess.run([*convert, str(data / "gsm8k" / f"{split}.jsonl")], check=True)
        repeat(chat, large, -(-SIZE // chat.stat().st_size))
        paths.append(str(large))
    ours, script = folder / "mixed.jsonl", folder / "script.jsonl"
    with Path(paths[0]).open("rb") as file:
        total = sum(1 for _ in file)
    words = [*OURS, f"{paths[0]}=0.7", f"{paths[1]}=0.3", "--total", str(total), "-o", str(ours), "--workers"]
    contenders = [
        Contender(
            "script with random.sample",
            [sys.executable, "-c", SCRIPT, str(script), str(total), *paths],
            (script,),
        ),
        *(Contender(f"mix --workers {n}", [*words, str(n)], (ours,)) for n in (1, 2)),
    ]
    race(contenders, rounds)
    table(f"a mixture of two files of {SIZE / 1e6:.0f} MB", contenders, contenders[0].name)
    ratio = contenders[1].median / contenders[0].median
    return claim("mix --workers 1 over the script", ratio, 2.0, at_least=False)
