"""Do the work of ``dataprep tokenize`` with other tools, and time its parts alone.

``python -m benchmarks.token_rivals NAME ARGUMENTS…``. The template is Llama 3's own, with generation markers.
"""

from __future__ import annotations

import random
import re
import sys
import time
from pathlib import Path
from typing import Any

import orjson

TEMPLATE = (
    "{{ '<|begin_of_text|>' }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}"
    "{{ message['content'] + '<|eot_id|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|eot_id|>' }}{% endif %}{% endfor %}"
)


def llama3(model: str) -> Any:
    """Return the tokenizer of ``transformers`` for Llama 3's rank file."""
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    names = ["<|begin_of_text|>", "<|end_of_text|>"]
    names += [f"<|reserved_special_token_{number}|>" for number in range(4)]
    names += ["<|start_header_id|>", "<|end_header_id|>", "<|reserved_special_token_4|>", "<|eot_id|>"]
    names += [f"<|reserved_special_token_{number}|>" for number in range(5, 251)]
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    convert: Any = TikTokenConverter
    made = convert(vocab_file=model, pattern=pattern, extra_special_tokens=names).converted()
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=made)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def vary(source: str, target: str, times: str) -> None:
    """Write chat rows several times with other numbers and words, so that no text occurs twice."""
    pick = random.Random(0)
    rows = [orjson.loads(line) for line in Path(source).read_bytes().splitlines()]
    contents = [message["content"] for row in rows for message in row["messages"]]
    words = sorted(set(re.findall(r"[a-z]{3,}", " ".join(contents))))

    def other(match: re.Match[str]) -> str:
        word = match.group()
        if word.isdigit():
            return str(pick.randrange(10 ** len(word)))
        return pick.choice(words) if pick.random() < 0.1 else word

    with open(target, "wb") as out:
        for _ in range(int(times)):
            for row in rows:
                messages = [
                    message | {"content": re.sub(r"[a-z]{3,}|\d+", other, message["content"])}
                    if message["role"] != "system"
                    else message
                    for message in row["messages"]
                ]
                out.write(orjson.dumps({"messages": messages}, option=orjson.OPT_APPEND_NEWLINE))


def datasets_map(source: str, target: str, model: str, cache: str) -> None:
    """Tokenize with a map of ``apply_chat_template`` with assistant masks, on two processes."""
    import datasets

    tokenizer = llama3(model)

    def encode(batch: dict[str, Any]) -> dict[str, Any]:
        done = tokenizer.apply_chat_template(
            batch["messages"], return_dict=True, return_assistant_tokens_mask=True
        )
        return {"ids": done["input_ids"], "mask": done["assistant_masks"]}

    rows = datasets.load_dataset("json", data_files=source, split="train", cache_dir=cache)
    rows = rows.map(encode, batched=True, num_proc=2, remove_columns=rows.column_names)
    rows.save_to_disk(target)


def same_ids(shards: str, theirs: str) -> None:
    """Exit with 1 unless both have the same ids and masks."""
    import datasets

    from dataprep.tokens.shards.reading import Shards

    ours = Shards.open(shards)
    others = datasets.load_from_disk(theirs).with_format("numpy")
    if len(ours) != len(others):
        sys.exit(f"found {len(ours)} documents and {len(others)}")
    for number, ((ids, mask), other) in enumerate(zip(ours, others, strict=True)):
        if ids.tolist() != other["ids"].tolist() or mask.tolist() != other["mask"].astype(bool).tolist():
            sys.exit(f"document {number} differs")


def apply_template(source: str, target: str, model: str, template: str) -> None:
    """Write the ids of ``apply_chat_template`` for rows with reasoning and tools, one row after the other."""
    import numpy as np

    tokenizer = llama3(model)
    tokenizer.chat_template = Path(template).read_text("utf-8")
    with open(source, "rb") as rows, open(target, "wb") as out:
        for line in rows:
            row = orjson.loads(line)
            ids = tokenizer.apply_chat_template(row["messages"], tools=row.get("tools"))["input_ids"]
            out.write(np.array([len(ids), *ids], dtype="<u4").tobytes())


def same_template_ids(shards: str, theirs: str) -> None:
    """Exit with 1 unless shards hold the ids of ``apply_template``."""
    import numpy as np

    from dataprep.tokens.shards.reading import Shards

    ours, ids, at = Shards.open(shards), np.fromfile(theirs, dtype="<u4"), 0
    for number in range(len(ours)):
        end = at + 1 + int(ids[at])
        if ours.document(number)[0].tolist() != ids[at + 1 : end].tolist():
            sys.exit(f"document {number} differs")
        at = end
    if at != ids.size:
        sys.exit("the numbers of documents differ")


def draw_lengths(count: str, target: str) -> None:
    """Draw document lengths like those of instruction datasets: most a few hundred tokens, some many."""
    import numpy as np

    drawn = np.random.default_rng(0).lognormal(5.5, 0.9, int(count))
    np.save(target, np.clip(drawn, 16, 2048).astype(np.int64))


def dataprep_pack(lengths: str, size: str) -> None:
    """Print seconds and fill of ``pack``."""
    import numpy as np

    from dataprep.tokens.shards.packing import pack

    loaded = np.load(lengths)
    begin = time.perf_counter()
    packed = pack(loaded, int(size))
    print(time.perf_counter() - begin, packed.fill)


def trl_pack(lengths: str, size: str) -> None:
    """Print seconds and fill of TRL's best fit decreasing, of all documents together.

    TRL also moves the tokens. They have one byte here, so that the time is mostly that of the packing.
    """
    from trl.data_utils import _pack_bfd

    documents, tokens = _documents(lengths)
    begin = time.perf_counter()
    count = len(_pack_bfd(documents, int(size)))
    print(time.perf_counter() - begin, tokens / (count * int(size)))


def trl_pack_dataset(lengths: str, size: str) -> None:
    """Print seconds and fill of TRL's packing as its trainer calls it, 1,000 documents at a time."""
    import datasets
    from trl import pack_dataset

    documents, tokens = _documents(lengths)
    rows = datasets.Dataset(documents)
    datasets.disable_progress_bars()
    begin = time.perf_counter()
    count = len(pack_dataset(rows, int(size), strategy="bfd"))
    print(time.perf_counter() - begin, tokens / (count * int(size)))


def _documents(lengths: str) -> tuple[Any, int]:
    """Return documents of these lengths as TRL reads them, and their number of tokens."""
    import numpy as np
    import pyarrow as pa

    ends = np.concatenate([[0], np.cumsum(np.load(lengths))]).astype(np.int32)
    ids = pa.ListArray.from_arrays(pa.array(ends), pa.array(np.zeros(ends[-1], dtype=np.int8)))
    return pa.table({"input_ids": ids}), int(ends[-1])


def fresh_tensors(source: str, target: str) -> None:
    """Write the same teacher/student file with a separate tensor for each field."""
    import torch

    def fresh(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {name: value if isinstance(value, int) else value.clone() for name, value in entry.items()}
            for entry in entries
        ]

    content = torch.load(source)
    teachers = {name: fresh(entries) for name, entries in content["teacher_inputs"].items()}
    torch.save({"student_inputs": fresh(content["student_inputs"]), "teacher_inputs": teachers}, target)


def load_and_save(source: str, target: str) -> None:
    """Print the seconds that loading and saving take."""
    import torch

    begin = time.perf_counter()
    content = torch.load(source)
    loaded = time.perf_counter()
    torch.save(content, target)
    print(loaded - begin, time.perf_counter() - loaded)
    Path(target).unlink()


NAMES = {
    each.__name__: each
    for each in (
        datasets_map,
        apply_template,
        same_template_ids,
        same_ids,
        draw_lengths,
        dataprep_pack,
        trl_pack,
        trl_pack_dataset,
        vary,
        fresh_tensors,
        load_and_save,
    )
}

if __name__ == "__main__":
    NAMES[sys.argv[1]](*sys.argv[2:])
