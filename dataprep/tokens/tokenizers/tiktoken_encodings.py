"""tiktoken's own encodings: by name, where their files are in ``TIKTOKEN_CACHE_DIR``, or by their files.

A rank file says neither how text is cut nor which special tokens there are. OpenAI's files are known by
their SHA-256, so that these come from tiktoken. Nothing is downloaded.
"""

from __future__ import annotations

import os
from hashlib import sha1, sha256
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

from dataprep.core import io as files
from dataprep.core.errors import TokenizerError
from dataprep.tokens.tokenizers.base import needed
from dataprep.tokens.tokenizers.tiktoken_ranks import RankTokenizer, load_ranks, parse_ranks

_R50K = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
_P50K = "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"
_CL100K = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
_O200K = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

ENCODINGS = {
    "r50k_base": ("r50k_base", _R50K),
    "p50k_base": ("p50k_base", _P50K),
    "p50k_edit": ("p50k_base", _P50K),
    "cl100k_base": ("cl100k_base", _CL100K),
    "o200k_base": ("o200k_base", _O200K),
    "o200k_harmony": ("o200k_base", _O200K),
}
"""By name: the published rank file and its SHA-256, as tiktoken has them."""

_URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"


def load_encoding(name: str) -> RankTokenizer:
    """One of tiktoken's own encodings, out of its file in ``TIKTOKEN_CACHE_DIR``.

    Raises:
        TokenizerError: the file is not there, or not the published one.
    """
    stem, expected = ENCODINGS[name]
    url = _URL.format(stem)
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", "")
    path = Path(folder) / sha1(url.encode(), usedforsecurity=False).hexdigest()
    if not folder or not path.is_file():
        place = str(path) if folder else f"{path.name} in a folder that TIKTOKEN_CACHE_DIR names"
        raise TokenizerError(
            f"{name}: its file is not here, and nothing is downloaded: put {url} at {place}, or give the "
            "path of a tokenizer's file"
        )
    content = bytes(files.open_mapped(str(path)))
    found = sha256(content).hexdigest()
    if found != expected:
        raise TokenizerError(
            f"{path}: found SHA-256 {found[:16]}…; expected {expected[:16]}… of {name}: fetch {url} again"
        )
    return _made(name, str(path), content, (load_encoding, (name,)))


def load_rank_file(path: str, content: bytes) -> RankTokenizer:
    """The tokenizer of a rank file: one of OpenAI's, or Llama 3's.

    Raises:
        TokenizerError: a line is damaged, a rank is missing or there twice, or the file is none of these.
    """
    digest = sha256(content).hexdigest()
    for name, (stem, expected) in ENCODINGS.items():
        if digest == expected and name == stem:
            return _made(name, path, content, (load_rank_file, (path, content)))
    return load_ranks(path, content)


def _made(name: str, path: str, content: bytes, origin: tuple[Any, tuple[Any, ...]]) -> RankTokenizer:
    """An encoding of tiktoken's, with the ranks of a file in place of those that tiktoken would fetch."""
    needed("tiktoken_ext.openai_public", "one of tiktoken's encodings")
    found = find_spec("tiktoken_ext.openai_public")
    if found is None or found.loader is None:
        raise TokenizerError(f"{name}: this version of tiktoken does not have it; install another")
    published = module_from_spec(found)  # a copy of our own: tiktoken's stays as it is
    found.loader.exec_module(published)
    ranks = parse_ranks(path, content)
    published.load_tiktoken_bpe = lambda *_, **__: ranks  # type: ignore[attr-defined]
    parts = published.ENCODING_CONSTRUCTORS[name]()
    return RankTokenizer(ranks, parts["pat_str"], parts["special_tokens"], origin)
