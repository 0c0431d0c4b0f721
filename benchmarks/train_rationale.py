"""Compare the objective `rationale` with three padded passes of plain `transformers`, on t5-small's shape.

Both take the same steps on the same rows of arc, all of whose rationales with a text are kept: forward,
backward and AdamW, without dropout, so that the losses can be compared. ``python -m
benchmarks.train_rationale ours|plain ROWS TOKENIZER BATCH`` takes them and prints seconds and losses.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import claim

STEPS = 3
BATCHES = (8, 32)
VOCABULARY = 32128
KEPT = ("ok", "answer_mismatch", "no_answer", "runaway", "truncated")


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Let both contenders take turns, and compare seconds and losses."""
    rows, tokenizer = folder / "arc.jsonl", folder / "arc.model"
    arc = data / "tinyllm" / "arc"
    files = sorted(map(str, (arc / "llm").glob("train_CoT_*.json")))
    own = [sys.executable, "-m", "dataprep"]
    gold = ["--gold", str(arc / "arc_train.json"), "-q", "-o", str(rows)]
    subprocess.run([*own, "parse-rationales", *files, *gold], check=True)
    _make_tokenizer(rows, tokenizer)
    met = True
    print("\nrationale: t5-small's shape, arc rows\n")
    print("| rows a batch | three padded passes, s a step | dataprep | × | loss apart |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for batch in BATCHES:
        found: dict[str, list[dict[str, Any]]] = {"plain": [], "ours": []}
        for _ in range(rounds):
            for name, runs in found.items():
                words = [sys.executable, "-m", "benchmarks.train_rationale", name, rows, tokenizer, batch]
                done = subprocess.run([str(each) for each in words], check=True, capture_output=True)
                runs.append(json.loads(done.stdout.splitlines()[-1]))
        seconds = {name: statistics.median(run["seconds"] for run in runs) for name, runs in found.items()}
        apart = abs(found["plain"][0]["losses"][0] - found["ours"][0]["losses"][0])
        ratio = seconds["plain"] / seconds["ours"]
        print(f"| {batch} | {seconds['plain']:.2f} | {seconds['ours']:.2f} | {ratio:.2f} | {apart:.1e} |")
        met &= claim(f"faster at {batch} rows a batch", ratio, 2, at_least=True)
        met &= claim("losses apart", apart, 1e-3, at_least=False)
    return met


def _make_tokenizer(rows: Path, tokenizer: Path) -> None:
    from dataprep.tokens.tokenizers.training import texts_of_files, train_tokenizer

    tokenizer.write_bytes(train_tokenizer(texts_of_files([str(rows)]), 32000, shrink=True))


def _model() -> Any:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8}
    return T5ForConditionalGeneration(
        T5Config(vocab_size=VOCABULARY, decoder_start_token_id=0, dropout_rate=0.0, **sizes)
    )


def _plain(model: Any, pieces: Any) -> Callable[[list[int]], Any]:
    """Return a loss of three forward passes, each padded to its longest text."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    def loss(items: list[int]) -> Any:
        total: Any = 0.0
        for part in range(3):
            some = [piece for item in items for piece in pieces.items[item] if piece.part == part]
            asked = [torch.from_numpy(piece.prompt).long() for piece in some]
            said = [torch.from_numpy(piece.target).long() for piece in some]
            ids = pad_sequence(asked, batch_first=True)
            mask = pad_sequence([torch.ones_like(each) for each in asked], batch_first=True)
            labels = pad_sequence(said, batch_first=True, padding_value=-100)
            total = total + model(input_ids=ids, attention_mask=mask, labels=labels).loss
        return total

    return loss


def _ours(model: Any, pieces: Any) -> Callable[[list[int]], Any]:
    """Return the objective's loss, of one pass."""
    from dataprep.train.layers.encoder_decoder import pairs_for
    from dataprep.train.objectives.rationale import part_sums

    losses = pairs_for(model, 0)

    def loss(items: list[int]) -> Any:
        batch = pieces.batch(items)
        sums = part_sums(pieces.parts, losses, model, batch.tensors)
        return sum(value / batch.counts[name] for name, value in sums.items())

    return loss


def _take_steps(name: str, rows: str, tokenizer: str, size: int) -> dict[str, Any]:
    """Return seconds per step and losses; the first step, with two rows, is not timed."""
    import torch

    from dataprep.core.sampling import shuffled_order
    from dataprep.tokens.tokenizers.loading import load_tokenizer
    from dataprep.train.objectives.rationale_data import ANSWER, PairTaskEncoder, encode_tasks, read_rows

    found = read_rows([rows], KEPT)
    words = load_tokenizer(tokenizer)
    encoder = PairTaskEncoder(words, words.special("</s>"), 0, None, "error")
    pieces = encode_tasks(found, dict.fromkeys((ANSWER, *found.teachers), 1.0), encoder)
    whole = [item for item in map(int, shuffled_order(len(pieces), 1)) if len(pieces.items[item]) == 3]
    model = _model()
    loss_of = (_plain if name == "plain" else _ours)(model, pieces)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    losses, begin = [], 0.0
    for step in range(STEPS + 1):
        items = whole[step * size : (step + 1) * size] if step else whole[-2:]
        begin = time.perf_counter() if step == 1 else begin
        loss = loss_of(items)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return {"seconds": (time.perf_counter() - begin) / STEPS, "losses": losses}


if __name__ == "__main__":
    contender, source, words, rows_a_batch = sys.argv[1:]
    print(json.dumps(_take_steps(contender, source, words, int(rows_a_batch))))
