"""``dataprep verify`` and ``dataprep replay``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from dataprep.cli.console import Summary, print_json, say
from dataprep.cli.options import AsJson, InWorkspace, Quiet, argument, flag
from dataprep.cli.replay import replay_files

if TYPE_CHECKING:
    from dataprep.inspect.manifests.replaying import Done


def verify_command(
    paths: list[str] = argument(..., "Files, or folders of files, shards or a student.", "FILE..."),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Check files against their manifests, back to raw/.

    Every file of the chain is read, and its SHA-256 compared with what the command that wrote it has
    recorded, and with what the next command has read. Source files are compared with what was read of them,
    and with the checksums of `fetch`. The exit code is 1 if a file or a manifest was changed, and it is
    named. A file without a manifest is a source.

    \b
    Examples:
      dataprep verify mergedata/train.jsonl
      dataprep verify tokens student --json
    """
    from dataprep.inspect.manifests.verifying import verify_files

    result = verify_files(paths)
    if as_json:
        print_json(result.to_json())
    elif not quiet:
        for link in result.links:
            note = f" ({link.note})" if link.note else ""
            say(f"{link.state:8}{link.path}{note}", file=sys.stdout)
    elif result.broken:
        say(*(f"{link.path}: {link.note}" for link in result.broken))
    summary = Summary("verify", quiet=quiet, as_json=as_json)
    summary.say(f"verify: {len(result.links):,} files, {len(result.broken):,} broken")
    if result.broken:
        raise typer.Exit(1)


def replay_command(
    paths: list[str] = argument(..., "Files with manifests; they need not be there any more.", "FILE..."),
    workspace: InWorkspace = None,
    source: list[str] | None = flag(
        None, "File or folder that a manifest knows by its digest; can be repeated.", "--source", "PATH"
    ),
    allow_code: bool = flag(False, "Run commands that ran tests of code, confined.", "--allow-code"),
    dry_run: bool = flag(False, "Check the steps, and run none.", "--dry-run"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run the commands that made files again, and compare the bytes.

    The steps are those of the manifests, back to the source files. A step whose outputs are up to date is
    skipped. With --workspace, everything is made in another folder that has the same source files. Each
    output is compared with the recorded SHA-256. A teacher is not asked again: its journal is taken as it
    is. Results of a model can differ between machines. The exit code is 1 if any bytes differ.

    \b
    Examples:
      dataprep replay mergedata/train.jsonl
      dataprep replay tokens --workspace ../copy --source ~/models/tokenizer.model
    """
    summary = Summary("replay", quiet=quiet, as_json=as_json)

    def tell(done: Done) -> None:
        note = f" ({done.note})" if done.note else ""
        summary.say(f"{done.state}: {done.command} → {', '.join(done.outputs)}{note}")

    result = replay_files(
        paths, workspace, sources=source or (), allow_code=allow_code, dry_run=dry_run, on_step=tell
    )
    differing = len(result.differing)
    ending = f"{differing:,} differ" if differing else "the same bytes"
    summary.say(f"replay: {len(result.steps):,} steps, {'none was run' if dry_run else ending}")
    summary.finish({"steps": [asdict(step) for step in result.steps], "differing": differing})
    if differing:
        raise typer.Exit(1)
