"""Fixtures of the commands that clean rows."""

import orjson
import pytest

from dataprep.core.io.part_files import CHUNK_VARIABLE
from tests.curate.engine_data import made_rows


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of files, which is the working directory; chunks are so small that a few rows have many."""
    monkeypatch.setenv(CHUNK_VARIABLE, "3000")
    folder = tmp_path / "data"
    folder.mkdir()
    made = {
        name: [*made_rows(count, count)] for name, count in (("a", 300), ("b", 200), ("x", 60), ("t", 20))
    }
    made["x"] += made["a"][::5]
    made["t"] += made["b"][::40]
    for name, some in made.items():
        lines = [orjson.dumps(row) + b"\n" for row in some]
        for place in range(0, len(lines), 50):
            lines[place] += b"\n  \n"  # blank lines
        (folder / f"{name}.jsonl").write_bytes(b"".join(lines))
    lines = (folder / "a.jsonl").read_bytes().splitlines(keepends=True)
    for place in (40, 41, 200, 290):
        lines[place] = b"{bad\n" if place % 2 else b'{"question": "", "text": "one"}\n'
    (folder / "bad.jsonl").write_bytes(b"".join(lines))
    (folder / "copy.jsonl").write_bytes((folder / "a.jsonl").read_bytes().upper())
    (folder / "empty.jsonl").write_bytes(b"\n" * 10_000)
    (folder / "c.json").write_bytes(orjson.dumps([*made_rows(5, 100)]))
    monkeypatch.chdir(folder)
    return folder
