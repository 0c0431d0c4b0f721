"""``dataprep merge``."""

from __future__ import annotations

from typing import Any

from dataprep.cli.console import Summary
from dataprep.cli.options import AsJson, InWorkspace, Output, Quiet, Rejects, Seed, Workers, argument, flag
from dataprep.cli.progress import bytes_bar
from dataprep.core.errors import UsageError, WorkspaceError
from dataprep.core.options import parse_size


def command(
    inputs: list[str] | None = argument(
        None, "Files, folders of *.jsonl, or - for standard input.", "[INPUT]..."
    ),
    output: Output = None,
    seed: Seed = 42,
    no_shuffle: bool = flag(False, "Keep the input order.", "--no-shuffle"),
    no_check: bool = flag(False, "Do not check that lines are JSON objects.", "--no-check"),
    memory: str = flag("2G", "Larger inputs go through the disk, in the same order.", "SIZE"),
    workers: Workers = None,
    rejects: Rejects = None,
    workspace: InWorkspace = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Merge and shuffle files of rows, reproducibly.

    The output has the order of Python's random.seed(SEED); random.shuffle(rows) over the rows of all files,
    sorted by path. Rows keep their bytes. Without INPUT, pre_datasets/train/*.jsonl becomes
    mergedata/train.jsonl, and pre_datasets/test/*.jsonl becomes mergedata/test.jsonl.

    \b
    Examples:
      dataprep merge --seed 42
      dataprep merge a.jsonl b.jsonl.gz -o merged.jsonl
      dataprep convert gsm8k train.jsonl | dataprep merge - other.jsonl -o - | head -1
    """
    from dataprep.core.io import check_distinct, open_rejects
    from dataprep.datasets.merge import merge_files
    from dataprep.datasets.merge_inputs import expand

    limit = parse_size(memory)
    summary = Summary("merge", quiet=quiet, as_json=as_json)
    jobs = _jobs(inputs or [], output, workspace)
    # Before anything is opened: the rejects must not replace an input or an output.
    inputs = [path for _, paths, _ in jobs for path in expand(paths)]
    check_distinct(rejects, [target for *_, target in jobs], inputs)
    settings: dict[str, Any] = {"seed": seed, "shuffle": not no_shuffle, "check": not no_check}
    settings |= {"memory": limit, "workers": workers}
    with open_rejects(rejects) as bad:
        for name, files, target in jobs:
            # Each byte counts twice: when it is read, and when it is written.
            with bytes_bar("merge", expand(files), 2, quiet or as_json) as advance:
                ledger = merge_files(files, target, rejects=bad, progress=advance, **settings)
            summary.add(name, ledger, target)
    summary.finish()


def _jobs(inputs: list[str], output: str | None, workspace: str | None) -> list[tuple[str, list[str], str]]:
    from dataprep.datasets.workspace import Workspace

    if inputs:
        return [("merge", inputs, output or "-")]
    if output is not None:
        raise UsageError("-o needs INPUT: without it, merge writes to mergedata/")
    home = Workspace.find(workspace)
    jobs = [
        (f"merge {split}", [str(path) for path in paths], str(home.merged_file(split)))
        for split in ("train", "test")
        if (paths := home.chat_files(split))
    ]
    if not jobs:
        folder = home.root / "pre_datasets"
        raise WorkspaceError(f"{folder} holds no *.jsonl file: run `dataprep convert` first")
    return jobs
