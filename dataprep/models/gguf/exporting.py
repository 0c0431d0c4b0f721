"""Write a student as one GGUF file: sizes, vocabulary, chat template and weights."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dataprep.core import provenance
from dataprep.core.errors import FileError, UsageError
from dataprep.core.io import STDIO, check_apart, check_local, check_one_file, real_path, replacing, writing
from dataprep.core.ledger import advance
from dataprep.core.optional import quiet, require
from dataprep.models.gguf.vocabulary import UNKNOWN, Vocabulary, vocabulary_of
from dataprep.models.gguf.weights import (
    ARCHITECTURES,
    TYPES,
    Architecture,
    Tensor,
    context_of,
    file_type,
    tensors_of,
    write_sizes,
    write_tensors,
)
from dataprep.models.loading import check_finite, files_of_model, load_weights
from dataprep.models.student import model_directory
from dataprep.tokens.formats.model_template import has_template, read_object, read_settings, read_template
from dataprep.tokens.tokenizers.loading import load_tokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedModel

    from dataprep.tokens.tokenizers.base import Tokenizer

# By these tags transformers tells which tokens are in the loss. Jinja in other programs does not know them.
_GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")


@dataclass(frozen=True, slots=True)
class Exported:
    """A GGUF file that was written.

    Attributes:
        path: the file.
        architecture: llama.cpp's name of the architecture.
        tokenizer: its name of the tokenizer, and of how that cuts texts into words.
        types: number of weights by type, such as ``q8_0``.
        context_length: number of tokens that the model can read.
        bytes: size of the file.
    """

    path: Path
    architecture: str
    tokenizer: str
    types: dict[str, int]
    context_length: int
    bytes: int


def export_model(student: str | Path, output: str | Path, *, weight_type: str = "auto") -> Exported:
    """Write a student as a GGUF file, with its tokenizer and chat template.

    The same student gives the same bytes. The file appears when it is complete.

    Args:
        student: a directory as ``dataprep train`` and transformers save it, or a name on the Hub.
        output: the file.
        weight_type: type of the matrices: ``f32``, ``f16``, ``bf16`` or ``q8_0``; ``auto`` keeps the type
            that they have. Vectors are in ``f32``, and matrices that ``q8_0`` cannot hold in ``f16``.

    Raises:
        UsageError: there is no such type, or the output would replace a file of the student.
        FileError: the student is no decoder of a shape that llama.cpp runs, its weights are damaged or too
            large for the type, or a file cannot be read or written.
        TokenizerError: llama.cpp would give other ids.
        MissingDependencyError: the extra ``export`` or ``train`` is not installed.
    """
    if weight_type not in TYPES:
        raise UsageError(f"--type {weight_type}: must be one of {', '.join(TYPES)}")
    require("gguf", extra="export", feature="exporting a model")
    for package in ("torch", "transformers"):
        require(package, extra="train", feature="exporting a model")
    check_local(output, "a GGUF file")
    if str(output) == STDIO:
        raise UsageError("-o -: a GGUF file is written in several places; give a path")
    check_one_file(output)
    check_local(student, "a student")
    folder = Path(model_directory(str(student), "STUDENT"))
    check_apart([output], files_of_model(folder))
    architecture = _architecture(folder)
    tokenizer = load_tokenizer(folder)
    vocabulary = vocabulary_of(tokenizer)
    with quiet():
        model = load_weights(str(folder))
        begins, ends = _added_tokens(folder)
    check_finite(model, str(folder))
    tensors = tensors_of(model, architecture, weight_type, str(folder))
    if len(vocabulary.tokens) > model.config.vocab_size:
        found = (
            f"its tokenizer has {len(vocabulary.tokens):,} tokens, its weights {model.config.vocab_size:,}"
        )
        raise FileError(str(folder), f"{found}; expected a token for each embedding at most")
    vocabulary.pad(model.config.vocab_size)

    target = Path(real_path(output))
    with writing(str(output)), replacing(target) as file:
        _write(file.path, folder, architecture, _Parts(model, tensors, tokenizer, vocabulary, begins, ends))
    provenance.wrote(target)
    types: Counter[str] = Counter()
    for tensor in tensors:
        types[tensor.type.name.lower()] += tensor.weights.numel()
    cut = f"{vocabulary.model}, {vocabulary.pre}"
    context, size = context_of(model.config), target.stat().st_size
    return Exported(Path(output), architecture.name, cut, dict(types), context, size)


class _Parts(NamedTuple):
    """The parts of a file."""

    model: PreTrainedModel
    tensors: list[Tensor]
    tokenizer: Tokenizer
    vocabulary: Vocabulary
    begins: bool  # whether a token is put before each text
    ends: bool  # and behind it


def _write(path: Path, folder: Path, architecture: Architecture, parts: _Parts) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, architecture.name)
    try:
        writer.add_type("model")
        writer.add_file_type(file_type(parts.tensors))
        writer.add_quantization_version(2)
        write_sizes(writer, parts.model.config)
        parts.vocabulary.write(writer)
        _write_special_tokens(writer, folder, parts)
        if has_template(folder):
            writer.add_chat_template(_GENERATION.sub(_as_condition, read_template(folder).text))
        for _ in write_tensors(writer, parts.tensors):
            advance("tensors written", 1, len(parts.tensors))
    except ValueError as error:
        raise FileError(str(folder), f"{error}; choose another --type") from None
    finally:
        writer.close()


def _architecture(folder: Path) -> Architecture:
    """Return the architecture of a student, after checking that it can be exported."""
    config = read_object(folder / "config.json")
    known = ", ".join(ARCHITECTURES)
    if not config:
        reason = "no config.json in it, so it is a small classifier or no model"
        raise FileError(str(folder), f"{reason}; expected a directory as transformers saves one of {known}")
    if "quantization_config" in config:
        raise FileError(str(folder), "its weights are quantized; expected the student in full precision")
    name = next(iter(config.get("architectures") or ["(none)"]))
    if name in ARCHITECTURES:
        if (activation := config.get("hidden_act", "silu")) != "silu":
            raise FileError(
                str(folder), f"its activation is {activation}; expected silu, as llama.cpp computes it"
            )
        return ARCHITECTURES[name]
    reason = f"a {name}, for which llama.cpp's files are not written"
    if config.get("is_encoder_decoder"):
        reason = f"an encoder-decoder ({name}); the programs that run GGUF files chat with decoders"
    elif name.endswith("Classification"):
        reason = f"a classifier ({name}), which writes no text"
    raise FileError(str(folder), f"{reason}; expected one of {known}")


def _as_condition(tag: re.Match[str]) -> str:
    # A condition that always holds, and not nothing: its dashes strip white space as the tag's did.
    return f"{tag[1]}{'endif' if tag[2] else 'if true'}{tag[3]}"


def _added_tokens(folder: Path) -> tuple[bool, bool]:
    """Return whether transformers puts tokens before and behind a text."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    alone, ids = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    at = next((at for at in range(len(ids)) if ids[at : at + len(alone)] == alone), 0)
    return at > 0, len(ids) > at + len(alone)


def _write_special_tokens(writer: GGUFWriter, folder: Path, parts: _Parts) -> None:
    """Write which tokens begin and end texts and turns."""
    settings, known = read_settings(folder), parts.tokenizer.special_tokens

    def named(key: str) -> int | None:
        given = settings.get(key)
        return known.get(str(given["content"] if isinstance(given, dict) else given))

    given = parts.model.generation_config.eos_token_id
    stops = [given] if isinstance(given, int) else list(given or [])
    stops = stops or [number for number in [named("eos_token")] if number is not None]
    # The end of a turn is the first. llama.cpp has places for three, and stops at each of them.
    ends = (writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id)
    for add, number in zip(ends, dict.fromkeys(stops), strict=False):
        add(number)
    for key, add in {"bos_token": writer.add_bos_token_id, "pad_token": writer.add_pad_token_id}.items():
        if (found := named(key)) is not None:
            add(found)
    if UNKNOWN in parts.vocabulary.types:
        writer.add_unk_token_id(parts.vocabulary.types.index(UNKNOWN))
    writer.add_add_bos_token(parts.begins)
    writer.add_add_eos_token(parts.ends)
