"""SmolLM2 on CommonsenseQA before and after training, by the likelihood of the choices."""

from __future__ import annotations

from contextlib import suppress

from benchmarks.results.keeping import Bench, Figures, NotMeasured, likelihoods

ROWS = 1500
# One epoch, in batches of 16 rows; the rates are those of the first trial.
RUNS = {
    "full": ("--learning-rate", "2e-5"),
    "LoRA": ("--lora", "16", "--learning-rate", "5e-4"),
}


def choices(bench: Bench) -> str:
    """Return the section of the page."""
    model, source = bench.models / "smollm2-135m-instruct", bench.data / "commonsense_qa"
    wording = ("--answer-style", "text", "--with-id")
    train, dev = bench.folder / "csqa-train.jsonl", bench.folder / "csqa-dev.jsonl"
    names = (("train_rand_split.jsonl", train), ("dev_rand_split.jsonl", dev))
    for name, made in names:
        sample = ("--sample", str(ROWS)) if made is train else ()
        words = (source / name, *wording, *sample, "-o", made.name)
        bench.run(f"choices/{made.stem}", "convert", "commonsense_qa", *words)
    found: dict[str, Figures] = {}
    measure = ("evaluate", "--by", "likelihood", "--batch-size", "16")
    found["before"] = bench.run("choices/before", *measure, model, dev.name)
    for name, options in RUNS.items():
        run = f"csqa-{name.lower()}"
        words = ("--epochs", "1", "--batch-size", "16", "--seed", "1", "--save-every", "20")
        words = (*words, *options, "-o", run, "--resume")
        with suppress(NotMeasured):
            bench.run(f"choices/train-{name}", "train", train.name, "--model", model, *words)
            found[f"after, {name}"] = bench.run(f"choices/after-{name}", *measure, run, dev.name)
    compared = (_compared(name, found) for name in RUNS)
    return "\n\n".join([likelihoods("SmolLM2-135M-Instruct", found), *compared])


def _figures(summary: Figures) -> Figures:
    figures: Figures = summary["results"][0]["figures"]
    return figures


def _compared(name: str, found: dict[str, Figures]) -> str:
    """Say which figures training raised by more than the intervals allow for."""
    if f"after, {name}" not in found:
        return f"{name} training: not measured yet."
    before, after = _figures(found["before"]), _figures(found[f"after, {name}"])
    raised = [figure for figure in before if after[figure]["low"] > before[figure]["high"]]
    if not raised:
        return f"After {name} training, no figure is above the one before with disjoint intervals."
    listed = ", ".join(raised)
    return f"After {name} training, these are above the ones before, with disjoint intervals: {listed}."
