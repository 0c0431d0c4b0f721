"""Every option that an error names is one that its command has."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

import dataprep
from dataprep.cli.app import COMMANDS, app

PACKAGE = Path(dataprep.__file__).parent
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
# A text may send the reader to another command: `dataprep convert --with-id`, `convert qa --answers-from`.
ELSEWHERE = re.compile(rf"\b({'|'.join(COMMANDS)})(?: [a-z_]+)? (?:with )?(--[a-z-]*[a-z])")
GLOBAL = {"--debug", "--help", "--version"}
# Modules that load others by name, which no import shows.
LOADS = {
    "train.objectives.registry": "train.objectives",
    "datasets.registry": "datasets.converters",
    "core.optional": "",
}
# Messages in modules that a command imports for something else, by module and flag: the commands that cannot
# get there, or all that lack the flag, and why.
ALL = tuple(COMMANDS)
OTHERS = (
    "init",
    "clean",
    "compare",
    "validate",
    "lint-tokens",
    "stats",
    "export-rationales",
    "export-model",
    "capture",
    "generate",
    "collect",
    "review",
    "card",
    "verify",
    "replay",
    "view",
    "head",
    "show",
)
UNREACHED = {
    ("datasets.hub", "--revision"): (("verify", "replay"), "they read what `fetch` has recorded"),
    ("datasets.download", "--force"): (("verify", "replay"), "they read what `fetch` has recorded"),
    ("answers.rationale", "--teachers"): (ALL, "the markers of rationale files"),
    ("core.io.writing", "--rejects"): ((*OTHERS, "fetch", "datasets", "tokenizer"), "they set no rows aside"),
    ("core.parallel.processes", "--workers"): (ALL, "commands without the flag start no workers"),
    ("core.parallel.tasks", "--workers"): (ALL, "commands without the flag start no workers"),
    ("datasets.converters.qa", "--answers-from"): (ALL, "others send the reader to `convert`"),
    ("datasets.source_rows", "--teacher"): (ALL, "labelled rows, which `convert` and `collect` read"),
    ("datasets.templates", "--answer-style"): (ALL, "a plan of `convert`"),
    ("datasets.exchange.registry", "--from"): (("export",), "a format of `import`"),
    ("datasets.exchange.files", "--from"): (("export",), "a format that `import` guessed"),
    ("datasets.exchange.rows", "--think-tags"): (("import",), "what a row loses in `export`"),
    ("datasets.exchange.rows", "--to"): (("import",), "what a row loses in `export`"),
    ("evaluate.metrics.references", "--metric"): (
        ("train", "report"),
        "they only look at the style of answers",
    ),
    ("inspect.diff.rows", "--by"): (
        ("report",),
        "it marks the words that `diff` compares, and pairs no rows",
    ),
    ("models.decoding", "--max-tokens"): (("train",), "a run chooses the length of the answers it measures"),
    ("models.decoding", "--temperature"): (("evaluate",), "a request of `generate`"),
    ("models.student", "--chat-format"): (("export-model", "capture"), "they read no conversations"),
    ("models.student", "--tokenizer"): (("export-model", "capture"), "they make no preset"),
    ("tokens.formats.named", "--chat-format"): (("export-model", "capture"), "they write no conversations"),
    ("models.sampling", "--model"): (ALL, "the settings of `generate`"),
    ("models.sampling", "--temperature"): (ALL, "the settings of `generate`"),
    ("models.sampling", "--tools"): (ALL, "the settings of `generate`"),
    ("teacher.journal.index", "--fresh"): (("collect",), "a journal that `generate` goes on with"),
    ("teacher.journal.line", "--max-tokens"): (
        ("collect", "review", "view", "capture", "train"),
        "a warning about a setting of `generate`",
    ),
    ("tokens.formats.model_template", "--date"): (
        ("generate", "predict", "export-model", "capture", "collect", "review", "view"),
        "they give no date",
    ),
    ("tokens.formats.jinja", "--split-thinking"): (
        ("generate", "evaluate", "predict", "export-model", "capture"),
        "a row of training; requests are asked as they are",
    ),
    ("tokens.options", "--pack"): (ALL, "only `tokenize` packs with these options"),
    ("tokens.options", "--split-long"): (ALL, "only `tokenize` packs with this option"),
    ("tokens.shards.packing", "--split-long"): (ALL, "only `tokenize` packs longer rows"),
    ("tokens.shards.packing", "--truncation"): (
        ("lint-tokens", "mix", "predict", "report", "capture", "compare"),
        "they pack nothing, or documents that were packed before",
    ),
    ("tokens.shards.reading", "--pack"): (ALL, "they read documents"),
    ("tokens.tokenizers.base", "--chat-format"): (ALL, "commands without the flag write no conversations"),
    ("tokens.tokenizers.training", "--vocab-size"): (
        ("train", "export-model", "capture"),
        "`train` shrinks its vocabulary, and the others train none",
    ),
    ("teacher.protocol", "--model"): (("capture",), "its flag has another name, which replaces this one"),
    ("teacher.protocol", "--choice-probs"): (("capture",), "the likelihoods of choices are for `generate`"),
    ("train.hardware.distributed", "--nproc-per-node"): (ALL, "a flag of torchrun"),
}
# Commands that share a package, whose messages are for one of them.
FAMILIES = {
    "train.": ("train", "predict", "capture", "evaluate", "compare"),
    "datasets.hub": ("fetch", "datasets"),
}
FAMILIES["datasets.download"] = FAMILIES["datasets.hub"]


@cache
def modules():
    """The syntax trees of all modules by their names below the package."""
    trees = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts).removesuffix("__init__").rstrip(".")
        trees[name] = ast.parse(path.read_text("utf-8"))
    return trees


@cache
def nodes(tree):
    """All nodes of a tree, which most functions here look at."""
    return [*ast.walk(tree)]


def imported(tree):
    """The modules that a module or function imports, where it runs."""
    typing = {
        id(inner)
        for node in nodes(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in nodes(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("dataprep.")
            and id(node) not in typing
        ):
            module = node.module.removeprefix("dataprep.")
            found |= {
                name if (name := f"{module}.{alias.name}") in modules() else module for alias in node.names
            }
    return found


@cache
def graph():
    """The imports of each module, with those by name."""
    edges = {name: imported(tree) for name, tree in modules().items()}
    for name, package in LOADS.items():
        edges[name] |= {module for module in modules() if package and module.startswith(f"{package}.")}
    return edges


def reached(command):
    """The modules whose code a command can run, without those of the command line."""
    module, function = COMMANDS[command][0].split(":")
    tree = modules()[f"cli.commands.{module}"]
    bodies = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    todo, seen = [function] if function in bodies else list(bodies), set()
    start = set()
    while todo:  # the functions of the command's module that it calls
        name = todo.pop()
        seen.add(name)
        start |= imported(bodies[name])
        used = {node.id for node in nodes(bodies[name]) if isinstance(node, ast.Name)}
        todo += [other for other in used & bodies.keys() if other not in seen]
    todo, seen = list(start), set()
    while todo:
        name = todo.pop()
        if name not in seen and not name.startswith("cli."):
            seen.add(name)
            todo += graph().get(name, ())
    return seen


def options(command):
    """The flags of a command and its own commands."""
    made = get_command(app).commands[command]
    parts = getattr(made, "commands", {"": made}).values()
    return {flag for part in parts for item in part.params for flag in (*item.opts, *item.secondary_opts)}


def raised(tree):
    """The texts of a module that can be a part of an error: no docstrings, help texts or style sheets."""
    left_out = set()
    for node in nodes(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            left_out |= {id(inner) for inner in ast.walk(body[0])}
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "option":
            left_out |= {id(inner) for inner in ast.walk(node)}
    texts = [
        node.value
        for node in nodes(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out
    ]
    # A message that begins with an option is about the value that was given to it.
    left_over = ("var(--", "style=", "{")
    return [
        text
        for text in texts
        if "--" in text and not text.startswith("--") and not any(part in text for part in left_over)
    ]


@pytest.mark.medium
def test_every_option_that_an_error_names_exists():
    """An error must not send the user to a flag that the command does not have."""
    flags = {command: options(command) for command in COMMANDS}
    faults = []
    places = {command: reached(command) for command in COMMANDS}
    for module, tree in modules().items():
        for text in raised(tree) if not module.startswith(("cli.", "__main__")) else ():
            sent = {(command, flag) for command, flag in ELSEWHERE.findall(text)}
            faults += [
                f"{module}: {command} has no {flag}" for command, flag in sent if flag not in flags[command]
            ]
            for flag in set(FLAG.findall(text)) - {flag for _, flag in sent} - GLOBAL:
                spared, _ = UNREACHED.get((module, flag), ((), ""))
                # It runs other commands' operators again; its notes quote what they say.
                spared = (*spared, "trace")
                if module.startswith("datasets.exchange."):  # it takes the names of splits from there
                    spared = (*spared, "card")
                known = [name for name in COMMANDS if flag in flags[name]]
                for start, family in FAMILIES.items():
                    if module.startswith(start) and set(known) & set(family):
                        spared = (*spared, *family)
                lacking = [
                    name for name in COMMANDS if module in places[name] and name not in (*known, *spared)
                ]
                if lacking or not (known or spared):
                    faults.append(
                        f"{module}: {flag} is no option of {', '.join(lacking) or 'any command'}: {text!r}"
                    )
    assert not faults, "\n".join(faults)
