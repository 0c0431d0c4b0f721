"""Measure ``dataprep view``: how soon its first page is there, and how long turning a page takes.

The file is GSM8K's chat rows, repeated to 5 GB, or to 1.2 GB where the disk has no space for 5 GB.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import claim, repeat

LARGE, SMALL = 5_000_000_000, 1_200_000_000
TURNS = 300


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Open the file, turn pages while it is indexed and afterwards, and search all of it."""
    chat, large = folder / "chat.jsonl", folder / "large.jsonl"
    convert = [sys.executable, "-m", "dataprep", "convert", "gsm8k", "-q", "-o", str(chat)]
    subprocess.run([*convert, str(data / "gsm8k" / "train.jsonl")], check=True)
    wanted = LARGE if shutil.disk_usage(folder).free > 2 * LARGE else SMALL
    repeat(chat, large, -(-wanted // chat.stat().st_size))
    print(f"\nview of {large.stat().st_size / 1e9:.1f} GB\n")
    first: list[float] = []
    figures: dict[str, float] = {}
    for number in range(rounds):
        with _Page(large) as page:
            page.get("api/page?at=1")
            first.append(time.perf_counter() - page.begin)
            if not number:
                figures = _measured(page)
    large.unlink()
    print("| what | seconds |\n| --- | ---: |")
    for name, seconds in {"first page, from the command": statistics.median(first), **figures}.items():
        print(f"| {name} | {seconds:.3f} |")
    print()
    claims = [
        claim("seconds to the first page", statistics.median(first), 2, at_least=False),
        claim(
            "p95 of a turn while indexing, ms", figures["turn while indexing, p95"] * 1e3, 100, at_least=False
        ),
        claim("p95 of a turn, ms", figures["turn, p95"] * 1e3, 100, at_least=False),
    ]
    return all(claims)


def _measured(page: _Page) -> dict[str, float]:
    during: list[float] = []
    while True:
        state = page.get("api/files")[0]
        during.append(page.turn(state["lines"]))
        if state["complete"]:
            break
    indexed = time.perf_counter() - page.begin
    after = [page.turn(state["lines"]) for _ in range(TURNS)]
    begin, at = time.perf_counter(), 1
    while at is not None:
        at = page.get(f"api/find?text=not+in+the+file&at={at}")["next"]
    figures = {"indexed": indexed, "search of the whole file": time.perf_counter() - begin}
    for name, turns in (("turn while indexing", during), ("turn", after)):
        turns.sort()
        figures |= {f"{name}, p50": statistics.median(turns), f"{name}, p95": turns[int(0.95 * len(turns))]}
    return figures


class _Page:
    """The page of a file, in a process of its own."""

    def __init__(self, path: Path) -> None:
        self.begin = time.perf_counter()
        command = [sys.executable, "-m", "dataprep", "view", str(path), "--no-open"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> _Page:
        assert self._process.stderr is not None
        found = re.search(r"http://([\d.:]+)(/\S+)", self._process.stderr.readline())
        assert found is not None
        self._connection, self._base = http.client.HTTPConnection(found[1]), found[2]
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.send_signal(signal.SIGINT)
        self._process.communicate()

    def get(self, path: str) -> Any:
        """Return an answer of the page."""
        self._connection.request("GET", self._base + path)
        return json.loads(self._connection.getresponse().read())

    def turn(self, rows: int) -> float:
        """Show a row of the first ``rows`` and the list around it; return the seconds."""
        number = random.randint(1, max(rows, 1))
        begin = time.perf_counter()
        self.get(f"api/page?at={number}")
        self.get(f"api/row?number={number}")
        return time.perf_counter() - begin
