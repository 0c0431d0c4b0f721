"""Load a tokenizer from a file, a model directory or by name."""

from __future__ import annotations

import re
from pathlib import Path

from dataprep.core import io as files
from dataprep.core.errors import TokenizerError
from dataprep.tokens.tokenizers.base import Tokenizer

FILES = ("tokenizer.json", "tokenizer.model", "spiece.model")
"""What a model directory's tokenizer may be called, in the order of preference."""

_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\s*")
_EXPECTED = "expected tiktoken ranks, a SentencePiece model or a Hugging Face tokenizer.json"
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with `git lfs pull`"),
    (b"PK", "a zip archive, such as PyTorch writes: give the tokenizer's file, not the weights"),
    (b"\x1f\x8b", "gzip data: decompress it first"),
    (b"\x28\xb5\x2f\xfd", "zstd data: decompress it first"),
    (b"GGUF", "a GGUF model: give the tokenizer of the model that it was made from"),
    (b"<", "a page in HTML or XML: was a web page saved in place of the file?"),
)


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer in a file or a directory; its content decides of which kind it is.

    Args:
        path: a tiktoken rank file (base64 and rank, one a line: Llama 3's, or one of OpenAI's), a
            SentencePiece ``.model``, a Hugging Face ``tokenizer.json`` or a model directory, or the
            name of one of tiktoken's encodings, where its file is present.

    Raises:
        TokenizerError: it is none of these, or damaged: what was found, what was expected, what to do.
        FileError: it cannot be read.
        MissingDependencyError: its library is not installed (extra ``tokens``).
    """
    place = Path(path)
    if place.is_dir():
        place = _in_directory(place)
    elif not place.exists() and (named := _named(str(path))) is not None:
        return named
    return tokenizer_from(str(place), bytes(files.open_mapped(str(place))))


def file_of(path: str | Path) -> Path | None:
    """The file that ``load_tokenizer`` reads; ``None`` for one of tiktoken's encodings.

    Raises:
        TokenizerError: a directory holds no tokenizer.
    """
    place = Path(path)
    if place.is_dir():
        return _in_directory(place)
    return place if place.exists() else None


def _in_directory(folder: Path) -> Path:
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise TokenizerError(
        f"{folder}: found {found}; expected {', '.join(FILES[:-1])} or {FILES[-1]}: "
        "give the folder that the model's tokenizer was saved to, or a tokenizer's file"
    )


def _named(name: str) -> Tokenizer | None:
    from dataprep.tokens.tokenizers.tiktoken_encodings import ENCODINGS, load_encoding

    return load_encoding(name) if name in ENCODINGS else None


def tokenizer_from(path: str, content: bytes) -> Tokenizer:
    """The tokenizer that a file's content is, of whichever kind; ``path`` names it in messages.

    Raises:
        TokenizerError, MissingDependencyError: as for ``load_tokenizer``.
    """
    if not content.strip():
        raise TokenizerError(f"{path}: the file is empty; {_EXPECTED}: fetch it again")
    if content.lstrip().startswith(b"{"):
        from dataprep.tokens.tokenizers.huggingface import HuggingFaceTokenizer

        return HuggingFaceTokenizer(path, content)
    if _has_ranks(content):
        from dataprep.tokens.tokenizers.tiktoken_encodings import load_rank_file

        return load_rank_file(path, content)
    if content[:1] == b"\n" and content[2:3] == b"\n":  # a message whose first field is a message
        from dataprep.tokens.tokenizers.sentencepiece import SentencePieceTokenizer

        return SentencePieceTokenizer(path, content)
    for beginning, what in _OTHERS:
        if content.startswith(beginning):
            raise TokenizerError(f"{path}: found {what}; {_EXPECTED}")
    raise TokenizerError(f"{path}: found a file that begins with {content[:16]!r}; {_EXPECTED}")


def _has_ranks(content: bytes) -> bool:
    """Whether one of the first lines is a token and its rank; the others are then checked one by one."""
    return any(_RANK_LINE.fullmatch(line) for line in content[:4096].splitlines()[:8])
