"""``dataprep tokenize``: shards, packing and the teacher/student file, beside what one would pick instead."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks.measure import Contender, claim, race, repeat, table

TIMES = 10
DOCUMENTS = 100_000
PAIRS = 97_000


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Compare with datasets and transformers, TRL's packing, and one tensor a field."""
    met = _tokenize(data, folder, rounds)
    met &= _pack(folder, rounds)
    return met & _pairs(data, folder, rounds)


def _tokenize(data: Path, folder: Path, rounds: int) -> bool:
    chat, rows, shards = folder / "chat.jsonl", folder / "rows.jsonl", folder / "shards"
    convert = [sys.executable, "-m", "dataprep", "convert", "gsm8k", "-q", "-o", str(chat)]
    subprocess.run([*convert, str(data / "gsm8k" / "train.jsonl")], check=True)
    repeat(chat, rows, TIMES)
    model = data / "tokenizers" / "llama3.model"
    words = ["tokenize", str(rows), "-o", str(shards), "--tokenizer", str(model)]
    ours = [
        Contender(
            f"dataprep tokenize, workers: {workers}",
            [sys.executable, "-m", "dataprep", *words, "--workers", str(workers)],
            [shards],
        )
        for workers in (1, 2)
    ]
    theirs, cache = folder / "theirs", folder / "cache"
    command = [sys.executable, "-m", "benchmarks.token_rivals", "datasets_map", str(rows), str(theirs)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), "TOKENIZERS_PARALLELISM": "false"}
    mapped = Contender(
        "datasets.map + apply_chat_template, 2", [*command, str(model), str(cache)], [theirs, cache], offline
    )
    race(ours, rounds)
    race([mapped], max(1, rounds // 3))
    table("74,730 chat rows to ids and masks", [*ours, mapped], ours[1].name)
    same = [sys.executable, "-m", "benchmarks.token_rivals", "same_ids", str(shards), str(theirs)]
    equal = subprocess.run(same, check=False).returncode == 0
    print(f"\n- {'met  ' if equal else 'SHORT'} ids and masks are the same")
    claims = [
        equal,
        claim("datasets.map over dataprep", mapped.median / ours[1].median, 8, at_least=True),
        claim("peak MB of a process", max(each.peak for each in ours), 500, at_least=False),
    ]
    return all(claims)


def _pack(folder: Path, rounds: int) -> bool:
    lengths = folder / "lengths.npy"
    rivals = [sys.executable, "-m", "benchmarks.token_rivals"]
    fills = {}
    contenders = {}
    for count in (DOCUMENTS, 10 * DOCUMENTS):
        subprocess.run([*rivals, "draw_lengths", str(count), str(lengths)], check=True)
        for name in ("dataprep_pack", *(["trl_pack"] if count == DOCUMENTS else [])):
            print(f"  {name}, {count:,} documents …", file=sys.stderr)
            printed = [
                subprocess.run(
                    [*rivals, name, str(lengths), "2048"], check=True, capture_output=True, text=True
                ).stdout
                for _ in range(rounds)
            ]
            found = [re.findall(r"[\d.]+", text) for text in printed]
            contenders[name, count] = sorted(float(seconds) for seconds, _ in found)[len(found) // 2]
            fills[name, count] = float(found[0][1])
    theirs = "TRL's best fit decreasing" if find_spec("trl") else "a plain best fit decreasing (no TRL here)"
    print("\npacking into 2,048\n\n| | documents | seconds | filled |\n| --- | ---: | ---: | ---: |")
    for (name, count), seconds in contenders.items():
        shown = "dataprep" if name == "dataprep_pack" else theirs
        print(f"| {shown} | {count:,} | {seconds:.3f} | {fills[name, count]:.3%} |")
    print()
    ours, trl = ("dataprep_pack", DOCUMENTS), ("trl_pack", DOCUMENTS)
    claims = [
        claim(f"{theirs} over dataprep", contenders[trl] / contenders[ours], 1, at_least=True),
        claim(f"filled, dataprep over {theirs}", fills[ours] / fills[trl], 1, at_least=True),
        claim(
            "ten times the documents over ten times the time",
            contenders["dataprep_pack", 10 * DOCUMENTS] / (10 * contenders[ours]),
            1.1,
            at_least=False,
        ),
    ]
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
    rivals = [sys.executable, "-m", "benchmarks.token_rivals"]
    subprocess.run([*rivals, "fresh_tensors", str(ours), str(fresh)], check=True)
    timed = {}
    for name, path in (("views of one storage", ours), ("one tensor a field", fresh)):
        print(f"  load and save: {name} …", file=sys.stderr)
        command = [*rivals, "load_and_save", str(path), str(copy)]
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
