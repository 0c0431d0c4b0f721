"""Check the prose of the project against docs/style.md: ``make check`` runs this file.

It reads the Markdown pages, and the docstrings, comments and messages of ``dataprep/`` and ``benchmarks/``.
Code blocks and `code` are not checked. With paths as arguments, only what is below them is checked:
``python docs/prose.py dataprep/tokens docs/tokens.md``.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = ("*.md", "docs/**/*.md", "raw/**/*.md", "pre_datasets/*.md", "mergedata/*.md")
MAX_WORDS = 40  # docs/style.md asks for 25; lists of names may need more

# (what is found, what to write instead). Patterns match whole words, in upper or lower case.
WORDS: tuple[tuple[str, str], ...] = (
    # Idioms and word orders that are not English
    (r"without a word", '"by default", or "silently"'),
    # Golden files hold the reason "the answer is none of the choices".
    (r"(?:is|are|was|were|be) none of(?! the choices)", '"is not one of", "must be one of", "is not a …"'),
    (r"to be had", '"available"'),
    (r"such as there (?:are|is)", "name the thing"),
    (r"how many there are", '"the number of …"'),
    (r"what lies where|lies? (?:in|beside|under|where)", '"is in", "is next to"'),
    (r"(?:here|there) no more", '"no longer", "not … again"'),
    (r"(?:goes|going|go|went|gone) on(?: from)?(?! to\b)", '"continue"'),
    (r"anew", '"again"'),
    (r"beforehand", '"in advance", "before …"'),
    (r"but for", '"except for"'),
    (r"where need be|if need be|need be", '"if necessary"'),
    (r"knows? (?:no|neither|nothing)", '"does not depend on", "does not contain"'),
    (r"by a hair|half ?way|at sight|by heart", "a literal expression"),
    (r"so many (?!that)", '"as many"'),
    (r"in silence", '"silently"'),
    (r"it is (?:said|told) (?:so|in)", "name who reports it"),
    (r"(?:is|are) a matter of", "a direct statement"),
    (r"one (?:file|folder|page|line|class|test|entry|row|loss) an? \w+", '"one … per …"'),
    (r"mend(?:s|ed|ing)?", '"fix"'),
    (r"thereof|therein|wherein|hereby|whilst|amongst|thus(?!, the answer)|hence", "a plainer word"),
    # Words with an exact term
    (r"rooms|model has room", '"package", or the quantity: "space", "context length"'),
    (r"floors?", '"layer"'),
    (r"houses?", '"project" or "package"'),
    (r"the nouns", '"data type"'),
    (
        r"(?:chat|named|Llama|ChatML|model's|template) layouts?|layouts? (?:of Llama|that they were made)",
        '"chat format"',
    ),
    (r"specials", '"special tokens"'),
    (
        r"(?:un)?trained tokens?|tokens? (?:is|are|were|was) (?:un)?trained|trained part",
        '"tokens in the loss"',
    ),
    (r"which are trained on|is trained on and|what is trained", '"in the loss", "covered by the loss mask"'),
    (r"held[ -]out", '"evaluation rows", "eval dataset"'),
    (r"heat|taught", '"temperature", "teacher distribution"'),
    (r"end ids", '"eos_token_ids", "stop tokens"'),
    (r"gold files?", '"references"'),
    (r"overflow rules?", '"truncation"'),
    (r"trouble", '"request error", "problem"'),
    (r"the feed", '"the queue"'),
    (r"raw rows?", '"source row"'),
    (r"row operators?", '"operator"'),
    (r"circles?", '"cycle"'),
    # The Google developer documentation style guide
    (r"e\.g\.|i\.e\.|etc\.|viz\.|cf\.", '"for example", "that is", "and so on"'),
    (r"please|simply|obviously|of course", "nothing: leave it out"),
    (r"in order to", '"to"'),
    (r"utili[sz]es?|leverages?", '"use"'),
    (r"allows? to|enables? to", '"lets you"'),
    (r"above-mentioned|aforementioned|the former|the latter", "the name of the thing"),
    (r"and/or", '"or", or both cases in full'),
)
# Sample rows and prompts are data: their words are not ours.
DATA_TEXTS = ("dataprep/datasets/converters/", "dataprep/teacher/prompts.py")
HITS = tuple(
    (re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])", re.IGNORECASE), advice) for pattern, advice in WORDS
)
# "Trained is what the mask says": a sentence that begins with its participle. "Seed" is not a participle.
INVERTED = re.compile(
    r"(?:^|(?<=[.!?;:] ))"
    r"(?:[A-Z][a-z]*(?<!e)ed|Written|Known|Drawn|Shown|Given|Taken|Sent|Kept|Left|Cut|Read|Seen)"
    r" (?:is|are|was|were) (?:what|all|every|each|only|whole|the|an?|how|that|by)\b"
)
CLAUSE = re.compile(r"(?:^|(?<=[.!?] ))(?:What|Whether|How(?! to)|Which|Never the|Nor)\b[^?]*$")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"”)*]*\s+(?=[A-Z`\"“(\[*])")


class Text(NamedTuple):
    """A paragraph, cell, docstring part or message, with the number of its first line."""

    line: int
    text: str
    sentences: bool = True


def check(path: str, texts: Iterator[Text]) -> Iterator[str]:
    """Yield one line per fault: where, what was found and what to write."""
    for text in texts:
        # Inline code counts as one word and has none of the phrases in it.
        prose = re.sub(r"`+[^`]+`+", lambda code: "X" + "\n" * code[0].count("\n"), text.text)
        prose = re.sub(r"\]\([^)]*\)|https?://\S+|<[^>\s][^>]*>", "] ", prose)
        for pattern, advice in HITS:
            if path.startswith(DATA_TEXTS) and "package" in advice:
                continue
            for hit in pattern.finditer(prose):
                line = text.line + prose.count("\n", 0, hit.start())
                yield f"{path}:{line}: {hit[0]!r}: write {advice}"
        if not text.sentences:
            continue
        for sentence in SENTENCE_END.split(prose):
            flat = " ".join(sentence.split())
            line = text.line + max(prose.count("\n", 0, prose.find(sentence)), 0)
            if (words := len(re.findall(r"[\w'’…=-]+", flat))) > MAX_WORDS:
                yield f"{path}:{line}: a sentence of {words} words ({flat[:40]} …): at most {MAX_WORDS}"
            if hit := INVERTED.search(flat):
                yield f"{path}:{line}: {hit[0]!r}: begin with the subject"
            if hit := CLAUSE.search(flat):
                yield f"{path}:{line}: {flat[:40]!r}: begin with a verb or with the thing, not with a clause"


def markdown(source: str) -> Iterator[Text]:
    """Yield paragraphs, list items, headings and table cells."""
    # Blank out what is not prose, and keep the line numbers.
    code = re.compile(r"^```.*?^```|<!--.*?-->", re.MULTILINE | re.DOTALL)
    source = code.sub(lambda block: "\n" * block[0].count("\n"), source)
    start, lines = 0, []
    for number, line in enumerate([*source.splitlines(), ""], 1):
        new = re.match(r"\s*(?:$|[#|>]|[-*+] |\d+\. )", line)
        if new and lines:
            yield Text(start, "\n".join(lines))
            lines = []
        if line.startswith("|"):
            yield from (
                Text(number, cell.strip()) for cell in re.sub(r"`[^`]*`", "`X`", line).split("|")[1:-1]
            )
        elif line.strip():
            start = start if lines else number
            lines.append(re.sub(r"^\s*(?:#+|[-*+]|\d+\.|>) ", "", line).strip())


def python(source: str) -> Iterator[Text]:
    """Yield docstrings, other texts of three words or more, and blocks of comments."""
    tree = ast.parse(source)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node)
        ):
            value = node.body[0].value  # type: ignore[attr-defined]
            docstrings.add(value)
            yield from _paragraphs(value.lineno, value.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            docstrings |= {part for part in node.values if isinstance(part, ast.Constant)}
            parts = (part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
            yield Text(node.lineno, "".join(map(str, parts)), sentences=False)
    for node in ast.walk(tree):
        text = isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings
        if text and node.value.count(" ") > 1:
            yield Text(node.lineno, node.value, sentences=False)
    yield from _comments(source)


def _paragraphs(first: int, docstring: str) -> Iterator[Text]:
    start, lines, indent = first, [], -1
    for number, line in enumerate([*docstring.splitlines(), ""], first):
        depth = len(line) - len(line.lstrip())
        if line.strip() and depth <= indent:
            indent = -1
        # Examples, tables and drawings are not sentences: they are indented below "::", or have such signs.
        code = indent >= 0 or re.search(r"→|[├└│]|={5}|-{5}|\S {2,}\S|^\s*(?:>>> |[{\[]|\w+:$)", line)
        new = not line.strip() or code or re.match(r"\s*(?:[-*] |\*{0,2}\w+(?: \(.*?\))?: )", line)
        if new and lines:
            yield Text(start, "\n".join(lines))
            lines = []
        if re.search(r"::$|^\s*\.\. code-block|^\s*Examples?:$", line.rstrip()):
            indent = depth
        if code and line.strip():
            yield Text(number, line.strip(), sentences=False)
            continue
        start = start if lines else number
        if line.strip():
            lines.append(line.strip())


def _comments(source: str) -> Iterator[Text]:
    start, lines = 0, []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("#! ")
            # A comment beside code says something about its own line only.
            beside = bool(token.line[: token.start[1]].strip())
            if not lines or beside or token.start[0] != start + len(lines):
                if lines:
                    yield Text(start, "\n".join(lines))
                start, lines = token.start[0], []
            lines.append("" if text.startswith(("noqa", "type:", "fmt:")) else text)
            if beside:
                yield Text(start, lines[0])
                lines = []
    if lines:
        yield Text(start, "\n".join(lines))


def main(only: list[str]) -> int:
    """Print the faults of all files, or of those below the given paths, and return 1 if there are any."""
    failed = 0
    pages = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    modules = [path for root in ("dataprep", "benchmarks") for path in sorted((ROOT / root).rglob("*.py"))]
    for path in [*pages, *modules]:
        name = path.relative_to(ROOT).as_posix()
        if only and not name.startswith(tuple(only)):
            continue
        texts = (markdown if path.suffix == ".md" else python)(path.read_text("utf-8"))
        for fault in check(name, texts):
            failed += 1
            print(fault)
    print(f"prose: {failed} faults")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
