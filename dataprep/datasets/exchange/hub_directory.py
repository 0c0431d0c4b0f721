"""Write a dataset directory that ``datasets.load_dataset(DIR)`` and an upload to the hub take.

It has a card (``README.md``) with the columns, their types and the sizes of the splits, and one Parquet file
per split in ``data/``. The directory appears when everything in it is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core import provenance
from dataprep.core.errors import FileError, RowError, UsageError
from dataprep.core.io import new_folder, parquet_schema, write_parquet
from dataprep.core.markup import code_of, plain_of, yaml_of
from dataprep.datasets.exchange.rewriting import Exchange, Rewriter, check_paths, rewrite

_SPLIT = re.compile(r"\w+(?:\.\w+)*")  # the names that `datasets` accepts
_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}
_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
)
_TEXT_COLUMNS = ("tools", "chat_template_kwargs")


def splits_of(inputs: Iterable[str | Path]) -> dict[str, list[str]]:
    """Return the files of each split, given as ``NAME=FILE`` or by a word such as train in a file's name."""
    texts = [str(path) for path in inputs]
    splits: dict[str, list[str]] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or files.is_url(text) or Path(text).exists():
            name, path = _split_in(text, alone=len(texts) == 1), text
        if name == "all":  # `datasets` has it for all splits together, and loads no split of that name
            raise UsageError(f"{text}: a split cannot be named 'all'; give another name as NAME=FILE")
        if not _SPLIT.fullmatch(name):
            raise UsageError(f"{text}: {name!r} is not a split's name; expected letters, digits and _")
        splits.setdefault(name, []).append(path)
    return splits


def _split_in(path: str, alone: bool) -> str:
    stem = files.name_of(path).partition(".")[0]
    words = re.split(r"[^a-z]+", stem.lower())
    known = [_WORDS[word] for word in words if word in _WORDS]
    if known or alone or path == files.STDIO:
        return known[0] if known else "train"
    return re.sub(r"\W", "_", stem)


def export_directory(
    make: Callable[[], Rewriter],
    format: str,
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    workers: int | None,
    rejects: str | Path | files.Rejects | None,
    progress: engine.Progress | None,
) -> Exchange:
    """Write the rows of each split into a new directory; see ``files.export_files``."""
    splits = splits_of(inputs)
    check_paths([path for paths in splits.values() for path in paths], output, rejects)
    files.check_local(output, f"--to {format}")
    target = Path(output) if Path(output).name else Path(output).resolve()  # `.` has no name
    if str(output) == files.STDIO or target.is_file():
        raise UsageError(f"--to {format} writes a directory: give -o DIR")
    if target.is_dir() and any(target.iterdir()):
        raise FileError(target, "the directory is not empty; give a new one, or remove it")
    result = Exchange(format)
    with (
        files.open_rejects(rejects) as bad,
        files.writing(str(target)),
        new_folder(target, 0o777) as folder,
    ):
        (folder / "data").mkdir()
        rows: dict[str, int] = {}
        for name, paths in splits.items():
            before = result.ledger.rows_out
            blocks = chain.from_iterable(map(files.read_row_blocks, paths))
            spool = str(folder / f"{name}.jsonl")
            rewrite(make(), result, paths, blocks, spool, workers, bad, progress)
            rows[name] = result.ledger.rows_out - before
        empty = [name for name, count in rows.items() if not count]
        if empty:
            raise FileError(target, f"cannot be written: the split {empty[0]} has no rows")
        card = _write_tables(target, folder, rows)
        (folder / "README.md").write_text(card, encoding="utf-8")
        folder.replace(target)
    provenance.wrote(target, rows=sum(rows.values()))
    result.files = [str(target / "README.md"), *(str(target / _table(name)) for name in rows)]
    return result


def _table(split: str) -> str:
    return f"data/{split}-00000-of-00001.parquet"


def _write_tables(target: Path, folder: Path, rows: dict[str, int]) -> str:
    """Write the Parquet files of the splits, and return the card."""
    spools = {name: folder / f"{name}.jsonl" for name in rows}
    try:
        # All splits have the same columns, as `datasets` requires.
        schema = parquet_schema(spools.values())
        sizes = {name: spool.stat().st_size for name, spool in spools.items()}
        for name, spool in spools.items():
            with (folder / _table(name)).open("wb") as out:
                write_parquet(spool, out, schema)
            spool.unlink()
    except RowError as error:
        raise FileError(target, f"cannot be written: {error}") from None
    stored = sum((folder / _table(name)).stat().st_size for name in rows)
    return card_of(target.name, schema, rows, sizes, stored)


def card_of(title: str, schema: Any, rows: dict[str, int], sizes: dict[str, int], stored: int) -> str:
    """Return the card of a dataset.

    Args:
        title: its name.
        schema: the columns, as polars has them.
        rows: the number of rows by split.
        sizes: bytes of the rows as JSON Lines, by split.
        stored: bytes of the Parquet files.
    """
    total = sum(rows.values())
    header = {
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": name, "path": f"data/{name}-*"} for name in rows],
            }
        ],
        "dataset_info": {
            "features": [{"name": name, **_feature(dtype)} for name, dtype in schema.items()],
            "splits": [
                {"name": name, "num_bytes": sizes[name], "num_examples": count}
                for name, count in rows.items()
            ],
            "download_size": stored,
            "dataset_size": sum(sizes.values()),
        },
        "size_categories": [size_category(total)],
        "task_categories": ["text-generation"],
        "tags": ["chat"],
    }
    splits = "\n".join(f"| {code_of(name)} | {count:,} |" for name, count in rows.items())
    columns = "\n".join(f"| {code_of(name)} | {_meaning(name, dtype)} |" for name, dtype in schema.items())
    return f"""---
{yaml_of(header)}---

# {plain_of(title)}

| split | rows |
| --- | ---: |
{splits}

| column | values |
| --- | --- |
{columns}

Load it with `datasets.load_dataset(DIRECTORY)`. JSON text, also the arguments of tool calls, is an object or
a list in each row: `json.loads` reads it. Fields that a message does not have are null.
"""


def size_category(rows: int) -> str:
    """Return the hub's word for a number of rows."""
    return next((word for limit, word in _SIZES if rows < limit), "n>10M")


def _meaning(name: str, dtype: Any) -> str:
    if name in _TEXT_COLUMNS:
        return "JSON text"
    return str(_feature(dtype).get("dtype", "messages" if "list" in _feature(dtype) else "object"))


def _feature(dtype: Any) -> dict[str, Any]:
    """Return the type of a polars column as the card of a dataset has it."""
    import polars as pl

    if isinstance(dtype, pl.Struct):
        return {"struct": [{"name": item.name, **_feature(item.dtype)} for item in dtype.fields]}
    if isinstance(dtype, pl.List):
        inner = _feature(dtype.inner)
        return {"list": inner.get("dtype") or inner.get("struct") or inner}
    # The type of a field in a struct is a class, and that of a column an object; `==` takes both.
    names = ((pl.String, "string"), (pl.Boolean, "bool"), (pl.Null, "null"))
    return {"dtype": next((name for known, name in names if dtype == known), str(dtype).lower())}
