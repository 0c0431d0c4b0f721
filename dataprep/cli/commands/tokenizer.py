"""``dataprep tokenizer``: train one, or show one."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import typer

from dataprep.cli.console import guard_stdout, print_json, print_text, say
from dataprep.cli.manifests import with_manifest
from dataprep.cli.options import AsJson, Quiet, argument, flag
from dataprep.cli.progress import with_progress_lines

if TYPE_CHECKING:
    from dataprep.tokens.tokenizers.base import Tokenizer

# Bright backgrounds with black text are readable on dark and on light terminals.
COLOURS = (
    "black on bright_cyan",
    "black on bright_yellow",
    "black on bright_green",
    "black on bright_magenta",
)


commands = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@commands.callback()
def _commands() -> None:
    """Train a tokenizer on the data, or show one."""


@commands.command("train")
@guard_stdout
@partial(with_progress_lines, "tokenizer train")
@partial(with_manifest, "tokenizer train")
def train(
    inputs: list[str] = argument(
        ..., "Rows of any kind, or plain text (.txt); - for standard input.", "FILE..."
    ),
    output: str = flag(..., "Output file; - is standard output.", "-o", "--output", "PATH"),
    vocab_size: int = flag(4096, "Number of ids, including special tokens.", "N", min=1),
    kind: str = flag("sentencepiece", "sentencepiece (a .model), or bpe (a tokenizer.json).", "KIND"),
    special_token: list[str] | None = flag(
        None, "A further special token, which a chat template writes; can be repeated.", "NAME"
    ),
    quiet: Quiet = False,
) -> None:
    """Train a tokenizer on texts.

    It learns from the contents of chat rows, from every string of other rows, or from the lines of plain
    text. It falls back to bytes, so that any text has ids, and has the special tokens of the chat formats.
    The same texts and options give the same file.

    \b
    Examples:
      dataprep tokenizer train mergedata/train.jsonl -o tokenizer.model
      dataprep tokenizer train texts.txt --kind bpe --vocab-size 8192 -o tokenizer.json
      dataprep tokenizer train train.jsonl -o tokenizer.model --special-token '<think>,</think>'
    """
    from dataprep.core import io as files
    from dataprep.core.options import parse_names
    from dataprep.tokens.tokenizers.training import texts_of_files, train_tokenizer

    files.check_apart([output], inputs)
    names = parse_names(special_token or ())
    content = train_tokenizer(texts_of_files(inputs), vocab_size, kind, special_tokens=names)
    # As JSON Lines without compression, bytes are written as they are, whatever the suffix.
    with files.open_output(output, files.Format("jsonl", "")) as out:
        out.write(content)
    if not quiet:
        where = "standard output" if output == "-" else output
        say(f"tokenizer train: {kind}, {vocab_size:,} ids → {where}")


@commands.command("show")
@guard_stdout
def show(
    path: str = argument(..., "A tokenizer's file, a model's folder, or an encoding's name.", "FILE"),
    text: str | None = argument(None, "Text whose tokens to show.", "[TEXT]"),
    as_json: AsJson = False,
) -> None:
    """Show a tokenizer's properties, or the tokens of a text.

    Each token is printed with its id, in colours on a terminal. Special tokens' names in the text are
    text, as in every row: none of them becomes a special token.

    \b
    Examples:
      dataprep tokenizer show tokenizer.model
      dataprep tokenizer show tokenizer.model "How many eggs are left?"
    """
    from dataprep.tokens.tokenizers.loading import load_tokenizer

    tokenizer = load_tokenizer(path)
    if text is None:
        _show_facts(tokenizer, as_json)
    else:
        _show_tokens(tokenizer, text, as_json)


def _show_facts(tokenizer: Tokenizer, as_json: bool) -> None:
    facts = {
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "fingerprint": tokenizer.fingerprint,
        "special_tokens": dict(tokenizer.special_tokens),
    }
    if as_json:
        print_json(facts)
        return
    special = tokenizer.special_tokens
    say(
        f"kind         {tokenizer.kind}",
        f"vocabulary   {tokenizer.vocab_size:,} ids",
        f"fingerprint  {tokenizer.fingerprint}",
        f"special      {len(special):,}",
        *(f"{number:>11}  {name}" for name, number in special.items()),
        file=sys.stdout,
    )


def _show_tokens(tokenizer: Tokenizer, text: str, as_json: bool) -> None:
    from dataprep.tokens.tokenizers.base import decode_after

    ids = tokenizer.encode(text)
    pieces = [_visible(decode_after(tokenizer, [number])) for number in ids]
    if as_json:
        tokens = [{"id": number, "piece": piece} for number, piece in zip(ids, pieces, strict=True)]
        print_json(tokens)
        return
    if sys.stdout.isatty():
        _print_coloured(pieces)
    say(*(f"{number:>8}  {piece}" for number, piece in zip(ids, pieces, strict=True)), file=sys.stdout)
    say(f"{len(ids):,} tokens, {len(text):,} characters", file=sys.stdout)


def _print_coloured(pieces: list[str]) -> None:
    from rich.text import Text

    line = Text()
    for number, piece in enumerate(pieces):
        line.append(piece, COLOURS[number % len(COLOURS)])
        line.append("\n" if "↵" in piece else "")
    print_text(line, "", colour=True)


def _visible(piece: bytes) -> str:
    """Return a token's bytes as text in which white space and invalid bytes are visible."""
    try:
        text = piece.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in piece)
    shown = text.replace(" ", "·").replace("\n", "↵").replace("\t", "→").replace("\r", "␍")
    return "".join(char if char.isprintable() else f"<U+{ord(char):04X}>" for char in shown)
