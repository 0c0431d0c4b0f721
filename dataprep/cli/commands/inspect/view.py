"""``dataprep view``."""

from __future__ import annotations

import sys

from dataprep.cli.console import print_json, say
from dataprep.cli.options import AsJson, Quiet, argument, flag


def command(
    inputs: list[str] = argument(..., "Files of rows, of any size and format.", "FILE..."),
    port: int = flag(
        0, "Port to listen at. Defaults to a free one.", "N", min=0, max=65535, show_default=False
    ),
    host: str = flag(
        "127.0.0.1", "Address to listen at. With another one, other machines can read the files.", "HOST"
    ),
    no_open: bool = flag(False, "Do not open a browser.", "--no-open"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Look at the rows of files on a local web page.

    Rows are drawn as chats, with the reasoning folded and tool calls as blocks; labelled rows and lines of
    journals with a column per teacher. Jump to a row, search text, filter by source and status, and mark
    rows as good or bad, or with a note. Marks are stored in FILE.marks.jsonl, which `dataprep filter` reads.
    The page is for this machine alone, and its address has a random token. Ctrl-C ends it, with exit
    code 0.

    \b
    Examples:
      dataprep view mergedata/train.jsonl
      dataprep view journal.jsonl requests.jsonl --port 8765 --no-open
    """
    from dataprep.inspect.view.server import view, warning_of

    if not quiet and (warning := warning_of(host)):
        say(f"warning: {warning}")

    def ready(address: str) -> None:
        if as_json:
            print_json({"command": "view", "address": address}, sys.stderr)
        else:
            say(f"view: {address} (Ctrl-C ends it)")
        if not no_open and sys.stderr.isatty():
            import webbrowser

            webbrowser.open(address)

    try:
        view(inputs, host=host, port=port, on_ready=ready)
    except KeyboardInterrupt:
        # A server has no other end: it did all that it was asked to do.
        return
