"""The import floors of docs/design.md: a room imports only from floors below it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dataprep"

FLOORS = [
    {"errors"},
    {"records", "lines"},
    {"choices"},
    {"files", "ledger", "engine", "quiet"},
    {
        "converters",
        "templates",
        "sampling",
        "quality",
        "rationales",
        "rationale_status",
        "responses",
        "numbers",
    },
    {"prompts", "letters", "journals"},
    {"metrics"},
    {"gold", "raw_rows"},
    {"example_files"},
    {
        "conversion",
        "collecting",
        "merging",
        "prompting",
        "rationale_files",
        "hub",
        "validation",
        "report",
        "workspace",
        "teacher",
        "tokens",
    },
    {"linting", "train", "evaluating"},
    {"cli", "commands", "__main__"},
]
# Heavy, or not always installed: imported inside the functions that use them.
LAZY = {
    "polars",
    "datasets",
    "torch",
    "transformers",
    "openai",
    "httpx",
    "httpx2",
    "matplotlib",
    "tensorboard",
    "dotenv",
    "tiktoken",
    "sentencepiece",
    "tokenizers",
    "splintr",
    "regex",
    "jinja2",
    "rich",
    "huggingface_hub",
    "safetensors",
    "torchao",
    "peft",
}
# Their classes are torch's, so they import it as they are imported, which nothing else does early.
TORCH = {
    PACKAGE / "train" / f"{name}.py"
    for name in (
        "checkpoints",
        "distillation",
        "distributed",
        "documents",
        "encoder_decoder",
        "logits",
        "loop",
        "output_layer",
        "packed_attention",
        "qat",
        "quantized",
        "rationale",
        "rationale_pieces",
        "sft",
        "soft_label/classifier",
        "soft_label/examples",
        "soft_label/objective",
        "soft_label/tiny",
        "stored_logprobs",
    )
}
# These rooms are given everything they work on.
PURE = FLOORS[4] | FLOORS[5] | FLOORS[6]
OUTSIDE = {"os", "io", "pathlib", "tempfile", "shutil", "socket", "subprocess", "time", "urllib", "http"}


def room_of(module: str) -> str:
    """The room of a module such as ``dataprep.files.reading``; the package itself has none."""
    return module.removeprefix("dataprep").strip(".").partition(".")[0]


def floor_of(room: str) -> int:
    """The number of the floor that a room is on."""
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def imports(path: Path) -> list[tuple[str, bool]]:
    """The modules a file imports, each with whether it does so when it is itself imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in late) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"dataprep.{alias.name}" for alias in node.names] if node.module == "dataprep" else []
            found += [(name, id(node) not in late) for name in names or [node.module or ""]]
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_floors_below(path):
    """The layers hold: no edge runs up or sideways between rooms."""
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module, _ in imports(path):
        room = room_of(module)
        if module.startswith("dataprep") and room not in ("", own, "__version__"):
            assert floor_of(room) < floor_of(own) or floor_of(own) == len(FLOORS) - 1, f"{own} → {room}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_are_imported_late(path):
    """Start-up stays fast: nothing heavy is imported before it is used."""
    torch = {"dataprep." + ".".join(each.relative_to(PACKAGE).with_suffix("").parts) for each in TORCH}
    for module, early in imports(path):
        allowed = path in TORCH
        assert not (early and module.partition(".")[0] in LAZY) or (allowed and module[:5] == "torch"), module
        assert not (early and module in torch) or allowed, f"{module} imports torch"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_pure_rooms_touch_nothing_outside(path):
    """Converters, templates, samples and checks need no file, network or clock."""
    if path.relative_to(PACKAGE).parts[0].removesuffix(".py") in PURE:
        touched = {module.partition(".")[0] for module, _ in imports(path)} & OUTSIDE
        assert not touched


def test_every_room_has_a_floor():
    """A new room is put on a floor, here and in docs/design.md."""
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert rooms == set().union(*FLOORS)
