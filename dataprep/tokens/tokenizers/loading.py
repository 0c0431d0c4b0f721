"""Load a tokenizer from a file, a model directory or by name."""

from __future__ import annotations

import re
from pathlib import Path

from dataprep.core import io as files
from dataprep.core.errors import TokenizerError
from dataprep.tokens.tokenizers.base import Tokenizer

# Names of tokenizer files in a model directory, in the order of preference.
FILES = ("tokenizer.json", "tokenizer.model", "spiece.model")
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
    """Load the tokenizer in a file or a directory; its content decides of which kind it is.

    Args:
        path: a tiktoken rank file of Llama 3 or OpenAI (a token in base64 and its rank per line),
            a SentencePiece ``.model``, a Hugging Face ``tokenizer.json``, a model directory, or the name
            of one of tiktoken's encodings. The encoding's file must be in ``TIKTOKEN_CACHE_DIR``.

    Raises:
        TokenizerError: it is something else, or damaged.
        FileError: it cannot be read.
        MissingDependencyError: its library is not installed (extra ``tokens``).
    """
    files.check_local(path, "a tokenizer")
    file = Path(path)
    if file.is_dir():
        file = _in_directory(file)
    elif not file.exists():
        from dataprep.tokens.tokenizers.tiktoken_ranks import ENCODINGS, load_encoding

        if str(path) in ENCODINGS:
            return load_encoding(str(path))
    return tokenizer_from(str(file), files.read_bytes(str(file)))


def file_of(path: str | Path) -> Path | None:
    """Return the file that ``load_tokenizer`` reads; ``None`` for one of tiktoken's encodings."""
    file = Path(path)
    if file.is_dir():
        return _in_directory(file)
    return file if file.exists() else None


def _in_directory(folder: Path) -> Path:
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise TokenizerError(
        f"{folder}: found {found}; expected {', '.join(FILES[:-1])} or {FILES[-1]}: "
        "give the folder that the model's tokenizer was saved to, or a tokenizer's file"
    )


def tokenizer_from(path: str, content: bytes) -> Tokenizer:
    """Return the tokenizer with this file content; ``path`` is the file's name in messages."""
    if not content.strip():
        raise TokenizerError(f"{path}: the file is empty; {_EXPECTED}: fetch it again")
    if content.lstrip().startswith(b"{"):
        from dataprep.tokens.tokenizers.huggingface import HuggingFaceTokenizer

        return HuggingFaceTokenizer(path, content)
    # One sound line among the first is enough: a damaged file is still known as one of ranks, and is then
    # checked line by line.
    if any(_RANK_LINE.fullmatch(line) for line in content[:4096].splitlines()[:8]):
        from dataprep.tokens.tokenizers.tiktoken_ranks import load_rank_file

        return load_rank_file(path, content)
    # A protobuf message whose first field is a message whose first field is a text: the first piece.
    if content[:1] == b"\n" and content[2:3] == b"\n":
        from dataprep.tokens.tokenizers.sentencepiece import SentencePieceTokenizer

        return SentencePieceTokenizer(path, content)
    for beginning, what in _OTHERS:
        if content.startswith(beginning):
            raise TokenizerError(f"{path}: found {what}; {_EXPECTED}")
    raise TokenizerError(f"{path}: found a file that begins with {content[:16]!r}; {_EXPECTED}")
