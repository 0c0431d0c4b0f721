"""``dataprep export-model``."""

from __future__ import annotations

from dataclasses import asdict

from dataprep.cli.console import Summary
from dataprep.cli.options import AsJson, Quiet, argument, flag


def command(
    student: str = argument(..., "Directory of a student, or a model's name on the hub.", "STUDENT"),
    output: str = flag(..., "The GGUF file.", "-o", "--output", "PATH"),
    weight_type: str = flag(
        "auto", "Type of the weights: f32, f16, bf16 or q8_0; auto keeps theirs.", "--type", "NAME"
    ),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Export a student as a GGUF file, which llama.cpp and Ollama run.

    The file has the weights, the tokenizer and the chat template. It takes students of Llama's shape: Llama,
    Mistral, Qwen2 and Qwen3. A student that llama.cpp would run differently is an error that says why.

    \b
    Examples:
      dataprep export-model student -o student.gguf
      dataprep export-model student -o student.gguf --type q8_0
    """
    from dataprep.models.gguf.exporting import export_model

    made = export_model(student, output, weight_type=weight_type)
    summary = Summary("export-model", quiet=quiet, as_json=as_json)
    weights = ", ".join(f"{count:,} weights in {name}" for name, count in made.types.items())
    summary.say(
        f"export-model: {made.architecture}, {weights}, {made.bytes:,} bytes → {made.path}",
        f"  tokenizer {made.tokenizer}; context of {made.context_length:,} tokens",
    )
    summary.finish(asdict(made) | {"path": str(made.path)})
