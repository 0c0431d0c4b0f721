"""Measure ``dataprep tokenize``: shards, packing and the teacher/student file, against other tools."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from benchmarks.measure import Contender, claim, race, repeat, table

TIMES = 10
LARGE = 1_000_000_000  # bytes
DOCUMENTS = 100_000
SIZE = 2048  # tokens of a packed sequence
PAIRS = 97_000

RIVALS = [sys.executable, "-m", "benchmarks.token_rivals"]
PACKERS = {
    "dataprep_pack": "dataprep",
    "trl_pack": "TRL's best fit decreasing",
    "trl_pack_dataset": "TRL's pack_dataset, 1,000 at a time",
}


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Compare with datasets and transformers, TRL's packing, and one tensor per field."""
    met = _tokenize(data, folder, rounds)
    met &= _pack(folder, rounds)
    return met & _pairs(data, folder, rounds)


def _tokenize(data: Path, folder: Path, rounds: int) -> bool:
    rows, varied = _rows(data, folder)
    model = data / "tokenizers" / "llama3.model"
    shards, theirs, cache = folder / "shards", folder / "theirs", folder / "cache"
    one, other = _ours("workers: 1", rows, shards, model, 1), _ours("no text twice", varied, shards, model, 2)
    ours = _ours("workers: 2", rows, shards, model, 2)
    command = [*RIVALS, "datasets_map", str(rows), str(theirs), str(model), str(cache)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), "TOKENIZERS_PARALLELISM": "false"}
    mapped = Contender("datasets.map + apply_chat_template, 2", command, [theirs, cache], offline)
    race([one, other, ours], rounds)
    race([mapped], max(1, rounds // 3))
    table("74,730 chat rows to ids and masks", [one, other, ours, mapped], ours.name)
    same = subprocess.run([*RIVALS, "same_ids", str(shards), str(theirs)], check=False)
    equal = same.returncode == 0
    print(f"\n- {'met  ' if equal else 'SHORT'} ids and masks are the same")
    claims = [
        equal,
        claim("datasets.map over dataprep", mapped.median / ours.median, 8, at_least=True),
        claim("peak MB of a process", max(one.peak, ours.peak), 500, at_least=False),
        _large(folder, varied, model),
    ]
    return all(claims)


def _rows(data: Path, folder: Path) -> tuple[Path, Path]:
    """Write GSM8K's train split ten times as chat rows, and as many rows in which no text occurs twice."""
    chat, rows, varied = (folder / name for name in ("chat.jsonl", "rows.jsonl", "varied.jsonl"))
    convert = [sys.executable, "-m", "dataprep", "convert", "gsm8k", "-q", "-o", str(chat)]
    subprocess.run([*convert, str(data / "gsm8k" / "train.jsonl")], check=True)
    repeat(chat, rows, TIMES)
    subprocess.run([*RIVALS, "vary", str(chat), str(varied), str(TIMES)], check=True)
    return rows, varied


def _large(folder: Path, rows: Path, model: Path) -> bool:
    """Check that a large file needs no more memory than the limit for a small one."""
    source = folder / "large.jsonl"
    repeat(rows, source, -(-LARGE // rows.stat().st_size))
    contender = _ours(f"{source.stat().st_size / 1e9:.2f} GB", source, folder / "shards", model, 2)
    race([contender], 1)
    source.unlink()
    table("a large file", [contender], contender.name)
    print()
    return claim("peak MB of a process", contender.peak, 500, at_least=False)


def _ours(name: str, rows: Path, shards: Path, model: Path, workers: int) -> Contender:
    words = ["tokenize", str(rows), "-o", str(shards), "--tokenizer", str(model), "--workers", str(workers)]
    return Contender(f"dataprep tokenize, {name}", [sys.executable, "-m", "dataprep", *words], [shards])


def _pack(folder: Path, rounds: int) -> bool:
    lengths = folder / "lengths.npy"
    theirs = ["trl_pack", "trl_pack_dataset"] if find_spec("trl") else []
    measured: dict[tuple[str, int], tuple[float, float]] = {}
    for count in (DOCUMENTS, 10 * DOCUMENTS):
        subprocess.run([*RIVALS, "draw_lengths", str(count), str(lengths)], check=True)
        for name in ("dataprep_pack", *(theirs if count == DOCUMENTS else [])):
            print(f"  {name}, {count:,} documents …", file=sys.stderr)
            command = [*RIVALS, name, str(lengths), str(SIZE)]
            runs = [
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
                for _ in range(rounds)
            ]
            measured[name, count] = median(float(each[0]) for each in runs), float(runs[0][1])
    print(f"\npacking into {SIZE:,}\n\n| | documents | seconds | filled |\n| --- | ---: | ---: | ---: |")
    for (name, count), (seconds, fill) in measured.items():
        print(f"| {PACKERS[name]} | {count:,} | {seconds:.3f} | {fill:.3%} |")
    print()
    seconds, fill = measured["dataprep_pack", DOCUMENTS]
    claims = [bool(theirs)]
    if not theirs:
        print("- SHORT TRL is not here to be compared with: pip install 'dataprep[bench]'")
    for name in theirs:
        their_seconds, their_fill = measured[name, DOCUMENTS]
        claims += [
            claim(f"{PACKERS[name]} over dataprep", their_seconds / seconds, 1, at_least=True),
            claim(f"filled, dataprep over {PACKERS[name]}", fill / their_fill, 1, at_least=True),
        ]
    more = measured["dataprep_pack", 10 * DOCUMENTS][0] / (10 * seconds)
    claims.append(claim("ten times the documents over ten times the time", more, 1.1, at_least=False))
    return all(claims)


def _pairs(data: Path, folder: Path, rounds: int) -> bool:
    rows, model = folder / "aqua.jsonl", str(data / "tokenizers" / "llama3.model")
    lines = b"".join((data / "aqua_rat" / f"{split}.json").read_bytes() for split in ("dev", "test"))
    every = lines.splitlines(keepends=True)
    with rows.open("wb") as out:
        for number in range(PAIRS):
            out.write(every[number % len(every)])
    ours, fresh, copy = folder / "ours.pt", folder / "fresh.pt", folder / "copy.pt"
    flags = [
        "--dataset",
        "aqua_rat",
        "--student",
        model,
        "--teacher",
        f"a={model}",
        "--teacher",
        f"b={model}",
    ]
    make = Contender(
        "dataprep tokenize --student",
        [sys.executable, "-m", "dataprep", "tokenize", str(rows), "-o", str(ours), *flags],
        [ours],
    )
    race([make], rounds)
    subprocess.run([*RIVALS, "fresh_tensors", str(ours), str(fresh)], check=True)
    timed = {}
    for name, path in (("views of one storage", ours), ("one tensor a field", fresh)):
        print(f"  load and save: {name} …", file=sys.stderr)
        command = [*RIVALS, "load_and_save", str(path), str(copy)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        timed[name] = [float(each) for each in printed.split()]
    table("97,000 rows, three tokenizers", [make], make.name)
    print("\n| | load, s | save, s | MB |\n| --- | ---: | ---: | ---: |")
    for name, path in (("views of one storage", ours), ("one tensor a field", fresh)):
        print(f"| {name} | {timed[name][0]:.1f} | {timed[name][1]:.1f} | {path.stat().st_size / 1e6:.0f} |")
    print()
    (load, save), (slow_load, slow_save) = timed.values()
    claims = [
        claim(
            "size over one tensor a field", ours.stat().st_size / fresh.stat().st_size, 0.5, at_least=False
        ),
        claim("load over one tensor a field", load / slow_load, 1, at_least=False),
        claim("save over one tensor a field", save / slow_save, 1, at_least=False),
        claim("peak MB of tokenize", make.peak, 2000, at_least=False),
    ]
    return all(claims)
